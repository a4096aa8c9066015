"""What `pleg uninstall` takes from the node's object, against the stand-in API server (tests/kube): all that pleg wrote there and nothing
else; with exactly the rights that the manifests give; and what stays when the API server cannot be had. Hosts are scratch folders.
"""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from conftest import PLEG, ROOT
from test_deploy import INSTALL, documents, host, install, KUSTOMIZE, run, stage, tree  # noqa: F401

sys.path.insert(0, str(ROOT / "tests/kube"))
ApiServer = pytest.importorskip("apiserver", reason="no stand-in API server").ApiServer

NODE = "testnode"
OTHERS = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}, {"type": "KernelDeadlock", "status": "False"},
          {"type": "not.pleg.dev/Mine", "status": "True"}]
OURS = [{"type": f"pleg.dev/{name}", "status": "True"} for name in ("PLEGUnhealthy", "RuntimeUnhealthy", "ContainersStuck", "OfAnOlderVersion")]
TAINTS = [{"key": "theirs", "value": "x", "effect": "NoExecute"}, {"key": "pleg.dev/unhealthy", "value": "theirs", "effect": "NoExecute"}]
TAINT = {"key": "pleg.dev/unhealthy", "value": "pleg", "effect": "NoSchedule"}


@pytest.fixture
def api():
    with ApiServer() as server:
        server.kubeconfig(server.dir / "kubeconfig")
        server.add({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "annotations": {"theirs": "yes"}, "labels": {"theirs": "yes"}},
                    "spec": {"taints": [TAINTS[0], TAINT, TAINTS[1]]}, "status": {"conditions": [*OURS[:2], *OTHERS, *OURS[2:]]}})
        yield server


def cordon(api):
    run(PLEG, "cordon", NODE, "--kubeconfig", api.dir / "kubeconfig")


def node(api):
    return api.get("nodes", NODE)


def ours(api):
    """What of pleg is on the node."""
    meta, spec, status = (node(api).get(part) or {} for part in ("metadata", "spec", "status"))
    return ([c["type"] for c in status.get("conditions") or [] if c["type"].startswith("pleg.dev/")]
            + [t["key"] for t in spec.get("taints") or [] if t == TAINT] + [a for a in meta.get("annotations") or {} if a.startswith("pleg.dev/")])


def theirs_is_untouched(api):
    taints = [t for t in node(api)["spec"]["taints"] if not t["key"].startswith("node.kubernetes.io/")]
    assert node(api)["status"]["conditions"] == OTHERS and taints == TAINTS
    assert node(api)["metadata"]["annotations"] == {"theirs": "yes"} and node(api)["metadata"]["labels"] == {"theirs": "yes"}


def uninstall(api, host, *more, check=True):
    return run(PLEG, "uninstall", "--root", host, "--kubeconfig", api.dir / "kubeconfig", "--node", NODE, "--yes", *more, check=check)


def test_nothing_of_pleg_is_left(api, stage, host):
    before = tree(host)
    install(stage, host)
    cordon(api)
    installed, asked = tree(host), len(ours(api))
    done = uninstall(api, host, "--dry-run")
    assert tree(host) == installed and len(ours(api)) == asked == 6
    assert "would clean  node/testnode" in done.stdout and "condition pleg.dev/OfAnOlderVersion removed (dry run)" in done.stderr
    done = uninstall(api, host, "-o", "json")
    assert json.loads(done.stdout)["paths"][0] == {"path": "node/testnode", "action": "cleaned", "why": None}
    assert ours(api) == [] and tree(host) == before
    assert node(api)["spec"]["unschedulable"] is True and "still cordoned, by pleg" in done.stderr and "kubectl uncordon testnode" in done.stderr
    theirs_is_untouched(api)
    writes = len([r for r in api.requests if r[0] == "PATCH"])
    done = uninstall(api, host)
    assert "cordoned, by pleg" not in done.stderr and len([r for r in api.requests if r[0] == "PATCH"]) == writes


def test_uncordon_if_told_and_if_it_is_ours(api, host):
    cordon(api)
    assert "node/testnode uncordoned" in uninstall(api, host, "--uncordon").stderr
    assert ours(api) == [] and "unschedulable" not in node(api)["spec"]
    cordon(api)
    for on in (False, True):  # undone by another, and made anew
        api.store.update(*node_key(), lambda o: {**o, "spec": {**o["spec"], "unschedulable": on}}, manager="kubectl")
    done = uninstall(api, host, "--uncordon")
    assert ours(api) == [] and node(api)["spec"]["unschedulable"] is True and "cordoned, by pleg" not in done.stderr
    theirs_is_untouched(api)


def node_key():
    from store import BY_NAME
    return BY_NAME["nodes"], "", NODE


