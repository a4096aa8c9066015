"""The journal role on real files and sick filesystems: killed again and again, full, read-only, frozen, deleted, cut, damaged, newer,
somebody else's. The agent's side is journal-harness with made-up events; the file is looked into with Python's own sqlite3.

What is filled, frozen or remounted is a filesystem of the test's own in a mount namespace of its own, and a frozen one thaws by itself."""

import contextlib
import json
import os
import pathlib
import queue
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time

import pytest
from conftest import BUILD, continued_after, wait_for

HARNESS = BUILD / "tests/system/journal-harness"
ROLE = BUILD / "src/store/pleg-journal"
LAG_MS = 200  # what the loop beside a sick disk may be late on this machine; a blocked one is late by seconds


class Harness:
    def __init__(self, folder, epoch="epoch-1", answer_ms=30000, check_ms=300, max_age=0, max_bytes=0, prefix=()):
        self.process = subprocess.Popen([*prefix, str(HARNESS), str(ROLE), str(folder), epoch, str(answer_ms), str(check_ms), str(max_age), str(max_bytes)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.answers = queue.Queue()
        self.states, self.notes = [], []
        self.written = 0
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "state":
                self.states.append(tuple(rest.split(" ", 1)))
            elif word == "note":
                self.notes.append(rest)
            elif word == "written":
                self.written = int(rest)
            else:
                self.answers.put((word, rest))

    def say(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def status(self):
        self.say("status")
        word, rest = self.answers.get(timeout=20)
        assert word == "status", (word, rest)
        return json.loads(rest)

    def wait_state(self, state, seconds=30):
        deadline = time.monotonic() + seconds
        while (status := self.status())["state"] != state:
            assert time.monotonic() < deadline, f"not {state} within {seconds} s: {status} {self.states} {self.notes}"
            time.sleep(0.05)
        return status

    def wait_written(self, count, seconds=30):
        deadline = time.monotonic() + seconds
        while self.written < count:
            assert time.monotonic() < deadline, f"not {count} written within {seconds} s: {self.written} {self.status()} {self.states} {self.notes}"
            time.sleep(0.02)

    def query(self, since=0, until=0, limit=0, namespace="-", pod="-", container="-", kubelet=0):
        """The rows, and the sequence that they cover; or why there are none."""
        self.say("query", since, until, limit, namespace, pod, container, kubelet)
        return self.rows()

    def incidents(self, id="-"):
        self.say("incidents", id)
        return self.rows()

    def rows(self):
        rows = []
        while True:
            word, rest = self.answers.get(timeout=20)
            if word == "row":
                rows.append(json.loads(rest))
            elif word == "rows":
                count, covers = map(int, rest.split())
                assert count == len(rows)
                return rows, covers
            else:
                return rest.removeprefix("rows "), None

    def drain(self, ms=10000):
        self.say("drain", ms)
        assert self.answers.get(timeout=30)[0] == "drained"

    def kill_role(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.status()["pid"], signal.SIGKILL)

    def quit(self, check=True):
        if self.process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self.say("quit")
            code = self.process.wait(timeout=30)
            self.process.stdin.close()
            self.reader.join(timeout=10)
            self.process.stdout.close()
            assert not check or code == 0, code


@pytest.fixture
def start(folder):
    harnesses = []

    def start_one(path=None, **options):
        harnesses.append(Harness(path or folder / "state", **options))
        return harnesses[-1]

    yield start_one
    for harness in harnesses:
        harness.quit(check=False)


@contextlib.contextmanager
def opened(path):
    """The file and its log as they are, copied, so that looking changes nothing."""
    folder = tempfile.mkdtemp(prefix="pleg-t-", dir="/tmp")
    copy = pathlib.Path(folder) / "copy.db"
    shutil.copy(path, copy)
    if pathlib.Path(f"{path}-wal").exists():
        shutil.copy(f"{path}-wal", f"{copy}-wal")
    db = sqlite3.connect(copy)
    try:
        yield db
    finally:
        db.close()
        shutil.rmtree(folder)


def checkpoint(path, first="SELECT 1"):
    """All of the log into the file, as an orderly end would."""
    db = sqlite3.connect(path)
    db.execute(first)
    db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def is_whole(db):
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def sequences(db, epoch):
    return [row[0] for row in db.execute("SELECT sequence FROM events JOIN epochs ON epochs.id = events.epoch WHERE epochs.epoch = ? ORDER BY events.id", (epoch,))]


def process_facts(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


# ---- well ------------------------------------------------------------------------------------


def test_written_and_asked_for(start, folder):
    h = start()
    h.wait_state("ok")
    h.say("add", 5000)
    h.wait_written(5000)
    rows, covers = h.query()
    assert [row["sequence"] for row in rows] == list(range(1, 5001)) and covers == 5000
    assert rows[1]["type"] == "ContainerDied" and rows[1]["epoch"] == "epoch-1" and rows[1]["pod"] == "web-2"
    assert [row["sequence"] for row in h.query(limit=7)[0]] == list(range(4994, 5001))
    assert {row["pod"] for row in h.query(pod="web-7")[0]} == {"web-7"}
    assert len(h.query(namespace="kube-system", pod="web-3")[0]) == len([s for s in range(1, 5001) if s % 3 == 0 and s % 100 == 3])
    assert [row["sequence"] for row in h.query(container=rows[77]["containerID"][:12])[0]] == [78]
    assert h.query(since=time.time_ns() + 10**12)[0] == []
    h.say("difference", "cid", "running", "zombie", 5, 0)
    h.say("difference", "cid", "running", "gone", 5, 9)
    h.drain()
    h.quit()
    with opened(folder / "state/journal.db") as db:
        is_whole(db)
        assert db.execute("SELECT container_id, since, until, runtime, kernel FROM differences").fetchall() == [("cid", 5, 9, "running", "gone")]
    # The next run of the agent has an epoch of its own, and finds the last one's events.
    h = start(epoch="epoch-2")
    h.say("add", 3)
    h.wait_written(3)
    rows, covers = h.query(limit=5)
    assert [(row["epoch"], row["sequence"]) for row in rows] == [("epoch-1", 4999), ("epoch-1", 5000), ("epoch-2", 1), ("epoch-2", 2), ("epoch-2", 3)]
    assert covers == 3


def test_incidents(start, folder):
    """What waits of one id is written as it was told last; a killed role changes nothing about it."""
    h = start()
    h.wait_state("ok")
    h.kill_role()
    for n in range(1, 200):
        h.say("incident", f"i-{n % 40}", "open", n, 0)
    now = time.time_ns()  # What ended long ago would be cleaned away.
    h.say("incident", "i-7", "closed", now, now)
    h.drain()
    rows, _ = h.incidents()
    assert len(rows) == 40 and all("document" not in row for row in rows)
    assert {row["id"]: row["changedAt"][-5:] for row in rows}["i-0"] == "0160Z"
    assert [(row["state"], row["closedAt"] is None, row["document"]) for row in h.incidents("i-7")[0]] == [("closed", False, {})]
    h.quit()
    h = start(epoch="epoch-2")
    h.wait_state("ok")
    assert h.incidents()[0] == rows


def test_drain_writes_what_waits(start, folder):
    h = start()
    h.wait_state("ok")
    h.say("add", 8000)
    h.drain()
    assert h.status()["waiting"] == 0
    h.quit()
    with opened(folder / "state/journal.db") as db:
        assert sequences(db, "epoch-1") == list(range(1, 8001))


def test_stays_within_its_size_and_age(start, folder):
    h = start(max_bytes=4 << 20, max_age=2)
    for n in range(1, 41):
        h.say("add", 1000)
        h.wait_written(n * 1000)
        total = sum(f.stat().st_size for f in (folder / "state").iterdir())
        assert total <= 4 << 20, total
    rows, _ = h.query()
    assert rows[-1]["sequence"] == 40000 and 500 < len(rows) < 8000
    h.quit()
    time.sleep(2.5)  # The age is the wall clock's.
    h = start(epoch="epoch-2", max_bytes=4 << 20, max_age=2)
    wait_for(lambda: h.query()[0] == [], "the old ones are gone")
    with opened(folder / "state/journal.db") as db:
        is_whole(db)


def test_small_and_narrow(start, folder):
    state = folder / "state"
    state.mkdir()
    os.chown(state, 12345, 12346)
    h = start()
    h.wait_state("ok")
    h.say("add", 8000)
    h.wait_written(8000)
    h.query()
    status = h.status()
    facts = process_facts(status["pid"])
    assert facts["Uid"].split() == ["12345"] * 4 and facts["Gid"].split() == ["12346"] * 4 and facts["Groups"].strip() == ""
    assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0 and facts["NoNewPrivs"] == "1"
    assert (state / "journal.db").stat().st_uid == 12345 and (state / "journal.db").stat().st_mode & 0o777 == 0o600
    if "libasan" not in pathlib.Path(f"/proc/{status['pid']}/maps").read_text():
        assert facts["Seccomp"] == "2"
        assert status["memory"] < 8 << 20, status["memory"]


# ---- killed ----------------------------------------------------------------------------------


def test_killed_at_random_moments(start, folder):
    """55 times kill -9 under load: nothing that was acknowledged is missing, nothing is there twice."""
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    kills = 0
    for run in range(11):
        epoch = f"epoch-{run}"
        h = start(epoch=epoch)
        h.say("flood", moments.randrange(1, 6), 2)
        for kill in range(5):
            h.wait_state("ok")
            time.sleep(moments.random() * 0.1)
            h.kill_role()
            kills += 1
            if kill < 4:
                # Down, and it comes back by itself.
                wait_for(lambda: h.status()["restarts"] > kill, "it is started again")
        acknowledged, dropped = h.written, h.status()["dropped"]
        h.quit()
        assert dropped == 0, f"seed {seed}"
        with opened(folder / "state/journal.db") as db:
            is_whole(db)
            there = sequences(db, epoch)
            assert len(there) == len(set(there)), f"seed {seed}"
            assert there == list(range(1, len(there) + 1)), f"seed {seed}"
            assert len(there) >= acknowledged > 0, f"seed {seed}: {acknowledged} acknowledged, {len(there)} there"
    assert kills == 55
    h = start(epoch="last")
    h.wait_state("ok")
    assert not h.notes, h.notes
    h.say("add", 10)
    h.wait_written(10)


def test_silent_role_is_replaced(start):
    h = start(answer_ms=2000)
    h.wait_state("ok")
    pid = h.status()["pid"]
    with continued_after(pid):
        os.kill(pid, signal.SIGSTOP)
        h.say("add", 100)
        wait_for(lambda: h.status()["pid"] not in (0, pid), "another one")
    h.wait_written(100)
    assert [row["sequence"] for row in h.query()[0]] == list(range(1, 101))
    assert h.status()["lagMs"] < LAG_MS


def test_slow_role_is_waited_for(start):
    h = start(answer_ms=40000)
    h.wait_state("ok")
    pid = h.status()["pid"]
    with continued_after(pid, 20):
        os.kill(pid, signal.SIGSTOP)
        h.say("add", 100)
        status = h.wait_state("slow")
        assert status["waiting"] == 100 and status["lagMs"] < LAG_MS
        text, _ = h.query()
        assert "has not answered for 5 s" in text
    h.wait_state("ok")
    h.wait_written(100)
    assert h.status()["pid"] == pid


# ---- sick filesystems --------------------------------------------------------------------------


class Namespace:
    """A mount namespace with a filesystem on `folder`/fs."""

    def __init__(self, folder, script):
        self.fs = folder / "fs"
        self.fs.mkdir()
        self.holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", f"set -e\n{script}\necho ready\nexec sleep 600", "sh",
                                        str(folder)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        if self.holder.stdout.readline() != "ready\n":
            self.holder.kill()
            pytest.skip(f"no such filesystem here: {self.holder.communicate()[1]}")
        self.enter = ["nsenter", "-t", str(self.holder.pid), "-m"]
        self.inside = pathlib.Path(f"/proc/{self.holder.pid}/root{self.fs}")
        self.timer = None

    def run(self, *command, check=True):
        return subprocess.run([*self.enter, *map(str, command)], stdin=subprocess.DEVNULL, check=check, capture_output=True, timeout=60)

    def freeze(self):
        # Armed first: it thaws by itself in 40 s.
        self.timer = subprocess.Popen([*self.enter, "sh", "-c", f"sleep 40; fsfreeze -u {self.fs}"], stdin=subprocess.DEVNULL, start_new_session=True,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.2)
        self.run("fsfreeze", "-f", self.fs)

    def thaw(self):
        self.run("fsfreeze", "-u", self.fs, check=False)

    def end(self):
        if self.timer:
            self.thaw()
            os.killpg(self.timer.pid, signal.SIGKILL)
            self.timer.wait()
        os.killpg(self.holder.pid, signal.SIGKILL)
        self.holder.communicate()


@pytest.fixture
def namespace(folder):
    spaces = []

    def make(script):
        spaces.append(Namespace(folder, script))
        return spaces[-1]

    yield make
    for space in spaces:
        space.end()


TMPFS = 'mount -t tmpfs -o size=3m tmpfs "$1/fs"'
EXT4 = 'truncate -s 64M "$1/disk"; mkfs.ext4 -q -F "$1/disk"; mount -o loop,errors=remount-ro "$1/disk" "$1/fs"'


@pytest.mark.parametrize("kind", [TMPFS.replace("3m", "32m"), EXT4], ids=["tmpfs", "ext4"])
def test_full(start, namespace, kind):
    space = namespace(kind)
    h = start(space.fs / "state", prefix=space.enter)
    h.wait_state("ok")
    h.say("add", 300)
    h.wait_written(300)
    space.run("dd", "if=/dev/zero", f"of={space.fs}/filler", "bs=64k", check=False)
    h.say("flood", 100, 5)
    status = h.wait_state("full")
    assert "full" in status["reason"], status
    wait_for(lambda: h.status()["waiting"] > 1000, "events wait")
    # Reading goes on.
    rows, _ = h.query(limit=5)
    assert len(rows) == 5
    h.say("flood", 0, 0)
    (space.inside / "filler").unlink()
    h.wait_state("ok")
    h.wait_written(h.status()["last"])
    status = h.status()
    assert status["lagMs"] < LAG_MS and status["dropped"] == 0, status
    h.quit()
    with opened(space.inside / "state/journal.db") as db:
        is_whole(db)
        assert sequences(db, "epoch-1") == list(range(1, status["last"] + 1))


def test_full_at_the_start(start, namespace):
    space = namespace(TMPFS)
    (space.inside / "state").mkdir()
    space.run("dd", "if=/dev/zero", f"of={space.fs}/filler", "bs=4k", check=False)
    h = start(space.fs / "state", prefix=space.enter)
    h.say("add", 10)
    h.wait_state("full")
    (space.inside / "filler").unlink()
    h.wait_written(10)
    h.wait_state("ok")


def test_read_only(start, namespace):
    space = namespace(TMPFS)
    h = start(space.fs / "state", prefix=space.enter)
    h.say("add", 10)
    h.wait_written(10)
    h.quit()
    space.run("mount", "-o", "remount,ro", space.fs)
    before = (space.inside / "state/journal.db").read_bytes()
    h = start(space.fs / "state", epoch="epoch-2", prefix=space.enter)
    h.say("add", 10)
    status = h.wait_state("read-only")
    assert status["waiting"] == 10 and status["reason"], status
    text, _ = h.query()
    assert "read-only" in text.lower(), text
    assert (space.inside / "state/journal.db").read_bytes() == before
    space.run("mount", "-o", "remount,rw", space.fs)
    h.wait_written(10)
    h.wait_state("ok")
    assert len(h.query()[0]) == 20


def test_read_only_under_it(start, namespace):
    """ext4 that has found an error goes read-only: what is open fails from one write to the next."""
    space = namespace(EXT4)
    h = start(space.fs / "state", prefix=space.enter)
    h.say("add", 10)
    h.wait_written(10)
    device = pathlib.Path(space.run("findmnt", "-n", "-o", "SOURCE", space.fs).stdout.decode().strip()).name
    trigger = pathlib.Path(f"/sys/fs/ext4/{device}/trigger_fs_error")
    if not trigger.exists():
        pytest.skip("this kernel cannot be told to find an error")
    trigger.write_text("pleg test")
    h.say("flood", 10, 5)
    h.wait_state("read-only")
    h.say("flood", 0, 0)
    status = h.status()
    assert status["lagMs"] < LAG_MS, status
    h.quit()


def test_frozen(start, namespace):
    space = namespace(EXT4)
    h = start(space.fs / "state", prefix=space.enter, answer_ms=3000)
    h.say("add", 100)
    h.wait_written(100)
    h.status()
    space.freeze()
    begun = time.monotonic()
    h.say("add", 50)
    h.wait_state("stuck")
    took = time.monotonic() - begun
    assert took < 10, took
    status = wait_for(lambda: (s := h.status())["abandoned"] and s, "it does not die")
    assert "hangs" in status["reason"] and status["waiting"] == 50 and status["abandoned"] == 1, status
    text, _ = h.query()
    assert "hangs" in text, text
    # More than is kept: the oldest go, and are counted.
    h.say("add", 20000)
    status = wait_for(lambda: (s := h.status())["last"] == 20150 and s, "the events are there")
    assert status["waiting"] + status["dropped"] == 20050 and status["waiting"] >= 8192, status
    assert status["abandoned"] == 1 and status["restarts"] == 0, "nobody else goes to the same disk"
    assert status["lagMs"] < LAG_MS, status
    space.thaw()
    h.wait_state("ok", 20)
    h.wait_written(20150)
    status = h.status()
    assert status["waiting"] == 0 and status["written"] + status["dropped"] == 20150 and status["lagMs"] < LAG_MS, status
    rows, covers = h.query()
    gaps = [row["missed"] for row in rows if "missed" in row]
    assert sum(gaps) == status["dropped"] and len(rows) == status["written"] + len(gaps) and covers == 20150
    h.quit()
    with opened(space.inside / "state/journal.db") as db:
        is_whole(db)


def test_frozen_at_the_start(start, namespace):
    space = namespace(EXT4)
    (space.inside / "state").mkdir()
    space.freeze()
    h = start(space.fs / "state", prefix=space.enter, answer_ms=2000)
    h.say("add", 100)
    status = h.wait_state("stuck")
    assert status["waiting"] == 100 and status["lagMs"] < LAG_MS, status
    space.thaw()
    h.wait_written(100)


# ---- files that change under it ------------------------------------------------------------------


def test_deleted(start, folder):
    state = folder / "state"
    h = start()
    h.say("add", 100)
    h.wait_written(100)
    for path in state.iterdir():
        path.unlink()
    wait_for(lambda: any("deleted" in note for note in h.notes), "it is noticed")
    h.say("add", 50)
    h.wait_written(150)
    assert [row["sequence"] for row in h.query()[0]] == list(range(101, 151))
    # The log alone: nothing is lost.
    (state / "journal.db-wal").unlink()
    wait_for(lambda: any("journal.db-wal was deleted" in note for note in h.notes), "it is noticed")
    h.say("add", 1)
    h.wait_written(151)
    assert [row["sequence"] for row in h.query()[0]] == list(range(101, 152))
    # All of the directory: the next process makes it again.
    shutil.rmtree(state)
    wait_for(lambda: any("state directory was deleted" in note for note in h.notes), "it is noticed")
    h.say("add", 9)
    h.wait_written(160)
    h.wait_state("ok")
    assert [row["sequence"] for row in h.query()[0]] == list(range(152, 161))
    assert (state / "journal.db").exists()


def test_replaced(start, folder):
    state = folder / "state"
    h = start()
    h.say("add", 100)
    h.wait_written(100)
    h.quit()
    checkpoint(state / "journal.db")
    shutil.copy(state / "journal.db", folder / "backup.db")
    h = start(epoch="epoch-2")
    h.say("add", 10)
    h.wait_written(10)
    os.rename(folder / "backup.db", state / "journal.db")
    wait_for(lambda: any("replaced" in note for note in h.notes), "it is noticed")
    h.say("add", 5)
    h.wait_written(15)
    h.wait_state("ok")
    rows = h.query()[0]
    assert len([row for row in rows if row["epoch"] == "epoch-1"]) == 100 and rows[-1]["sequence"] == 15


@pytest.mark.parametrize("name,size", [("journal.db", 8192), ("journal.db", 0), ("journal.db-wal", 100), ("journal.db-wal", 0)])
def test_cut(start, folder, name, size):
    state = folder / "state"
    h = start()
    h.say("add", 3000)
    h.wait_written(3000)
    os.truncate(state / name, size)
    wait_for(lambda: any("set aside" in note and "cut" in note for note in h.notes), f"it is noticed: {h.notes} {h.states}")
    h.say("add", 50)
    h.wait_written(3050)
    h.wait_state("ok")
    assert [row["sequence"] for row in h.query()[0]] == list(range(3001, 3051))
    assert [p for p in state.iterdir() if ".damaged-" in p.name and p.name.endswith("Z")]
    h.quit()
    with opened(state / "journal.db") as db:
        is_whole(db)


def spoil(path):
    with path.open("r+b") as f:
        for page in range(2, path.stat().st_size // 4096):
            f.seek(page * 4096)
            f.write(os.urandom(4096))


def test_damaged_before_the_start(start, folder):
    state = folder / "state"
    h = start()
    h.say("add", 3000)
    h.drain()
    h.quit()
    checkpoint(state / "journal.db")
    spoil(state / "journal.db")
    h = start(epoch="epoch-2")
    h.say("add", 5)
    h.wait_written(5)
    assert len(h.notes) == 1 and "damaged" in h.notes[0] and "journal.db.damaged-" in h.notes[0], h.notes
    assert len(h.query()[0]) == 5
    aside = [p.name for p in state.iterdir() if ".damaged-" in p.name]
    assert aside and all(name in h.notes[0] or name.endswith(("-wal", "-shm")) for name in aside)


def test_damaged_under_it(start, folder):
    h = start()
    h.say("add", 3000)
    h.wait_written(3000)
    h.kill_role()
    h.wait_state("ok")
    spoil(folder / "state/journal.db")
    h.say("flood", 100, 5)
    wait_for(lambda: any("set aside" in note for note in h.notes), f"it is noticed: {h.states}")
    h.say("flood", 0, 0)
    h.wait_written(h.status()["last"])
    h.wait_state("ok")
    assert not isinstance(h.query()[0], str)


def test_not_a_database(start, folder):
    (folder / "state").mkdir()
    (folder / "state/journal.db").write_text("This is a shopping list. " * 300)
    h = start()
    h.say("add", 5)
    h.wait_written(5)
    assert len(h.notes) == 1 and "set aside" in h.notes[0]


def test_newer(start, folder):
    state = folder / "state"
    h = start()
    h.say("add", 10)
    h.drain()
    h.quit()
    checkpoint(state / "journal.db", "PRAGMA user_version = 99")
    before = {p.name: p.read_bytes() for p in state.iterdir() if not p.name.endswith("-shm")}
    h = start(epoch="epoch-2")
    h.say("add", 10)
    status = h.wait_state("newer")
    assert "version 99" in status["reason"] and "move journal.db" in status["reason"] and status["waiting"] == 10, status
    assert {p.name: p.read_bytes() for p in state.iterdir() if not p.name.endswith("-shm")} == before
    assert not h.notes
    for path in list(state.iterdir()):
        path.rename(folder / path.name)
    h.wait_written(10)
    h.wait_state("ok")


def test_denied(start, folder):
    state = folder / "state"
    state.mkdir(mode=0o700)
    os.chmod(folder, 0o755)
    h = start(prefix=["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"])
    h.say("add", 10)
    status = h.wait_state("denied")
    assert "Permission denied" in status["reason"] and str(state) in status["reason"], status
    os.chmod(state, 0o755)  # Now it can be entered, but not written.
    h.wait_state("denied")
    os.chown(state, 12345, 12345)
    h.wait_written(10)
    h.wait_state("ok")


def test_somebody_elses_file(start, folder):
    state = folder / "state"
    state.mkdir()
    os.chown(state, 12345, 12345)
    (state / "journal.db").touch(mode=0o600)  # root's
    h = start()
    h.say("add", 10)
    h.wait_state("denied")
    os.chown(state / "journal.db", 12345, 12345)
    h.wait_written(10)


def test_a_link_is_not_followed(start, folder):
    state, other = folder / "state", folder / "precious"
    state.mkdir()
    other.write_bytes(b"")
    (state / "journal.db").symlink_to(other)
    h = start()
    h.say("add", 10)
    wait_for(lambda: h.status()["state"] not in ("starting", "ok"), "it is refused")
    assert other.read_bytes() == b""
    (state / "journal.db").unlink()
    h.wait_written(10)


def test_only_one_at_a_time(start):
    first = start()
    first.say("add", 10)
    first.wait_written(10)
    second = start(epoch="epoch-2")
    second.say("add", 10)
    status = second.wait_state("locked")
    assert status["waiting"] == 10
    first.say("add", 10)
    first.wait_written(20)
    first.quit()
    second.wait_written(10)
    assert len(second.query()[0]) == 30
