#!/usr/bin/env python3
"""Load test of bedrock-proxy, with nginx as reference. See README.md in this directory."""

import argparse
import base64
import contextlib
import dataclasses
import hmac
import http.client
import itertools
import json
import math
import os
import pwd
import re
import resource
import selectors
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["wrk", "nginx-light"]

# Defaults of fake-bedrock; the examples of AWS's documentation.
REGION = "us-east-1"
ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
BEARER = "bedrock-api-key-example"

# Signs the token of the test user, with --accounts.
TOKEN_KEY = "the-key-of-the-bench-0123456789abcdef"

MODEL = "claude-sonnet-4-5"
UPSTREAM_PATH = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
PROXY_PATH = "/v1/messages"
CHAT_PATH = "/v1/chat/completions"

TICK = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1


class Failed(Exception):
    """The measurement is not valid."""


# ---------------------------------------------------------------------------------------------------------------------
# Requests


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    prompt: str
    body_bytes: int
    stream: bool
    # Frames of ConverseStream; None if the response depends on the text of the prompt.
    frames: int | None
    # Maximum CPU time of the proxy per request, in milliseconds.
    target: float
    # Whether the client API is chat completions.
    chat: bool = False

    def chat_variant(self):
        """The same case as a chat completion, which may take 15 % more CPU."""
        return dataclasses.replace(self, name=f"{self.name}, chat", target=round(1.15 * self.target, 3), chat=True)


# A stream of N frames has N - 4 text deltas: messageStart, contentBlockStop, messageStop and metadata are the others.
CASES = [
    Case("small, not streamed", "Say hello.", 8 << 10, False, None, 0.15),
    Case("35 events", "[long 31]", 8 << 10, True, 35, 0.25),
    Case("200 events", "[long 196]", 8 << 10, True, 200, 0.6),
    Case("183 KB, 35 events", "[long 31]", 183 << 10, True, 35, 0.8),
]
CONCURRENCY = [1, 16, 64]

PACED_EVENTS = 50
PACED_GAP_MS = 20
PACED = Case("paced", f"[paced {PACED_EVENTS} {PACED_GAP_MS}]", 8 << 10, True, PACED_EVENTS + 4, 0.0)

MAX_RSS_MB = 25
MAX_GAP_MS = 5
MAX_FIRST_EVENT_MS = 5

SYSTEM = (
    "You are an assistant that works in a repository of source code. Read before you write. Keep to the style of the "
    "file you change, run the tests after each change, and say in one paragraph what you did and what you did not do. "
    'Never guess the name of a function: search for it. Paths are absolute. Quote code like "this", and keep answers '
    "short unless you are asked for more.\n\n# Environment\n- Platform: linux\n- Shell: bash\n- Branch: main\n"
)

SOURCE = [
    "//! Reads frames off a connection, one at a time.",
    "use std::collections::BTreeMap;",
    "",
    "impl<'a> Reader<'a> {",
    "    /// The next frame, or `None` at the end of the stream.",
    "    pub fn next(&mut self) -> Result<Option<Frame<'a>>, Error> {",
    '        let Some(head) = self.bytes.get(..HEAD) else { return Err(Error::Short("head", self.bytes.len())) };',
    "        let length = u32::from_be_bytes(head.try_into()?) as usize;",
    "        if length > self.limit {",
    '            tracing::warn!(length, limit = self.limit, "frame refused – naïve sender?");',
    "            return Err(Error::TooLarge(length));",
    "        }",
    "        self.seen.entry(length / 1024).and_modify(|count| *count += 1).or_insert(1);",
    '        Ok(Some(Frame { name: "data\\n".into(), payload: &self.bytes[HEAD..length] }))',
    "    }",
    "}",
]


def tool(name, description, /, **properties):
    schema = {
        "type": "object",
        "properties": {key: {"type": kind, "description": text} for key, (kind, text) in properties.items()},
        "required": list(properties)[:1],
        "additionalProperties": False,
    }
    return {"name": name, "description": description, "input_schema": schema}


