#!/usr/bin/python3
"""A stand-in for kube-apiserver, for tests.

What it is: the paths, objects, versions, errors and streams that pleg and kubectl see when they read and patch nodes, watch pods,
write Events and Leases and evict pods; over TLS, with bearer tokens and client certificates, and with faults on demand. It ends
evicted pods as a kubelet would (controllers.py), computes the status of disruption budgets and puts the taint of a cordon.

What it is not: there is no validation of objects beyond names and selectors, no defaulting, no schema or OpenAPI, no server-side
apply, no conversion between versions, no admission but a part of NodeRestriction, no RBAC objects (the rules of a user are given
when the user is made), no audit, no priority and fairness, no streaming lists. Node authorization is an imitation (authorize.py).
Where a client does well here, that is a sign and not a proof.

From a test of Python: `with ApiServer() as api: api.add_node("n1"); api.kubeconfig(path, user=...)`. As a program it serves until
stdin closes, and is commanded over HTTP under /standin (see Handler.standin).
"""

import argparse
import base64
import contextlib
import copy
import ctypes
import dataclasses
import http.server
import json
import pathlib
import re
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import authorize  # noqa: E402
import patches  # noqa: E402
import status as st  # noqa: E402
from authorize import EVERYTHING, User  # noqa: E402
from controllers import STUCK, Kubelet, evict, node_taints, refresh_budgets  # noqa: E402, F401
from store import BY_NAME, BY_PATH, RESOURCES, Store, field_selector, label_selector, now  # noqa: E402

BODY_MAX = 3 << 20  # as the real one
BOOKMARK_SECONDS = 1.0  # the real one sends one a minute
HUGE_BYTES = 50 << 20
FAULTS = ("slow", "silent", "reset", "reset-half", "401", "403", "410", "429", "500", "half-utf8", "garbage", "huge", "no-metadata")


@dataclasses.dataclass
class Fault:
    """The next `times` requests whose "METHOD PATH" matches `match` go wrong in this way; `seconds` is for slow and 429."""
    kind: str
    match: str = ".*"
    times: int = 1
    seconds: float = 1.0
    hits: int = 0


def deafen(connection):
    """The kernel drops what comes on it from now on and acknowledges nothing, as a firewall does that forgot the connection."""
    drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K: 0 bytes
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(drop))
    connection.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER; the kernel copies it


class Certificates:
    """An authority, the server's certificate and clients' ones, made by openssl."""

    def __init__(self, folder, names=("localhost",)):
        self.dir = pathlib.Path(folder)
        self.ca = self._authority("ca")
        alt = ",".join([*(f"DNS:{n}" for n in names), "IP:127.0.0.1", "IP:::1"])
        self.server = self.sign("server", "/CN=stand-in", f"subjectAltName={alt}")

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.dir, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)

    def _authority(self, name):
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                      "-keyout", f"{name}.key", "-out", f"{name}.crt")
        return self.dir / f"{name}.crt"

    def sign(self, name, subject, extension="keyUsage=digitalSignature", authority="ca", days="1"):
        """(certificate, key) of a subject such as /O=system:nodes/CN=system:node:n1."""
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject,
                      "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.dir / f"{name}.ext").write_text(extension + "\n")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-CAcreateserial",
                      "-days", days, "-extfile", f"{name}.ext", "-out", f"{name}.crt")
        return self.dir / f"{name}.crt", self.dir / f"{name}.key"

    def other_authority(self):
        """One that signed nothing here."""
        return self._authority("other-ca")


class NoPage(Exception):
    """A path that no group serves: 404 as plain text."""


