#!/usr/bin/env python3
"""A containerd of our own: root, state, socket, network and images under one folder.

Used by ./run where the machine has no runtime, by the system tests, the benches and the lab. It never touches a runtime that
is there already. Its mounts and its network live in namespaces of their own, so whatever happens they go with its processes.

    privatecontainerd.py start DIR    start it (and import the images), print its endpoint
    privatecontainerd.py stop DIR     end it and all it started, remove DIR; also after a crash
    privatecontainerd.py snapshot     what a run may leave behind on this machine, to compare before and after

Shims put their sockets into /run/containerd/s whatever the configuration says; stop() removes its own from there.
"""

import fnmatch
import hashlib
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import time

SUBNET = "10.199.0.0/16"
IMAGES = ("pleg.local/pause:1", "pleg.local/busybox:1")
CGROUP_PARENT = "/pleg"
SHIM_SOCKETS = pathlib.Path("/run/containerd/s")

CONFIG = """version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
[timeouts]
  "io.containerd.timeout.shim.cleanup" = "60s"
[grpc]
  address = "{dir}/containerd.sock"
[ttrpc]
  address = "{dir}/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "pleg.local/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/cni"
"""

CNI = {
    "cniVersion": "0.4.0",
    "name": "pleg",
    "plugins": [{
        "type": "bridge", "bridge": "pleg0", "isGateway": False, "ipMasq": False,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": SUBNET}]], "dataDir": "{dir}/cni-data"},
    }],
}

# In front of the real shim on the daemon's PATH: what cleans up after a dead shim waits for as long as hold-delete is there.
SHIM_WRAPPER = """#!/bin/sh
case " $* " in *" delete "*) while [ -e "{dir}/hold-delete" ]; do sleep 0.1; done ;; esac
exec {shim} "$@"
"""


def _tar(entries):
    """entries: (name, bytes | None for a folder | ('link', target), mode)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content, mode in entries:
            info = tarfile.TarInfo(name)
            info.mode = mode
            if content is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif isinstance(content, tuple):
                info.type, info.linkname = tarfile.SYMTYPE, content[1]
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _image_archive(name, layer, command):
    """A docker-archive of one layer, as `ctr images import` reads it."""
    diff_id = "sha256:" + hashlib.sha256(layer).hexdigest()
    config = json.dumps({
        "architecture": os.uname().machine.replace("x86_64", "amd64").replace("aarch64", "arm64"), "os": "linux",
        "config": {"Entrypoint": command, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    return _tar([("config.json", config, 0o644), ("layer.tar", layer, 0o644), ("manifest.json", manifest, 0o644)])


def build_images(folder):
    """Builds the images' archives into `folder`; returns their paths."""
    source = pathlib.Path(__file__).with_name("pause.c")
    pause = folder / "pause"
    subprocess.run(["gcc", "-Os", "-static", "-s", "-o", pause, source], check=True)
    busybox = pathlib.Path("/bin/busybox").read_bytes()
    applets = subprocess.run(["/bin/busybox", "--list"], check=True, capture_output=True, text=True).stdout.split()
    folders = [(d, None, 0o755) for d in ("bin", "dev", "proc", "sys", "etc", "tmp")]
    layers = {
        IMAGES[0]: (_tar([("pause", pause.read_bytes(), 0o755)]), ["/pause"]),
        IMAGES[1]: (_tar(folders + [("bin/busybox", busybox, 0o755)] +
                         [(f"bin/{a}", ("link", "busybox"), 0o777) for a in applets if a != "busybox"]), ["/bin/sh"]),
    }
    paths = []
    for i, (name, (layer, command)) in enumerate(layers.items()):
        path = folder / f"image{i}.tar"
        path.write_bytes(_image_archive(name, layer, command))
        paths.append(path)
    return paths


