"""Tests of chat completions with OpenAI's Python SDK.

The oracle: the result that the SDK accumulates from a stream equals the unstreamed response to the same request.
"""

import json

import openai
import pytest
from pydantic import BaseModel

from conftest import TIMEOUT, Proxy
from test_anthropic_sdk import PNG

MODEL = "claude-sonnet-4-6"
# Strict: the SDK checks each response and each chunk against its types. No retries: each test gets the first response.
SETTINGS = {"api_key": "key", "max_retries": 0, "timeout": TIMEOUT, "_strict_response_validation": True}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Returns the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}


class Place(BaseModel):
    city: str
    sunny: bool


# Both base URLs: the documented one, and the address of the Messages API.
@pytest.fixture(params=["/v1", "/v1/messages"])
def base(request):
    return request.param


@pytest.fixture()
def client(proxy, base):
    with openai.OpenAI(base_url=f"{proxy.url}{base}", **SETTINGS) as client:
        yield client


def message_request(content, **more):
    return {"model": MODEL, "max_completion_tokens": 4096, "messages": [{"role": "user", "content": content}], **more}


def non_streaming(client, request):
    return client.chat.completions.create(**request)


def streamed(client, request):
    with client.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream:
        for _ in stream:
            pass
        return stream.get_final_completion()


def texts(completion):
    """A completion as JSON, without members that differ between responses."""
    response = completion.to_dict(mode="json")
    choice = response["choices"][0]
    message = {name: value for name, value in choice["message"].items() if value is not None and name != "parsed"}
    # A stream begins before it is known that there is no text.
    if message.get("content") == "":
        del message["content"]
    for call in message.get("tool_calls", []):
        assert call.pop("id")
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    assert response["id"].startswith("chatcmpl-") and response["model"] == MODEL
    # The second of two equal requests reads from the cache.
    return message, choice["finish_reason"], response["usage"] | {"prompt_tokens_details": None}


IMAGE = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
]
SCENARIOS = {
    "plain text": (message_request("Hello"), "stop"),
    "text of many scripts": (message_request('Grüße, 世界, مرحبا, 🦀👩‍👩‍👧 and \\ " \u2028 too'), "stop"),
    "a long response": (message_request("[long 2000]"), "stop"),
    "text like tags": (message_request("[xml]"), "stop"),
    "an image": (message_request(IMAGE), "stop"),
    "a stop sequence": (message_request("[stop-sequence]", stop="END"), "stop"),
    "a tool call": (message_request("[tool]", tools=[WEATHER, CLOCK]), "tool_calls"),
    "parallel tool calls": (message_request("[tools]", tools=[WEATHER, CLOCK]), "tool_calls"),
    "a tool call without arguments": (message_request("[tool-empty]", tools=[CLOCK]), "tool_calls"),
    "thinking": (message_request("[thinking]", reasoning_effort="high"), "stop"),
    "a system prompt": (
        {"model": MODEL, "messages": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"}]},
        "stop",
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_accumulated_stream_equals_unstreamed_completion(client, name):
    request, finish = SCENARIOS[name]
    message, reason, usage = texts(non_streaming(client, request))
    assert (message, reason, usage) == texts(streamed(client, request))
    assert reason == finish
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


@pytest.mark.parametrize("prompt, finish", [("[max_tokens]", "length"), ("[stop content_filtered]", "content_filter")])
def test_truncated_response_has_its_finish_reason(client, prompt, finish):
    message, reason, _ = texts(non_streaming(client, message_request(prompt)))
    chunks = list(client.chat.completions.create(**message_request(prompt), stream=True))
    content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert (message["content"] if content else None, reason) == (content or None, finish)
    assert chunks[-1].choices[0].finish_reason == finish


def test_thoughts_are_shown(client):
    message = non_streaming(client, message_request("[thinking]", reasoning_effort="low")).choices[0].message
    assert message.model_extra["reasoning_content"] and message.content


@pytest.mark.parametrize("effort", [None, "medium"])
@pytest.mark.parametrize("model", [MODEL, "claude-sonnet-4-5"])
@pytest.mark.parametrize("send_request", [non_streaming, streamed])
def test_a_tool_loop_goes_round(client, send_request, model, effort):
    more = {"reasoning_effort": effort} if effort else {}
    request = {**message_request("[tools]", tools=[WEATHER, CLOCK], **more), "model": model}
    message = send_request(client, request).choices[0].message
    calls = message.tool_calls
    assert [call.function.name for call in calls] == ["get_weather", "get_time"]
    assert json.loads(calls[0].function.arguments) == {"city": "Paris", "days": 1}
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"rain {n}"} for n, call in enumerate(calls)]
    replayed = {name: value for name, value in message.to_dict(mode="json").items() if name != "parsed"}
    request["messages"] = [*request["messages"], replayed, *results]
    assert "rain" in send_request(client, request).choices[0].message.content


def test_one_tool_at_a_time_and_the_one_that_is_wanted(client):
    request = message_request("Hello", tools=[WEATHER, CLOCK], parallel_tool_calls=False)
    chosen = {"type": "function", "function": {"name": "get_time"}}
    for choice, names in [("auto", 0), ("required", 1), (chosen, 1), ("none", 0)]:
        calls = non_streaming(client, {**request, "tool_choice": choice}).choices[0].message.tool_calls or []
        assert len(calls) == names
        if choice == chosen:
            assert calls[0].function.name == "get_time"


def test_functions_of_old_are_called(client):
    request = message_request("[tool]", functions=[WEATHER["function"] | {"strict": None}])
    message = non_streaming(client, request).choices[0].message
    assert message.function_call.name == "get_weather" and not message.tool_calls
    texts = ""
    for chunk in client.chat.completions.create(**request, stream=True):
        if chunk.choices and (call := chunk.choices[0].delta.function_call):
            texts += call.arguments or ""
    assert texts == message.function_call.arguments
    result = {"role": "function", "name": "get_weather", "content": "rain"}
    call = {"role": "assistant", "content": None, "function_call": message.function_call.to_dict()}
    request["messages"] = [*request["messages"], call, result]
    assert non_streaming(client, request).choices[0].message.content == "The tool sent: rain"


def test_response_follows_a_schema(client):
    place = client.chat.completions.parse(**message_request("Where?"), response_format=Place).choices[0].message.parsed
    assert isinstance(place, Place)
    with client.chat.completions.stream(**message_request("Where?"), response_format=Place) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Place)


