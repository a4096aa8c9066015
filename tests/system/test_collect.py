"""What the doctor reads, against real things (pleg-evidence, which tells no verdict): a thread in a hung FUSE read, before and after
SIGKILL, with its mount, connection and server; a held mmap_lock; frozen groups, v1 and v2; a frozen filesystem; a stopped shim and a
stopped containerd, which hide no container; mounts that are held; ten thousand threads; processes that end while they are looked at;
an unprivileged user.

Whatever is stopped or frozen here is released by a timer of its own."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import BUILD, ROOT, Cri, continued_after, wait_for

HELPERS = ROOT / "tests/system/helpers"
EVIDENCE = BUILD / "lab/pleg-evidence"
PROBE = BUILD / "src/kernel/pleg-probe"
RELEASE = pathlib.Path(os.environ.get("PLEG_RELEASE", BUILD))
KILL = 1 << 8


class Sample(dict):
    """A sample whose references are followed by name."""

    def at(self, array, index):
        return None if index is None else self[array][index]

    def process(self, pid):
        return next((p for p in self["processes"] if p["pid"] == pid), None)

    def threads(self, pid):
        return [t for t in self["threads"] if self["processes"][t["process"]]["pid"] == pid]

    def container(self, cid):
        return next((k for k in self["containers"] if k["id"] == cid), None)

    def gap(self, what):
        return next((g for g in self["gaps"] if what in g["what"]), None)


def look_all(*arguments, program=EVIDENCE, prefix=(), seconds=30):
    done = subprocess.run([*prefix, str(program), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds)
    assert done.returncode == 0, done.stderr
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    return [Sample(json.loads(line)) for line in done.stdout.splitlines()]


def look(*arguments, **options):
    return look_all(*arguments, **options)[0]


@contextlib.contextmanager
def released_after(command, seconds=30):
    """Runs a shell command at the end, and by itself when the time is over, whatever happens to the test."""
    timer = subprocess.Popen(["sh", "-c", f"sleep {seconds}; {command}"], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        subprocess.run(["sh", "-c", command], check=False, stderr=subprocess.DEVNULL)
        os.killpg(timer.pid, signal.SIGKILL)
        timer.wait()


class Hang:
    """fuse_hang.py with a victim; its timer aborts the connection after 30 s."""

    def __init__(self, folder, *victim, before=()):
        self.server = subprocess.Popen([*before, "/usr/bin/python3", HELPERS / "fuse_hang.py", folder, "30", *victim], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        line = self.server.stdout.readline()
        if not line:
            pytest.skip(f"no FUSE server can be had here: {self.server.stderr.read().strip().splitlines()[-1:]}")
        got = json.loads(line)
        self.victim, self.timer, self.abort = got["victim"], got["timer"], got["abort"]

    def end(self):
        with contextlib.suppress(OSError):
            pathlib.Path(self.abort).write_text("1")
        try:
            self.server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        for pid in (self.timer, self.victim):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.server.stdout.close()
        self.server.stderr.close()


@pytest.fixture
def hang(folder):
    hangs = []

    def start(*victim):
        hangs.append(Hang(folder, *victim))
        return hangs[-1]

    yield start
    for one in hangs:
        one.end()


def wchans(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found.append((task / "wchan").read_text())
    return found


def assert_hung_in_fuse(sample, hang, state):
    thread = next(t for t in sample.threads(hang.victim) if "request_wait_answer" in t["wchan"])
    assert thread["state"] == state, thread
    assert "fuse" in thread["stack"] and "+0x" not in thread["stack"], thread
    mount = sample.at("mounts", thread["mount"])
    assert mount["type"] == "fuse" and mount["source"] == "pleg-hang" and mount["point"].endswith("/mnt"), mount
    fuse = sample.at("fuses", mount["fuse"])
    assert fuse["waiting"] >= 1 and f"0:{fuse['minor']}" == mount["device"], fuse
    server = sample.at("processes", fuse["server"])
    assert server["pid"] == hang.server.pid and "fuseServer" in server["roles"], server
    return thread


def test_a_hung_fuse_read_before_and_after_sigkill(hang):
    one = hang("/usr/bin/python3", HELPERS / "fuse_reader.py")
    wait_for(lambda: any("request_wait_answer" in w for w in wchans(one.victim)), "a thread waits for the server", 10)
    before = look("--probe", PROBE)
    thread = assert_hung_in_fuse(before, one, "S")
    assert thread["fd"] >= 0 and not thread["mountInferred"], thread
    assert before.process(one.victim)["state"] == "S"
    assert not before["node"]["fusectlMounted"] or pathlib.Path("/sys/fs/fuse/connections").is_mount()

    os.kill(one.victim, signal.SIGKILL)
    wait_for(lambda: look("--probe", PROBE).process(one.victim)["state"] == "Z", "the leader is a zombie", 10)
    first, second = look_all("--probe", PROBE, "--samples", 2, "--judge")
    # What helps is told for where it is mounted, by a thread that lives: a dead leader has no namespace to enter.
    found = [f for f in second["verdict"]["findings"] if f["cause"] == "FuseServerHung" and f["subject"]["pid"] == one.victim]
    (unmount,) = [a["command"] for f in found for a in f["advice"] if a["command"] and " umount " in a["command"]]
    tid = assert_hung_in_fuse(second, one, "D")["tid"]
    assert tid != one.victim and unmount == f"nsenter -t {tid} -p umount -N {tid} -l -- {second.at('mounts', second.threads(one.victim)[-1]['mount'])['point']}", unmount
    assert os.stat(f"/proc/{tid}/ns/mnt").st_ino != os.stat("/proc/self/ns/mnt").st_ino
    for sample in (first, second):
        thread = assert_hung_in_fuse(sample, one, "D")
        assert thread["pending"] & KILL, thread
        leader = sample.process(one.victim)
        assert leader["threads"] == 2 and leader["pidfdReadable"] is False and not leader["hasMemory"], leader
        assert sample.process(leader["ppid"]) is not None, "its parent is told"
        assert sample["tookSeconds"] < 4
    assert assert_hung_in_fuse(first, one, "D")["switches"] == assert_hung_in_fuse(second, one, "D")["switches"]


def test_a_held_mmap_lock(hang):
    one = hang(BUILD / "tests/system/mmap-holder")
    wait_for(lambda: any("folio" in w for w in wchans(one.victim)[:1]), "it waits in mmap", 10)
    sample = look("--probe", PROBE)
    holder = sample.process(one.victim)
    assert holder["memory"]["answer"] == "late", holder
    assert "access_remote_vm" in holder["memoryWchan"] or "mmap" in holder["memoryWchan"], holder
    assert sample["tookSeconds"] < 4
    assert look().gap("locks of processes"), "without a probe that cannot be known"


def freezer_group(name):
    for folder, version in (("/sys/fs/cgroup/freezer", 1), ("/sys/fs/cgroup/unified", 2), ("/sys/fs/cgroup", 2)):
        path = pathlib.Path(folder)
        if (path / "cgroup.procs").exists() and (version == 2 or (path / "tasks").exists()):
            yield path / name, version


@pytest.mark.parametrize("version", [1, 2])
def test_a_frozen_group(version):
    # Named as a container is: on v2 a frozen process looks idle, and only who belongs to something is looked at.
    group = next((g for g, v in freezer_group(f"{os.getpid():064x}") if v == version), None)
    if not group:
        pytest.skip(f"no v{version} freezer here")
    inner = group / "inner"
    inner.mkdir(parents=True)
    victim = subprocess.Popen(["sleep", "60"], start_new_session=True)
    frozen, thawed = ("FROZEN", "THAWED") if version == 1 else ("1", "0")
    file = inner / ("freezer.state" if version == 1 else "cgroup.freeze")
    try:
        (inner / "cgroup.procs").write_text(str(victim.pid))
        with released_after(f"echo {thawed} > {file}"):
            file.write_text(frozen)

            def is_frozen():
                sample = look()
                level = next((f for f in sample["freezers"] if f["path"] == str(inner)), None)
                return (sample, level) if level else None

            sample, level = wait_for(is_frozen, "the frozen level is told", 10)
            assert level["self"] and level["v2"] == (version == 2) and level["file"] == str(file), level
            assert not [f for f in sample["freezers"] if f["path"] == str(group)], "the level above is thawed"
            process = sample.process(victim.pid)
            assert sample.at("freezers", process["freezer"]) == level, process
            assert sample.threads(victim.pid)[0]["state"] == ("D" if version == 1 else "S")
            assert sample.at("containers", level["container"])["id"] == group.name
    finally:
        victim.kill()
        victim.wait()
        wait_for(lambda: not (inner / "cgroup.procs").read_text(), "the group is empty")
        inner.rmdir()
        group.rmdir()


@pytest.fixture
def volume(folder):
    """A private ext4 on a loop device; thawed and unmounted whatever happens."""
    image, point = folder / "image", folder / "a volume\\040"
    point.mkdir()
    with image.open("wb") as f:
        f.truncate(16 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", str(image)], capture_output=True, check=False)
    mounted = made.returncode == 0 and subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=False).returncode == 0
    if not mounted:
        pytest.skip("no loop mounts here")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", str(point)], check=False)


def test_a_frozen_filesystem(volume):
    writer = None
    with released_after(f"fsfreeze -u '{volume}' 2>/dev/null || true"):
        subprocess.run(["fsfreeze", "-f", str(volume)], check=True)
        try:
            writer = subprocess.Popen([sys.executable, "-c", "import os, sys; os.write(1, b'x')"], stdout=subprocess.PIPE)
            writer.communicate()
            file = volume / "held"
            writer = subprocess.Popen(["sh", "-c", f"cd '{volume}' && exec touch '{file}'"])
            wait_for(lambda: pathlib.Path(f"/proc/{writer.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "D", "the writer hangs", 10)
            sample = look("--probe", PROBE)
        finally:
            subprocess.run(["fsfreeze", "-u", str(volume)], check=False)
    writer.wait(timeout=20)
    thread = sample.threads(writer.pid)[0]
    assert thread["state"] == "D" and "mnt_want_write" in thread["stack"], thread
    mount = sample.at("mounts", thread["mount"])
    assert mount["point"] == str(volume) and thread["mountInferred"], mount  # a path of its own: by its working directory
    device = sample.at("devices", mount["blockDevice"])
    assert device["name"].startswith("loop") and device["inFlight"] == 0, device


def test_who_holds_a_mount(volume):
    sleeper = subprocess.Popen(["sleep", "60"], cwd=volume)
    opened = subprocess.Popen(["sleep", "60"], stdin=(volume / "file").open("w"))
    copy = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sleep", "60"])
    try:
        wait_for(lambda: os.readlink(f"/proc/{copy.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"), "its own namespace")
        sample = look("--busy", volume)
    finally:
        for one in (sleeper, opened, copy):
            one.kill()
            one.wait()
    (busy,) = sample["busies"]
    assert sample.at("mounts", busy["mount"])["point"] == str(volume)
    held = {(h["hold"], sample.at("processes", h["process"])["pid"]) for h in sample["holders"] if h["mount"] == busy["mount"]}
    assert {("cwd", sleeper.pid), ("fd", opened.pid), ("namespace", copy.pid)} <= held, held


@contextlib.contextmanager
def left_in_another_namespace(point, *mount):
    """Mounted at `point`, which is made, and now in the namespace of the process that is yielded only."""
    point.mkdir(parents=True)
    if subprocess.run(["mount", *map(str, mount), str(point)], check=False).returncode != 0:
        pytest.skip(f"no such mounts here: {mount}")
    copy = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sleep", "60"])
    try:
        wait_for(lambda: os.readlink(f"/proc/{copy.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"), "its own namespace")
        assert not [b for b in look()["busies"] if b["path"] == str(point)], "it is in use where it belongs"
        subprocess.run(["umount", str(point)], check=True)
        yield copy
    finally:
        subprocess.run(["umount", "-q", str(point)], check=False)
        copy.kill()
        copy.wait()


def test_a_device_left_in_another_namespace(folder):
    """Nobody can detach or format it."""
    point, image = folder / "kubelet/pods/0d7c/volumes/kubernetes.io~csi/data", folder / "image"
    with image.open("wb") as f:
        f.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], capture_output=True, check=True)
    with left_in_another_namespace(point, "-o", "loop", image) as copy:
        sample = look()
    busy = next(b for b in sample["busies"] if b["path"] == str(point))
    holder = next(h for h in sample["holders"] if h["mount"] == busy["mount"])
    assert sample.at("processes", holder["process"])["pid"] == copy.pid and holder["hold"] == "namespace"
    assert sample.at("mounts", busy["mount"])["source"].startswith("/dev/loop")


def test_what_is_on_no_device_keeps_nothing_busy(folder):
    """The copy goes with the folder that it is mounted on, as soon as that is removed."""
    point = folder / "kubelet/pods/0d7c/volumes/kubernetes.io~empty-dir/data"
    with left_in_another_namespace(point, "-t", "tmpfs", "leaky") as copy:
        assert not [b for b in look()["busies"] if b["path"] == str(point)]
        assert str(point) in pathlib.Path(f"/proc/{copy.pid}/mountinfo").read_text(), "the copy was there"
        point.rmdir()
        assert str(point) not in pathlib.Path(f"/proc/{copy.pid}/mountinfo").read_text()


def test_stopped_daemons_hide_nothing(own_containerd):
    cri = Cri(own_containerd.endpoint, getattr(own_containerd, "cgroup_parent", None))
    sandbox = cri.sandbox("seen")
    container = cri.container(sandbox, "main")
    well = look("--runtime", own_containerd.endpoint)
    told = well.container(container)
    assert told["runtimeState"] == "running" and told["kernelState"] == "alive" and told["inspect"]["answer"] == "ok", told
    assert told["pod"] == "seen" and told["container"] == "main" and not told["byKernelOnly"]
    shim = well.at("shims", told["shim"])
    assert shim["state"]["answer"] == "ok" and shim["bundle"].endswith(sandbox), shim
    daemon = well.at("daemons", told["daemon"])
    assert daemon["isRuntime"] and daemon["version"]["answer"] == daemon["list"]["answer"] == daemon["tasks"]["answer"] == "ok", daemon
    pid = well.at("processes", daemon["process"])["pid"]
    init = well.at("processes", told["init"])
    assert "init" in init["roles"] and init["nsPid"] == 1, init

    shim_pid = well.at("processes", shim["process"])["pid"]
    with continued_after(shim_pid, 30):
        os.kill(shim_pid, signal.SIGSTOP)
        sample = look("--runtime", own_containerd.endpoint)
        shim = sample.at("shims", sample.container(container)["shim"])
        assert shim["state"]["answer"] == "late" and shim["state"]["seconds"] > 1, shim
        assert sample.at("processes", shim["process"])["state"] == "T"
        assert sample["tookSeconds"] < 4
    with continued_after(pid, 30):
        os.kill(pid, signal.SIGSTOP)
        sample = look("--runtime", own_containerd.endpoint)
        daemon = next(d for d in sample["daemons"] if d["isRuntime"])
        assert daemon["list"]["answer"] == daemon["version"]["answer"] == "late", daemon
        assert sample.at("processes", daemon["process"])["state"] == "T"
        unnamed = sample.container(container)
        assert unnamed["byKernelOnly"] and unnamed["kernelState"] == "alive" and unnamed["sandboxID"] == sandbox, unnamed
        assert sample.at("shims", unnamed["shim"])["state"]["answer"] == "ok"
        assert sample.container(sandbox)["kind"] == "sandbox"
        assert sample["tookSeconds"] < 4
        # Nobody cleans up after a shim that is killed now: its containers live, and its socket, which its bundle names, refuses.
        os.kill(shim_pid, signal.SIGKILL)
        wait_for(lambda: not pathlib.Path(f"/proc/{shim_pid}").exists() or
                 pathlib.Path(f"/proc/{shim_pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z", "the shim is dead")
        sample = look("--runtime", own_containerd.endpoint, "--probe", PROBE)
        orphan = sample.container(container)
        dead = sample.at("shims", orphan["shim"])
        assert orphan["kernelState"] == "alive" and dead["process"] is None, orphan
        assert dead["state"]["answer"] == "refused" and dead["address"] == shim["address"], dead
        assert sample.container(sandbox)["shim"] == orphan["shim"], "a pod has one shim"
        # Who has not answered is not asked again: the second sample tells the age of the first call.
        first, second = look_all("--runtime", own_containerd.endpoint, "--samples", 2)
        ages = [next(d for d in s["daemons"] if d["isRuntime"])["version"]["seconds"] for s in (first, second)]
        assert ages[1] > ages[0] and second["tookSeconds"] < 4, (ages, second["tookSeconds"])


def test_no_socket_and_nobody_behind_it(folder):
    sample = look("--runtime", f"unix://{folder}/none.sock")
    (daemon,) = [d for d in sample["daemons"] if d["isRuntime"]]
    assert daemon["list"]["answer"] == "no socket" and daemon["process"] is None, daemon


THREADS = """
import sys, threading, time
threading.stack_size(65536)
for _ in range({count}):
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
print("ready", flush=True)
time.sleep(3600)
"""


def test_ten_thousand_threads_that_end_while_they_are_looked_at():
    crowds = [subprocess.Popen([sys.executable, "-c", THREADS.format(count=2500)], stdout=subprocess.PIPE) for _ in range(4)]
    churn = subprocess.Popen(["sh", "-c", "while :; do /bin/true; done"])
    program = RELEASE / "lab/pleg-evidence"
    try:
        for one in crowds:
            assert one.stdout.readline().strip() == b"ready"
        samples = look_all("--samples", 2, program=program, seconds=60)
        for sample in samples:
            assert sample["node"]["threads"] >= 10000 and not sample.gap("threads"), sample["gaps"]
            assert sample["tookSeconds"] < 5 and sample["maxResidentKB"] < 50 * 1024, (sample["tookSeconds"], sample["maxResidentKB"])
        print([s["tookSeconds"] for s in samples], samples[-1]["cpuSeconds"], samples[-1]["maxResidentKB"])
        # A stopped crowd is ten thousand threads in T: some of each process stand for all.
        os.kill(crowds[0].pid, signal.SIGSTOP)
        sample = look(program=program, seconds=60)
        assert 1 <= len(sample.threads(crowds[0].pid)) <= 256 and sample["leftOut"] > 0
        assert sample["tookSeconds"] < 5
    finally:
        for one in [*crowds, churn]:
            one.kill()
            one.wait()


def test_threads_that_end_while_they_are_looked_at(folder):
    """Each is in D when the process is gone through, and has ended when its details are read."""
    program = folder / "many-threads"
    subprocess.run(["gcc", "-O1", "-static", "-pthread", "-o", program, HELPERS / "many-threads.c"], check=True)
    crowd = subprocess.Popen([program, "50", folder / "ready", "16"], stdin=subprocess.DEVNULL)
    try:
        wait_for((folder / "ready").exists, "the threads are there")
        seen = 0
        for _ in range(4):
            sample = look("--samples", 1)
            assert crowd.poll() is None and not sample.gap("threads"), sample["gaps"]
            for thread in sample.threads(crowd.pid):
                assert thread["tid"] > 0 and thread["state"] in "RSDZX" and thread["comm"] == "many-threads", thread
            process = sample.process(crowd.pid)
            seen += process is not None
            assert process is None or process["comm"] == "many-threads"
        assert seen > 0, "none of them was in D when it was looked at: nothing was tried"
    finally:
        crowd.kill()
        crowd.wait()


FLOCKS = """
import fcntl, os, sys, threading, time
path = sys.argv[1]
held = os.open(path, os.O_RDWR)
fcntl.flock(held, fcntl.LOCK_EX)
for i in range(200):
    threading.Thread(target=lambda: fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX), daemon=True).start()
    read, write = os.pipe()
    threading.Thread(target=os.read, args=(read, 1), daemon=True).start()
