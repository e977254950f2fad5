"""Tokens: signed by a test or by the command line of the proxy, and sent by the SDK in either header."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import time

import anthropic
import pytest

from conftest import TIMEOUT, PROXY_BIN, SETTINGS, Proxy

KEY = "a key that only these tests know 0123456789"
REQUEST = {"model": "claude-sonnet-4-6", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def guarded(bedrock_url, tmp_path_factory):
    """A proxy that requires tokens."""
    directory = tmp_path_factory.mktemp("guarded-proxy")
    proxy = Proxy(bedrock_url, directory, JWT_SECRET_KEY=KEY, DATA_DIR=str(directory / "data"))
    proxy.directory = directory
    try:
        yield proxy
    finally:
        proxy.stop()


def part(value):
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def token(**claims):
    """Signs a token with Python's standard library."""
    claims = {"iss": "bedrock-proxy", "aud": "bedrock-api", "exp": int(time.time()) + 60, "user_id": "ana", **claims}
    text = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (text + b"." + part(hmac.new(KEY.encode(), text, hashlib.sha256).digest())).decode()


def run(guarded, *words):
    """Runs `bedrock-proxy <words>` beside the running proxy and returns its output."""
    environment = {"JWT_SECRET_KEY": KEY, "DATA_DIR": str(guarded.directory / "data")}
    done = subprocess.run(
        [PROXY_BIN, *words], env=environment, cwd=os.sep, capture_output=True, text=True, timeout=TIMEOUT, check=True
    )
    assert done.stderr == ""
    return done.stdout


def client(guarded, **credential):
    settings = {name: value for name, value in SETTINGS.items() if name != "api_key"}
    return anthropic.Anthropic(base_url=guarded.url, **settings, **credential)


@pytest.mark.parametrize("name", ["api_key", "auth_token"])
def test_the_sdk_is_served_with_a_token_in_either_way(guarded, name):
    with client(guarded, **{name: token(team="payments")}) as sdk:
        assert sdk.messages.create(**REQUEST).stop_reason == "end_turn"
        with sdk.messages.stream(**REQUEST) as stream:
            assert stream.get_final_message().content[0].text
        assert sdk.models.list().data
        assert sdk.messages.count_tokens(model=REQUEST["model"], messages=REQUEST["messages"]).input_tokens > 0


@pytest.mark.parametrize("name", ["api_key", "auth_token"])
def test_rejected_token_is_not_retried(guarded, name):
    with client(guarded, **{name: token(exp=int(time.time()) - 100)}).with_options(max_retries=3) as sdk:
        before = time.monotonic()
        with pytest.raises(anthropic.AuthenticationError) as rejected:
            sdk.messages.create(**REQUEST)
    assert "expired" in rejected.value.message
    assert time.monotonic() - before < 5


def test_tokens_of_the_command_line_work_until_they_are_revoked(guarded):
    printed = run(guarded, "token", "print", "--user", "bob", "--create", "--ttl", "5m")
    assert printed.count("\n") == 1
    with client(guarded, auth_token=printed.strip()) as sdk:
        assert sdk.messages.create(**REQUEST).usage.output_tokens > 0
        run(guarded, "token", "revoke", "--user", "bob")
        deadline = time.monotonic() + 5
        with pytest.raises(anthropic.AuthenticationError) as rejected:
            while time.monotonic() < deadline:
                sdk.messages.create(**REQUEST)
    assert "revoked" in rejected.value.message


def test_operator_token_cannot_call_models(guarded):
    with client(guarded, auth_token=token(scope="admin")) as sdk:
        with pytest.raises(anthropic.PermissionDeniedError):
            sdk.messages.create(**REQUEST)
