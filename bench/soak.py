#!/usr/bin/env python3
"""A long mixed use of bedrock-proxy, or many clients who leave, and a look at what stays. See README.md beside this."""

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

# Every this many seconds a sample is taken.
EVERY = 10
# Memory is flat when a straight line through it, after the warm-up, rises by no more than this.
MOST_MB_PER_HOUR = 3.0
# Below so many minutes after the warm-up the line says more about chance than about memory.
JUDGED_MINUTES = 20
# Idle connections to Bedrock are closed after 90 seconds, those of clients after 75.
REST_SECONDS = 150
# Longer than any answer here.
PATIENCE = 60
# Kept open between requests; more than these are closed by their clients.
KEPT = 48
USERS, TEAMS = 24, 4
PLENTY = "500000000000"

# ---------------------------------------------------------------------------------------------------------------------
# What is asked

MARK = "@@@"


@dataclasses.dataclass(frozen=True)
class Kind:
    """One sort of request, how often it comes, and what its client must see."""

    name: str
    weight: float
    prompt: str = "Say hello."
    expect: str = "whole"
    stream: bool = True
    chat: bool = False
    kilobytes: int = 4
    path: str | None = None
    # Who asks: one of the crowd, somebody without a valid token, or somebody without tokens to spend.
    who: str = "crowd"
    leaves: bool = False


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
    Kind("leaves", 10, "[paced 30 5] [slow 20]", expect="left", leaves=True),
    Kind("leaves early", 3, "[slow 300]", expect="left", leaves=True, stream=False),
    Kind("throttled once", 2, "[throttle-once]"),
    Kind("throttled", 1, "[throttle]", expect="429"),
    Kind("throttled midway", 1, "[throttle-mid]", expect="error event"),
    Kind("cut", 1, "[cut]", expect="error event"),
    Kind("refused by Bedrock", 1, "[refuse ValidationException]", expect="400"),
    Kind("bad request", 1, expect="400", path="bad"),
    Kind("made-up model", 1, expect="404", path="made-up"),
    Kind("no such path", 1, expect="404", path="/v1/nothing/@@@"),
    Kind("no token", 2, expect="401", who="nobody"),
    Kind("no tokens left", 1, expect="429", who="poor"),
    Kind("health", 2, expect="200", path="/health"),
    Kind("not HTTP", 0.5, expect="closed", path="garbage"),
]


