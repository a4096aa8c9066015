"""The founding incident on a real Docker: every step that its operators took, pleg's verdict, and the one command that ends it."""

import subprocess
import time

import founding
import kit
import pytest
import verdict


def test_the_founding_incident(incident):
    one = incident("founding-incident")
    agent = one.watch_with_agent()
    assert one.start() == 0, one.error
    steps = dict(one.moment["steps"])
    assert set(steps) == {"prometheus runs, with a thread that waits for the volume", "a sidecar crash-loops", "docker kill", "docker rm -f",
                          "kill -9 of the zombie", "the shim is killed", "pid 1 does not reap it", "docker ps says"}
    victim, tid = one.moment["pids"]["victim"][0], one.moment["tids"]["victim"]
    assert kit.state_of(victim) == "Z" and kit.state_of(victim, tid) == "D" and kit.kill_is_pending(victim, tid)
    assert kit.parent_of(victim) == 1

    # It names the thread, its wait, the mount, the connection and its server.
    seconds, text = one.wait_right_with_agent()
    print(f"{seconds and round(seconds, 1)} s: {text}")
    assert seconds is not None, text
    assert "ContainerCrashLoop" in [f["cause"] for f in agent.status()["findings"]], "the sidecar's crash loop"
    began = time.monotonic()
    findings = verdict.doctor(one.endpoint)
    assert time.monotonic() - began < 10
    finding = next(f for f in findings if verdict.concerns(f, one.moment))
    assert finding["cause"] == "FuseServerHung"
    assert (finding["subject"]["pid"], finding["subject"]["tid"]) == (victim, tid)
    assert finding["subject"]["mount"] in ("/volume", one.moment["subject"]["mount"])
    assert finding["subject"]["device"] == one.moment["subject"]["device"]
    said = str(finding["evidence"]) + finding["summary"]
    server = one.moment["pids"]["server"][0]
    assert "request_wait_answer" in said and "SIGKILL pending" in said and "pleg-lab-fuse" in said and str(server) in said
    assert "UnreapableZombieThreadStuck" in [s["cause"] for s in finding["symptoms"]]

    # No reboot, and one command.
    assert "reboot is not needed" in str(finding).lower()
    assert not any("reboot" in a["action"].lower() for a in finding["advice"])
    command = founding.freeing_advice(finding)["command"]
    assert command.endswith(f"/{one.moment['subject']['device'].split(':')[1]}/abort"), command
    assert founding.run_advice(command) == 0
    assert [what for what, gone in founding.all_gone(one) if not gone] == []
    wrong = one.wait_closed_with_agent()
    assert wrong is None, wrong
    assert not [f for f in verdict.doctor(one.endpoint) if f["cause"] in ("FuseServerHung", "UnreapableZombieThreadStuck") and f["subject"]["pid"] == victim]


@pytest.mark.full
def test_run_lab_founding_incident():
    """The command that a visitor types, to its end."""
    done = subprocess.run(["/usr/bin/python3", kit.ROOT / "lab/lab.py", "founding-incident"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=200)
    assert done.returncode == 0 and "everything is gone" in done.stdout and "STILL THERE" not in done.stdout, done.stdout + done.stderr