def start_time(pid):
    """Field 22 of /proc/PID/stat, or None: with the pid it names a process for good."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def state_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None


def end(pids, deadline):
    """SIGCONT and SIGKILL to (pid, start time) pairs, then waits for them to be gone."""
    for pid, started in pids:
        if start_time(pid) == started:
            for sig in (signal.SIGKILL, signal.SIGCONT):
                try:
                    os.kill(pid, sig)
                except ProcessLookupError:
                    pass
    for pid, started in pids:
        while start_time(pid) == started and state_of(pid) not in (None, "Z") and time.monotonic() < deadline:
            time.sleep(0.02)


class PrivateContainerd:
    def __init__(self, folder):
        self.dir = pathlib.Path(folder).resolve()
        self.socket = self.dir / "containerd.sock"
        self.endpoint = f"unix://{self.socket}"
        self.process = None

    # -- start ------------------------------------------------------------------------------------------------------

    def start(self, images=True):
        if len(str(self.socket)) > 90:
            raise SystemExit(f"{self.dir}: too long a path for a unix socket")
        (self.dir / "cni").mkdir(parents=True, exist_ok=True)
        (self.dir / "config.toml").write_text(CONFIG.replace("{dir}", str(self.dir)))
        wrapper = self.dir / "bin" / "containerd-shim-runc-v2"
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(SHIM_WRAPPER.format(dir=self.dir, shim=shutil.which(wrapper.name)))
        wrapper.chmod(0o755)
        (self.dir / "cni" / "10-pleg.conflist").write_text(json.dumps(CNI).replace("{dir}", str(self.dir)))
        self.spawn()
        if images and not (self.dir / "images-done").exists():
            for path in build_images(self.dir):
                self.ctr("images", "import", "--snapshotter", "overlayfs", str(path))
                path.unlink()
            (self.dir / "images-done").touch()
        return self

    def spawn(self):
        """The daemon alone; also used to start it again after it was killed."""
        self.process = subprocess.Popen(
            ["nsenter", "-t", str(self.holder()), "-m", "-n", "containerd", "--config", str(self.dir / "config.toml"),
             "--log-level", os.environ.get("PLEG_CONTAINERD_LOG_LEVEL", "info")],
            stdin=subprocess.DEVNULL, stdout=(self.dir / "containerd.log").open("a"), stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": f"{self.dir}/bin:{os.environ['PATH']}"}, start_new_session=True)
        self.remember("daemon", self.process.pid)
        self.wait_ready()

    def holder(self):
        """A process that keeps the mount and the network namespace, so that both outlive a killed daemon."""
        known = self.recall("holder")
        if known:
            return known[0]
        holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c",
             "ip link set lo up && echo ready && exec sleep infinity"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
        if holder.stdout.readline() != b"ready\n":
            raise SystemExit("cannot make a mount and a network namespace (is this root?)")
        self.remember("holder", holder.pid)
        return holder.pid

    def remember(self, name, pid):
        (self.dir / f"{name}.pid").write_text(f"{pid} {start_time(pid)}\n")

    def recall(self, name):
        """(pid, start time) if that very process is alive."""
        try:
            pid, started = map(int, (self.dir / f"{name}.pid").read_text().split())
        except (OSError, ValueError):
            return None
        return (pid, started) if start_time(pid) == started and state_of(pid) != "Z" else None

    @property
    def pid(self):
        known = self.recall("daemon")
        return known[0] if known else None

    def wait_ready(self, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process and self.process.poll() is not None:
                break
            if self.socket.exists() and self.ctr("version", check=False).returncode == 0:
                return
            time.sleep(0.1)
        log = self.dir / "containerd.log"
        raise SystemExit("containerd did not start:\n" + ("".join(log.open().readlines()[-15:]) if log.exists() else ""))

    def ctr(self, *args, check=True):
        return subprocess.run(["ctr", "-a", str(self.socket), "-n", "k8s.io", *args], check=check, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    @property
    def hold_delete(self):
        """While this file is there, nobody cleans up after a shim that died."""
        return self.dir / "hold-delete"

    # -- end --------------------------------------------------------------------------------------------------------

    def kill(self, sig=signal.SIGKILL):
        """A signal to the daemon only; with SIGKILL also waits until it is gone."""
        known = self.recall("daemon")
        if not known:
            return
        os.kill(known[0], sig)
        if sig == signal.SIGKILL:
            end([known], time.monotonic() + 30)
            if self.process:
                self.process.wait()

    def _bundles(self):
        for bundle in sorted((self.dir / "state").glob("io.containerd.runtime.v2.task/*/*")):
            pids = []
            for name in ("shim.pid", "init.pid"):
                try:
                    pid = int((bundle / name).read_text())
                except (OSError, ValueError):
                    continue
                if start_time(pid):
                    pids.append((pid, start_time(pid)))
            try:
                address = (bundle / "address").read_text().removeprefix("unix://")
            except OSError:
                address = ""
            yield bundle.name, pids, address

    def _shims(self):
        """Known by their command line: not every containerd writes a shim.pid, and a killed container leaves its shim waiting."""
        for entry in pathlib.Path("/proc").iterdir():
            # The name first: a command line is read of shims only, since with an mmap_lock held that read hangs.
            try:
                ours = entry.name.isdigit() and (entry / "comm").read_text().startswith("containerd-shim")
                words = (entry / "cmdline").read_bytes().split(b"\0") if ours else []
            except OSError:
                continue
            if words and b"containerd-shim" in words[0] and os.fsencode(self.socket) in words:
                yield int(entry.name), start_time(entry.name)

    def stop(self):
        """Ends every process that a NAME.pid in the folder names ("pid start-time"; ./run adds its own there), the containers, what
        they left in cgroups and in the shims' socket folder, and the folder."""
        deadline = time.monotonic() + 60
        self.hold_delete.unlink(missing_ok=True)
        bundles = list(self._bundles())
        names = {path.stem for path in self.dir.glob("*.pid")} - {"holder"}
        end(list(filter(None, map(self.recall, sorted(names)))), deadline)
        end([pid for _, pids, _ in bundles for pid in pids], deadline)
        end(list(self._shims()), deadline)
        if bundles:
            patterns = [f"*/**/{name}" for name, _, _ in bundles]
            remove_cgroups(patterns[0], deadline, *patterns[1:])
        for _, _, address in bundles:
            if address and pathlib.Path(address).parent == SHIM_SOCKETS:
                pathlib.Path(address).unlink(missing_ok=True)
        end(list(filter(None, [self.recall("holder")])), deadline)
        remove_cgroups(f"*{CGROUP_PARENT}-{self.dir.name}", deadline)
        if self.process:
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def cgroup_parent(self):
        """Where pods of this instance belong, so that stop() finds them."""
        return f"{CGROUP_PARENT}-{self.dir.name}"