def template(kind):
    """The body of a request, with marks where something is different each time."""
    case = load.Case(kind.name, f"{kind.prompt} {MARK}", kind.kilobytes << 10, kind.stream, None, 0)
    filler = load.filler_for(case)
    body = load.chat(case, filler) if kind.chat else load.anthropic(case, filler)
    if kind.path and "count_tokens" in kind.path:
        body = {key: value for key, value in body.items() if key not in ("stream", "max_tokens")}
    if kind.path == "bad":
        body |= {"max_tokens": "many"}
    if kind.path == "made-up":
        body |= {"model": f"made-up-{MARK}"}
    if kind.name == "thinking":
        body |= {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    return load.encoded(body)


class RequestBodies:
    """The bytes of requests."""

    def __init__(self, dice):
        self.dice = dice
        self.bodies = {kind.name: template(kind) for kind in KINDS}
        self.tokens = [load.token(f"user{number}", f"team{number % TEAMS}") for number in range(USERS)]
        self.poor = load.token("poor", "team0")
        self.number = 0

    def token(self, kind):
        if kind.who == "nobody":
            return f"{self.tokens[0]}{self.number}"
        if kind.who == "poor":
            return self.poor
        # Now and then somebody who was never here before.
        if self.number % 500 == 0:
            return load.token(f"guest{self.number}", f"team{self.number % TEAMS}")
        return self.dice.choice(self.tokens)

    def raw(self, kind, address):
        self.number += 1
        if kind.path == "garbage":
            return self.dice.randbytes(200) + b"\r\n\r\n"
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
# Who asks


class Stale(Exception):
    """A kept connection was closed by the server before it was used again, as it may."""


async def read_response(reader, fresh):
    """The status, the rest of the head and the body as it came."""
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
            return status, fields, bytes(body) + b"\nevent: cut"
        body += piece
    return status, fields, bytes(body)


def seen(kind, status, body):
    """What the client saw, in the words of `Kind.expect`."""
    if status != 200 or kind.expect == "200":
        return str(status) if status else "closed"
    end = b"[DONE]" if kind.chat and kind.stream else b"event: message_stop" if kind.stream else b'"usage"'
    if b"event: cut" in body:
        return "cut short"
    if body.count(b"event: error") == 1 and b"message_stop" not in body:
        return "error event"
    return "whole" if body.count(end) == 1 else "no end"


class Crowd:
    """Clients of every kind, and what became of their requests."""

    def __init__(self, address, dice):
        self.address, self.dice = address, dice
        self.request_bodies = RequestBodies(dice)
        self.kept = []
        self.seen = collections.Counter()
        self.wrong = collections.Counter()
        self.examples = {}
        self.done = self.open = self.stale = 0

    async def connection(self):
        """One that was kept, or a new one; and whether it is new."""
        while self.kept and self.dice.random() < 0.7:
            reader, writer = self.kept.pop(self.dice.randrange(len(self.kept)))
            if not reader.at_eof():
                return reader, writer, False
            writer.close()
        reader, writer = await asyncio.open_connection(*self.address, limit=1 << 20)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return reader, writer, True

    def keep(self, reader, writer, fields):
        if b"\r\nconnection: close" in fields or len(self.kept) >= KEPT or self.dice.random() < 0.3:
            writer.close()
        else:
            self.kept.append((reader, writer))

    async def send_request(self, kind):
        self.open += 1
        try:
            outcome = await asyncio.wait_for(self.outcome(kind), PATIENCE)
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
        if kind.leaves:
            return await self.leave(kind)
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
            self.keep(reader, writer, fields)
            outcome = seen(kind, status, body)
            if outcome != kind.expect:
                self.examples.setdefault((kind.name, outcome), body[-300:])
            return outcome

    async def leave(self, kind):
        """RequestBodies and goes: in the middle of the request, before the answer, or in the middle of that."""
        raw = self.request_bodies.raw(kind, self.address)
        reader, writer, _ = await self.connection()
        point = self.dice.choice(["head", "body", "sent", "soon", "answer", "answer"])
        part = {"head": self.dice.randrange(1, 120), "body": self.dice.randrange(120, len(raw))}.get(point, len(raw))
        # A server that has closed a kept connection meanwhile is left all the same.
        with contextlib.suppress(ConnectionError):
            writer.write(raw[:part])
            await writer.drain()
            if point == "soon":
                await asyncio.sleep(self.dice.random() * 0.1)
            if point == "answer":
                await self.read_some(reader, self.dice.randrange(1, 6000))
        if self.dice.random() < 0.5:
            # Without a farewell: the kernel says that nobody is there.
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        return "left"

    @staticmethod
    async def read_some(reader, wanted):
        while wanted > 0:
            piece = await reader.read(wanted)
            # An answer that does not stream may be shorter.
            if not piece or piece.endswith((b"0\r\n\r\n", b"}")):
                return
            wanted -= len(piece)

    def go(self):
        """Everybody closes what they kept."""
        for _, writer in self.kept:
            writer.close()
        self.kept.clear()


# ---------------------------------------------------------------------------------------------------------------------
# What stays


class Books:
    """The database as anybody with its password sees it."""

    def __init__(self, directory, url):
        self.directory, self.url = directory, url
        if url:
            places = [os.environ.get("PATH", os.defpath), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))]
            self.psql = shutil.which("psql", path=":".join(places))
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
        """How many the proxy has to the database, this one not counted."""
        if self.url:
            mine = "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            return self.number(f"SELECT COUNT(*) FROM pg_stat_activity {mine}")
        return 0

    def sums(self):
        """[(scope, name, period, tokens)], as counted and as the rows say."""
        charged = (
            "SELECT 'user', user_id, period, SUM(charged_tokens) FROM metrics WHERE charged_tokens > 0 GROUP BY 2, 3"
            " UNION ALL SELECT 'team', team, period, SUM(charged_tokens) FROM metrics"
            " WHERE charged_tokens > 0 AND team IS NOT NULL GROUP BY 2, 3"
        )
        counted = "SELECT scope, name, period, used FROM counters WHERE used > 0"
        return sorted(map(tuple, self.rows(counted))), sorted(map(tuple, self.rows(charged)))

    def tokens(self):
        """Tokens of the rows: those that Bedrock counted, and those that were guessed."""
        total = "input_tokens + output_tokens + cache_read_tokens + cache_write_tokens"
        known = f"SELECT COALESCE(SUM({total}), 0) FROM metrics WHERE NOT estimated"
        guessed = f"SELECT COALESCE(SUM({total}), 0) FROM metrics WHERE estimated"
        return self.number(known), self.number(guessed)

    def count(self):
        return self.number("SELECT COUNT(*) FROM metrics")


