"""The end of the founding incident: the one command that pleg names is run, and everything that hung is gone."""

import subprocess
import time

import kit


def freeing_advice(finding):
    """The mildest advice that has a command."""
    return next(one for one in finding["advice"] if one["command"])


def run_advice(command):
    """As root would paste it, but in a mount namespace of its own: a machine without a fusectl mount keeps none of the
    one that the command makes."""
    private = "mount --make-rprivate / && "
    return subprocess.run(["unshare", "--mount", "sh", "-c", private + command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=20).returncode


def all_gone(incident, seconds=20):
    """[(what, whether it is gone)] of what hung."""
    moment = incident.moment
    victim, started = moment["pids"]["victim"]
    deadline = time.monotonic() + seconds
    while kit.start_time(victim) == started and time.monotonic() < deadline:
        time.sleep(0.05)
    done = subprocess.run(["timeout", "-s", "KILL", "20", "docker", "--host", incident.endpoint, "rm", "-f", moment["subject"]["containerID"]],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    listed = [one["Id"] for one in incident.daemon.engine.list()]
    return [("the zombie and its thread", kit.start_time(victim) != started),
            ("the hang of docker rm -f", done.returncode not in (137, -9)),
            ("the container", moment["subject"]["containerID"] not in listed)]