def test_stream_has_usage_only_on_request(client):
    chunks = list(client.chat.completions.create(**message_request("Hello"), stream=True))
    assert chunks[0].choices[0].delta.role == "assistant" and not any(chunk.usage for chunk in chunks)
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(**message_request("Hello"), stream=True, stream_options=options))
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []


def test_the_second_turn_reads_what_the_first_one_cached(client):
    request = message_request("Hello")
    # Unique, because fake-bedrock remembers prompts.
    prompt = f"{client.base_url} You are careful. " * 600
    request["messages"].insert(0, {"role": "system", "content": prompt})
    first = non_streaming(client, request)
    request["messages"] += [first.choices[0].message.to_dict(), {"role": "user", "content": "And now?"}]
    second = streamed(client, request).usage
    assert second.prompt_tokens_details.cached_tokens > 2000
    assert second.prompt_tokens > second.prompt_tokens_details.cached_tokens


def test_errors_have_their_class_and_their_words(client):
    address = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    table = [
        (message_request(address), openai.BadRequestError, "messages.0.content.0.image_url.url", None),
        (message_request("Hello") | {"model": "gpt-4o"}, openai.NotFoundError, "model", "model_not_found"),
        (message_request("[throttle]"), openai.RateLimitError, None, "rate_limit_exceeded"),
    ]
    for request, kind, param, code in table:
        for stream in (False, True):
            with pytest.raises(kind) as caught:
                client.chat.completions.create(**request, stream=stream)
            assert (caught.value.param, caught.value.code) == (param, code)
            assert caught.value.request_id.startswith("req_") and caught.value.body["message"]


def test_error_within_a_stream_is_raised(client):
    with pytest.raises(openai.APIError) as caught:
        list(client.chat.completions.create(**message_request("[throttle-mid]"), stream=True))
    assert caught.value.code == "rate_limit_exceeded"


def test_disconnect_is_logged(client, proxy):
    response = client.chat.completions.with_raw_response.create(**message_request("[paced 200 20]"), stream=True)
    stream = response.parse()
    next(iter(stream))
    stream.close()
    line = proxy.logged(response.headers["x-request-id"])
    assert line["outcome"] == "cancelled" and line["out_tok"] > 0


def test_all_models_are_listed(client, proxy):
    ids = [model.id for model in client.models.list()]
    assert MODEL in ids and len(ids) >= 20
    with openai.OpenAI(base_url=f"{proxy.url}/v1", **SETTINGS) as plain:
        model = plain.models.retrieve("claude-sonnet-4-5")
    assert (model.object, model.owned_by) == ("model", "anthropic") and model.created > 1_700_000_000


def test_pings_are_ignored_by_the_sdk(auto_proxy: Proxy):
    # A ping comes after 15 seconds.
    with openai.OpenAI(base_url=f"{auto_proxy.url}/v1", **SETTINGS) as client:
        assert streamed(client, message_request("[pause 16000] Hello")).choices[0].message.content
