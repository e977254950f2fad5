#!/usr/bin/env python3
"""Latency of requests while old usage records are deleted. See README.md in this directory."""

import argparse
import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import load
from load import Failed, note

# Rows of one second apart, from this time on.
FILL = {
    "sqlite": """
        INSERT OR IGNORE INTO users (user_id) VALUES ('old');
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
        INSERT INTO metrics (user_id, model, receipt_id, request_id, charged_tokens, created_at)
        SELECT 'old', 'm', 'old' || i, 'old' || i, 1, datetime('2020-01-01', '+' || i || ' seconds') FROM n;
    """,
    "postgres": """
        INSERT INTO users (user_id) VALUES ('old') ON CONFLICT DO NOTHING;
        INSERT INTO metrics (user_id, model, receipt_id, request_id, charged_tokens, created_at)
        SELECT 'old', 'm', 'old' || i, 'old' || i, 1, TIMESTAMP '2020-01-01' + i * INTERVAL '1 second'
        FROM generate_series(1, {rows}) AS i;
        VACUUM ANALYZE metrics;
    """,
}
COUNT = "SELECT COUNT(*) FROM metrics WHERE user_id = 'old'"
# Nothing is that old.
KEEP = {"USAGE_RETENTION_DAYS": "36500"}


class Database:
    def __init__(self, directory, environment):
        self.url, self.path = environment.get("DATABASE_URL"), directory / "data/bedrock-proxy.db"

    def execute(self, statement):
        if not self.url:
            with contextlib.closing(sqlite3.connect(self.path, timeout=60)) as connection:
                connection.executescript(statement)
            return
        for part in filter(str.strip, statement.split(";")):
            subprocess.run(["psql", "-qAt", "-d", self.url, "-c", part], check=True)

    def count(self):
        if not self.url:
            with contextlib.closing(sqlite3.connect(self.path, timeout=60)) as connection:
                return connection.execute(COUNT).fetchone()[0]
        output = subprocess.run(["psql", "-At", "-d", self.url, "-c", COUNT], check=True, capture_output=True, text=True)
        return int(output.stdout)


async def send(address, raw, latencies):
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(raw)
    status = await reader.readline()
    body = await reader.read()
    writer.close()
    latencies.append(time.perf_counter() - started)
    if b" 200 " not in status:
        raise Failed(f"{status.decode()} {body[-300:].decode()}")


async def run_load(address, rate, seconds):
    """Sends requests at a fixed rate, whether or not earlier ones have their response. Returns latencies in ms."""
    case = load.CASES[0]
    request = load.proxy_request(case, address)
    request.headers["Connection"] = "close"
    raw, latencies, tasks = request.raw(), [], []
    started = time.perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0, started + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(send(address, raw, latencies)))
    await asyncio.gather(*tasks)
    return sorted(1000 * latency for latency in latencies)


def measure(stack, directory, binaries, fake_at, environment, options):
    with contextlib.ExitStack() as own:
        _, address = load.start_proxy(own, directory, binaries, fake_at, environment)
        asyncio.run(run_load(address, options.rate, 3))
        latencies = asyncio.run(run_load(address, options.rate, options.seconds))
    return {share: latencies[min(len(latencies) - 1, int(share * len(latencies)))] for share in (0.5, 0.99, 0.999)}


def run(options, stack):
    binaries = options.bin.resolve()
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bedrock-proxy-maintenance-")))
    _, fake_at = load.start_fake(stack, directory, binaries)
    environment = load.accounts(stack, directory, options.accounts)
    with contextlib.ExitStack() as own:
        load.start_proxy(own, directory, binaries, fake_at, environment)
    database = Database(directory, environment)
    note(f"inserting {options.rows} rows")
    started = time.perf_counter()
    database.execute(FILL[options.accounts].format(rows=options.rows))
    note(f"inserted in {time.perf_counter() - started:.0f} s")
    quiet = measure(stack, directory, binaries, fake_at, environment | KEEP, options)
    before = database.count()
    started = time.perf_counter()
    busy = measure(stack, directory, binaries, fake_at, environment, options)
    elapsed, left = time.perf_counter() - started, database.count()
    print(f"{options.accounts}: {before} old rows, {options.rate} requests a second")
    print(f"deleted {before - left} rows in {elapsed:.0f} s")
    for name, times in (("quiet", quiet), ("deleting", busy)):
        print(f"{name:9}", "  ".join(f"p{100 * share:g} {ms:.1f} ms" for share, ms in times.items()))
    if left in (0, before):
        raise Failed(f"{left} of {before} rows are left: the deletion did not run beside the load")
    return busy[0.99] <= 2 * quiet[0.99]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", choices=FILL, default="sqlite", help="database (default: sqlite)")
    parser.add_argument("--rows", type=int, default=10_000_000, help="old rows (default: 10,000,000)")
    parser.add_argument("--rate", type=int, default=100, help="requests a second (default: 100)")
    parser.add_argument("--seconds", type=int, default=20, help="length of each measurement (default: 20)")
    parser.add_argument("--bin", type=Path, default=Path("target/release"), help="directory of the binaries")
    options = parser.parse_args()
    try:
        with contextlib.ExitStack() as stack:
            return 0 if run(options, stack) else 1
    except Failed as failed:
        note(str(failed))
        return 1


if __name__ == "__main__":
    sys.exit(main())
