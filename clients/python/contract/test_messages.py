"""The contract of the Messages API with Anthropic's clients for Bedrock, and with plain HTTP for invalid requests."""

import http.client
import json
import urllib.parse

import anthropic
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from fake import ACCESS_KEY, BEARER, SECRET_KEY

pytest_plugins = ["running"]

OPUS = "us.anthropic.claude-opus-5"
MANTLE_OPUS = "anthropic.claude-opus-5"
PATH = "/anthropic/v1/messages"
KEYS = {"aws_access_key": ACCESS_KEY, "aws_secret_key": SECRET_KEY, "aws_region": "us-east-1"}
PATIENT = {"max_retries": 0, "timeout": 20}


def message_request(text, model=OPUS, **more):
    return {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": text}], **more}


def post(url, body, headers=None, path=PATH):
    address = urllib.parse.urlsplit(url).netloc
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", **(headers or {})}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def keyed(url, body, path=PATH, **headers):
    return post(url, body, {"x-api-key": BEARER, **headers}, path)


@pytest.fixture()
def runtime(url):
    with anthropic.Anthropic(base_url=f"{url}/anthropic", api_key=BEARER, **PATIENT) as client:
        yield client


@pytest.fixture()
def invoker(url):
    with anthropic.AnthropicBedrock(base_url=url, **KEYS, **PATIENT) as client:
        yield client


@pytest.fixture()
def mantle(mantle_url):
    with anthropic.AnthropicBedrockMantle(base_url=f"{mantle_url}/anthropic", **KEYS, **PATIENT) as client:
        yield client


def test_runtime_responds_streamed_and_unstreamed(runtime):
    message = runtime.messages.create(**message_request("hello"))
    assert message.content[0].text == "This output came from fake-bedrock over Messages. You sent: hello"
    assert message.model == "claude-opus-5"
    with runtime.messages.stream(**message_request("hello")) as stream:
        streamed = stream.get_final_message()
    assert streamed.content[0].text == message.content[0].text
    assert streamed.usage.output_tokens == message.usage.output_tokens == 10


@pytest.mark.parametrize("word", ["[tools]", "[thinking]", "[redacted]", "[cite]", "[long 300]", "[stop refusal]"])
def test_sdk_accepts_every_kind_of_response(runtime, word):
    tools = [{"name": "t", "input_schema": {"type": "object", "properties": {}, "required": ["path"]}}]
    source = {"type": "text", "media_type": "text/plain", "data": "Snow."}
    document = {"type": "document", "source": source, "citations": {"enabled": True}}
    request = message_request([document, {"type": "text", "text": word}], tools=tools)
    non_streaming = runtime.messages.create(**request)
    with runtime.messages.stream(**request) as stream:
        streamed = stream.get_final_message()
    assert [block.type for block in streamed.content] == [block.type for block in non_streaming.content]
    assert streamed.stop_reason == non_streaming.stop_reason


def test_the_wire_is_server_sent_events(url):
    status, headers, body = keyed(url, message_request("hello", stream=True))
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    events = [line[7:] for line in body.decode().splitlines() if line.startswith("event: ")]
    assert events[:3] == ["message_start", "content_block_start", "ping"]
    assert events[-2:] == ["message_delta", "message_stop"]
    assert b"invocationMetrics" not in body


def test_a_key_is_taken_from_either_header_and_a_signature_as_well(url):
    assert keyed(url, message_request("hi"))[0] == 200
    assert post(url, message_request("hi"), {"authorization": f"Bearer {BEARER}"})[0] == 200
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    request = AWSRequest("POST", url + PATH, headers, json.dumps(message_request("hi")))
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "bedrock", "us-east-1").add_auth(request)
    assert post(url, message_request("hi"), dict(request.headers.items()))[0] == 200
    status, headers, _ = post(url, message_request("hi"), {"x-api-key": "nope"})
    assert (status, headers["x-amzn-errortype"].split(":")[0]) == (403, "AccessDeniedException")
    status, _, body = keyed(url, {}, f"/model/{OPUS}/converse")
    assert (status, json.loads(body)["message"]) == (403, "Authorization header is missing")


