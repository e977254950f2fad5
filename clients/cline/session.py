"""The command line of Cline against `bedrock-proxy demo`, and an account of what it sent.

Exit code 0 means that every session went as its row says: each prints its answer and sees no error at all.
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
from relay import PATIENCE, Relay, demo, raise_loopback  # noqa: E402

AT_ONCE = 4

CLINE = HERE / "node_modules" / ".bin" / "cline"

SONNET = "claude-sonnet-4-6"
# Of the models whose thinking has a budget.
OLD_SONNET = "claude-sonnet-4-5"


@dataclasses.dataclass
class Session:
    """One task for Cline, and what has to come of it."""

    prompt: str
    # What the printed answer has to hold.
    expected: str
    # What follows the origin in the base URL, and the path that requests then have.
    base: str = "/v1"
    path: str = "/v1/messages"
    model: str = SONNET
    # Which of Cline's providers: Anthropic's, or the one for everything OpenAI-shaped.
    provider: str = "anthropic"
    arguments: tuple[str, ...] = ()
    # At least so many requests.
    requests: int = 1
    # Why it cannot pass yet. A session that passes all the same fails, so that this does not outlive its reason.
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
    # Cline keeps no thinking for the next round of a task, whether the model has to begin with some or not.
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
    # The recipe of old: the address of the Messages API itself.
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
    """Nothing of this machine: no account, no settings, no way out."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "NO_COLOR": "1",
        "CLINE_NO_AUTO_UPDATE": "1",
        "CLINE_TELEMETRY_DISABLED": "1",
        # Where the network could not be taken away, nobody listens here.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def set_up(data, session, port):
    """What `cline auth` writes, with the base URL that it does not take for this provider."""
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
    """The processes that Cline leaves behind, which no other program can be: they have our home."""
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
    """The exit code and what was printed."""
    command = [CLINE, "--data-dir", data, "--cwd", work, "--timeout", str(PATIENCE), *session.arguments, session.prompt]
    with tempfile.TemporaryFile("w+") as printed:
        # A file and no pipe: what Cline leaves behind would keep a pipe open.
        try:
            done = subprocess.run(
                command,
                env=environment(home),
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
            )
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = None
        printed.seek(0)
        return code, printed.read().strip()


def complaints(session, code, printed, requests):
    """What did not go as it has to."""
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
            found.append(f"it asked {seen['line']}")
        keys = (seen["headers"]["x-api-key"], seen["headers"]["authorization"])
        if keys != (("key", None) if session.provider == "anthropic" else (None, "Bearer key")):
            found.append("the key is not where this provider has it")
    return found


def run(session, directory, work, port):
    """Whether it went as it has to, and the account of it."""
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
    found = complaints(session, code, printed, requests)
    if session.fails:
        verdict = f"fails, as known: {session.fails}" if found else "FAILED: it passes now, so take the mark off"
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
            # Most of its time Cline waits for a network that is not there.
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                for fine, account in pool.map(lambda session: run(session, directory, work, port), SESSIONS):
                    print(account, flush=True)
                    passed.append(fine)
        finally:
            process.terminate()
            process.wait(timeout=10)
    print(f"\n{sum(passed)} of {len(SESSIONS)} sessions went as they have to")
    return 0 if all(passed) else 1


sys.exit(main())