def test_somebody_writes_in_between(api, host):
    """A node that changes between reading and writing is read again: what was written meanwhile stays."""
    fault = api.add_fault("slow", f"PATCH .*/nodes/{NODE}[?]", seconds=1)
    begun = subprocess.Popen([str(PLEG), "uninstall", "--root", str(host), "--kubeconfig", str(api.dir / "kubeconfig"), "--node", NODE, "--yes"],
                             stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 30
    while fault.hits == 0 and time.monotonic() < end:
        time.sleep(0.02)
    more = {"key": "new", "effect": "NoSchedule"}
    api.store.update(*node_key(), lambda o: {**o, "spec": {**o["spec"], "taints": [*o["spec"]["taints"], more]}})
    assert begun.wait(30) == 0, begun.stderr.read()
    assert ours(api) == [] and node(api)["spec"]["taints"] == [*TAINTS, more]


def test_a_node_that_is_gone_needs_no_cleaning(api, host):
    api.store.remove(*node_key())
    assert "cleaned" in uninstall(api, host).stdout


@pytest.mark.parametrize("how", ["gone", "silent"])
def test_without_the_api_server_nothing_is_removed_until_told(api, stage, host, how):
    before = tree(host)
    install(stage, host)
    installed = tree(host)
    if how == "gone":
        api.kubeconfig(api.dir / "kubeconfig", server="https://127.0.0.1:1")
    else:
        api.add_fault("silent", f"/nodes/{NODE}", times=1000)
    begun = time.monotonic()
    done = uninstall(api, host, "-o", "json", check=False)
    assert done.returncode == 1 and time.monotonic() - begun < 40
    assert [r["action"] for r in json.loads(done.stdout)["paths"]] == ["failed"] and "--no-node" in done.stderr
    assert tree(host) == installed and len(ours(api)) == 5
    if how == "gone":
        done = uninstall(api, host, "--no-node")
        assert tree(host) == before and len(ours(api)) == 5 and "kubectl" in done.stderr
    else:
        api.faults.clear()
        uninstall(api, host)
        assert tree(host) == before and ours(api) == []


def rules_of(folder, name):
    return [rule for d in documents(folder) if d["kind"] == "ClusterRole" and d["metadata"]["name"] == name for rule in d["rules"]]


AGENT, TAINTING, REMOVING = ((KUSTOMIZE / "access", "pleg-agent"), (KUSTOMIZE / "components/taint", "pleg-taint"), (KUSTOMIZE / "remove", "pleg-remover"))


def account(api, *roles):
    api.add_user("account", rules=[rule for role in roles for rule in rules_of(*role)], token="account-token")
    api.kubeconfig(api.dir / "kubeconfig", token="account-token")


def test_with_what_the_agent_may(api, stage, host):
    """Without the component for the taint there is none of it to be removed; here there is."""
    cordon(api)
    install(stage, host)
    account(api, AGENT)
    done = uninstall(api, host, check=False)
    assert done.returncode == 1 and ours(api) == ["pleg.dev/unhealthy", "pleg.dev/cordoned-at"]
    assert "the taint cannot be removed" in done.stderr and "the note of a cordon cannot be removed" in done.stderr and "forbidden" in done.stderr
    account(api, AGENT, TAINTING)
    assert (host / "usr/local/bin/pleg").exists()
    uninstall(api, host)
    assert ours(api) == [] and not (host / "usr/local/bin/pleg").exists()
    theirs_is_untouched(api)


def test_the_remover_with_what_it_may(api, stage, host, folder):
    """deploy/install as the remover's DaemonSet runs it, with a pleg that stands below --from only."""
    before = tree(host)
    install(stage, host)
    cordon(api)
    account(api, REMOVING)
    credentials = folder / "credentials"
    credentials.mkdir()
    (credentials / "token").write_text("account-token")
    shutil.copy(api.certificates.ca, credentials / "ca.crt")
    command = next(d for d in documents(KUSTOMIZE / "remove") if d["kind"] == "DaemonSet")["spec"]["template"]["spec"]["initContainers"][0]["command"]
    places = {"/stage": stage, "/host": host, "$(NODE_NAME)": NODE, "/var/run/secrets/pleg": credentials}
    env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
    done = run(INSTALL, *[places.get(word, word) for word in command[1:]], env=env)
    assert ours(api) == [] and tree(host) == before and "still cordoned, by pleg" in done.stderr
    theirs_is_untouched(api)
    refused = [r for r in api.requests if r[0] not in ("GET", "PATCH")]
    assert refused == []


def test_with_the_kubeconfig_of_the_configuration(api, stage, host, folder):
    """On its own root, which here is a chroot in a mount namespace of its own: pleg.yaml names node and kubeconfig."""
    if not shutil.which("unshare"):
        pytest.skip("no unshare (Debian: util-linux): the way without --kubeconfig stays unproven")
    config = folder / "default.yaml"
    config.write_text("apiVersion: pleg.dev/v1\nnodeName: testnode\nkubeconfig: /etc/pleg/kubeconfig\n")
    (folder / "token").write_text("admin-token")
    shutil.copy(api.certificates.ca, folder / "ca.crt")
    run(INSTALL, "--from", stage, "--root", host, "--config", config, "--credentials", folder,
        env={"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)})
    shutil.copy(PLEG, host / "other-pleg")
    lines = ["set -e"]
    for name in ("lib", "lib64", "usr/lib", "usr/lib64", "proc", "dev"):
        if os.path.islink(f"/{name}"):
            (host / name).symlink_to(os.readlink(f"/{name}"))
        elif os.path.isdir(f"/{name}"):
            (host / name).mkdir(parents=True, exist_ok=True)
            lines.append(f"mount --rbind /{name} {host}/{name}")

    def uninstall_there(pleg, *more):
        script = "\n".join([*lines, f"exec chroot {host} {pleg} uninstall --yes {' '.join(more)}"])
        return run("unshare", "-m", "--propagation", "private", "sh", "-c", script, env={"ASAN_OPTIONS": "detect_leaks=0"})
    done = uninstall_there("/usr/local/bin/pleg")
    assert ours(api) == [] and "cleaned      node/testnode" in done.stdout
    assert not (host / "usr/local/bin/pleg").exists() and not (host / "etc/pleg/kubeconfig").exists()
    theirs_is_untouched(api)
    # Again, by another copy: the kubeconfig that pleg.yaml still names went with the rest.
    done = uninstall_there("/other-pleg", "--purge")
    assert "node/testnode" not in done.stdout and "The node object is not touched" in done.stderr
