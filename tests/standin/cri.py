#!/usr/bin/env python3
"""A stand-in for a container runtime: it speaks CRI v1, runs nothing, and fails in the ways it is told to.

    cri.py --socket PATH --control PATH [--pods N] [--containers M]

It exists for what a real containerd cannot be made to do on demand: one inspection that hangs, ten thousand containers, states that
nobody knows, names that are not text. It says so itself: its runtime name is "standin", unless "runtime-is" says otherwise. "ready" on stdout means that it serves.

Each line on the control socket is a JSON object, answered by one: {"do": "add-pod", ...}, see Control. Text that begins with "hex:"
stands for those bytes. Faults are rules, the newest first; the first that fits a call decides about it.
"""

import argparse
import asyncio
import hashlib
import importlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import grpc
import grpc.aio

PROTO = pathlib.Path(__file__).resolve().parent.parent.parent / "proto" / "cri.proto"
CREATED, RUNNING, EXITED = 0, 1, 2
READY, NOTREADY = 0, 1


def load_messages():
    with tempfile.TemporaryDirectory(prefix="pleg-standin-") as folder:
        subprocess.run(["protoc", f"--python_out={folder}", f"-I{PROTO.parent}", PROTO.name], check=True)
        sys.path.insert(0, folder)
        sys.dont_write_bytecode = True
        return importlib.import_module("cri_pb2")


# -- the wire, by hand: what we must be able to send is more than a library agrees to -----------------------------------------


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value) if value else b""


