"""Who the agent is to the API server, while it runs: credentials that rotate, expire, are wrong, come late or come from a plugin, a
server that is another one, files on a disk that hangs. The agent with its api role and its probe beside a real containerd; the API
server is the stand-in of tests/kube. The disk that hangs is a FUSE filesystem of the test's own, whose end is armed before it is used.
"""

import base64
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

from conftest import wait_for
from test_conditions import ApiServer, api, finding, status  # noqa: F401

HELPERS = pathlib.Path(__file__).parent / "helpers"


def told(api):
    """pleg's conditions have arrived; not before it has run for 15 s."""
    return status(api, "PLEGUnhealthy") == "False"


def heard(api):
    """The server takes it for who it is: the watch of the node's pods is open."""
    return api.watches == 1


def warnings(agent):
    return agent.status()["agent"]["warnings"]


def way(agent):
    """How the way to the server is; {} before anything was asked."""
    return agent.status()["apiServer"] or {}


def api_pid(agent):
    return next(r.get("pid") for r in agent.status()["agent"]["roles"] if r["role"] == "api")


def start(start_agent, containerd, kubeconfig, **more):
    agent = start_agent(containerd.endpoint, config=f"kubeconfig: {kubeconfig}\n", **more)
    agent.wait_ready()
    return agent


def put(path, text):
    """As those who rotate do: a new file in the place of the old one."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.rename(path)


def plugin(path, *lines):
    """An exec plugin; each run leaves a line in PATH.runs."""
    path.write_text("\n".join(["#!/bin/sh", f"echo $$ >>{path}.runs", *lines]) + "\n")
    path.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(path), "interactiveMode": "Never"}}


def prints(token, **more):
    word = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": {"token": token, **more}}
    return f"echo '{json.dumps(word)}'"


def has_ended(pid):
    """Also a zombie that nobody has reaped."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except FileNotFoundError:
        return True


def runs(path):
    runs = pathlib.Path(f"{path}.runs")
    return runs.read_text().split() if runs.exists() else []


# ---- rotation ---------------------------------------------------------------------------------

def test_a_token_that_is_rotated(containerd, start_agent, api, folder):
    """Behind links, as in a pod; the old one is withdrawn at the same moment."""
    for name in ("1", "2"):
        (folder / name).mkdir()
        (folder / name / "token").write_text(f"token-{name}\n")
    os.symlink("1", folder / "data")
    os.symlink("data/token", folder / "token")
    user = api.users["admin"]
    api.tokens.clear()
    api.tokens["token-1"] = user
    agent = start(start_agent, containerd, api.kubeconfig(folder / "kubeconfig", user={"tokenFile": "token"}))
    wait_for(lambda: heard(api), "it is known")
    pid = api_pid(agent)
    os.symlink("2", folder / "data.new")
    os.rename(folder / "data.new", folder / "data")
    del api.tokens["token-1"]
    api.tokens["token-2"] = user
    api.drop_all_watches()
    wait_for(lambda: heard(api), "it is known by the new one")
    wait_for(lambda: way(agent).get("ok"), "all is well")
    assert api_pid(agent) == pid and finding(agent, "CredentialExpired") is None


def test_another_server(containerd, start_agent, api, folder):
    """The kubeconfig names another one, and the old one does not know us any more."""
    with ApiServer() as other:
        other.add_node("testnode")
        other.tokens["other-token"] = other.users["admin"]
        agent = start(start_agent, containerd, api.kubeconfig(folder / "kubeconfig"))
        wait_for(lambda: heard(api), "it is known")
        other.kubeconfig(folder / "new", token="other-token")
        os.rename(folder / "new", folder / "kubeconfig")
        api.tokens.clear()
        api.drop_all_watches()
        wait_for(lambda: heard(other) and told(other), "it writes to the other one", 60)
        wait_for(lambda: way(agent).get("server") == other.url and way(agent)["ok"], "it says where")
        assert api.watches == 0 and finding(agent, "ApiUnreachable") is None


# ---- missing, wrong ---------------------------------------------------------------------------

def test_a_kubeconfig_that_comes_later(containerd, start_agent, api, folder):
    agent = start(start_agent, containerd, folder / "kubeconfig")
    (warning,) = wait_for(lambda: warnings(agent), "it is said")
    assert f"Read kubeconfig '{folder}/kubeconfig': No such file" in warning
    assert warning in " ".join(agent.run("status").stdout.split())
    assert agent.status()["apiServer"] is None
    put(folder / "kubeconfig", "clusters: [\n")
    wait_for(lambda: "kubeconfig:" in str(warnings(agent)), "the new trouble is said", 60)
    api.kubeconfig(folder / "new")
    os.rename(folder / "new", folder / "kubeconfig")
    wait_for(lambda: told(api), "it is told all the same", 60)
    assert warnings(agent) == []
    assert agent.log.read_text().count("No such file") == 1  # once, however often it was tried