TOOLS = [
    tool(
        "Read",
        "Reads a file. Lines are numbered from 1. Long files are cut: ask again with an offset.",
        file_path=("string", "The absolute path of the file"),
        offset=("integer", "The first line to read"),
        limit=("integer", "How many lines to read"),
    ),
    tool(
        "Edit",
        "Replaces one exact text in a file. Fails when the text does not occur, or occurs more than once.",
        file_path=("string", "The absolute path of the file"),
        old_string=("string", "The text to replace"),
        new_string=("string", "The text to replace it with"),
        replace_all=("boolean", "Whether every occurrence is replaced"),
    ),
    tool(
        "Bash",
        "Runs a command in a shell and returns what it prints. The working directory persists between calls.",
        command=("string", "The command"),
        timeout=("integer", "Milliseconds after which it is stopped"),
        description=("string", "What the command does, in five to ten words"),
    ),
    tool(
        "Grep",
        "Searches the contents of files with a regular expression.",
        pattern=("string", "The expression"),
        path=("string", "Where to search"),
        glob=("string", 'Which files, such as "*.rs"'),
        output_mode=("string", "content, files_with_matches or count"),
    ),
]

CALL_BYTES = 14_000


def listing(length):
    """A numbered listing of at least `length` characters."""
    lines, size = [], 0
    for number, line in zip(itertools.count(1), itertools.cycle(SOURCE)):
        lines.append(f"{number:6}\t{line}")
        size += len(lines[-1]) + 1
        if size >= length:
            return "\n".join(lines)[:length]


def calls(filler):
    """Tool calls whose results have `filler` characters together: [(id, arguments, result)]."""
    count = max(1, math.ceil(filler / CALL_BYTES))
    sizes = [filler // count + (number < filler % count) for number in range(count)]
    for number, size in enumerate(sizes):
        arguments = {"file_path": f"/src/wire/reader_{number}.rs", "offset": 1, "limit": 2000}
        yield f"toolu_01Bench{number:011}", arguments, listing(size)


def anthropic(case, filler):
    messages = [{"role": "user", "content": "Look for the place where frames are read, and explain it."}]
    for use_id, arguments, result in calls(filler):
        use = {"type": "tool_use", "id": use_id, "name": "Read", "input": arguments}
        messages += [
            {"role": "assistant", "content": [{"type": "text", "text": "I will read the file."}, use]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use_id, "content": result}]},
        ]
    messages += [
        {"role": "assistant", "content": [{"type": "text", "text": "Frames are read in `Reader::next`."}]},
        {
            "role": "user",
            "content": [{"type": "text", "text": case.prompt, "cache_control": {"type": "ephemeral"}}],
        },
    ]
    system = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
    return {
        "model": MODEL,
        "max_tokens": 4096,
        "stream": case.stream,
        "system": system,
        "tools": TOOLS,
        "messages": messages,
    }


def chat(case, filler):
    """The body of `anthropic` as a chat completions request."""
    messages = [{"role": "system", "content": SYSTEM}]
    for message in anthropic(case, filler)["messages"]:
        blocks = message["content"]
        if isinstance(blocks, str):
            messages.append(message)
            continue
        text_received = "".join(block["text"] for block in blocks if block["type"] == "text")
        called = [
            {
                "id": block["id"],
                "type": "function",
                "function": {"name": block["name"], "arguments": encoded(block["input"]).decode()},
            }
            for block in blocks
            if block["type"] == "tool_use"
        ]
        messages += [
            {"role": "tool", "tool_call_id": block["tool_use_id"], "content": block["content"]}
            for block in blocks
            if block["type"] == "tool_result"
        ]
        if text_received:
            messages.append({"role": message["role"], "content": text_received, **({"tool_calls": called} if called else {})})
    functions = [
        {"name": tool["name"], "description": tool["description"], "parameters": tool["input_schema"]} for tool in TOOLS
    ]
    return {
        "model": MODEL,
        "max_completion_tokens": 4096,
        "stream": case.stream,
        "stream_options": {"include_usage": True},
        "messages": messages,
        "tools": [{"type": "function", "function": function} for function in functions],
    }


