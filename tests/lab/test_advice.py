"""What is advised is run as it is printed, and does what it says: also where the container has neither the host's tools nor its processes
in /proc. tests/lab/test_founding.py has the abort of a FUSE connection."""

import pathlib

import founding
import kit
import pytest
import verdict
from conftest import system

wait_for = system.wait_for


def mounted(one):
    """Whether the victim still sees a FUSE mount."""
    return " - fuse" in pathlib.Path(f"/proc/{one.moment['pids']['victim'][0]}/mountinfo").read_text()


def lives(role):
    return lambda one: kit.start_time(one.moment["pids"][role][0]) == one.moment["pids"][role][1] and kit.state_of(one.moment["pids"][role][0]) != "Z"


def stopped(role):
    return lambda one: kit.state_of(one.moment["pids"][role][0]) in ("T", "t")


@pytest.mark.parametrize("name, cause, words, holds", [
    ("fuse-server-hung", "FuseServerHung", "umount -N", mounted),
    ("filesystem-frozen", "FilesystemFrozen", "fsfreeze -u", lives("victim")),
    ("shim-stopped", "ShimStopped", "kill -CONT", stopped("shim")),
])
def test_what_is_advised(incident, name, cause, words, holds):
    one = incident(name)
    code = one.start()
    if code == kit.UNSUPPORTED:
        pytest.skip(f"NOT POSSIBLE HERE: {one.error}")
    assert code == 0, one.error
    assert holds(one), "it is there"
    found = wait_for(lambda: [f for f in verdict.doctor(one.endpoint) if f["cause"] == cause and verdict.concerns(f, one.moment)], "it is found", 40)
    commands = [a["command"] for a in found[0]["advice"] if a["command"] and words in a["command"]]
    assert len(commands) == 1, found[0]["advice"]
    assert founding.run_advice(commands[0]) == 0, commands[0]
    wait_for(lambda: not holds(one), f"{commands[0]} does what it says", 15)
