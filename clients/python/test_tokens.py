"""Tokens: made by another library, or by the proxy's own command line, and used by the SDK in both of its ways."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import time

import anthropic
import pytest

from conftest import PATIENCE, PROXY_BIN, SETTINGS, Proxy

KEY = "a key that only these tests know 0123456789"
QUESTION = {"model": "claude-sonnet-4-6", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def guarded(bedrock_url, tmp_path_factory):
    """A proxy that asks for tokens."""
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
    """A token by nothing but Python's standard library."""
    claims = {"iss": "bedrock-proxy", "aud": "bedrock-api", "exp": int(time.time()) + 60, "user_id": "ana", **claims}
    text = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (text + b"." + part(hmac.new(KEY.encode(), text, hashlib.sha256).digest())).decode()


def run(guarded, *words):
    """What `bedrock-proxy <words>` prints, beside the running proxy."""
    environment = {"JWT_SECRET_KEY": KEY, "DATA_DIR": str(guarded.directory / "data")}
    done = subprocess.run(
        [PROXY_BIN, *words], env=environment, cwd=os.sep, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stderr == ""
    return done.stdout


def client(guarded, **credential):
    settings = {name: value for name, value in SETTINGS.items() if name != "api_key"}
    return anthropic.Anthropic(base_url=guarded.url, **settings, **credential)


@pytest.mark.parametrize("name", ["api_key", "auth_token"])
def test_the_sdk_is_served_with_a_token_in_either_way(guarded, name):
    with client(guarded, **{name: token(team="payments")}) as sdk:
        assert sdk.messages.create(**QUESTION).stop_reason == "end_turn"
        with sdk.messages.stream(**QUESTION) as stream:
            assert stream.get_final_message().content[0].text
        assert sdk.models.list().data
        assert sdk.messages.count_tokens(model=QUESTION["model"], messages=QUESTION["messages"]).input_tokens > 0


@pytest.mark.parametrize("name", ["api_key", "auth_token"])
def test_a_refusal_is_an_authentication_error_that_is_not_tried_again(guarded, name):
    with client(guarded, **{name: token(exp=int(time.time()) - 100)}).with_options(max_retries=3) as sdk:
        before = time.monotonic()
        with pytest.raises(anthropic.AuthenticationError) as refused:
            sdk.messages.create(**QUESTION)
    assert "expired" in refused.value.message
    assert time.monotonic() - before < 5


def test_tokens_of_the_command_line_work_until_they_are_revoked(guarded):
    printed = run(guarded, "token", "print", "--user", "bob", "--ttl", "5m")
    assert printed.count("\n") == 1
    with client(guarded, auth_token=printed.strip()) as sdk:
        assert sdk.messages.create(**QUESTION).usage.output_tokens > 0
        run(guarded, "token", "revoke", "--user", "bob")
        deadline = time.monotonic() + 5
        with pytest.raises(anthropic.AuthenticationError) as refused:
            while time.monotonic() < deadline:
                sdk.messages.create(**QUESTION)
    assert "revoked" in refused.value.message


def test_an_operators_token_asks_no_models(guarded):
    with client(guarded, auth_token=token(scope="admin")) as sdk:
        with pytest.raises(anthropic.PermissionDeniedError):
            sdk.messages.create(**QUESTION)