def converse(case, filler):
    """Approximates the Converse request that the proxy sends for `anthropic`; nginx only forwards it."""
    point = {"cachePoint": {"type": "default"}}
    first = "Look for the place where frames are read, and explain it."
    messages = [{"role": "user", "content": [{"text": first}]}]
    for use_id, arguments, result in calls(filler):
        use = {"toolUse": {"toolUseId": use_id, "name": "Read", "input": arguments}}
        tool_result = {"toolResult": {"toolUseId": use_id, "content": [{"text": result}]}}
        messages += [
            {"role": "assistant", "content": [{"text": "I will read the file."}, use]},
            {"role": "user", "content": [tool_result]},
        ]
    messages += [
        {"role": "assistant", "content": [{"text": "Frames are read in `Reader::next`."}]},
        {"role": "user", "content": [{"text": case.prompt}, point]},
    ]
    specs = [
        {
            "toolSpec": {
                "name": tool["name"],
                "description": tool["description"],
                "inputSchema": {"json": tool["input_schema"]},
            }
        }
        for tool in TOOLS
    ]
    return {
        "system": [{"text": SYSTEM}, point],
        "messages": messages,
        "inferenceConfig": {"maxTokens": 4096},
        "toolConfig": {"tools": specs},
    }


def encoded(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def filler_for(case):
    """Number of listing characters that bring the body to the size of the case."""
    filler = 0
    # Escapes and further calls add bytes, so this iterates.
    for _ in range(8):
        filler = max(0, filler + case.body_bytes - len(encoded(anthropic(case, filler))))
    return filler


@dataclasses.dataclass(frozen=True)
class HttpRequest:
    """Request of one measured path."""

    address: tuple[str, int]
    path: str
    headers: dict[str, str]
    body: bytes

    def raw(self):
        headers = {"Host": "%s:%d" % self.address, "Content-Length": str(len(self.body)), **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + self.body


def token(user="bench", team="benches", **more):
    """Signs a JWT; the proxy accepts the tokens of any issuer with the key."""
    now = int(time.time())
    claims = {"iss": "bedrock-proxy", "aud": "bedrock-api", "iat": now, "exp": now + 86_400}
    claims |= {"user_id": user, "team": team, **more}
    parts = [base64.urlsafe_b64encode(encoded(part)).rstrip(b"=") for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    mac = hmac.new(TOKEN_KEY.encode(), b".".join(parts), "sha256").digest()
    return b".".join([*parts, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()


TOKEN = None


def proxy_request(case, address):
    global TOKEN
    TOKEN = TOKEN or token()
    if case.chat:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        return HttpRequest(address, CHAT_PATH, headers, encoded(chat(case, filler_for(case))))
    headers = {"Content-Type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": TOKEN}
    return HttpRequest(address, PROXY_PATH, headers, encoded(anthropic(case, filler_for(case))))


def upstream_request(case, address):
    """Request to fake-bedrock, directly or through nginx. A Bearer key replaces the signature."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {BEARER}"}
    return HttpRequest(address, UPSTREAM_PATH, headers, encoded(converse(case, filler_for(case))))


# ---------------------------------------------------------------------------------------------------------------------
# Processes


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """Server process of this test, with its CPU time and memory from /proc."""

    def __init__(self, stack, name, command, directory, environment=None, pipe=False):
        self.name = name
        self.log = directory / f"{name}.log"
        # A session of its own, so that its children end with it. Only PATH is inherited: AWS variables would change
        # the behaviour of the proxy.
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [str(part) for part in command],
                cwd=directory,
                env={"PATH": os.environ.get("PATH", os.defpath), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else log,
                stderr=log,
                start_new_session=True,
            )
        stack.callback(self.kill)

    def kill(self):
        # SIGTERM first: only nginx's master can wait for nginx's workers.
        self.child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(timeout=2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()

    def log_text(self):
        return self.log.read_text(errors="replace").strip()

    def await_port(self, address):
        for _ in range(200):
            if self.child.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(address, timeout=1):
                return
            time.sleep(0.05)
        raise Failed(f"{self.name} does not listen on {address}: {self.log_text()}")

    def pids(self):
        return [self.child.pid]

    def cpu(self):
        """Seconds of CPU of all threads, ended ones included."""
        ticks = 0
        for pid in self.pids():
            # The command's name may contain spaces, the fields after its parenthesis do not.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICK

    def memory(self, field):
        """`VmHWM` or `VmRSS` in MB."""
        total = 0
        for pid in self.pids():
            match = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            total += int(match[1]) if match else 0
        return total / 1024

    def reset_peak(self):
        for pid in self.pids():
            # If the kernel forbids it, a row shows the peak so far.
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")


class Nginx(Process):
    def pids(self):
        """Its workers; the master does no work."""
        return [int(pid) for pid in Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()]


NGINX_CONF = """\
{user}
daemon off;
worker_processes {workers};
error_log stderr error;
pid {dir}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  client_max_body_size 0;
  client_body_buffer_size 512k;
  keepalive_requests 1000000000;
  tcp_nodelay on;
  upstream fake {{
    server {upstream};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://fake;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_buffering off;
      proxy_request_buffering off;
    }}
  }}
}}
"""


@dataclasses.dataclass
class Servers:
    fake: Process
    proxy: Process
    nginx: Process
    fake_at: tuple[str, int]
    proxy_at: tuple[str, int]
    nginx_at: tuple[str, int]


def start_postgres(stack, directory):
    """Starts PostgreSQL on a socket in `directory` and returns its URL. PostgreSQL does not run as root."""
    directories = [os.environ.get("PATH", os.defpath), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))]
    initdb, postgres = (shutil.which(name, path=":".join(directories)) for name in ("initdb", "postgres"))
    if not initdb or not postgres:
        raise Failed("initdb and postgres are missing: apt-get install -y postgresql")
    home = directory / "postgres"
    home.mkdir()
    credentials = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else "nobody")
        os.chown(home, account.pw_uid, account.pw_gid)
        directory.chmod(0o711)
        credentials = {"user": account.pw_uid, "group": account.pw_gid}
    data = home / "data"
    command = [initdb, "-D", data, "-U", "bench", "-A", "trust"]
    subprocess.run(command, check=True, capture_output=True, cwd=home, **credentials)
    command = [postgres, "-D", data, "-k", home, "-c", "listen_addresses="]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=home, **credentials)
    stack.callback(lambda: (child.terminate(), child.wait()))
    for _ in range(200):
        if (home / ".s.PGSQL.5432").exists():
            return f"postgres://bench@localhost/postgres?host={urllib.parse.quote(str(home), safe='')}"
        time.sleep(0.05)
    raise Failed("PostgreSQL did not start")


def accounts(stack, directory, database):
    """Environment that enables authentication, and limits that are never reached."""
    if not database:
        return {}
    url = {"DATABASE_URL": start_postgres(stack, directory)} if database == "postgres" else {}
    limits = {"DEFAULT_USER_DAILY_TOKENS": "500000000000", "DEFAULT_TEAM_DAILY_TOKENS": "500000000000"}
    return {"JWT_SECRET_KEY": TOKEN_KEY, **limits, **url}


def start_fake(stack, directory, binaries):
    command = [binaries / "fake-bedrock", "--listen", "127.0.0.1:0", "--region", REGION]
    command += ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, "--bearer-token", BEARER]
    fake = Process(stack, "fake-bedrock", command, directory, pipe=True)
    line = fake.child.stdout.readline()
    if not line:
        raise Failed(f"fake-bedrock did not start: {fake.log_text()}")
    host, port = json.loads(line)["addr"].rsplit(":", 1)
    return fake, (host, int(port))


def start_proxy(stack, directory, binaries, fake_at, environment):
    proxy_at = ("127.0.0.1", free_port())
    environment = {
        "AWS_BEDROCK_ACCESS_KEY": ACCESS_KEY,
        "AWS_BEDROCK_SECRET_KEY": SECRET_KEY,
        "AWS_BEDROCK_REGION": REGION,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://%s:%d" % fake_at,
        "PORT": str(proxy_at[1]),
        "LOG_OUTPUT": "stdout",
        "LOG_LEVEL": "warn",
        **environment,
    }
    proxy = Process(stack, "bedrock-proxy", [binaries / "bedrock-proxy", "serve"], directory, environment)
    proxy.await_port(proxy_at)
    return proxy, proxy_at


def start(stack, directory, binaries, workers, database, route):
    fake, fake_at = start_fake(stack, directory, binaries)
    environment = {"AWS_BEDROCK_ROUTE": route, **accounts(stack, directory, database)}
    proxy, proxy_at = start_proxy(stack, directory, binaries, fake_at, environment)

    nginx_at = ("127.0.0.1", free_port())
    # As root, nginx starts its workers as another user, who cannot write to the temporary directory.
    user = "user root;" if os.geteuid() == 0 else ""
    conf = directory / "nginx.conf"
    conf.write_text(
        NGINX_CONF.format(user=user, workers=workers, dir=directory, upstream="%s:%d" % fake_at, port=nginx_at[1])
    )
    command = [find_tool("nginx"), "-p", directory, "-e", "stderr", "-c", conf]
    nginx = Nginx(stack, "nginx", command, directory)
    nginx.await_port(nginx_at)
    return Servers(fake, proxy, nginx, fake_at, proxy_at, nginx_at)


# ---------------------------------------------------------------------------------------------------------------------
# Checks of the responses


def fetch(http_request):
    connection = http.client.HTTPConnection(*http_request.address, timeout=30)
    try:
        connection.request("POST", http_request.path, http_request.body, http_request.headers)
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        raise Failed(f"{http_request.path}: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Failed(f"{http_request.path}: status {response.status}: {body[:500].decode(errors='replace')}")
    return body


def frames(body):
    """The events of an event stream: [(type, payload)]."""
    found = []
    while body:
        total, headers, checksum = struct.unpack_from(">III", body)
        frame, body = body[:total], body[total:]
        if zlib.crc32(frame[:8]) != checksum or zlib.crc32(frame[:-4]) != struct.unpack(">I", frame[-4:])[0]:
            raise Failed("a frame with a wrong checksum")
        name = re.search(rb"\x0b:event-type\x07..([A-Za-z]+)", frame[12 : 12 + headers], re.DOTALL)
        found.append((name[1].decode() if name else "?", json.loads(frame[12 + headers : -4])))
    return found


def sse(body):
    """Server-sent events: [(name, data)]."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        name, data = block.split("\n", 1)
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def chat_text(case, response_body):
    """Text of a chat completion, whether it is complete, and a description."""
    if not case.stream:
        choice = json.loads(response_body)["choices"][0]
        return choice["message"]["content"], choice["finish_reason"] == "stop", "one completion"
    *chunks, done = [block.removeprefix("data: ") for block in response_body.decode().split("\n\n")[:-1]]
    choices = [choice for chunk in chunks for choice in json.loads(chunk)["choices"]]
    text_received = "".join(choice["delta"].get("content", "") for choice in choices)
    return text_received, done == "[DONE]" and choices[-1]["finish_reason"] == "stop", f"{len(chunks)} chunks"


def verify(case, servers):
    """Sends one request on each path and compares the texts. Returns the lengths of the responses."""
    raw = fetch(upstream_request(case, servers.nginx_at))
    upstream = frames(raw)
    text = "".join(payload["delta"]["text"] for kind, payload in upstream if kind == "contentBlockDelta")
    if upstream[-1][0] != "metadata" or not text or case.frames not in (None, len(upstream)):
        raise Failed(f"{case.name}: {len(upstream)} frames through nginx, the last is {upstream[-1][0]}")

    response_body = fetch(proxy_request(case, servers.proxy_at))
    if case.chat:
        text_received, is_complete, found = chat_text(case, response_body)
        if not is_complete:
            raise Failed(f"{case.name}: the completion has no end")
    elif case.stream:
        events = sse(response_body)
        text_received = "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
        # Bedrock sends no start of a text block, and metadata instead of message_delta.
        if events[-1][0] != "message_stop" or len(events) != len(upstream) + 1:
            raise Failed(f"{case.name}: {len(events)} events through the proxy, the last is {events[-1][0]}")
        found = f"{len(events)} events"
    else:
        message = json.loads(response_body)
        text_received = "".join(block["text"] for block in message["content"])
        if message["stop_reason"] != "end_turn":
            raise Failed(f"{case.name}: stopped for {message['stop_reason']}")
        found = "one message"
    if text_received != text:
        raise Failed(f"{case.name}: the proxy's response has another text: {text_received!r} instead of {text!r}")
    size = len(proxy_request(case, servers.proxy_at).body)
    note(f"{case.name}: {size} bytes sent; proxy: 200, {found}; nginx: 200, {len(upstream)} frames; same text")
    return len(response_body), len(raw)


# ---------------------------------------------------------------------------------------------------------------------
# Load


# `done` runs once; a `response` function would run for each response and use CPU of the servers.
LUA = """\
local file = assert(io.open("%s", "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
%s
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%%d,"bytes":%%d,"us":%%d,"status":%%d,"broken":%%d,"p50":%%d,"p99":%%d}\\n',
    summary.requests, summary.bytes, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def wrk(http_request, concurrency, seconds, directory):
    body = directory / "body.json"
    body.write_bytes(http_request.body)
    script = directory / "request.lua"
    headers = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in http_request.headers.items())
    script.write_text(LUA % (body, headers))
    url = "http://%s:%d%s" % (*http_request.address, http_request.path)
    command = [find_tool("wrk"), "-t1", f"-c{concurrency}", f"-d{seconds}s", "--timeout", "20s", "-s", str(script), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    result = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if not result:
        raise Failed(f"wrk failed: {done.stdout}{done.stderr}")
    return json.loads(result[1])


def machine_cpu():
    """Seconds that the whole machine was busy."""
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + soft + steal) / TICK


def own_cpu(servers):
    """CPU seconds of this test and of its servers."""
    spent = servers.fake.cpu() + servers.proxy.cpu() + servers.nginx.cpu()
    for usage_of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(usage_of)
        spent += usage.ru_utime + usage.ru_stime
    return spent


def measure(http_request, response_bytes, carrier, servers, concurrency, options, directory):
    """Measures one path of one row."""
    wrk(http_request, concurrency, 1, directory)
    # Requests of the warm-up must not be counted.
    time.sleep(0.2)
    carrier.reset_peak()
    machine, own, began = machine_cpu(), own_cpu(servers), time.monotonic()
    carrier_cpu, fake_cpu = carrier.cpu(), servers.fake.cpu()
    result = wrk(http_request, concurrency, options.seconds, directory)
    carrier_cpu, fake_cpu = carrier.cpu() - carrier_cpu, servers.fake.cpu() - fake_cpu
    elapsed = time.monotonic() - began
    others = machine_cpu() - machine - (own_cpu(servers) - own)

    requests = result["requests"]
    if result["status"] or result["broken"] or not requests:
        raise Failed(f"{carrier.name}, {concurrency} connections: {result}")
    # A truncated stream has status 200, too. Padding makes lengths vary.
    if result["bytes"] < 0.9 * response_bytes * requests:
        raise Failed(f"{carrier.name}, {concurrency} connections: responses are shorter than {response_bytes} bytes")
    return {
        "requests": requests,
        "requests_per_second": requests / (result["us"] / 1e6),
        "cpu_ms": 1000 * carrier_cpu / requests,
        "fake_cpu_ms": 1000 * fake_cpu / requests,
        "p50_ms": result["p50"] / 1000,
        "p99_ms": result["p99"] / 1000,
        "peak_rss_mb": carrier.memory("VmHWM"),
        "rss_mb": carrier.memory("VmRSS"),
        "others_cpu_percent": max(0.0, 100 * others / (elapsed * CORES)),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Pace


# Bytes that begin a text delta: the line of an event, and the header of a frame.
SSE_DELTA = b"event: content_block_delta"
FRAME_DELTA = b"\x07\x00\x11contentBlockDelta"


class Stream:
    """One stream on a socket of its own; notes when each delta arrives."""

    def __init__(self, http_request, mark):
        self.raw, self.mark, self.tail, self.times = http_request.raw(), mark, b"", []
        self.socket = socket.create_connection(http_request.address, timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self):
        self.began = time.perf_counter()
        self.socket.sendall(self.raw)

    def receive(self):
        """Takes what has arrived. Returns whether that was the end."""
        data = self.socket.recv(1 << 16)
        now = time.perf_counter()
        if not data:
            raise Failed("a paced stream broke off")
        data = self.tail + data
        self.times += [now] * data.count(self.mark)
        # A mark split between two reads is found with the second one; no mark is found twice.
        self.tail = data[-(len(self.mark) - 1) :]
        return data.endswith(b"\r\n0\r\n\r\n")

    def first_ms(self):
        return 1000 * (self.times[0] - self.began)

    def gaps_ms(self):
        return [1000 * (after - before) for before, after in itertools.pairwise(self.times)]


def play(http_request, mark, count):
    """`count` streams at once, in one thread."""
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        streams = [Stream(http_request, mark) for _ in range(count)]
        for stream in streams:
            stack.callback(stream.socket.close)
            selector.register(stream.socket, selectors.EVENT_READ, stream)
        for stream in streams:
            stream.send()
        while selector.get_map():
            ready = selector.select(timeout=30)
            if not ready:
                raise Failed("a paced stream received no data for 30 seconds")
            for key, _ in ready:
                if key.data.receive():
                    selector.unregister(key.fileobj)
    for stream in streams:
        if len(stream.times) != PACED_EVENTS:
            raise Failed(f"a paced stream had {len(stream.times)} of {PACED_EVENTS} deltas")
    return streams


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def paced(servers):
    """The same prompt straight from fake-bedrock and through the proxy, in turns, so that both meet the same noise."""
    paths = {
        "direct": (upstream_request(PACED, servers.fake_at), FRAME_DELTA),
        "proxy": (proxy_request(PACED, servers.proxy_at), SSE_DELTA),
    }
    # Warm-up of connections and caches.
    for http_request, _ in paths.values():
        fetch(http_request)
    rows = []
    for count, rounds in ((1, 5), (16, 3)):
        streams = {name: [] for name in paths}
        for _ in range(rounds):
            for name, (http_request, mark) in paths.items():
                streams[name] += play(http_request, mark, count)
        row = {"concurrent": count, "streams": len(streams["proxy"])}
        for name, played in streams.items():
            gaps = [gap for stream in played for gap in stream.gaps_ms()]
            row[name] = {
                "gap_p50_ms": statistics.median(gaps),
                "gap_p99_over_pace_ms": percentile(gaps, 0.99) - PACED_GAP_MS,
                "gap_p99_deviation_ms": percentile([abs(gap - PACED_GAP_MS) for gap in gaps], 0.99),
                "first_event_ms": statistics.median(stream.first_ms() for stream in played),
            }
        row["first_event_added_ms"] = row["proxy"]["first_event_ms"] - row["direct"]["first_event_ms"]
        rows.append(row)
    return rows


# ---------------------------------------------------------------------------------------------------------------------
# Report


def table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def mark_above(value, most, form="{:.3f}"):
    """Formats `value`, in bold if it is more than `most`."""
    return form.format(value) if value <= most else f"**{form.format(value)}**"


def load_table(rows):
    head = ["case", "conc.", "req/s", "nginx", "CPU ms/req", "target", "nginx", "ratio", "fake", "p50/p99 ms"]
    head += ["nginx", "peak RSS MB", "others' CPU"]
    lines = []
    for row in rows:
        proxy, nginx = row["proxy"], row["nginx"]
        lines.append(
            [
                row["case"],
                row["concurrency"],
                f"{proxy['requests_per_second']:.0f}",
                f"{nginx['requests_per_second']:.0f}",
                mark_above(proxy["cpu_ms"], row["target_ms"]),
                row["target_ms"],
                f"{nginx['cpu_ms']:.3f}",
                f"{row['ratio']:.2f}",
                f"{proxy['fake_cpu_ms']:.3f}",
                f"{proxy['p50_ms']:.2f} / {proxy['p99_ms']:.2f}",
                f"{nginx['p50_ms']:.2f} / {nginx['p99_ms']:.2f}",
                f"{proxy['peak_rss_mb']:.1f}",
                f"{max(proxy['others_cpu_percent'], nginx['others_cpu_percent']):.0f} %",
            ]
        )
    return table(head, lines)


def paced_table(rows):
    head = ["streams at once", "p99 gap − pace ms", "direct", "median gap ms", "direct", "first event ms", "direct"]
    head += ["added"]
    lines = []
    for row in rows:
        proxy, direct = row["proxy"], row["direct"]
        # Excludes the delay of fake-bedrock's timer and of the machine.
        most = MAX_GAP_MS + max(0.0, direct["gap_p99_over_pace_ms"])
        lines.append(
            [
                row["concurrent"],
                mark_above(proxy["gap_p99_over_pace_ms"], most, "{:.2f}"),
                f"{direct['gap_p99_over_pace_ms']:.2f}",
                f"{proxy['gap_p50_ms']:.2f}",
                f"{direct['gap_p50_ms']:.2f}",
                f"{proxy['first_event_ms']:.2f}",
                f"{direct['first_event_ms']:.2f}",
                mark_above(row["first_event_added_ms"], MAX_FIRST_EVENT_MS, "{:.2f}"),
            ]
        )
    return table(head, lines)


def note(text):
    """Prints progress to stderr; stdout is for the report."""
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Command line


def find_tool(name):
    # nginx is in a directory of root's path only.
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def require_tools(install):
    missing = [name for name in ("wrk", "nginx") if not find_tool(name)]
    if missing and install:
        subprocess.run(["apt-get", "install", "-y", *PACKAGES], check=True, stdout=sys.stderr)
        missing = [name for name in missing if not find_tool(name)]
    if missing:
        raise Failed(f"{' and '.join(missing)} not found: apt-get install -y {' '.join(PACKAGES)} (or --install)")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="length of each measurement, after a second of warm-up")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--install", action="store_true", help="install wrk and nginx when they are missing")
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release", help="directory of the two binaries")
    parser.add_argument("--nginx-workers", type=int, default=1, choices=(1, 2))
    parser.add_argument("--case", action="append", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument("--concurrency", type=int, action="append", choices=CONCURRENCY)
    routes = ("auto", "converse", "invoke", "messages")
    parser.add_argument("--route", choices=routes, default="auto", help="upstream API")
    parser.add_argument("--chat", action="store_true", help="measure each case also as a chat completion")
    databases = ("sqlite", "postgres")
    parser.add_argument("--accounts", choices=databases, help="enable authentication, limits and usage records")
    parser.add_argument("--no-paced", action="store_true", help="skip the paced streams")
    return parser.parse_args()


def run(options):
    require_tools(options.install)
    binaries = options.bin.resolve()
    for name in ("bedrock-proxy", "fake-bedrock"):
        if not (binaries / name).exists():
            raise Failed(f"{binaries / name} is missing: cargo build --release -p bedrock-proxy -p fake-bedrock")
    cases = [case for case in CASES if not options.case or any(text in case.name for text in options.case)]
    if options.chat:
        cases = [each for case in cases for each in (case, case.chat_variant())]
    report = {"cores": CORES, "seconds": options.seconds, "nginx_workers": options.nginx_workers, "load": []}

    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bedrock-proxy-bench-")))
        servers = start(stack, directory, binaries, options.nginx_workers, options.accounts, options.route)
        report["rss_before_mb"] = servers.proxy.memory("VmRSS")
        lengths = {case.name: verify(case, servers) for case in [*cases, PACED]}
        # Before the load, which changes the memory of every process.
        if not options.no_paced:
            note("paced streams")
            report["paced"] = paced(servers)
        for case, concurrency in itertools.product(cases, options.concurrency or CONCURRENCY):
            note(f"{case.name}, {concurrency} connections")
            proxy_bytes, nginx_bytes = lengths[case.name]
            measurements = [
                ("proxy", proxy_request(case, servers.proxy_at), proxy_bytes, servers.proxy),
                ("nginx", upstream_request(case, servers.nginx_at), nginx_bytes, servers.nginx),
            ]
            row = {"case": case.name, "concurrency": concurrency, "target_ms": case.target}
            for name, http_request, length, carrier in measurements:
                row[name] = measure(http_request, length, carrier, servers, concurrency, options, directory)
            row["ratio"] = row["proxy"]["cpu_ms"] / max(row["nginx"]["cpu_ms"], 1e-9)
            report["load"].append(row)
        # Connections are closed and freed memory is returned with a little delay.
        time.sleep(2)
        report["rss_after_mb"] = servers.proxy.memory("VmRSS")
        report["peak_rss_mb"] = max((row["proxy"]["peak_rss_mb"] for row in report["load"]), default=0.0)
        if servers.proxy.log_text():
            note(f"log of the proxy:\n{servers.proxy.log_text()[:2000]}")
    return report


def show(report):
    if report["load"]:
        print(load_table(report["load"]))
        after = mark_above(report["rss_after_mb"], MAX_RSS_MB, "{:.1f}")
        print(f"\nRSS of the proxy: {report['rss_before_mb']:.1f} MB at the start, {after} MB after the load", end="")
        print(f" (target {MAX_RSS_MB}), {report['peak_rss_mb']:.1f} MB at its peak.")
    if "paced" in report:
        print(f"\nPaced: {PACED_EVENTS} events, {PACED_GAP_MS} ms apart.\n")
        print(paced_table(report["paced"]))


def main():
    # Exits like after an error, so that the servers are killed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse_arguments()
    try:
        report = run(options)
    except Failed as failed:
        note(f"bench failed: {failed}")
        return 1
    except KeyboardInterrupt:
        return 130
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
