#!/usr/bin/env python3
"""A stand-in for a Docker Engine: it speaks just enough of the API, runs nothing, and fails in the ways it is told to.

It exists for what a real dockerd cannot be made to do on demand: half an answer, a list of 50 MB, a version that nobody knows, lengths
that are lies, bodies cut anywhere, one inspection that never ends. It runs in threads of the test itself.

    with DockerStandIn(folder, names=["a", "b"]) as engine:
        engine.faults["inspect", engine.ids["a"]] = "hang"
"""

import hashlib
import json
import pathlib
import socket
import threading
import time
import urllib.parse


class DockerStandIn:
    """`faults` maps "version", "list" or ("inspect", id) to a fault: "half", "hang", "missing", "long" (the length promises more than
    comes), "short" (less), "bytes" (chunks of one byte), or bytes, which are sent in place of the body."""

    def __init__(self, folder, names=()):
        self.socket = pathlib.Path(folder) / "docker.sock"
        self.endpoint = f"unix://{self.socket}"
        self.ids = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
        self.version = {"Version": "0.standin", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}
        self.faults, self.asked, self.connections = {}, [], 0
        self.over = threading.Event()

    def __enter__(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.socket))
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while not self.over.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as lines:
            while not self.over.is_set():
                try:
                    target = lines.readline().split()[1].decode()
                    while lines.readline().strip():
                        pass
                    if not self._answer(connection, target):
                        return
                except (OSError, IndexError):
                    return

    def _what(self, target):
        path = urllib.parse.urlsplit(target).path.split("/")
        if path[1:] == ["version"]:
            return "version", 200, self.version
        if path[1:] == ["_ping"]:
            return "ping", 200, None
        if path[2:] == ["events"]:
            return "events", 200, None
        if path[2:] == ["containers", "json"]:
            return "list", 200, [{"Id": i, "Names": [f"/{name}"], "State": "running", "Created": 1, "Labels": {}} for name, i in self.ids.items()]
        if path[2:3] == ["containers"] and path[4:] == ["json"] and path[3] in self.ids.values():
            state = {"Status": "running", "Running": True, "Pid": 0, "StartedAt": "2026-11-23T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"}
            return ("inspect", path[3]), 200, {"Id": path[3], "State": state, "Config": {"Image": "none", "Env": ["A=b"]}}
        return "nothing", 404, {"message": "page not found"}

    def _answer(self, connection, target):
        what, status, document = self._what(target)
        fault = self.faults.get(what)
        self.asked.append((what, target))
        if what == "events":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            self.over.wait()
            return False
        body = b"OK" if document is None else json.dumps(document).encode()
        if fault == "hang":
            self.over.wait()
            return False
        if fault == "missing":
            status, body = 404, b'{"message":"No such container: it has gone"}'
        if isinstance(fault, bytes):
            body = fault
        if fault == "half":
            body = body[:len(body) // 2]
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\n"
        if fault == "bytes":
            connection.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
            for i in range(len(body)):
                # Neither the frame nor the text comes in one piece.
                for piece in (b"1\r", b"\n" + body[i:i + 1], b"\r\n"):
                    connection.sendall(piece)
            time.sleep(0.01)
            connection.sendall(b"0\r\n\r\n")
            return True
        length = len(body) + {"long": 10, "short": -10}.get(fault, 0)
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)
        return fault != "long"
