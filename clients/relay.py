"""HTTP relay between a client and `bedrock-proxy demo` that records every request.

The requests of real clients are the best list of what a Messages API has to support.
"""

import base64
import contextlib
import fcntl
import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import threading
import time

DEBUG = pathlib.Path(__file__).resolve().parents[1] / "target" / "debug"
# Absolute, because the processes start in a directory of their own.
PROXY_BIN = os.path.abspath(os.environ.get("BEDROCK_PROXY_BIN", DEBUG / "bedrock-proxy"))
FAKE_BIN = os.path.abspath(os.environ.get("FAKE_BEDROCK_BIN", DEBUG / "fake-bedrock"))

# Seconds until a response is given up.
TIMEOUT = 120

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade", "host"}


def parsed(body):
    try:
        return json.loads(body)
    except ValueError:
        return {}


def outline(body):
    """Summary of a request without its texts."""
    body = parsed(body)
    if not body:
        return "no JSON"
    tools = body.get("tools") or []
    members = ", ".join(body)
    of_tools = ", ".join(sorted({member for tool in tools for member in tool}))
    roles = ", ".join(message.get("role", "?") for message in body.get("messages", []))
    settings = {
        name: body[name]
        for name in ("max_tokens", "thinking", "context_management", "output_config", "tool_choice")
        if name in body
    }
    return f"{body.get('model')}; members {members}; {len(tools)} tools with {of_tools}; roles {roles}; {json.dumps(settings)}"


class Relay(http.server.ThreadingHTTPServer):
    """Relay that forwards and records requests."""

    daemon_threads = True

    def __init__(self, target):
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = target
        self.requests = []
        self.open = 0
        self.news = threading.Condition()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def change(self, by):
        with self.news:
            self.open += by
            self.news.notify_all()

    def settled(self):
        """Waits for the end of all requests and returns them: clients may disconnect before the end of a response."""
        with self.news:
            self.news.wait_for(lambda: self.open == 0, timeout=TIMEOUT)
            return list(self.requests)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def relay(self):
        self.server.change(+1)
        try:
            self.forward()
        finally:
            self.server.change(-1)

    def forward(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=TIMEOUT)
        upstream.request(self.command, self.path, body, headers)
        response = upstream.getresponse()
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        # The end of the connection ends the body, so neither a length nor chunks are needed.
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        seen = {
            "line": f"{self.command} {self.path} -> {response.status}",
            "headers": self.headers,
            "beta": self.headers.get("anthropic-beta"),
            "request": outline(body) if body else None,
            "body": parsed(body),
            "size": len(body),
            "cache_read": 0,
            "notice": response.headers.get("x-bedrock-proxy-notice"),
            "status": response.status,
            "error": None,
        }
        self.server.requests.append(seen)
        received = b""
        try:
            while piece := response.read1(65536):
                received += piece
                self.wfile.write(piece)
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            upstream.close()
        if response.status >= 400 or b"event: error\n" in received or b'data: {"error"' in received:
            seen["error"] = received.decode("utf-8", "replace")[-1000:]
        # Bedrock encodes each event of a stream as base64.
        received += b"".join(map(base64.b64decode, re.findall(rb'"bytes":"([\w+/=]+)"', received)))
        seen["cache_read"] = max(map(int, re.findall(rb'"cache_read_input_tokens":(\d+)', received)), default=0)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = relay

    def log_message(self, *_):
        pass


def raise_loopback():
    """Enables the loopback interface, which is down in a new network namespace."""
    up, name = 0x1 | 0x40, b"lo"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", name, up))


def demo(directory):
    """Starts the demo and returns the process and its port."""
    process = subprocess.Popen(
        [PROXY_BIN, "demo", "--port", "0"], env={}, cwd=directory, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:(\d+) +Anthropic Messages API", line):
            # The rest of the output is discarded, so that the pipe does not fill up.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return process, int(found[1])
    raise SystemExit(f"{PROXY_BIN} demo did not start")


class Fake:
    """fake-bedrock as a process."""

    def __init__(self, *arguments):
        self.arguments = arguments
        self.last_line = None

    def __enter__(self):
        self.process = subprocess.Popen(
            [FAKE_BIN, "--listen", "127.0.0.1:0", *self.arguments], env={}, stdout=subprocess.PIPE, text=True
        )
        self.url = json.loads(self.process.stdout.readline())["url"]
        return self

    def __exit__(self, *_):
        self.refused()

    def refused(self):
        """The number of requests that it refused. It serves no more."""
        if self.last_line is None:
            self.process.terminate()
            self.last_line, _ = self.process.communicate(timeout=10)
        return json.loads(self.last_line)["refused"]

    def variables(self, directory, more):
        """The environment of a proxy in front of it."""
        return {
            "AWS_BEDROCK_ACCESS_KEY": "AKIDEXAMPLE",
            "AWS_BEDROCK_SECRET_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "AWS_BEDROCK_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "DATA_DIR": str(directory / "data"),
            "PORT": str(free_port()),
            "LOG_OUTPUT": "stdout",
            **more,
        }


def free_port():
    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        return any_socket.getsockname()[1]


def command(variables, directory, *arguments):
    """What a command of the proxy prints."""
    done = subprocess.run([PROXY_BIN, *arguments], env=variables, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{PROXY_BIN} {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


@contextlib.contextmanager
def serve(variables, directory):
    """The proxy as a process; its port."""
    with open(directory / "proxy.log", "w") as log:
        process = subprocess.Popen([PROXY_BIN, "serve"], env=variables, cwd=directory, stdout=log, stderr=log)
    try:
        for line in followed(directory / "proxy.log", process):
            if '"server listening"' in line:
                break
        yield int(variables["PORT"])
    finally:
        process.terminate()
        process.wait(timeout=30)


def followed(path, process):
    """The lines of a file that a process writes."""
    with open(path) as log:
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            if line := log.readline():
                yield line
            elif process.poll() is not None:
                break
            else:
                time.sleep(0.05)
    raise SystemExit(f"{PROXY_BIN} serve did not start: {path.read_text()[-2000:]}")
