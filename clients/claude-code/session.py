"""Runs Claude Code against `bedrock-proxy demo` and prints its requests.

Exit code 0: every session had the expected outcome. An ordinary session prints the response and gets no error.
"""

import base64
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import typing

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from relay import TIMEOUT, Relay, demo, raise_loopback  # noqa: E402

CLAUDE = HERE / "node_modules" / ".bin" / "claude"

# One red pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
FILES = {"README.md": b"Read me first.\n", "pixel.png": base64.b64decode(PNG)}
WORDS_BEYOND_THE_WINDOW = "word " * 220_000
# Fits into the context window once, but not twice.
MANY_WORDS = "word " * 100_000


@dataclasses.dataclass
class Session:
    """One call of `claude -p` with its expected outcome."""

    arguments: list[str]
    prompt: str
    # Text that the output has to contain.
    expected: str
    stdin: str | None = None
    # Whether Claude Code uses the Bedrock API of the proxy instead of the Messages API.
    bedrock: bool = False
    code: int = 0
    # Text of every error response, of which there has to be one; None for no error.
    rejection: str | None = None
    # Check of the requests: its description and the predicate.
    shows: tuple[str, typing.Callable[[list[dict]], bool]] | None = None
    # Reason of a known failure. A session that passes although this is set fails.
    fails: str | None = None

    def __str__(self):
        kind = "CLAUDE_CODE_USE_BEDROCK=1 " if self.bedrock else ""
        source = f" < {len(self.stdin)} characters" if self.stdin else ""
        return f"{kind}claude -p {self.prompt!r} {' '.join(self.arguments)}{source}"


def blocks(seen):
    """All content blocks of a request, including those in tool results."""
    for message in seen["body"].get("messages", []):
        for block in message["content"] if isinstance(message["content"], list) else []:
            yield block
            yield from (inner for inner in block.get("content") or [] if isinstance(inner, dict))


def last_turn_has(kind, count):
    def look(requests):
        message = [message for message in requests[-1]["body"]["messages"] if message["role"] == "user"][-1]
        return sum(block["type"] == kind for block in message["content"]) == count

    return f"{count} {kind} in the last message", look


def some_request_has(kind):
    def look(requests):
        return any(block["type"] == kind for seen in requests for block in blocks(seen))

    return f"a block {kind}", look


def request_for(path):
    return f"a request for {path}", lambda requests: any(f" {path}" in seen["line"] for seen in requests)