@pytest.mark.parametrize(
    ("more", "headers", "text"),
    [
        ({"model": MANTLE_OPUS}, {}, "with on-demand throughput isn\u2019t supported"),
        ({"model": "us.amazon.nova-pro-v1:0"}, {}, "The provided model identifier is invalid."),
        (
            {},
            {"anthropic-beta": "interleaved-thinking-2025-05-14, oauth-2025-04-20"},
            "Unexpected value(s) `oauth-2025-04-20` for the `anthropic-beta` header",
        ),
        ({}, {"anthropic-version": "2020-01-01"}, "anthropic-version: \"2020-01-01\" is not a valid version"),
        ({"anthropic_beta": []}, {}, "anthropic_beta: Extra inputs are not permitted"),
        ({"fallbacks": "default"}, {}, "fallbacks: Extra inputs are not permitted"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, {}, "is not supported"),
        ({"metadata": {"user_id": '{"a":1}'}}, {}, "Request metadata contains a value"),
        ({"messages": [{"role": "user", "content": "[throttle]"}]}, {}, "Too many tokens, please wait"),
    ],
)
def test_errors_have_anthropics_envelope(url, more, headers, text):
    status, headers, body = keyed(url, {**message_request("hi"), **more}, **headers)
    error = json.loads(body)
    assert error["type"] == "error" and error["request_id"] == headers["x-amzn-requestid"]
    assert text in error["error"]["message"]
    throttled = "Too many" in text
    assert (status, error["error"]["type"]) == ((429, "rate_limit_error") if throttled else (400, "invalid_request_error"))


def test_the_runtime_has_no_other_messages_route(url):
    for path in [f"{PATH}/count_tokens", "/anthropic/v1/models"]:
        status, _, body = keyed(url, message_request("hi"), path)
        assert status == 200
        assert json.loads(body)["Output"]["__type"] == "com.amazon.coral.service#UnknownOperationException"


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("[throttle-mid]", "rate_limit_error"),
        ("[exception serviceUnavailableException]", "overloaded_error"),
        ("[chunk-error]", "overloaded_error"),
        ("[error-frame]", "api_error"),
    ],
)
def test_a_late_failure_is_an_error_event(url, word, kind):
    status, _, body = keyed(url, message_request(word, stream=True))
    last = body.decode().strip().split("\n\n")[-1].splitlines()
    assert (status, last[0]) == (200, "event: error")
    assert json.loads(last[1][6:])["error"]["type"] == kind


def test_the_bedrock_client_of_the_sdk_is_served_by_invoke_model(invoker):
    message = invoker.messages.create(**message_request("hello"))
    assert message.content[0].text.endswith("over InvokeModel. You sent: hello")
    with invoker.messages.stream(**message_request("[thinking]")) as stream:
        assert stream.get_final_message().content[0].signature
    with pytest.raises(anthropic.BadRequestError, match="temperature: Extra inputs are not permitted"):
        invoker.messages.create(**message_request("hello"), extra_body={"temperature": 0.5})


def test_mantle_responds_counts_and_has_its_own_scope(mantle):
    message = mantle.messages.create(**message_request("hello", MANTLE_OPUS))
    assert message.content[0].text.endswith("over Mantle. You sent: hello")
    messages = [{"role": "user", "content": "hello there"}]
    assert mantle.messages.count_tokens(model=MANTLE_OPUS, messages=messages).input_tokens > 3
    with mantle.messages.stream(**message_request("hello", "anthropic.claude-haiku-4-5")) as stream:
        assert stream.get_final_message().stop_reason == "end_turn"


def test_mantle_rejects_profiles_and_other_signatures(mantle, mantle_url):
    with pytest.raises(anthropic.NotFoundError):
        mantle.messages.create(**message_request("hello"))
    with pytest.raises(anthropic.BadRequestError, match="data retention mode 'default' is not available"):
        mantle.messages.create(**message_request("hello", "anthropic.claude-fable-5"))
    request = AWSRequest("POST", mantle_url + PATH, {"content-type": "application/json"}, "{}")
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "bedrock", "us-east-1").add_auth(request)
    status, _, body = post(mantle_url, {}, dict(request.headers.items()))
    assert status == 403
    assert "Credential should be scoped to correct service: 'bedrock-mantle'" in json.loads(body)["message"]
    assert keyed(mantle_url, {}, f"/model/{OPUS}/converse")[0] == 404
