"""Tests of the Messages API with Anthropic's Python SDK.

The oracle: the result that the SDK accumulates from a stream equals the unstreamed response to the same request.
"""

import asyncio
import base64
import json
import re
import time

import anthropic
import httpx2
import pytest

MODEL = "claude-sonnet-4-6"

# One red pixel.
PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
        "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
    )
).decode()

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


def tool_with(**arguments):
    """A tool that fake-bedrock calls with exactly these arguments, which it takes from the schema's constants."""
    properties = {name: {"const": value} for name, value in arguments.items()}
    schema = {"type": "object", "properties": properties, "required": list(arguments)}
    return {"name": "record", "description": "Records.", "input_schema": schema}


def cut_tool(kept):
    """A tool whose call with the prompt `[toolcut]` breaks off right after `kept`, the beginning of a JSON object.

    fake-bedrock sends the first half of the arguments. So there is a long member before `kept`, and a filler at the end
    that makes both halves equally long. They sort first and last, because the arguments may come in alphabetical order.
    """
    first = {"Aa": "x" * 60}
    beginning = json.dumps(first, separators=(",", ":"))[:-1] + "," + kept.removeprefix("{")
    for length in range(200):
        arguments = {**first, **COMPLETED[kept], "zz": "z" * length}
        text = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)
        if len(text) // 2 == len(beginning) and text.startswith(beginning):
            return tool_with(**arguments)
    raise AssertionError(f"nothing to fill up {kept} with")


# Truncated arguments, and complete ones with the same beginning.
COMPLETED = {
    '{"a':                        {"a": "one", "b": "two"},
    '{"a":':                      {"a": "one", "b": "two"},
    '{"a":"on':                   {"a": "one", "b": "two"},
    '{"a":"one"':                 {"a": "one", "b": "two"},
    '{"a":"one",':                {"a": "one", "b": "two"},
    '{"a":"one","b"':             {"a": "one", "b": "two"},
    '{"a":"one","b":':            {"a": "one", "b": "two"},
    '{"a":"one","b":"tw':         {"a": "one", "b": "two"},
    '{"a":"one","b":tr':          {"a": "one", "b": True},
    '{"a":"one","b":true':        {"a": "one", "b": True},
    '{"a":"one","b":nul':         {"a": "one", "b": None},
    '{"a":12,':                   {"a": 12, "b": True},
    '{"a":-':                     {"a": -12, "b": True},
    '{"a":{"b":"c"':              {"a": {"b": "c", "d": "e"}},
    '{"a":{"b":"c"},"d":{"e':     {"a": {"b": "c"}, "d": {"e": "f"}},
    '{"a":["one","two"':          {"a": ["one", "two", "three"]},
    '{"a":["one","tw':            {"a": ["one", "two", "three"]},
    '{"a":["one",tru':            {"a": ["one", True, "three"]},
    '{"a":[{"b":':                {"a": [{"b": "c"}]},
    '{"a":[["one"],[':            {"a": [["one"], ["two"]]},
    '{"a":"quote \\" and \\\\':   {"a": 'quote " and \\ end'},
    '{"a":"käse","b":"grü':       {"a": "käse", "b": "grün"},
    '{"a":{"b":[]},"c':           {"a": {"b": []}, "c": {}},
}  # fmt: skip


def message_request(text, *blocks, **more):
    """A request with one user message."""
    content = [*blocks, {"type": "text", "text": text}] if blocks else text
    return {
        "model": MODEL,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": content}],
        **more,
    }


def image(media_type="image/png", data=PNG):
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def calls_of(message):
    return [block for block in message.content if block.type == "tool_use"]


