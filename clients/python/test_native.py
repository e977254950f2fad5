"""Requests that only InvokeModel supports, through the SDK: the proxy has to choose the upstream API.

The same oracle as elsewhere: the accumulated stream equals the unstreamed message.
"""

import base64
import json
import re

import anthropic
import pytest

from conftest import SETTINGS
from test_anthropic_sdk import CLOCK, PNG, WEATHER, message_request, calls_of, comparable, text_of

NEWEST = "claude-opus-5-5"
PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n").decode()
SNOW = "Snow falls in winter. It melts in spring."
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["title", "count"],
    "additionalProperties": False,
}
CLEARING = {
    "betas": ["context-management-2025-06-27"],
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
}
SEARCH = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
LATER = {**WEATHER, "defer_loading": True}


def document(source, **more):
    return {"type": "document", "source": source, **more}


def plain(text):
    return {"type": "text", "media_type": "text/plain", "data": text}


def cited(source, **more):
    return document(source, citations={"enabled": True}, **more)


def with_messages(request, *messages, **more):
    return {**request, "messages": [*request["messages"], *messages], **more}


FOUND = {
    "type": "search_result",
    "source": "https://example.com/snow",
    "title": "Snow",
    "content": [{"type": "text", "text": SNOW}],
    "citations": {"enabled": True},
}
BY_THE_WAY = {"role": "system", "content": "The user has gone to lunch."}
SEARCH_CALL = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "toolu_1", "name": "ToolSearch", "input": {"query": "weather"}}],
}
SEARCH_RESULT = {
    "role": "user",
    "content": [
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "content": [{"type": "tool_reference", "tool_name": "get_weather"}],
        },
        {"type": "text", "text": "[tool get_weather] now"},
    ],
}
FINDER = {
    "name": "ToolSearch",
    "description": "Finds tools.",
    "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
}

