"""The previous major version of Anthropic's Python SDK: another header for the key, and an older API version."""

import asyncio
import json

import anthropic
import pytest

MODEL = "claude-sonnet-4-6"
WEATHER = {
    "name": "get_weather",
    "description": "Returns the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}
CLOCK = {"name": "get_time", "description": "Returns the time.", "input_schema": {"type": "object", "properties": {}}}
THINKS = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


def message_request(text, **more):
    return {"model": MODEL, "max_tokens": 4096, "messages": [{"role": "user", "content": text}], **more}


SCENARIOS = {
    "text": message_request("Hello"),
    "many scripts": message_request("Grüße, 世界, مرحبا, 🦀"),
    "a long response": message_request("[long 500]"),
    # This SDK has no parameters for these any more, but the API version has.
    "sampling": message_request("Hello", extra_body={"temperature": 0.5, "top_k": 5}),
    "a stop sequence": message_request("[stop-sequence]", stop_sequences=["END"]),
    "max_tokens": message_request("[max_tokens]"),
    "a refusal": message_request("[stop content_filtered]"),
    "a tool call": message_request("[tool]", tools=[WEATHER, CLOCK]),
    "parallel tool calls": message_request("[tools]", tools=[WEATHER, CLOCK]),
    "a call without arguments": message_request("[tool-empty]", tools=[CLOCK]),
    "thinking": message_request("[thinking]", **THINKS),
    "redacted thinking": message_request("[redacted]", **THINKS),
}


def streamed(client, request):
    with client.messages.stream(**request) as stream:
        return stream.get_final_message()


def non_streaming(client, request):
    return client.messages.create(**request)


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def comparable(message):
    """Removes ids, signatures, and members that are null on one side and absent on the other."""
    message = message.to_dict(mode="json")
    del message["id"]
    # One is at the beginning of a stream only, the other at its end.
    message["usage"].pop("cache_creation", None)
    for block in message["content"]:
        for name in ("id", "data"):
            block.pop(name, None)
    return without_null(message)


def without_null(value):
    if isinstance(value, dict):
        return {name: without_null(member) for name, member in value.items() if member is not None}
    return [without_null(member) for member in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_streamed_message_equals_the_whole_one(client, name):
    assert comparable(streamed(client, SCENARIOS[name])) == comparable(non_streaming(client, SCENARIOS[name]))


def test_this_major_names_its_key_and_its_version_in_the_old_way(client):
    request = client.messages.with_raw_response.create(**message_request("Hello")).http_request
    assert request.headers["x-api-key"] == "key" and "authorization" not in request.headers
    assert request.headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize("send_request", [streamed, non_streaming])
@pytest.mark.parametrize("word", ["[thinking]", "[redacted]"])
def test_thinking_is_accepted_when_it_comes_back(client, send_request, word):
    request = message_request(word, **THINKS)
    message = send_request(client, request)
    request["messages"] += [{"role": "assistant", "content": message.content}, {"role": "user", "content": "Go on"}]
    assert text_of(send_request(client, request)).endswith("You sent: Go on")


@pytest.mark.parametrize("send_request", [streamed, non_streaming])
def test_a_tool_loop_goes_round(client, send_request):
    request = message_request("[tools]", tools=[WEATHER, CLOCK])
    message = send_request(client, request)
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [(call.name, call.input) for call in calls] == [
        ("get_weather", {"city": "Paris", "days": 1}),
        ("get_time", {}),
    ]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"{call.name} is done"} for call in calls]
    request["messages"] += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    assert text_of(send_request(client, request)) == "The tool sent: get_weather is done and get_time is done"


@pytest.mark.parametrize("send_request", [streamed, non_streaming])
def test_errors_have_their_class_and_their_words(client, send_request):
    for request, kind, words in [
        (message_request([{"type": "text"}]), anthropic.BadRequestError, r"messages\.0\.content\.0\.text"),
        ({**message_request("Hello"), "model": "gpt-4o"}, anthropic.NotFoundError, "gpt-4o"),
        (message_request("[throttle]"), anthropic.RateLimitError, "wait before trying again"),
    ]:
        with pytest.raises(kind, match=words) as caught:
            send_request(client, request)
        assert caught.value.body["request_id"] == caught.value.request_id


def test_truncated_response_is_an_error(client):
    for word in ["[cut]", "[no-stop]", "[exception internalServerException]"]:
        for send_request in (streamed, non_streaming):
            with pytest.raises(anthropic.APIStatusError) as caught:
                send_request(client, message_request(word))
            assert caught.value.body["error"]["type"] == "api_error"


def test_the_async_client_streams_too(make_async_client):
    async def send_request():
        async with make_async_client() as client, client.messages.stream(**message_request("Hello")) as stream:
            return "".join([text async for text in stream.text_stream])

    assert asyncio.run(send_request()).endswith("You sent: Hello")


def test_tokens_are_counted_and_models_listed(client):
    counted = client.messages.count_tokens(model=MODEL, messages=message_request("Hello")["messages"])
    assert counted.input_tokens > 0
    # Not parsed: this version of the SDK does not know newer members of models.
    listed = client.models.with_raw_response.list(limit=3)
    assert len(json.loads(listed.text())["data"]) == 3


def test_raw_events_of_a_stream_come_in_their_order(client):
    kinds = [event.type for event in client.messages.create(**message_request("[tool]", tools=[WEATHER]), stream=True)]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2