SCENARIOS = {
    "plain text": message_request("Hello"),
    "text of many scripts": message_request("Grüße, 世界, مرحبا, 🦀👩‍👩‍👧 and \\ \" \u2028 too"),
    "a long response": message_request("[long 3000]"),
    "an empty first delta": message_request("[empty-first]"),
    "block numbers that skip": message_request("[index-gap]"),
    "text like tags": message_request("[xml]"),
    "unknown events and members": message_request("[unknown-event]"),
    "a response without usage": message_request("[no-metadata]"),
    "a system prompt": message_request("Hello", system="Be brief."),
    "a system prompt in blocks": message_request(
        "Hello", system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    ),
    "an image": message_request("What is this?", image()),
    "two images": message_request("What are these?", image(), image()),
    # The SDK has no parameters for sampling any more; older ones and other clients still send it.
    "sampling": message_request(
        "Hello",
        metadata={"user_id": "someone"},
        extra_body={"temperature": 0, "top_k": 5},
        extra_headers={"anthropic-version": "2023-06-01"},
    ),
    "max_tokens": message_request("[max_tokens]"),
    "a stop sequence": message_request("[stop-sequence]", stop_sequences=["END", "FIN"]),
    "stop reason end_turn": message_request("[stop end_turn]"),
    "stop reason content_filtered": message_request("[stop content_filtered]"),
    "stop reason guardrail_intervened": message_request("[stop guardrail_intervened]"),
    "stop reason model_context_window_exceeded": message_request("[stop model_context_window_exceeded]"),
    "a tool call": message_request("[tool]", tools=[WEATHER, CLOCK]),
    "parallel tool calls": message_request("[tools]", tools=[WEATHER, CLOCK]),
    "a tool call without arguments": message_request("[tool-empty]", tools=[CLOCK]),
    "a forced tool": message_request("Hello", tools=[WEATHER, CLOCK], tool_choice={"type": "tool", "name": "get_time"}),
    "any tool": message_request(
        "Hello", tools=[WEATHER, CLOCK], tool_choice={"type": "any", "disable_parallel_tool_use": True}
    ),
    "no tool": message_request("Hello", tools=[WEATHER], tool_choice={"type": "none"}),
    "a tool name that Bedrock does not take": message_request("[tool]", tools=[{**WEATHER, "name": "weather." * 12 + "tell"}]),
    "rich arguments": message_request(
        "[tool]",
        tools=[tool_with(a=[1, 2.5, -3e10, None, True], b={"c": {"d": []}}, e="ü \" \\ \n 🦀", f={}, g=2**53)],
    ),
    "thinking": message_request("[thinking]", thinking={"type": "enabled", "budget_tokens": 1024}),
    "redacted thinking": message_request("[redacted]", thinking={"type": "enabled", "budget_tokens": 1024}),
    **{f"arguments cut after {kept}": message_request("[toolcut]", tools=[cut_tool(kept)]) for kept in COMPLETED},
}


# Cases that do not occur with InvokeModel, whose events are the model's own.
BY_CONVERSE_ONLY = {
    "a response without usage": "a stream of Anthropic's that has no message_stop is not complete",
    "unknown events and members": "they are forwarded, and a strict SDK rejects them",
    "a tool name that Bedrock does not take": "Anthropic's API does not take it either",
    "block numbers that skip": "Anthropic leaves no gaps; one is passed on, and the SDK cannot collect it",
}


def streamed_sync(client, request):
    with client.messages.stream(**request) as stream:
        return stream.get_final_message()


def streamed_beta(client, request):
    with client.beta.messages.stream(**request) as stream:
        return stream.get_final_message()


def comparable(message):
    """A message as JSON, without members that differ between responses and those that SDKs ignore in streams."""
    message = json.loads(json.dumps(message))
    message["id"] = "msg"
    for number, block in enumerate(message["content"]):
        if block["type"] == "tool_use":
            assert block["id"]
            block["id"] = f"call {number}"
        if block["type"] == "redacted_thinking":
            assert block["data"]
            block["data"] = "opaque"
    # Bedrock reports usage at the end; the SDKs read this member at the beginning only.
    message["usage"].pop("cache_creation", None)
    return without_unset(message)


def without_unset(value):
    """The SDK writes null into members that a stream does not mention."""
    if isinstance(value, dict):
        kept = {"stop_reason", "stop_sequence"}
        input_is_data = value.get("type") == "tool_use"
        return {
            name: member if input_is_data and name == "input" else without_unset(member)
            for name, member in value.items()
            if member is not None or name in kept
        }
    if isinstance(value, list):
        return [without_unset(member) for member in value]
    return value


def non_streaming(proxy, request):
    body = {**request, **request.get("extra_body", {})}
    body.pop("extra_body", None)
    headers = body.pop("extra_headers", {})
    response = proxy.send_request("POST", "/v1/messages", body, headers)
    assert response.status == 200, response.body
    return response.json()


RESPONSES = [
    *(("auto", name) for name in SCENARIOS),
    *((route, name) for route in ("invoke", "messages") for name in SCENARIOS if name not in BY_CONVERSE_ONLY),
]