def data(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def text(field, value):
    return data(field, value) if value else b""


def raw(value):
    """The bytes that a text of the control protocol stands for."""
    if isinstance(value, bytes):
        return value
    return bytes.fromhex(value[4:]) if value.startswith("hex:") else value.encode()


def labels(field, pairs):
    """A new order at each call, as Go's maps have it."""
    rows = [data(field, data(1, raw(k)) + data(2, raw(v))) for k, v in pairs.items()]
    random.shuffle(rows)
    return b"".join(rows)


# -- what the runtime would have --------------------------------------------------------------------------------------------


class Pod:
    def __init__(self, name, namespace="default", uid="", id=None, attempt=0, labelled=True, state=READY, ips=("10.88.0.2",)):
        self.name, self.namespace, self.uid = raw(name), raw(namespace), raw(uid)
        self.id = raw(id) if id is not None else make_id("pod", name, namespace, uid, attempt)
        self.attempt, self.state, self.created, self.ips = attempt, state, time.time_ns(), list(ips)
        self.labels = {"io.kubernetes.pod.name": self.name, "io.kubernetes.pod.namespace": self.namespace,
                       "io.kubernetes.pod.uid": self.uid} if labelled else {}
        self.copies = 1

    def _head(self):
        metadata = text(1, self.name) + text(2, self.uid) + text(3, self.namespace) + number(4, self.attempt)
        return text(1, self.id) + data(2, metadata) + number(3, self.state) + number(4, self.created)

    def entry(self):
        return self._head() + labels(5, self.labels)

    def status(self):
        network = b""
        if self.ips:
            network = text(1, raw(self.ips[0])) + b"".join(data(2, text(1, raw(ip))) for ip in self.ips[1:])
        return data(1, self._head() + data(5, network) + labels(7, self.labels))


class Container:
    def __init__(self, pod, name, id=None, attempt=0, labelled=True, state=RUNNING):
        self.pod, self.name, self.attempt = pod, raw(name), attempt
        self.id = raw(id) if id is not None else make_id("container", pod.id.hex(), name, attempt)
        self.state, self.created = state, time.time_ns()
        self.started, self.finished, self.exit_code, self.reason, self.message = 0, 0, 0, b"", b""
        self.labels = {**pod.labels, "io.kubernetes.container.name": self.name} if labelled else {}
        self.copies = 1
        self.set(state)

    def set(self, state, exit_code=0, reason=""):
        self.state, self.exit_code, self.reason = state, exit_code, raw(reason)
        if state in (RUNNING, EXITED) and not self.started:
            self.started = time.time_ns()
        if state == EXITED:
            self.finished = time.time_ns()
            self.reason = self.reason or (b"Completed" if exit_code == 0 else b"Error")

    def _metadata(self):
        return text(1, self.name) + number(2, self.attempt)

    def entry(self):
        return (text(1, self.id) + text(2, self.pod.id) + data(3, self._metadata()) + data(4, text(1, b"standin:1")) +
                text(5, b"sha256:standin") + number(6, self.state) + number(7, self.created) + labels(8, self.labels) +
                labels(9, {"io.kubernetes.container.terminationMessagePath": "/dev/termination-log"}))

    def inner_status(self):
        return (text(1, self.id) + data(2, self._metadata()) + number(3, self.state) + number(4, self.created) +
                number(5, self.started) + number(6, self.finished) + number(7, self.exit_code) + data(8, text(1, b"standin:1")) +
                text(9, b"sha256:standin") + text(10, self.reason) + text(11, self.message) + labels(12, self.labels))

    def status(self):
        return data(1, self.inner_status())


def make_id(*words):
    return hashlib.sha256("/".join(map(str, words)).encode()).hexdigest().encode()


class Node:
    """All pods and containers, and the encoded lists, which are made anew only after a change."""

    def __init__(self):
        self.pods, self.containers = {}, {}
        self.cache = {}
        self.is_shuffled = False

    def changed(self):
        self.cache.clear()

    def add(self, thing):
        (self.pods if isinstance(thing, Pod) else self.containers)[thing.id] = thing
        self.changed()
        return thing

    def find(self, id, things):
        """As runtimes do: the beginning of an id is enough."""
        return things.get(id) or next((t for i, t in things.items() if id and i.startswith(id)), None)

    def remove(self, id):
        self.pods.pop(id, None)
        self.containers.pop(id, None)
        for child in [c.id for c in self.containers.values() if c.pod.id == id]:
            del self.containers[child]
        self.changed()

    def list(self, things, key, wanted):
        if key not in self.cache or self.is_shuffled:
            rows = [data(1, t.entry()) * t.copies for t in things.values() if wanted(t)]
            if self.is_shuffled:
                random.shuffle(rows)
            self.cache[key] = b"".join(rows)
        return self.cache[key]


# -- the service ------------------------------------------------------------------------------------------------------------


class Fault:
    def __init__(self, kind, method="*", id="", seconds=0.0, code="UNKNOWN", message="told to fail", bytes=0):
        self.kind, self.method, self.id = kind, method, raw(id)
        self.seconds, self.code, self.message, self.bytes = seconds, code, message, bytes
        self.cleared = asyncio.Event()

    def fits(self, method, id):
        return self.method in ("*", method) and (not self.id or id.startswith(self.id))


class Events:
    """GetContainerEvents. Modes: "all", each event to every listener (containerd 2, CRI-O); "one", to one of them only (containerd
    1.7, where all listeners read the same channel); "silent", the stream ends without a word (CRI-O with events switched off); "off",
    there is no such method."""

    def __init__(self):
        self.mode, self.listeners, self.turn = "all", [], 0

    async def serve(self, body, context):
        if self.mode == "off":
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method GetContainerEvents")
        if self.mode == "silent":
            return
        queue = asyncio.Queue()
        self.listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.listeners.remove(queue)

    def tell(self, thing, type):
        """`type`: 0 created, 1 started, 2 stopped, 3 deleted."""
        status = data(5, thing.inner_status()) if isinstance(thing, Container) else b""
        message = text(1, thing.id) + number(2, type) + number(3, time.time_ns()) + status
        if self.mode == "all":
            for queue in self.listeners:
                queue.put_nowait(message)
        elif self.mode == "one" and self.listeners:
            self.turn += 1
            self.listeners[self.turn % len(self.listeners)].put_nowait(message)


class Runtime(grpc.GenericRpcHandler):
    def __init__(self, messages, node):
        self.messages, self.node = messages, node
        self.faults = []
        self.calls, self.open, self.verbose = {}, {}, 0
        self.images = {"standin:1"}
        self.events = Events()
        self.name, self.version = "standin", "1.0.0"

    def service(self, details):
        service, _, method = details.method.lstrip("/").partition("/")
        if service == "runtime.v1.RuntimeService" and method == "GetContainerEvents":
            return grpc.unary_stream_rpc_method_handler(self.events.serve)
        request_type = getattr(self.messages, method + "Request", None)
        if service not in ("runtime.v1.RuntimeService", "runtime.v1.ImageService") or request_type is None:
            return None

        async def call(body, context):
            self.calls[method] = self.calls.get(method, 0) + 1
            self.open[method] = self.open.get(method, 0) + 1
            try:
                request = request_type.FromString(body)
                self.verbose += bool(getattr(request, "verbose", False))
                answer = await self.fail(method, request, context)
                return await getattr(self, method)(request, context) if answer is None else answer
            finally:
                self.open[method] -= 1

        return grpc.unary_unary_rpc_method_handler(call)

    async def fail(self, method, request, context):
        """What a fault answers, None if none does; does not return at all where it aborts."""
        subject = getattr(request, "container_id", "") or getattr(request, "pod_sandbox_id", "")
        fault = next((f for f in reversed(self.faults) if f.fits(method, subject.encode())), None)
        if fault is None:
            return None
        if fault.kind == "hang":
            await fault.cleared.wait()
        elif fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        elif fault.kind == "error":
            await context.abort(grpc.StatusCode[fault.code], fault.message)
        elif fault.kind == "not-found":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"an error occurred when try to find container \"{subject}\": not found")
        elif fault.kind == "unimplemented":
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown service runtime.v1.RuntimeService")
        elif fault.kind == "garbage":
            return b"\xff" * max(fault.bytes, 16)
        elif fault.kind == "empty":
            return b""
        elif fault.kind == "oversized":
            return data(1000, bytes(fault.bytes))
        return None

    async def Version(self, request, context):
        return self.messages.VersionResponse(version="0.1.0", runtime_name=self.name, runtime_version=self.version,
                                             runtime_api_version="v1").SerializeToString()

    async def Status(self, request, context):
        conditions = [self.messages.RuntimeCondition(type=t, status=True) for t in ("RuntimeReady", "NetworkReady")]
        return self.messages.StatusResponse(status=self.messages.RuntimeStatus(conditions=conditions)).SerializeToString()

    async def ListPodSandbox(self, request, context):
        id, uid = request.filter.id.encode(), request.filter.label_selector.get("io.kubernetes.pod.uid", "").encode()
        return self.node.list(self.node.pods, ("pods", id, uid), lambda p: (
            p.id.startswith(id) and (not uid or p.labels.get("io.kubernetes.pod.uid") == uid)))

    async def ListContainers(self, request, context):
        f = request.filter
        id, pod, uid = f.id.encode(), f.pod_sandbox_id.encode(), f.label_selector.get("io.kubernetes.pod.uid", "").encode()
        return self.node.list(self.node.containers, ("containers", id, pod, uid), lambda c: (
            c.id.startswith(id) and c.pod.id.startswith(pod) and (not uid or c.labels.get("io.kubernetes.pod.uid") == uid)))

    async def _find(self, id, things, what, context):
        thing = self.node.find(id.encode(), things)
        if thing is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"an error occurred when try to find {what} \"{id}\": not found")
        return thing

    async def PodSandboxStatus(self, request, context):
        return (await self._find(request.pod_sandbox_id, self.node.pods, "sandbox", context)).status()

    async def ContainerStatus(self, request, context):
        return (await self._find(request.container_id, self.node.containers, "container", context)).status()

    async def RunPodSandbox(self, request, context):
        m = request.config.metadata
        pod = self.node.add(Pod(m.name, m.namespace, m.uid, attempt=m.attempt))
        return text(1, pod.id)

    async def StopPodSandbox(self, request, context):
        pod = self.node.find(request.pod_sandbox_id.encode(), self.node.pods)
        if pod:
            pod.state = NOTREADY
            for container in self.node.containers.values():
                if container.pod is pod and container.state == RUNNING:
                    container.set(EXITED, 137)
            self.node.changed()
        return b""

    async def RemovePodSandbox(self, request, context):
        self.node.remove(request.pod_sandbox_id.encode())
        return b""

    async def CreateContainer(self, request, context):
        pod = await self._find(request.pod_sandbox_id, self.node.pods, "sandbox", context)
        m = request.config.metadata
        container = self.node.add(Container(pod, m.name, attempt=m.attempt, state=CREATED))
        self.events.tell(container, CREATED)
        return text(1, container.id)

    async def _change(self, id, state, exit_code, context):
        container = await self._find(id, self.node.containers, "container", context)
        container.set(state, exit_code)
        self.node.changed()
        self.events.tell(container, state)
        return b""

    async def StartContainer(self, request, context):
        return await self._change(request.container_id, RUNNING, 0, context)

    async def StopContainer(self, request, context):
        return await self._change(request.container_id, EXITED, 143, context)

    async def RemoveContainer(self, request, context):
        container = self.node.find(request.container_id.encode(), self.node.containers)
        self.node.remove(request.container_id.encode())
        if container:
            self.events.tell(container, 3)
        return b""

    async def ImageStatus(self, request, context):
        found = request.image.image in self.images
        return data(1, text(1, b"sha256:standin")) if found else b""


