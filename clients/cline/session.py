"""Runs the command line of Cline against `bedrock-proxy demo` and prints its requests.

Exit code 0: every session had the expected outcome: it prints the response and gets no error.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from relay import TIMEOUT, Relay, demo, raise_loopback  # noqa: E402

AT_ONCE = 4

CLINE = HERE / "node_modules" / ".bin" / "cline"

SONNET = "claude-sonnet-4-6"
# A model whose thinking has a budget.
OLD_SONNET = "claude-sonnet-4-5"


@dataclasses.dataclass
class Session:
    """One task for Cline with its expected outcome."""

    prompt: str
    # Text that the output has to contain.
    expected: str
    # Path of the base URL, and the resulting path of requests.
    base: str = "/v1"
    path: str = "/v1/messages"
    model: str = SONNET
    # Provider of Cline: "anthropic" or "openai-compatible".
    provider: str = "anthropic"
    arguments: tuple[str, ...] = ()
    # Minimum number of requests.
    requests: int = 1
    # Reason of a known failure. A session that passes although this is set fails.
    fails: str | None = None

    def __str__(self):
        where = f"http://proxy{self.base} ({self.provider})"
        return f"cline {self.prompt!r} {' '.join(self.arguments)} with {self.model} at {where}"


def compatible(prompt, expected, base, **more):
    """A session of the provider "OpenAI Compatible"."""
    path = f"{base}/chat/completions"
    return Session(prompt, expected, base=base, path=path, provider="openai-compatible", **more)


SESSIONS = [
    Session("say ok", "say ok"),
    # A base URL without /v1 arrives as /messages.
    Session("say ok", "say ok", base="", path="/messages"),
    Session("say ok", "say ok", model="claude-opus-5-5"),
    Session("say ok", "say ok", model=OLD_SONNET),
    Session("[thinking] please", "I have thought about it."),
    Session("[thinking] please", "I have thought about it.", arguments=("--thinking", "high")),
    Session("say ok", "say ok", arguments=("--thinking", "none")),
    Session("[tool read_files] please", "Read me first.", requests=2),
    # Cline does not send thinking back, although some models require it.
    Session("[tool read_files] please", "Read me first.", arguments=("--thinking", "high"), requests=2),
    Session(
        "[tool read_files] please",
        "The tool sent:",
        model=OLD_SONNET,
        arguments=("--thinking", "high"),
        requests=2,
    ),
    Session("[tools] please", "The tool sent:", requests=2),
    compatible("say ok", "say ok", "/v1"),
    # The base URL of older instructions: the address of the Messages API.
    compatible("say ok", "say ok", "/v1/messages"),
    compatible("[tool read_files] please", "Read me first.", "/v1", requests=2),
    compatible("[tool read_files] please", "Read me first.", "/v1/messages", requests=2),
    compatible("[tools] please", "The tool sent:", "/v1/messages", model=OLD_SONNET, requests=2),
    compatible("[thinking] please", "I have thought about it.", "/v1", arguments=("--thinking", "high")),
    compatible(
        "[tool read_files] please",
        "The tool sent:",
        "/v1/messages",
        model=OLD_SONNET,
        arguments=("--thinking", "high"),
        requests=2,
    ),
]


def environment(home):
    """Environment without accounts, settings or network access of this machine."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "NO_COLOR": "1",
        "CLINE_NO_AUTO_UPDATE": "1",
        "CLINE_TELEMETRY_DISABLED": "1",
        # Without a network namespace, this unused port blocks other connections.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def set_up(data, session, port):
    """Writes the settings of `cline auth`, with a base URL that it does not support for this provider."""
    settings = {
        "provider": session.provider,
        "apiKey": "key",
        "model": session.model,
        "baseUrl": f"http://127.0.0.1:{port}{session.base}",
    }
    of_provider = {"settings": settings, "updatedAt": "2026-01-01T00:00:00.000Z", "tokenSource": "manual"}
    used = session.provider
    providers = {"version": 1, "lastUsedProvider": used, "modes": {}, "providers": {used: of_provider}}
    (data / "settings").mkdir(parents=True, exist_ok=True)
    (data / "settings" / "providers.json").write_text(json.dumps(providers))


def ours(home):
    """Remaining processes of Cline, found by their HOME."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                yield int(process.name)
        except OSError:
            pass


def reap(home):
    for process in ours(home):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass


def send_request(session, home, data, work):
    """Returns the exit code and the output."""
    command = [CLINE, "--data-dir", data, "--cwd", work, "--timeout", str(TIMEOUT), *session.arguments, session.prompt]
    with tempfile.TemporaryFile("w+") as printed:
        # A file instead of a pipe, which remaining processes of Cline would keep open.
        try:
            done = subprocess.run(
                command,
                env=environment(home),
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT,
            )
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = None
        printed.seek(0)
        return code, printed.read().strip()


def failures(session, code, printed, requests):
    """Returns the differences from the expected outcome."""
    found = []
    if code != 0:
        found.append(f"the exit code is {code}")
    if session.expected not in printed:
        found.append(f"it did not print {session.expected!r}")
    if len(requests) < session.requests:
        found.append(f"there were {len(requests)} requests only")
    if errors := [seen for seen in requests if seen["error"] or seen["status"] >= 400]:
        found.append(f"{len(errors)} of {len(requests)} requests failed")
    for seen in requests:
        if seen["line"].split()[:2] != ["POST", session.path]:
            found.append(f"it requested {seen['line']}")
        keys = (seen["headers"]["x-api-key"], seen["headers"]["authorization"])
        if keys != (("key", None) if session.provider == "anthropic" else (None, "Bearer key")):
            found.append("the key is not where this provider has it")
    return found


def run(session, directory, work, port):
    """Runs a session and returns whether it had the expected outcome, and the report."""
    relay = Relay(port)
    home = pathlib.Path(tempfile.mkdtemp(prefix="home-", dir=directory))
    data = home / "data"
    set_up(data, session, relay.server_port)
    started = time.monotonic()
    try:
        code, printed = send_request(session, home, data, work)
    finally:
        reap(home)
    seconds = time.monotonic() - started
    requests = relay.settled()
    found = failures(session, code, printed, requests)
    if session.fails:
        verdict = f"fails, as known: {session.fails}" if found else "FAILED: it passes now; remove `fails`"
    else:
        verdict = f"FAILED: {'; '.join(found)}" if found else "ok"
    lines = [
        f"\n{session}",
        f"  {verdict}",
        f"  exit code {code} after {seconds:.1f} s, {len(requests)} requests; it printed:",
        "    " + printed[-1500:].replace("\n", "\n    "),
    ]
    for number, seen in enumerate(requests, 1):
        lines.append(f"  {number}. {seen['line']}")
        for name in ("request", "beta", "notice", "error"):
            if seen[name] and (name == "error" or number == 1):
                lines.append(f"     {name}: {seen[name]}")
    return bool(found) == bool(session.fails), "\n".join(lines)


def main():
    if "--own-network" in sys.argv:
        raise_loopback()
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        work = directory / "work"
        work.mkdir()
        (work / "README.md").write_text("Read me first.\n")
        process, port = demo(directory)
        try:
            passed = []
            # Cline mostly waits for network timeouts, so sessions run concurrently.
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                for fine, account in pool.map(lambda session: run(session, directory, work, port), SESSIONS):
                    print(account, flush=True)
                    passed.append(fine)
        finally:
            process.terminate()
            process.wait(timeout=10)
    print(f"\n{sum(passed)} of {len(SESSIONS)} sessions had the expected outcome")
    return 0 if all(passed) else 1


sys.exit(main())
