"""Starts and commands the stand-in runtime (cri.py) from a test.

    with StandIn(folder, pods=3) as runtime:
        runtime.do("fault", kind="hang", method="ContainerStatus", id=some_id)
        ...
        runtime.do("clear")
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess


class StandIn:
    def __init__(self, folder, pods=0, containers=1):
        self.dir = pathlib.Path(folder)
        self.socket, self.control = self.dir / "standin.sock", self.dir / "standin.control"
        self.endpoint = f"unix://{self.socket}"
        self.arguments = ["--pods", str(pods), "--containers", str(containers)]
        self.process = self.channel = None

    def start(self):
        program = pathlib.Path(__file__).with_name("cri.py")
        self.process = subprocess.Popen(
            ["/usr/bin/python3", str(program), "--socket", str(self.socket), "--control", str(self.control), *self.arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
        if self.process.stdout.readline() != b"ready\n":
            self.stop()
            raise RuntimeError("the stand-in runtime did not start")
        self.channel = socket.socket(socket.AF_UNIX)
        self.channel.settimeout(60)
        self.channel.connect(str(self.control))
        self.lines = self.channel.makefile("rwb")
        return self

    def do(self, command, **arguments):
        self.lines.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        self.lines.flush()
        answer = json.loads(self.lines.readline())
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error']}")
        return answer

    @property
    def pid(self):
        return self.process.pid

    def stop(self, sig=signal.SIGKILL):
        if self.channel:
            self.lines.close()
            self.channel.close()
            self.channel = None
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, sig)
                os.kill(self.process.pid, signal.SIGCONT)
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
