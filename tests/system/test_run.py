"""./run on its embedded default: from nothing to live events, and nothing left behind: after Ctrl-C, at the end by itself, and
after a kill -9 once the next run has started. Uses the optimised build's folder, so nothing is built twice."""

import os
import pathlib
import signal
import subprocess
import time

import pytest
from conftest import ROOT, wait_for
from privatecontainerd import snapshot

pytestmark = pytest.mark.alone

RUN = [str(ROOT / "run"), "--demo"]
ENVIRONMENT = {**os.environ, "PLEG_BUILD": os.environ.get("PLEG_RELEASE", os.environ.get("PLEG_BUILD", "build"))}


def start(folder, *arguments):
    out = (folder / "out").open("w")
    # Who runs the tests in the background has SIGINT ignored, and a shell cannot trap what was ignored when it began.
    return subprocess.Popen([*RUN, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=ENVIRONMENT, start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def text(folder):
    return (folder / "out").read_text()


def left_behind(before):
    def calm():
        after = snapshot()
        return {k: after[k] - before[k] for k in before if after[k] - before[k]}
    deadline = time.monotonic() + 20
    while calm() and time.monotonic() < deadline:
        time.sleep(0.2)
    return calm()


@pytest.fixture(autouse=True)
def no_other_agent():
    if pathlib.Path("/run/pleg/pleg.sock").exists():
        pytest.skip("an agent is running on /run/pleg/pleg.sock; this test would disturb it")


def test_live_events_and_ctrl_c(folder):
    before = snapshot()
    process = start(folder)
    try:
        wait_for(lambda: process.poll() is not None or ("ContainerDied" in text(folder) and "bad" in text(folder)), "a crash of the demo pod on the screen", 120)
        assert process.poll() is None, text(folder)
        pleg = pathlib.Path(ENVIRONMENT["PLEG_BUILD"]) / "src/cli/pleg"
        assert subprocess.run([pleg, "status"], capture_output=True, timeout=30, check=False).returncode == 0
        assert "crash" in subprocess.run([pleg, "pods"], capture_output=True, text=True, timeout=30, check=False).stdout
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=90) == 130, text(folder)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=90)
    assert not left_behind(before), text(folder)
    assert "Ended" in text(folder)


def test_end_by_itself(folder):
    before = snapshot()
    process = start(folder, "--for", "3")
    assert process.wait(timeout=120) == 0, text(folder)
    assert not left_behind(before), text(folder)


def test_after_kill_9_the_next_run_cleans_up(folder):
    before = snapshot()
    process = start(folder)
    wait_for(lambda: process.poll() is not None or "ContainerStarted" in text(folder), "events", 120)
    # Only ./run itself: what it started lives on, as after a closed terminal that went wrong.
    process.kill()
    process.wait()
    assert start(folder, "--for", "2").wait(timeout=180) == 0, text(folder)
    assert "Cleaning up" in text(folder)
    assert not left_behind(before), text(folder)
