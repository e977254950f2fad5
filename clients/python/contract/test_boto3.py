"""The contract of fake-bedrock with boto3: Converse, its errors and its credentials.

Needs the binary (`FAKE_BEDROCK_BIN`, by default `target/debug/fake-bedrock`) and no AWS account.
"""

import json
import os

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EventStreamError
from fake import (
    ACCESS_KEY,
    BARE_SONNET,
    BEARER,
    PROFILE_ARN,
    RED_PIXEL,
    SECRET_KEY,
    SONNET,
    WEATHER,
    client,
    code,
    deltas,
    events,
    names,
    status,
    user,
)

pytest_plugins = ["running"]


# Converse


def test_converse_quotes_the_prompt(bedrock):
    response = bedrock.converse(modelId=SONNET, messages=user("hello there"))
    assert response["output"]["message"]["role"] == "assistant"
    assert response["output"]["message"]["content"][0]["text"].endswith("You sent: hello there")
    assert response["stopReason"] == "end_turn"
    usage = response["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    assert len(response["ResponseMetadata"]["RequestId"]) == 36


def test_converse_folds_a_tool_call(bedrock):
    response = bedrock.converse(
        modelId=SONNET, messages=user("[tool]"), toolConfig={"tools": [WEATHER]}
    )
    assert response["stopReason"] == "tool_use"
    call = response["output"]["message"]["content"][1]["toolUse"]
    assert call["name"] == "get_weather"
    assert call["input"] == {"city": "Paris", "days": 1}


def test_a_whole_agent_loop_passes_validation(bedrock):
    messages = user("[tools]")
    tools = {"tools": [WEATHER]}
    response = bedrock.converse(modelId=SONNET, messages=messages, toolConfig=tools)
    message = response["output"]["message"]
    calls = [block["toolUse"] for block in message["content"] if "toolUse" in block]
    assert len({call["toolUseId"] for call in calls}) == 2
    results = [
        {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": "21 degrees"}]}}
        for call in calls
    ]
    messages += [message, {"role": "user", "content": results}]
    response = bedrock.converse(modelId=SONNET, messages=messages, toolConfig=tools)
    assert "The tool sent: 21 degrees" in response["output"]["message"]["content"][0]["text"]
    messages[2]["content"].pop()
    with pytest.raises(ClientError, match="Expected toolResult blocks at messages.2.content"):
        bedrock.converse(modelId=SONNET, messages=messages, toolConfig=tools)


def test_thinking_can_be_replayed_unless_it_was_altered(bedrock):
    response = bedrock.converse(modelId=SONNET, messages=user("[thinking]"))
    message = response["output"]["message"]
    messages = [*user("[thinking]"), message, *user("go on")]
    assert bedrock.converse(modelId=SONNET, messages=messages)["stopReason"] == "end_turn"
    message["content"][0]["reasoningContent"]["reasoningText"]["text"] += "!"
    with pytest.raises(ClientError, match="Invalid `signature` in `thinking` block") as error:
        bedrock.converse(modelId=SONNET, messages=messages)
    assert code(error) == "ValidationException"


def test_redacted_reasoning_can_be_replayed(bedrock):
    response = bedrock.converse(modelId=SONNET, messages=user("[redacted]"))
    message = response["output"]["message"]
    assert message["content"][0]["reasoningContent"]["redactedContent"].isascii()
    messages = [*user("[redacted]"), message, *user("go on")]
    assert bedrock.converse(modelId=SONNET, messages=messages)["stopReason"] == "end_turn"


def test_an_image_is_seen(bedrock):
    image = {"image": {"format": "png", "source": {"bytes": RED_PIXEL}}}
    response = bedrock.converse(modelId=SONNET, messages=user("look", image))
    text = response["output"]["message"]["content"][0]["text"]
    assert f"I see 1 image (image/png, {len(RED_PIXEL)} bytes)" in text


def test_response_stops_at_max_tokens(bedrock):
    response = bedrock.converse(
        modelId=SONNET, messages=user("[long 50]"), inferenceConfig={"maxTokens": 7}
    )
    assert response["stopReason"] == "max_tokens"
    assert response["usage"]["outputTokens"] == 7


def test_the_stop_sequence_comes_through_the_response_paths(bedrock):
    more = {
        "inferenceConfig": {"stopSequences": ["DONE"]},
        "additionalModelResponseFieldPaths": ["/stop_sequence", "/delta/stop_sequence"],
    }
    response = bedrock.converse(modelId=SONNET, messages=user("[stop-sequence]"), **more)
    assert response["stopReason"] == "stop_sequence"
    assert response["additionalModelResponseFields"]["stop_sequence"] == "DONE"
    stop = [e["messageStop"] for e in events(bedrock, "[stop-sequence]", **more) if "messageStop" in e]
    assert stop[0]["additionalModelResponseFields"]["delta"] == {"stop_sequence": "DONE"}


def test_the_cache_is_written_and_then_read(bedrock):
    # Unlike any other prefix, so that the test may run twice against one fake.
    text = os.urandom(8).hex() * 1000
    message = [{"role": "user", "content": [{"text": text}, {"cachePoint": {"type": "default"}}, {"text": "hi"}]}]
    first = bedrock.converse(modelId=SONNET, messages=message)["usage"]
    second = bedrock.converse(modelId=SONNET, messages=message)["usage"]
    assert first["cacheWriteInputTokens"] > 1024
    assert first["cacheReadInputTokens"] == 0
    assert first["cacheDetails"] == [{"ttl": "5m", "inputTokens": first["cacheWriteInputTokens"]}]
    assert second["cacheReadInputTokens"] == first["cacheWriteInputTokens"]
    assert second["cacheWriteInputTokens"] == 0
    assert second["inputTokens"] < 20


@pytest.mark.parametrize(
    "model",
    [
        SONNET,
        "global.anthropic.claude-haiku-4-5-20251001-v1:0",
        "amazon.nova-pro-v1:0",
        PROFILE_ARN,
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5",
    ],
)
def test_every_form_of_model_id_is_served(bedrock, model):
    assert bedrock.converse(modelId=model, messages=user("hi"))["stopReason"] == "end_turn"


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("anthropic.claude-9-v1:0", "The provided model identifier is invalid."),
        ("eu.anthropic.claude-opus-5", "The provided model identifier is invalid."),
        (BARE_SONNET, "with on-demand throughput isn\u2019t supported"),
    ],
)
def test_other_model_ids_are_rejected(bedrock, model, text):
    with pytest.raises(ClientError, match=text) as error:
        bedrock.converse(modelId=model, messages=user("hi"))
    assert code(error) == "ValidationException"