@pytest.mark.parametrize(("proxy", "name"), RESPONSES, indirect=["proxy"])
@pytest.mark.parametrize("accumulate", [streamed_sync, streamed_beta])
def test_a_streamed_message_equals_the_whole_one(proxy, client, accumulate, name):
    sent_request = SCENARIOS[name]
    streamed = accumulate(client, sent_request)
    assert comparable(streamed.to_dict(mode="json")) == comparable(non_streaming(proxy, sent_request))


def test_the_async_client_accumulates_the_same_messages(proxy, make_async_client):
    async def send_request(client, request):
        async with client.messages.stream(**request) as stream:
            streamed = await stream.get_final_message()
        responded = await client.messages.create(**request)
        return streamed, responded

    async def send_all():
        async with make_async_client() as client:
            return await asyncio.gather(*(send_request(client, SCENARIOS[name]) for name in names))

    names = set(SCENARIOS)
    if proxy.route != "auto":
        names -= {*BY_CONVERSE_ONLY}
    for (streamed, responded), name in zip(asyncio.run(send_all()), names):
        streamed, responded = (comparable(message.to_dict(mode="json")) for message in (streamed, responded))
        assert streamed == responded, name


def test_a_number_that_ends_cut_arguments_is_left_out_because_digits_may_be_missing(proxy, client):
    # The one case in which the SDKs disagree: Python's keeps the digits that came, TypeScript's and the proxy do not.
    COMPLETED['{"a":"one","b":12'] = {"a": "one", "b": 1234}
    request = message_request("[toolcut]", tools=[cut_tool('{"a":"one","b":12')])
    kept = non_streaming(proxy, request)["content"][0]["input"]
    streamed = calls_of(streamed_sync(client, request))[0].input
    assert (kept.pop("Aa"), kept) == ("x" * 60, {"a": "one"})
    assert (streamed.pop("Aa"), streamed) == ("x" * 60, {"a": "one", "b": 12})


def test_response_has_all_documented_members(client):
    message = client.messages.create(**message_request("Hello"))
    assert message.id.startswith("msg_")
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert (message.usage.cache_read_input_tokens, message.usage.cache_creation_input_tokens) == (0, 0)
    assert text_of(message).endswith("You sent: Hello")
    assert message._request_id.startswith("req_")


def test_raw_events_come_in_the_documented_order(client):
    events = list(client.messages.create(**message_request("[tools]", tools=[WEATHER, CLOCK]), stream=True))
    start = events[0].message
    assert events[0].type == "message_start"
    assert start.id.startswith("msg_") and start.model == MODEL and start.content == []
    assert start.stop_reason is None and start.stop_sequence is None
    assert isinstance(start.usage.input_tokens, int) and isinstance(start.usage.output_tokens, int)
    open_block, next_block = None, 0
    for event in events[1:-2]:
        if event.type == "content_block_start":
            assert (open_block, event.index) == (None, next_block)
            open_block, next_block = event.index, next_block + 1
        elif event.type == "content_block_delta":
            assert event.index == open_block
        else:
            assert (event.type, event.index) == ("content_block_stop", open_block)
            open_block = None
    assert (open_block, next_block) == (None, 3)
    assert [event.type for event in events[-2:]] == ["message_delta", "message_stop"]
    assert events[-2].delta.stop_reason == "tool_use"
    assert events[-2].usage.output_tokens > 0 and events[-2].usage.input_tokens > 0


def test_text_arrives_while_the_model_still_writes(client):
    with client.messages.stream(**message_request("[paced 20 50]")) as stream:
        times = [time.monotonic() for _ in stream.text_stream]
    # The response takes a second; text that arrives at once was buffered.
    assert times[-1] - times[0] > 0.5


def test_the_text_stream_gives_the_whole_text(client):
    with client.messages.stream(**message_request("Hello")) as stream:
        pieces = list(stream.text_stream)
        assert len(pieces) > 1
        assert "".join(pieces) == stream.get_final_text()


# Tools


def test_a_tool_is_called_with_arguments_of_its_schema(client):
    message = client.messages.create(**message_request("[tool]", tools=[WEATHER]))
    assert message.stop_reason == "tool_use"
    [call] = calls_of(message)
    assert call.id and (call.name, call.input) == ("get_weather", {"city": "Paris", "days": 1})


def test_parallel_calls_have_ids_of_their_own(client):
    calls = calls_of(streamed_sync(client, message_request("[tools]", tools=[WEATHER, CLOCK])))
    assert [(call.name, call.input) for call in calls] == [
        ("get_weather", {"city": "Paris", "days": 1}),
        ("get_time", {}),
    ]
    assert calls[0].id != calls[1].id


