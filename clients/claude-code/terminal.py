"""Claude Code in a terminal, as a new user has it: in its default permission mode (auto), with its own screens.

Each session has a proxy and a fake Bedrock of its own. Exit code 0 means that the screens and the requests of every session
were as they have to be: no request refused, no dialog about the gateway, and what Claude Code wanted checked was run, or
put to the user.
"""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from relay import Fake, Relay, command, raise_loopback, serve  # noqa: E402
from session import CLAUDE, FILES, environment  # noqa: E402

# What Claude Code says when it holds the gateway to be at fault, in each of its dialogs and lines.
BLAMES = re.compile(r"isn't compatible|your requests go through|can't check actions|isn't eligible|ask (your|whoever runs)", re.I)
# Not one of the commands that auto mode runs without a check.
CHECKED = "python3 -c \"open('released.txt','w').write('x')\""
ASKED = "Auto mode couldn't check this action, so it needs your approval"
SECONDS = 40


class Wrong(Exception):
    """What is not as it has to be."""


class Terminal:
    """Claude Code inside of tmux."""

    def __init__(self, directory, work, variables):
        self.socket = directory / "tmux.sock"
        assignments = [f"{name}={value}" for name, value in variables.items()]
        size = ["-x", "150", "-y", "50"]
        self.tmux("-f", "/dev/null", "new-session", "-d", *size, "-c", str(work), "env", "-i", *assignments, str(CLAUDE))

    def tmux(self, *arguments):
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), *arguments], capture_output=True, text=True, env={**os.environ, "LANG": "C.UTF-8"}
        )
        if done.returncode:
            raise Wrong(f"tmux {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def history(self):
        """All that was shown, as far as it has scrolled away."""
        return self.tmux("capture-pane", "-p", "-S", "-")

    def press(self, *keys):
        for key in keys:
            self.tmux("send-keys", key)

    def type(self, text):
        self.tmux("send-keys", "-l", "--", text)
        # The input takes a moment: an Enter that comes with the text would be a line break of it.
        self.until(lambda screen: text.split()[-1][-20:] in screen, f"{text!r} in the input")
        self.press("Enter")

    def until(self, shows, what):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            screen = self.screen()
            if shows(screen):
                return screen
            time.sleep(0.1)
        raise Wrong(f"nothing like {what} within {SECONDS} s; the screen:\n{indented(self.screen())}")

    def wait_for(self, text):
        return self.until(lambda screen: re.search(text, screen), repr(text))

    def press_until(self, key, shows, what):
        """Presses a key, and again if it has no effect: a dialog ignores keys at first, against mistakes."""

        def pressed(screen):
            if not shows(screen) and time.monotonic() > self.next_press:
                self.press(key)
                self.next_press = time.monotonic() + 5
            return shows(screen)

        self.next_press = 0.0
        return self.until(pressed, what)

    def choose(self, option):
        """Takes the option after the first one of a dialog."""
        self.wait_for(option)
        time.sleep(0.5)
        self.press_until("Down", lambda screen: f"❯ {option}" in screen, f"{option!r} as the choice")
        self.press_until("Enter", lambda screen: option not in screen, f"{option!r} taken")

    def leave(self, dialog, key):
        """Leaves a screen."""
        self.wait_for(dialog)
        time.sleep(0.5)
        self.press_until(key, lambda screen: not re.search(dialog, screen), f"no more {dialog!r}")


    def close(self):
        subprocess.run(["tmux", "-S", str(self.socket), "kill-server"], capture_output=True)
        time.sleep(0.5)


def indented(text):
    return "\n".join(f"    {line}" for line in text.splitlines() if line.strip())


@dataclasses.dataclass
class Session:
    """One run of Claude Code, and what has to come of it."""

    name: str
    # What fake-bedrock does with the check of tool calls.
    safeguards: str
    steps: object
    # The header that tells Claude Code how much of the limit is used.
    limit: int | None = None


def prompts_and_screens(terminal, work):
    """A whole session, in which the server checks the actions."""
    terminal.type("say ok")
    terminal.wait_for("You sent: say ok")
    terminal.type(f"[tool Bash {CHECKED}]")
    terminal.wait_for(r"The tool sent: \(Bash completed")
    if not (work / "released.txt").exists():
        raise Wrong("the checked action was not run")
    terminal.type("[tool Read] please")
    terminal.wait_for(r"The tool sent: +1 +Read me first\.")
    terminal.tmux("send-keys", "-l", "--", "what is in @pixel.png")
    terminal.wait_for(r"\+ pixel\.png")
    # The first one takes the file from the list, the second one sends.
    terminal.press("Enter")
    time.sleep(0.5)
    terminal.press("Enter")
    terminal.wait_for("I see 1 image")
    terminal.type("[tool Agent] go")
    terminal.wait_for(r'Agent ".*" finished')
    for name, shown in [("/status", "Auto mode server: +Enabled"), ("/usage", "Usage by model"), ("/model", "Select model")]:
        terminal.type(name)
        terminal.leave(shown, "Escape")
    terminal.type("say goodbye")
    terminal.wait_for("You sent: say goodbye")


def action_is_put_to_the_user(terminal, work):
    """Nobody checks the action, so the user decides; and is asked again the next time."""
    for number in (1, 2):
        terminal.type(f"[tool Bash {CHECKED}]")
        terminal.wait_for(ASKED)
        terminal.choose("Yes")
        terminal.until(lambda screen: screen.count("The tool sent: (Bash completed") == number, "the result of the action")
        (work / "released.txt").unlink()


def limit_is_announced(terminal, work):
    terminal.type("say ok")
    terminal.wait_for("You sent: say ok")
    terminal.wait_for(r"You've used \d\d% of your usage credits . resets")


SESSIONS = [
    Session("auto mode, checked by Bedrock", "judged", prompts_and_screens),
    Session("auto mode, not supported by Bedrock", "unsupported", action_is_put_to_the_user),
    Session("auto mode, field refused by Bedrock", "refuse-field", action_is_put_to_the_user),
    Session("auto mode, beta refused by Bedrock", "refuse-beta", action_is_put_to_the_user),
    Session("limit used by 75 %", "judged", limit_is_announced, limit=2_000_000),
]


def use_up(port, token, least):
    """Sends prompts until this part of the limit is used."""
    body = {"model": "claude-opus-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "word " * 100_000}]}
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    used = 0.0
    while used < least:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/messages", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as response:
            used = float(response.headers["anthropic-ratelimit-unified-overage-utilization"])


def refusals(requests):
    return [f"{seen['line']}: {seen['error']}" for seen in requests if seen["status"] >= 400 or seen["error"]]


def complaints(terminal, requests):
    """What the requests and the screens must not show."""
    found = refusals(requests)
    found += [f"the screen blames the gateway: {line.strip()}" for line in terminal.history().splitlines() if BLAMES.search(line)]
    models = [seen for seen in requests if " /v1/messages" in seen["line"]]
    if not any("safeguards" in seen["body"] for seen in models):
        found.append("no request asks for a check of tool calls: auto mode was not reached")
    return found


def run(session, directory):
    """Whether it went as it has to."""
    started = time.monotonic()
    home, work = directory / "home", directory / "work"
    home.mkdir()
    work.mkdir()
    for name, content in FILES.items():
        (work / name).write_bytes(content)
    # The first screens of a new user are over: the theme, the security notes, the trust in the folder.
    trusted = {"hasCompletedOnboarding": True, "theme": "dark", "projects": {str(work): {"hasTrustDialogAccepted": True}}}
    (home / "config").mkdir()
    (home / "config" / ".claude.json").write_text(json.dumps(trusted))
    token, variables = "x", {"ALLOW_UNAUTHENTICATED": "true"}
    if session.limit:
        variables = {"JWT_SECRET_KEY": os.urandom(32).hex()}
    with Fake("--safeguards", session.safeguards) as fake:
        variables = fake.variables(directory, variables)
        if session.limit:
            command(variables, directory, "user", "add", "ana", "--limit", str(session.limit))
            token = command(variables, directory, "token", "print", "--user", "ana")
        with serve(variables, directory) as port:
            if session.limit:
                use_up(port, token, 0.75)
            relay = Relay(port)
            of_client = {**environment(home, relay.server_port, False), "ANTHROPIC_AUTH_TOKEN": token}
            terminal = Terminal(directory, work, {**of_client, "TERM": "xterm-256color", "LANG": "C.UTF-8"})
            try:
                terminal.wait_for("auto mode on")
                session.steps(terminal, work)
                found = complaints(terminal, relay.settled())
            except Wrong as wrong:
                found = [str(wrong), *refusals(relay.requests)]
            finally:
                terminal.close()
            # Its first request teaches the proxy, in front of a Bedrock that refuses.
            refused_by_fake, expected = fake.refused(), int(session.safeguards.startswith("refuse"))
            if refused_by_fake != expected:
                found.append(f"fake-bedrock refused {refused_by_fake} requests, not {expected}")
            refused = sum(seen["status"] >= 400 for seen in relay.requests)
            print(f"\n{session.name}\n  {'FAILED' if found else 'ok'} after {time.monotonic() - started:.0f} s")
            print(f"  {len(relay.requests)} requests, {refused} refused by the proxy, {refused_by_fake} by fake-bedrock")
            for line in found:
                print(f"  {line}")
            learned = [line for line in (directory / "proxy.log").read_text().splitlines() if "support a feature" in line]
            for line in learned if found else []:
                print(f"  {line}")
    return not found


def main():
    if "--own-network" in sys.argv:
        raise_loopback()
    chosen = [session for session in SESSIONS if not sys.argv[2:] or session.safeguards in sys.argv[2:]]
    passed = 0
    for session in chosen:
        # Short, because the path of a socket has to be.
        with tempfile.TemporaryDirectory(prefix="cc-", dir="/tmp", ignore_cleanup_errors=True) as directory:
            passed += run(session, pathlib.Path(directory))
    print(f"\n{passed} of {len(chosen)} sessions in a terminal went as they have to")
    return 0 if passed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
