"""pleg doctor --goroutines on a real containerd, dockerd and shim: what they write is found, read and told, also where one container's lock
is held for real. Nobody is signalled who does not catch SIGUSR1 (a stand-in), is stopped, or whose dump would hold it up. Whatever is
stopped or held has its release armed before."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import pytest
from conftest import Cri, continued_after, wait_for
from test_doctor import check, doctor, state_of

from privatecontainerd import PrivateContainerd
from privatedocker import PrivateDocker

DUMP = "/tmp/containerd.{}.stacks.log"


def dump_of(d, pid):
    found = [g for g in d.document["goroutines"] if g["pid"] == pid]
    assert len(found) == 1, d.document["goroutines"]
    return found[0]


def asked(daemon, *arguments):
    """A doctor that found nothing, and so asked the daemons of its runtime: others break things of their own on this machine meanwhile, and then
    only those are asked."""
    def look():
        d = doctor(daemon, "-g", "-o", "json", *arguments)
        return any(g["pid"] == daemon.pid for g in d.document["goroutines"]) and d
    return wait_for(look, "the daemon of the runtime is asked", 150)


def frames(dump):
    return [f for g in dump["groups"] for f in g["frames"]]


def check_dump(dump):
    """What every one that was read looks like."""
    assert dump["asked"] and dump["askedAt"] and dump["message"] is None and dump["cut"] is False, dump
    assert dump["total"] == sum(g["count"] for g in dump["groups"]) + dump["leftOut"]
    assert dump["groups"] == sorted(dump["groups"], key=lambda g: -g["count"])
    assert all(not set(f) & set("{}? \t") and "0x" not in f for f in frames(dump)), "names only"


@pytest.fixture(scope="module")
def docker():
    daemon = PrivateDocker(tempfile.mkdtemp(prefix="pleg-d-", dir="/tmp"))
    try:
        yield daemon.start()
    finally:
        pids = [p for p in (daemon.containerd.pid,) if p]
        daemon.stop()
        for pid in pids:
            pathlib.Path(DUMP.format(pid)).unlink(missing_ok=True)


@pytest.fixture
def own():
    """A containerd with a pod, of one test."""
    daemon = PrivateContainerd(tempfile.mkdtemp(prefix="pleg-c-", dir="/tmp"))
    pid = None
    try:
        daemon.start()
        pid = daemon.pid
        daemon.cri = Cri(daemon.endpoint, daemon.cgroup_parent)
        daemon.sandbox = daemon.cri.sandbox("patient")
        yield daemon
    finally:
        daemon.stop()
        if pid:
            pathlib.Path(DUMP.format(pid)).unlink(missing_ok=True)


def test_not_without_being_asked(own):
    d = doctor(own, "-o", "json")
    assert d.document["goroutines"] is None
    assert not pathlib.Path(DUMP.format(own.pid)).exists() and "goroutine" not in (own.dir / "containerd.log").read_text()


def test_containerd(own):
    """All is well: the daemon of the runtime is asked, and serves on."""
    dump = dump_of(asked(own, "--goroutines"), own.pid)
    check_dump(dump)
    assert dump["process"] == "containerd" and dump["source"] == DUMP.format(own.pid)
    assert any(f.startswith("github.com/containerd/containerd/") for f in frames(dump)), dump
    assert doctor(own, "-o", "json").document["goroutines"] is None
    assert own.ctr("version").returncode == 0
    # Once more: the same file, written anew.
    again = dump_of(asked(own), own.pid)
    assert again["source"] == dump["source"] and again["askedAt"] > dump["askedAt"]
    wait_for(lambda: re.search(rf"^  containerd \(pid {own.pid}\): \d+ goroutines, ", doctor(own, "-g").text, re.M), "the text tells of it", 150)


def test_somebody_elses_file(own):
    """A file of that name that another user has made, with what he likes in it, is not believed; the log has the real one."""
    forged = pathlib.Path(DUMP.format(own.pid))
    forged.write_text("goroutine 1 [semacquire, 999 minutes]:\nexample.org/forged.f()\n")
    os.chown(forged, 65534, 65534)
    dump = dump_of(asked(own), own.pid)
    check_dump(dump)
    assert dump["source"] == str(own.dir / "containerd.log") and dump["longestMinutes"] < 999
    assert not any("forged" in f for f in frames(dump))


def test_dockerd(docker):
    container = docker.engine.run("one")
    d = asked(docker)
    dump = dump_of(d, docker.pid)
    check_dump(dump)
    assert dump["process"] == "dockerd" and dump["source"].startswith(f"{docker.dir}/exec/goroutine-stacks-"), dump
    assert any(f.startswith("github.com/docker/docker/") for f in frames(dump))
    behind = dump_of(d, docker.containerd.pid)
    check_dump(behind)
    docker.engine.remove(container)


SERVER = """import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
kept = []
while True:
    kept.append(listener.accept()[0])
