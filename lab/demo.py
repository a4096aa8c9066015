#!/usr/bin/env python3
"""The demo pods of ./run, on its private containerd: two that are calm, one of two containers of which one crash-loops.

    demo.py PLEG_CRI ENDPOINT DIR

Nobody plays the kubelet there, so this script does what it would do for the crash loop: it starts the next attempt with a back-off
(10 s doubling to 5 min; here 5 s to 40 s, so that a visitor sees something) and keeps one dead container. Ends on SIGTERM, its pods with it.
"""

import json
import signal
import subprocess
import sys
import time

IMAGE = "pleg.local/busybox:1"
PODS = {
    "web": {"server": "exec httpd -f -p 8080"},
    "ticker": {"clock": "trap 'exit 0' TERM; while :; do date; sleep 5 & wait; done"},
    "crash": {"good": "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done", "bad": "sleep 4; echo giving up; exit 3"},
}
BACK_OFF_FIRST, BACK_OFF_MAX = 5.0, 40.0


class Ended(Exception):
    pass


class Demo:
    def __init__(self, tool, endpoint, cgroup_parent):
        self.base = [tool, "--runtime", endpoint]
        self.cgroup_parent = cgroup_parent
        self.sandboxes = {}
        self.attempts = {}

    def cri(self, *arguments):
        done = subprocess.run([*self.base, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments[:2])}: {done.stderr.strip()}")
        return done.stdout.strip()

    def start_container(self, pod, name, attempt):
        sandbox = self.sandboxes[pod]
        container = self.cri("create", sandbox, "--name", name, "--image", IMAGE, "--attempt", str(attempt), "--",
                             "/bin/sh", "-c", PODS[pod][name])
        self.cri("start", container)
        self.attempts[pod, name] = attempt
        return container

    def start(self):
        for pod, containers in PODS.items():
            self.sandboxes[pod] = self.cri("run-sandbox", "--name", pod, "--namespace", "demo", "--uid", f"demo-{pod}",
                                           "--cgroup-parent", self.cgroup_parent)
            for name in containers:
                self.start_container(pod, name, 0)

    def keep(self):
        """Restarts what exits, as a kubelet with restartPolicy Always."""
        back_off, due, dead = {}, {}, {}
        while True:
            for line in self.cri("list").splitlines():
                row = json.loads(line)
                key = (row["pod"], row["container"])
                if row["kind"] != "container" or row["state"] != "exited" or row["attempt"] != self.attempts.get(key):
                    continue
                if key not in due:
                    back_off[key] = min(back_off.get(key, BACK_OFF_FIRST / 2) * 2, BACK_OFF_MAX)
                    due[key] = time.monotonic() + back_off[key]
                elif time.monotonic() >= due[key]:
                    del due[key]
                    self.start_container(*key, row["attempt"] + 1)
                    if key in dead:
                        self.cri("rm", dead[key])
                    dead[key] = row["id"]
            time.sleep(1)

    def stop(self):
        for sandbox in self.sandboxes.values():
            self.cri("stop-sandbox", sandbox)
            self.cri("rm-sandbox", sandbox)


def main():
    tool, endpoint, folder = sys.argv[1:]

    def on_term(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Ended

    demo = Demo(tool, endpoint, "/pleg-" + folder.rstrip("/").rpartition("/")[2])
    signal.signal(signal.SIGTERM, on_term)
    try:
        demo.start()
        demo.keep()
    except Ended:
        demo.stop()


if __name__ == "__main__":
    main()