# ConverseStream


def test_a_streamed_text_has_no_block_start_and_ends_with_metadata(bedrock):
    got = events(bedrock, "hello there")
    order = names(got)
    assert order[0] == "messageStart"
    assert "contentBlockStart" not in order
    assert order[-3:] == ["contentBlockStop", "messageStop", "metadata"]
    assert order.count("contentBlockDelta") > 2
    text = "".join(delta["text"] for delta in deltas(got))
    assert text == "This output came from fake-bedrock over ConverseStream. You sent: hello there"
    assert got[-1]["metadata"]["usage"]["outputTokens"] == 11


def test_a_streamed_tool_call_has_a_block_start_and_split_arguments(bedrock):
    got = events(bedrock, "[tool]", toolConfig={"tools": [WEATHER]})
    start = [e["contentBlockStart"] for e in got if "contentBlockStart" in e]
    assert start[0]["start"]["toolUse"]["name"] == "get_weather"
    parts = [delta["toolUse"]["input"] for delta in deltas(got) if "toolUse" in delta]
    assert len(parts) > 1
    assert json.loads("".join(parts)) == {"city": "Paris", "days": 1}


def test_a_tool_call_may_have_no_arguments_at_all(bedrock):
    got = events(bedrock, "[tool-empty]", toolConfig={"tools": [WEATHER]})
    assert deltas(got) == []
    assert names(got)[1:3] == ["contentBlockStart", "contentBlockStop"]


def test_streamed_thinking_is_signed(bedrock):
    reasoning = [d["reasoningContent"] for d in deltas(events(bedrock, "[thinking]")) if "reasoningContent" in d]
    assert "".join(part.get("text", "") for part in reasoning).startswith("The user wants")
    assert reasoning[-1]["signature"]


def test_streamed_redacted_reasoning_comes_in_two_parts(bedrock):
    reasoning = [d["reasoningContent"] for d in deltas(events(bedrock, "[redacted]")) if "reasoningContent" in d]
    assert len(reasoning) == 2
    assert all(part["redactedContent"].isascii() for part in reasoning)


def test_unknown_events_are_tolerated(bedrock):
    got = events(bedrock, "[unknown-event]")
    assert "".join(delta["text"] for delta in deltas(got)).endswith("still going.")
    assert names(got)[-1] == "metadata"


@pytest.mark.parametrize(
    "name",
    [
        "internalServerException",
        "modelStreamErrorException",
        "validationException",
        "throttlingException",
        "serviceUnavailableException",
    ],
)
def test_every_exception_in_a_stream_is_raised(bedrock, name):
    stream = bedrock.converse_stream(modelId=SONNET, messages=user(f"[exception {name}]"))["stream"]
    got = []
    with pytest.raises(EventStreamError) as error:
        got.extend(stream)
    assert code(error) == name


