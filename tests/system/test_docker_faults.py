"""Bad answers of a Docker Engine, from a stand-in: each is said, costs nobody else anything, and is over when the Engine is well again."""

import json
import pathlib
import subprocess
import sys

import pytest
from conftest import PLEG, ROOT, wait_for

sys.path.insert(0, str(ROOT / "tests/standin"))
from docker import DockerStandIn  # noqa: E402


@pytest.fixture
def engine(folder):
    with DockerStandIn(folder, names=["a", "b", "c"]) as standin:
        yield standin


def memory_of(pid):
    return int(next(line.split()[1] for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))) * 1024


def running(agent):
    return {c["containerID"] for p in agent.pods() for c in p["containers"] if c["state"] == "running"}


@pytest.mark.parametrize("fault, words", [
    ("half", "cannot be decoded"),
    ("short", "cannot be decoded"),
    ("long", "the answer was cut: Connection lost"),
    (b'{"message":"not a list"}', "cannot be decoded"),
    (b"[" * 100000, "cannot be decoded"),
], ids=["half", "short", "long", "other", "deep"])
def test_a_bad_list(engine, start_agent, fault, words):
    agent = start_agent(engine.endpoint)
    agent.wait_ready()
    wait_for(lambda: running(agent) == set(engine.ids.values()), "all are listed")
    engine.faults["list"] = fault
    wait_for(lambda: words in agent.status()["runtime"]["hops"][0]["message"], f"it says: {words}")
    # What was known stays: a list that cannot be read says of nobody that it is gone.
    assert running(agent) == set(engine.ids.values())
    engine.faults.clear()
    wait_for(lambda: agent.status()["runtime"]["hops"][0]["ok"], "it is well again")
    assert running(agent) == set(engine.ids.values())


