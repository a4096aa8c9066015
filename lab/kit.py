"""What the incidents of the lab are made with.

An incident is a folder under lab/incidents or lab/lookalikes: `start`, `stop` and `expect.json` (lab/README.md). `start` is called as

    start DIR --runtime DIR-OF-A-PRIVATE-CONTAINERD [--seconds N]

and is a Python script of one function; run() gives it a Lab. When what it makes is there, as seen by looking and not by waiting, it
calls happened(), which prints the moment and the subject as one line of JSON and keeps it in DIR/moment.json. Everything that a start
begins lives in one cgroup, in one mount namespace (its containerd's) and in DIR, so stop() finds it whatever happened in between:
a start killed at any point leaves nothing that stop() does not see, and the way out (arm()) runs by itself before that.

The order that start keeps: arm() before anything is frozen, stopped or held.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "lab"))
from privatecontainerd import PrivateContainerd, end, remove_cgroups, start_time  # noqa: E402
from privatedocker import EngineError, PrivateDocker  # noqa: E402

BUSYBOX = "pleg.local/busybox:1"
PAGE_KILL = 1 << (signal.SIGKILL - 1)
UNSUPPORTED = 77


class Unsupported(Exception):
    """This machine cannot have this incident; the text says why."""


def build_folder():
    return pathlib.Path(os.environ.get("PLEG_BUILD", ROOT / "build")).resolve()


def tool(name):
    path = build_folder() / "lab" / name
    if not path.exists():
        raise Unsupported(f"{name} is not built")
    return str(path)


# ---- reading the kernel, only what answers whatever hangs (no cmdline, no path lookups on volumes) --------------------------


def read(path):
    try:
        return pathlib.Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def state_of(pid, tid=None):
    words = read(f"/proc/{pid}/task/{tid or pid}/stat").rpartition(")")[2].split()
    return words[0] if words else "gone"


def threads_of(pid):
    with contextlib.suppress(OSError):
        return sorted(int(t) for t in os.listdir(f"/proc/{pid}/task"))
    return []


def stack_of(pid, tid=None):
    return read(f"/proc/{pid}/task/{tid or pid}/stack")


def status_field(pid, name, tid=None):
    for line in read(f"/proc/{pid}/task/{tid or pid}/status").splitlines():
        if line.startswith(name + ":"):
            return line.split(":", 1)[1].strip()
    return ""


def kill_is_pending(pid, tid=None):
    return bool(int(status_field(pid, "SigPnd", tid) or "0", 16) & PAGE_KILL)


def parent_of(pid):
    return int(status_field(pid, "PPid") or 0)


def children_of(pid):
    return [int(c) for t in threads_of(pid) for c in read(f"/proc/{pid}/task/{t}/children").split()]


def find_kernel_thread(comm):
    for entry in os.listdir("/proc"):
        if entry.isdigit() and read(f"/proc/{entry}/comm").startswith(comm):
            return int(entry)
    return None


def stuck_thread(pid, functions, killed=True):
    """The thread in D with one of the functions in its stack, and SIGKILL pending if `killed`; or None."""
    for tid in threads_of(pid):
        if state_of(pid, tid) == "D" and any(f in stack_of(pid, tid) for f in functions) and (kill_is_pending(pid, tid) or not killed):
            return tid
    return None


def stays_stuck(pid, functions, seconds=0.3):
    """stuck_thread() without a kill, and it did not run at all for a while: not one of the short waits that everybody has."""
    tid = stuck_thread(pid, functions, killed=False)
    ran = tid and status_field(pid, "voluntary_ctxt_switches", tid)
    deadline = time.monotonic() + seconds
    while tid and time.monotonic() < deadline:
        time.sleep(0.02)
        if stuck_thread(pid, functions, killed=False) != tid or status_field(pid, "voluntary_ctxt_switches", tid) != ran:
            return None
    return tid


def cgroup_of(pid, controller=""):
    """Its folder in the v1 hierarchy of the controller, or in the unified one."""
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            tops = [f"/sys/fs/cgroup/{controller}"] if controller else ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            top = next((t for t in tops if os.path.exists(f"{t}/cgroup.procs")), tops[-1])
            return pathlib.Path(top + path)
    return pathlib.Path("/nonexistent")


def wait_for(condition, what, seconds=20):
    """The first true value of condition(); `what` is a text, or what gives one that says how things are instead."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.01)