def test_a_throttle_may_be_the_first_frame(bedrock):
    response = bedrock.converse_stream(modelId=SONNET, messages=user("[throttle-first-frame]"))
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 200
    with pytest.raises(EventStreamError, match="Too many tokens") as error:
        list(response["stream"])
    assert code(error) == "throttlingException"


def test_an_error_frame_is_raised(bedrock):
    with pytest.raises(EventStreamError) as error:
        events(bedrock, "[error-frame]")
    assert code(error) == "InternalError"


def test_a_cut_stream_is_a_broken_connection(bedrock):
    with pytest.raises(Exception, match="ended prematurely|IncompleteRead|Connection broken"):
        events(bedrock, "[cut]")


def test_a_bad_checksum_is_noticed(bedrock):
    with pytest.raises(Exception, match="Checksum mismatch"):
        events(bedrock, "[bad-crc]")


def test_a_stream_may_lack_its_end(bedrock):
    assert names(events(bedrock, "[no-metadata]"))[-1] == "messageStop"
    assert names(events(bedrock, "[no-stop]"))[-1] == "contentBlockDelta"


def test_a_long_stream_arrives_whole(bedrock):
    assert len(deltas(events(bedrock, "[long 500]"))) == 500


# Features of models


LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
OPUS = "us.anthropic.claude-opus-5"
TOOLS = {"tools": [WEATHER]}
POINT = {"cachePoint": {"type": "default"}}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
CLOSED = SCHEMA | {"additionalProperties": False}
FORMAT = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(CLOSED)}}}}


def test_some_models_call_tools_in_one_piece_only(bedrock):
    with pytest.raises(ClientError, match="This model doesn't support tool use in streaming mode."):
        bedrock.converse_stream(modelId=LLAMA, messages=user("[tool]"), toolConfig=TOOLS)
    response = bedrock.converse(modelId=LLAMA, messages=user("[tool]"), toolConfig=TOOLS)
    assert response["stopReason"] == "tool_use"


@pytest.mark.parametrize(
    ("model", "more", "text"),
    [
        (LLAMA, {"toolConfig": {**TOOLS, "toolChoice": {"auto": {}}}}, "toolConfig.toolChoice field"),
        (
            "us.anthropic.claude-opus-5-5",
            {"toolConfig": {**TOOLS, "toolChoice": {"any": {}}}},
            "toolConfig.toolChoice.any field",
        ),
        (NOVA, {"toolConfig": {"tools": [WEATHER, POINT]}}, "toolConfig.tools.cachePoint field"),
        (OPUS, {"outputConfig": FORMAT}, "output_config.format: Extra inputs are not permitted"),
        (OPUS, {"outputConfig": {"effort": "extreme"}}, "output_config.effort"),
        (OPUS, {"inferenceConfig": {"temperature": 1}}, "`temperature` is deprecated for this model."),
    ],
)
def test_each_model_has_its_refusals(bedrock, model, more, text):
    with pytest.raises(ClientError, match=text) as error:
        bedrock.converse(modelId=model, messages=user("hi"), **more)
    assert code(error) == "ValidationException"


def test_a_format_is_kept_by_models_that_have_formats(bedrock):
    response = bedrock.converse(modelId=SONNET, messages=user("count"), outputConfig=FORMAT)
    assert json.loads(response["output"]["message"]["content"][0]["text"]) == {"n": 1}


def cited(source, **more):
    document = {"name": "Notes", "source": source, "citations": {"enabled": True}, **more}
    return user("[cite]", {"document": document})


def test_citations_are_folded_and_streamed(bedrock):
    messages = cited({"text": "Snow falls in winter."}, format="txt")
    block = bedrock.converse(modelId=SONNET, messages=messages)["output"]["message"]["content"][0]
    citation = block["citationsContent"]["citations"][0]
    assert citation["location"]["documentChar"] == {"documentIndex": 0, "start": 0, "end": 21}
    assert citation["sourceContent"] == [{"text": "Snow falls in winter."}]
    stream = list(bedrock.converse_stream(modelId=SONNET, messages=messages)["stream"])
    assert deltas(stream)[-1]["citation"] == citation


def test_pages_and_search_results_are_cited_too(bedrock):
    messages = cited({"bytes": b"%PDF-1.7"}, format="pdf")
    result = {"title": "T", "source": "s", "content": [{"text": "Rain."}], "citations": {"enabled": True}}
    messages[0]["content"].insert(0, {"searchResult": result})
    blocks = bedrock.converse(modelId=SONNET, messages=messages)["output"]["message"]["content"]
    found = [block["citationsContent"]["citations"][0]["location"] for block in blocks]
    assert found == [
        {"searchResultLocation": {"searchResultIndex": 0, "start": 0, "end": 1}},
        {"documentPage": {"documentIndex": 0, "start": 1, "end": 2}},
    ]


