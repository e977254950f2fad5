#!/usr/bin/env python3
"""Soak test of bedrock-proxy: mixed load or disconnects, then checks for leaks. See README.md in this directory."""

import argparse
import asyncio
import collections
import contextlib
import csv
import dataclasses
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import load
from load import Failed, note

# Seconds between samples.
SAMPLE_INTERVAL = 10
# Maximum slope of the memory after the warm-up.
MAX_MB_PER_HOUR = 3.0
# Minimum minutes after the warm-up to judge the slope; below, noise dominates.
JUDGED_MINUTES = 20
# Idle connections to Bedrock are closed after 90 seconds, those of clients after 75.
SETTLE_TIMEOUT = 150
# Seconds; longer than any response of this test.
REQUEST_TIMEOUT = 60
# Connections that clients keep open between requests.
MAX_IDLE_CONNECTIONS = 48
USERS, TEAMS = 24, 4
UNLIMITED_TOKENS = "500000000000"

# ---------------------------------------------------------------------------------------------------------------------
# Requests

MARK = "@@@"


@dataclasses.dataclass(frozen=True)
class Kind:
    """Kind of request with its weight in the mix and the expected outcome."""

    name: str
    weight: float
    prompt: str = "Say hello."
    expect: str = "whole"
    stream: bool = True
    chat: bool = False
    kilobytes: int = 4
    path: str | None = None
    # "user", "invalid" (with an invalid token) or "exhausted" (with no tokens left in the limit).
    caller: str = "user"
    disconnects: bool = False


KINDS = [
    Kind("35 events", 22, "[long 31]"),
    Kind("200 events", 12, "[long 196]"),
    Kind("not streamed", 12, stream=False),
    Kind("183 KB", 8, "[long 31]", kilobytes=183),
    Kind("chat", 6, "[long 31]", chat=True),
    Kind("chat, not streamed", 3, chat=True, stream=False),
    Kind("slow stream", 3, "[paced 40 250]"),
    Kind("tools", 4, "[tools]"),
    Kind("thinking", 2, "[thinking]"),
    Kind("count_tokens", 4, stream=False, path="/v1/messages/count_tokens", expect="200"),
    Kind("disconnect", 10, "[paced 30 5] [slow 20]", expect="disconnected", disconnects=True),
    Kind("early disconnect", 3, "[slow 300]", expect="disconnected", disconnects=True, stream=False),
    Kind("throttled once", 2, "[throttle-once]"),
    Kind("throttled", 1, "[throttle]", expect="429"),
    Kind("throttled midway", 1, "[throttle-mid]", expect="error event"),
    Kind("interrupted stream", 1, "[cut]", expect="error event"),
    Kind("rejected by Bedrock", 1, "[refuse ValidationException]", expect="400"),
    Kind("bad request", 1, expect="400", path="bad"),
    Kind("unknown model", 1, expect="404", path="unknown"),
    Kind("no such path", 1, expect="404", path="/v1/nothing/@@@"),
    Kind("no token", 2, expect="401", caller="invalid"),
    Kind("no tokens left", 1, expect="429", caller="exhausted"),
    Kind("health", 2, expect="200", path="/health"),
    Kind("not HTTP", 0.5, expect="closed", path="garbage"),
]


