"""The models that our pages name: none that the newest SDK warns about."""

import re
import subprocess
import sys
import warnings

import anthropic
import pytest
from anthropic.resources.messages.messages import DEPRECATED_MODELS

from conftest import PROXY_BIN, ROOT, SETTINGS

PAGES = [
    "README.md",
    "README.es.md",
    ".env.example",
    "docs/migration.md",
    "docs/operations.md",
    "crates/proxy/src/cli/connect.rs",
    "crates/proxy/src/cli/demo.rs",
    "crates/proxy/src/cli/doctor.rs",
]
NAME = re.compile(r"\bclaude-(?:[0-9]|fable|haiku|mythos|opus|sonnet)[a-z0-9-]*")


def names(page):
    return sorted(set(NAME.findall((ROOT / page).read_text(encoding="utf-8"))))


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_no_deprecated_model(page):
    found = names(page)
    assert not [name for name in found if re.sub(r"-v\d+$", "", name) in DEPRECATED_MODELS]
    # These are retired, and no longer in the SDK's list.
    assert not [name for name in found if name.startswith(("claude-3", "claude-sonnet-4-2", "claude-opus-4-2"))]


def test_readme_models_work_without_warnings(auto_proxy):
    found = {name for page in PAGES[:3] for name in names(page)}
    assert found
    with anthropic.Anthropic(base_url=auto_proxy.url, **SETTINGS) as client, warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in sorted(found):
            message = client.messages.create(
                model=re.sub(r"-v\d+$", "", name), max_tokens=1024, messages=[{"role": "user", "content": "Hello"}]
            )
            assert message.stop_reason == "end_turn"


def test_printed_example_runs_without_warnings(auto_proxy, tmp_path):
    printed = subprocess.run(
        [PROXY_BIN, "connect", "sdk-python", "--url", auto_proxy.url],
        capture_output=True, text=True, check=True, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"},
    ).stdout
    script = tmp_path / "example.py"
    # Notes for people stand around the program.
    program = re.search(r"^import anthropic$.*?^print\(.*?\)$", printed, re.M | re.S).group(0)
    script.write_text(program, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", str(script)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_default_of_the_example_file_is_current():
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    default = re.search(r"^AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL=(\S+)", text, re.M).group(1)
    assert default not in DEPRECATED_MODELS and NAME.fullmatch(default)
