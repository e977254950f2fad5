"""Anthropic's client for Bedrock, with the proxy as its endpoint.

The oracle holds here, too: the accumulated stream equals the whole message.
"""

import asyncio

import anthropic
import httpx2
import pytest

from conftest import TIMEOUT
from test_anthropic_sdk import CLOCK, WEATHER, message_request, calls_of, comparable, image, text_of

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
THINKS = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
# AWS does not know these credentials; the proxy signs with its own.
KEYS = {"aws_access_key": "AKIANOBODY", "aws_secret_key": "none", "aws_region": "eu-west-1"}
PATIENT = {"max_retries": 0, "timeout": TIMEOUT}


@pytest.fixture(params=["/bedrock", ""])
def client(auto_proxy, request):
    with anthropic.AnthropicBedrock(base_url=auto_proxy.url + request.param, **KEYS, **PATIENT) as client:
        yield client


def bedrock(text, *blocks, **more):
    return {**message_request(text, *blocks, **more), "model": more.get("model", SONNET)}


SCENARIOS = {
    "text": bedrock("Hello"),
    "many scripts": bedrock("Grüße, 世界, مرحبا, 🦀"),
    "a name of Anthropic's": bedrock("Hello", model="claude-opus-5-5"),
    "an application's own profile": bedrock(
        "Hello", model="arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    ),
    "a long response": bedrock("[long 500]"),
    "a system prompt": bedrock("Hello", system=[{"type": "text", "text": "Be brief."}]),
    "an image": bedrock("What is this?", image()),
    "max_tokens": bedrock("[max_tokens]"),
    "a stop sequence": bedrock("[stop-sequence]", stop_sequences=["END"]),
    "a refusal": bedrock("[stop content_filtered]"),
    "a tool call": bedrock("[tool]", tools=[WEATHER, CLOCK]),
    "parallel tool calls": bedrock("[tools]", tools=[WEATHER, CLOCK]),
    "a call without arguments": bedrock("[tool-empty]", tools=[CLOCK]),
    "thinking": bedrock("[thinking]", **THINKS),
    "redacted thinking": bedrock("[redacted]", **THINKS),
    "a user id that Bedrock does not take": bedrock("Hello", metadata={"user_id": '{"device_id":"a"}'}),
    "betas that Bedrock does not take": bedrock(
        "Hello", extra_body={"anthropic_beta": ["thinking-token-count-2026-05-13", "claude-code-20250219"]}
    ),
}


def streamed(client, request):
    with client.messages.stream(**request) as stream:
        return stream.get_final_message()


def non_streaming(client, request):
    return client.messages.create(**request)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_streamed_message_equals_the_whole_one(client, name):
    first, second = (comparable(send_request(client, SCENARIOS[name]).to_dict(mode="json")) for send_request in (streamed, non_streaming))
    assert first == second


@pytest.mark.parametrize("send_request", [streamed, non_streaming])
def test_a_tool_loop_goes_round(client, send_request):
    request = bedrock("[tools]", tools=[WEATHER, CLOCK])
    message = send_request(client, request)
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": f"{call.name} is done"} for call in calls_of(message)
    ]
    request["messages"] = [
        *request["messages"],
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": results},
    ]
    assert text_of(send_request(client, request)) == "The tool sent: get_weather is done and get_time is done"


@pytest.mark.parametrize("send_request", [streamed, non_streaming])
@pytest.mark.parametrize("word", ["[thinking]", "[redacted]"])
def test_thinking_is_accepted_when_it_comes_back(client, send_request, word):
    request = bedrock(word, **THINKS)
    message = send_request(client, request)
    request["messages"] = [
        *request["messages"],
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": "Go on"},
    ]
    assert text_of(send_request(client, request)).endswith("You sent: Go on")


@pytest.mark.parametrize("send_request", [streamed, non_streaming])
def test_errors_have_their_class_and_their_words(client, send_request):
    for request, kind, words in [
        (bedrock([{"type": "text"}]), anthropic.BadRequestError, r"messages\.0\.content\.0\.text"),
        (bedrock("Hello", model="gpt-4o"), anthropic.NotFoundError, "gpt-4o"),
        (bedrock("[throttle]"), anthropic.RateLimitError, "wait before trying again"),
    ]:
        with pytest.raises(kind, match=words):
            send_request(client, request)


@pytest.mark.parametrize("send_request", [streamed, non_streaming])
@pytest.mark.parametrize("word", ["[cut]", "[exception internalServerException]", "[throttle-mid]"])
def test_truncated_response_is_an_error(client, send_request, word):
    with pytest.raises((anthropic.APIError, httpx2.RemoteProtocolError)):
        send_request(client, bedrock(word))


def test_bedrock_api_key_replaces_a_signature(auto_proxy):
    url = f"{auto_proxy.url}/bedrock"
    with anthropic.AnthropicBedrock(base_url=url, api_key="any", aws_region="us-east-1", **PATIENT) as client:
        assert text_of(non_streaming(client, bedrock("Hello"))).endswith("You sent: Hello")
        assert text_of(streamed(client, bedrock("Hello"))).endswith("You sent: Hello")


def test_the_async_client_streams_too(auto_proxy):
    async def send_request():
        async with anthropic.AsyncAnthropicBedrock(base_url=f"{auto_proxy.url}/bedrock", **KEYS, **PATIENT) as client:
            async with client.messages.stream(**bedrock("Hello")) as stream:
                return "".join([text async for text in stream.text_stream])

    assert asyncio.run(send_request()).endswith("You sent: Hello")
