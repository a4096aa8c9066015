"""The kubelet beside us, as its healthz on the loopback address tells: up, slow, failing, gone, and back; and that it is found where it
listens, by its command line and configuration.

The kubelet is a tiny HTTP server; what it says is not the node's verdict.
"""

import contextlib
import http.server
import pathlib
import subprocess
import sys
import threading

import pytest
from conftest import free_port, wait_for
from standin import StandIn

PORT = 10248


class Healthz:
    """Answers with what `mode` says: "ok", "failing", "slow" (not before the mode changes)."""

    def __init__(self):
        self.mode, self.asked = "ok", 0
        self.changed = threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked += self.path == "/healthz"
                with outer.changed:
                    outer.changed.wait_for(lambda: outer.mode != "slow", timeout=60)
                body = b"ok" if outer.mode == "ok" else b"[-]syncloop failed: sync loop has been blocked \x1b[31m"
                self.send_response(200 if outer.mode == "ok" else 500)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

        try:
            self.server = Server(("127.0.0.1", PORT), Handler)
        except OSError as error:
            pytest.skip(f"port {PORT} is somebody else's: {error}")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def set(self, mode):
        with self.changed:
            self.mode = mode
            self.changed.notify_all()

    def stop(self):
        self.set("ok")
        self.server.shutdown()
        self.server.server_close()


def test_up_slow_failing_gone(folder, start_agent):
    with StandIn(folder, pods=1) as standin:
        healthz = Healthz()
        try:
            agent = start_agent(standin.endpoint)
            agent.wait_ready()

            def says(state):
                return wait_for(lambda: (s := agent.status())["node"]["kubeletHealthz"] == state and s["node"], f"the kubelet is {state}")

            assert says("ok")["detail"] == ""
            assert "healthz ok" in agent.run("status").stdout

            healthz.set("slow")
            node = says("slow")
            assert "healthz has not answered within 5s" in node["kubeletMessage"]
            assert "the kubelet's healthz does not answer in time" in node["detail"]
            assert node["ready"], "what the kubelet says is not the node's verdict"
            healthz.set("ok")
            says("ok")

            healthz.set("failing")
            node = says("failing")
            assert "healthz answers 500: [-]syncloop failed" in node["kubeletMessage"] and "\x1b" not in node["kubeletMessage"]
            assert "the kubelet's healthz fails: " in node["detail"] and node["ready"]
            text = agent.run("status").stdout
            assert "healthz failing" in text and "\x1b" not in text
        finally:
            healthz.stop()
        node = says("gone")
        assert "refused" in node["kubeletMessage"] and "the kubelet is gone" in node["detail"] and node["ready"]
        assert agent.run("status").returncode == 0
        healthz = Healthz()
        try:
            assert says("ok")["detail"] == ""
            asked = healthz.asked
            wait_for(lambda: healthz.asked > asked, "asked again")  # how often, others on this machine decide as well
        finally:
            healthz.stop()


def test_nobody_there(folder, start_agent):
    """Where no kubelet has ever been, none is missed, and a stranger on its port that fails is no kubelet."""
    with StandIn(folder, pods=1) as standin:
        healthz = Healthz()
        healthz.set("failing")
        try:
            agent = start_agent(standin.endpoint)
            agent.wait_ready()
            wait_for(lambda: healthz.asked, "it was asked")
            assert agent.status()["node"]["kubeletHealthz"] == "none"
            assert agent.status()["node"]["detail"] == ""
            assert "none beside pleg" in agent.run("status").stdout
        finally:
            healthz.stop()


@contextlib.contextmanager
def kubelet(folder, text, port, *flags):
    (folder / "kubelet.yaml").write_text(text)
    helper = pathlib.Path(__file__).with_name("helpers") / "kubelet.py"
    process = subprocess.Popen([sys.executable, helper, str(port), f"--config={folder}/kubelet.yaml", *flags])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_its_ports_are_found(folder, start_agent):
    """It is started after the agent, which has its endpoint from the configuration, and again with another port."""
    with StandIn(folder, pods=1) as standin:
        agent = start_agent(standin.endpoint)
        agent.wait_ready()
        assert agent.status()["node"]["kubeletHealthz"] == "none"

        def says(state):
            return wait_for(lambda: (s := agent.status())["node"]["kubeletHealthz"] == state and s["node"], f"the kubelet is {state}", 60)

        port = free_port()
        with kubelet(folder, f"healthzPort: {port}\n", port):
            says("ok")
            container = next(c["containerID"] for p in agent.pods() for c in p["containers"] if c["kind"] == "container")
            done = agent.run("trace", container, "--runtime", standin.endpoint)
            assert "healthz ok; metrics not asked: port 10250 wants credentials, and the one without is off" in done.stdout, done.stdout
        says("gone")
        port = free_port()
        with kubelet(folder, "healthzPort: 1\n", port, f"--healthz-port={port}", "--read-only-port", "2"):
            says("ok")
        says("gone")
