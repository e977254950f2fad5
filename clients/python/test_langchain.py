"""LangChain's `ChatOpenAI`, for programs that use chat completions only."""

import pytest
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from conftest import TIMEOUT


@tool
def get_weather(city: str, days: int) -> str:
    """Returns the weather."""
    return f"rain in {city} for {days} days"


@tool
def get_time() -> str:
    """Returns the time."""
    return "noon"


class Place(BaseModel):
    """Location of something."""

    city: str


@pytest.fixture(params=["/v1", "/v1/messages"])
def model(proxy, request):
    base = f"{proxy.url}{request.param}"
    return ChatOpenAI(
        model="claude-sonnet-4-6", base_url=base, api_key="key", max_retries=0, timeout=TIMEOUT, stream_usage=True
    )


def test_stream_adds_up_to_the_unstreamed_response(model):
    sent_request = [SystemMessage("Be kind."), HumanMessage("Hello")]
    non_streaming = model.invoke(sent_request)
    pieces = list(model.stream(sent_request))
    added = sum(pieces[1:], pieces[0])
    assert len(pieces) > 3 and added.content == non_streaming.content != ""
    for counts in (non_streaming.usage_metadata, added.usage_metadata):
        assert counts["total_tokens"] == counts["input_tokens"] + counts["output_tokens"] > 0
    assert non_streaming.usage_metadata == added.usage_metadata


def test_a_loop_of_parallel_calls_goes_round(model):
    tools = {each.name: each for each in (get_weather, get_time)}
    bound = model.bind_tools(list(tools.values()))
    sent_request = [HumanMessage("[tools] please")]
    pieces = list(bound.stream(sent_request))
    for response in (bound.invoke(sent_request), sum(pieces[1:], pieces[0])):
        assert [call["name"] for call in response.tool_calls] == ["get_weather", "get_time"]
        results = [
            ToolMessage(tools[call["name"]].invoke(call["args"]), tool_call_id=call["id"]) for call in response.tool_calls
        ]
        assert "rain in Paris for 1 days" in bound.invoke([*sent_request, response, *results]).content


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_has_the_requested_schema(model, method):
    assert isinstance(model.with_structured_output(Place, method=method).invoke("Where?"), Place)
