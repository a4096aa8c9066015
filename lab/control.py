"""One request to a running agent over its control socket (docs/json.md), without a `pleg` between: who watches asks very often."""

import contextlib
import json
import socket


def ask(path, request, timeout=30):
    """The result; raises OSError where nobody answers in time, ValueError where that is no answer, KeyError where it is a refusal."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s, s.makefile() as answer:
        s.settimeout(timeout)
        s.connect(str(path))
        s.sendall(json.dumps({"protocol": 1, "request": request}).encode() + b"\n")
        return json.loads(answer.readline())["result"]


def status(path, timeout=30):
    """The status; None while there is none to be had."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return ask(path, "status", timeout)