def _cgroups(patterns):
    """One walk for all of them; the last part of a pattern is a plain name. Unlike a glob, os.walk() goes on when a directory that is
    somebody else's disappears meanwhile."""
    top, wanted = "/sys/fs/cgroup", {}
    for pattern in patterns:
        wanted.setdefault(pattern.rpartition("/")[2], []).append(pattern.replace("**/", ""))
    return [path for root, folders, _ in os.walk(top) for path in (pathlib.Path(root, f) for f in folders if f in wanted)
            if any(fnmatch.fnmatchcase(str(path.relative_to(top)), pattern) for pattern in wanted[path.name])]


def remove_cgroups(pattern, deadline, *more):
    """Ends what is left in the matching cgroups and removes them, the innermost first."""
    for top in _cgroups([pattern, *more]):
        folders = sorted((pathlib.Path(where) for where, _, _ in os.walk(top)), key=lambda p: -len(p.parts))
        for folder in folders:
            try:
                pids = [int(p) for p in (folder / "cgroup.procs").read_text().split()]
            except OSError:
                continue
            end([(p, start_time(p)) for p in pids], deadline)
            while time.monotonic() < deadline:
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.05)


def snapshot(more=()):
    """What a run may leave behind, as sets that can be compared before and after. `more`: further names of processes."""
    names = ("containerd", "containerd-shim", "pleg", "pleg-web", "pleg-cri", "pause", "runc", *more)
    processes = set()
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                comm = (entry / "comm").read_text().strip()
            except OSError:
                continue
            if comm.startswith(names) and state_of(entry.name) != "Z":
                processes.add(f"{comm} {entry.name}")
    mounts = {" ".join(line.split()[3:5]) for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()}
    return {
        "processes": processes,
        "mounts": mounts,
        "network namespaces": set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set(),
        "shim sockets": set(os.listdir(SHIM_SOCKETS)) if SHIM_SOCKETS.is_dir() else set(),
        "network links": set(os.listdir("/sys/class/net")),
        "cgroups": {str(p) for p in pathlib.Path("/sys/fs/cgroup").glob("*/k8s.io/*") if p.is_dir()} |
                   {str(p) for p in pathlib.Path("/sys/fs/cgroup").glob(f"*{CGROUP_PARENT}-*")},
    }


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "start":
        print(PrivateContainerd(arguments[1]).start().endpoint)
    elif len(arguments) == 2 and arguments[0] == "stop":
        PrivateContainerd(arguments[1]).stop()
    elif arguments == ["snapshot"]:
        print(json.dumps({k: sorted(v) for k, v in snapshot().items()}, indent=1))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
