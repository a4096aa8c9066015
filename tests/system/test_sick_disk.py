"""The filesystem under pleg frozen, and full. Both are a chroot on a small loop ext4 of the test's own, in a mount namespace of its own;
a timer thaws it whatever happens. Uses the optimised build: a sanitizer's runtime is no part of what must work there."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
from conftest import wait_for

RELEASE = pathlib.Path(os.environ.get("PLEG_RELEASE", os.environ.get("PLEG_BUILD", "")))
SETUP = """set -e
mount -t tmpfs tmpfs "$1/mnt-parent"
mkdir "$1/mnt-parent/fs"
mount -o loop "$1/disk" "$1/mnt-parent/fs"
cp -a "$1/tree/." "$1/mnt-parent/fs/"
cd "$1/mnt-parent/fs"
mkdir -p proc dev run tmp ctrd
mount -t proc proc proc
mount --bind /dev dev
mount -t tmpfs tmpfs run
mount --bind "$2" ctrd
mkdir run/pleg
echo ready
exec sleep 600
"""


def libraries(*programs):
    found = set()
    for program in programs:
        for word in subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.split():
            if word.startswith("/"):
                found.add(word)
    return found


class Chroot:
    def __init__(self, folder, containerd):
        self.dir = folder
        web, probe = next(RELEASE.rglob("pleg-web")), RELEASE / "src/kernel/pleg-probe"
        pleg = RELEASE / "src/cli/pleg"
        tree = folder / "tree"
        for program in (pleg, web, probe):
            (tree / "bin").mkdir(parents=True, exist_ok=True)
            shutil.copy2(program, tree / "bin")
        shutil.copy2(pleg, tree / "bin" / "pleg-cold")  # nobody has it open or mapped
        for library in libraries(pleg, web):
            target = tree / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library, target)
        (tree / "etc").mkdir()
        (tree / "etc" / "pleg.yaml").write_text(
            "apiVersion: pleg.dev/v1\nnodeName: n\ncontainerRuntimeEndpoint: unix:///ctrd/containerd.sock\n"
            "controlSocket: /run/pleg/pleg.sock\nstateDir: /state\nmetricsAddress: 127.0.0.1:0\nhttpAddress: 127.0.0.1:0\n")
        subprocess.run(["truncate", "-s", "128M", folder / "disk"], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", folder / "disk"], check=True)
        (folder / "mnt-parent").mkdir()
        self.holder = subprocess.Popen(["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", SETUP, "sh", folder, containerd.dir],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)
        if self.holder.stdout.readline() != "ready\n":
            pytest.skip("no loop device or no ext4 here: the frozen disk cannot be made")
        self.enter = ["nsenter", "-t", str(self.holder.pid), "-m", "-n"]
        self.fs = f"{folder}/mnt-parent/fs"
        self.agent = None
        self.timer = None

    def chroot(self, *command):
        return [*self.enter, "chroot", self.fs, *command]

    def start(self, log):
        self.agent = subprocess.Popen(self.chroot("/bin/pleg", "agent", "--config", "/etc/pleg.yaml"), stdin=subprocess.DEVNULL,
                                      stderr=log, start_new_session=True)

    def status(self, timeout=20):
        return subprocess.run(self.chroot("/bin/pleg", "status"), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)

    def status_json(self):
        done = subprocess.run(self.chroot("/bin/pleg", "status", "-o", "json"), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        return json.loads(done.stdout)["agent"]

    def probe(self):
        return next(r for r in self.status_json()["roles"] if r["role"] == "probe")

    def forget_pages(self, path):
        """Takes a file out of the page cache: whoever needs it next reads the disk."""
        subprocess.run([*self.enter, "dd", f"if={self.fs}{path}", "iflag=nocache", "count=0", "status=none"], stdin=subprocess.DEVNULL, check=True)

    def freeze(self):
        # Armed first: it thaws by itself in 30 s.
        self.timer = subprocess.Popen([*self.enter, "sh", "-c", f"sleep 30; fsfreeze -u {self.fs}"], stdin=subprocess.DEVNULL, start_new_session=True,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.2)
        subprocess.run([*self.enter, "fsfreeze", "-f", self.fs], check=True)

    def thaw(self):
        subprocess.run([*self.enter, "fsfreeze", "-u", self.fs], check=False, capture_output=True)

    def end(self):
        if self.timer:
            self.thaw()
            os.killpg(self.timer.pid, 9)
            self.timer.wait()
        if self.agent and self.agent.poll() is None:
            self.agent.terminate()
            self.agent.wait(timeout=30)
        os.killpg(self.holder.pid, 9)
        self.holder.wait()


@pytest.fixture
def chroot(folder, containerd):
    root = Chroot(folder, containerd)
    yield root
    root.end()


def answers(root):
    return wait_for(lambda: (done := root.status()).returncode in (0, 1) and done.stdout, "pleg status answers")


def test_frozen_filesystem(chroot, containerd, folder):
    with (folder / "agent.log").open("w") as log:
        chroot.start(log)
    answers(chroot)
    wait_for(lambda: "containerd" in chroot.status().stdout, "the runtime is known")
    chroot.freeze()
    # A write there hangs now: that is the proof that the disk is frozen.
    writer = subprocess.Popen([*chroot.enter, "sh", "-c", f"echo x > {chroot.fs}/x"], stdin=subprocess.DEVNULL, start_new_session=True)
    sandbox = containerd.cri.sandbox("frozen")
    events = wait_for(lambda: "frozen" in (t := subprocess.run(chroot.chroot("/bin/pleg", "events"), stdin=subprocess.DEVNULL, capture_output=True,
                                                               text=True, timeout=20).stdout) and t, "an event while the disk is frozen")
    assert "ContainerStarted" in events
    assert chroot.status().returncode == 0, chroot.status()
    assert writer.poll() is None, "the disk was frozen all the time"
    chroot.thaw()
    writer.wait(timeout=30)
    containerd.cri.remove_pod(sandbox)


def test_probe_on_a_frozen_filesystem(chroot, folder):
    """One that hangs is replaced out of memory: its file was even removed. Status is answered by a command that has to be read from the
    frozen disk first: reading ext4 does not wait for a thaw."""
    with (folder / "agent.log").open("w") as log:
        chroot.start(log)
    answers(chroot)
    wait_for(lambda: chroot.probe()["state"] == "running", "the probe runs")
    subprocess.run([*chroot.enter, "sh", "-c", f"rm {chroot.fs}/bin/pleg-probe; sync -f {chroot.fs}"], stdin=subprocess.DEVNULL, check=True)
    chroot.forget_pages("/bin/pleg-cold")
    first = chroot.probe()["pid"]
    chroot.freeze()
    writer = subprocess.Popen([*chroot.enter, "sh", "-c", f"echo x > {chroot.fs}/x"], stdin=subprocess.DEVNULL, start_new_session=True)
    os.kill(first, signal.SIGSTOP)
    cold = subprocess.run(chroot.chroot("/bin/pleg-cold", "status"), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert "probe running" in " ".join(cold.stdout.split()), cold
    second = wait_for(lambda: (p := chroot.probe())["state"] == "running" and p["pid"] not in (None, first) and p, "another probe", 20)
    assert second["restarts"] == 1 and chroot.status_json()["probes"]["late"] >= 1
    assert writer.poll() is None, "the disk was frozen all the time"
    assert not pathlib.Path(f"/proc/{first}").exists()
    chroot.thaw()
    writer.wait(timeout=30)


def test_full_filesystem(chroot, containerd, folder):
    with (folder / "agent.log").open("w") as log:
        chroot.start(log)
    answers(chroot)
    # dd ends with ENOSPC: that is what is wanted.
    subprocess.run([*chroot.enter, "dd", "if=/dev/zero", f"of={chroot.fs}/filler", "bs=1M"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    sandbox = containerd.cri.sandbox("full")
    wait_for(lambda: "full" in subprocess.run(chroot.chroot("/bin/pleg", "events"), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                              timeout=20).stdout, "an event while the disk is full")
    assert chroot.status().returncode == 0
    containerd.cri.remove_pod(sandbox)