def test_a_list_of_50_mb(engine, start_agent):
    agent = start_agent(engine.endpoint)
    agent.wait_ready()
    before = memory_of(agent.process.pid)
    entry = json.dumps({"Id": "f" * 64, "Names": ["/x"], "State": "running", "Labels": {"l": "x" * 1000}})
    engine.faults["list"] = ("[" + ",".join([entry] * (50_000_000 // len(entry))) + "]").encode()
    wait_for(lambda: "larger than" in agent.status()["runtime"]["hops"][0]["message"], "it is said to be too large")
    # 32 MB are read, and while that grows there is half as much beside it; sanitizers keep what was freed.
    assert memory_of(agent.process.pid) - before < 250_000_000
    assert running(agent) == set(engine.ids.values())
    engine.faults.clear()
    wait_for(lambda: agent.status()["runtime"]["hops"][0]["ok"], "it is well again")


def test_bodies_cut_anywhere(engine, start_agent):
    for what in ("version", "list", *(("inspect", i) for i in engine.ids.values())):
        engine.faults[what] = "bytes"
    agent = start_agent(engine.endpoint)
    agent.wait_ready()
    wait_for(lambda: running(agent) == set(engine.ids.values()), "all are read")
    assert agent.status()["runtime"]["version"] == "0.standin"
    # Connections are kept: far more was asked than was dialled.
    wait_for(lambda: len(engine.asked) > 3 * engine.connections, "connections are used again")


@pytest.mark.parametrize("version, words", [
    ({"Version": "99", "ApiVersion": "1.99", "MinAPIVersion": "1.90"}, "speaks API 1.90 to 1.99, pleg speaks"),
    ({"Version": "1.9", "ApiVersion": "1.21"}, "speaks API 1.21 to 1.21, pleg speaks 1.24 to"),
    ({"Version": "9"}, "has no ApiVersion that we know"),
], ids=["new", "old", "none"])
def test_an_unknown_version(engine, version, words):
    engine.version = version
    done = subprocess.run([str(PLEG), "status", "--runtime", engine.endpoint, "-o", "json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and words in json.loads(done.stdout)["runtime"]["hops"][0]["message"], done
    done = subprocess.run([str(PLEG), "pods", "--runtime", engine.endpoint], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and words in done.stderr, done


def test_the_oldest_api_that_both_speak(engine):
    engine.version = {"Version": "29.0", "ApiVersion": "1.52", "MinAPIVersion": "1.44"}
    subprocess.run([str(PLEG), "pods", "--runtime", engine.endpoint], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True)
    assert {target.split("/")[1] for what, target in engine.asked if what == "list"} == {"v1.44"}


def test_one_that_is_gone_and_one_that_hangs(engine, start_agent):
    """404 for a listed id; an inspection that never ends. The third container is on time."""
    gone, stuck, well = engine.ids["a"], engine.ids["b"], engine.ids["c"]
    engine.faults["inspect", gone] = "missing"
    engine.faults["inspect", stuck] = "hang"
    agent = start_agent(engine.endpoint, config="inspectTimeout: 500ms\n")
    agent.wait_ready()
    follower = agent.follow("--tail", "10")
    follower.wait(containerID=well, type="ContainerStarted")
    wait_for(lambda: agent.status()["pleg"]["quarantined"] == ["docker/b"], "the one that hangs is in quarantine")
    wait_for(lambda: sum(what == ("inspect", gone) for what, _ in engine.asked) > 3, "the one that is gone is asked again")
    # One call for one subject, however long it hangs.
    assert sum(what == ("inspect", stuck) for what, _ in engine.asked) == 1
    assert [c["subject"] for c in agent.status()["pleg"]["inFlight"] if c["call"] == "ContainerStatus" and c["ageSeconds"] > 0.5] == [stuck]
    assert agent.status()["runtime"]["responsive"]


def doctor(engine):
    """`pleg doctor` of the stand-in, and its findings about that: other tests of this machine break things of their own."""
    done = subprocess.run([str(PLEG), "doctor", "--runtime", engine.endpoint, "-o", "json"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60)
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    document = json.loads(done.stdout)
    return done, document, [f for f in document["findings"] if f["subject"]["mount"] == engine.endpoint or f["subject"]["containerID"] in engine.ids.values()]


def test_the_doctor_says_what_it_could_not_ask(folder):
    """64 more inspections are begun with each look, none is answered: whether the others hang is not known, and that is said."""
    with DockerStandIn(folder, names=[f"n{i}" for i in range(500)]) as engine:
        for i in engine.ids.values():
            engine.faults["inspect", i] = "hang"
        done, document, _ = doctor(engine)
        asked = len({what for what, _ in engine.asked if what[0] == "inspect"})
    assert 64 <= asked < 500 and asked % 64 == 0
    assert [g["what"] for g in document["gaps"] if g["what"].startswith("inspections")] == [f"inspections of {500 - asked} containers"], document["gaps"]
    assert not document["complete"] and done.returncode in (1, 2), done


def test_two_locked_containers(engine, start_agent):
    """An agent knows of the inspections that are open and of no others. All of them hang, and the engine answers its list: it is no deadlock."""
    locked = {engine.ids["a"], engine.ids["b"]}
    for i in locked:
        engine.faults["inspect", i] = "hang"
    agent = start_agent(engine.endpoint, config="inspectTimeout: 500ms\n")
    agent.wait_ready()

    def told():
        return [f for f in agent.status()["findings"] if f["subject"]["containerID"] in engine.ids.values()]
    wait_for(lambda: {f["subject"]["containerID"] for f in told() if f["confidence"] == "proven"} == locked, "both are told", 90)
    assert {f["cause"] for f in told()} == {"DockerContainerLockHeld"}, told()
    assert any("2 of 2 hang" in e["value"] for e in told()[0]["evidence"]), told()[0]


@pytest.mark.parametrize("fault", ["half", b'{"message":"not a list"}'], ids=["half", "other"])
def test_the_doctor_on_a_bad_list(engine, fault):
    engine.faults["list"] = fault
    done, _, found = doctor(engine)
    assert done.returncode == 1 and [(f["cause"], f["confidence"], f["severity"]) for f in found] == [("UnknownButHung", "suspected", "warning")], found
    assert "what is not of its protocol" in found[0]["summary"] and all(a["risk"] == "none" for a in found[0]["advice"])