def test_a_call_without_arguments_has_an_empty_object(client):
    request = message_request("[tool-empty]", tools=[CLOCK])
    assert calls_of(client.messages.create(**request))[0].input == {}
    assert calls_of(streamed_sync(client, request))[0].input == {}


def test_arguments_arrive_in_pieces_that_join_to_json(client):
    with client.messages.stream(**message_request("[tool]", tools=[WEATHER])) as stream:
        pieces = [event for event in stream if event.type == "input_json"]
    assert json.loads("".join(piece.partial_json for piece in pieces)) == {"city": "Paris", "days": 1}
    assert pieces[-1].snapshot == {"city": "Paris", "days": 1}


@pytest.mark.parametrize("send_request", [streamed_sync, lambda client, request: client.messages.create(**request)])
def test_a_tool_loop_goes_round(client, send_request):
    request = message_request("[tools]", tools=[WEATHER, CLOCK])
    message = send_request(client, request)
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": f"{call.name} is done"}
        for call in calls_of(message)
    ]
    request["messages"] += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": results},
    ]
    message = send_request(client, request)
    assert text_of(message) == "The tool sent: get_weather is done and get_time is done"
    # The conversation continues.
    request["messages"] += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": "Thank you"},
    ]
    assert text_of(send_request(client, request)).endswith("You sent: Thank you")


def test_a_tool_result_may_be_an_image_or_an_error_or_nothing(client):
    request = message_request("[tool]", tools=[WEATHER])
    message = client.messages.create(**request)
    [call] = calls_of(message)
    responded = {"type": "tool_result", "tool_use_id": call.id}
    for result, texts in [
        ({"content": [{"type": "text", "text": "see"}, image()]}, "The tool sent: see"),
        ({"content": "it broke", "is_error": True}, "The tool sent: it broke"),
        ({}, "The tool sent: "),
    ]:
        messages = [
            *request["messages"],
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [{**responded, **result}]},
        ]
        response = client.messages.create(**{**request, "messages": messages})
        assert text_of(response).startswith(texts)


def test_missing_tool_result_is_rejected_by_name(client):
    request = message_request("[tool]", tools=[WEATHER])
    message = client.messages.create(**request)
    request["messages"] += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": "never mind"},
    ]
    with pytest.raises(anthropic.BadRequestError, match=calls_of(message)[0].id):
        client.messages.create(**request)


# Thinking

THINKS = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


def test_thinking_streams_as_thoughts_and_one_signature(client):
    with client.messages.stream(**message_request("[thinking]", **THINKS)) as stream:
        events = list(stream)
        message = stream.get_final_message()
    thoughts = [event.thinking for event in events if event.type == "thinking"]
    assert len(thoughts) > 1
    thinking, text = message.content
    assert (thinking.type, thinking.thinking) == ("thinking", "".join(thoughts))
    assert [event.signature for event in events if event.type == "signature"] == [thinking.signature]
    assert text.type == "text" and text.text


@pytest.mark.parametrize("send_request", [streamed_sync, lambda client, request: client.messages.create(**request)])
@pytest.mark.parametrize("word", ["[thinking]", "[redacted]"])
def test_thinking_is_accepted_when_it_comes_back(client, send_request, word):
    # fake-bedrock checks the signatures of thinking, as Bedrock does.
    request = message_request(word, **THINKS)
    message = send_request(client, request)
    assert message.content[0].type == ("thinking" if word == "[thinking]" else "redacted_thinking")
    request["messages"] += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": "Go on"},
    ]
    assert text_of(send_request(client, request)).endswith("You sent: Go on")


@pytest.mark.parametrize("member", ["thinking", "signature"])
def test_altered_thinking_error_keeps_recoverable_wording(client, member):
    request = message_request("[thinking]", **THINKS)
    message = client.messages.create(**request).to_dict()
    thinking = message["content"][0]
    thinking[member] = "QUFB" + thinking[member]
    request["messages"] += [
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": "Go on"},
    ]
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
        client.messages.create(**request)


# Images, system, stop sequences, caching


def test_images_reach_the_model_byte_for_byte(client):
    message = client.messages.create(**message_request("What is this?", image()))
    size = len(base64.b64decode(PNG))
    assert f"I see 1 image (image/png, {size} bytes)" in text_of(message)


