"""The journal as a user of the agent sees it: `pleg events --since` after restarts, kills and on filesystems that are not well, with
`pleg status` answering and live events coming all the while.

The runtime is the stand-in. What is filled, frozen or remounted is a filesystem of the test's own in a mount namespace of its own, and
a frozen one thaws by itself. What the role does on such files in detail is test_journal.py's.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest
from conftest import PLEG, Agent, continued_after, wait_for
from standin import StandIn
from test_journal import EXT4, TMPFS, Namespace, checkpoint, opened

QUICK = "relistPeriod: 100ms\n"


@pytest.fixture
def standin(folder):
    (folder / "standin").mkdir()
    with StandIn(folder / "standin") as runtime:
        runtime.sandbox = runtime.do("add-pod", name="pod-0", namespace="demo", uid="uid-0")["id"]
        yield runtime


@pytest.fixture
def agent(folder, standin):
    """Starts agents one after the other on the same folder."""
    agents = []

    def start(ready=True, **options):
        agents.append(Agent(folder, standin.endpoint, config=QUICK + options.pop("config", ""), **options))
        agents[-1].wait_ready() if ready else agents[-1].wait_up()
        return agents[-1]

    yield start
    for one in agents:
        one.stop()
    if agents:
        text = agents[0].log.read_text()
        for word in ("AddressSanitizer", "LeakSanitizer", "runtime error:", "Assertion"):
            assert word not in text, text[-6000:]


@pytest.fixture
def namespace(folder):
    spaces = []

    def make(script):
        spaces.append(Namespace(folder, script))
        return spaces[-1]

    yield make
    for space in spaces:
        space.end()


def journal(agent):
    return agent.status()["agent"]["journal"]


def wait_state(agent, state, seconds=30):
    return wait_for(lambda: (j := journal(agent))["state"] == state and j, f"the journal is {state}, not {journal(agent)}", seconds)


def add(standin, *names):
    """Containers that start; their ids."""
    return [standin.do("add-container", sandbox=standin.sandbox, name=name)["id"] for name in names]


def add_seen(agent, standin, *names):
    """The same, and the agent has told of each."""
    ids = add(standin, *names)
    wait_for(lambda: set(ids) <= {e.get("containerID") for e in told(agent, "--tail", 1000)}, "the agent tells of them")
    return ids


def told(agent, *arguments):
    done = agent.run("events", "-o", "json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def wait_written(agent):
    wait_for(lambda: (j := journal(agent))["waiting"] == 0 and j["written"] and j, f"all is written: {journal(agent)}")


def is_in_order(events):
    """Each once, run by run, without holes in a run."""
    runs = []
    for event in events:
        assert "missed" not in event and "journal" not in event, event
        if not runs or runs[-1][0] != event["epoch"]:
            runs.append((event["epoch"], []))
        runs[-1][1].append(event["sequence"])
    assert len({epoch for epoch, _ in runs}) == len(runs), runs
    for epoch, sequences in runs:
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences))), (epoch, sequences)
    return runs


def still_works(agent, standin, name):
    """Status at once, live events, and an answer to --since that says on stderr what is missing."""
    follower = agent.follower_of_all
    begun = time.monotonic()
    assert agent.status()
    assert time.monotonic() - begun < 2, "status answers at once"
    (container,) = add(standin, name)
    follower.wait(containerID=container, type="ContainerStarted")
    done = agent.run("events", "--since", "1h", "-o", "json")
    assert done.returncode == 0
    assert any(json.loads(line).get("containerID") == container for line in done.stdout.splitlines()), done
    return done.stderr


# ---- well ----------------------------------------------------------------------------------------


def test_events_outlive_the_agent(agent, standin):
    first = agent()
    add_seen(first, standin, *[f"a{i}" for i in range(20)])
    assert first.stop() == 0
    second = agent()
    add_seen(second, standin, *[f"b{i}" for i in range(20)])
    follower = second.follow("--since", "1h")
    events = told(second, "--since", "1h")
    runs = is_in_order(events)
    assert len(runs) == 2 and runs[0][1][0] == runs[1][1][0] == 1, runs
    assert runs[1][0] == second.status()["agent"]["epoch"]
    names = [e["container"] for e in events if e["epoch"] == runs[0][0] and e["type"] == "ContainerStarted" and e["container"]]
    assert sorted(names) == sorted(f"a{i}" for i in range(20))
    # Filters, a time instead of an age, and the kubelet's form.
    assert {e["container"] for e in told(second, "--since", "1h", "--container", "a7")} == {"a7"}
    assert told(second, "--since", "1h", "-n", "nobody") == []
    begun = next(e["observedAt"] for e in events if e["epoch"] == runs[1][0])
    assert {e["epoch"] for e in told(second, "--since", begun)} == {runs[1][0]}
    kubelet = second.run("events", "--since", "7d", "--kubelet").stdout.splitlines()
    assert len(kubelet) == len([e for e in events if e["confirmed"] and e["type"] != "ContainerChanged"]), kubelet
    # It goes on live.
    (container,) = add(standin, "live")
    follower.wait(containerID=container)
    assert len(is_in_order([e for e in follower.events])) == 2
    status = second.status()["agent"]
    assert status["journal"]["state"] == "ok" and status["journal"]["dropped"] == 0 and status["journal"]["path"].endswith("/state"), status
    assert [role["state"] for role in status["roles"] if role["role"] == "journal"] == ["running"]
    assert "Journal" not in second.run("status").stdout


def test_since_says_what_it_wants(agent):
    one = agent()
    for bad, words in (("yesterday", "such as 30m, 2h or 7d"), ("2h30", "such as"), ("2199-01-01T00:00:00Z", "future"), ("-5m", "such as"), ("", "not empty")):
        done = one.run("events", "--since", bad)
        assert done.returncode == 2 and words in done.stderr, (bad, done)
    done = one.run("events", "--since", "1h", "--tail", "5")
    assert done.returncode == 2 and "neither --tail nor" in done.stderr


def test_a_follower_with_since_loses_nothing_over_a_restart(agent, standin):
    """What came between its last line and the end of the agent is in the journal."""
    first = agent()
    add_seen(first, standin, "a0", "a1")
    follower = first.follow("--since", "1h")
    first.followers.clear()
    try:
        follower.wait(container="a1")
        with contextlib.ExitStack() as stack:
            os.kill(follower.process.pid, signal.SIGSTOP)
            stack.callback(os.kill, follower.process.pid, signal.SIGCONT)
            add_seen(first, standin, *[f"b{i}" for i in range(10)])
            assert first.stop() == 0
        second = agent()
        (container,) = add(standin, "c")
        follower.wait(containerID=container, epoch=second.status()["agent"]["epoch"])
        assert len(is_in_order(list(follower.events))) == 2
    finally:
        follower.stop()


def test_killed_agents_lose_nothing_that_was_written(agent, standin):
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    written = {}
    for run in range(4):
        one = agent()
        for n in range(moments.randrange(1, 4)):
            add(standin, *[f"k{run}-{n}-{i}" for i in range(20)])
            time.sleep(moments.random() * 0.2)
        status = one.status()["agent"]
        written[status["epoch"]] = status["journal"]["written"]
        one.process.send_signal(signal.SIGKILL)
        one.process.wait()
    last = agent()
    wait_state(last, "ok")
    runs = dict(is_in_order(told(last, "--since", "1h")))
    for epoch, count in written.items():
        assert len(runs.get(epoch, [])) >= count, f"seed {seed}: {written} {[(e, len(s)) for e, s in runs.items()]}"
    assert sum(written.values()) > 0


def test_killed_journals_lose_nothing(agent, standin):
    one = agent()
    moments = random.Random()
    for run in range(5):
        wait_state(one, "ok")
        add(standin, *[f"r{run}-{i}" for i in range(20)])
        time.sleep(moments.random() * 0.3)
        pid = next(role["pid"] for role in one.status()["agent"]["roles"] if role["role"] == "journal")
        if pid:
            os.kill(pid, signal.SIGKILL)
    wait_state(one, "ok")
    add_seen(one, standin, "last")
    wait_written(one)
    events = told(one, "--since", "1h")
    (run,) = is_in_order(events)
    assert run[1][0] == 1 and run[1][-1] == one.status()["agent"]["events"]
    assert one.stop() == 0
    with opened(one.dir / "state/journal.db") as db:
        assert db.execute("SELECT count(*) FROM events").fetchone()[0] >= len(events)


def test_more_than_a_pipe_holds(agent, standin):
    """A reader that stands still holds up nobody, and gets the rest when it goes on."""
    one = agent()
    add(standin, *[f"m{i}" for i in range(3000)])
    wait_for(lambda: one.status()["agent"]["events"] >= 3000, "the agent has seen them", 60)
    wait_written(one)
    slow = subprocess.Popen([str(PLEG), "events", "--since", "1h", "-o", "json", "--socket", str(one.socket)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        line = slow.stdout.readline()
        assert len(is_in_order(told(one, "--since", "1h"))) == 1
        rest = slow.stdout.read().splitlines()
        assert slow.wait(timeout=20) == 0
    finally:
        slow.kill()
        slow.stdout.close()
        slow.wait()
    events = [json.loads(each) for each in [line, *rest]]
    assert len(is_in_order(events)) == 1 and len(events) >= 3000


def test_incidents_are_kept(agent, standin, folder):
    """What the doctor finds is in the file, with its evidence, also when the agent is killed."""
    one = agent()
    wait_state(one, "ok")

    def kept():
        with opened(one.dir / "state/journal.db") as db:
            rows = db.execute("SELECT id, cause, state, closed, document FROM incidents").fetchall()
        # This machine may have faults of its own.
        return [row for row in rows if str(folder) in row[4]]

    def rows():
        return {row[0]: row for row in kept()}

    with continued_after(standin.pid):
        os.kill(standin.pid, signal.SIGSTOP)
        first = wait_for(lambda: rows(), "an incident is written")
        one.process.send_signal(signal.SIGKILL)
        one.process.wait()
        assert all(json.loads(row[4])["finding"]["evidence"] and json.loads(row[4])["finding"]["cause"] == row[1] for row in first.values()), first
        first = rows()
        assert any(row[3] is None for row in first.values()), first
        # Beside it two that nobody will find: of a process that has gone, and of a pleg that knew more.
        with contextlib.closing(sqlite3.connect(one.dir / "state/journal.db")) as db:
            for id, cause in ("gone1", "ShimStopped"), ("other1", "PrinterOnFire"):
                db.execute("INSERT INTO incidents (id, opened, changed, closed, cause, document, subject, state) VALUES (?, ?, ?, NULL, ?, ?, ?, 'proven')",
                           (id, 1, 1, cause, json.dumps({"finding": {"cause": cause, "summary": str(folder)}, "changes": []}), "process 1 of old"))
            db.commit()
        two = agent(ready=False)
        open_before = {id for id, row in first.items() if row[3] is None}
        wait_for(lambda: any(len(json.loads(rows()[id][4])["changes"]) > len(json.loads(first[id][4])["changes"]) for id in open_before),
                 "the second run goes on with it")
        wait_for(lambda: rows()["other1"][3], "what it does not know is closed")
        causes = [row[1] for row in rows().values() if row[3] is None]
        assert len(causes) == len(set(causes)), "none was opened a second time"
    closed = wait_for(lambda: all(row[3] for row in rows().values()) and rows(), "all are closed", 60)
    because = {id: json.loads(row[4])["closedBecause"] for id, row in closed.items()}
    assert because["gone1"] == "not seen any more after a restart of pleg" and "does not look for this cause" in because["other1"], because
    assert json.loads(closed["gone1"][4])["finding"]["summary"] == str(folder)
    shown = two.run("incidents", "gone1").stdout
    assert "closed: not seen any more after a restart of pleg" in shown, shown


def test_off(agent, standin):
    one = agent(state="")
    one.follower_of_all = one.follow()
    assert journal(one)["state"] == "off" and journal(one)["path"] is None
    assert any("The journal is off" in text for text in one.status()["agent"]["warnings"])
    said = still_works(one, standin, "a")
    assert "The journal is off" in said and "Only what the agent has in memory is shown" in said, said


# ---- sick filesystems --------------------------------------------------------------------------


def sick(agent, space):
    one = agent(state=space.fs / "state", prefix=space.enter)
    one.follower_of_all = one.follow("--since", "1h")
    wait_state(one, "ok")
    return one


def test_full(agent, standin, namespace):
    space = namespace(TMPFS)
    one = sick(agent, space)
    space.run("dd", "if=/dev/zero", f"of={space.fs}/filler", "bs=4k", check=False)
    for i in range(200):
        still = add(standin, *[f"f{i}-{n}" for n in range(20)])
        if journal(one)["state"] == "full":
            break
    one.follower_of_all.wait(containerID=still[-1])
    assert wait_state(one, "full")["waiting"] > 0
    still_works(one, standin, "more")
    assert "Journal" in one.run("status").stdout and "full in" in one.run("status").stdout
    (space.inside / "filler").unlink()
    wait_state(one, "ok")
    wait_written(one)
    assert is_in_order(told(one, "--since", "1h"))[0][1][0] == 1


def test_read_only(agent, standin, namespace):
    space = namespace(TMPFS)
    (space.inside / "state").mkdir()
    space.run("mount", "-o", "remount,ro", space.fs)
    one = agent(state=space.fs / "state", prefix=space.enter)
    one.follower_of_all = one.follow()
    wait_state(one, "read-only")
    assert "read-only" in still_works(one, standin, "a").lower()
    space.run("mount", "-o", "remount,rw", space.fs)
    wait_state(one, "ok", 60)
    wait_written(one)


def test_frozen(agent, standin, namespace):
    """Nobody waits: not the status, not the events, not the end."""
    space = namespace(EXT4)
    one = sick(agent, space)
    add_seen(one, standin, "before")
    wait_written(one)
    space.freeze()
    add(standin, "frozen")
    wait_state(one, "slow")
    said = still_works(one, standin, "a")
    assert "disk is slow or hangs" in said and "in memory" in said, said
    assert journal(one)["state"] == "slow" and journal(one)["waiting"] > 0, journal(one)
    begun = time.monotonic()
    one.process.send_signal(signal.SIGTERM)
    code = one.process.wait(timeout=20)
    took = time.monotonic() - begun
    space.thaw()
    assert code == 0 and took < 5, (code, took)


# ---- files that are not well ---------------------------------------------------------------------


def test_garbage_is_set_aside(agent, standin, folder):
    state = folder / "state"
    state.mkdir()
    (state / "journal.db").write_bytes(b"This is a shopping list. " * 300)
    one = agent()
    one.follower_of_all = one.follow()
    wait_state(one, "ok")
    note = journal(one)["note"]
    assert "set aside as journal.db.damaged-" in note and "a new one is begun" in note, note
    assert "set aside" in one.run("status").stdout
    assert still_works(one, standin, "a") == ""
    # Cut under it: the same again.
    wait_written(one)
    os.truncate(state / "journal.db", 0)
    wait_for(lambda: journal(one)["note"] != note, "it is noticed")
    wait_state(one, "ok")
    still_works(one, standin, "b")
    assert len([p for p in state.iterdir() if ".damaged-" in p.name and p.name.endswith("Z")]) == 2


def test_newer_is_left_alone(agent, standin, folder):
    one = agent()
    wait_written(one)
    assert one.stop() == 0
    checkpoint(folder / "state/journal.db", "PRAGMA user_version = 99")
    before = (folder / "state/journal.db").read_bytes()
    one = agent()
    one.follower_of_all = one.follow()
    wait_state(one, "newer")
    said = still_works(one, standin, "a")
    assert "version 99" in said and "newer pleg" in said, said
    assert (folder / "state/journal.db").read_bytes() == before
    assert "newer" in one.run("status").stdout


def test_somebody_elses(agent, standin, folder):
    state = folder / "state"
    state.mkdir()
    os.chown(state, 12345, 12345)
    (state / "journal.db").touch(mode=0o600)  # root's
    one = agent()
    one.follower_of_all = one.follow()
    wait_state(one, "denied")
    assert "ermission denied" in still_works(one, standin, "a")
    os.chown(state / "journal.db", 12345, 12345)
    wait_state(one, "ok", 60)


def test_directory_deleted_under_it(agent, standin, folder):
    one = agent()
    one.follower_of_all = one.follow()
    add_seen(one, standin, "a")
    wait_written(one)
    shutil.rmtree(folder / "state")
    wait_for(lambda: "state directory was deleted" in journal(one)["note"], "it is noticed")
    still_works(one, standin, "b")
    wait_state(one, "ok")
    wait_written(one)
    db = sqlite3.connect(f"file:{folder}/state/journal.db?mode=ro", uri=True)
    db.close()
    assert (folder / "state/journal.db").exists()
