"""The web role from outside: what it serves, what it refuses, and what slow, rude and many clients can do to it.

Runs the real pleg-web under web-harness, which is the agent's side with canned answers. Arguments: web-harness pleg-web.
"""

import concurrent.futures
import http.client
import json
import os
import queue
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HARNESS, ROLE = sys.argv[1:3]
WAIT = 20


class Web:
    def __init__(self, metrics="127.0.0.1:0", http_address="127.0.0.1:0", host="-", token="-", cert="-", key="-"):
        self.process = subprocess.Popen([HARNESS, ROLE, metrics, http_address, host, token, cert, key],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        first = self.lines.get(timeout=WAIT)
        self.error = first.partition("error ")[2]
        if not self.error:
            self.metrics, self.http = map(int, first.split()[1:])
            self.expect("state running")

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def expect(self, prefix):
        while not (line := self.lines.get(timeout=WAIT)).startswith(prefix):
            pass
        return line[len(prefix):].strip()

    def ask(self, command):
        self.say(command)
        return self.expect(command)

    def get(self, port, path, method="GET", host="localhost", headers=None, source="127.0.0.1", timeout=WAIT):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout, source_address=(source, 0))
        c.putrequest(method, path, skip_host=True)
        if host is not None:
            c.putheader("Host", host)
        for k, v in (headers or {}).items():
            c.putheader(k, v)
        c.endheaders()
        r = c.getresponse()
        body = r.read().decode()
        c.close()
        return r.status, body, r.headers

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        code = self.process.wait(timeout=WAIT)
        self.process.stdout.close()
        assert code in ((1,) if self.error else (0,)), code


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.web = Web(host="node1.example")

    @classmethod
    def tearDownClass(cls):
        cls.web.__exit__()

    def test_documents(self):
        status, body, headers = self.web.get(self.web.metrics, "/metrics")
        self.assertEqual(status, 200)
        self.assertRegex(body, r"^pleg_up \d+\n$")
        self.assertEqual(headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        self.assertEqual(headers["Cache-Control"], "no-store")
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        for page in ("/livez", "/readyz", "/healthz"):
            self.assertEqual(self.web.get(self.web.metrics, page)[:2], (200, "ok\n"))
        self.assertEqual(json.loads(self.web.get(self.web.http, "/api/v1/pods")[1]), {"pods": []})
        self.assertEqual(json.loads(self.web.get(self.web.http, "/api/v1/status")[1])["findings"], [])

    def test_page_is_escaped(self):
        status, body, headers = self.web.get(self.web.http, "/")
        self.assertEqual(status, 200)
        self.assertEqual(headers["Content-Type"], "text/html; charset=utf-8")
        self.assertNotIn("<script", body)
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt;", body)
        self.assertIn("x &amp; &quot;y&quot;", body)

    def test_events(self):
        get = lambda path, **more: self.web.get(self.web.http, path, **more)
        self.assertEqual(json.loads(get("/api/v1/events")[1]), [{"tail": 1000, "ns": ""}, {"pod": ""}])
        self.assertEqual(json.loads(get("/api/v1/events?tail=3&namespace=a%20b&pod=p")[1]), [{"tail": 3, "ns": "a b"}, {"pod": "p"}])
        status, body, headers = get("/api/v1/events?format=ndjson")
        self.assertEqual(headers["Content-Type"], "application/x-ndjson")
        self.assertEqual(len(body.splitlines()), 2)
        for bad in ("tail=-1", "tail=x", "format=xml", "namespace=" + "n" * 300):
            self.assertEqual(get("/api/v1/events?" + bad)[0], 400, bad)

    def test_refusals(self):
        for path in ("/", "/metrics/", "/../etc/passwd", "/api/v1/status"):
            status, body, _ = self.web.get(self.web.metrics, path)
            self.assertEqual((status, json.loads(body)["error"]["code"]), (404, 404), path)
        self.assertEqual(self.web.get(self.web.http, "/metrics")[0], 404)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
            status, _, headers = self.web.get(self.web.metrics, "/metrics", method=method, headers={"Content-Length": "0"})
            self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"), method)
        status, body, headers = self.web.get(self.web.metrics, "/metrics", method="HEAD")
        self.assertEqual((status, body), (200, ""))
        self.assertGreater(int(headers["Content-Length"]), 0)

    def test_host(self):
        good = ("localhost", "LOCALHOST:10269", "127.0.0.1", "127.8.9.1:80", "[::1]", "[::1]:10269", "node1.example", "Node1.Example.:1")
        bad = ("evil.example", "", None, "10.0.0.1", "[fe80::1]", "localhost:x", "localhost:99999", "localhost@evil", "127.0.0.1.evil.example",
               "node1.example.evil", "[::1", "[localhost]", "localhost:80:80")
        for host in good:
            self.assertEqual(self.web.get(self.web.metrics, "/livez", host=host)[0], 200, host)
        for host in bad:
            self.assertIn(self.web.get(self.web.metrics, "/livez", host=host)[0], (421, 400), host)

    def raw(self, data, source="127.0.0.1"):
        with socket.create_connection(("127.0.0.1", self.web.metrics), timeout=WAIT, source_address=(source, 0)) as s:
            s.sendall(data)
            answer = b""
            try:
                while block := s.recv(65536):
                    answer += block
            except ConnectionResetError:
                pass
            return answer

    def test_nonsense(self):
        head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        self.assertIn(b" 200 ", self.raw(head + b"\r\n"))
        self.assertIn(b" 431 ", self.raw(head + b"X: " + b"a" * 40000 + b"\r\n\r\n"))
        self.assertNotIn(b" 200 ", self.raw(b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        for data in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"\0" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", os.urandom(4000) + b"\r\n\r\n",
                     b"GET /livez HTTP/9.9\r\n\r\n"):
            self.assertNotIn(b" 200 ", self.raw(data))
        self.assertIn(b" 405 ", self.raw(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n" + b"x" * 999))
        self.assertEqual(self.web.get(self.web.metrics, "/livez")[0], 200)

    def test_many_ask_and_few_are_made(self):
        before = int(self.web.ask("counts").split()[2])
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda _: self.web.get(self.web.http, "/api/v1/pods")[0], range(200)))
        seconds = time.monotonic() - start
        self.assertEqual(set(got), {200})
        self.assertLessEqual(int(self.web.ask("counts").split()[2]) - before, 4 * seconds + 1)


class Trouble(unittest.TestCase):
    def test_idle_connections_hold_nobody_else(self):
        with Web() as web:
            idle = []
            for i in range(200):
                s = socket.socket()
                s.bind(("127.0.0.2", 0))
                s.connect(("127.0.0.1", web.metrics))
                if i % 2:
                    s.sendall(b"GET /metrics HT")
                idle.append(s)
            self.assertEqual(web.get(web.metrics, "/livez", source="127.0.0.3")[:2], (200, "ok\n"))
            for s in idle:
                s.close()

    def test_a_client_that_does_not_read_holds_nobody_else(self):
        with Web() as web:
            web.say("big")
            web.ask("counts")  # Obeyed by now.
            s = socket.create_connection(("127.0.0.1", web.metrics))
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertEqual(s.recv(8), b"HTTP/1.1")
            self.assertEqual(web.get(web.metrics, "/livez")[0], 200)
            self.assertEqual(len(web.get(web.metrics, "/metrics")[1]) > 11_000_000, True)
            s.close()

    def test_slow_headers_are_cut(self):
        with Web() as web:
            s = socket.create_connection(("127.0.0.1", web.metrics), timeout=60)
            s.sendall(b"GET /livez HTTP/1.1\r\n")
            start = time.monotonic()
            with self.assertRaises((ConnectionError, StopIteration)):
                while time.monotonic() - start < 50:
                    s.sendall(b"X")
                    s.settimeout(3)
                    try:
                        if not s.recv(100):
                            raise StopIteration
                    except TimeoutError:
                        continue
            self.assertLess(time.monotonic() - start, 45)
            s.close()

    def test_a_stalled_agent_is_told(self):
        with Web() as web:
            web.ask("stall 8000")  # It says so when it begins.
            start = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                pages = list(pool.map(lambda a: web.get(*a), [(web.metrics, "/livez"), (web.metrics, "/metrics"), (web.http, "/api/v1/pods"), (web.http, "/")]))
            self.assertEqual([p[0] for p in pages], [503] * 4)
            self.assertLess(time.monotonic() - start, 8)
            self.assertIn("did not answer", pages[0][1])
            deadline = time.monotonic() + WAIT
            while web.get(web.metrics, "/livez")[0] != 200:
                self.assertLess(time.monotonic(), deadline)

    def test_verdicts_and_failures(self):
        with Web() as web:
            for command in ("unready", "unhealthy", "broken"):
                web.say(command)
            web.ask("counts")
            self.assertEqual(web.get(web.metrics, "/readyz")[:2], (503, "The first relist is not done\n"))
            self.assertEqual(web.get(web.metrics, "/healthz")[:2], (503, "PLEG is not healthy\n"))
            self.assertEqual(web.get(web.metrics, "/livez")[0], 200)
            status, body, _ = web.get(web.http, "/api/v1/status")
            self.assertEqual(status, 503)
            self.assertIn("No such device", json.loads(body)["error"]["message"])

    def test_an_answer_that_is_lost(self):
        """The role waits for it before it asks again: without a new role the page would be dead for ever."""
        with Web() as web:
            web.say("lose")
            web.ask("pid")  # Obeyed by now.
            try:
                self.assertEqual(web.get(web.metrics, "/livez")[0], 503)
            except (http.client.HTTPException, OSError):
                pass  # The role it asked is gone.
            web.expect("state backoff")
            web.expect("state running")
            self.assertEqual(web.get(web.metrics, "/livez")[0], 200)

    def test_it_comes_back(self):
        with Web() as web:
            for _ in range(3):
                os.kill(int(web.ask("pid")), signal.SIGKILL)
                web.expect("state running")
                self.assertEqual(web.get(web.metrics, "/livez")[0], 200)

    def test_what_it_is(self):
        with Web() as web:
            for page in ("/metrics", "/livez"):
                web.get(web.metrics, page)
            pid = int(web.ask("pid"))
            with open(f"/proc/{pid}/status") as f:
                status = dict(line.split(":\t", 1) for line in f.read().splitlines())
            self.assertEqual(status["NoNewPrivs"], "1")
            self.assertEqual(status["Threads"], "1")
            self.assertEqual(int(status["CapEff"], 16), 0 if os.getuid() == 0 else int(status["CapEff"], 16))
            if os.getuid() == 0:
                self.assertEqual(status["Uid"].split(), ["65534"] * 4)
                self.assertEqual(status["Groups"].strip(), "")
                kinds = sorted(os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{pid}/fd"))
                self.assertLessEqual({k for k in kinds if k.startswith("/") and k != "/dev/null"}, {os.readlink("/proc/self/fd/2")})
            print(f"pleg-web: RSS {int(web.ask('memory')) // 1024} KiB, seccomp {status['Seccomp']}", file=sys.stderr)


class Guarded(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        cls.file = staticmethod(lambda name: os.path.join(cls.dir.name, name))
        with open(cls.file("token"), "w") as f:
            f.write("0123456789abcdef\n")
        with open(cls.file("short"), "w") as f:
            f.write("secret\n")
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=node1", "-days", "2",
                               "-keyout", cls.file("key"), "-out", cls.file("cert")], capture_output=True)
        if made.returncode != 0:
            raise unittest.SkipTest("openssl makes no certificate")

    @classmethod
    def tearDownClass(cls):
        cls.dir.cleanup()

    def test_refused_configurations(self):
        token, cert, key = self.file("token"), self.file("cert"), self.file("key")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            for arguments, text in (
                (dict(metrics="0.0.0.0:0"), "metricsAddress '0.0.0.0:0' is not loopback and needs"),
                (dict(http_address="[::]:0", token=token), "is not loopback and needs"),
                (dict(http_address="0.0.0.0:0", cert=cert, key=key), "is not loopback and needs"),
                (dict(token=token, cert=cert), "tlsCertFile and tlsPrivateKeyFile go together"),
                (dict(token=self.file("short")), "fewer than 16 characters"),
                (dict(token="/nonexistent"), "httpTokenFile '/nonexistent': No such file"),
                (dict(http_address=address), f"httpAddress '{address}': Address already in use"),
                (dict(metrics="localhost:1"), "is not an address with a port"),
                (dict(metrics="127.0.0.1"), "is not an address with a port"),
            ):
                with Web(**arguments) as web:
                    self.assertIn(text, web.error)

    def test_token_on_loopback(self):
        with Web(token=self.file("token")) as web:
            self.assertEqual(web.get(web.metrics, "/metrics")[0], 200)
            for header in (None, "Bearer", "Bearer wrong", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef"):
                status, _, headers = web.get(web.http, "/api/v1/pods", headers={"Authorization": header} if header else {})
                self.assertEqual((status, headers["WWW-Authenticate"]), (401, "Bearer"), header)
            self.assertEqual(web.get(web.http, "/api/v1/pods", headers={"Authorization": "Bearer 0123456789abcdef"})[0], 200)

    def test_tls(self):
        with Web(metrics="0.0.0.0:0", http_address="0.0.0.0:0", token=self.file("token"), cert=self.file("cert"), key=self.file("key")) as web:
            context = ssl.create_default_context(cafile=self.file("cert"))
            context.check_hostname = False
            for port, path in ((web.metrics, "/metrics"), (web.http, "/api/v1/pods")):
                for headers, status in (({}, 401), ({"Authorization": "Bearer 0123456789abcdef"}, 200)):
                    c = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=WAIT)
                    c.request("GET", path, headers=headers)
                    self.assertEqual(c.getresponse().status, status)
                    c.close()
            with self.assertRaises((http.client.HTTPException, ConnectionError)):
                web.get(web.http, "/api/v1/pods", headers={"Authorization": "Bearer 0123456789abcdef"})
            print(f"pleg-web with TLS: RSS {int(web.ask('memory')) // 1024} KiB", file=sys.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