def test_image_url_is_rejected_with_its_path(client):
    linked = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.0\.content\.0\.source"):
        client.messages.create(**message_request("What is this?", linked))


def test_a_system_prompt_costs_tokens_in_either_form(client):
    def cost(**system):
        return client.messages.create(**message_request("Hello", **system)).usage.input_tokens

    words = "Be brief and kind. " * 20
    assert cost(system=words) > cost() + 50
    assert cost(system=[{"type": "text", "text": words}]) == cost(system=words)


def test_a_stop_sequence_is_named(client):
    for send_request in (streamed_sync, lambda client, request: client.messages.create(**request)):
        message = send_request(client, message_request("[stop-sequence]", stop_sequences=["FIN", "END"]))
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "FIN")


def cached(label, **marker):
    """A system prompt that is long enough for the cache."""
    return [
        {
            "type": "text",
            "text": f"{label}: " + "a long and winding system prompt. " * 400,
            "cache_control": {"type": "ephemeral", **marker},
        }
    ]


@pytest.mark.parametrize("send_request", [streamed_sync, lambda client, request: client.messages.create(**request)])
def test_the_second_turn_reads_what_the_first_one_cached(client, send_request, request):
    system = cached(request.node.name)
    first = send_request(client, message_request("Hello", system=system))
    assert first.usage.cache_creation_input_tokens > 1024 and first.usage.cache_read_input_tokens == 0
    following = message_request("Hello", system=system)
    following["messages"] += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": "And again"},
    ]
    second = send_request(client, following)
    assert second.usage.cache_read_input_tokens == first.usage.cache_creation_input_tokens
    assert second.usage.cache_creation_input_tokens == 0
    assert second.usage.input_tokens < 1024


def test_cache_usage_has_its_ttl(proxy, client):
    for ttl, member in [("5m", "ephemeral_5m_input_tokens"), ("1h", "ephemeral_1h_input_tokens")]:
        usage = client.messages.create(**message_request("Hello", system=cached(f"for {ttl} by {proxy.route}", ttl=ttl))).usage
        assert getattr(usage.cache_creation, member) == usage.cache_creation_input_tokens > 0


# Errors


def expected_error(client, kind, **request):
    """The error of a request, which has to be the same with and without a stream."""
    errors = []
    for send_request in (streamed_sync, lambda client, request: client.messages.create(**request)):
        with pytest.raises(kind) as caught:
            send_request(client, request)
        error = caught.value
        assert type(error) is kind
        assert error.request_id.startswith("req_")
        assert error.body["type"] == "error" and error.body["request_id"] == error.request_id
        errors.append(error)
    assert errors[0].body["error"] == errors[1].body["error"]
    return errors[0]


def test_bad_request_names_the_path(client):
    request = message_request("Hello")
    request["messages"].append({"role": "user", "content": [{"type": "text"}]})
    error = expected_error(client, anthropic.BadRequestError, **request)
    assert error.status_code == 400
    assert error.body["error"]["type"] == "invalid_request_error"
    # With InvokeModel the message is the model's own, which also names the type of the block.
    place = r"messages\.1\.content\.0\.text(\.text)?"
    assert re.fullmatch(f"{place}: Field required", error.body["error"]["message"])


def test_unsupported_member_is_rejected_by_name(client):
    error = expected_error(client, anthropic.BadRequestError, **message_request("Hello", extra_body={"inference_geo": "eu"}))
    assert "inference_geo: Extra inputs are not permitted" in error.body["error"]["message"]


def test_a_member_that_bedrock_does_not_know_is_left_out_and_named(client):
    response = client.messages.with_raw_response.create(**message_request("Hello", extra_body={"flavour": "sweet"}))
    assert "flavour: left out" in response.headers["x-bedrock-proxy-notice"]
    assert response.parse().stop_reason == "end_turn"


def test_the_version_that_the_sdk_names_takes_no_sampling_parameters(client):
    error = expected_error(client, anthropic.BadRequestError, **message_request("Hello", extra_body={"temperature": 0}))
    assert error.body["error"]["message"] == "temperature: Extra inputs are not permitted"


def test_a_value_of_the_wrong_type_is_named(client):
    error = expected_error(client, anthropic.BadRequestError, **message_request("Hello", extra_body={"temperature": "warm"}))
    assert error.body["error"]["message"].startswith("temperature: ")


