"""What only InvokeModel carries, asked through the SDK: the proxy has to find the way by itself.

The same oracle as for everything else: the accumulated stream equals the whole message.
"""

import base64
import json
import re

import anthropic
import pytest

from conftest import SETTINGS
from test_anthropic_sdk import CLOCK, PNG, WEATHER, asks, calls_of, comparable, text_of

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
ASKED_FOR_TOOLS = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "toolu_1", "name": "ToolSearch", "input": {"query": "weather"}}],
}
GOT_TOOLS = {
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
    "an edit of the context": asks("Hello", **CLEARING),
    "thinking that is kept": asks(
        "[thinking]",
        model=NEWEST,
        betas=["context-management-2025-06-27"],
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        thinking={"type": "adaptive", "display": "summarized"},
    ),
    "a system message in the middle": with_messages(asks("Hello", model=NEWEST), BY_THE_WAY),
    "a search for tools by Bedrock": asks(
        "[tool-search]", model=NEWEST, betas=["advanced-tool-use-2025-11-20"], tools=[SEARCH, LATER]
    ),
    "a search for tools by the client": with_messages(
        asks("What is the weather?", model=NEWEST),
        ASKED_FOR_TOOLS,
        GOT_TOOLS,
        betas=["advanced-tool-use-2025-11-20"],
        tools=[FINDER, LATER],
    ),
    "a format": asks("Name it.", output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
    "a PDF": asks("What is this?", document({"type": "base64", "media_type": "application/pdf", "data": PDF})),
    "a text": asks("What is this?", document(plain(SNOW), title="Snow", context="For school.")),
    "a text that is cited": asks("[cite]", cited(plain(SNOW), title="Snow")),
    "a PDF that is cited": asks(
        "[cite]", cited({"type": "base64", "media_type": "application/pdf", "data": PDF}, title="Paper")
    ),
    "content that is cited": asks(
        "[cite]", cited({"type": "content", "content": [{"type": "text", "text": SNOW}]}, title="Parts")
    ),
    "a search result": asks("[cite]", FOUND),
    "an image in a document": asks(
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
    "a strict tool": asks(
        "[tool]",
        tools=[
            {
                **WEATHER,
                "strict": True,
                "input_schema": {**WEATHER["input_schema"], "additionalProperties": False},
            }
        ],
    ),
    "arguments in fine grains": asks("[tool]", tools=[{**WEATHER, "eager_input_streaming": True}]),
    "a tool with examples": asks(
        "[tool]",
        betas=["advanced-tool-use-2025-11-20"],
        tools=[{**WEATHER, "input_examples": [{"city": "Rome", "days": 2}]}, CLOCK],
    ),
    "effort": asks("Hello", model=NEWEST, output_config={"effort": "low"}),
    "adaptive thinking": asks("[thinking]", model=NEWEST, thinking={"type": "adaptive"}),
}


def streamed(client, request):
    with client.beta.messages.stream(**request) as stream:
        return stream.get_final_message()


def whole(client, request):
    return client.beta.messages.create(**request)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_streamed_message_equals_the_whole_one(client, name):
    messages = [ask(client, SCENARIOS[name]) for ask in (streamed, whole)]
    first, second = (without_ids(comparable(message.to_dict(mode="json"))) for message in messages)
    assert first == second


def without_ids(message):
    """Without the ids of server tools and without the seals, which differ from one answer to the next."""
    text = re.sub(r'"(srvtoolu_\w+)"', '"srvtoolu"', json.dumps(message))
    return json.loads(re.sub(r'"signature": "[^"]*"', '"signature": ""', text))


@pytest.mark.parametrize("ask", [streamed, whole])
def test_an_edit_of_the_context_is_told(client, ask):
    assert ask(client, SCENARIOS["an edit of the context"]).context_management.applied_edits == []


@pytest.mark.parametrize("ask", [streamed, whole])
def test_a_search_for_tools_finds_one_and_the_call_of_it_goes_round(client, ask):
    request = SCENARIOS["a search for tools by Bedrock"]
    message = ask(client, request)
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
    assert text_of(ask(client, again)) == "The tool said: rain"


@pytest.mark.parametrize("ask", [streamed, whole])
def test_a_tool_that_was_found_by_the_client_can_be_called(client, ask):
    [call] = calls_of(ask(client, SCENARIOS["a search for tools by the client"]))
    assert (call.name, call.input) == ("get_weather", {"city": "Paris", "days": 1})


@pytest.mark.parametrize("ask", [streamed, whole])
def test_citations_quote_the_document(client, ask):
    for name, kind in [
        ("a text that is cited", "char_location"),
        ("a PDF that is cited", "page_location"),
        ("content that is cited", "content_block_location"),
        ("a search result", "search_result_location"),
    ]:
        citations = [
            citation for block in ask(client, SCENARIOS[name]).content for citation in block.citations or []
        ]
        assert [citation.type for citation in citations] == [kind], name
        assert citations[0].cited_text, name


@pytest.mark.parametrize("ask", [streamed, whole])
def test_a_format_is_kept(client, ask):
    answer = json.loads(text_of(ask(client, SCENARIOS["a format"])))
    assert answer.keys() == {"title", "count"}


def test_a_cited_answer_goes_back_as_it_came(client):
    request = SCENARIOS["a text that is cited"]
    message = whole(client, request)
    again = with_messages(
        request,
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": "Go on"},
    )
    assert text_of(whole(client, again)).endswith("You said: Go on")


def test_documents_reach_the_model(client):
    # fake-bedrock does not speak of documents, but it makes a price for them.
    asked = whole(client, asks("What is this?")).usage.input_tokens
    assert whole(client, SCENARIOS["a PDF"]).usage.input_tokens > asked + 1000


def test_a_client_that_is_not_strict_bears_events_nobody_knows(proxy):
    with anthropic.Anthropic(base_url=proxy.url, **{**SETTINGS, "_strict_response_validation": False}) as client:
        with client.messages.stream(**asks("[unknown-event]")) as stream:
            assert stream.get_final_text() == text_of(client.messages.create(**asks("[unknown-event]")))
