"""What brings pleg onto a machine and off it: the unit, the installer, `pleg uninstall`, the manifests.

Everything goes into scratch folders; systemd is not running here, so that the unit starts under it is not covered. What the
unit takes away is: the agent runs with exactly the unit's capabilities and system calls, set up by helpers/confined.py.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from conftest import BUILD, PLEG, ROOT, Agent, wait_for

UNIT = BUILD / "deploy/pleg.service"
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
    agent = Agent(folder, containerd.endpoint, env=NO_LEAKS, prefix=[sys.executable, str(CONFINED), str(UNIT)])
    try:
        status = agent.wait_ready()
        pid = agent.process.pid
        state = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        assert state["Seccomp"] == "2" and state["NoNewPrivs"] == "1"
        assert int(state["CapEff"], 16) == sum(1 << CAPABILITIES[name] for name in re.search(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.M)[1].split())
        assert status["node"]["ready"], status["node"]
        def running():
            states = {role["role"]: role["state"] for role in agent.status()["agent"]["roles"]}
            return {"journal", "probe", "web"} <= set(states) and set(states.values()) == {"running"}
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

INSTALL = ROOT / "deploy/install"


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
    done = install(stage, host, "--config", config, "--credentials")
    assert "no systemd runs" in done.stdout
    assert run(host / "usr/local/bin/pleg", "version").stdout.startswith("pleg ")
    for name in ("pleg-probe", "pleg-journal", "pleg-web"):
        assert os.access(host / "usr/local/libexec/pleg" / name, os.X_OK)
    link = host / "etc/systemd/system/multi-user.target.wants/pleg.service"
    assert (host / os.readlink(link)[1:]).read_text().startswith("# The pleg agent")
    # What the agent and the feeder write later.
    (host / "etc/pleg/token").write_text("secret")
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
    import json
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


@pytest.mark.parametrize("line", ["file /etc/../../x", "file relative", "shell /bin/sh", "file"])
def test_uninstall_refuses_a_manifest_it_does_not_understand(stage, host, line):
    install(stage, host)
    with (host / "usr/local/libexec/pleg/manifest").open("a") as file:
        file.write(line + "\n")
    before = tree(host)
    done = uninstall(host, "--yes", check=False)
    assert done.returncode == 1 and "line not understood" in done.stderr and tree(host) == before


def test_uninstall_asks_and_leaves_a_running_agent_alone(stage, host, folder):
    install(stage, host)
    before = tree(host)
    done = uninstall(host, check=False)
    assert done.returncode == 2 and "--yes" in done.stderr and tree(host) == before
    import fcntl
    (host / "run/pleg").mkdir()
    with (host / "run/pleg/pleg.sock.lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        before = tree(host)
        done = uninstall(host, "--yes", check=False)
        assert done.returncode == 1 and f"pid {os.getpid()}" in done.stderr and tree(host) == before


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