def test_an_authority_that_is_not_the_servers(containerd, start_agent, api, folder):
    """Nothing is said to it; and the right one is seen without a restart."""
    kubeconfig = api.kubeconfig(folder / "kubeconfig", ca=api.certificates.other_authority())
    agent = start(start_agent, containerd, kubeconfig)
    wait_for(lambda: way(agent).get("error") == "tls", "it is not trusted")
    assert finding(agent, "CredentialExpired") is None and api.requests == []
    api.kubeconfig(kubeconfig)
    wait_for(lambda: heard(api), "the right one", 60)


TLS = {
    "insecure": ({"insecure-skip-tls-verify": True}, True),
    "nobody": ({"certificate-authority-data": None}, False),  # the system's authorities do not know it
    "name": ({"tls-server-name": "localhost"}, True),
    "other name": ({"tls-server-name": "elsewhere"}, False),
}


@pytest.mark.parametrize("case", TLS)
def test_whom_it_trusts(containerd, start_agent, api, folder, case):
    fields, trusts = TLS[case]
    text = json.loads(api.kubeconfig(folder / "kubeconfig").read_text())
    cluster = text["clusters"][0]["cluster"]
    if "tls-server-name" not in fields:
        del cluster["certificate-authority-data"]
    cluster.update({k: v for k, v in fields.items() if v})
    (folder / "kubeconfig").write_text(json.dumps(text))
    agent = start(start_agent, containerd, folder / "kubeconfig")
    if trusts:
        wait_for(lambda: heard(api), "it speaks to it")
    else:
        wait_for(lambda: way(agent).get("error") == "tls", "it does not")
        assert api.requests == []


# ---- certificates -----------------------------------------------------------------------------

def by_certificate(api, path, pair):
    return api.kubeconfig(path, user={"client-certificate": str(pair[0]), "client-key": str(pair[1])})


def test_a_client_certificate(containerd, start_agent, api, folder):
    """One of another authority first; then the right one in its place."""
    api.certificates.other_authority()
    wrong = api.certificates.sign("wrong", "/O=system:masters/CN=admin", authority="other-ca")
    agent = start(start_agent, containerd, by_certificate(api, folder / "kubeconfig", wrong))
    wait_for(lambda: way(agent).get("error") in ("tls", "reset"), "it is refused")
    # Certificate and key are two files, so for a moment they do not belong together.
    right = api.certificates.sign("right", "/O=system:masters/CN=admin")
    for new, old in zip(right, wrong):
        os.rename(new, old)
    wait_for(lambda: heard(api), "the right one is taken", 90)
    wait_for(lambda: way(agent).get("ok"), "all is well", 60)


def expired(agent):
    return (f := finding(agent, "CredentialExpired")) and "it has expired" in f["summary"] and f


def test_a_client_certificate_that_has_expired(containerd, start_agent, api, folder):
    """Refused in TLS, and still told for what it is: by its own end. A new one ends it."""
    old = api.certificates.sign("old", "/O=system:masters/CN=admin", days="0")
    time.sleep(1.1)  # its end has whole seconds
    agent = start(start_agent, containerd, by_certificate(api, folder / "kubeconfig", old))
    found = wait_for(lambda: expired(agent), "it is told", 60)
    assert {"the credential ends", "last request"} <= {e["what"] for e in found["evidence"]}
    assert way(agent)["error"] in ("tls", "reset") and finding(agent, "ApiUnreachable") is None
    new = api.certificates.sign("new", "/O=system:masters/CN=admin")
    for source, target in zip(new, old):
        os.rename(source, target)
    wait_for(lambda: heard(api), "the new one is taken", 90)
    wait_for(lambda: finding(agent, "CredentialExpired") is None, "it is over", 60)


def test_a_token_that_has_expired(containerd, start_agent, api, folder):
    claims = base64.urlsafe_b64encode(json.dumps({"exp": int(time.time()) - 60}).encode()).decode().rstrip("=")
    (folder / "token").write_text(f"e30.{claims}.sig")
    agent = start(start_agent, containerd, api.kubeconfig(folder / "kubeconfig", user={"tokenFile": "token"}))
    wait_for(lambda: expired(agent), "it is told", 60)
    assert way(agent)["http"] == 401
    # A hundred 401s are no reason to read the disk a hundred times, but a new token is seen.
    put(folder / "token", "admin-token")
    wait_for(lambda: heard(api), "the new one is taken", 90)


# ---- plugins ----------------------------------------------------------------------------------

def test_a_plugin(containerd, start_agent, api, folder):
    """What it prints is used, for as long as the server believes it; then it is asked anew."""
    api.tokens.clear()
    api.tokens["plugged-1"] = api.users["admin"]
    user = plugin(folder / "plugin", prints("plugged-1"))
    agent = start(start_agent, containerd, api.kubeconfig(folder / "kubeconfig", user=user),
                  env={"NOTIFY_SOCKET": str(folder / "nowhere")})
    wait_for(lambda: heard(api), "it is used")
    assert len(runs(folder / "plugin")) == 1
    plugin(folder / "new", f"echo $$ >>{folder}/plugin.runs", prints("plugged-2"))
    os.rename(folder / "new", folder / "plugin")
    api.tokens["plugged-2"] = api.tokens.pop("plugged-1")
    api.drop_all_watches()
    wait_for(lambda: heard(api) and way(agent).get("ok"), "it was asked anew")
    assert len(runs(folder / "plugin")) == 2