READS_THE_CACHE = ("a prompt that is read from the cache", lambda requests: requests[-1]["cache_read"] > 1024)
COMPACTS = (
    "a shorter conversation at the end",
    lambda requests: requests[-1]["size"] < max(seen["size"] for seen in requests),
)
SHOWN = json.dumps(
    {
        "type": "user",
        "message": {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                {"type": "text", "text": "What is this?"},
            ],
        },
    }
)
IN_JSON = ["--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]

ECHO_OK = "You sent: say ok"
SONNET = ["--model", "claude-sonnet-4-6"]
OLD_SONNET = ["--model", "claude-sonnet-4-5"]
BASH = ["--tools", "Bash", "--allowedTools", "Bash"]
READ = ["--tools", "Read", "--allowedTools", "Read"]

ORDINARY = [
    Session([], "say ok", ECHO_OK),
    Session(["--model", "sonnet"], "say ok", ECHO_OK),
    Session(["--model", "haiku"], "say ok", ECHO_OK),
    Session(["--model", "claude-opus-4-8"], "say ok", ECHO_OK),
    Session(SONNET, "[thinking] please", "I have thought about it."),
    # Claude Code sends the thinking of the previous turn back; fake-bedrock checks its signature.
    Session([*SONNET, "--continue"], "say ok", ECHO_OK),
    # fake-bedrock calls `ls -la`; Claude Code runs it and sends its output back.
    Session(BASH, "[tool] please", "The tool sent: total"),
    Session(READ, "[tool] please", "Read me first."),
    # Two calls in one response: both results go back in one message.
    Session(
        ["--tools", "Read,Glob", "--allowedTools", "Read,Glob"],
        "[tools] please",
        "Read me first.",
        shows=last_turn_has("tool_result", 2),
    ),
    # Claude Code defers most of its tools until a tool search loads them.
    Session([], "[tool ToolSearch] WebFetch", "WebFetch is loaded", shows=some_request_has("tool_reference")),
    Session(SONNET, "[tool ToolSearch] WebFetch", "WebFetch is loaded", shows=some_request_has("tool_reference")),
    Session(IN_JSON, "", "I see 1 image (image/png", stdin=SHOWN, shows=some_request_has("image")),
    Session(["--effort", "high"], "say ok", ECHO_OK),
    Session([], "/context", "Context Usage", shows=request_for("/v1/messages/count_tokens")),
]

# One conversation.
LONG = [
    Session(["--continue"] * (turn > 0) + arguments, f"{word} turn {turn}", expected, shows=shows)
    for turn, (word, arguments, expected, shows) in enumerate(
        [
            ("say", [], "turn 0", None),
            ("say", [], "turn 1", READS_THE_CACHE),
            ("[tool Bash]", ["--allowedTools", "Bash"], "The tool sent: total", READS_THE_CACHE),
            ("[thinking]", [], "I have thought about it.", READS_THE_CACHE),
            ("[tool Read]", ["--allowedTools", "Read"], "Read me first.", READS_THE_CACHE),
            ("[redacted]", [], "", READS_THE_CACHE),
            ("[tool ToolSearch]", [], "The tool sent:", READS_THE_CACHE),
            ("[max_tokens]", [], "", None),
            ("say", SONNET, "turn 8", None),
            ("say", [], "turn 9", None),
        ]
    )
]

# Sessions with an expected error, which Claude Code has to handle.
REJECTED = [
    # Claude Code searches with a separate request, whose only tool is a server tool of Anthropic.
    Session(
        ["--tools", "WebSearch", "--allowedTools", "WebSearch"],
        "[tool WebSearch] please",
        "The tool sent:",
        rejection="tool type 'web_search_20250305' is not supported",
    ),
    Session(
        OLD_SONNET, "", "Prompt is too long", stdin=WORDS_BEYOND_THE_WINDOW, code=1, rejection="prompt is too long: "
    ),
    Session(OLD_SONNET, "say ok", ECHO_OK),
    Session([*OLD_SONNET, "--continue"], "", "You sent: word", stdin=MANY_WORDS),
    # Claude Code compacts the conversation and retries.
    Session(
        [*OLD_SONNET, "--continue"],
        "",
        "You sent: word",
        stdin=MANY_WORDS,
        rejection="prompt is too long: ",
        shows=COMPACTS,
    ),
    Session([*OLD_SONNET, "--continue"], "say ok", ECHO_OK),
    Session([*OLD_SONNET, "--continue"], "/compact", ""),
    Session([*OLD_SONNET, "--continue"], "say ok", ECHO_OK),
]

OF_SONNET = "/bedrock/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0"
BEDROCK = [
    dataclasses.replace(session, bedrock=True, shows=shows)
    for session, shows in [
        (ORDINARY[0], request_for("/bedrock/model/us.anthropic.claude-opus-5-5/invoke-with-response-stream")),
        (ORDINARY[1], request_for("/bedrock/inference-profiles")),
        *((session, session.shows) for session in ORDINARY[2:12]),
        *((session, session.shows) for session in LONG[:7] + REJECTED[1:6]),
    ]
] + [
    Session(
        ["--model", "sonnet"],
        "/context",
        "Context Usage",
        bedrock=True,
        shows=request_for(f"{OF_SONNET}/count-tokens"),
    ),
    # Bedrock does not count tokens for newer models; the proxy estimates them.
    Session([], "/context", "Context Usage", bedrock=True, shows=request_for("/bedrock/model/anthropic.claude-opus-5-5/count-tokens")),
]

SESSIONS = [*ORDINARY, *LONG, *REJECTED, *BEDROCK]


def environment(home, port, bedrock):
    """Environment without accounts, settings or network access of this machine."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home / "config"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        **(of_bedrock(port) if bedrock else {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}"}),
        "ANTHROPIC_AUTH_TOKEN": "x",
        # Without a network namespace, this unused port blocks other connections.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def of_bedrock(port):
    return {
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1",
        "ANTHROPIC_BEDROCK_BASE_URL": f"http://127.0.0.1:{port}/bedrock",
    }


def failures(session, code, printed, requests):
    """Returns the differences from the expected outcome."""
    found = []
    if code != session.code:
        found.append(f"the exit code is {code}")
    if session.expected not in printed:
        found.append(f"it did not print {session.expected!r}")
    errors = [seen["error"] or seen["line"] for seen in requests if seen["error"] or seen["status"] >= 400]
    if session.rejection is None and errors:
        found.append(f"{len(errors)} of {len(requests)} requests failed")
    elif session.rejection and not errors:
        found.append("no request was rejected")
    elif session.rejection and not all(session.rejection in error for error in errors):
        found.append(f"a request was rejected without {session.rejection!r}")
    if session.shows and not session.shows[1](requests):
        found.append(f"the requests do not show {session.shows[0]}")
    return found


def send_request(session, home, work, relay):
    """Returns the exit code and the output."""
    # Without input, standard input is closed: the client would wait for it.
    given = {"input": session.stdin} if session.stdin else {"stdin": subprocess.DEVNULL}
    try:
        done = subprocess.run(
            [CLAUDE, "-p", *([session.prompt] if session.prompt else []), *session.arguments],
            env=environment(home, relay.server_port, session.bedrock),
            cwd=work,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            **given,
        )
    except subprocess.TimeoutExpired:
        return None, f"no exit within {TIMEOUT} s"
    return done.returncode, f"{done.stdout}{done.stderr}".strip()


def run(session, home, work, relay):
    """Runs a session, prints a report, and returns whether it had the expected outcome."""
    relay.requests.clear()
    started = time.monotonic()
    code, printed = send_request(session, home, work, relay)
    seconds = time.monotonic() - started
    requests = relay.settled()
    found = failures(session, code, printed, requests)
    if session.fails:
        verdict = f"fails, as known: {session.fails}" if found else "FAILED: it passes now; remove `fails`"
    else:
        verdict = f"FAILED: {'; '.join(found)}" if found else "ok"
    print(f"\n{session}\n  {verdict}")
    print(f"  exit code {code} after {seconds:.1f} s, {len(requests)} requests; it printed:")
    print("    " + printed[-1500:].replace("\n", "\n    "))
    for number, seen in enumerate(requests, 1):
        print(f"  {number}. {seen['line']}")
        for name in ("request", "beta", "notice", "error"):
            if seen[name] and (name == "error" or number == 1 or seen["body"] and not requests[number - 2]["body"]):
                print(f"     {name}: {seen[name]}")
    return bool(found) == bool(session.fails)


def main():
    if "--own-network" in sys.argv:
        raise_loopback()
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        home, work = directory / "home", directory / "work"
        home.mkdir()
        work.mkdir()
        for name, content in FILES.items():
            (work / name).write_bytes(content)
        process, port = demo(directory)
        try:
            relay = Relay(port)
            passed = [run(session, home, work, relay) for session in SESSIONS]
        finally:
            process.terminate()
            process.wait(timeout=10)
    print(f"\n{sum(passed)} of {len(SESSIONS)} sessions had the expected outcome")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