"""


def hangs(docker, container):
    with contextlib.suppress(socket.timeout, TimeoutError):
        docker.engine.inspect(container, timeout=1)
        return False
    return True


def test_a_lock_that_is_held(docker):
    """A start that does not end, since its log server never answers the TLS handshake: the dump shows who waits for the lock. The server
    ends by itself after 60 s, and with it the start."""
    other = docker.engine.run("other")
    server = subprocess.Popen(["timeout", "-s", "KILL", "60", "nsenter", "-t", str(docker.containerd.holder()), "-n", sys.executable, "-c", SERVER],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)
    starter = None
    try:
        options = {"syslog-address": f"tcp+tls://127.0.0.1:{int(server.stdout.readline())}", "syslog-tls-skip-verify": "1"}
        container = docker.engine.create("app", LogConfig={"Type": "syslog", "Config": options})
        starter = subprocess.Popen(["docker", "--host", docker.endpoint, "start", container], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: hangs(docker, container), "its inspection hangs")
        d = doctor(docker, "--watch", "-g", "-o", "json", most=50)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server.stdout.close()
        if starter:
            starter.wait(timeout=60)
    found = [f for f in d.of(container) if f["cause"] == "DockerContainerLockHeld"]
    assert len(found) == 1, d.text
    check(found[0])
    told = {e["what"]: e["value"] for e in found[0]["evidence"]}
    assert "wait for a lock" in told["goroutines of dockerd"]
    assert "ContainerInspect" in told["goroutines that wait for a lock"], told
    dump = dump_of(d, docker.pid)
    check_dump(dump)
    assert dump["onLock"] >= 1 and any(g["onLock"] and any("ContainerInspect" in f for f in g["frames"]) for g in dump["groups"])
    # Who is not in the finding and has answered is left alone.
    assert [g["pid"] for g in d.document["goroutines"] if g["process"] == "containerd" and g["pid"] == docker.containerd.pid] == []
    docker.engine.remove(container)
    docker.engine.remove(other)


def test_stopped(own):
    """Not signalled: when it goes on nothing is pending, and it has dumped nothing."""
    pid = own.pid
    with continued_after(pid):
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: state_of(pid) == "T", "containerd is stopped")
        d = doctor(own, "-g", "-o", "json")
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        assert int(status.split("ShdPnd:")[1].split()[0], 16) & 1 << signal.SIGUSR1 - 1 == 0
    dump = dump_of(d, pid)
    assert dump["asked"] is False and "it is stopped" in dump["message"] and dump["total"] is None, dump
    assert own.ctr("version").returncode == 0
    assert "goroutine stack dump" not in (own.dir / "containerd.log").read_text()
    assert not pathlib.Path(DUMP.format(pid)).exists()


# A process called containerd that listens where one would and catches nothing: SIGUSR1 would end it.
DEAF = """import socket, sys
open("/proc/self/comm", "w").write("containerd")
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(16)
print("ready", flush=True)
kept = []
while True:
    kept.append(listener.accept()[0])