class Eye:
    """Looks at the process and at what it keeps."""

    def __init__(self, proxy, address, directory, books):
        self.proxy, self.address, self.directory, self.books = proxy, address, directory, books
        self.token = load.token("eye", "benches", scope="admin:read")
        self.began = time.monotonic()

    def descriptors(self):
        """All of them, and those that are neither the database's nor of files."""
        links = []
        for name in os.listdir(f"/proc/{self.proxy.child.pid}/fd"):
            with contextlib.suppress(OSError):
                links.append(os.readlink(f"/proc/{self.proxy.child.pid}/fd/{name}"))
        return len(links), sum(link.startswith("socket:") for link in links)

    def threads(self):
        return int(re.search(r"Threads:\s+(\d+)", Path(f"/proc/{self.proxy.child.pid}/status").read_text())[1])

    def tasks(self):
        """Tasks of the runtime, where the metrics tell."""
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

    def journal(self):
        return sum(path.stat().st_size for path in (self.directory / "data/journal").glob("*.jsonl"))

    def look(self, crowd=None):
        descriptors, sockets = self.descriptors()
        return {
            "seconds": round(time.monotonic() - self.began, 1),
            "rss_mb": round(self.proxy.memory("VmRSS"), 2),
            "peak_mb": round(self.proxy.memory("VmHWM"), 2),
            "threads": self.threads(),
            "descriptors": descriptors,
            "sockets": sockets,
            "database_connections": self.books.connections(),
            "tasks": self.tasks(),
            "database_mb": round(self.books.size() / 1e6, 2),
            "journal_kb": round(self.journal() / 1e3, 1),
            "reservations": self.books.reservations(),
            "rows": self.books.count(),
            "cpu_seconds": round(self.proxy.cpu(), 2),
            "requests": crowd.done if crowd else 0,
            "open": crowd.open if crowd else 0,
            "kept": len(crowd.kept) if crowd else 0,
        }


def line(points):
    """The slope of the straight line through `points`, and how uncertain it is."""
    xs, ys = zip(*points)
    slope, start = statistics.linear_regression(xs, ys)
    middle = statistics.fmean(xs)
    left = sum((y - start - slope * x) ** 2 for x, y in points) / max(1, len(points) - 2)
    return slope, (left / sum((x - middle) ** 2 for x in xs)) ** 0.5


# ---------------------------------------------------------------------------------------------------------------------
# The course of it


async def use(crowd, eye, options, write):
    """A steady mix for so many minutes. Returns the samples."""
    samples, running = [], set()
    weights = [kind.weight for kind in KINDS]
    end = time.monotonic() + 60 * options.minutes
    following = looking = time.monotonic()
    while (now := time.monotonic()) < end:
        if now >= looking:
            looking += EVERY
            samples.append(await asyncio.to_thread(eye.look, crowd))
            write(samples[-1])
        # Nobody waits for anybody: requests come by chance, so many a second.
        while following <= now and len(running) < 500:
            following += crowd.dice.expovariate(options.rate)
            task = asyncio.create_task(crowd.send_request(crowd.dice.choices(KINDS, weights)[0]))
            running.add(task)
            task.add_done_callback(running.discard)
        # What the machine was too slow for is left out, not made up for.
        following = max(following, now - 1)
        await asyncio.sleep(max(0.001, min(following, looking, end) - time.monotonic()))
    await asyncio.gather(*running)
    return samples


