"""The contract of InvokeModel and CountTokens with boto3; their bodies have Anthropic's format."""

import base64
import json

import pytest
from botocore.exceptions import ClientError, EventStreamError
from fake import BARE_SONNET, RED_PIXEL, SONNET, code, status, user

pytest_plugins = ["running"]

OPUS = "us.anthropic.claude-opus-5-5"
SEARCH = "tool-search-tool-2025-10-19"
OBJECT = {"type": "object"}


def native(text, **more):
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": text}],
        **more,
    }
    return json.dumps(body)


def test_invoke_model_returns_a_message(bedrock):
    response = bedrock.invoke_model(modelId=SONNET, body=native("hello"))
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-output-token-count"] == "10"
    message = json.loads(response["body"].read())
    assert message["type"] == "message"
    assert message["id"].startswith("msg_bdrk_")
    assert message["content"][0]["text"].endswith("You sent: hello")
    assert message["usage"]["output_tokens"] == 10


def test_invoke_model_requires_a_version_and_known_fields(bedrock):
    with pytest.raises(ClientError, match="anthropic_version: Field required"):
        bedrock.invoke_model(modelId=SONNET, body=json.dumps({"max_tokens": 1, "messages": []}))
    with pytest.raises(ClientError, match="stream: Extra inputs are not permitted") as error:
        bedrock.invoke_model(modelId=SONNET, body=native("hello", stream=True))
    assert code(error) == "ValidationException"


def chunks(bedrock, text, model=SONNET, **more):
    response = bedrock.invoke_model_with_response_stream(modelId=model, body=native(text, **more))
    return [json.loads(event["chunk"]["bytes"]) for event in response["body"]]


def test_invoke_stream_has_anthropic_events(bedrock):
    got = chunks(bedrock, "hello")
    kinds = [event["type"] for event in got]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert got[-2]["delta"]["stop_reason"] == "end_turn"
    metrics = got[-1]["amazon-bedrock-invocationMetrics"]
    assert metrics["outputTokenCount"] == 10
    assert metrics["inputTokenCount"] == got[0]["message"]["usage"]["input_tokens"]


def test_invoke_model_streams_tool_calls_and_redacted_thinking(bedrock):
    tool = {"name": "t", "input_schema": {"type": "object", "properties": {}, "required": ["path"]}}
    got = chunks(bedrock, "[tool]", tools=[tool])
    start = [e["content_block"] for e in got if e["type"] == "content_block_start"][1]
    assert start["type"] == "tool_use"
    assert start["id"].startswith("toolu_bdrk_")
    parts = [e["delta"]["partial_json"] for e in got if e.get("delta", {}).get("type") == "input_json_delta"]
    assert json.loads("".join(parts)) == {"path": "README.md"}
    kinds = [e["content_block"]["type"] for e in chunks(bedrock, "[redacted]") if e["type"] == "content_block_start"]
    assert kinds == ["redacted_thinking", "text"]


def test_an_exception_in_an_invoke_stream_is_raised(bedrock):
    with pytest.raises(EventStreamError) as error:
        chunks(bedrock, "[exception modelTimeoutException]")
    assert code(error) == "modelTimeoutException"


def invoke(bedrock, text, model=SONNET, **more):
    return json.loads(bedrock.invoke_model(modelId=model, body=native(text, **more))["body"].read())


REFUSALS = {
    "invalid beta flag": {"anthropic_beta": ["claude-code-20250219"]},
    "anthropic_beta: Input should be a valid list": {"anthropic_beta": SEARCH},
    "anthropic_version: Input should be 'bedrock-2023-05-31'": {"anthropic_version": "2023-06-01"},
    "service_tier: Extra inputs are not permitted": {"service_tier": "auto"},
    "context_management: Extra inputs are not permitted": {"context_management": {"edits": []}},
    "tools.0.custom.defer_loading: Extra inputs are not permitted": {
        "tools": [{"name": "t", "input_schema": OBJECT, "defer_loading": True}]
    },
    "tools.0.custom.strict: Extra inputs are not permitted": {
        "tools": [{"name": "t", "input_schema": OBJECT, "strict": True}]
    },
    "tools.0.custom.eager_input_streaming: Extra inputs are not permitted": {
        "tools": [{"name": "t", "input_schema": OBJECT, "eager_input_streaming": True}]
    },
    "output_config.format: Extra inputs are not permitted": {
        "output_config": {"format": {"type": "json_schema", "schema": OBJECT}}
    },
    "tool type 'web_search_20250305' is not supported": {
        "tools": [{"type": "web_search_20250305", "name": "web_search"}]
    },
    "Request metadata contains a value that violates the regular expression": {
        "metadata": {"user_id": '{"device_id":"a"}'}
    },
    "system.0.cache_control.ephemeral.scope: Extra inputs are not permitted": {
        "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "scope": "global"}}]
    },
    '"thinking.type.disabled" is not supported for this model: thinking is always on.': {
        "thinking": {"type": "disabled"}
    },
}


