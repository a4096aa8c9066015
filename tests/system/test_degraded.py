"""Worlds where the kernel gives less: no pidfds (an old kernel, or a filter that forbids them), no right to the process connector, few
descriptors, no probe. pleg works on, says what it lacks, and tells every death by what is left. And pleg doctor without a capability, without
fusectl and debugfs, without the kernel's log, and as nobody: what can be seen is named, what cannot is a gap with its cure."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest
from conftest import PLEG, ROOT, continued_after, wait_for
from test_collect import HELPERS, Hang
from test_doctor import doctor, state_of
from test_kernel_word import kernel_of, pid_of, watched

WITHOUT = ["/usr/bin/python3", str(ROOT / "tests/system/helpers/without.py")]


def flat(agent):
    return " ".join(agent.run("status").stdout.split())


@pytest.mark.parametrize("what, words", [("pidfd-enosys", "This kernel has no pidfds"), ("pidfd-eperm", "forbids pidfd_open()")])
def test_no_pidfds(containerd, start_agent, what, words):
    agent = start_agent(containerd.endpoint, prefix=[*WITHOUT, what])
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    sandbox = containerd.cri.sandbox(what)
    container = containerd.cri.container(sandbox, "c", "exec sleep 3600")
    hints = wait_for(lambda: (h := agent.status()["agent"]["hints"])["watchFailures"] >= 2 and h, "the refusals are counted")
    assert words in hints["watchMessage"] and hints["watched"] == 0
    assert words in flat(agent) and words in agent.log.read_text()
    assert wait_for(lambda: kernel_of(agent, container), "it is listed")["kernel"] is None
    # The roles do without as well.
    roles = {r["role"]: r["state"] for r in agent.status()["agent"]["roles"]}
    assert roles["probe"] == "running" and roles["web"] == "running", roles
    os.kill(pid_of(containerd, container), signal.SIGKILL)
    died = follower.wait(containerID=container, type="ContainerDied")
    assert [(e["confirmed"], e["confirms"], e["exitCode"]) for e in died] == [(True, None, 137)]
    containerd.cri.remove_pod(sandbox)


def says_connector(agent):
    return wait_for(lambda: (h := agent.status()["agent"]["hints"])["connector"] != "starting" and h, "the kernel has answered")


@pytest.mark.node
def test_no_right_to_the_connector(containerd, start_agent):
    """Before 6.6 it needs CAP_NET_ADMIN, since then it does not."""
    agent = start_agent(containerd.endpoint, prefix=[*WITHOUT, "net-admin"])
    agent.wait_ready()
    hints = says_connector(agent)
    release = tuple(int(n) for n in re.match(r"(\d+)\.(\d+)", os.uname().release).groups())
    if release >= (6, 6):
        assert hints["connector"] == "on", hints
    else:
        assert hints["connector"] == "unavailable" and "CAP_NET_ADMIN" in hints["connectorMessage"], hints


def test_no_connector(containerd, start_agent):
    """In a network namespace of its own the kernel has none."""
    agent = start_agent(containerd.endpoint, prefix=["/usr/bin/unshare", "--net"])
    agent.wait_ready()
    hints = says_connector(agent)
    assert hints["connector"] == "unavailable" and "network namespace" in hints["connectorMessage"], hints
    assert "process connector unavailable: This kernel, or this network namespace, has none" in flat(agent)
    follower = agent.follow("--tail", "0")
    sandbox = containerd.cri.sandbox("no-connector")
    watched(agent, sandbox)  # pidfds do not need it
    os.kill(pid_of(containerd, sandbox), signal.SIGKILL)
    assert follower.wait(containerID=sandbox, type="ContainerDied")[0]["source"] == "kernel"
    containerd.cri.remove_pod(sandbox)


@pytest.mark.node
def test_connector_is_on_where_it_may_be(containerd, start_agent):
    agent = start_agent(containerd.endpoint)
    agent.wait_ready()
    hints = says_connector(agent)
    if hints["connector"] == "unavailable":
        pytest.skip(f"not here: {hints['connectorMessage']}")
    assert hints["connector"] == "on" and hints["connectorMessage"] == "" and "connector" not in flat(agent)
    for _ in range(20):
        subprocess.run(["/bin/true"], check=True)
    import urllib.request
    text = urllib.request.urlopen(f"http://127.0.0.1:{agent.metrics_port}/metrics", timeout=30).read().decode()
    row = {line.split()[0]: float(line.split()[-1]) for line in text.splitlines() if line.startswith("pleg_connector")}
    assert row["pleg_connector_up"] == 1 and row["pleg_connector_hints_total"] >= 20, row


def test_few_descriptors(containerd, start_agent):
    """The cgroups give way before the pidfds do: an eighth of the descriptors at most."""
    agent = start_agent(containerd.endpoint, prefix=[*WITHOUT, "files=80"])
    agent.wait_ready()
    sandbox = containerd.cri.sandbox("few")
    containers = [containerd.cri.container(sandbox, f"c{i}", "exec sleep 3600") for i in range(12)]
    for container in containers:
        watched(agent, container)
    hints = agent.status()["agent"]["hints"]
    assert hints["cgroups"] <= 10 and hints["cgroupFailures"] > 0 and hints["watchFailures"] == 0, hints
    assert "Descriptors are too few" in hints["cgroupMessage"] and "cgroups not watched" in flat(agent)
    containerd.cri.remove_pod(sandbox)


def test_no_probe(containerd, start_agent, folder):
    """Its executable is missing: a warning, and all else works."""
    if PLEG.resolve() != PLEG or (pathlib.Path("/usr/libexec/pleg/pleg-probe")).exists():
        pytest.skip("an installed probe would be found")
    shutil.copy2(PLEG, folder / "pleg")
    agent = start_agent(containerd.endpoint, prefix=["/bin/sh", "-c", 'shift; exec "$0" "$@"', str(folder / "pleg")])
    agent.wait_ready()
    status = agent.status()["agent"]
    assert "probe" not in [r["role"] for r in status["roles"]] and status["probes"] is None
    assert any(w.startswith("There is no probe") and "pleg-probe" in w for w in status["warnings"]), status["warnings"]


def test_probe_stopped_killed(containerd, start_agent):
    agent = start_agent(containerd.endpoint)
    agent.wait_ready()

    def probe(pid=None):
        def running():
            role = next(r for r in agent.status()["agent"]["roles"] if r["role"] == "probe")
            return role["state"] == "running" and role["pid"] != pid and role["pid"]
        return wait_for(running, "a probe that runs")

    first = probe()
    os.kill(first, signal.SIGKILL)
    second = probe(first)
    with contextlib.ExitStack() as stack:
        stack.enter_context(continued_after(second))
        os.kill(second, signal.SIGSTOP)
        third = probe(second)  # asked for a sign of life every 10 s, and by the doctor
    assert third not in (first, second)
    # Whoever asked first was late: the sign of life or the doctor.
    assert agent.status()["agent"]["probes"]["late"] >= 1


# -- pleg doctor --------------------------------------------------------------------------------------------------------------

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
FUSE, STACKS, CALLS = "FUSE connections", "kernel stacks", "system calls"
SOCKETS, LOG, OTHERS = "sockets of daemons and shims", "hung-task lines", "processes of others"
ALL = {FUSE, STACKS, CALLS, SOCKETS, LOG, OTHERS}


@pytest.fixture(scope="module")
def patient(containerd):
    """A pod, and the pid of its shim."""
    sandbox = containerd.cri.sandbox("degraded")
    init = int((containerd.dir / "state/io.containerd.runtime.v2.task/k8s.io" / sandbox / "init.pid").read_text())
    containerd.shim = int(pathlib.Path(f"/proc/{init}/status").read_text().split("PPid:")[1].split()[0])
    yield containerd
    containerd.cri.remove_pod(sandbox)


@pytest.mark.parametrize("world, gaps, cures", [
    ("files=20000", set(), []),  # nothing is missing: so the others' gaps are theirs
    ("special-mounts", {FUSE}, ["mount -t fusectl none /sys/fs/fuse/connections"]),
    ("cap-sys-ptrace", {STACKS, CALLS, SOCKETS}, ["CAP_SYS_PTRACE"] * 3),
    ("cap-sys-admin", {FUSE, STACKS}, ["mount -t fusectl", "CAP_SYS_ADMIN"]),
    ("hung,cap-syslog", {LOG}, ["CAP_SYSLOG"]),
    ("hung,kmsg", {LOG}, ["/dev/kmsg"]),
    ("nobody", {FUSE, STACKS, SOCKETS, OTHERS}, ["mount -t fusectl", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "sudo"]),
])
def test_doctor_without(patient, world, gaps, cures):
    """A stopped shim is found in each of them, as its state is for everybody to see."""
    if "cap-syslog" in world and pathlib.Path("/proc/sys/kernel/dmesg_restrict").read_text().strip() == "0":
        pytest.skip("here everybody may read the kernel's log")
    with continued_after(patient.shim):
        os.kill(patient.shim, signal.SIGSTOP)
        wait_for(lambda: state_of(patient.shim) == "T", "the shim is stopped")
        d = doctor(patient, "-o", "json", before=NOBODY if world == "nobody" else [*WITHOUT, world])
    told = {g["what"]: g["cure"] for g in d.document["gaps"]}
    assert set(told) & ALL - {CALLS} == gaps - {CALLS}, d.document["gaps"]  # the calls of others' threads may be hidden, too
    assert gaps <= set(told) | {CALLS} and all(g["why"] for g in d.document["gaps"])
    cure = " ".join(str(told[g]) for g in gaps & set(told))
    assert all(c in cure for c in cures), told
    found = [f for f in d.document["findings"] if f["subject"]["pid"] == patient.shim]
    assert [f["cause"] for f in found] == ["ShimStopped"], d.text
    assert d.of(patient.endpoint) == [], "who may not ask says nothing of who was not asked"
    if world == "nobody":
        assert d.code == 2 and "Not run as root" in d.errors
    else:
        assert d.code in (1, 2) and "Not run as root" not in d.errors


def test_doctor_text_without(patient):
    """The text ends with what was not looked at, why, and what would help."""
    d = doctor(patient, before=[*WITHOUT, "cap-sys-ptrace"])
    text = " ".join(d.text.split())
    assert "Not looked at" in d.text and f"{SOCKETS}: not permitted; this would help: run as root, with CAP_SYS_PTRACE" in text, d.text
    assert SOCKETS not in doctor(patient).text


def test_doctor_is_as_sure_as_it_can_be(patient, folder):
    """A FUSE server that hangs, with a reader whom nobody has killed: without fusectl nobody can tell whether requests wait for an answer, so
    it is never more than suspected, and the evidence says why."""
    hang = Hang(folder, "/usr/bin/python3", HELPERS / "fuse_reader.py")
    try:
        blind = doctor(patient, "--watch", "-o", "json", before=[*WITHOUT, "special-mounts"], most=130)
    finally:
        hang.end()
    found = [f for f in blind.document["findings"] if f["cause"] == "FuseServerHung" and f["subject"]["pid"] == hang.victim]
    assert [f["confidence"] for f in found] == ["suspected"], blind.text
    assert any(e["where"] == "not looked at" and "fusectl" in e["value"] for e in found[0]["evidence"]), found[0]["evidence"]