def _lab_cgroups(folder):
    """Where the processes of an incident are: the unified hierarchy, or the first one there is."""
    root = pathlib.Path("/sys/fs/cgroup")
    for top in (root / "unified", root, root / "pids", root / "systemd"):
        if (top / "cgroup.procs").exists():
            return top / f"pleg-lab-{pathlib.Path(folder).name}"
    raise Unsupported("no cgroup hierarchy is mounted")


# ---- the side of `start` ----------------------------------------------------------------------------------------------------


class Lab:
    def __init__(self, folder, runtime, seconds, expect):
        self.dir = pathlib.Path(folder).resolve()
        self.runtime_dir = runtime and pathlib.Path(runtime).resolve()
        self.seconds, self.expect = seconds, expect
        self.uid = f"uid-{self.dir.name}"
        self.pids, self.more = {}, {}
        self.dir.mkdir(parents=True, exist_ok=True)
        (self.dir / "start.json").write_text(json.dumps({"runtime": str(self.runtime_dir or ""), "uid": self.uid, "cri": str(build_folder() / "lab/pleg-cri")}))
        self.containerd = runtime and PrivateContainerd(self.runtime_dir)
        # A dockerd stands on a containerd of the same folder.
        self.docker = PrivateDocker(self.runtime_dir) if runtime and (self.runtime_dir / "docker.sock").exists() else None
        self.steps = []
        self.cgroup = _lab_cgroups(self.dir)
        self.cgroup.mkdir(exist_ok=True)
        (self.cgroup / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def name(self):
        return self.expect["name"]

    # -- processes

    def spawn(self, *command, inside=True, say=None):
        """A process of its own session, in the runtime's mount and network namespace; with `say`, waits for a line that begins so and returns
        (process, line). Its stderr goes to DIR/NAME.log."""
        command = [str(c) for c in command]
        enter = ["nsenter", "-t", str(self.holder), "-m", "-n"] if inside and self.containerd else []
        log = self.dir / f"{pathlib.Path(command[0]).name}.log"
        process = subprocess.Popen([*enter, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if say else subprocess.DEVNULL,
                                   stderr=log.open("a"), start_new_session=True, text=True)
        if not say:
            return process
        line = process.stdout.readline()
        if not line.startswith(say):
            code = process.wait(timeout=20)
            reason = f"{command[0]}: {read(log).strip() or f'exit code {code}'}"
            raise Unsupported(reason) if code == UNSUPPORTED else SystemExit(reason)
        return process, line.strip()

    def run(self, *command, inside=True, timeout=30):
        enter = ["nsenter", "-t", str(self.holder), "-m"] if inside and self.containerd else []
        done = subprocess.run([*enter, *map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    @property
    def holder(self):
        known = self.containerd.recall("holder")
        if not known:
            raise SystemExit(f"no private containerd runs in {self.runtime_dir}")
        return known[0]

    def seen(self, path):
        """A path of the runtime's mount namespace as the machine's own sees it."""
        return f"/proc/{self.holder}/root{path}"

    def who(self, **roles):
        """Names processes, each with its start time."""
        self.pids |= {role: [pid, start_time(pid)] for role, pid in roles.items()}

    def ends_with(self, pid):
        """stop() kills this one, which is not in the incident's cgroup."""
        with (self.dir / "ends-with.pids").open("a") as f:
            f.write(f"{pid} {start_time(pid)}\n")

    def arm(self, *actions):
        """The way out: lets go after self.seconds, or at stop(). Actions are tuples, see lab/helpers/release.c."""
        words = [str(w) for action in actions for w in action]
        process, _ = self.spawn(tool("pleg-lab-release"), self.seconds, *words, inside=False, say="armed")
        with (self.dir / "release.pids").open("a") as f:
            f.write(f"{process.pid} {start_time(process.pid)}\n")
        self.more.setdefault("letsGoAfterSeconds", self.seconds)

    # -- volumes

    def fuse(self, *options):
        """A FUSE volume whose server does not answer, its way out armed. Returns its mount point; see lab/helpers/fuse.c."""
        mount, control = self.dir / "volume", self.dir / "fusectl"
        for folder in (mount, control):
            folder.mkdir()
        self.run("mount", "-t", "fusectl", "none", control)
        server, line = self.spawn(tool("pleg-lab-fuse"), mount, *options, say="mounted ")
        minor = line.split()[1]
        self.arm(("write", self.seen(f"{control}/{minor}/abort"), "1"))
        self.who(server=server.pid)
        self.more |= {"mount": str(mount), "mountInside": "/volume", "device": f"0:{minor}", "abort": self.seen(f"{control}/{minor}/abort")}
        return mount

    def disk(self, megabytes=16, options="noatime", *mkfs):
        """A volume on a loop device: an ext4 of its own. Returns its mount point; the device is in self.more."""
        image, mount = self.dir / "disk", self.dir / "volume"
        with image.open("wb") as f:
            f.truncate(megabytes << 20)
        self.run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", *mkfs, image, inside=False)
        mount.mkdir()
        self.run("mount", "-o", f"loop,{options}", image, mount)
        for line in read(f"/proc/{self.holder}/mountinfo").splitlines():
            words = line.split()
            if words[4] == str(mount):
                source = words[words.index("-") + 2]
                self.more |= {"mount": str(mount), "mountInside": "/volume", "device": words[2], "deviceName": source.rpartition("/")[2]}
        return mount

    def throttle_reads(self, pid, device):
        """Reads of the device by that process's container get one byte a second, and are let go by arm()."""
        v1 = cgroup_of(pid, "blkio") / "blkio.throttle.read_bps_device"
        v2 = cgroup_of(pid) / "io.max"
        if v1.exists():
            self._throttle(v1, f"{device} 1", f"{device} 0")
        elif v2.exists():
            self._throttle(v2, f"{device} rbps=1", f"{device} rbps=max")
        else:
            raise Unsupported("no cgroup here can limit the reads of a device")

    def throttle_writes(self, device):
        """Writes to that device by the kernel itself, a journal's: only v1 can limit what is in no cgroup."""
        v1 = pathlib.Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")
        if not v1.exists():
            raise Unsupported("without cgroup v1 nothing limits what the kernel writes")
        self._throttle(v1, f"{device} 1", f"{device} 0")

    def _throttle(self, path, held, free):
        self.arm(("write", path, free))
        path.write_text(held)

    # -- containers

    def cri(self, *arguments, timeout=60, check=True):
        done = subprocess.run([tool("pleg-cri"), "--runtime", self.containerd.endpoint, *map(str, arguments)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise SystemExit(f"pleg-cri {' '.join(map(str, arguments[:2]))}: {done.stderr.strip()}")
        return done.stdout.strip()

    def pod(self, name=None):
        """A sandbox; stop() knows it by its UID."""
        self.more |= {"namespace": "lab", "pod": name or self.dir.name}
        self.sandbox = self.cri("run-sandbox", "--name", self.more["pod"], "--namespace", "lab", "--uid", self.uid, "--host-network",
                                "--cgroup-parent", self.containerd.cgroup_parent)
        return self.sandbox

    def programs(self, name="victim"):
        """The folder that is /lab in containers, with the program under that name in it."""
        folder = self.dir / "lab"
        folder.mkdir(exist_ok=True)
        if not (folder / name).exists():
            shutil.copy(tool("pleg-lab-victim"), folder / name)
        return folder

    def docker_container(self, name, script, volume=None, labels=None, start=True, **host):
        """A container of the private dockerd; stop() knows it by its label. Returns its id."""
        binds = [f"{self.programs()}:/lab:ro"] + ([f"{volume}:/volume"] if volume else [])
        container = self.docker.engine.create(f"{self.dir.name}-{name}", script, labels={"pleg.lab": self.uid, **(labels or {})}, Binds=binds, **host)
        if start:
            self.docker.engine.start(container)
        return container

    def docker_cli(self, *words, seconds=3):
        """`docker ...` under a timeout: (exit code, or None if it hung; what it said)."""
        done = subprocess.run(["timeout", "-s", "KILL", str(seconds), "docker", "--host", self.docker.endpoint, *words], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=seconds + 20)
        return None if done.returncode in (137, -9) else done.returncode, (done.stdout + done.stderr).strip()

    def step(self, what, result, right=True):
        """One step of a longer story, kept for the moment; a step that is not as it should be ends it."""
        self.steps.append([what, result])
        if not right:
            raise SystemExit(f"{what}: {result}")

    def container(self, name, *command, volume=None, attempt=0):
        """A started container of the pod; returns (id, pid of its init). The helper programs are in its /lab."""
        if not hasattr(self, "sandbox"):
            self.pod()
        programs = self.programs()
        mounts = ["--mount", f"{programs}:/lab:ro"] + (["--mount", f"{volume}:/volume"] if volume else [])
        container = self.cri("create", self.sandbox, "--name", name, "--image", BUSYBOX, "--attempt", attempt, *mounts, "--", *command)
        self.cri("start", container)
        self.more |= {"container": name, "containerID": container}
        return container, self.init_of(container)

    def bundle(self, container):
        return self.containerd.dir / "state/io.containerd.runtime.v2.task/k8s.io" / container

    def init_of(self, container):
        return int(read(self.bundle(container) / "init.pid"))

    def shim_of(self, pid_of_init):
        return parent_of(pid_of_init)

    # -- the moment

    def runtime(self):
        """The daemons that this is made on, of which nothing may be said that is not so: their pids and sockets."""
        daemons = [one for one in (self.containerd, self.docker) if one]
        return {"pids": [one.pid for one in daemons if one.pid], "sockets": [str(one.socket) for one in daemons]}

    def happened(self, precondition, **tids):
        """Prints the moment at which the precondition was observed, and who is who."""
        moment = {
            "incident": self.name,
            "at": _rfc3339(time.time_ns()),
            "monotonicNanoseconds": time.monotonic_ns(),
            "precondition": precondition,
            "subject": self.more,
            "pids": self.pids,
            "tids": tids,
            "steps": self.steps,
            "runtime": self.runtime(),
        }
        (self.dir / "moment.json").write_text(json.dumps(moment))
        print(json.dumps(moment), flush=True)


def _rfc3339(ns):
    second = datetime.datetime.fromtimestamp(ns // 10**9, datetime.timezone.utc)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"


def load_expect(folder):
    expect = json.loads((pathlib.Path(folder) / "expect.json").read_text())
    return {"name": pathlib.Path(folder).name, **expect}


def run(function):
    """main() of a start script."""
    here = pathlib.Path(sys.argv[0]).resolve().parent
    expect = load_expect(here)
    parser = argparse.ArgumentParser(description=expect["summary"])
    parser.add_argument("dir")
    parser.add_argument("--runtime", help="folder of a private containerd")
    parser.add_argument("--seconds", type=int, default=expect["armed"], help="when the way out runs by itself")
    arguments = parser.parse_args()
    try:
        function(Lab(arguments.dir, arguments.runtime, min(arguments.seconds, expect["armedMax"]), expect))
    except Unsupported as why:
        print(f"{expect['name']}: cannot be had here: {why}", file=sys.stderr)
        raise SystemExit(UNSUPPORTED)


# ---- the side of `stop` -----------------------------------------------------------------------------------------------------


def _pids_in(path):
    return [tuple(map(int, line.split())) for line in read(path).splitlines() if len(line.split()) == 2 and "None" not in line]


def _let_go(folder):
    """The way out, now; it opened what it needs when it was armed."""
    pids = _pids_in(folder / "release.pids")
    for pid, started in pids:
        if start_time(pid) == started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    for pid, started in pids:
        while start_time(pid) == started and state_of(pid) != "Z" and time.monotonic() < deadline:
            time.sleep(0.01)


def _kill_processes(folder):
    """Everything that start began, and start itself if it is still at it."""
    with contextlib.suppress(Unsupported):
        cgroup = _lab_cgroups(folder)
        deadline = time.monotonic() + 20
        while cgroup.is_dir() and time.monotonic() < deadline:
            pids = [int(p) for p in read(cgroup / "cgroup.procs").split() if int(p) != os.getpid()]
            end([(p, start_time(p)) for p in pids], time.monotonic() + 5)
            if not pids:
                remove_cgroups(f"{cgroup.relative_to('/sys/fs/cgroup')}", deadline)


def _remove_pods(runtime, uid, tool_path):
    cri = [tool_path, "--runtime", runtime.endpoint, "--timeout", "20s"]

    def call(*arguments):
        return subprocess.run([*cri, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    for _ in range(3):
        left = [json.loads(line) for line in call("list", "--uid", uid).stdout.splitlines()]
        if not left:
            return
        for one in left:
            if one["kind"] == "container":
                call("stop", one["id"], "--grace", "0")
        for one in left:
            if one["kind"] == "sandbox":
                call("stop-sandbox", one["id"])
                call("rm-sandbox", one["id"])


def _remove_docker_containers(folder, uid):
    docker = PrivateDocker(folder)
    with contextlib.suppress(OSError, EngineError):
        for one in docker.engine.call("GET", "/containers/json?all=1", timeout=20):
            if one["Labels"].get("pleg.lab") == uid:
                with contextlib.suppress(OSError, EngineError):
                    docker.engine.remove(one["Id"], timeout=20)


def _unmount(folder, runtime):
    """Below DIR, in the machine's mount namespace and in the runtime's; the loop devices go with their mounts."""
    known = runtime and runtime.recall("holder")
    for pid, enter in [(os.getpid(), [])] + ([(known[0], ["nsenter", "-t", str(known[0]), "-m"])] if known else []):
        points = [line.split()[4] for line in read(f"/proc/{pid}/mountinfo").splitlines()]
        for point in reversed([p for p in points if p.startswith(f"{folder}/")]):
            subprocess.run([*enter, "umount", "-l", point], stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    for backing in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        if read(backing).startswith(f"{folder}/"):
            subprocess.run(["losetup", "-d", f"/dev/{backing.parts[3]}"], stdin=subprocess.DEVNULL, capture_output=True, timeout=20)


def stop(folder):
    """Ends an incident whatever became of its start. Idempotent."""
    folder = pathlib.Path(folder).resolve()
    _let_go(folder)
    end(_pids_in(folder / "ends-with.pids"), time.monotonic() + 10)
    _kill_processes(folder)
    with contextlib.suppress(ValueError, KeyError, FileNotFoundError):
        started = json.loads(read(folder / "start.json"))
        runtime = PrivateContainerd(started["runtime"]) if started["runtime"] and pathlib.Path(started["runtime"]).is_dir() else None
        if runtime and (runtime.dir / "docker.sock").exists():
            _remove_docker_containers(runtime.dir, started["uid"])
        elif runtime and runtime.pid:
            _remove_pods(runtime, started["uid"], started["cri"])
        _unmount(folder, runtime)
    shutil.rmtree(folder, ignore_errors=True)


def left_behind(folder, moment):
    """What an incident has left after stop(), as lines of text; the processes that it named are gone, but for the runtime's own."""
    folder = pathlib.Path(folder)
    left = [f"process {role} {pid}" for role, (pid, started) in (moment or {"pids": {}})["pids"].items()
            if role != "daemon" and started is not None and start_time(pid) == started and state_of(pid) != "Z"]
    left += [f"mount {line.split()[4]}" for line in read("/proc/self/mountinfo").splitlines() if f"{folder}/" in line]
    left += [f"loop device {b}" for b in pathlib.Path("/sys/block").glob("loop*/loop/backing_file") if f"{folder}/" in read(b)]
    with contextlib.suppress(Unsupported):
        left += [f"cgroup {c}" for c in [_lab_cgroups(folder)] if c.exists()]
    return left + ([f"folder {folder}"] if folder.exists() else [])


def main_stop():
    if len(sys.argv) != 2:
        raise SystemExit("usage: stop DIR")
    stop(sys.argv[1])