@pytest.mark.parametrize("text", REFUSALS)
def test_invoke_model_names_rejected_fields(bedrock, text):
    with pytest.raises(ClientError) as error:
        bedrock.invoke_model(modelId=OPUS, body=native("hello", **REFUSALS[text]))
    assert (code(error), status(error)) == ("ValidationException", 400)
    assert error.value.response["Error"]["Message"] == text


def test_the_usage_is_split_at_the_start_and_whole_at_the_end(bedrock):
    text = {"type": "text", "text": "x" * 20_000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    got = chunks(bedrock, [{"type": "text", "text": "hi"}], system=[text])
    start, end = got[0]["message"]["usage"], got[-2]["usage"]
    written = start["cache_creation"]["ephemeral_1h_input_tokens"]
    assert written > 1024
    assert start["cache_creation_input_tokens"] == written == end["cache_creation_input_tokens"]
    assert end["input_tokens"] == start["input_tokens"]
    assert got[-1]["amazon-bedrock-invocationMetrics"]["cacheWriteInputTokenCount"] == written
    assert got[0]["message"]["model"] == "claude-sonnet-4-5-20250929"


def test_native_thinking_is_signed_and_can_be_replayed(bedrock):
    response = invoke(bedrock, "[thinking]")
    thought = response["content"][0]
    assert thought["thinking"].startswith("The user wants")
    assert response["usage"]["output_tokens_details"]["thinking_tokens"] > 0
    messages = [*json.loads(native("[thinking]"))["messages"], {"role": "assistant", "content": response["content"]}]
    messages.append({"role": "user", "content": "go on"})
    assert invoke(bedrock, "", messages=messages)["stop_reason"] == "end_turn"
    thought["thinking"] += "!"
    with pytest.raises(ClientError, match="Invalid `signature` in `thinking` block"):
        invoke(bedrock, "", messages=messages)


def test_new_models_omit_thinking_text_by_default(bedrock):
    hidden = invoke(bedrock, "[thinking]", OPUS, thinking={"type": "adaptive"})["content"][0]
    assert hidden["thinking"] == "" and hidden["signature"]
    shown = invoke(bedrock, "[thinking]", OPUS, thinking={"type": "adaptive", "display": "summarized"})
    assert shown["content"][0]["thinking"]


def test_tool_search_returns_and_can_be_replayed(bedrock):
    more = {
        "anthropic_beta": [SEARCH],
        "tools": [
            {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"},
            {"name": "later", "input_schema": OBJECT, "defer_loading": True},
        ],
    }
    response = invoke(bedrock, "[tool-search]", OPUS, **more)
    sent_request, found, call = response["content"]
    assert (sent_request["type"], sent_request["input"]) == ("server_tool_use", {"query": "later"})
    assert found["content"]["tool_references"] == [{"type": "tool_reference", "tool_name": "later"}]
    assert found["tool_use_id"] == sent_request["id"]
    assert (call["type"], call["name"]) == ("tool_use", "later")
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "done"}
    messages = [
        *json.loads(native("[tool-search]"))["messages"],
        {"role": "assistant", "content": response["content"]},
        {"role": "user", "content": [result]},
    ]
    again = invoke(bedrock, "", OPUS, messages=messages, **more)
    assert again["content"][0]["text"] == "The tool sent: done"


def test_client_tool_search_may_return_references(bedrock):
    more = {
        "anthropic_beta": [SEARCH],
        "tools": [
            {"name": "ToolSearch", "input_schema": OBJECT},
            {"name": "later", "input_schema": OBJECT, "defer_loading": True},
        ],
    }
    response = invoke(bedrock, "[tool-search]", OPUS, **more)
    call = response["content"][0]
    assert (call["name"], call["input"]) == ("ToolSearch", {"query": "select:later"})
    reference = {"type": "tool_reference", "tool_name": "later"}
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": [reference]}
    messages = [
        *json.loads(native("[tool-search]"))["messages"],
        {"role": "assistant", "content": response["content"]},
        {"role": "user", "content": [result, {"type": "text", "text": "[tool later]"}]},
    ]
    assert invoke(bedrock, "", OPUS, messages=messages, **more)["content"][1]["name"] == "later"


def test_a_native_citation_follows_its_text(bedrock):
    source = {"type": "text", "media_type": "text/plain", "data": "Snow falls in winter."}
    document = {"type": "document", "title": "Notes", "source": source, "citations": {"enabled": True}}
    response = invoke(bedrock, [document, {"type": "text", "text": "[cite]"}])
    citation = response["content"][0]["citations"][0]
    assert citation["type"] == "char_location"
    assert source["data"][citation["start_char_index"] : citation["end_char_index"]] == citation["cited_text"]


def test_context_edit_is_reported(bedrock):
    more = {
        "anthropic_beta": ["context-management-2025-06-27"],
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    }
    assert invoke(bedrock, "hi", **more)["context_management"] == {"applied_edits": []}
    assert chunks(bedrock, "hi", **more)[-2]["context_management"] == {"applied_edits": []}


def test_a_format_is_kept_by_models_that_have_formats(bedrock):
    members = {"properties": {"title": {"type": "string"}}, "required": ["title"], "additionalProperties": False}
    schema = {"type": "object", **members}
    more = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    text = invoke(bedrock, "name it", **more)["content"][0]["text"]
    assert json.loads(text) == {"title": "example"}


def test_zero_max_tokens_only_fills_the_cache(bedrock):
    response = invoke(bedrock, "hi", max_tokens=0)
    assert (response["content"], response["stop_reason"]) == ([], "max_tokens")


def test_the_service_tier_comes_back(bedrock):
    response = bedrock.invoke_model(modelId=SONNET, body=native("hi"), serviceTier="flex")
    assert response["serviceTier"] == "flex"


def test_an_error_object_may_come_in_a_chunk(bedrock):
    got = chunks(bedrock, "[chunk-error]")
    assert got[-1] == {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def test_a_cut_invoke_stream_is_a_broken_connection(bedrock):
    with pytest.raises(Exception, match="ended prematurely|IncompleteRead|Connection broken"):
        chunks(bedrock, "[cut]")


def test_refusal_has_stop_details(bedrock):
    response = invoke(bedrock, "[stop content_filtered]")
    assert (response["stop_reason"], response["stop_details"]["type"]) == ("refusal", "refusal")
    stopped = invoke(bedrock, "[stop-sequence]", stop_sequences=["DONE"])
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "DONE")


def test_images_are_read_and_urls_are_rejected(bedrock):
    data = base64.b64encode(RED_PIXEL).decode()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    response = invoke(bedrock, [image, {"type": "text", "text": "look"}])
    assert "I see 1 image" in response["content"][0]["text"]
    image["source"] = {"type": "url", "url": "https://example.com/a.png"}
    with pytest.raises(ClientError, match="URL sources not supported"):
        invoke(bedrock, [image])


# CountTokens


def test_count_tokens_takes_both_body_formats(bedrock):
    counted = bedrock.count_tokens(modelId=BARE_SONNET, input={"converse": {"messages": user("hello there")}})
    assert counted["inputTokens"] > 3
    counted = bedrock.count_tokens(modelId=BARE_SONNET, input={"invokeModel": {"body": native("hello there")}})
    assert counted["inputTokens"] > 3


@pytest.mark.parametrize("model", [SONNET, "anthropic.claude-opus-5"])
def test_count_tokens_rejects_profiles_and_newer_models(bedrock, model):
    with pytest.raises(ClientError, match="The provided model doesn't support counting tokens"):
        bedrock.count_tokens(modelId=model, input={"converse": {"messages": user("hi")}})


def test_count_tokens_validates_like_the_operation(bedrock):
    with pytest.raises(ClientError, match="max_tokens: Field required"):
        body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "messages": []})
        bedrock.count_tokens(modelId=BARE_SONNET, input={"invokeModel": {"body": body}})
    with pytest.raises(ClientError, match="Input is too long for requested model."):
        bedrock.count_tokens(modelId=BARE_SONNET, input={"converse": {"messages": user("x" * 900_000)}})
