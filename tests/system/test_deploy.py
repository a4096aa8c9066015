"""What brings pleg onto a machine and off it: the unit, the installer, `pleg uninstall`, the manifests.

Everything goes into scratch folders; systemd is not running here, so that the unit starts under it is not covered. What the
unit takes away is: the agent runs with exactly the unit's capabilities and system calls, set up by helpers/confined.py.
"""
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest

from conftest import BUILD, PLEG, ROOT, Agent, wait_for

UNIT = BUILD / "deploy/pleg.service"
INSTALL = ROOT / "deploy/install"
CONFINED = ROOT / "tests/system/helpers/confined.py"
# The leak checker at the end of a sanitizer's program needs ptrace(), which the unit refuses.
NO_LEAKS = {"ASAN_OPTIONS": "detect_leaks=0"}

CAPABILITIES = {"CAP_DAC_READ_SEARCH": 2, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_NET_ADMIN": 12, "CAP_SYS_PTRACE": 19,
                "CAP_SYS_ADMIN": 21, "CAP_SYSLOG": 34}


def needs(program, package):
    if not shutil.which(program):
        pytest.skip(f"no {program} here (Debian: {package}): what this test covers stays unproven")


def run(*command, check=True, env=None, **more):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          env={**os.environ, **(env or {})}, **more)
    if check and done.returncode != 0:
        pytest.fail(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


# ---- the unit ----------------------------------------------------------------------------------


def test_unit_is_what_systemd_takes_and_makes_no_mount_namespace():
    needs("systemd-analyze", "systemd")
    done = run(ROOT / "tools/check-unit", UNIT, PLEG)
    assert re.search(r"exposure level for pleg.service: [0-9.]+", done.stdout)


@pytest.mark.parametrize("line", ["PrivateTmp=yes", "ProtectSystem=strict", "ProtectKernelLogs=yes", "ReadOnlyPaths=/etc", "LogNamespace=x",
                                  "SystemCallFilter=@no-such-group", "NoSuchDirective=yes"])
def test_unit_check_refuses(folder, line):
    needs("systemd-analyze", "systemd")
    unit = folder / "pleg.service"
    unit.write_text(UNIT.read_text().replace("[Install]", f"{line}\n\n[Install]"))
    assert run(ROOT / "tools/check-unit", unit, PLEG, check=False).returncode == 1


def test_unit_check_refuses_a_soft_unit(folder):
    needs("systemd-analyze", "systemd")
    unit = folder / "pleg.service"
    unit.write_text(re.sub(r"^(SystemCall.*|CapabilityBoundingSet.*|NoNewPrivileges.*)\n", "", UNIT.read_text(), flags=re.M))
    done = run(ROOT / "tools/check-unit", unit, PLEG, check=False)
    assert done.returncode == 1 and "exposure level" in done.stdout


def test_agent_does_its_job_with_what_the_unit_leaves_it(containerd, folder):
    needs("systemd-analyze", "systemd")
    needs("setpriv", "util-linux")
    containerd.cri.sandbox("confined")
    kubeconfig = folder / "credentials"
    kubeconfig.mkdir()
    (kubeconfig / "token").write_text("none")
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=ca", "-days", "2",
        "-keyout", folder / "ca.key", "-out", kubeconfig / "ca.crt")
    run(INSTALL, "--feed", kubeconfig, "--to", kubeconfig, "--once", env={"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"})
    made = kubeconfig / "kubeconfig"
    made.write_text(made.read_text().replace("/etc/pleg/", f"{kubeconfig}/"))
    agent = Agent(folder, containerd.endpoint, f"kubeconfig: {made}\n", env=NO_LEAKS, prefix=[sys.executable, str(CONFINED), str(UNIT)])
    try:
        status = agent.wait_ready()
        pid = agent.process.pid
        state = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        assert state["Seccomp"] == "2" and state["NoNewPrivs"] == "1"
        assert int(state["CapEff"], 16) == sum(1 << CAPABILITIES[name] for name in re.search(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.M)[1].split())
        assert status["node"]["ready"], status["node"]
        def running():
            states = {role["role"]: role["state"] for role in agent.status()["agent"]["roles"]}
            return {"api", "journal", "probe", "web"} <= set(states) and set(states.values()) == {"running"}
        wait_for(running, f"all roles run: {agent.status()['agent']['roles']}")
        text = agent.run("status").stdout
        assert "cannot" not in text.lower() and "not permitted" not in text.lower(), text
    finally:
        code = agent.stop()
    log = agent.log.read_text()
    assert code == 0, log
    refused = [line for line in log.splitlines() if re.search(r"not permitted|EPERM", line, re.I)]
    assert not refused, log