def test_an_unknown_model_is_not_found(client):
    error = expected_error(client, anthropic.NotFoundError, **{**message_request("Hello"), "model": "gpt-4o"})
    assert error.body["error"]["type"] == "not_found_error" and "gpt-4o" in error.body["error"]["message"]


def test_an_unknown_path_is_not_found(client):
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.post("/v1/nothing", body={}, cast_to=httpx2.Response)
    assert caught.value.request_id.startswith("req_")


@pytest.mark.parametrize("word", ["[throttle]", "[throttle-first-frame]"])
def test_throttling_is_a_rate_limit_with_retry_after(client, word):
    error = expected_error(client, anthropic.RateLimitError, **message_request(word))
    assert error.status_code == 429
    assert error.body["error"]["type"] == "rate_limit_error"
    assert int(error.response.headers["retry-after"]) > 0


def test_short_throttling_is_retried(client):
    assert text_of(streamed_sync(client, message_request("[throttle-once] streamed"))) == "This time it went through. "
    assert text_of(client.messages.create(**message_request("[throttle-once] whole"))) == "This time it went through. "


@pytest.mark.parametrize(
    "name, kind, error_type",
    [
        ("internalServerException", anthropic.InternalServerError, "api_error"),
        ("serviceUnavailableException", anthropic.OverloadedError, "overloaded_error"),
        ("modelStreamErrorException", anthropic.InternalServerError, "api_error"),
        ("validationException", anthropic.BadRequestError, "invalid_request_error"),
        ("throttlingException", anthropic.RateLimitError, "rate_limit_error"),
    ],
)
def test_exception_within_a_response_is_an_error(client, name, kind, error_type):
    request = message_request(f"[exception {name}]")
    texts = []
    with pytest.raises(anthropic.APIStatusError) as caught, client.messages.stream(**request) as stream:
        texts.extend(stream.text_stream)
    assert "".join(texts) == "It began well enough, "
    assert caught.value.body["error"]["type"] == error_type
    assert caught.value.body["request_id"] == caught.value.request_id
    with pytest.raises(kind) as whole_error:
        client.messages.create(**request)
    # An error before the first event also has its code in docs/errors.md.
    explained = re.sub(r" \[E\w+ req_\w+\]$", "", whole_error.value.body["error"]["message"])
    assert whole_error.value.body["error"]["type"] == error_type
    assert explained == caught.value.body["error"]["message"]


@pytest.mark.parametrize("word", ["[cut]", "[no-stop]", "[bad-crc]", "[error-frame]"])
def test_truncated_response_is_an_error(client, word):
    with pytest.raises(anthropic.APIStatusError) as caught:
        streamed_sync(client, message_request(word))
    assert caught.value.body["type"] == "error"
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**message_request(word))
    assert caught.value.status_code >= 429


# Disconnects


def test_disconnect_is_logged_and_next_request_is_served(proxy, client):
    with client.messages.stream(**message_request("[paced 150 10]")) as stream:
        for _ in zip(range(5), stream):
            pass
        request_id = stream.request_id
    assert text_of(client.messages.create(**message_request("Hello"))).endswith("You sent: Hello")
    # Bedrock bills a response to its end, so the proxy reads it to its end.
    gone = proxy.logged(request_id)
    assert gone["outcome"] == "cancelled" and gone["out_tok"] >= 150
    assert proxy.is_alive() and proxy.send_request("GET", "/health").status == 200


def test_client_timeout_is_logged_as_disconnect(proxy, client):
    with pytest.raises(anthropic.APITimeoutError):
        client.with_options(timeout=0.3).messages.create(**message_request("[slow 1500] losing patience"))
    assert text_of(client.messages.create(**message_request("Hello"))).endswith("You sent: Hello")
    gone = proxy.line(lambda line: line.get("outcome") == "cancelled" and line.get("stream") is False)
    assert gone["duration_ms"] >= 1500 and gone["out_tok"] > 0


def test_concurrent_requests_get_their_own_responses(make_async_client):
    async def send_request(client, number):
        async with client.messages.stream(**message_request(f"I am number {number}.")) as stream:
            if number % 5 == 4:
                # One in five disconnects.
                await anext(aiter(stream))
                return None
            return await stream.get_final_text()

    async def send_all():
        async with make_async_client() as client:
            return await asyncio.gather(*(send_request(client, number) for number in range(50)))

    for number, text in enumerate(asyncio.run(send_all())):
        assert text is None if number % 5 == 4 else text.endswith(f"You sent: I am number {number}.")