class Control:
    """One method per "do"; the other keys of the line are its arguments, what it returns is the answer."""

    def __init__(self, runtime):
        self.runtime, self.node = runtime, runtime.node

    def thing(self, id):
        id = raw(id)
        return self.node.find(id, self.node.containers) or self.node.find(id, self.node.pods)

    def add_pod(self, **options):
        return {"id": self.node.add(Pod(**options)).id.decode("latin-1")}

    def add_container(self, sandbox, **options):
        return {"id": self.node.add(Container(self.node.pods[raw(sandbox)], **options)).id.decode("latin-1")}

    def add_many(self, pods, containers):
        for i in range(pods):
            pod = self.node.add(Pod(f"pod-{i}", "many", f"uid-{i}"))
            for j in range(containers):
                self.node.add(Container(pod, f"container-{j}"))

    def set(self, id, state, exitCode=0, reason=""):
        thing = self.thing(id)
        if isinstance(thing, Pod):
            thing.state = state
        else:
            thing.set(state, exitCode, reason)
            if state in (CREATED, RUNNING, EXITED):
                self.runtime.events.tell(thing, state)
        self.node.changed()

    def events(self, mode):
        self.runtime.events.mode = mode

    def tell(self, id, type):
        """An event that nothing in the lists bears out: `type` as in Events.tell(), or a number that CRI does not have."""
        self.runtime.events.tell(self.thing(id), type)

    def runtime_is(self, name, version):
        """What Version says from now on."""
        self.runtime.name, self.runtime.version = name, version

    def containers(self):
        return {"containers": [c.id.decode("latin-1") for c in self.node.containers.values()]}

    def kill(self, id, exitCode=137):
        self.set(id, EXITED if isinstance(self.thing(id), Container) else NOTREADY, exitCode)

    def remove(self, id):
        thing = self.thing(id)
        self.node.remove(thing.id)
        self.runtime.events.tell(thing, 3)

    def orphan(self, id):
        """The sandbox is gone, its containers are still told."""
        del self.node.pods[raw(id)]
        self.node.changed()

    def shuffle(self, on=True):
        """From now on each list is made anew, its entries in another order every time."""
        self.node.is_shuffled = on

    def duplicate(self, id, copies=2):
        self.thing(id).copies = copies
        self.node.changed()

    def fault(self, **options):
        self.runtime.faults.append(Fault(**options))
        return {"fault": len(self.runtime.faults)}

    def clear(self):
        """All faults end; what hangs is answered as if nothing had been."""
        for fault in self.runtime.faults:
            fault.cleared.set()
        self.runtime.faults = []

    def stats(self):
        return {"calls": self.runtime.calls, "open": {m: n for m, n in self.runtime.open.items() if n},
                "listeners": len(self.runtime.events.listeners), "verbose": self.runtime.verbose, "pods": len(self.node.pods), "containers": len(self.node.containers)}

    async def serve(self, reader, writer):
        while line := await reader.readline():
            try:
                command = json.loads(line)
                answer = getattr(self, command.pop("do").replace("-", "_"))(**command) or {}
            except Exception as problem:  # whatever the line says, the answer tells what is wrong with it
                answer = {"error": repr(problem)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--control", required=True)
    parser.add_argument("--pods", type=int, default=0)
    parser.add_argument("--containers", type=int, default=1, help="of each pod")
    arguments = parser.parse_args()

    runtime = Runtime(load_messages(), Node())
    control = Control(runtime)
    control.add_many(arguments.pods, arguments.containers)
    for path in (arguments.socket, arguments.control):
        pathlib.Path(path).unlink(missing_ok=True)
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((runtime,))
    server.add_insecure_port(f"unix:{os.path.abspath(arguments.socket)}")
    await server.start()
    await asyncio.start_unix_server(control.serve, arguments.control, limit=1 << 24)
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