# ---- installer and uninstall -------------------------------------------------------------------

@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """What `meson install` makes."""
    needs("meson", "meson")
    path = tmp_path_factory.mktemp("stage")
    run("meson", "install", "--no-rebuild", "--quiet", "-C", BUILD, env={"DESTDIR": str(path)})
    return path


@pytest.fixture
def host(folder):
    """A root of a host: what is in it before is not pleg's."""
    root = folder / "host"
    for name in ("etc/systemd/system", "usr/local/bin", "run", "var/lib/other"):
        (root / name).mkdir(parents=True)
    (root / "usr/local/bin/other").write_text("not ours\n")
    return root


def tree(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def install(stage, host, *more, check=True):
    return run(INSTALL, "--from", stage, "--root", host, *more, check=check)


def uninstall(host, *more, check=True):
    return run(PLEG, "uninstall", "--root", host, *more, check=check)


def test_install_and_uninstall_leave_nothing(stage, host, folder):
    before = tree(host)
    config = folder / "default.yaml"
    config.write_text("apiVersion: pleg.dev/v1\n")
    (folder / "token").write_text("secret")
    (folder / "ca.crt").write_text("ca")
    done = run(INSTALL, "--from", stage, "--root", host, "--config", config, "--credentials", folder,
               env={"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"})
    assert (host / "etc/pleg/token").read_text() == "secret" and "https://10.0.0.1:443" in (host / "etc/pleg/kubeconfig").read_text()
    assert "no systemd runs" in done.stdout
    assert run(host / "usr/local/bin/pleg", "version").stdout.startswith("pleg ")
    for name in ("pleg-probe", "pleg-journal", "pleg-web"):
        assert os.access(host / "usr/local/libexec/pleg" / name, os.X_OK)
    link = host / "etc/systemd/system/multi-user.target.wants/pleg.service"
    assert (host / os.readlink(link)[1:]).read_text().startswith("# The pleg agent")
    # What the agent writes later.
    for name in ("journal.db", "journal.db-wal", "journal.db.damaged-2026-01-01"):
        (host / "var/lib/pleg").mkdir(exist_ok=True)
        (host / "var/lib/pleg" / name).write_text("x")
    (host / "run/pleg").mkdir()
    (host / "run/pleg/pleg.sock.lock").write_text("")

    installed = tree(host)
    shown = uninstall(host, "--purge", "--dry-run").stdout
    assert tree(host) == installed and "/usr/local/bin/pleg" in shown and "/etc/pleg/token" in shown and "other" not in shown
    done = uninstall(host, "--purge", "--yes")
    assert tree(host) == before, done.stdout
    assert "kubectl" in done.stderr
    again = uninstall(host, "--purge", "--yes")
    assert again.stdout == "" and "No /usr/local/libexec/pleg/manifest" in again.stderr


def test_uninstall_keeps_configuration_and_journal_unless_asked(stage, host, folder):
    config = folder / "default.yaml"
    config.write_text("apiVersion: pleg.dev/v1\nstateDir: /srv/pleg\n")
    (host / "srv/pleg").mkdir(parents=True)
    (host / "srv/pleg/journal.db").write_text("x")
    (host / "srv/pleg/notes").write_text("somebody's")
    install(stage, host, "--config", config)
    done = uninstall(host, "--yes", "-o", "json")
    kept = {row["path"] for row in json.loads(done.stdout)["paths"] if row["action"] == "kept"}
    assert {"/etc/pleg/pleg.yaml", "/srv/pleg", "/etc/pleg"} <= kept
    assert (host / "etc/pleg/pleg.yaml").exists() and (host / "srv/pleg/journal.db").exists()
    assert not (host / "usr/local/bin/pleg").exists()
    install(stage, host)
    uninstall(host, "--yes", "--purge")
    assert [path for path in tree(host) if "pleg" in path] == ["etc/pleg", "etc/pleg/pleg.yaml", "srv/pleg", "srv/pleg/notes"]


def test_update_in_place_replaces_adds_and_removes(stage, host, folder):
    new = folder / "new"
    shutil.copytree(stage, new, symlinks=True)
    (stage_old := new / "usr/local/libexec/pleg/pleg-old").write_text("#!/bin/sh\n")
    install(new, host)
    inode = (host / "usr/local/bin/pleg").stat().st_ino
    assert (host / "usr/local/libexec/pleg/pleg-old").exists()
    stage_old.unlink()
    with (new / "usr/local/bin/pleg").open("ab") as file:
        file.write(b"changed")
    with (host / "usr/local/bin/pleg").open("rb") as running:
        done = install(new, host)
        assert os.fstat(running.fileno()).st_ino == inode and not running.read().endswith(b"changed"), "the old file is whole"
    assert (host / "usr/local/bin/pleg").stat().st_ino != inode
    assert not (host / "usr/local/libexec/pleg/pleg-old").exists() and "pleg-old" in done.stdout
    assert "wrote" not in install(new, host).stdout, "the third run changes nothing"
    uninstall(host, "--yes")
    assert not [path for path in tree(host) if "pleg" in path]


def test_installer_tells_the_hosts_systemd(stage, host):
    """A chroot with busybox and a systemctl that writes down what it is asked."""
    busybox = pathlib.Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("no busybox-static: the way through the host's systemctl stays unproven")
    for name in ("bin", "usr/bin", "run/systemd/system"):
        (host / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox, host / "bin/sh")
    shutil.copy(busybox, host / "usr/bin/env")
    (host / "usr/bin/systemctl").write_text('#!/bin/sh\necho "$SYSTEMD_IGNORE_CHROOT $*" >>/asked\n')
    (host / "usr/bin/systemctl").chmod(0o755)
    asked = host / "asked"
    install(stage, host)
    assert asked.read_text() == "1 daemon-reload\n1 enable pleg.service\n1 restart pleg.service\n"
    asked.unlink()
    install(stage, host)
    assert asked.read_text() == "1 daemon-reload\n1 enable pleg.service\n1 start pleg.service\n"
    asked.unlink()
    run(INSTALL, "--remove", "--from", stage, "--root", host)
    assert asked.read_text() == "1 disable --now pleg.service\n1 daemon-reload\n"
    assert not [path for path in tree(host) if "pleg" in path]


def test_installer_and_uninstall_stay_below_the_root(stage, host, folder):
    outside = folder / "outside"
    outside.mkdir()
    (host / "usr/local/libexec").symlink_to(outside)
    done = install(stage, host, check=False)
    assert done.returncode == 1 and "leads out of" in done.stderr and not list(outside.iterdir())
    (host / "usr/local/libexec").unlink()
    install(stage, host)
    # Of absolute links on the way, uninstall takes the root to be the host's.
    (folder / "outside/bin").mkdir()
    (folder / "outside/bin/pleg").write_text("another's")
    (host / "usr/local/bin/pleg").unlink()
    (host / "usr/local/bin/other").unlink()
    (host / "usr/local/bin").rmdir()
    (host / "usr/local/bin").symlink_to(folder / "outside/bin")
    uninstall(host, "--yes")
    assert (folder / "outside/bin/pleg").read_text() == "another's"
    assert not (host / "usr/local/libexec/pleg").exists(), "the rest went"


@pytest.mark.parametrize("line", ["file /etc/../../x", "file relative", "shell /bin/sh", "file"])
def test_uninstall_refuses_a_manifest_it_does_not_understand(stage, host, line):
    install(stage, host)
    with (host / "usr/local/libexec/pleg/manifest").open("a") as file:
        file.write(line + "\n")
    before = tree(host)
    done = uninstall(host, "--yes", check=False)
    assert done.returncode == 1 and "line not understood" in done.stderr and tree(host) == before


def test_uninstall_that_failed_can_be_repeated(stage, host):
    before = tree(host)
    install(stage, host)
    (host / "usr/local/bin/pleg").unlink()
    (host / "usr/local/bin/pleg").mkdir()
    done = uninstall(host, "--yes", "-o", "json", check=False)
    rows = {row["path"]: row for row in json.loads(done.stdout)["paths"]}
    assert done.returncode == 1 and rows["/usr/local/bin/pleg"]["action"] == "failed" and rows["/usr/local/bin/pleg"]["why"]
    assert rows["/usr/local/libexec/pleg/manifest"]["action"] == "kept" and not (host / "usr/local/libexec/pleg/pleg-web").exists()
    (host / "usr/local/bin/pleg").rmdir()
    uninstall(host, "--yes")
    assert [p for p in tree(host) if p not in before] == []


def test_uninstall_asks_and_leaves_a_running_agent_alone(stage, host, folder):
    install(stage, host)
    before = tree(host)
    done = uninstall(host, check=False)
    assert done.returncode == 2 and "--yes" in done.stderr and tree(host) == before
    (host / "run/pleg").mkdir()
    with (host / "run/pleg/pleg.sock.lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        before = tree(host)
        done = uninstall(host, "--yes", check=False)
        assert done.returncode == 1 and f"pid {os.getpid()}" in done.stderr and tree(host) == before
    (host / "srv").mkdir()
    (host / "srv/x.sock").write_text("")
    uninstall(host, "--yes", "--socket", "/srv/x.sock")
    assert not (host / "srv/x.sock").exists() and (host / "run/pleg/pleg.sock.lock").exists()


def test_feeder_copies_credentials_and_writes_a_kubeconfig(folder):
    source, to = folder / "source", folder / "to"
    source.mkdir()
    to.mkdir()
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert run(INSTALL, "--feed", source, "--to", to, "--once", env=env, check=False).returncode == 1
    (source / "token").write_text("one")
    (source / "ca.crt").write_text("ca")
    run(INSTALL, "--feed", source, "--to", to, "--once", env=env)
    assert sorted(tree(to)) == ["ca.crt", "kubeconfig", "token"]
    assert "server: https://[fd00::1]:6443\n" in (to / "kubeconfig").read_text()
    assert (to / "token").stat().st_mode & 0o777 == 0o600
    (source / "token").write_text("two")
    assert "wrote" in run(INSTALL, "--feed", source, "--to", to, "--once", env=env).stdout
    assert (to / "token").read_text() == "two"


def test_feeder_ends_at_once_when_told(folder):
    process = subprocess.Popen([str(INSTALL), "--wait"])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def test_node_name_goes_into_the_configuration_once(stage, host, folder):
    config = folder / "default.yaml"
    config.write_text("apiVersion: pleg.dev/v1\n")
    install(stage, host, "--config", config, "--node-name", "worker-7")
    assert (host / "etc/pleg/pleg.yaml").read_text() == "apiVersion: pleg.dev/v1\nnodeName: worker-7\n"
    assert "kept" not in install(stage, host, "--config", config, "--node-name", "worker-7").stdout
    config.write_text("apiVersion: pleg.dev/v1\nrelistPeriod: 2s\n")
    assert "kept /etc/pleg/pleg.yaml" in install(stage, host, "--config", config, "--node-name", "worker-7").stdout


def test_bundle_takes_libraries_but_not_the_c_library(stage, folder):
    copy = folder / "stage"
    shutil.copytree(stage, copy, symlinks=True)
    run(ROOT / "deploy/bundle", copy, "/usr/local/lib/pleg")
    names = {path.name.split(".so")[0] for path in (copy / "usr/local/lib/pleg").iterdir()}
    assert {"libsystemd", "libnghttp2", "libsqlite3", "libmicrohttpd"} <= names
    assert not {"libc", "libm", "ld-linux-x86-64"} & names


# ---- manifests ---------------------------------------------------------------------------------

KUSTOMIZE = ROOT / "deploy/kustomize"
VARIANTS = ["base", "daemonset", "remove"]
COMPONENTS = ["taint", "drain"]


def documents(folder):
    """What a kustomization names, files taken together; the tests' own idea of kustomize."""
    yaml = pytest.importorskip("yaml", reason="no python3-yaml: the manifests stay unchecked")
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found = []
    for name in kustomization["resources"]:
        path = folder / name
        found += documents(path) if path.is_dir() else [d for d in yaml.safe_load_all(path.read_text()) if d]
    for made in kustomization.get("configMapGenerator", []):
        data = {name: (folder / name).read_text() for name in made["files"]}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": made["name"]}, "data": data})
    return found


def names_of(docs, kind):
    return {d["metadata"]["name"] for d in docs if d["kind"] == kind}


def all_documents():
    return [d for name in VARIANTS for d in documents(KUSTOMIZE / name)] + [d for c in COMPONENTS for d in documents(KUSTOMIZE / "components" / c)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_kustomize_builds_the_same(variant, folder):
    needs("kubectl", "none; kubernetes-client elsewhere")
    import yaml
    ours = documents(KUSTOMIZE / variant)
    top = folder / "k"
    shutil.copytree(KUSTOMIZE, top)
    (top / "mine").mkdir()
    text = f"resources: [../{variant}]\nimages: [{{name: pleg, newName: example.invalid/pleg, newTag: '1'}}]\n"
    components = COMPONENTS if variant != "remove" else []
    (top / "mine/kustomization.yaml").write_text(text + (f"components: [{', '.join('../components/' + c for c in components)}]\n" if components else ""))
    built = [d for d in yaml.safe_load_all(run("kubectl", "kustomize", top / "mine").stdout) if d]
    ours += [d for c in components for d in documents(KUSTOMIZE / "components" / c)]
    plain = {(d["kind"], re.sub(r"-[a-z0-9]{10}$", "", d["metadata"]["name"])) for d in built}
    assert plain == {(d["kind"], d["metadata"]["name"]) for d in ours} and len(built) == len(ours)


@pytest.mark.parametrize("variant", VARIANTS)
def test_manifests_refer_to_what_there_is(variant):
    docs = documents(KUSTOMIZE / variant)
    for d in docs:
        if d["kind"].endswith("RoleBinding"):
            assert d["roleRef"]["name"] in names_of(docs, d["roleRef"]["kind"])
            assert {s["name"] for s in d["subjects"]} <= names_of(docs, "ServiceAccount")
        elif d["kind"] == "ValidatingAdmissionPolicyBinding":
            assert d["spec"]["policyName"] in names_of(docs, "ValidatingAdmissionPolicy") and d["spec"]["validationActions"] == ["Deny"]
        elif d["kind"] == "ValidatingAdmissionPolicy":
            assert d["spec"]["failurePolicy"] == "Fail"
        elif d["kind"] == "DaemonSet":
            check_daemonset(d, docs)


def check_daemonset(d, docs):
    pod = d["spec"]["template"]["spec"]
    assert d["spec"]["selector"]["matchLabels"].items() <= d["spec"]["template"]["metadata"]["labels"].items()
    assert pod["serviceAccountName"] in names_of(docs, "ServiceAccount") and pod["automountServiceAccountToken"] is False
    assert pod["priorityClassName"] == "system-node-critical" and pod["tolerations"] == [{"operator": "Exists"}]
    volumes = {v["name"]: v for v in pod["volumes"]}
    for v in volumes.values():
        assert v.get("configMap", {}).get("name") in {None} | names_of(docs, "ConfigMap")
    for container in pod.get("initContainers", []) + pod["containers"]:
        assert re.fullmatch("pleg(-installer)?", container["image"]), "a name to be set, no registry"
        assert not container["securityContext"].get("privileged")
        for mount in container.get("volumeMounts", []):
            # A whole host tree without propagation would keep alive what the host unmounts.
            if volumes[mount["name"]].get("hostPath", {}).get("path") in ("/", "/run", "/sys/fs/cgroup"):
                assert mount["mountPropagation"] == "HostToContainer"
    # The whole root is copied by containers that end, only.
    assert not [m for c in pod["containers"] for m in c.get("volumeMounts", []) if volumes[m["name"]].get("hostPath", {}).get("path") == "/"]


def test_roles_grant_what_the_agent_calls_and_nothing_else():
    roles = {d["metadata"]["name"]: {(r, v) for rule in d["rules"] for r in rule["resources"] for v in rule["verbs"]}
             for d in all_documents() if d["kind"] == "ClusterRole"}
    assert roles["pleg-agent"] == {("nodes", "get"), ("nodes/status", "patch"), ("pods", "list"), ("pods", "watch"),
                                   ("events", "get"), ("events", "create"), ("events", "patch")}
    assert roles["pleg-taint"] == {("nodes", "patch")}
    assert roles["pleg-drain"] == {("nodes", "get"), ("nodes", "patch"), ("pods", "list"), ("pods", "delete"), ("pods/eviction", "create"),
                                   ("daemonsets", "get"), ("persistentvolumeclaims", "get"), ("persistentvolumes", "get")}
    assert roles["pleg-remover"] == {("nodes", "get"), ("nodes", "patch"), ("nodes/status", "patch")}
    for name, granted in roles.items():
        assert not {r for r, v in granted} & {"nodes/proxy", "secrets", "pods/exec", "*"}, name
        assert "*" not in {v for r, v in granted}
    bound = {(d["roleRef"]["name"], s["name"]) for d in all_documents() if d["kind"] == "ClusterRoleBinding" for s in d["subjects"]}
    assert bound == {("pleg-agent", "pleg-agent"), ("pleg-taint", "pleg-agent"), ("pleg-drain", "pleg-drain"), ("pleg-remover", "pleg-remover")}


def test_the_shipped_configurations_are_ones_the_agent_takes(folder):
    for variant in ("base", "daemonset"):
        config = folder / f"{variant}.yaml"
        config.write_text((KUSTOMIZE / variant / "pleg.yaml").read_text() + "nodeName: worker-7\n")
        # Nobody listens there: what counts is that it got so far as to look.
        done = run(PLEG, "agent", "--find-runtime", "--config", config, "--runtime", f"unix://{folder}/none.sock", check=False)
        assert done.returncode == 1 and "none.sock" in done.stderr and ".yaml" not in done.stderr, done.stderr


def test_the_unit_and_the_daemonset_have_the_same_capabilities():
    unit = set(re.search(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.M)[1].split())
    pod = next(d for d in documents(KUSTOMIZE / "daemonset") if d["kind"] == "DaemonSet")["spec"]["template"]["spec"]
    assert {"CAP_" + c for c in pod["containers"][0]["securityContext"]["capabilities"]["add"]} == unit | {"CAP_IPC_LOCK"}


def test_daemonset_makes_the_files_of_the_agent(folder):
    """Its shell lines, with another folder for / and a pleg that prints where it was sent."""
    pod = next(d for d in documents(KUSTOMIZE / "daemonset") if d["kind"] == "DaemonSet")["spec"]["template"]["spec"]
    shell, option, script = pod["containers"][0]["command"]
    for name in ("config", "tmp", "bin"):
        (folder / name).mkdir()
    shutil.copy(KUSTOMIZE / "daemonset/pleg.yaml", folder / "config")
    (folder / "bin/pleg").write_text('#!/bin/sh\necho "$@"\n')
    (folder / "bin/pleg").chmod(0o755)
    script = re.sub(r"/(config|tmp)/", rf"{folder}/\1/", script)
    env = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "NODE_NAME": "worker-7"}
    assert "agent --config" in run(shell, option, script, env=env).stdout
    assert {"nodeName: worker-7", "kubeconfig: in-cluster"} <= set((folder / "tmp/pleg.yaml").read_text().splitlines())
    # What in-cluster means is there: the token, fresh, and the authority.
    where = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}["/var/run/secrets/kubernetes.io/serviceaccount"]
    sources = next(v for v in pod["volumes"] if v["name"] == where)["projected"]["sources"]
    assert sources[0]["serviceAccountToken"]["path"] == "token" and sources[1]["configMap"]["items"][0]["path"] == "ca.crt"


@pytest.mark.parametrize("variant, account, names", [("base", "pleg-agent", {"pleg-own-node", "pleg-own-events"}),
                                                     ("remove", "pleg-remover", {"pleg-remover"})])
def test_policies_know_their_account(variant, account, names):
    docs = documents(KUSTOMIZE / variant)
    policies = {d["metadata"]["name"]: d["spec"] for d in docs if d["kind"] == "ValidatingAdmissionPolicy"}
    assert set(policies) == names
    for spec in policies.values():
        assert spec["matchConditions"][0]["expression"] == f'request.userInfo.username == "system:serviceaccount:pleg-system:{account}"'
        assert spec["validations"][0]["expression"] == 'variables.node != ""'
        for expression in [v["expression"] for v in spec["validations"]] + [v["expression"] for v in spec["variables"]]:
            for pair in ("()", "[]", "{}"):
                assert expression.count(pair[0]) == expression.count(pair[1]), expression
    assert "pleg-system" in names_of(docs, "Namespace") and account in names_of(docs, "ServiceAccount")
