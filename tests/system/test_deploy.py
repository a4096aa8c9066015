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
