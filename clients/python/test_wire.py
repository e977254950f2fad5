"""Responses of the proxy without an SDK."""

import json

import anthropic
import pytest

from conftest import SETTINGS

REQUEST = {"model": "claude-sonnet-4-6", "max_tokens": 1024, "messages": [{"role": "user", "content": "Hello"}]}


def request_body(text, **more):
    return {**REQUEST, "messages": [{"role": "user", "content": text}], **more}


def events(body):
    """The events of a body, each of which must be exactly one `event:` line, one `data:` line and one empty line."""
    text = body.decode("utf-8")
    assert text.endswith("\n\n") and "\r" not in text
    found = []
    for event in text[:-2].split("\n\n"):
        name, data = event.split("\n")
        assert name.startswith("event: ") and data.startswith("data: "), event
        data = json.loads(data.removeprefix("data: "))
        assert data["type"] == name.removeprefix("event: ")
        found.append(data)
    return found


def streamed(proxy, text, path="/v1/messages", **more):
    response = proxy.send_request("POST", path, request_body(text, stream=True, **more))
    assert response.status == 200, response.body
    return response


@pytest.mark.parametrize("word", ["Hello", "[xml]", "[thinking]", "[redacted]", "[throttle-mid]", "Zeile\n\nZwei \u2028"])
def test_a_stream_is_well_formed(proxy, word):
    response = streamed(proxy, word)
    found = events(response.body)
    assert found[0]["type"] == "message_start"
    assert found[-1]["type"] == ("error" if word == "[throttle-mid]" else "message_stop")


def test_stream_has_its_response_headers(proxy):
    response = streamed(proxy, "Hello")
    assert response.headers["content-type"].split(";")[0] == "text/event-stream"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["request-id"].startswith("req_")
    # Without this header, intermediaries may compress and buffer the stream.
    assert response.headers["content-encoding"] in (None, "identity")


def test_the_first_event_has_every_member_that_clients_need(proxy):
    message = events(streamed(proxy, "Hello").body)[0]["message"]
    assert message["id"].startswith("msg_")
    assert {name: message[name] for name in ("type", "role", "model", "content", "stop_reason", "stop_sequence")} == {
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    assert {"input_tokens", "output_tokens"} <= message["usage"].keys()


def test_blocks_begin_with_the_empty_members_that_clients_add_to(proxy):
    tool = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
    starts = [
        event["content_block"]
        for word in ("[thinking]", "[tool]")
        for event in events(streamed(proxy, word, tools=[tool]).body)
        if event["type"] == "content_block_start"
    ]
    assert starts[0] == {"type": "thinking", "thinking": "", "signature": ""}
    assert starts[1] == {"type": "text", "text": ""}
    assert (starts[-1]["type"], starts[-1]["name"], starts[-1]["input"]) == ("tool_use", "get_time", {})


def test_an_error_in_a_stream_carries_the_id_of_the_request(proxy):
    response = streamed(proxy, "[throttle-mid]")
    error = events(response.body)[-1]
    assert error["error"]["type"] == "rate_limit_error" and error["error"]["message"]
    assert error["request_id"] == response.headers["request-id"]


def test_unstreamed_response_is_json_with_an_id(proxy):
    response = proxy.send_request("POST", "/v1/messages", REQUEST)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["request-id"].startswith("req_")
    assert response.json()["type"] == "message"


def test_an_error_is_json_with_an_id(proxy):
    response = proxy.send_request("POST", "/v1/messages", {"model": "claude-sonnet-4-6"})
    assert response.status == 400
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"type", "error", "request_id"}
    assert body["request_id"] == response.headers["request-id"]


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_the_last_usage_of_a_stream_is_that_of_the_whole_message(proxy, ttl):
    def system(label):
        # Equally long, so that the usage is equal; different, so that neither reads the cache entry of the other.
        text = f"{label}{ttl}{proxy.route}: " + "a long and winding system prompt. " * 400
        return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": ttl}}]

    found = events(streamed(proxy, "Hello", system=system("s")).body)
    # The usage of the last event replaces that of the first one.
    reported = {**found[0]["message"]["usage"], **found[-2]["usage"]}
    non_streaming = proxy.send_request("POST", "/v1/messages", request_body("Hello", system=system("w"))).json()["usage"]
    assert reported == non_streaming
    written = reported["cache_creation"]
    assert sum(written.values()) == reported["cache_creation_input_tokens"] == written[f"ephemeral_{ttl}_input_tokens"] > 0


def test_the_query_that_sdks_add_changes_nothing(proxy):
    assert proxy.send_request("POST", "/v1/messages?beta=true", REQUEST).status == 200
    found = events(streamed(proxy, "Hello", path="/v1/messages?beta=true").body)
    assert found[-1]["type"] == "message_stop"


def test_the_sdk_does_not_notice_pings(auto_proxy):
    # A ping comes after 15 seconds.
    with anthropic.Anthropic(base_url=auto_proxy.url, **SETTINGS) as client:
        with client.messages.stream(**request_body("[pause 16000] Hello")) as stream:
            kinds = {event.type for event in stream}
            assert stream.get_final_text().endswith("Hello")
    assert "ping" not in kinds


def test_health_has_exactly_four_members(proxy):
    response = proxy.send_request("GET", "/health")
    assert response.status == 200
    assert response.json().keys() == {"status", "timestamp", "database", "version"}
    assert response.json()["status"] == "healthy"


@pytest.mark.parametrize("method, path", [("HEAD", "/api/hello"), ("GET", "/api/hello"), ("HEAD", "/")])
def test_hello_responds(proxy, method, path):
    response = proxy.send_request(method, path)
    assert response.status == 200
    assert response.headers["request-id"]
    assert method == "GET" or response.body == b""
