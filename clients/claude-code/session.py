"""Claude Code itself against `bedrock-proxy demo`, and an account of what it sent.

Between the two stands a relay that writes down every request: the real client's own words are the best list of what a
Messages API has to understand. Exit code 0 means that every answer was printed.
"""

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
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
DEBUG_BIN = HERE.parents[1] / "target" / "debug" / "bedrock-proxy"
# Absolute, because the process starts in a directory of its own.
PROXY_BIN = os.path.abspath(os.environ.get("BEDROCK_PROXY_BIN", DEBUG_BIN))
CLAUDE = HERE / "node_modules" / ".bin" / "claude"

# Seconds until an answer is given up.
PATIENCE = 120

SAY_OK = ("say ok", "You said: say ok")
# Arguments besides `-p`, the prompt, and what the printed answer has to hold.
SESSIONS = [
    ([], *SAY_OK),
    (["--model", "sonnet"], *SAY_OK),
    (["--model", "claude-sonnet-4-6"], "[thinking] please", "I have thought about it."),
    # The thinking of the turn before goes back, and fake-bedrock checks its seal.
    (["--model", "claude-sonnet-4-6", "--continue"], *SAY_OK),
    # fake-bedrock asks for `ls -la`, Claude Code runs it and sends back what it printed.
    (["--tools", "Bash", "--allowedTools", "Bash"], "[tool] please", "The tool said: total"),
]

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade", "host"}


def outline(body):
    """A request without what was said in it."""
    try:
        body = json.loads(body)
    except ValueError:
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
    """Passes everything on, and remembers it."""

    daemon_threads = True

    def __init__(self, target):
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = target
        self.requests = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def relay(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=PATIENCE)
        upstream.request(self.command, self.path, body, headers)
        response = upstream.getresponse()
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        # The end of the connection is the end of the body: nothing has to be counted or cut into chunks.
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        seen = {
            "line": f"{self.command} {self.path} -> {response.status}",
            "beta": self.headers.get("anthropic-beta"),
            "asked": outline(body) if body else None,
            "notice": response.headers.get("x-bedrock-proxy-notice"),
            "status": response.status,
            "error": None,
        }
        self.server.requests.append(seen)
        answer = b""
        try:
            while piece := response.read1(65536):
                answer += piece
                self.wfile.write(piece)
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            upstream.close()
        if response.status >= 400 or b"event: error\n" in answer:
            seen["error"] = answer.decode("utf-8", "replace")[-1000:]

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = relay

    def log_message(self, *_):
        pass


def raise_loopback():
    """In a network of one's own even loopback is down at first."""
    up, name = 0x1 | 0x40, b"lo"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", name, up))


def demo(directory):
    """The demo as a process, and the port that it chose."""
    process = subprocess.Popen(
        [PROXY_BIN, "demo", "--port", "0"], env={}, cwd=directory, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:(\d+) +Anthropic Messages API", line):
            # The rest is for people; it still has to be read, so that the pipe does not fill up.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return process, int(found[1])
    raise SystemExit(f"{PROXY_BIN} demo did not start")


def environment(home, port):
    """Nothing of this machine: no account, no settings, no way out."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home / "config"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
        "ANTHROPIC_AUTH_TOKEN": "x",
        # Where the network could not be taken away, nobody listens here.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def main():
    if "--own-network" in sys.argv:
        raise_loopback()
    failures = 0
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        home, work = directory / "home", directory / "work"
        home.mkdir()
        work.mkdir()
        process, port = demo(directory)
        try:
            relay = Relay(port)
            for arguments, prompt, expected in SESSIONS:
                relay.requests.clear()
                started = time.monotonic()
                try:
                    done = subprocess.run(
                        [CLAUDE, "-p", prompt, *arguments],
                        env=environment(home, relay.server_port),
                        cwd=work,
                        stdin=subprocess.DEVNULL,
                        capture_output=True,
                        text=True,
                        timeout=PATIENCE,
                    )
                    code, printed = done.returncode, f"{done.stdout}{done.stderr}".strip()
                except subprocess.TimeoutExpired:
                    code, printed = "none", f"nothing within {PATIENCE} s"
                seconds = time.monotonic() - started
                fine = code == 0 and expected in printed
                failures += not fine
                print(f"\n{'ok' if fine else 'FAILED'}: claude -p {prompt!r} {' '.join(arguments)}")
                print(f"  exit code {code} after {seconds:.1f} s, {len(relay.requests)} requests; it printed:")
                print("    " + printed.replace("\n", "\n    "))
                for number, seen in enumerate(list(relay.requests), 1):
                    print(f"  {number}. {seen['line']}")
                    for name in ("asked", "beta", "notice", "error"):
                        if seen[name] and (name != "beta" or number == 1):
                            print(f"     {name}: {seen[name]}")
        finally:
            process.terminate()
            process.wait(timeout=10)
    print(f"\n{len(SESSIONS) - failures} of {len(SESSIONS)} sessions passed")
    return 1 if failures else 0


sys.exit(main())