def test_a_plugin_that_hangs(containerd, start_agent, api, folder):
    """Nothing is asked of the server meanwhile, least of all as nobody; the agent goes on; and its end ends it."""
    user = plugin(folder / "plugin", "exec sleep 1000")
    agent = start(start_agent, containerd, api.kubeconfig(folder / "kubeconfig", user=user))
    (pid,) = wait_for(lambda: runs(folder / "plugin"), "it runs")
    follower = agent.follow()
    sandbox = containerd.cri.sandbox("beside")
    container = containerd.cri.container(sandbox, "main", "exit 3")
    follower.wait(type="ContainerDied", containerID=container)
    assert agent.status()["runtime"]["responsive"]
    assert api.requests == []
    assert agent.stop() == 0
    wait_for(lambda: has_ended(pid), "its plugin has ended with it")


def test_a_plugin_that_prints_garbage(containerd, start_agent, api, folder):
    user = plugin(folder / "plugin", "echo garbage")
    agent = start(start_agent, containerd, api.kubeconfig(folder / "kubeconfig", user=user))
    (warning,) = wait_for(lambda: warnings(agent), "it is said")
    assert f"Credential plugin '{folder}/plugin': It printed no JSON object" in warning
    found = wait_for(lambda: finding(agent, "CredentialExpired"), "the doctor says it", 60)
    assert "cannot be used" in found["summary"] and way(agent)["error"] == "credential"
    assert api.requests == []
    plugin(folder / "plugin", prints("admin-token"))
    wait_for(lambda: heard(api), "one that was mended", 90)
    assert warnings(agent) == []


# ---- a disk that hangs ------------------------------------------------------------------------

@contextlib.contextmanager
def hanging_file(folder):
    """A file whose first read never comes back; it aborts by itself after 30 s. Gives its path and what aborts it now."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    folder.mkdir()
    server = subprocess.Popen(["/usr/bin/python3", HELPERS / "fuse_hang.py", folder, "30", "sh", "-c", "exec sleep 60", "sh"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    told = json.loads(server.stdout.readline() or "null")
    if not told:
        server.wait(timeout=20)
        pytest.skip("nothing can be mounted here")
    try:
        yield f"{told['mount']}/file", lambda: pathlib.Path(told["abort"]).write_text("1")
    finally:
        with contextlib.suppress(OSError):
            pathlib.Path(told["abort"]).write_text("1")
        server.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(told["timer"], signal.SIGKILL)


def test_a_kubeconfig_on_a_disk_that_hangs(containerd, start_agent, folder):
    """The read is given up, said once and tried again; deaths are told as ever."""
    with hanging_file(folder / "fuse") as (path, abort):
        agent = start(start_agent, containerd, path)
        follower = agent.follow()
        sandbox = containerd.cri.sandbox("hung")
        while not warnings(agent):  # all the time until the read is given up, and once more
            container = containerd.cri.container(sandbox, "main", "exit 3")
            follower.wait(type="ContainerDied", containerID=container, confirmed=True)  # before that the runtime refuses
            containerd.cri("rm", container)
        (warning,) = warnings(agent)
        assert "The read hangs in the kernel" in warning
        now = agent.status()
        assert now["runtime"]["responsive"] and now["agent"]["loopLagSeconds"] < 3  # the time that one read gets
        abort()
        wait_for(lambda: "hangs" not in str(warnings(agent)), "what is wrong is another thing now", 60)
        assert agent.log.read_text().count("The read hangs in the kernel") == 1


# ---- in a pod ---------------------------------------------------------------------------------

IN_A_POD = """set -e
mount --bind "$1" /var
shift
exec "$@"
"""


def test_in_cluster(containerd, start_agent, api, folder):
    """What a pod is given, in a mount namespace of the agent's own: the address in the environment, token and authority in a folder."""
    account = folder / "var/run/secrets/kubernetes.io/serviceaccount"
    (account / "..data").mkdir(parents=True)
    (account / "..data/token").write_text("admin-token\n")
    (account / "..data/ca.crt").write_bytes(api.certificates.ca.read_bytes())
    for name in ("token", "ca.crt"):
        os.symlink(f"..data/{name}", account / name)
    agent = start(start_agent, containerd, "in-cluster",
                  env={"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)},
                  prefix=["unshare", "--mount", "--propagation", "private", "sh", "-c", IN_A_POD, "sh", str(folder / "var")])
    wait_for(lambda: heard(api), "it is known")
    wait_for(lambda: way(agent).get("server") == api.url, "it says where")


def test_in_cluster_but_not_in_a_pod(containerd, start_agent):
    agent = start(start_agent, containerd, "in-cluster", env={"KUBERNETES_SERVICE_HOST": ""})
    (warning,) = wait_for(lambda: warnings(agent), "it is said")
    assert "Not in a pod" in warning
