"""The last previous major of Anthropic's Python SDK: another way to name the key, and an older version of the API."""

import asyncio
import json

import anthropic
import pytest

MODEL = "claude-sonnet-4-6"
WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}
CLOCK = {"name": "get_time", "description": "Tells the time.", "input_schema": {"type": "object", "properties": {}}}
THINKS = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


def asks(text, **more):
    return {"model": MODEL, "max_tokens": 4096, "messages": [{"role": "user", "content": text}], **more}


SCENARIOS = {
    "text": asks("Hello"),
    "many scripts": asks("Grüße, 世界, مرحبا, 🦀"),
    "a long answer": asks("[long 500]"),
    # No parameters of this major any more, but its version of the API still has them.
    "sampling": asks("Hello", extra_body={"temperature": 0.5, "top_k": 5}),
    "a stop sequence": asks("[stop-sequence]", stop_sequences=["END"]),
    "max_tokens": asks("[max_tokens]"),
    "a refusal": asks("[stop content_filtered]"),
    "a tool call": asks("[tool]", tools=[WEATHER, CLOCK]),
    "parallel tool calls": asks("[tools]", tools=[WEATHER, CLOCK]),
    "a call without arguments": asks("[tool-empty]", tools=[CLOCK]),
    "thinking": asks("[thinking]", **THINKS),
    "redacted thinking": asks("[redacted]", **THINKS),
}


def streamed(client, request):
    with client.messages.stream(**request) as stream:
        return stream.get_final_message()


def whole(client, request):
    return client.messages.create(**request)


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def comparable(message):
    """Without ids and seals, and without what is null on one side and not there on the other."""
    message = message.to_dict(mode="json")
    del message["id"]
    # The one comes at the beginning of a stream only, the other at its end.
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
    assert comparable(streamed(client, SCENARIOS[name])) == comparable(whole(client, SCENARIOS[name]))


def test_this_major_names_its_key_and_its_version_in_the_old_way(client):
    request = client.messages.with_raw_response.create(**asks("Hello")).http_request
    assert request.headers["x-api-key"] == "key" and "authorization" not in request.headers
    assert request.headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize("ask", [streamed, whole])
@pytest.mark.parametrize("word", ["[thinking]", "[redacted]"])
def test_thinking_is_accepted_when_it_comes_back(client, ask, word):
    request = asks(word, **THINKS)
    message = ask(client, request)
    request["messages"] += [{"role": "assistant", "content": message.content}, {"role": "user", "content": "Go on"}]
    assert text_of(ask(client, request)).endswith("You said: Go on")


@pytest.mark.parametrize("ask", [streamed, whole])
def test_a_tool_loop_goes_round(client, ask):
    request = asks("[tools]", tools=[WEATHER, CLOCK])
    message = ask(client, request)
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [(call.name, call.input) for call in calls] == [
        ("get_weather", {"city": "Paris", "days": 1}),
        ("get_time", {}),
    ]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"{call.name} is done"} for call in calls]
    request["messages"] += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    assert text_of(ask(client, request)) == "The tool said: get_weather is done and get_time is done"


@pytest.mark.parametrize("ask", [streamed, whole])
def test_errors_have_their_class_and_their_words(client, ask):
    for request, kind, words in [
        (asks([{"type": "text"}]), anthropic.BadRequestError, r"messages\.0\.content\.0\.text"),
        ({**asks("Hello"), "model": "gpt-4o"}, anthropic.NotFoundError, "gpt-4o"),
        (asks("[throttle]"), anthropic.RateLimitError, "wait before trying again"),
    ]:
        with pytest.raises(kind, match=words) as caught:
            ask(client, request)
        assert caught.value.body["request_id"] == caught.value.request_id


def test_an_answer_that_breaks_off_is_never_taken_for_a_whole_one(client):
    for word in ["[cut]", "[no-stop]", "[exception internalServerException]"]:
        for ask in (streamed, whole):
            with pytest.raises(anthropic.APIStatusError) as caught:
                ask(client, asks(word))
            assert caught.value.body["error"]["type"] == "api_error"


def test_the_async_client_streams_too(make_async_client):
    async def ask():
        async with make_async_client() as client, client.messages.stream(**asks("Hello")) as stream:
            return "".join([text async for text in stream.text_stream])

    assert asyncio.run(ask()).endswith("You said: Hello")


def test_tokens_are_counted_and_models_listed(client):
    counted = client.messages.count_tokens(model=MODEL, messages=asks("Hello")["messages"])
    assert counted.input_tokens > 0
    # Unparsed: what a strict client of this major makes of newer members of a model is not asked here.
    listed = client.models.with_raw_response.list(limit=3)
    assert len(json.loads(listed.text())["data"]) == 3


def test_raw_events_of_a_stream_come_in_their_order(client):
    kinds = [event.type for event in client.messages.create(**asks("[tool]", tools=[WEATHER]), stream=True)]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2