SCENARIOS = {
    "an edit of the context": message_request("Hello", **CLEARING),
    "thinking that is kept": message_request(
        "[thinking]",
        model=NEWEST,
        betas=["context-management-2025-06-27"],
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        thinking={"type": "adaptive", "display": "summarized"},
    ),
    "a system message in the middle": with_messages(message_request("Hello", model=NEWEST), BY_THE_WAY),
    "a search for tools by Bedrock": message_request(
        "[tool-search]", model=NEWEST, betas=["advanced-tool-use-2025-11-20"], tools=[SEARCH, LATER]
    ),
    "a search for tools by the client": with_messages(
        message_request("What is the weather?", model=NEWEST),
        SEARCH_CALL,
        SEARCH_RESULT,
        betas=["advanced-tool-use-2025-11-20"],
        tools=[FINDER, LATER],
    ),
    "a format": message_request("Name it.", output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
    "a PDF": message_request("What is this?", document({"type": "base64", "media_type": "application/pdf", "data": PDF})),
    "a text": message_request("What is this?", document(plain(SNOW), title="Snow", context="For school.")),
    "a text that is cited": message_request("[cite]", cited(plain(SNOW), title="Snow")),
    "a PDF that is cited": message_request(
        "[cite]", cited({"type": "base64", "media_type": "application/pdf", "data": PDF}, title="Paper")
    ),
    "content that is cited": message_request(
        "[cite]", cited({"type": "content", "content": [{"type": "text", "text": SNOW}]}, title="Parts")
    ),
    "a search result": message_request("[cite]", FOUND),
    "an image in a document": message_request(
        "What is this?",
        document(
            {
                "type": "content",
                "content": [
                    {"type": "text", "text": SNOW},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                ],
            }
        ),
    ),
    "a strict tool": message_request(
        "[tool]",
        tools=[
            {
                **WEATHER,
                "strict": True,
                "input_schema": {**WEATHER["input_schema"], "additionalProperties": False},
            }
        ],
    ),
    "arguments in fine grains": message_request("[tool]", tools=[{**WEATHER, "eager_input_streaming": True}]),
    "a tool with examples": message_request(
        "[tool]",
        betas=["advanced-tool-use-2025-11-20"],
        tools=[{**WEATHER, "input_examples": [{"city": "Rome", "days": 2}]}, CLOCK],
    ),
    "effort": message_request("Hello", model=NEWEST, output_config={"effort": "low"}),
    "adaptive thinking": message_request("[thinking]", model=NEWEST, thinking={"type": "adaptive"}),
}


def streamed(client, request):
    with client.beta.messages.stream(**request) as stream:
        return stream.get_final_message()


def non_streaming(client, request):
    return client.beta.messages.create(**request)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_streamed_message_equals_the_whole_one(client, name):
    messages = [send_request(client, SCENARIOS[name]) for send_request in (streamed, non_streaming)]
    first, second = (without_ids(comparable(message.to_dict(mode="json"))) for message in messages)
    assert first == second


def without_ids(message):
    """Removes ids of server tools and signatures, which differ between responses."""
    text = re.sub(r'"(srvtoolu_\w+)"', '"srvtoolu"', json.dumps(message))
    return json.loads(re.sub(r'"signature": "[^"]*"', '"signature": ""', text))


@pytest.mark.parametrize("send_request", [streamed, non_streaming])
def test_context_edit_is_reported(client, send_request):
    assert send_request(client, SCENARIOS["an edit of the context"]).context_management.applied_edits == []


@pytest.mark.parametrize("send_request", [streamed, non_streaming])
def test_a_search_for_tools_finds_one_and_the_call_of_it_goes_round(client, send_request):
    request = SCENARIOS["a search for tools by Bedrock"]
    message = send_request(client, request)
    kinds = [block.type for block in message.content]
    assert kinds == ["server_tool_use", "tool_search_tool_result", "tool_use"]
    [call] = calls_of(message)
    assert call.name == "get_weather"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    again = with_messages(
        request,
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    )
    assert text_of(send_request(client, again)) == "The tool sent: rain"


@pytest.mark.parametrize("send_request", [streamed, non_streaming])
def test_a_tool_that_was_found_by_the_client_can_be_called(client, send_request):
    [call] = calls_of(send_request(client, SCENARIOS["a search for tools by the client"]))
    assert (call.name, call.input) == ("get_weather", {"city": "Paris", "days": 1})


@pytest.mark.parametrize("send_request", [streamed, non_streaming])
def test_citations_quote_the_document(client, send_request):
    for name, kind in [
        ("a text that is cited", "char_location"),
        ("a PDF that is cited", "page_location"),
        ("content that is cited", "content_block_location"),
        ("a search result", "search_result_location"),
    ]:
        citations = [
            citation for block in send_request(client, SCENARIOS[name]).content for citation in block.citations or []
        ]
        assert [citation.type for citation in citations] == [kind], name
        assert citations[0].cited_text, name


@pytest.mark.parametrize("send_request", [streamed, non_streaming])
def test_a_format_is_kept(client, send_request):
    response = json.loads(text_of(send_request(client, SCENARIOS["a format"])))
    assert response.keys() == {"title", "count"}


def test_cited_response_can_be_sent_back(client):
    request = SCENARIOS["a text that is cited"]
    message = non_streaming(client, request)
    again = with_messages(
        request,
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": "Go on"},
    )
    assert text_of(non_streaming(client, again)).endswith("You sent: Go on")


def test_documents_reach_the_model(client):
    # fake-bedrock ignores the content of documents, but counts their tokens.
    sent_request = non_streaming(client, message_request("What is this?")).usage.input_tokens
    assert non_streaming(client, SCENARIOS["a PDF"]).usage.input_tokens > sent_request + 1000


def test_lenient_client_accepts_unknown_events(proxy):
    with anthropic.Anthropic(base_url=proxy.url, **{**SETTINGS, "_strict_response_validation": False}) as client:
        with client.messages.stream(**message_request("[unknown-event]")) as stream:
            assert stream.get_final_text() == text_of(client.messages.create(**message_request("[unknown-event]")))
