"""`pleg doctor` and `pleg doctor --watch` of a FUSE server that is alive and does not answer, and nobody killed: one run cannot prove it and
says `suspected`; `--watch` goes on until it is `proven`, and then ends by itself. Its line of progress goes on, too."""

import contextlib
import json
import os
import pty
import re
import subprocess
import time

import verdict


def doctor(one, *more, errors=subprocess.DEVNULL):
    """(what it printed, what it says of the incident, seconds)."""
    began = time.monotonic()
    done = subprocess.run([verdict.pleg(), "doctor", "-o", "json", "--runtime", one.endpoint, *more], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=errors, text=True, timeout=150)
    assert done.returncode == 1, done
    document = json.loads(done.stdout)
    return document, [f for f in document["findings"] if verdict.concerns(f, one.moment)], time.monotonic() - began


@contextlib.contextmanager
def terminal():
    """A terminal to write to; what was written is in the list afterwards, which fits into its buffer."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    written = []
    try:
        yield theirs, written
        with contextlib.suppress(BlockingIOError):
            while True:
                written.append(os.read(ours, 65536).decode())
    finally:
        os.close(ours)
        os.close(theirs)


def test_watch_goes_on_until_it_is_proven(incident):
    one = incident("fuse-server-alive", seconds=60)
    assert one.start() == 0, one.error
    _, once, took = doctor(one)
    assert [(f["cause"], f["confidence"]) for f in once] == [("FuseServerHung", "suspected")] and took < 10, once

    with terminal() as (errors, written):
        document, watched, took = doctor(one, "--watch", errors=errors)
    assert [(f["cause"], f["confidence"]) for f in watched] == [("FuseServerHung", "proven")], watched
    wrong = verdict.judge(watched, one.moment, one.expect)
    assert wrong[0], wrong
    # It cannot have been proven by fewer samples, nor sooner, and does not go on once nothing is to be learned.
    rule = verdict.rules()["FuseServerHung"]
    print(f"{document['samples']} samples, {document['tookSeconds']:.1f} s")
    assert document["samples"] >= rule["samples"] and rule["weakSeconds"] <= document["tookSeconds"] <= took < 50, document
    shown = "".join(written)
    words = re.findall(r"\r\x1b\[Kpleg: +\d+ % (\S[^\r]*)", shown)
    assert "waiting for the next look" in words and len(words) == shown.count("pleg:") >= 10, shown