class Hangup(Exception):
    """The connection ends here, without another word."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "stand-in"
    wbufsize = -1

    def setup(self):
        self.api = self.server.api
        self.born = time.monotonic()
        self.user_of_certificate = None
        context = self.api.tls
        if context:
            self.request.settimeout(30)
            self.request = context.wrap_socket(self.request, server_side=True)
            certificate = self.request.getpeercert()
            if certificate:
                words = [pair for rdn in certificate["subject"] for pair in rdn]
                name = next((v for k, v in words if k == "commonName"), "")
                groups = tuple(v for k, v in words if k == "organizationName")
                known = self.api.users.get(name)
                rules = EVERYTHING if "system:masters" in groups else known.rules if known else []
                self.user_of_certificate = User(name, groups, rules)
        self.request.settimeout(None)
        with self.api.lock:
            self.api.connections.add(self.request)
        super().setup()

    def finish(self):
        with self.api.lock:
            self.api.connections.discard(self.request)
        super().finish()

    def is_frozen(self):
        return self.born < self.api.frozen_at

    def log_message(self, *args):
        pass

    # ---- requests ----

    def do(self):
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_MAX:
            self.close_connection = True
            return self.fail(st.ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728"))
        self.body = self.rfile.read(length)
        if self.is_frozen():
            self.api.stopping.wait(3600)
            self.close_connection = True
            return
        self.api.note(self.command, self.path, self.body)
        if url.path.startswith("/standin"):
            return self.standin(url.path)
        try:
            self.fault = self.api.take_fault(f"{self.command} {self.path}")
            self.misbehave()
            self.user = self.authenticate()
            self.route(url.path)
        except st.ApiError as error:
            self.fail(error)
        except NoPage:
            self.raw(b"404 page not found\n", "text/plain; charset=utf-8", 404)
        except (Hangup, ConnectionError):
            self.close_connection = True
        except patches.BadPatch as error:
            self.fail(st.bad_request(str(error)))
        except patches.NoMergeKey as error:
            self.fail(st.ApiError(500, None, str(error)))
        except patches.DoesNotApply:
            self.fail(st.no_json_patch())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

    def misbehave(self):
        fault = self.fault
        if fault is None:
            return
        if fault.kind == "slow":
            self.api.stopping.wait(fault.seconds)
        elif fault.kind == "silent":
            self.api.stopping.wait(3600)
            raise Hangup
        elif fault.kind == "reset":
            self.reset()
        elif fault.kind == "401":
            raise st.unauthorized()
        elif fault.kind == "403":
            raise st.ApiError(403, "Forbidden", 'forbidden: User "faulted" cannot do this', {})
        elif fault.kind == "410":
            raise st.ApiError(410, "Expired", "The resourceVersion for the provided watch is too old.")
        elif fault.kind == "429":
            raise st.too_many_requests(int(fault.seconds))
        elif fault.kind == "500":
            raise st.internal("etcdserver: request timed out")
        elif fault.kind == "garbage":
            self.raw(b"<html>502 Bad Gateway</html>", "text/html")
            raise Hangup
        elif fault.kind == "huge":
            self.huge()
            raise Hangup

    def reset(self):
        """RST rather than FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw = socket.socket(fileno=self.connection.detach()) if isinstance(self.connection, ssl.SSLSocket) else self.connection
        raw.close()
        raise Hangup

    def huge(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(HUGE_BYTES))
        self.end_headers()
        piece = b'{"metadata":{"name":"x","annotations":{"a":"' + b"y" * 65000 + b'"}}},'
        sent = self.wfile.write(b'{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[')
        while sent < HUGE_BYTES:
            self.wfile.write(piece[:HUGE_BYTES - sent])
            sent += len(piece)

    def authenticate(self):
        header = self.headers.get("Authorization", "")
        if header.startswith("Bearer "):
            user = self.api.tokens.get(header[len("Bearer "):].strip())
            if user is None:
                raise st.unauthorized()
            return user
        if header:
            raise st.unauthorized()
        return self.user_of_certificate or User("system:anonymous", ("system:unauthenticated",))

    # ---- answers ----

    def raw(self, data, kind="application/json", code=200, headers=None):
        if self.fault and self.fault.kind == "reset-half":
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:len(data) // 2])
            self.wfile.flush()
            self.reset()
        self.send_response(code)
        self.send_header("Audit-Id", "00000000-0000-0000-0000-000000000000")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def answer(self, obj, code=200, headers=None):
        if self.fault and self.fault.kind == "no-metadata":
            obj = {k: v for k, v in obj.items() if k != "metadata"}
            for item in obj.get("items", []):
                item.pop("metadata", None)
        data = json.dumps(obj, separators=(",", ":")).encode()
        if self.fault and self.fault.kind == "half-utf8":
            data = data.replace(b'"name":"', b'"name":"\xc3\xe2\x82', 1)
        self.raw(data, code=code, headers=headers)

    fault = None

    def fail(self, error):
        with contextlib.suppress(ConnectionError, Hangup):
            self.raw(json.dumps(error.status).encode(), code=error.code, headers=error.headers)

    def json_body(self):
        try:
            body = json.loads(self.body)
        except ValueError as error:
            raise st.bad_request(f"the object provided is unrecognized (must be of type JSON): {error}") from error
        return body

    # ---- routing ----

    def route(self, path):
        words = path.strip("/").split("/")
        if path in ("/version", "/version/"):
            return self.answer({"major": "1", "minor": "36", "gitVersion": "v1.36.0-standin", "platform": "linux/amd64"})
        if path in ("/healthz", "/readyz", "/livez"):
            return self.raw(b"ok", "text/plain")
        if words[0] == "api" and len(words) == 1:
            return self.answer({"kind": "APIVersions", "versions": ["v1"]})
        if words[0] == "apis" and len(words) == 1:
            return self.answer(self.groups())
        if words[0] == "api" and words[1] == "v1":
            group, version, rest = "", "v1", words[2:]
        elif words[0] == "apis" and len(words) >= 3:
            group, version, rest = words[1], words[2], words[3:]
        elif words[0] == "apis" and len(words) == 2:
            found = [g for g in self.groups()["groups"] if g["name"] == words[1]]
            if found:
                return self.answer({"kind": "APIGroup", "apiVersion": "v1", **found[0]})
            raise NoPage
        else:
            raise NoPage
        if group and group not in {r.group for r in RESOURCES}:
            raise NoPage
        if not rest:
            return self.resource_list(group, version)
        namespace = ""
        if rest[0] == "namespaces" and len(rest) >= 3 and (group, version, rest[2]) in BY_PATH:
            namespace, rest = urllib.parse.unquote(rest[1]), rest[2:]
        resource = BY_PATH.get((group, version, rest[0]))
        if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
            raise st.no_such_path()
        name = urllib.parse.unquote(rest[1]) if len(rest) > 1 else ""
        subresource = rest[2] if len(rest) > 2 else ""
        if subresource and subresource not in resource.subresources:
            raise st.no_such_path()
        self.act(resource, namespace, name, subresource)

    def groups(self):
        names = sorted({(r.group, r.version) for r in RESOURCES if r.group})
        groups = [{"name": g, "versions": [{"groupVersion": f"{g}/{v}", "version": v}],
                   "preferredVersion": {"groupVersion": f"{g}/{v}", "version": v}} for g, v in names]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def resource_list(self, group, version):
        rows = []
        for r in RESOURCES:
            if (r.group, r.version) != (group, version):
                continue
            verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
            rows.append({"name": r.name, "singularName": r.kind.lower(), "namespaced": r.namespaced, "kind": r.kind, "verbs": verbs,
                         **({"shortNames": list(r.short)} if r.short else {})})
            for sub in r.subresources:
                if sub == "eviction":
                    rows.append({"name": "pods/eviction", "singularName": "", "namespaced": True, "group": "policy", "version": "v1",
                                 "kind": "Eviction", "verbs": ["create"]})
                else:
                    rows.append({"name": f"{r.name}/{sub}", "singularName": "", "namespaced": r.namespaced, "kind": r.kind,
                                 "verbs": ["get", "patch", "update"]})
        if not rows:
            raise st.no_such_path()
        self.answer({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group}/{version}" if group else version,
                     "resources": rows})

    def act(self, resource, namespace, name, subresource):
        api, method = self.api, self.command
        watch = self.query.get("watch") in ("1", "true")
        verb = {"GET": "get" if name else "watch" if watch else "list", "POST": "create", "PUT": "update", "PATCH": "patch",
                "DELETE": "delete" if name else "deletecollection"}[method]
        what = f"{resource.name}/{subresource}" if subresource else resource.name
        api.used.setdefault(self.user.name, set()).add((what, verb))
        try:
            authorize.check(self.user, api.store, verb, resource, subresource, namespace, name, self.query)
        except st.ApiError as error:
            api.refused.append((self.user.name, what, verb, error.status["message"]))
            raise
        dry_run = self.query.get("dryRun") == "All"
        if verb == "list" or verb == "watch":
            matches = self.selectors(resource)
            return self.list(resource, namespace, matches) if verb == "list" else self.watch(resource, namespace, matches)
        if resource.namespaced and not namespace:
            raise st.no_such_path()
        if verb == "get" and subresource != "eviction":
            return self.answer(api.store.get(resource, namespace, name))
        if verb == "create" and subresource == "eviction":
            body = self.json_body()
            if body.get("kind") != "Eviction" or body.get("apiVersion") not in ("policy/v1", "policy/v1beta1"):
                raise st.bad_request("the object provided is no Eviction of policy/v1")
            if (body.get("metadata") or {}).get("name", name) != name:
                raise st.bad_request("name in URL does not match name in Eviction object")
            options = body.get("deleteOptions") or {}
            return self.answer(evict(api.store, namespace, name, body, dry_run or options.get("dryRun") == ["All"]), 201)
        if verb == "create" and not name:
            return self.create(resource, namespace, dry_run)
        if verb in ("update", "patch"):
            return self.change(verb, resource, namespace, name, subresource, dry_run)
        if verb == "delete" and not subresource:
            options = self.json_body() if self.body else {}
            if "gracePeriodSeconds" in self.query:
                options["gracePeriodSeconds"] = int(self.query["gracePeriodSeconds"])
            gone = api.store.delete(resource, namespace, name, options, dry_run or options.get("dryRun") == ["All"])
            if resource.name == "pods":
                return self.answer(gone)
            return self.answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                                "details": {"name": name, **resource.details(), "uid": gone["metadata"]["uid"]}})
        raise st.ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})

    def create(self, resource, namespace, dry_run):
        body = self.json_body()
        if not isinstance(body, dict) or not isinstance(body.get("metadata"), dict):
            raise st.bad_request("the object provided is unrecognized: it has no metadata")
        if resource.name == "nodes":
            node_taints(body)
        if resource.name == "events":
            self.check_event(namespace, body)
        self.answer(self.api.store.create(resource, namespace, body, dry_run, self.manager()), 201)

    def change(self, verb, resource, namespace, name, subresource, dry_run):
        body = self.json_body()
        kind = (self.headers.get("Content-Type") or "").split(";")[0]
        if verb == "patch" and kind not in patches.TYPES:
            raise st.ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})

        def apply(old):
            before = copy.deepcopy(old)
            new = patches.TYPES[kind](old, body) if verb == "patch" else body
            if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
                raise st.bad_request("the object provided is unrecognized: it has no metadata")
            if not subresource:
                authorize.node_change(self.user, resource, before, new)
                if resource.name == "nodes":
                    self.check_taints(name, new)
                    node_taints(new)
            return new
        self.answer(self.api.store.update(resource, namespace, name, apply, subresource, dry_run, self.manager()))

    def manager(self):
        """Who owns what is written: as it says, or else the program of its User-Agent."""
        return self.query.get("fieldManager") or (self.headers.get("User-Agent") or "unknown").split("/")[0]

    def check_event(self, namespace, event):
        """An Event lives where its object does; what has no namespace, such as a node, has its Events in default."""
        about = (event.get("involvedObject") or {}).get("namespace") or ""
        if self.api.get("namespaces", namespace) and event["metadata"].get("namespace", namespace) == namespace and (about or "default") != namespace:
            raise st.invalid("Event", event["metadata"].get("name", ""),
                             f'involvedObject.namespace: Invalid value: "{about}": does not match event.namespace')

    @staticmethod
    def check_taints(name, node):
        seen = set()
        for at, taint in enumerate((node.get("spec") or {}).get("taints") or []):
            key = (taint.get("key"), taint.get("effect"))
            if taint.get("effect") not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
                raise st.invalid("Node", name, f'metadata.taints[{at}].effect: Unsupported value: "{taint.get("effect")}": '
                                 'supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"')
            if key in seen:
                raise st.invalid("Node", name, f'metadata.taints[{at}]: Duplicate value: {{"Key":"{key[0]}","Value":"{taint.get("value", "")}",'
                                 f'"Effect":"{key[1]}","TimeAdded":null}}: taints must be unique by key and effect pair')
            seen.add(key)

    def selectors(self, resource):
        by_field = field_selector(resource, self.query.get("fieldSelector", ""))
        by_label = label_selector(self.query.get("labelSelector", ""))
        return lambda obj: by_field(obj) and by_label(obj)

    def list(self, resource, namespace, matches):
        limit = int(self.query.get("limit") or 0)
        items, version = self.api.store.list(resource, namespace, matches)
        start = 0
        if self.query.get("continue"):
            try:
                version, start = json.loads(base64.urlsafe_b64decode(self.query["continue"]))
            except ValueError as error:
                raise st.bad_request("invalid continue token: continue key is not valid") from error
            if version < self.api.store.compacted:
                raise st.ApiError(410, "Expired", "The provided continue parameter is too old to display a consistent list result.")
        meta = {"resourceVersion": str(version)}
        if limit and len(items) > start + limit:
            meta["continue"] = base64.urlsafe_b64encode(json.dumps([version, start + limit]).encode()).decode()
            meta["remainingItemCount"] = len(items) - start - limit
        items = items[start:start + limit] if limit else items[start:]
        self.answer({"kind": resource.kind + "List", "apiVersion": resource.api_version, "metadata": meta,
                     "items": [{k: v for k, v in i.items() if k not in ("apiVersion", "kind")} for i in items]})

    # ---- watch ----

    def event(self, kind, obj):
        line = json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"
        if self.fault and self.fault.kind == "half-utf8":
            line = line.replace(b'"name":"', b'"name":"\xc3\xe2\x82', 1)
        if self.fault and self.fault.kind == "reset-half":
            line = line[:len(line) // 2]
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()
        if self.fault and self.fault.kind == "reset-half":
            self.reset()

    def watch(self, resource, namespace, matches):
        store = self.api.store
        if self.query.get("sendInitialEvents"):
            raise st.invalid("ListOptions.meta.k8s.io", "", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless "
                                                            "the WatchList feature gate is enabled")
        version = self.query.get("resourceVersion") or "0"
        if not version.isdigit():
            raise st.ApiError(500, None, f'resourceVersion: Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax')
        version = int(version)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        end = time.monotonic() + float(self.query.get("timeoutSeconds") or 1800)
        bookmarks = self.query.get("allowWatchBookmarks") in ("1", "true")
        if version == 0:
            items, version = store.list(resource, namespace, matches)
            for item in items:
                self.event("ADDED", item)
        elif version < store.compacted:
            self.event("ERROR", st.expired(version, store.compacted).status)
            return self.end_watch()
        self.follow(resource, namespace, matches, version, end, bookmarks)

    def follow(self, resource, namespace, matches, version, end, bookmarks):
        store, told = self.api.store, time.monotonic()
        with self.api.count_watch():
            while not self.api.stopping.is_set() and not self.api.drop_watches.is_set():
                with store.changed:
                    if version < store.compacted and version != store.version:
                        events, gone = [], True
                    else:
                        events, version = store.events_after(version, resource, namespace, matches)
                        gone = False
                    if not events and not gone:
                        store.changed.wait(0.1)
                if gone:
                    self.event("ERROR", st.expired(version, store.compacted).status)
                    break
                if self.is_frozen():  # until it is dropped
                    while not self.api.stopping.wait(0.1):
                        if self.api.drop_watches.is_set():
                            self.reset()
                if self.api.mute_watches.is_set():  # open, and silent for ever
                    self.api.stopping.wait(3600)
                for event in events:
                    self.event(event["type"], event["object"])
                if bookmarks and time.monotonic() - told > self.api.bookmark_seconds:
                    told = time.monotonic()
                    self.event("BOOKMARK", {"kind": resource.kind, "apiVersion": resource.api_version,
                                            "metadata": {"resourceVersion": str(version), "creationTimestamp": None}})
                if time.monotonic() > end:
                    break
        self.end_watch()

    def end_watch(self):
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    # ---- commands to the stand-in itself; no credentials ----

    def standin(self, path):
        """POST /standin/faults {kind, match, times, seconds}; DELETE /standin/faults; POST /standin/{compact,drop-watches,mute-watches};
        POST /standin/objects {an object}: created; GET /standin/requests: what was asked."""
        api = self.api
        try:
            if (self.command, path) == ("POST", "/standin/faults"):
                api.add_fault(**self.json_body())
            elif (self.command, path) == ("DELETE", "/standin/faults"):
                api.faults.clear()
            elif (self.command, path) == ("POST", "/standin/compact"):
                api.store.compact()
            elif (self.command, path) == ("POST", "/standin/drop-watches"):
                api.drop_all_watches()
            elif (self.command, path) == ("POST", "/standin/mute-watches"):
                api.mute_watches.set()
            elif (self.command, path) == ("POST", "/standin/objects"):
                return self.answer(api.add(self.json_body()), 201)
            elif (self.command, path) == ("GET", "/standin/requests"):
                return self.answer({"requests": [list(r) for r in api.requests]})
            else:
                raise st.no_such_path()
            self.answer({})
        except st.ApiError as error:
            self.fail(error)
        except TypeError as error:
            self.fail(st.bad_request(str(error)))


class Listener(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, ssl.SSLError, TimeoutError, ValueError)):
            super().handle_error(request, client_address)

    def finish_request(self, request, client_address):
        if self.api.deaf.is_set():  # accepted, and never a word, not even of TLS
            self.api.stopping.wait(3600)
            return
        super().finish_request(request, client_address)


