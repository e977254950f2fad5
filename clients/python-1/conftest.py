"""The fixtures of ../python, with the previous major version of the SDK."""

import importlib.util
import pathlib

import anthropic
import pytest

# By its path: this file has the same name.
_PATH = pathlib.Path(__file__).resolve().parents[1] / "python" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("servers", _PATH)
servers = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(servers)

bedrock_url, proxy = servers.bedrock_url, servers.proxy


@pytest.fixture()
def client(proxy):
    with anthropic.Anthropic(base_url=proxy.url, **servers.SETTINGS) as client:
        yield client


@pytest.fixture()
def make_async_client(proxy):
    """Factory to call inside the event loop that the client belongs to."""
    return lambda: anthropic.AsyncAnthropic(base_url=proxy.url, **servers.SETTINGS)
