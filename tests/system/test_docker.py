"""pleg on a real Docker Engine of our own: what is a pod there, the events of a start, a crash, restarts and removals, each once; a
stopped dockerd, whose deaths the kernel tells; one container that hangs in dockerd while the others go on."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time

import pytest
from conftest import PLEG, continued_after, wait_for
from test_trace import look

from privatedocker import PrivateDocker


@pytest.fixture(scope="module")
def docker():
    daemon = PrivateDocker(tempfile.mkdtemp(prefix="pleg-d-", dir="/tmp"))
    try:
        yield daemon.start()
    finally:
        daemon.stop()


@pytest.fixture
def engine(docker):
    """Its containers go after each test."""
    yield docker.engine
    for container in docker.engine.list():
        docker.engine.remove(container["Id"])


def story(follower, container):
    """What was told of a container, as (type, confirmed, exit code)."""
    return [(e["type"], e["confirmed"], e["exitCode"]) for e in follower.of(containerID=container)]


def confirmed(follower, container):
    return [(type_, code) for type_, is_confirmed, code in story(follower, container) if is_confirmed and type_ != "ContainerChanged"]


def check_confirmations(follower, container):
    """Each provisional death has exactly one confirmation."""
    events = follower.of(containerID=container)
    provisional = [e["sequence"] for e in events if not e["confirmed"]]
    assert [e["confirms"] for e in events if e["confirms"]] == provisional, events


def test_pods(engine, docker, start_agent):
    """A pod is what dockershim and cri-dockerd labelled as one, else a compose project, else the container itself."""
    alone = engine.run("alone")
    made = engine.create("made")
    web = [engine.run(f"shop-web-{i}", labels={"com.docker.compose.project": "shop", "com.docker.compose.service": "web",
                                               "com.docker.compose.container-number": str(i)}) for i in (1, 2)]
    labels = {"io.kubernetes.pod.name": "front", "io.kubernetes.pod.namespace": "prod", "io.kubernetes.pod.uid": "uid-front"}
    sandbox = engine.run("k8s_POD_front_prod_uid-front_0", labels={**labels, "io.kubernetes.docker.type": "podsandbox",
                                                                   "io.kubernetes.container.name": "POD"})
    app = engine.run("k8s_app_front_prod_uid-front_3", labels={**labels, "io.kubernetes.docker.type": "container",
                                                               "io.kubernetes.sandbox.id": sandbox, "io.kubernetes.container.name": "app"})
    engine.call("POST", f"/containers/{alone}/pause")

    def check(pods):
        found = {(p["namespace"], p["pod"], p["podUID"]): {c["containerID"]: c for c in p["containers"]} for p in pods}
        assert set(found) == {("docker", "alone", alone), ("docker", "made", made), ("compose", "shop", "compose/shop"), ("prod", "front", "uid-front")}
        assert set(found["compose", "shop", "compose/shop"]) == set(web)
        front = found["prod", "front", "uid-front"]
        assert front[sandbox]["kind"] == "sandbox" and front[app]["sandboxID"] == sandbox
        assert (front[app]["container"], front[app]["attempt"], front[app]["image"]) == ("app", 3, "pleg.local/busybox:1")
        assert {c["container"] for c in found["compose", "shop", "compose/shop"].values()} == {"web-1", "web-2"}
        states = {i: c["state"] for containers in found.values() for i, c in containers.items()}
        details = {i: c["detail"] for containers in found.values() for i, c in containers.items()}
        assert details == {**{i: None for i in states}, alone: "paused"}
        assert states == {alone: "running", made: "created", web[0]: "running", web[1]: "running", sandbox: "running", app: "running"}
        kernel = {i: c["kernel"] and c["kernel"]["state"] for containers in found.values() for i, c in containers.items()}
        assert kernel == {**{i: "alive" for i in states}, made: None}
        assert found["docker", "alone", alone][alone]["kernel"]["pid"] == engine.inspect(alone)["State"]["Pid"]

    once = subprocess.run([str(PLEG), "pods", "--runtime", docker.endpoint, "-o", "json"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=30, check=True)
    check(json.loads(once.stdout)["pods"])
    # A name that says nothing: it is found out.
    other = docker.dir / "engine"
    other.symlink_to(docker.socket)
    once = subprocess.run([str(PLEG), "status", "--runtime", str(other), "-o", "json"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=30, check=True)
    other.unlink()
    runtime = json.loads(once.stdout)["runtime"]
    assert runtime["name"] == "docker" and runtime["version"] and [h["hop"] for h in runtime["hops"]] == ["docker"]
    assert runtime["responsive"] and runtime["hops"][0]["ok"] and runtime["hops"][0]["latencySeconds"] > 0

    agent = start_agent(docker.endpoint)
    agent.wait_ready()
    wait_for(lambda: all(c["kernel"] for p in agent.pods() for c in p["containers"] if c["state"] == "running"), "all inits are watched")
    check(agent.pods())
    status = agent.status()
    assert status["runtime"]["name"] == "docker" and status["node"]["ready"], status
    wait_for(lambda: agent.status()["agent"]["hints"]["stream"] == "up", "the event stream is up")
    # What was paused when the agent came, and what happens from now on.
    wait_for(lambda: [c["kernel"]["paused"] for p in agent.pods() for c in p["containers"] if c["containerID"] == alone] == [True], "paused before")
    engine.call("POST", f"/containers/{web[0]}/pause")
    wait_for(lambda: [c["kernel"]["paused"] for p in agent.pods() for c in p["containers"] if c["containerID"] == web[0]] == [True], "paused")
    engine.call("POST", f"/containers/{web[0]}/unpause")
    engine.call("POST", f"/containers/{alone}/unpause")


def test_events(engine, docker, start_agent):
    """Start, crash, restart by policy and by hand, stop and removal: each once, with the exit code."""
    agent = start_agent(docker.endpoint)
    agent.wait_ready()
    follower = agent.follow()
    wait_for(lambda: agent.status()["agent"]["hints"]["stream"] == "up", "the event stream is up")

    crash = engine.run("crash", "sleep 0.3; exit 3")
    follower.wait(containerID=crash, type="ContainerDied", confirmed=True)
    engine.remove(crash)
    follower.wait(containerID=crash, type="ContainerRemoved")
    assert confirmed(follower, crash) == [("ContainerStarted", None), ("ContainerDied", 3), ("ContainerRemoved", None)]

    loop = engine.run("loop", "sleep 0.4; exit 4", restart="on-failure:2")
    follower.wait(count=3, containerID=loop, type="ContainerDied", confirmed=True)
    assert engine.inspect(loop)["RestartCount"] == 2

    again = engine.run("again")
    follower.wait(containerID=again, type="ContainerStarted")
    engine.call("POST", f"/containers/{again}/restart?t=0")
    follower.wait(count=2, containerID=again, type="ContainerStarted")
    engine.kill(again, "TERM")  # which a shell that is an init ignores
    engine.stop(again)
    follower.wait(count=2, containerID=again, type="ContainerDied", confirmed=True)
    for container in (loop, again):
        engine.remove(container)
        follower.wait(containerID=container, type="ContainerRemoved")
    assert confirmed(follower, loop) == [("ContainerStarted", None), ("ContainerDied", 4)] * 3 + [("ContainerRemoved", None)]
    assert confirmed(follower, again) == [("ContainerStarted", None), ("ContainerDied", 137)] * 2 + [("ContainerRemoved", None)]
    for container in (crash, loop, again):
        check_confirmations(follower, container)
        assert {(e["namespace"], e["pod"], e["container"]) for e in follower.of(containerID=container)} == {
            ("docker", name, name) for name in ("crash", "loop", "again") if {"crash": crash, "loop": loop, "again": again}[name] == container}
    # One that only was made is never said to have started.
    made = engine.create("made")
    wait_for(lambda: any(c["containerID"] == made for p in agent.pods() for c in p["containers"]), "the created one is listed")
    assert story(follower, made) == []


def test_details(engine, docker, start_agent):
    """What Docker adds to a state is told in pods, events and a trace: paused, and the wait between two lives."""
    paused = engine.run("paused")
    agent = start_agent(docker.endpoint)
    agent.wait_ready()
    follower = agent.follow()

    def detail(container):
        return [(c["state"], c["detail"]) for p in agent.pods() for c in p["containers"] if c["containerID"] == container]

    assert detail(paused) == [("running", None)]
    engine.call("POST", f"/containers/{paused}/pause")
    follower.wait(containerID=paused, type="ContainerChanged", detail="paused")
    assert detail(paused) == [("running", "paused")]
    table = subprocess.run([str(PLEG), "pods", "--socket", str(agent.socket)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=True)
    assert [line.split()[3] for line in table.stdout.splitlines() if line.split()[:2] == ["docker", "paused"]] == ["paused"], table.stdout
    seen = look(docker, paused)
    assert seen.code == 0 and seen.container["detail"] == "paused", seen.container
    engine.call("POST", f"/containers/{paused}/unpause")
    follower.wait(containerID=paused, type="ContainerChanged", detail=None)
    assert detail(paused) == [("running", None)]

    loop = engine.run("waiting", "exit 4", restart="always")  # each wait is twice the one before
    follower.wait(containerID=loop, detail="restarting", confirmed=True)
    assert not [e for e in follower.of(containerID=loop) if e["detail"] not in (None, "restarting", "removing")]


def of_dockerd(docker, status):
    """What is found of dockerd."""
    places = {docker.endpoint, str(docker.socket)}
    return [f for f in status["findings"] if f["subject"]["pid"] == docker.pid or f["subject"]["mount"] in places]


def seconds_until_said(docker, agent):
    """From SIGSTOP until status says that dockerd does not answer and names the cause, and nothing else of it; then it goes on again."""
    with continued_after(docker.pid):
        begin = time.monotonic()
        docker.kill(signal.SIGSTOP)
        said = wait_for(lambda: not (s := agent.status())["runtime"]["responsive"] and of_dockerd(docker, s), "it is said that dockerd hangs, and why")
        took = time.monotonic() - begin
        assert [f["cause"] for f in said] == ["CriDaemonStopped"], said
    wait_for(lambda: (s := agent.status())["runtime"]["responsive"] and not of_dockerd(docker, s), "dockerd answers again")
    return took


def test_stopped_dockerd(engine, docker, start_agent):
    """While dockerd is stopped that is said within 5 s, with its cause, and deaths are told by the kernel at once; one confirmation each
    afterwards."""
    victims = [engine.run(f"victim-{i}") for i in range(5)]
    pids = [engine.inspect(v)["State"]["Pid"] for v in victims]
    agent = start_agent(docker.endpoint)
    agent.wait_ready()
    follower = agent.follow()
    wait_for(lambda: agent.status()["agent"]["hints"]["watched"] == 5, "all inits are watched")
    # What else goes on in the machine only adds to it, so one time in three is proof.
    times = []
    while len(times) < 3 and not (times and times[-1] < 5):
        times.append(seconds_until_said(docker, agent))
    print(f"said after {times} s")
    assert times[-1] < 5, times
    with continued_after(docker.pid):
        docker.kill(signal.SIGSTOP)
        wait_for(lambda: not agent.status()["runtime"]["responsive"], "it is said that dockerd hangs")
        assert "does not answer" in agent.run("status").stdout.lower()
        late, bare = [], []
        for victim, pid in zip(victims, pids):
            pidfd = os.pidfd_open(pid)
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            signal_waiter(pidfd)
            bare.append(time.monotonic() - killed)
            event = follower.wait(containerID=victim, type="ContainerDied")[0]
            assert (event["confirmed"], event["source"], event["exitCode"], event["signal"]) == (False, "kernel", 137, 9)
            late.append(event["readAt"] - killed)
        # Our own thread that reads the stream is in this, and the sanitizers.
        assert sorted(late)[2] < sorted(bare)[2] + 0.05, (late, bare)
        words = {c["containerID"]: (c["state"], c["kernel"]["state"]) for p in agent.pods() for c in p["containers"]}
        assert {words[v][0] for v in victims} == {"running"} and {words[v][1] for v in victims} <= {"zombie", "gone"}, words
        assert "gone" in agent.run("pods").stdout or "zombie" in agent.run("pods").stdout
    for victim in victims:
        follower.wait(containerID=victim, type="ContainerDied", confirmed=True)
    wait_for(lambda: agent.status()["runtime"]["responsive"], "dockerd answers again")
    wait_for(lambda: agent.status()["differences"] == 0, "both ledgers agree")
    for victim in victims:
        assert story(follower, victim)[-2:] == [("ContainerDied", False, 137), ("ContainerDied", True, 137)]
        check_confirmations(follower, victim)


def signal_waiter(pidfd):
    import select
    select.select([pidfd], [], [], 30)
    os.close(pidfd)


def shim_of(docker, container):
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if words and b"containerd-shim" in words[0] and container.encode() in words and os.fsencode(docker.containerd.socket) in words:
                return int(entry.name)
    raise AssertionError(f"{container} has no shim")


def test_one_container_hangs(engine, docker, start_agent):
    """Its shim is stopped and dockerd holds its lock while it waits: that pod is in quarantine, the others go on."""
    stuck = engine.run("stuck")
    agent = start_agent(docker.endpoint, config="inspectTimeout: 1s\n")
    agent.wait_ready()
    follower = agent.follow()
    wait_for(lambda: agent.status()["agent"]["hints"]["watched"] == 1, "its init is watched")
    shim = shim_of(docker, stuck)
    with continued_after(shim):
        os.kill(shim, signal.SIGSTOP)
        killer = threading.Thread(target=lambda: contextlib.suppress(Exception).__enter__() or engine.kill(stuck), daemon=True)
        killer.start()

        def hangs():
            try:
                engine.inspect(stuck, timeout=1)
                return False
            except OSError:
                return True
        wait_for(hangs, "dockerd holds the container's lock")
        os.kill(engine_pid(agent, stuck), signal.SIGKILL)  # a hint, so that it is inspected
        wait_for(lambda: agent.status()["pleg"]["quarantined"] == ["docker/stuck"], "it is in quarantine")
        event = follower.wait(containerID=stuck, type="ContainerDied")[0]
        assert (event["confirmed"], event["source"]) == (False, "kernel")
        for i in range(3):
            begin = time.monotonic()
            other = engine.run(f"other-{i}", "sleep 0.2; exit 5")
            follower.wait(containerID=other, type="ContainerDied", confirmed=True, seconds=20)
            assert time.monotonic() - begin < 10
            assert confirmed(follower, other) == [("ContainerStarted", None), ("ContainerDied", 5)]
        status = agent.status()
        stuck_calls = [c for c in status["pleg"]["inFlight"] if c["subject"] == stuck]
        assert [c["call"] for c in stuck_calls] == ["ContainerStatus"] and stuck_calls[0]["ageSeconds"] > 1, status["pleg"]
        assert status["runtime"]["responsive"] and status["node"]["degraded"]
    follower.wait(containerID=stuck, type="ContainerDied", confirmed=True)
    wait_for(lambda: agent.status()["pleg"]["quarantined"] == [], "it is out of quarantine")
    check_confirmations(follower, stuck)
    killer.join(30)


def engine_pid(agent, container):
    return next(c["kernel"]["pid"] for p in agent.pods() for c in p["containers"] if c["containerID"] == container)


def test_the_doctor_on_a_crash_loop(engine, docker):
    """dockerd keeps one id and a count of its lives: more than three, all of late, and maybe one more while the doctor looks."""
    loop = engine.run("looping", "exit 4", restart="always")  # each wait is twice the one before
    wait_for(lambda: engine.inspect(loop)["RestartCount"] >= 5, "it has crashed often")
    done = subprocess.run([str(PLEG), "doctor", "--runtime", docker.endpoint, "-o", "json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    found = [f for f in json.loads(done.stdout)["findings"] if f["subject"]["containerID"] == loop]
    assert done.returncode == 1 and [f["cause"] for f in found] == ["ContainerCrashLoop"], done
    again = any("while it was looked at" in e["value"] for e in found[0]["evidence"])
    assert found[0]["confidence"] == ("proven" if again else "suspected") and found[0]["severity"] == "info", found
    assert "looping was started again" in found[0]["summary"] and found[0]["advice"][0]["command"] == f"docker -H {docker.endpoint} logs --tail 100 {loop}", found


def test_dockerd_restarts(engine, docker, start_agent):
    """Killed and started again: what happened meanwhile is told, and nothing twice."""
    before = engine.run("before", "trap 'exit 0' TERM; sleep 3600 & wait")  # ends when dockerd asks for it
    agent = start_agent(docker.endpoint)
    agent.wait_ready()
    follower = agent.follow()
    wait_for(lambda: agent.status()["agent"]["hints"]["watched"] == 1, "its init is watched")
    docker.kill()
    wait_for(lambda: not agent.status()["runtime"]["responsive"], "it is said that dockerd is gone")
    assert "connection refused by" in agent.status()["runtime"]["hops"][0]["message"]
    docker.spawn()  # without live-restore it ends what it finds running
    follower.wait(containerID=before, type="ContainerDied", confirmed=True)
    wait_for(lambda: agent.status()["agent"]["hints"]["stream"] == "up", "the event stream is up again")
    after = engine.run("after", "exit 0")
    follower.wait(containerID=after, type="ContainerDied", confirmed=True)
    assert len([e for e in story(follower, before) if e[0] == "ContainerDied" and e[1]]) == 1
    check_confirmations(follower, before)
    assert confirmed(follower, after) == [("ContainerStarted", None), ("ContainerDied", 0)]


def test_trace(engine, docker):
    """pleg trace, where dockerd and its containerd are two daemons: each hop is found, and the stopped one named."""
    container = engine.run("traced")
    t = look(docker, container)
    assert t.code == 0 and t.culprits == [], t.text
    assert [h["hop"] for h in t.document["hops"]] == ["kubelet", "dockerd", "containerd", "shim", "oci", "init"]
    init, shim = engine.inspect(container)["State"]["Pid"], t.hops["shim"]["process"]["pid"]
    assert t.statuses() == {"dockerd": "ok", "containerd": "ok", "shim": "ok", "oci": "ok", "init": "ok"}
    assert t.hops["dockerd"]["process"]["pid"] == docker.pid and t.hops["containerd"]["process"]["pid"] == docker.containerd.pid
    assert t.hops["init"]["process"]["pid"] == init and t.call("containerd", "Tasks/Get")["answer"] == "ok"
    assert t.hops["oci"]["state"] == {"status": "running", "pid": init, "same": True}
    assert look(docker, "traced").container["containerID"] == container
    with continued_after(docker.pid):
        os.kill(docker.pid, signal.SIGSTOP)
        t = look(docker, container)
        assert t.code == 1 and t.culprits == ["dockerd"], t.text
        assert t.statuses() == {"dockerd": "hangs", "containerd": "ok", "shim": "ok", "oci": "ok", "init": "ok"}
    with continued_after(shim):
        os.kill(shim, signal.SIGSTOP)
        t = look(docker, container)
        assert t.code == 1 and t.culprits == ["shim"] and f"pid {shim} " in t.summary, t.text
    wait_for(lambda: look(docker, container).code == 0, "all is well again")


def test_it_is_found(engine, docker):
    """Among the known sockets CRI comes first, here that of the containerd under dockerd; but nobody uses that one."""
    script = ("mount -t tmpfs none /run && mkdir /run/containerd && ln -s $1 /run/containerd/containerd.sock && ln -s $2 /run/docker.sock && "
              "exec $0 agent --find-runtime")

    def find():
        # Nothing of this machine is seen: neither its sockets nor a kubelet.
        return subprocess.run(["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "sh", "-c", script, str(PLEG),
                               str(docker.containerd.socket), str(docker.socket)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)

    done = find()
    assert done.stdout == "unix:///run/containerd/containerd.sock\n", done
    assert "Docker is there, too: --runtime unix:///run/docker.sock" in done.stderr
    engine.run("something")
    done = find()
    assert done.returncode == 0 and done.stdout == "unix:///run/docker.sock\n", done
    assert "answers with CRI v1" in done.stderr and "runs nothing" in done.stderr and "answers as a Docker Engine" in done.stderr
