"""Sockets that are wrong in six different ways stay apart, and a silent one is said within seconds. The peers are raw sockets of the
test: what they stand in for is a broken daemon, which cannot be had on request."""

import socket
import threading

from conftest import wait_for


def said(agent, word):
    def look():
        status = agent.status()
        text = (str(status["runtime"]["hops"]) + status["node"]["detail"] + status["node"]["message"]).lower()
        return word in text and status
    return wait_for(look, f"'{word}' is said; there is {agent.status()}")


def test_no_socket(folder, start_agent):
    agent = start_agent(f"unix://{folder}/none.sock")
    agent.wait_up()
    status = said(agent, "no such")
    assert not status["runtime"]["responsive"] and not status["node"]["ready"]


def test_where_nobody_listens_nothing_hangs(folder, start_agent):
    """A call that waits for the next dial, which may be 3 s away, is not one that the runtime does not answer."""
    agent = start_agent(f"unix://{folder}/none.sock", arguments=("--log-level", "debug"))
    agent.wait_up()
    wait_for(lambda: agent.log.read_text().count("Call failed") >= 9, "nine lists have failed", 60)
    text = agent.log.read_text()
    assert "hangs" not in text and "answered again" not in text, text
    assert text.count("No connection to the runtime") == 1


def test_stale_socket_file(folder, start_agent):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(folder / "stale.sock"))
    stale.close()
    agent = start_agent(f"unix://{folder}/stale.sock")
    agent.wait_up()
    assert not said(agent, "refused")["runtime"]["responsive"]


def test_accepts_and_never_answers(folder, start_agent):
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(folder / "silent.sock"))
    silent.listen(64)
    agent = start_agent(f"unix://{folder}/silent.sock")
    agent.wait_up()
    status = wait_for(lambda: (s := agent.status())["pleg"]["inFlight"] and s["pleg"]["inFlight"][0]["ageSeconds"] >= 2 and s, "a call in flight")
    assert not status["runtime"]["responsive"] and not status["node"]["ready"]
    assert len({(c["call"], c["subject"]) for c in status["pleg"]["inFlight"]}) == len(status["pleg"]["inFlight"])
    silent.close()


def test_backlog_that_is_full(folder, start_agent):
    """What 4,097 connects to a stopped containerd lead to: connect gives EAGAIN."""
    full = socket.socket(socket.AF_UNIX)
    full.bind(str(folder / "full.sock"))
    full.listen(0)
    held = []
    for _ in range(8):
        one = socket.socket(socket.AF_UNIX)
        one.setblocking(False)
        try:
            one.connect(str(folder / "full.sock"))
        except BlockingIOError:
            one.close()
            break
        held.append(one)
    agent = start_agent(f"unix://{folder}/full.sock")
    agent.wait_up()
    status = wait_for(lambda: (s := agent.status())["pleg"]["inFlight"] and s["pleg"]["inFlight"][0]["ageSeconds"] >= 2 and s, "a call in flight")
    assert not status["runtime"]["responsive"]
    assert agent.stop() == 0
    for one in [*held, full]:
        one.close()


class Peer(threading.Thread):
    """Accepts again and again, sends some bytes, and closes or holds."""

    def __init__(self, path, payload, close):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(16)
        self.payload, self.close, self.accepted, self.held = payload, close, 0, []

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                connection.sendall(self.payload)
            except OSError:
                pass
            if self.close:
                connection.close()
            else:
                self.held.append(connection)

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.held:
            connection.close()


def survive(folder, start_agent, payload, close):
    peer = Peer(folder / "peer.sock", payload, close)
    peer.start()
    agent = start_agent(f"unix://{folder}/peer.sock")
    agent.wait_up()
    wait_for(lambda: peer.accepted >= (3 if close else 1), "it dials, with back-off")
    status = wait_for(lambda: not (s := agent.status())["runtime"]["responsive"] and s, "not responsive")
    assert not status["node"]["ready"]
    assert agent.stop() == 0
    peer.end()


def test_garbage(folder, start_agent):
    survive(folder, start_agent, b"\x00\xff" * 4000, True)


def test_half_a_frame_and_silence(folder, start_agent):
    survive(folder, start_agent, b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03", False)


def test_half_a_frame_and_eof(folder, start_agent):
    survive(folder, start_agent, b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03", True)


def test_http_1_instead_of_2(folder, start_agent):
    survive(folder, start_agent, b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", True)
