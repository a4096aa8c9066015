"""What looks like an incident and is none: all six at the same time, and pleg says nothing of any of them."""

import time

import pytest
import verdict


def watch_all(incident, seconds):
    ones = []
    for name in verdict.incidents("lookalikes"):
        one = incident(name, seconds=60)
        assert one.start() == 0, f"{name}: {one.error}"
        ones.append(one)
    said, samples = set(), 0
    with verdict.Watch(ones[0].endpoint) as watch:
        for findings in watch.samples(time.monotonic() + seconds):
            samples += 1
            said |= {(one.expect["name"], f["cause"], f["confidence"], f["summary"]) for one in ones for f in findings if verdict.concerns(f, one.moment)}
    assert samples >= seconds / 4, "it looked often enough"
    assert not said, said


def test_for_ten_seconds(incident):
    watch_all(incident, 10)


@pytest.mark.full
def test_for_a_minute(incident):
    watch_all(incident, 55)  # the way out of two of them runs after 60 s
