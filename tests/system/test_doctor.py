"""pleg doctor on a real containerd of the tests' own, without an agent: nothing is found where all is well; a shim and then containerd
that are stopped are named, proven, in time; not being root is said. Whatever is stopped has its release armed before."""

import contextlib
import json
import os
import pathlib
import pty
import re
import resource
import signal
import subprocess
import threading
import time

import pytest
from conftest import PLEG, continued_after, wait_for

RISKS = ["none", "object", "pod", "runtime", "node", "reboot"]


class Doctor:
    def __init__(self, done, seconds):
        self.code, self.text, self.errors, self.seconds = done.returncode, done.stdout, done.stderr, seconds
        self.document = json.loads(done.stdout) if done.stdout.startswith("{") else None

    def of(self, word):
        """Findings whose subject, or a symptom's, names this: other tests of this machine break things of their own."""
        return [f for f in self.document["findings"] if word in json.dumps(f["subject"])]


def doctor(daemon, *arguments, before=(), most=10):
    start = time.monotonic()
    done = subprocess.run([*before, str(PLEG), "doctor", "--runtime", daemon.endpoint, *arguments],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    seconds = time.monotonic() - start
    for word in ("AddressSanitizer", "LeakSanitizer", "runtime error:", "Assertion"):
        assert word not in done.stderr, done.stderr
    assert seconds < most, "whatever hangs"
    return Doctor(done, seconds)


def state_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def group_of(pod):
    """Where the processes of the container are counted, v1 or v2."""
    init = (pod.dir / "state/io.containerd.runtime.v2.task/k8s.io" / pod.app / "init.pid").read_text()
    lines = [line.split(":", 2) for line in pathlib.Path(f"/proc/{init}/cgroup").read_text().splitlines()]
    for controllers, folder in ("pids", "/sys/fs/cgroup/pids"), ("", "/sys/fs/cgroup"):
        for _, name, path in lines:
            if name == controllers and (pathlib.Path(folder + path) / "pids.max").exists():
                return pathlib.Path(folder + path)
    pytest.skip("processes are not counted here")


@pytest.fixture(scope="module")
def pod(containerd):
    sandbox = containerd.cri.sandbox("patient")
    containerd.app = containerd.cri.container(sandbox, "app")
    init = int((containerd.dir / "state/io.containerd.runtime.v2.task/k8s.io" / containerd.app / "init.pid").read_text())
    containerd.shim = int(pathlib.Path(f"/proc/{init}/status").read_text().split("PPid:")[1].split()[0])
    yield containerd
    containerd.cri.remove_pod(sandbox)


def check(finding):
    assert finding["evidence"] and finding["summary"]
    assert all(e["what"] and e["where"] and e["value"] and e["time"] for e in finding["evidence"])
    risks = [RISKS.index(a["risk"]) for a in finding["advice"]]
    assert risks == sorted(risks)


def test_all_is_well(pod):
    d = doctor(pod, "-o", "json")
    assert d.of(pod.app) == [] and d.of(pod.endpoint) == []
    assert d.document["runtime"] == pod.endpoint and d.document["samples"] >= 1
    assert d.document["complete"] and d.code == (1 if d.document["findings"] else 0), d.text
    assert d.document["node"]["containersLive"] >= 1 and d.document["node"]["threads"] > d.document["node"]["processes"] > 1
    assert f"The node: {d.document['node']['containersLive']} containers run" in doctor(pod).text


def test_stopped_shim(pod):
    with continued_after(pod.shim):
        os.kill(pod.shim, signal.SIGSTOP)
        wait_for(lambda: state_of(pod.shim) == "T", "the shim is stopped")
        d = doctor(pod, "-o", "json")
        text = doctor(pod).text
    found = [f for f in d.document["findings"] if f["subject"]["pid"] == pod.shim]
    assert d.code == 1 and [f["cause"] for f in found] == ["ShimStopped"], d.text
    check(found[0])
    assert found[0]["confidence"] == "proven" and found[0]["subject"]["pod"] == "patient"
    assert found[0]["advice"][0]["command"] == f"kill -CONT {pod.shim}" and found[0]["advice"][0]["risk"] == "none"
    assert f"        kill -CONT {pod.shim}\n" in text and "What not to do" in text


def test_stopped_containerd(pod):
    pid = pod.process.pid
    with continued_after(pid):
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: state_of(pid) == "T", "containerd is stopped")
        d = doctor(pod, "-o", "json")
    found = [f for f in d.document["findings"] if f["subject"]["pid"] == pid]
    assert d.code == 1 and [(f["cause"], f["confidence"]) for f in found] == [("CriDaemonStopped", "proven")], d.text
    check(found[0])
    assert found[0]["advice"][0]["command"] == f"kill -CONT {pid}"


