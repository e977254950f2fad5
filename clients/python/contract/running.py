"""Instances of fake-bedrock for the contract tests, each a process on a free port.

A plugin and no `conftest.py`: the tests one level up import theirs by that name.
"""

import pytest
from fake import Fake, client

ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/own42"


@pytest.fixture(scope="session")
def url():
    with Fake("--profile", f"{ARN}=us.anthropic.claude-opus-5") as fake:
        yield fake.url


@pytest.fixture(scope="session")
def mantle_url():
    with Fake("--mantle") as fake:
        yield fake.url


@pytest.fixture()
def no_bearer(monkeypatch):
    """A key in the environment would replace the signature."""
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)


@pytest.fixture()
def bedrock(url, no_bearer):
    return client(url)


@pytest.fixture()
def control(url, no_bearer):
    return client(url, "bedrock")


@pytest.fixture(scope="session")
def own_profile():
    """The ARN of an application profile that the fake was started with."""
    return ARN
