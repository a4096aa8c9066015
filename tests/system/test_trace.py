"""pleg trace on a real containerd of the tests' own, without an agent: a container that is well, and one whose shim, containerd, init
or cgroup is stopped. What hangs is named, nothing else is, and it ends in time. Whatever is stopped has its release armed before."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from conftest import BUILD, PLEG, BUSYBOX, continued_after, wait_for
from test_collect import HELPERS, Hang

HOPS = ["kubelet", "cri", "containerd", "shim", "oci", "init"]
CGROUP = next(p for p in (pathlib.Path("/sys/fs/cgroup/freezer"), pathlib.Path("/sys/fs/cgroup")) if p.is_dir())


class Trace:
    def __init__(self, done, seconds):
        self.code, self.text, self.errors, self.seconds = done.returncode, done.stdout, done.stderr, seconds
        self.document = json.loads(done.stdout) if done.stdout.startswith("{") else None
        self.hops = {h["hop"]: h for h in self.document["hops"]} if self.document else {}

    def __getattr__(self, name):
        return self.document[name]

    def statuses(self):
        return {name: hop["status"] for name, hop in self.hops.items() if name != "kubelet"}

    def call(self, hop, call):
        return next(c for c in self.hops[hop]["calls"] if c["call"] == call)


def trace(daemon, subject, *arguments, before=()):
    start = time.monotonic()
    done = subprocess.run([*before, str(PLEG), "trace", "--runtime", daemon.endpoint, *arguments, subject],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    seconds = time.monotonic() - start
    for word in ("AddressSanitizer", "LeakSanitizer", "runtime error:", "Assertion"):
        assert word not in done.stderr, done.stderr
    assert done.returncode in (0, 1, 2), (done.returncode, done.stderr)
    assert seconds < 10, "whatever hangs"
    return Trace(done, seconds)


def look(daemon, subject, more=(), **options):
    return trace(daemon, subject, "-o", "json", *more, **options)


def stat_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def states_of(pid):
    return [(t / "stat").read_text().rpartition(")")[2].split()[0] for t in pathlib.Path(f"/proc/{pid}/task").iterdir()]


def killed_in_vain(hang):
    """The reader of fuse_reader.py waits for its answer, and goes on waiting when its process is killed."""
    tasks = pathlib.Path(f"/proc/{hang.victim}/task")
    wait_for(lambda: any("request_wait_answer" in (t / "wchan").read_text() for t in tasks.iterdir()), "it waits")
    os.kill(hang.victim, signal.SIGKILL)
    wait_for(lambda: "D" in states_of(hang.victim), "the reader is in D")


def comms_below(pid):
    """The names of the children of all threads of a process."""
    children = " ".join((t / "children").read_text() for t in pathlib.Path(f"/proc/{pid}/task").iterdir()).split()
    return [pathlib.Path(f"/proc/{child}/comm").read_text().strip() for child in children]


def init_of(daemon, container):
    return int((daemon.dir / "state/io.containerd.runtime.v2.task/k8s.io" / container / "init.pid").read_text())


def shim_of(daemon, container):
    return int(stat_of(init_of(daemon, container))[1])


@pytest.fixture(scope="module")
def pod(containerd):
    """One pod with one container that is well, for all tests of this file that leave it so."""
    cri = containerd.cri
    containerd.sandbox_id = cri.sandbox("web")
    containerd.app = cri.container(containerd.sandbox_id, "app")
    return containerd


def test_healthy(pod):
    t = look(pod, pod.app)
    assert t.code == 0, t.text
    assert t.statuses() == {"cri": "ok", "containerd": "ok", "shim": "ok", "oci": "ok", "init": "ok"}
    assert [h["hop"] for h in t.document["hops"]] == HOPS
    assert t.verdict == "fine" and t.culprits == []
    pid = init_of(pod, pod.app)
    assert t.container == {"containerID": pod.app, "sandboxID": pod.sandbox_id, "namespace": "test", "pod": "web", "podUID": "uid-web",
                           "container": "app", "kind": "container", "state": "running", "detail": None, "owner": None}
    assert t.hops["init"]["process"]["pid"] == pid
    assert t.hops["shim"]["process"]["pid"] == shim_of(pod, pod.app)
    assert t.hops["shim"]["address"].startswith("unix:///run/containerd/s/")
    assert t.hops["containerd"]["process"]["pid"] == pod.pid
    assert t.hops["oci"]["stateFile"] is True
    assert t.hops["oci"]["state"] == {"status": "running", "pid": pid, "same": True}
    assert t.hops["init"]["freezer"] and {f["state"] for f in t.hops["init"]["freezer"]} == {"THAWED"}
    assert [(g["count"], g["state"], g["tids"]) for g in t.hops["init"]["threads"]] == [(1, "S", [pid])]
    for hop, calls in (("cri", {"Version", "ContainerStatus"}), ("containerd", {"Version", "Namespaces/List", "Tasks/Get"}), ("shim", {"State"})):
        assert {c["call"] for c in t.hops[hop]["calls"]} == calls
        assert all(c["answer"] == "ok" and c["latencySeconds"] > 0 for c in t.hops[hop]["calls"])
    # Generous for a busy machine under sanitizers; the budget itself is held by the bench.
    assert min(look(pod, pod.app).seconds for _ in range(5)) < 1


def test_every_way_to_name_it(pod):
    for name in ("test/web/app", "web/app", "app", pod.app, pod.app[:8]):
        t = look(pod, name)
        assert (t.code, t.container["containerID"]) == (0, pod.app), name
    assert look(pod, pod.sandbox_id).container["kind"] == "sandbox"


def test_the_text_is_a_tree(pod):
    t = trace(pod, "app")
    assert t.code == 0
    lines = t.text.splitlines()
    assert lines[0] == f"test/web/app  {pod.app[:12]}  running"
    assert [re.match(r"[ `-]*(\w+)", line).group(1) for line in lines[1:7]] == ["kubelet", "CRI", "containerd", "shim", "OCI", "init"]
    assert re.match(r" +1 thread S hrtimer_nanosleep, tid \d+$", lines[7]), lines[7]
    assert "Fine: Nothing hangs" in t.text


def test_ambiguous_and_unknown(pod):
    cri = pod.cri
    sandbox = cri.sandbox("web2")
    other = cri.container(sandbox, "app")
    t = trace(pod, "app")
    assert t.code == 2 and t.text == ""
    assert "fits 2 containers" in t.errors and "test/web/app" in t.errors and "test/web2/app" in t.errors
    assert look(pod, "web2/app").container["containerID"] == other
    cri.remove_pod(sandbox)
    t = trace(pod, "0123456789abcdef" * 4)
    assert t.code == 2 and "There is no container" in t.errors
    assert trace(pod, "nobody").code == 2
    assert trace(pod, "a/b/c/d").code == 2
    # The last of several incarnations is meant.
    sandbox = cri.sandbox("again")
    first = cri.container(sandbox, "c", script="exit 3")
    wait_for(lambda: look(pod, first).container["state"] == "exited", "it ends")
    t = look(pod, first)
    assert t.code == 0, t.text
    assert t.statuses()["init"] == "absent" and "exit code 3" in t.hops["init"]["message"]
    second = cri.container(sandbox, "c", attempt=1)
    assert look(pod, "again/c").container["containerID"] == second
    cri.remove_pod(sandbox)


def test_stopped_shim_is_named_and_nothing_else(pod):
    shim = shim_of(pod, pod.app)
    with continued_after(shim):
        os.kill(shim, signal.SIGSTOP)
        wait_for(lambda: stat_of(shim)[0] == "T", "the shim is stopped")
        t = look(pod, "web/app")
        assert t.code == 1 and t.culprits == ["shim"], t.text
        assert t.hops["shim"]["status"] == "hangs" and f"pid {shim} " in t.hops["shim"]["message"]
        assert "is stopped (T)" in t.hops["shim"]["message"]
        assert t.call("shim", "State")["answer"] == "late"
        assert t.call("cri", "Version")["answer"] == "ok" and t.call("containerd", "Version")["answer"] == "ok"
        assert all(h["explainedBy"] == "shim" for h in t.hops.values() if h["status"] in ("hangs", "fails", "differs") and h["hop"] != "shim")
        assert t.statuses()["init"] == "ok"
        assert t.summary.startswith("The shim hangs") and "containerd hangs" not in t.summary
        assert t.seconds < 5
    wait_for(lambda: look(pod, "web/app").code == 0, "all is well again")


def test_unprivileged_says_what_it_could_not_see(pod):
    before = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    t = look(pod, pod.app, before=before)
    assert t.code == 2 and t.verdict == "blind" and t.culprits == [], t.text
    assert t.statuses() == {"cri": "unseen", "containerd": "unseen", "shim": "unseen", "oci": "ok", "init": "ok"}
    assert "Permission denied" in t.hops["cri"]["message"] and "Permission denied" in t.hops["shim"]["message"]
    assert "CAP_SYS_PTRACE" in t.hops["init"]["message"]
    t = trace(pod, "web/app", before=before)
    assert t.code == 2 and "Permission denied" in t.errors


def test_frozen_cgroup_is_named(pod):
    init = init_of(pod, pod.app)
    lines = [line.split(":", 2) for line in pathlib.Path(f"/proc/{init}/cgroup").read_text().splitlines()]
    path = next((p for _, c, p in lines if c == "freezer"), None)
    if path is not None:
        file, on, off = CGROUP / path[1:] / "freezer.state", "FROZEN", "THAWED"
    else:
        file, on, off = CGROUP / lines[0][2][1:] / "cgroup.freeze", "1", "0"
    timer = subprocess.Popen(["sh", "-c", f"sleep 30; echo {off} > {file}"], start_new_session=True)
    try:
        file.write_text(on)
        t = look(pod, pod.app)
        assert t.code == 1 and t.culprits == ["init"], t.text
        assert str(file.parent) in t.hops["init"]["message"]
    finally:
        file.write_text(off)
        os.killpg(timer.pid, signal.SIGKILL)
        timer.wait()
    # On purpose it is no trouble.
    pod.ctr("task", "pause", pod.app)
    try:
        t = look(pod, pod.app)
        assert t.code == 0 and "paused on purpose" in t.hops["init"]["message"], t.text
    finally:
        pod.ctr("task", "resume", pod.app)


def test_stopped_init_is_named(pod):
    init = init_of(pod, pod.app)
    with continued_after(init, 30):
        os.kill(init, signal.SIGSTOP)
        wait_for(lambda: stat_of(init)[0] == "T", "the init is stopped")
        t = look(pod, pod.app)
        assert t.code == 1 and t.culprits == ["init"], t.text
        assert f"pid {init} sleep is stopped (T)" in t.summary


def test_a_stopped_runc_is_named(pod):
    """`runc exec` as somebody would call it; it stays for as long as its command runs."""
    init = init_of(pod, pod.app)
    runc = subprocess.Popen([shutil.which("runc") or "/usr/sbin/runc", "--root", "/run/containerd/runc/k8s.io", "exec", pod.app, "sleep", "50"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with continued_after(runc.pid, 30):
            wait_for(lambda: "sleep" in comms_below(runc.pid), "its command runs")
            os.kill(runc.pid, signal.SIGSTOP)
            wait_for(lambda: stat_of(runc.pid)[0] == "T", "runc is stopped")
            t = look(pod, pod.app)
            assert t.code == 1 and t.culprits == ["oci"], t.text
            assert t.hops["oci"]["status"] == "hangs" and f"pid {runc.pid} runc is stopped (T)" in t.hops["oci"]["message"]
            assert [(p["pid"], p["state"]) for p in t.hops["oci"]["processes"]] == [(runc.pid, "T")]
            assert t.hops["init"]["process"]["pid"] == init and t.statuses()["init"] == "ok", "its command is not taken for the init"
    finally:
        runc.kill()
        runc.wait()
    wait_for(lambda: look(pod, pod.app).code == 0, "all is well again")


def test_a_state_that_names_another_process(pod):
    """runc's own file of a container of ours, with another number in it for a moment."""
    container = pod.cri.container(pod.sandbox_id, "misnamed")
    init, file = init_of(pod, container), pathlib.Path("/run/containerd/runc/k8s.io") / container / "state.json"
    good = file.read_text()
    try:
        for key, wrong, words in (("init_process_pid", 1, f"pid 1; the kernel says pid {init}"),
                                  ("init_process_start", 7, f"of another start than the pid {init} there is")):
            file.write_text(json.dumps({**json.loads(good), key: wrong}))
            t = look(pod, container)
            assert t.code == 1 and t.culprits == ["oci"] and words in t.hops["oci"]["message"], t.text
            assert t.hops["oci"]["state"]["same"] is False
        file.write_text(good[:len(good) // 2])
        t = look(pod, container)
        assert t.code == 0 and t.hops["oci"]["state"] is None and "cannot be read" in t.hops["oci"]["message"], t.text
    finally:
        file.write_text(good)
    assert look(pod, container).hops["oci"]["state"] == {"status": "running", "pid": init, "same": True}


def test_what_a_thread_waits_on(pod, folder):
    """A process of no runtime in a group with a container's id, whose reader hangs in FUSE and was killed in vain. On v1 its leader, a
    zombie, does not say any more where it lived; a younger process in the group does."""
    container = os.urandom(32).hex()
    group = CGROUP / container
    hang = Hang(folder, sys.executable, HELPERS / "fuse_reader.py")
    younger = subprocess.Popen(["sleep", "60"])
    try:
        group.mkdir()
        (group / "cgroup.procs").write_text(str(younger.pid))
        (group / "cgroup.procs").write_text(str(hang.victim))
        killed_in_vain(hang)
        t = look(pod, container)
        assert t.code == 1 and t.culprits == ["init"], t.text
        waits = [g for g in t.hops["init"]["threads"] if g["state"] == "D"]
        assert len(waits) == 1 and waits[0]["killed"] and waits[0]["stuck"] and waits[0]["syscall"] is not None, t.text
        assert waits[0]["mount"] == {"point": f"{folder}/mnt", "type": "fuse"}
        assert "request_wait_answer" in waits[0]["stack"], waits
        assert f"on the mount {folder}/mnt" in t.hops["init"]["message"]
        text = " ".join(trace(pod, container).text.split())
        assert f"on {folder}/mnt (fuse), stack request_wait_answer < " in text, text
    finally:
        younger.kill()
        younger.wait()
        hang.end()
        wait_for(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")
        group.rmdir()


def test_ten_thousand_threads(pod, folder):
    program = folder / "many-threads"
    subprocess.run(["gcc", "-O1", "-static", "-pthread", "-o", program, pathlib.Path(__file__).parent / "helpers/many-threads.c"], check=True)
    cri = pod.cri
    sandbox = cri.sandbox("many")
    container = cri("create", sandbox, "--name", "many", "--image", BUSYBOX, "--mount", f"{folder}:/x",
                    "--", "/x/many-threads", 10000, "/x/ready")
    cri("start", container)
    wait_for((folder / "ready").exists, "the threads are there", 60)
    t = look(pod, container)
    assert t.code == 0, t.text[:2000]
    assert t.hops["init"]["threadCount"] == 10000
    groups = t.hops["init"]["threads"]
    assert sum(g["count"] for g in groups) == 10000 and len(groups) < 10 and all(len(g["tids"]) <= 6 for g in groups)
    assert "10000 threads" in t.hops["init"]["message"]
    assert len(trace(pod, container).text.splitlines()) < 25
    assert t.seconds < 4
    cri.remove_pod(sandbox)


def test_vanishes_while_traced(pod):
    """Whatever moment it goes at: an answer, never a crash, and never more than one culprit."""
    cri = pod.cri
    sandbox = cri.sandbox("brief")
    seen = set()
    for i in range(6):
        container = cri.container(sandbox, "brief", attempt=i)
        init = init_of(pod, container)
        timer = threading.Timer(i * 0.004, os.kill, (init, signal.SIGKILL))
        timer.start()
        for _ in range(3):
            t = look(pod, container)
            seen.add(t.code)
            assert t.code in (0, 1), t.text
            if t.code == 1:  # caught between a death and its being told
                assert {h["status"] for h in t.hops.values()} & {"differs", "fails"}, t.text
                assert not any(h["status"] == "hangs" for h in t.hops.values()), t.text
        timer.join()
        wait_for(lambda: look(pod, container).code == 0, "exited, and all agree")
    assert 0 in seen
    cri.remove_pod(sandbox)


@contextlib.contextmanager
def fake_shim(folder, answer):
    """A process called containerd-shim with a bundle and a child in a cgroup of that id; its socket answers with `answer`."""
    container = os.urandom(32).hex()
    bundle = folder / "io.containerd.runtime.v2.task/k8s.io" / container
    bundle.mkdir(parents=True)
    (bundle / "address").write_text(f"unix://{folder}/shim.sock")
    group = CGROUP / f"pleg-t-{os.getpid()}"
    (group / container).mkdir(parents=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/shim.sock")
    listener.listen()
    script = (f"import ctypes, os, subprocess\nctypes.CDLL(None).prctl(15, b'containerd-shim')\nos.chdir({str(bundle)!r})\n"
              "child = subprocess.Popen(['sleep', '60'])\n"
              f"open({str(group / container / 'cgroup.procs')!r}, 'w').write(str(child.pid))\nprint('ready', flush=True)\ninput()\nchild.kill()\nchild.wait()\n")
    # The doctor knows a shim's socket by its descriptor.
    shim = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[listener.fileno()])
    kept = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                kept.append(client)
                client.recv(4096)
                if answer is not None:
                    client.sendall(answer)
    thread = threading.Thread(target=serve, daemon=True)
    try:
        assert shim.stdout.readline() == "ready\n"
        thread.start()
        yield container, shim.pid
    finally:
        shim.communicate("\n")
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for client in kept:
            client.close()
        wait_for(lambda: not (group / container / "cgroup.procs").read_text(), "the cgroup is empty")
        (group / container).rmdir()
        group.rmdir()


@pytest.mark.parametrize("answer, word", [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak ttrpc"),
    (b"\0\0\0\4\0\0\0\1\2\0\x12\2\xff\xff", "cannot be decoded"),
    (b"\0\0\0\x06\0\0\0\1\2\0\x12\x04\x18\x01\x20\x02", "the kernel says pid"),
])
def test_a_shim_that_answers_garbage(pod, folder, answer, word):
    with fake_shim(folder, answer) as (container, pid):
        t = look(pod, container[:20])
        assert t.code == 1 and t.culprits == ["shim"], t.text
        assert word in t.hops["shim"]["message"]
        assert t.hops["shim"]["process"]["pid"] == pid
        assert t.statuses()["cri"] == "absent", "CRI never heard of it"


def test_no_arguments_are_told(pod):
    sandbox = pod.cri.sandbox("quiet")
    pod.cri.container(sandbox, "quiet", script=": hunter2hunter2; while :; do sleep 100; done", env=["TOKEN=hunter2hunter2"])
    for t in (trace(pod, "quiet"), look(pod, "quiet")):
        assert t.code == 0 and "hunter2" not in t.text + t.errors
    pod.cri.remove_pod(sandbox)


def test_stopped_containerd(pod, start_agent):
    """Last: what hangs in it takes a moment to be answered afterwards."""
    agent = start_agent(pod.endpoint, web=False)
    agent.wait_ready()
    with continued_after(pod.pid):
        os.kill(pod.pid, signal.SIGSTOP)
        t = look(pod, pod.app)
        assert t.code == 1 and t.culprits == ["containerd"], t.text
        assert t.statuses() == {"cri": "hangs", "containerd": "hangs", "shim": "ok", "oci": "ok", "init": "ok"}
        assert t.hops["cri"]["explainedBy"] == "containerd"
        assert f"pid {pod.pid} containerd is stopped (T)" in t.summary
        assert t.call("shim", "State")["answer"] == "ok" and t.hops["init"]["process"]["pid"] == init_of(pod, pod.app)
        assert t.call("cri", "Version")["answer"] == t.call("containerd", "Tasks/Get")["answer"] == "late"
        t = trace(pod, "web/app")
        assert t.code == 2 and "has not answered within 2s" in t.errors
        # An agent that has been there before knows the name.
        t = look(pod, "web/app", more=("--socket", str(agent.socket)))
        assert t.code == 1 and t.culprits == ["containerd"] and t.container["containerID"] == pod.app, t.text
    wait_for(lambda: look(pod, pod.app).code == 0, "all is well again")
