#!/usr/bin/env python3
"""A dockerd of our own, on a containerd of our own (privatecontainerd.py): data, state, socket, network and images under one folder.

Used by the system tests, the benches and the lab. It never touches a Docker that is there already: its mounts and its network live in
the namespaces of its containerd, and containers have no network (there is no bridge) unless they ask for the host's, which is that
namespace.

    privatedocker.py start DIR [OPTION ...]  start it (and load the images), print its endpoint; options go to dockerd
    privatedocker.py stop DIR                end it and all it started, remove DIR; also after a crash
    privatedocker.py snapshot                what a run may leave behind on this machine, to compare before and after
"""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import privatecontainerd  # noqa: E402
from privatecontainerd import PrivateContainerd, build_images  # noqa: E402

BUSYBOX = privatecontainerd.IMAGES[1]
NAMESPACE = "moby"
PLUGIN_FOLDERS = (pathlib.Path("/run/docker/plugins"), pathlib.Path("/run/docker"))


class EngineError(Exception):
    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self.status = status


class _Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    """The little of the Engine API that tests and the lab need; one connection per call, so calls from threads do not meet."""

    def __init__(self, path):
        self.path = str(path)

    def call(self, method, target, body=None, timeout=120, content_type="application/json"):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.closing(_Connection(self.path, timeout)) as connection:
            connection.request(method, target, data, {"Content-Type": content_type} if data is not None else {})
            answer = connection.getresponse()
            text = answer.read()
        if answer.status >= 400:
            raise EngineError(answer.status, text.decode(errors="replace").strip())
        try:
            return json.loads(text) if text else None
        except ValueError:
            return text.decode(errors="replace")

    def create(self, name, script="sleep 3600", image=BUSYBOX, env=(), labels=None, restart="", **host):
        """A container that runs a shell script; `restart` is a policy such as "always" or "on-failure:3"."""
        policy, _, count = restart.partition(":")
        config = {
            "Image": image, "Entrypoint": ["/bin/sh", "-c"], "Cmd": [script], "Env": list(env), "Labels": labels or {},
            "HostConfig": {"NetworkMode": "none", "RestartPolicy": {"Name": policy, "MaximumRetryCount": int(count or 0)}, **host},
        }
        return self.call("POST", f"/containers/create?name={urllib.parse.quote(name)}", config)["Id"]

    def run(self, name, script="sleep 3600", **options):
        container = self.create(name, script, **options)
        self.start(container)
        return container

    def start(self, container):
        self.call("POST", f"/containers/{container}/start")

    def stop(self, container, seconds=0, timeout=120):
        self.call("POST", f"/containers/{container}/stop?t={seconds}", timeout=timeout)

    def kill(self, container, sig="KILL", timeout=120):
        self.call("POST", f"/containers/{container}/kill?signal={sig}", timeout=timeout)

    def remove(self, container, timeout=120):
        self.call("DELETE", f"/containers/{container}?force=1&v=1", timeout=timeout)

    def inspect(self, container, timeout=120):
        return self.call("GET", f"/containers/{container}/json", timeout=timeout)

    def list(self):
        return self.call("GET", "/containers/json?all=1")

    def ping(self, timeout=5):
        return self.call("GET", "/_ping", timeout=timeout)


class PrivateDocker:
    def __init__(self, folder, options=()):
        self.dir = pathlib.Path(folder).resolve()
        self.socket = self.dir / "docker.sock"
        self.endpoint = f"unix://{self.socket}"
        self.options = list(options)
        self.engine = Engine(self.socket)
        self.containerd = PrivateContainerd(self.dir)
        self.process = None

    # -- start ------------------------------------------------------------------------------------------------------

    def start(self, images=True):
        self.dir.mkdir(parents=True, exist_ok=True)
        (self.dir / "daemon.json").write_text(json.dumps({"deprecated-key-path": str(self.dir / "key.json")}))
        self.containerd.start(images=False)
        self.spawn()
        if images and not (self.dir / "images-done").exists():
            for path in build_images(self.dir):
                self.engine.call("POST", "/images/load?quiet=1", path.read_bytes(), content_type="application/x-tar")
                path.unlink()
            (self.dir / "images-done").touch()
        return self

    def spawn(self):
        """dockerd alone; also used to start it again after it was killed."""
        (self.dir / "docker.pid").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["nsenter", "-t", str(self.containerd.holder()), "-m", "-n", "dockerd", "--config-file", str(self.dir / "daemon.json"),
             "--host", self.endpoint, "--containerd", str(self.containerd.socket), "--containerd-namespace", NAMESPACE,
             "--data-root", str(self.dir / "data"), "--exec-root", str(self.dir / "exec"), "--pidfile", str(self.dir / "docker.pid"),
             "--cgroup-parent", self.containerd.cgroup_parent, "--storage-driver", "overlay2", "--bridge", "none", "--iptables=false",
             "--ip6tables=false", "--ip-forward=false", "--userland-proxy=false", "--log-level",
             os.environ.get("PLEG_DOCKERD_LOG_LEVEL", "info"), *self.options],
            stdin=subprocess.DEVNULL, stdout=(self.dir / "dockerd.log").open("a"), stderr=subprocess.STDOUT, start_new_session=True)
        # By this file stop() finds it, also after a crash of who started it.
        self.containerd.remember("dockerd", self.process.pid)
        self.wait_ready()

    @property
    def pid(self):
        known = self.containerd.recall("dockerd")
        return known[0] if known else None

    def wait_ready(self, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError, EngineError, http.client.HTTPException):
                self.engine.ping()
                return
            time.sleep(0.1)
        log = self.dir / "dockerd.log"
        raise SystemExit("dockerd did not start:\n" + "".join(log.open().readlines()[-15:]))

    # -- end --------------------------------------------------------------------------------------------------------

    def kill(self, sig=signal.SIGKILL):
        """A signal to dockerd only; with SIGKILL also waits until it is gone."""
        known = self.containerd.recall("dockerd")
        if not known:
            return
        os.kill(known[0], sig)
        if sig == signal.SIGKILL:
            privatecontainerd.end([known], time.monotonic() + 30)
            if self.process:
                self.process.wait()

    def stop(self):
        """dockerd is ended first, so that it restarts nothing; the rest, the folder included, goes with its containerd."""
        self.kill()
        self.containerd.stop()
        if self.process:
            self.process.wait()
        # dockerd makes these whatever it is told; they go unless somebody has put something there.
        for folder in PLUGIN_FOLDERS:
            with contextlib.suppress(OSError):
                folder.rmdir()


def snapshot():
    left = privatecontainerd.snapshot(("dockerd", "docker"))
    left["cgroups"] |= {str(p) for p in pathlib.Path("/sys/fs/cgroup").glob("*/docker/*") if p.is_dir()}
    return left


def main(arguments):
    if len(arguments) >= 2 and arguments[0] == "start":
        print(PrivateDocker(arguments[1], arguments[2:]).start().endpoint)
    elif len(arguments) == 2 and arguments[0] == "stop":
        PrivateDocker(arguments[1]).stop()
    elif arguments == ["snapshot"]:
        print(json.dumps({k: sorted(v) for k, v in snapshot().items()}, indent=1))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
