#!/usr/bin/python3
"""kubelet.py PORT FLAG...: a process that is called kubelet and says that it is well. Its flags are for whoever reads its command line."""

import http.server
import pathlib
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


pathlib.Path("/proc/self/comm").write_text("kubelet")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