async def leave(crowd, eye, options, write):
    """So many requests whose clients leave, sixty-four at a time."""
    kinds = [kind for kind in KINDS if kind.leaves] + [
        Kind("leaves 200 events", 1, "[long 196]", "left", leaves=True),
        Kind("leaves a chat", 1, "[paced 30 5]", "left", chat=True, leaves=True),
        Kind("leaves 183 KB", 1, "[long 31]", "left", kilobytes=183, leaves=True),
    ]
    for kind in kinds:
        crowd.request_bodies.bodies.setdefault(kind.name, template(kind))
    left = iter(range(options.cycles))

    async def again():
        for number in left:
            await crowd.send_request(crowd.dice.choice(kinds))
            if number % 1000 == 0:
                write(await asyncio.to_thread(eye.look, crowd))

    await asyncio.gather(*(again() for _ in range(64)))
    return [await asyncio.to_thread(eye.look, crowd)]


def free(sample):
    """What is open that does not belong to the database."""
    return sample["sockets"] - sample["database_connections"]


def settle(eye, before):
    """Waits until nothing is left that was not there before, or for as long as that may take."""
    end = time.monotonic() + REST_SECONDS
    while True:
        sample = eye.look()
        more = (sample["tasks"] or 0) > (before["tasks"] or 0)
        if free(sample) <= free(before) and not sample["reservations"] and not more:
            return sample
        if time.monotonic() > end:
            return sample
        time.sleep(1)


def poor(binaries, directory, environment):
    """Somebody who may spend next to nothing."""
    command = [binaries / "bedrock-proxy", "user", "add", "poor", "--limit", "1"]
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
        "DEFAULT_USER_DAILY_TOKENS": PLENTY,
        "LOG_LEVEL": "info",
    }
    poor(binaries, directory, environment)
    proxy, address = load.start_proxy(stack, directory, binaries, fake_at, environment)
    books = Books(directory, environment.get("DATABASE_URL"))
    eye, crowd = Eye(proxy, address, directory, books), Crowd(address, random.Random(options.seed))

    def write(sample):
        writer.writerow(sample)
        note(" ".join(f"{key}={value}" for key, value in sample.items()))

    before = eye.look()
    write(before)
    course = leave if options.cycles else use
    samples = asyncio.run(through(course, crowd, eye, options, write))
    note("everybody has left")
    after = settle(eye, before)
    write(after)
    problems = left_over(before, after) + seen_wrong(crowd)
    if not options.cycles:
        problems += memory(samples, options)
    problems += accounts(books, proxy, fake)
    problems += once(stack, directory, binaries, fake_at, environment, books)
    return summary(options, crowd, before, samples, after), problems


async def through(course, crowd, eye, options, write):
    samples = await course(crowd, eye, options, write)
    crowd.go()
    # Closed connections are told so before the loop ends.
    await asyncio.sleep(0.2)
    return samples


# ---------------------------------------------------------------------------------------------------------------------
# What it came to


def left_over(before, after):
    """What is there after everybody has left that was not there before."""
    problems = []
    if after["reservations"]:
        problems.append(f"{after['reservations']} reservations are left")
    if free(after) > free(before):
        problems.append(f"{free(after)} connections are open that are not the database's; {free(before)} at the start")
    files = [sample["descriptors"] - sample["sockets"] for sample in (before, after)]
    # The database's own files are opened when they are first needed.
    if files[1] > files[0] + 8:
        problems.append(f"{files[1]} files are open, {files[0]} at the start")
    if (after["tasks"] or 0) > (before["tasks"] or 0):
        problems.append(f"{after['tasks']} tasks are alive, {before['tasks']} at the start")
    return problems


def seen_wrong(crowd):
    return [
        f"{count} × {name}: {outcome} {crowd.examples.get((name, outcome), b'').decode(errors='replace')}".strip()
        for (name, outcome), count in sorted(crowd.wrong.items())
    ]


def warm(samples):
    """Those after the warm-up: a quarter of an hour, or a quarter of a shorter run."""
    begin = min(900, samples[-1]["seconds"] / 4)
    return [sample for sample in samples if sample["seconds"] >= begin]


