"""Claude Code itself against `bedrock-proxy demo`, and an account of what it sent.

Exit code 0 means that every session went as its row says: an ordinary one prints the answer and sees no error at all.
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
from relay import PATIENCE, Relay, demo, raise_loopback  # noqa: E402

CLAUDE = HERE / "node_modules" / ".bin" / "claude"

# One red pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
FILES = {"README.md": b"Read me first.\n", "pixel.png": base64.b64decode(PNG)}
WORDS_BEYOND_THE_WINDOW = "word " * 220_000
# Alone they fit, twice they do not.
MANY_WORDS = "word " * 100_000


@dataclasses.dataclass
class Session:
    """One call of `claude -p`, and what has to come of it."""

    arguments: list[str]
    prompt: str
    # What the printed answer has to hold.
    expected: str
    stdin: str | None = None
    # Whether Claude Code speaks Bedrock's language to the proxy instead of Anthropic's.
    bedrock: bool = False
    code: int = 0
    # What every refusal has to say, and there has to be one; an ordinary session sees none.
    refusal: str | None = None
    # What the requests have to show: the words for it, and the question.
    shows: tuple[str, typing.Callable[[list[dict]], bool]] | None = None
    # Why it cannot pass yet. A session that passes all the same fails, so that this does not outlive its reason.
    fails: str | None = None

    def __str__(self):
        kind = "CLAUDE_CODE_USE_BEDROCK=1 " if self.bedrock else ""
        source = f" < {len(self.stdin)} characters" if self.stdin else ""
        return f"{kind}claude -p {self.prompt!r} {' '.join(self.arguments)}{source}"


def blocks(seen):
    """Every content block of a request, with those inside of tool results."""
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


def asked_for(path):
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
    # The thinking of the turn before goes back, and fake-bedrock checks its seal.
    Session([*SONNET, "--continue"], "say ok", ECHO_OK),
    # fake-bedrock asks for `ls -la`, Claude Code runs it and sends back what it printed.
    Session(BASH, "[tool] please", "The tool sent: total"),
    Session(READ, "[tool] please", "Read me first."),
    # Two calls in one answer: both are run, and both results go back in one message.
    Session(
        ["--tools", "Read,Glob", "--allowedTools", "Read,Glob"],
        "[tools] please",
        "Read me first.",
        shows=last_turn_has("tool_result", 2),
    ),
    # Most of Claude Code's tools stay away until it has looked for them itself.
    Session([], "[tool ToolSearch] WebFetch", "WebFetch is loaded", shows=some_request_has("tool_reference")),
    Session(SONNET, "[tool ToolSearch] WebFetch", "WebFetch is loaded", shows=some_request_has("tool_reference")),
    Session(IN_JSON, "", "I see 1 image (image/png", stdin=SHOWN, shows=some_request_has("image")),
    Session(["--effort", "high"], "say ok", ECHO_OK),
    Session([], "/context", "Context Usage", shows=asked_for("/v1/messages/count_tokens")),
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

# Where a refusal is the right answer, and Claude Code has to make something of it.
REFUSED = [
    # Claude Code lets the model search by a request of its own, whose only tool is one that Anthropic runs.
    Session(
        ["--tools", "WebSearch", "--allowedTools", "WebSearch"],
        "[tool WebSearch] please",
        "The tool sent:",
        refusal="tool type 'web_search_20250305' is not supported",
    ),
    Session(
        OLD_SONNET, "", "Prompt is too long", stdin=WORDS_BEYOND_THE_WINDOW, code=1, refusal="prompt is too long: "
    ),
    Session(OLD_SONNET, "say ok", ECHO_OK),
    Session([*OLD_SONNET, "--continue"], "", "You sent: word", stdin=MANY_WORDS),
    # Here it makes a summary and tries again with that.
    Session(
        [*OLD_SONNET, "--continue"],
        "",
        "You sent: word",
        stdin=MANY_WORDS,
        refusal="prompt is too long: ",
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
        (ORDINARY[0], asked_for("/bedrock/model/us.anthropic.claude-opus-5-5/invoke-with-response-stream")),
        (ORDINARY[1], asked_for("/bedrock/inference-profiles")),
        *((session, session.shows) for session in ORDINARY[2:12]),
        *((session, session.shows) for session in LONG[:7] + REFUSED[1:6]),
    ]
] + [
    Session(
        ["--model", "sonnet"],
        "/context",
        "Context Usage",
        bedrock=True,
        shows=asked_for(f"{OF_SONNET}/count-tokens"),
    ),
    # Bedrock does not count for its newer models; the proxy then makes estimates.
    Session([], "/context", "Context Usage", bedrock=True, shows=asked_for("/bedrock/model/anthropic.claude-opus-5-5/count-tokens")),
]

SESSIONS = [*ORDINARY, *LONG, *REFUSED, *BEDROCK]


def environment(home, port, bedrock):
    """Nothing of this machine: no account, no settings, no way out."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home / "config"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        **(of_bedrock(port) if bedrock else {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}"}),
        "ANTHROPIC_AUTH_TOKEN": "x",
        # Where the network could not be taken away, nobody listens here.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def of_bedrock(port):
    return {
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1",
        "ANTHROPIC_BEDROCK_BASE_URL": f"http://127.0.0.1:{port}/bedrock",
    }


def complaints(session, code, printed, requests):
    """What did not go as it has to."""
    found = []
    if code != session.code:
        found.append(f"the exit code is {code}")
    if session.expected not in printed:
        found.append(f"it did not print {session.expected!r}")
    errors = [seen["error"] or seen["line"] for seen in requests if seen["error"] or seen["status"] >= 400]
    if session.refusal is None and errors:
        found.append(f"{len(errors)} of {len(requests)} requests failed")
    elif session.refusal and not errors:
        found.append("nothing was refused")
    elif session.refusal and not all(session.refusal in error for error in errors):
        found.append(f"something else than {session.refusal!r} was refused")
    if session.shows and not session.shows[1](requests):
        found.append(f"the requests do not show {session.shows[0]}")
    return found


def send_request(session, home, work, relay):
    """The exit code and what was printed."""
    # An end of file at once, for a session that reads nothing: an open standard input would be waited for.
    given = {"input": session.stdin} if session.stdin else {"stdin": subprocess.DEVNULL}
    try:
        done = subprocess.run(
            [CLAUDE, "-p", *([session.prompt] if session.prompt else []), *session.arguments],
            env=environment(home, relay.server_port, session.bedrock),
            cwd=work,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            **given,
        )
    except subprocess.TimeoutExpired:
        return None, f"nothing within {PATIENCE} s"
    return done.returncode, f"{done.stdout}{done.stderr}".strip()


def run(session, home, work, relay):
    """Whether it went as it has to."""
    relay.requests.clear()
    started = time.monotonic()
    code, printed = send_request(session, home, work, relay)
    seconds = time.monotonic() - started
    requests = relay.settled()
    found = complaints(session, code, printed, requests)
    if session.fails:
        verdict = f"fails, as known: {session.fails}" if found else "FAILED: it passes now, so take the mark off"
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
    print(f"\n{sum(passed)} of {len(SESSIONS)} sessions went as they have to")
    return 0 if all(passed) else 1


sys.exit(main())