"""


class Deaf:
    def __init__(self, folder):
        self.endpoint = f"unix://{folder}/containerd.sock"
        self.process = subprocess.Popen([sys.executable, "-c", DEAF, str(folder / "containerd.sock")], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"


def test_who_does_not_catch_it(folder):
    """A stand-in that does not answer and has no handler is not signalled, and lives on."""
    daemon = Deaf(folder)
    try:
        caught = int(pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text().split("SigCgt:")[1].split()[0], 16)
        assert caught & 1 << signal.SIGUSR1 - 1 == 0
        d = doctor(daemon, "-g", "-o", "json")
        dump = dump_of(d, daemon.process.pid)
        assert dump["asked"] is False and "does not catch SIGUSR1" in dump["message"], dump
        assert daemon.process.poll() is None and state_of(daemon.process.pid) == "S"
    finally:
        daemon.process.kill()
        daemon.process.wait()
        daemon.process.stdout.close()


# In front of the real runc on the PATH of a shim: a create waits for as long as hold-create is there, and with it the shim.
RUNC = """#!/bin/sh
case " $* " in *" create "*) while [ -e "{dir}/hold-create" ]; do sleep 0.1; done ;; esac
exec {runc} "$@"
"""


def test_a_shim_that_hangs(own):
    """It is not stopped: it holds its lock while a runc of its second container does not end, so `State` is not answered. Its dump lands in
    the log of its containerd. The runc goes on by itself after 60 s."""
    wrapper, hold = own.dir / "bin/runc", own.dir / "hold-create"
    wrapper.write_text(RUNC.format(dir=own.dir, runc=shutil.which("runc")))
    wrapper.chmod(0o755)
    init = int((own.dir / "state/io.containerd.runtime.v2.task/k8s.io" / own.sandbox / "init.pid").read_text())
    shim = int(pathlib.Path(f"/proc/{init}/status").read_text().split("PPid:")[1].split()[0])
    timer = subprocess.Popen(["sh", "-c", 'sleep 60; rm -f "$0"', str(hold)], stdin=subprocess.DEVNULL, start_new_session=True)
    container = own.cri("create", own.sandbox, "--name", "app", "--image", "pleg.local/busybox:1", "--", "/bin/sh", "-c", "sleep 3600")
    hold.touch()
    starter = subprocess.Popen([*own.cri.base, "start", container], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: b"runc" in b"".join(children(shim)), "runc is held")
        d = doctor(own, "-g", "-o", "json")
        assert state_of(shim) == "S"
    finally:
        hold.unlink(missing_ok=True)
        os.killpg(timer.pid, signal.SIGKILL)
        timer.wait()
        starter.wait(timeout=60)
    dump = dump_of(d, shim)
    check_dump(dump)
    assert dump["process"] == "containerd-shim" and dump["source"] == str(own.dir / "containerd.log"), dump
    assert dump["onLock"] >= 1, "State waits for the lock that Create holds"
    assert any(f.startswith("github.com/containerd/containerd/runtime/v2/runc") for f in frames(dump)), dump
    # It still works.
    own.cri.remove_pod(own.sandbox)


def children(pid):
    """Command lines of the children of a process."""
    lines = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                lines.append((entry / "cmdline").read_bytes())
    return lines


def test_a_shim_whose_log_nobody_reads(own):
    """Its containerd is stopped: a dump would stay in the FIFO, and one that does not fit would hold the shim up."""
    init = int((own.dir / "state/io.containerd.runtime.v2.task/k8s.io" / own.sandbox / "init.pid").read_text())
    shim = int(pathlib.Path(f"/proc/{init}/status").read_text().split("PPid:")[1].split()[0])
    with continued_after(own.pid), continued_after(shim):
        os.kill(own.pid, signal.SIGSTOP)
        os.kill(shim, signal.SIGSTOP)
        wait_for(lambda: state_of(own.pid) == state_of(shim) == "T", "both are stopped")
        d = doctor(own, "-g", "-o", "json")
    assert not any(g["asked"] for g in d.document["goroutines"] if g["pid"] in (own.pid, shim)), d.document["goroutines"]
    wait_for(lambda: own.ctr("version").returncode == 0, "it answers again")
    assert "goroutine stack dump" not in (own.dir / "containerd.log").read_text()