def test_response_paths_return_native_fields(bedrock):
    paths = ["/usage/output_tokens_details", "/stop_details", "/nothing"]
    response = bedrock.converse(
        modelId=SONNET, messages=user("[thinking]"), additionalModelResponseFieldPaths=paths
    )
    fields = response["additionalModelResponseFields"]
    assert fields["usage"]["output_tokens_details"]["thinking_tokens"] > 0
    assert fields["stop_details"] is None and "nothing" not in fields
    got = events(bedrock, "[stop content_filtered]", additionalModelResponseFieldPaths=paths)
    stop = [event["messageStop"] for event in got if "messageStop" in event][0]
    assert stop["additionalModelResponseFields"]["stop_details"]["type"] == "refusal"


def test_the_service_tier_comes_back_with_the_usage(bedrock):
    assert events(bedrock, "hi", serviceTier={"type": "flex"})[-1]["metadata"]["serviceTier"] == {"type": "flex"}


def test_system_turns_are_for_new_models(bedrock):
    messages = [
        *user("a"),
        {"role": "system", "content": [{"text": "be brief"}]},
        {"role": "assistant", "content": [{"text": "b"}]},
        *user("c"),
    ]
    assert bedrock.converse(modelId=OPUS, messages=messages)["stopReason"] == "end_turn"
    with pytest.raises(ClientError, match="messages.1.role: `system` is not supported on this model"):
        bedrock.converse(modelId=SONNET, messages=messages)


def test_the_models_own_error_is_an_error_frame_here(bedrock):
    with pytest.raises(EventStreamError) as error:
        events(bedrock, "[chunk-error]")
    assert code(error) == "overloaded_error"


# Errors and credentials


def test_a_throttle_is_a_throttling_exception(bedrock):
    with pytest.raises(bedrock.exceptions.ThrottlingException, match="Too many tokens, please wait") as error:
        bedrock.converse(modelId=SONNET, messages=user("[throttle]"))
    assert status(error) == 429


def test_a_throttle_once_goes_through_the_second_time(bedrock):
    messages = user(f"[throttle-once] {os.urandom(8).hex()}")
    with pytest.raises(bedrock.exceptions.ThrottlingException):
        bedrock.converse(modelId=SONNET, messages=messages)
    assert bedrock.converse(modelId=SONNET, messages=messages)["stopReason"] == "end_turn"


def test_connection_may_be_closed_before_the_response(bedrock):
    with pytest.raises(ConnectionClosedError):
        bedrock.converse(modelId=SONNET, messages=user("[cut-before]"))


@pytest.mark.parametrize(
    ("name", "http"),
    [
        ("AccessDeniedException", 403),
        ("ResourceNotFoundException", 404),
        ("ModelTimeoutException", 408),
        ("ModelErrorException", 424),
        ("InternalServerException", 500),
        ("ServiceUnavailableException", 503),
    ],
)
def test_directive_returns_every_modelled_error(bedrock, name, http):
    with pytest.raises(getattr(bedrock.exceptions, name)) as error:
        bedrock.converse(modelId=SONNET, messages=user(f"[refuse {name}]"))
    assert status(error) == http


def test_a_wrong_secret_is_an_invalid_signature(url, bedrock):
    other = client(url, aws_access_key_id=ACCESS_KEY, aws_secret_access_key="wrong")
    with pytest.raises(ClientError, match="The request signature we calculated does not match") as error:
        other.converse(modelId=SONNET, messages=user("hi"))
    assert (code(error), status(error)) == ("InvalidSignatureException", 403)


def test_an_unknown_key_or_session_is_an_unrecognized_client(url, bedrock):
    for credentials in [
        {"aws_access_key_id": "AKIDNOBODY", "aws_secret_access_key": SECRET_KEY},
        {
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
            "aws_session_token": "unknown",
        },
    ]:
        with pytest.raises(ClientError) as error:
            client(url, **credentials).converse(modelId=SONNET, messages=user("hi"))
        assert (code(error), status(error)) == ("UnrecognizedClientException", 403)


def bearer_client(url):
    """Client without TLS: botocore does not send a bearer key to an `http` URL by itself."""
    bedrock = client(url.replace("http://", "https://"))

    def leave_tls(request, **_):
        request.url = request.url.replace("https://", "http://")

    bedrock.meta.events.register("before-send.bedrock-runtime", leave_tls)
    return bedrock


def test_a_bearer_key_is_accepted(url, monkeypatch):
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)
    response = bearer_client(url).converse(modelId=PROFILE_ARN, messages=user("hi"))
    assert response["stopReason"] == "end_turn"


def test_a_wrong_bearer_key_is_denied(url, monkeypatch):
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "something else")
    with pytest.raises(ClientError) as error:
        bearer_client(url).converse(modelId=SONNET, messages=user("hi"))
    assert (code(error), status(error)) == ("AccessDeniedException", 403)