def memory(samples, options):
    """Whether the memory is flat."""
    points = [(sample["seconds"] / 3600, sample["rss_mb"]) for sample in warm(samples)]
    minutes = 60 * (points[-1][0] - points[0][0])
    if minutes < JUDGED_MINUTES:
        note(f"{minutes:.0f} minutes after the warm-up are too few to judge the slope of the memory")
        return []
    slope, _ = line(points)
    if slope > options.most_mb_per_hour:
        return [f"memory grows by {slope:.1f} MB an hour, more than {options.most_mb_per_hour}"]
    return []


def stop(process):
    """SIGTERM, and what the process ended with."""
    process.child.terminate()
    try:
        return process.child.wait(timeout=60)
    except subprocess.TimeoutExpired:
        return "nothing: it goes on"


def accounts(books, proxy, fake):
    """Whether the process ends well, and the books are right then."""
    problems = []
    if (code := stop(proxy)) != 0:
        problems.append(f"SIGTERM ended the proxy with {code}: {proxy.log_text()[-1000:]}")
    counted, charged = books.sums()
    if counted != charged:
        different = sorted(set(counted) ^ set(charged))
        problems.append(f"the counters are not the sums of the rows: {different[:6]}")
    stop(fake)
    given = json.loads(fake.child.stdout.readline() or "{}").get("tokens")
    known, guessed = books.tokens()
    note(f"tokens: {given} given by Bedrock, {known} in the rows, {guessed} more were guessed")
    # What nobody could count was guessed high, and nothing else is missing.
    if given is None or not known <= given <= known + guessed:
        problems.append(f"Bedrock gave {given} tokens; the rows have {known}, and {guessed} that were guessed")
    return problems


def once(stack, directory, binaries, fake_at, environment, books):
    """Whether the next process has nothing to add to what the last one wrote down."""
    before = books.sums()[0], books.count(), books.tokens()
    proxy, _ = load.start_proxy(stack, directory, binaries, fake_at, environment)
    # What was left in the journal is stored before the segments that held it are deleted.
    for _ in range(100):
        if len(list((directory / "data/journal").glob("*.jsonl"))) <= 1:
            break
        time.sleep(0.1)
    code = stop(proxy)
    after = books.sums()[0], books.count(), books.tokens()
    problems = [] if code == 0 else [f"SIGTERM ended the second process with {code}"]
    if before != after:
        problems.append(f"the next process changed the books: {before[1:]} became {after[1:]}")
    return problems


def summary(options, crowd, before, samples, after):
    last = samples[-1]
    lines = [f"{crowd.done} requests in {last['seconds'] / 60:.1f} minutes, {crowd.stale} kept connections were stale"]
    points = [(sample["seconds"] / 3600, sample["rss_mb"]) for sample in warm(samples)]
    if len(points) >= 3:
        slope, doubt = line(points)
        lines.append(f"RSS after the warm-up: {slope:+.2f} ± {doubt:.2f} MB an hour over {len(points)} samples")
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
        f"rows: {after['rows']}; database {after['database_mb']} MB; journal {after['journal_kb']} kB, "
        f"at most {highest['journal_kb']}"
    )
    for (name, outcome), count in sorted(crowd.seen.items()):
        lines.append(f"  {count:7} {name}: {outcome}")
    return "\n".join(lines)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long the mix goes on")
    parser.add_argument("--rate", type=float, default=20, help="requests a second")
    parser.add_argument("--cycles", type=int, default=0, help="instead: so many requests whose clients leave")
    parser.add_argument("--accounts", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--bin", type=Path, default=load.ROOT / "target/release", help="where the two binaries are")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all samples to FILE")
    parser.add_argument("--most-mb-per-hour", type=float, default=MOST_MB_PER_HOUR, help="more is not flat")
    parser.add_argument("--seed", type=int, default=1, help="of the dice")
    return parser.parse_args()


COLUMNS = "seconds rss_mb peak_mb threads descriptors sockets database_connections tasks database_mb journal_kb"
COLUMNS += " reservations rows cpu_seconds requests open kept"


def main():
    # Ends like any error: servers are killed on the way out.
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
        print("Nothing stayed, nothing was lost.")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