def template(kind):
    """Body of a request, with a mark for the part that differs for each request."""
    case = load.Case(kind.name, f"{kind.prompt} {MARK}", kind.kilobytes << 10, kind.stream, None, 0)
    filler = load.filler_for(case)
    body = load.chat(case, filler) if kind.chat else load.anthropic(case, filler)
    if kind.path and "count_tokens" in kind.path:
        body = {key: value for key, value in body.items() if key not in ("stream", "max_tokens")}
    if kind.path == "bad":
        body |= {"max_tokens": "many"}
    if kind.path == "unknown":
        body |= {"model": f"unknown-{MARK}"}
    if kind.name == "thinking":
        body |= {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    return load.encoded(body)


class RequestBodies:
    """The bytes of requests."""

    def __init__(self, rng):
        self.random = rng
        self.bodies = {kind.name: template(kind) for kind in KINDS}
        self.tokens = [load.token(f"user{number}", f"team{number % TEAMS}") for number in range(USERS)]
        self.exhausted = load.token("exhausted", "team0")
        self.number = 0

    def token(self, kind):
        if kind.caller == "invalid":
            return f"{self.tokens[0]}{self.number}"
        if kind.caller == "exhausted":
            return self.exhausted
        # Some requests come from new users.
        if self.number % 500 == 0:
            return load.token(f"guest{self.number}", f"team{self.number % TEAMS}")
        return self.random.choice(self.tokens)

    def raw(self, kind, address):
        self.number += 1
        if kind.path == "garbage":
            return self.random.randbytes(200) + b"\r\n\r\n"
        mark = f"#{self.number}.".encode()
        body = self.bodies[kind.name].replace(MARK.encode(), mark)
        path = load.CHAT_PATH if kind.chat else load.PROXY_PATH
        if kind.path and kind.path.startswith("/"):
            path = kind.path.replace(MARK, str(self.number))
        method, body = ("GET", b"") if kind.path == "/health" else ("POST", body)
        head = f"{method} {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nContent-Length: {len(body)}\r\n"
        head += f"Content-Type: application/json\r\nAuthorization: Bearer {self.token(kind)}\r\n\r\n"
        return head.encode() + body


# ---------------------------------------------------------------------------------------------------------------------
# Clients


class Stale(Exception):
    """The server closed an idle connection before the client used it again, which is allowed."""


async def read_response(reader, fresh):
    """Returns status, header fields and body."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not fresh and not error.partial:
            raise Stale from error
        return 0, b"", error.partial
    status, fields = int(head.split(b" ", 2)[1]), head.lower()
    length = re.search(rb"\r\ncontent-length: (\d+)", fields)
    if length:
        return status, fields, await reader.readexactly(int(length[1]))
    body = bytearray()
    while not body.endswith(b"0\r\n\r\n"):
        piece = await reader.read(1 << 16)
        if not piece:
            return status, fields, bytes(body) + b"\nevent: truncated"
        body += piece
    return status, fields, bytes(body)


def seen(kind, status, body):
    """Outcome of a request, in the terms of `Kind.expect`."""
    if status != 200 or kind.expect == "200":
        return str(status) if status else "closed"
    end = b"[DONE]" if kind.chat and kind.stream else b"event: message_stop" if kind.stream else b'"usage"'
    if b"event: truncated" in body:
        return "truncated"
    if body.count(b"event: error") == 1 and b"message_stop" not in body:
        return "error event"
    return "whole" if body.count(end) == 1 else "no end"


class Clients:
    """Clients that send requests of all kinds and count the outcomes."""

    def __init__(self, address, rng):
        self.address, self.random = address, rng
        self.request_bodies = RequestBodies(rng)
        self.idle = []
        self.seen = collections.Counter()
        self.wrong = collections.Counter()
        self.examples = {}
        self.done = self.open = self.stale = 0

    async def connection(self):
        """Returns an idle or a new connection, and whether it is new."""
        while self.idle and self.random.random() < 0.7:
            reader, writer = self.idle.pop(self.random.randrange(len(self.idle)))
            if not reader.at_eof():
                return reader, writer, False
            writer.close()
        reader, writer = await asyncio.open_connection(*self.address, limit=1 << 20)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return reader, writer, True

    def release(self, reader, writer, fields):
        if b"\r\nconnection: close" in fields or len(self.idle) >= MAX_IDLE_CONNECTIONS or self.random.random() < 0.3:
            writer.close()
        else:
            self.idle.append((reader, writer))

    async def send_request(self, kind):
        self.open += 1
        try:
            outcome = await asyncio.wait_for(self.outcome(kind), REQUEST_TIMEOUT)
        except TimeoutError:
            outcome = "hung"
        except OSError as error:
            outcome = f"broken: {error.strerror or error}"
        finally:
            self.open -= 1
        self.done += 1
        self.seen[kind.name, outcome] += 1
        if outcome != kind.expect:
            self.wrong[kind.name, outcome] += 1

    async def outcome(self, kind):
        if kind.disconnects:
            return await self.disconnect(kind)
        raw = self.request_bodies.raw(kind, self.address)
        while True:
            reader, writer, fresh = await self.connection()
            try:
                writer.write(raw)
                await writer.drain()
                status, fields, body = await read_response(reader, fresh)
            except (Stale, ConnectionError):
                writer.close()
                if fresh:
                    raise
                self.stale += 1
                continue
            except BaseException:
                writer.close()
                raise
            if kind.path == "garbage":
                writer.close()
                return "closed" if status in (0, 400) else str(status)
            self.release(reader, writer, fields)
            outcome = seen(kind, status, body)
            if outcome != kind.expect:
                self.examples.setdefault((kind.name, outcome), body[-300:])
            return outcome

    async def disconnect(self, kind):
        """Sends a request and disconnects: within the request, before the response, or within the response."""
        raw = self.request_bodies.raw(kind, self.address)
        reader, writer, _ = await self.connection()
        point = self.random.choice(["head", "body", "sent", "soon", "response", "response"])
        lengths = {"head": self.random.randrange(1, 120), "body": self.random.randrange(120, len(raw))}
        part = lengths.get(point, len(raw))
        # The server may have closed the idle connection.
        with contextlib.suppress(ConnectionError):
            writer.write(raw[:part])
            await writer.drain()
            if point == "soon":
                await asyncio.sleep(self.random.random() * 0.1)
            if point == "response":
                await self.read_some(reader, self.random.randrange(1, 6000))
        if self.random.random() < 0.5:
            # Closes with RST instead of FIN.
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        return "disconnected"

    @staticmethod
    async def read_some(reader, wanted):
        while wanted > 0:
            piece = await reader.read(wanted)
            # A response that is not streamed may be shorter.
            if not piece or piece.endswith((b"0\r\n\r\n", b"}")):
                return
            wanted -= len(piece)

    def close(self):
        """Closes the idle connections."""
        for _, writer in self.idle:
            writer.close()
        self.idle.clear()


# ---------------------------------------------------------------------------------------------------------------------
# Samples


class Database:
    """The database of the proxy, read with SQL."""

    def __init__(self, directory, url):
        self.directory, self.url = directory, url
        if url:
            installed = map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))
            directories = [os.environ.get("PATH", os.defpath), *installed]
            self.psql = shutil.which("psql", path=":".join(directories))
            if not self.psql:
                raise Failed("psql is missing: apt-get install -y postgresql-client")

    def rows(self, query):
        if self.url:
            command = [self.psql, "-X", "-At", "-F", "\t", "-d", self.url, "-c", query]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            if done.returncode:
                raise Failed(f"psql: {done.stderr.strip()}")
            return [line.split("\t") for line in done.stdout.splitlines()]
        file = self.directory / "data/bedrock-proxy.db"
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)) as connection:
            return [[str(value) for value in row] for row in connection.execute(query)]

    def number(self, query):
        return int(self.rows(query)[0][0])

    def reservations(self):
        return self.number("SELECT COUNT(*) FROM reservations")

    def size(self):
        if self.url:
            return self.number("SELECT pg_database_size(current_database())")
        return sum(path.stat().st_size for path in (self.directory / "data").glob("bedrock-proxy.db*"))

    def connections(self):
        """Number of connections of the proxy to the database."""
        if self.url:
            mine = "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            return self.number(f"SELECT COUNT(*) FROM pg_stat_activity {mine}")
        return 0

    def sums(self):
        """[(scope, name, period, tokens)] from the counters, and from the usage records."""
        charged = (
            "SELECT 'user', user_id, period, SUM(charged_tokens) FROM metrics WHERE charged_tokens > 0 GROUP BY 2, 3"
            " UNION ALL SELECT 'team', team, period, SUM(charged_tokens) FROM metrics"
            " WHERE charged_tokens > 0 AND team IS NOT NULL GROUP BY 2, 3"
        )
        counted = "SELECT scope, name, period, used FROM counters WHERE used > 0"
        return sorted(map(tuple, self.rows(counted))), sorted(map(tuple, self.rows(charged)))

    def tokens(self):
        """Tokens of the usage records: those that Bedrock reported, and those that were estimated."""
        total = "input_tokens + output_tokens + cache_read_tokens + cache_write_tokens"
        known = f"SELECT COALESCE(SUM({total}), 0) FROM metrics WHERE NOT estimated"
        estimated = f"SELECT COALESCE(SUM({total}), 0) FROM metrics WHERE estimated"
        return self.number(known), self.number(estimated)

    def count(self):
        return self.number("SELECT COUNT(*) FROM metrics")


class Monitor:
    """Samples resources of the process and of the database."""

    def __init__(self, proxy, address, directory, database):
        self.proxy, self.address, self.directory, self.database = proxy, address, directory, database
        self.token = load.token("monitor", "benches", scope="admin:read")
        self.began = time.monotonic()

    def descriptors(self):
        """Number of open descriptors, and how many of them are sockets."""
        links = []
        for name in os.listdir(f"/proc/{self.proxy.child.pid}/fd"):
            with contextlib.suppress(OSError):
                links.append(os.readlink(f"/proc/{self.proxy.child.pid}/fd/{name}"))
        return len(links), sum(link.startswith("socket:") for link in links)

    def threads(self):
        return int(re.search(r"Threads:\s+(\d+)", Path(f"/proc/{self.proxy.child.pid}/status").read_text())[1])

    def tasks(self):
        """Number of tasks of the runtime, if the metrics have it."""
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        try:
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {self.token}"})
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise Failed(f"/metrics: status {response.status}: {text[:300]}")
        found = re.search(r"^bedrock_proxy_\w*tasks\w*(?:\{[^}]*\})? (\d+)", text, re.MULTILINE)
        return int(found[1]) if found else None

    def wal_bytes(self):
        return sum(path.stat().st_size for path in (self.directory / "data/journal").glob("*.jsonl"))

    def sample(self, clients=None):
        descriptors, sockets = self.descriptors()
        return {
            "seconds": round(time.monotonic() - self.began, 1),
            "rss_mb": round(self.proxy.memory("VmRSS"), 2),
            "peak_mb": round(self.proxy.memory("VmHWM"), 2),
            "threads": self.threads(),
            "descriptors": descriptors,
            "sockets": sockets,
            "database_connections": self.database.connections(),
            "tasks": self.tasks(),
            "database_mb": round(self.database.size() / 1e6, 2),
            "wal_kb": round(self.wal_bytes() / 1e3, 1),
            "reservations": self.database.reservations(),
            "rows": self.database.count(),
            "cpu_seconds": round(self.proxy.cpu(), 2),
            "requests": clients.done if clients else 0,
            "open": clients.open if clients else 0,
            "idle": len(clients.idle) if clients else 0,
        }


def line(points):
    """Slope of the regression line through `points`, and its standard error."""
    xs, ys = zip(*points)
    slope, start = statistics.linear_regression(xs, ys)
    middle = statistics.fmean(xs)
    left = sum((y - start - slope * x) ** 2 for x, y in points) / max(1, len(points) - 2)
    return slope, (left / sum((x - middle) ** 2 for x in xs)) ** 0.5


# ---------------------------------------------------------------------------------------------------------------------
# Load


async def run_mix(clients, monitor, options, write):
    """Sends a steady mix for `options.minutes`. Returns the samples."""
    samples, running = [], set()
    weights = [kind.weight for kind in KINDS]
    end = time.monotonic() + 60 * options.minutes
    next_request = next_sample = time.monotonic()
    while (now := time.monotonic()) < end:
        if now >= next_sample:
            next_sample += SAMPLE_INTERVAL
            samples.append(await asyncio.to_thread(monitor.sample, clients))
            write(samples[-1])
        # Requests are independent: a Poisson process with `options.rate` requests a second.
        while next_request <= now and len(running) < 500:
            next_request += clients.random.expovariate(options.rate)
            task = asyncio.create_task(clients.send_request(clients.random.choices(KINDS, weights)[0]))
            running.add(task)
            task.add_done_callback(running.discard)
        # Requests that the machine was too slow for are skipped.
        next_request = max(next_request, now - 1)
        await asyncio.sleep(max(0.001, min(next_request, next_sample, end) - time.monotonic()))
    await asyncio.gather(*running)
    return samples


async def run_disconnects(clients, monitor, options, write):
    """Sends `options.cycles` requests whose clients disconnect, 64 at a time."""
    kinds = [kind for kind in KINDS if kind.disconnects] + [
        Kind("disconnect, 200 events", 1, "[long 196]", "disconnected", disconnects=True),
        Kind("disconnect, chat", 1, "[paced 30 5]", "disconnected", chat=True, disconnects=True),
        Kind("disconnect, 183 KB", 1, "[long 31]", "disconnected", kilobytes=183, disconnects=True),
    ]
    for kind in kinds:
        clients.request_bodies.bodies.setdefault(kind.name, template(kind))
    remaining = iter(range(options.cycles))

    async def client():
        for number in remaining:
            await clients.send_request(clients.random.choice(kinds))
            if number % 1000 == 0:
                write(await asyncio.to_thread(monitor.sample, clients))

    await asyncio.gather(*(client() for _ in range(64)))
    return [await asyncio.to_thread(monitor.sample, clients)]


def free(sample):
    """Number of open sockets other than database connections."""
    return sample["sockets"] - sample["database_connections"]


def settle(monitor, before):
    """Waits until all resources of requests are released, at most `SETTLE_TIMEOUT` seconds."""
    end = time.monotonic() + SETTLE_TIMEOUT
    while True:
        sample = monitor.sample()
        more = (sample["tasks"] or 0) > (before["tasks"] or 0)
        if free(sample) <= free(before) and not sample["reservations"] and not more:
            return sample
        if time.monotonic() > end:
            return sample
        time.sleep(1)


def add_exhausted_user(binaries, directory, environment):
    """Adds a user with a limit of one token."""
    command = [binaries / "bedrock-proxy", "user", "add", "exhausted", "--limit", "1"]
    keep = {"PATH": os.environ.get("PATH", os.defpath), **environment}
    done = subprocess.run([str(part) for part in command], cwd=directory, env=keep, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"user add: {done.stderr.strip()}")


def run(options, stack, writer):
    binaries = options.bin.resolve()
    for name in ("bedrock-proxy", "fake-bedrock"):
        if not (binaries / name).exists():
            raise Failed(f"{binaries / name} is missing: cargo build --release -p bedrock-proxy -p fake-bedrock")
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bedrock-proxy-soak-")))
    fake, fake_at = load.start_fake(stack, directory, binaries)
    environment = {
        **load.accounts(stack, directory, options.accounts),
        "DEFAULT_USER_DAILY_TOKENS": UNLIMITED_TOKENS,
        "LOG_LEVEL": "info",
    }
    add_exhausted_user(binaries, directory, environment)
    proxy, address = load.start_proxy(stack, directory, binaries, fake_at, environment)
    database = Database(directory, environment.get("DATABASE_URL"))
    monitor, clients = Monitor(proxy, address, directory, database), Clients(address, random.Random(options.seed))

    def write(sample):
        writer.writerow(sample)
        note(" ".join(f"{key}={value}" for key, value in sample.items()))

    before = monitor.sample()
    write(before)
    scenario = run_disconnects if options.cycles else run_mix
    samples = asyncio.run(run_clients(scenario, clients, monitor, options, write))
    note("all clients have disconnected")
    after = settle(monitor, before)
    write(after)
    problems = left_over(before, after) + unexpected_outcomes(clients)
    if not options.cycles:
        problems += memory(samples, options)
    problems += check_charges(database, proxy, fake)
    problems += check_replay(stack, directory, binaries, fake_at, environment, database)
    return summary(options, clients, before, samples, after), problems


async def run_clients(scenario, clients, monitor, options, write):
    samples = await scenario(clients, monitor, options, write)
    clients.close()
    # The event loop needs time to close the connections.
    await asyncio.sleep(0.2)
    return samples


# ---------------------------------------------------------------------------------------------------------------------
# Result


def left_over(before, after):
    """Resources that are still held after all clients have disconnected."""
    problems = []
    if after["reservations"]:
        problems.append(f"{after['reservations']} reservations are left")
    if free(after) > free(before):
        problems.append(f"{free(after)} connections other than to the database are open; {free(before)} at the start")
    files = [sample["descriptors"] - sample["sockets"] for sample in (before, after)]
    # The database's own files are opened when they are first needed.
    if files[1] > files[0] + 8:
        problems.append(f"{files[1]} files are open, {files[0]} at the start")
    if (after["tasks"] or 0) > (before["tasks"] or 0):
        problems.append(f"{after['tasks']} tasks are alive, {before['tasks']} at the start")
    return problems


def unexpected_outcomes(clients):
    return [
        f"{count} × {name}: {outcome} {clients.examples.get((name, outcome), b'').decode(errors='replace')}".strip()
        for (name, outcome), count in sorted(clients.wrong.items())
    ]


def warm(samples):
    """Samples after the warm-up: 15 minutes, or a quarter of a shorter run."""
    begin = min(900, samples[-1]["seconds"] / 4)
    return [sample for sample in samples if sample["seconds"] >= begin]


def memory(samples, options):
    """Whether the memory is flat."""
    points = [(sample["seconds"] / 3600, sample["rss_mb"]) for sample in warm(samples)]
    minutes = 60 * (points[-1][0] - points[0][0])
    if minutes < JUDGED_MINUTES:
        note(f"{minutes:.0f} minutes after the warm-up are too short to judge the slope of the memory")
        return []
    slope, _ = line(points)
    if slope > options.max_mb_per_hour:
        return [f"memory grows by {slope:.1f} MB an hour; the maximum is {options.max_mb_per_hour}"]
    return []


def stop(process):
    """Sends SIGTERM and returns the exit code."""
    process.child.terminate()
    try:
        return process.child.wait(timeout=60)
    except subprocess.TimeoutExpired:
        return "no exit code: it still runs"


def check_charges(database, proxy, fake):
    """Checks the exit code, and that charges are consistent with the tokens of Bedrock."""
    problems = []
    if (code := stop(proxy)) != 0:
        problems.append(f"SIGTERM ended the proxy with {code}: {proxy.log_text()[-1000:]}")
    counted, charged = database.sums()
    if counted != charged:
        different = sorted(set(counted) ^ set(charged))
        problems.append(f"the counters differ from the sums of the usage records: {different[:6]}")
    stop(fake)
    given = json.loads(fake.child.stdout.readline() or "{}").get("tokens")
    known, estimated = database.tokens()
    note(f"tokens: {given} from Bedrock; usage records: {known} reported, {estimated} estimated")
    # Estimates err high, and all other tokens are recorded.
    if given is None or not known <= given <= known + estimated:
        problems.append(f"Bedrock sent {given} tokens; usage records: {known} reported, {estimated} estimated")
    return problems


def check_replay(stack, directory, binaries, fake_at, environment, database):
    """Checks that the next process changes neither counters nor usage records."""
    before = database.sums()[0], database.count(), database.tokens()
    proxy, _ = load.start_proxy(stack, directory, binaries, fake_at, environment)
    # Segments of the WAL are deleted once their entries are stored.
    for _ in range(100):
        if len(list((directory / "data/journal").glob("*.jsonl"))) <= 1:
            break
        time.sleep(0.1)
    code = stop(proxy)
    after = database.sums()[0], database.count(), database.tokens()
    problems = [] if code == 0 else [f"SIGTERM ended the second process with {code}"]
    if before != after:
        problems.append(f"the next process changed the usage records: {before[1:]} became {after[1:]}")
    return problems


def summary(options, clients, before, samples, after):
    last = samples[-1]
    minutes = last["seconds"] / 60
    lines = [f"{clients.done} requests in {minutes:.1f} minutes, {clients.stale} idle connections were stale"]
    points = [(sample["seconds"] / 3600, sample["rss_mb"]) for sample in warm(samples)]
    if len(points) >= 3:
        slope, error = line(points)
        lines.append(f"RSS after the warm-up: {slope:+.2f} ± {error:.2f} MB an hour over {len(points)} samples")
    highest = {key: max(sample[key] or 0 for sample in [*samples, after]) for key in after}
    lines.append(
        f"RSS: {before['rss_mb']} MB at the start, {last['rss_mb']} under load, {after['rss_mb']} at rest, "
        f"{highest['peak_mb']} at its peak"
    )
    for name in ("descriptors", "sockets", "database_connections", "threads", "tasks", "reservations"):
        lines.append(f"{name}: {before[name]} at the start, at most {highest[name]}, {after[name]} at rest")
    seconds = last["seconds"] - before["seconds"]
    lines.append(f"CPU of the proxy: {100 * (last['cpu_seconds'] - before['cpu_seconds']) / seconds:.1f} % of a core")
    lines.append(
        f"rows: {after['rows']}; database {after['database_mb']} MB; WAL {after['wal_kb']} kB, "
        f"at most {highest['wal_kb']}"
    )
    for (name, outcome), count in sorted(clients.seen.items()):
        lines.append(f"  {count:7} {name}: {outcome}")
    return "\n".join(lines)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="duration of the mix, in minutes")
    parser.add_argument("--rate", type=float, default=20, help="requests per second")
    parser.add_argument("--cycles", type=int, default=0, help="number of disconnects to run instead of the mix")
    parser.add_argument("--accounts", choices=("sqlite", "postgres"), default="sqlite", help="database of the proxy")
    parser.add_argument("--bin", type=Path, default=load.ROOT / "target/release", help="directory of the two binaries")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all samples to FILE")
    parser.add_argument("--max-mb-per-hour", type=float, default=MAX_MB_PER_HOUR, help="maximum slope of the memory")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random choices")
    return parser.parse_args()


COLUMNS = "seconds rss_mb peak_mb threads descriptors sockets database_connections tasks database_mb wal_kb"
COLUMNS += " reservations rows cpu_seconds requests open idle"


def main():
    # Exits like after an error, so that the servers are killed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse_arguments()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context((options.csv or Path(os.devnull)).open("w", newline="", buffering=1))
        writer = csv.DictWriter(file, COLUMNS.split())
        writer.writeheader()
        try:
            text, problems = run(options, stack, writer)
        except Failed as failed:
            note(f"soak failed: {failed}")
            return 1
        except KeyboardInterrupt:
            return 130
    print(text)
    for problem in problems:
        print(f"WRONG: {problem}")
    if not problems:
        print("No leaks, no lost usage.")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