print("ready", flush=True)
time.sleep(3600)
"""

MOUNTS = """
import ctypes, os, sys
libc, point = ctypes.CDLL(None, use_errno=True), sys.argv[1]
def mount(source, target, kind, flags):
    if libc.mount(source.encode(), target.encode(), kind.encode(), flags, None) < 0:
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
mount("pleg-many", point, "tmpfs", 0)
os.mkdir(f"{point}/0")
mount("pleg-many", f"{point}/0", "tmpfs", 0)
for i in range(1000):
    os.mkdir(f"{point}/0/{i}")
    mount(f"{point}/0/{i}", f"{point}/0/{i}", "", 4096)  # MS_BIND
for i in range(1, 30):
    os.mkdir(f"{point}/{i}")
    mount(f"{point}/0", f"{point}/{i}", "", 4096 | 16384)  # MS_REC: all thousand at once
open(f"{point}/29/999/file", "w").close()
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], f"{point}/29/999/file"])
"""


def test_many_that_wait_behind_thirty_thousand_mounts(folder):
    """Each thread's descriptor lies on the last line of a long table, or on none, as a pipe does. The table is read once for all of them."""
    crowds = [subprocess.Popen(["unshare", "-m", "--propagation", "private", sys.executable, "-c", MOUNTS, str(folder), FLOCKS],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for one in crowds:
            assert one.stdout.readline().strip() == b"ready"
            os.kill(one.pid, signal.SIGSTOP)  # who is stopped is looked at, whatever it waits for
        sample = look(program=RELEASE / "lab/pleg-evidence", seconds=60)
    finally:
        for one in crowds:
            one.kill()
            one.wait()
    print(sample["tookSeconds"], sample["cpuSeconds"], sample["maxResidentKB"])
    assert not [g for g in sample["gaps"] if "in time" in g["why"] or "too many" in g["why"]], sample["gaps"]
    for one in crowds:
        threads = sample.threads(one.pid)
        points = [(sample.at("mounts", t["mount"]) or {}).get("point") for t in threads]
        assert len(threads) >= 200 and points.count(f"{folder}/29/999") >= 50 and None in points, points


def test_an_unprivileged_look(folder):
    nobody = shutil.which("setpriv")
    if not nobody:
        pytest.skip("no setpriv")
    copy = folder / "pleg-evidence"
    shutil.copy(EVIDENCE, copy)
    folder.chmod(0o755)
    sample = look(program=copy, prefix=[nobody, "--reuid", "65534", "--regid", "65534", "--clear-groups"])
    assert sample.gap("processes of others"), sample["gaps"]
    assert sample["node"]["processes"] > 1
    assert all(g["why"] for g in sample["gaps"])


def test_no_arguments_and_no_environment_are_told(hang):
    secret = "s3cr3t-in-an-argument"
    victim = subprocess.Popen(["sleep", "60"], env={"TOKEN": secret}, executable="/bin/sleep")
    other = subprocess.Popen(["sh", "-c", f": {secret}; kill -STOP $$; :"])
    try:
        wait_for(lambda: look().process(other.pid), "it is looked at", 10)
        assert secret not in json.dumps(look("--probe", PROBE))
    finally:
        for one in (victim, other):
            one.kill()
            one.wait()