class ApiServer:
    def __init__(self, folder=None, port=0, tls=True, kubelet_delay=0.2, kubelet=True, history=10000):
        self.store = Store(history)
        self.users, self.tokens, self.faults, self.requests, self.times = {}, {}, [], [], []
        self.used, self.refused = {}, []  # by user: (resource, verb) that were asked for; and what nobody allowed
        self.connections, self.frozen_at = set(), 0.0
        self.stopping, self.drop_watches, self.mute_watches, self.deaf = (threading.Event() for _ in range(4))
        self.bookmark_seconds = BOOKMARK_SECONDS
        self.watches, self.lock = 0, threading.Lock()
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="standin-")
        self.dir = pathlib.Path(folder or self._temporary.name)
        self.certificates = Certificates(self.dir) if tls else None
        self.tls = None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*map(str, self.certificates.server))
            self.tls.load_verify_locations(str(self.certificates.ca))
            self.tls.verify_mode = ssl.CERT_OPTIONAL
        self.listener = Listener(("127.0.0.1", port), Handler)
        self.listener.api = self
        self.port = self.listener.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.kubelet = Kubelet(self.store, kubelet_delay) if kubelet else None
        for name in ("default", "kube-system", "kube-node-lease"):
            self.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "status": {"phase": "Active"}})
        self.add_user("admin", groups=("system:masters",), rules=EVERYTHING, token="admin-token")

    def __enter__(self):
        threading.Thread(target=self.listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        if self.kubelet:
            self.kubelet.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        if self.kubelet:
            self.kubelet.stop()
        self.listener.shutdown()
        self.listener.server_close()
        if self._temporary:
            self._temporary.cleanup()

    # ---- who ----

    def add_user(self, name, groups=(), rules=(), token=None):
        user = User(name, tuple(groups), list(rules))
        self.users[name] = user
        if token:
            self.tokens[token] = user
        return user

    def add_node_user(self, node, token=None):
        return self.add_user(f"system:node:{node}", ("system:nodes", "system:authenticated"), (), token or f"{node}-token")

    def kubeconfig(self, path, token="admin-token", user=None, ca=None, server=None, namespace=None, context="standin"):
        """Writes one (it is JSON, which is YAML). `user` replaces the token: any fields of a kubeconfig's user."""
        cluster = {"server": server or self.url}
        if self.tls:
            cluster["certificate-authority-data"] = base64.b64encode(pathlib.Path(ca or self.certificates.ca).read_bytes()).decode()
        where = {"cluster": "standin", "user": "user", **({"namespace": namespace} if namespace else {})}
        text = {"apiVersion": "v1", "kind": "Config", "current-context": context, "preferences": {},
                "clusters": [{"name": "standin", "cluster": cluster}], "users": [{"name": "user", "user": user or {"token": token}}],
                "contexts": [{"name": context, "context": where}]}
        pathlib.Path(path).write_text(json.dumps(text, indent=1))
        return path

    # ---- what is there ----

    def add(self, obj):
        """Any object of a kind that is known; what it is told about its status is kept."""
        resource = next(r for r in RESOURCES if r.kind == obj["kind"] and r.api_version == obj["apiVersion"])
        namespace = obj["metadata"].get("namespace", "default") if resource.namespaced else ""
        made = self.store.create(resource, namespace, obj)
        refresh_budgets(self.store)
        return made

    def add_node(self, name, labels=None, **more):
        return self.add({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
                         "spec": {}, "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}, **more})

    def add_owner(self, kind, name, namespace="default"):
        group = {"Job": "batch/v1", "ReplicationController": "v1"}.get(kind, "apps/v1")
        return self.add({"apiVersion": group, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": {}})

    def add_pod(self, name, node, namespace="default", owner=None, labels=None, volumes=(), phase="Running", finalizers=(), annotations=None,
                grace=30, is_ready=True, uid=None):
        """`owner`: an object that add_owner() gave, or (kind, name) of one that need not exist."""
        meta = {"name": name, "namespace": namespace, "labels": labels or {}, "annotations": annotations or {}}
        if finalizers:
            meta["finalizers"] = list(finalizers)
        if uid:
            meta["uid"] = uid
        if isinstance(owner, tuple):
            owner = {"apiVersion": "apps/v1", "kind": owner[0], "metadata": {"name": owner[1], "uid": "gone"}}
        if owner:
            meta["ownerReferences"] = [{"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
                                        "uid": owner["metadata"]["uid"], "controller": True}]
        return self.add({"apiVersion": "v1", "kind": "Pod", "metadata": meta,
                         "spec": {"nodeName": node, "terminationGracePeriodSeconds": grace, "volumes": list(volumes),
                                  "containers": [{"name": "main", "image": "busybox"}]},
                         "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}]}})

    def add_budget(self, name, labels, namespace="default", **spec):
        return self.add({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name, "namespace": namespace},
                         "spec": {"selector": {"matchLabels": labels}, **spec}})

    def get(self, kind, name, namespace="default"):
        """None if it is not there."""
        try:
            return self.store.get(BY_NAME[kind], namespace, name)
        except st.ApiError:
            return None

    def names(self, kind):
        return [o["metadata"]["name"] for o in self.store.list(BY_NAME[kind])[0]]

    # ---- what goes wrong ----

    def add_fault(self, kind, match=".*", times=1, seconds=1.0):
        if kind not in FAULTS:
            raise TypeError(f"no such fault: {kind}; there are {', '.join(FAULTS)}")
        fault = Fault(kind, match, times, seconds)
        with self.lock:
            self.faults.append(fault)
        return fault

    def take_fault(self, request):
        with self.lock:
            for fault in self.faults:
                if fault.hits < fault.times and re.search(fault.match, request):
                    fault.hits += 1
                    return fault
        return None

    def note(self, method, path, body):
        with self.lock:
            self.requests.append((method, path, body.decode(errors="replace") if len(body) < 65536 else "..."))
            self.times.append(time.time())
            del self.requests[:-10000], self.times[:-10000]

    def arrivals(self, method, match):
        """[(when it was read, its body)] of the requests of this method whose path matches."""
        with self.lock:
            return [(at, body) for at, (how, path, body) in zip(self.times, self.requests) if how == method and re.search(match, path)]

    def freeze_connections(self, is_dead=False):
        """Those that are open stay so, and nothing comes on them any more; new ones work. Dead: the kernel acknowledges nothing either."""
        self.frozen_at = time.monotonic()
        with self.lock:
            for connection in self.connections if is_dead else ():
                with contextlib.suppress(OSError):
                    deafen(connection)

    @contextlib.contextmanager
    def count_watch(self):
        with self.lock:
            self.watches += 1
        try:
            yield
        finally:
            with self.lock:
                self.watches -= 1

    def drop_all_watches(self, seconds=10):
        """Ends them as a server that restarts does."""
        self.drop_watches.set()
        end = time.monotonic() + seconds
        while self.watches and time.monotonic() < end:
            time.sleep(0.02)
        self.drop_watches.clear()


def main():
    parser = argparse.ArgumentParser(description="A stand-in for kube-apiserver, for tests.")
    parser.add_argument("--folder", help="for certificates; default: a temporary one")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--kubeconfig", help="write an administrator's kubeconfig there")
    parser.add_argument("--node", action="append", default=[], help="make this node; its user has the token NAME-token")
    parser.add_argument("--pods", type=int, default=0, help="pods of a ReplicaSet on each node")
    arguments = parser.parse_args()
    with ApiServer(arguments.folder, arguments.port) as api:
        owner = api.add_owner("ReplicaSet", "web")
        for node in arguments.node:
            api.add_node(node)
            api.add_node_user(node)
            for n in range(arguments.pods):
                api.add_pod(f"web-{node}-{n}", node, owner=owner, labels={"app": "web"})
        if arguments.kubeconfig:
            api.kubeconfig(arguments.kubeconfig)
        print(api.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