def test_progress(pod):
    """On a terminal a line tells how far it is, written over and wiped at the end; anywhere else there is none."""
    with continued_after(pod.shim):
        os.kill(pod.shim, signal.SIGSTOP)  # so that it looks for longer than a second
        wait_for(lambda: state_of(pod.shim) == "T", "the shim is stopped")
        ours, theirs = pty.openpty()
        start = time.monotonic()
        process = subprocess.Popen([str(PLEG), "doctor", "--runtime", pod.endpoint, "-o", "json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=theirs)
        os.close(theirs)
        reader = threading.Thread(target=lambda: printed.append(process.stdout.read()))
        printed, shown, first = [], b"", None
        reader.start()
        with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
            while part := os.read(ours, 4096):
                first = first or time.monotonic() - start
                shown += part
        reader.join(timeout=30)
        seconds = time.monotonic() - start
        os.close(ours)
        piped = doctor(pod, "-o", "json")
    assert process.wait(timeout=30) == 1 and json.loads(printed[0])["findings"]
    lines = re.findall(r"\r\x1b\[Kpleg: +(\d+) % (\S[^\r]*)", shown.decode())
    print(f"{len(lines)} in {seconds:.1f} s, the first after {first:.1f} s")
    assert len(lines) >= 3 and first < seconds - 0.5, (shown, first, seconds)
    assert len(lines) == shown.count(b"pleg:"), "each says how far it is and with what"
    assert all(0 < int(percent) <= 100 for percent, _ in lines), lines
    assert shown.endswith(b"\r\x1b[K"), shown[-60:]
    assert "%" not in piped.errors and "\r" not in piped.errors and "\x1b" not in piped.errors, piped.errors


def test_no_room(pod):
    """A small tmpfs over the root of this containerd, in its mount namespace, full of bytes and then of inodes. It comes off by itself."""
    root, enter = pod.dir / "root", ["nsenter", "-t", str(pod.process.pid), "-m"]
    inside = pathlib.Path(f"/proc/{pod.process.pid}/root{root}")
    for options, cause in ("size=1m", "NodeDiskFull"), ("size=8m,nr_inodes=8", "InodesExhausted"):
        subprocess.run([*enter, "mount", "-t", "tmpfs", "-o", options, "pleg-room", root], check=True)
        timer = subprocess.Popen([*enter, "sh", "-c", 'sleep 30; umount -l "$0"', str(root)], stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            if cause == "NodeDiskFull":
                subprocess.run(["dd", "if=/dev/zero", f"of={inside}/filler", "bs=64k"], stderr=subprocess.DEVNULL, check=False)
            else:
                for i in range(7):
                    (inside / str(i)).touch()
            d = doctor(pod, "-o", "json")
        finally:
            os.killpg(timer.pid, signal.SIGKILL)
            timer.wait()
            subprocess.run([*enter, "umount", "-l", root], check=True)
        found = [f for f in d.document["findings"] if f["subject"]["mount"] == str(root)]
        assert [(f["cause"], f["confidence"]) for f in found] == [(cause, "proven")], d.document
        check(found[0])
        assert str(root) in found[0]["advice"][0]["command"]
    assert d.of(str(root)) and not doctor(pod, "-o", "json").of(str(root))


def test_no_descriptors(pod):
    """containerd may open two more, for as long as the doctor looks; its limit comes back by itself."""
    pid = pod.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    timer = subprocess.Popen(["sh", "-c", f"sleep 30; prlimit --pid {pid} --nofile={soft}:{hard}"], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 2, hard))
        d = doctor(pod, "-o", "json")
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        os.killpg(timer.pid, signal.SIGKILL)
        timer.wait()
    found = [f for f in d.document["findings"] if f["subject"]["pid"] == pid]
    assert [(f["cause"], f["confidence"]) for f in found] == [("FdExhausted", "proven")], d.document
    check(found[0])
    assert found[0]["advice"][0]["command"].startswith(f"prlimit --pid {pid} --nofile=")


def test_no_processes(pod):
    """The limit of a container's group is set to what it has, and comes back by itself."""
    group = group_of(pod)
    timer = subprocess.Popen(["sh", "-c", 'sleep 30; echo max > "$0"', str(group / "pids.max")], stdin=subprocess.DEVNULL, start_new_session=True)
    before = (group / "pids.max").read_text()
    try:
        (group / "pids.max").write_text((group / "pids.current").read_text())
        d = doctor(pod, "-o", "json")
    finally:
        (group / "pids.max").write_text(before)
        os.killpg(timer.pid, signal.SIGKILL)
        timer.wait()
    found = [f for f in d.document["findings"] if f["subject"]["mount"] == str(group)]
    assert [(f["cause"], f["confidence"], f["subject"]["containerID"]) for f in found] == [("PidsExhausted", "proven", pod.app)], d.document
    check(found[0])


def test_a_shim_that_answers_garbage(pod, folder):
    """It answers, so it does not hang, and nothing says why: suspected, and nothing is advised that could lose anything."""
    from test_trace import fake_shim
    with fake_shim(folder, b"HTTP/1.1 400 Bad Request\r\n\r\n") as (container, pid):
        d = doctor(pod, "-o", "json")
    found = [f for f in d.document["findings"] if f["subject"]["pid"] == pid]
    assert d.code == 1 and [(f["cause"], f["confidence"]) for f in found] == [("UnknownButHung", "suspected")], d.text
    check(found[0])
    assert found[0]["subject"]["containerID"] == container and "what is not of its protocol" in found[0]["summary"]
    assert any("does not speak ttrpc" in e["value"] for e in found[0]["evidence"]) and all(a["risk"] == "none" for a in found[0]["advice"])


def test_a_crash_loop_by_its_attempt(pod):
    """containerd keeps what a kubelet would: one dead, and the number of its attempt. How often it was of late is not known to the doctor."""
    sandbox = pod.cri.sandbox("crashing")
    app = pod.cri.container(sandbox, "app", script="exit 3", attempt=6)
    try:
        wait_for(lambda: any(c["id"] == app and c["state"] == "exited" for c in pod.cri.list()), "it has crashed")
        d = doctor(pod, "-o", "json")
    finally:
        pod.cri.remove_pod(sandbox)
    found = [f for f in d.document["findings"] if f["subject"]["containerID"] == app]
    assert [(f["cause"], f["confidence"], f["severity"]) for f in found] == [("ContainerCrashLoop", "suspected", "info")], d.text
    check(found[0])
    assert "was started again 6 times" in found[0]["summary"] and \
        found[0]["advice"][0]["command"] == f"crictl -r {pod.endpoint} logs --tail 100 {app}", found[0]


def test_root_without_rights(pod):
    """Root is not enough: without the capability nothing of others can be seen, and then finding nothing means nothing."""
    d = doctor(pod, "-o", "json", before=["setpriv", "--bounding-set", "-sys_ptrace,-sys_admin", "--inh-caps", "-all"])
    assert not d.document["complete"] and d.code == (1 if d.document["findings"] else 2), d.text
    assert any("CAP_SYS_PTRACE" in (g["cure"] or "") for g in d.document["gaps"]), d.document["gaps"]
    assert d.document["findings"] or "not everything could be looked at" in d.errors


def test_without_rights(pod):
    d = doctor(pod, "-o", "json", before=["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])
    assert d.code == 2 and "Not run as root" in d.errors
    assert d.document["gaps"] and all(g["what"] and g["why"] for g in d.document["gaps"])


def test_which_runtime(pod, start_agent, folder):
    """Nobody says which: that of the agent. Without an agent there is none here that could be found, which is said, and nothing is called well."""
    agent = start_agent(pod.endpoint)

    def look(socket):
        done = subprocess.run([str(PLEG), "doctor", "-o", "json", "--socket", str(socket)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60)
        return done.returncode, json.loads(done.stdout)
    agent.wait_ready()
    # It has 0.4 s for its answer, which may be too little on a machine that is busy.
    code, document = wait_for(lambda: (said := look(agent.socket))[1]["runtime"] and said, "a runtime", 60)
    assert document["runtime"] == pod.endpoint and code in (0, 1)
    traced = subprocess.run([str(PLEG), "trace", "patient/app", "-o", "json", "--socket", str(agent.socket)], stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=60)
    assert json.loads(traced.stdout)["endpoint"] == pod.endpoint, traced.stderr
    if pathlib.Path("/run/containerd/containerd.sock").exists() or pathlib.Path("/run/docker.sock").exists():
        return
    code, document = look(folder / "nobody.sock")
    gaps = [g for g in document["gaps"] if g["what"] == "the container runtime"]
    assert document["runtime"] is None and not document["complete"] and len(gaps) == 1 and "--runtime" in gaps[0]["cure"]
    assert code == (1 if document["findings"] else 2)


def test_usage():
    done = subprocess.run([str(PLEG), "doctor", "--runtime", "nonsense"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and done.stderr


def cpu_group(name):
    """A group with a quota of processor time; on v1 or v2, as the machine has it."""
    v1 = pathlib.Path("/sys/fs/cgroup/cpu")
    if (v1 / "cpu.cfs_quota_us").parent.is_dir() and (v1 / "cgroup.procs").exists():
        return v1 / name, "cpu.cfs_quota_us", "1000", "-1", v1
    v2 = pathlib.Path("/sys/fs/cgroup")
    if "cpu" not in (v2 / "cgroup.subtree_control").read_text():
        pytest.skip("no cpu controller that a quota can be given by")
    return v2 / name, "cpu.max", "1000 100000", "max", v2


def test_a_quota_that_is_used_up(pod):
    """1 % of a core for this containerd, which somebody keeps busy; it comes off by itself."""
    group, file, little, none, top = cpu_group(f"pleg-quota-{os.getpid()}")
    group.mkdir()
    timer = subprocess.Popen(["sh", "-c", 'sleep 50; echo "$0" > "$1"', none, str(group / file)], stdin=subprocess.DEVNULL, start_new_session=True)
    busy = None
    try:
        (group / file).write_text(little)
        (group / "cgroup.procs").write_text(str(pod.process.pid))
        busy = subprocess.Popen(["sh", "-c", 'for i in 1 2 3; do while :; do "$@" list > /dev/null; done & done; wait', "sh", *pod.cri.base],
                                stderr=subprocess.DEVNULL, start_new_session=True)
        d = doctor(pod, "--watch", "-o", "json", most=45)
    finally:
        if busy:
            os.killpg(busy.pid, signal.SIGKILL)
            busy.wait()
        os.killpg(timer.pid, signal.SIGKILL)
        timer.wait()
        (group / file).write_text(none)
        for pid in (group / "cgroup.procs").read_text().split():
            (top / "cgroup.procs").write_text(pid)
        wait_for(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")
        group.rmdir()
    found = [f for f in d.document["findings"] if f["subject"]["mount"] == str(group)]
    assert [(f["cause"], f["confidence"]) for f in found] == [("DaemonOrKubeletCpuStarved", "proven")], d.text
    check(found[0])
