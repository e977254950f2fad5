"""Model lists and token counts with Anthropic's Python SDK."""

import anthropic
import pytest

from conftest import SETTINGS
from test_anthropic_sdk import CLOCK, MODEL, WEATHER, message_request, image
from test_native import PDF, document


@pytest.fixture()
def strict_client(auto_proxy):
    with anthropic.Anthropic(base_url=auto_proxy.url, **SETTINGS) as client:
        yield client


@pytest.fixture()
def client(auto_proxy):
    # As programs use it: values outside the SDK's types are accepted.
    with anthropic.Anthropic(base_url=auto_proxy.url, **{**SETTINGS, "_strict_response_validation": False}) as client:
        yield client


def test_the_list_of_models_fits_the_types_of_the_sdk(strict_client):
    assert MODEL in [model.id for model in strict_client.models.list(limit=1000)]


def test_pages_of_models_are_the_whole_list_in_its_order(client):
    every = [model.id for model in client.models.list(limit=1000)]
    assert MODEL in every and len(every) == len(set(every))
    # The SDK requests the next page at the end of each page.
    for limit in (1, 3, len(every) - 1, len(every)):
        assert [model.id for model in client.models.list(limit=limit)] == every
    assert [model.id for model in client.models.list()] == every


def test_pages_of_models_go_backwards_too(client):
    every = [model.id for model in client.models.list(limit=1000)]
    page = client.models.list(limit=3, before_id=every[5])
    assert [model.id for model in page.data] == every[2:5]
    assert page.has_more and (page.first_id, page.last_id) == (every[2], every[4])
    assert [model.id for model in page] == [*every[2:5], *every[:2]]
    after = client.models.list(limit=2, after_id=every[-2])
    assert [model.id for model in after.data] == every[-1:] and not after.has_more


def test_every_model_of_the_list_can_be_retrieved_and_is_the_same_there(client):
    for listed in client.models.list(limit=1000):
        found = client.models.retrieve(listed.id)
        assert found.to_dict(mode="json") == listed.to_dict(mode="json")
        assert found.type == "model" and found.display_name and found.created_at.year >= 1970


def test_model_lists_its_limits(client):
    model = client.models.retrieve(MODEL)
    assert model.max_input_tokens >= 200_000 and model.max_tokens >= 32_000
    capabilities = model.capabilities
    assert capabilities.image_input.supported and capabilities.pdf_input.supported
    assert capabilities.thinking.types.adaptive.supported and capabilities.effort.high.supported
    assert not capabilities.batch.supported


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_listed_model_responds(client):
    for listed in client.models.list(limit=1000):
        message = client.messages.create(**{**message_request("Hello"), "model": listed.id})
        assert message.model == listed.id and message.stop_reason == "end_turn"


def test_a_model_that_is_not_there_is_not_found(client):
    with pytest.raises(anthropic.NotFoundError, match="gpt-4o") as caught:
        client.models.retrieve("gpt-4o")
    assert caught.value.body["error"]["type"] == "not_found_error"
    assert caught.value.request_id.startswith("req_")


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 1001}, {"after_id": "no-such-model"}])
def test_invalid_page_is_rejected_by_name(client, wrong):
    with pytest.raises(anthropic.BadRequestError, match=next(iter(wrong))):
        client.models.list(**wrong)


def test_the_beta_list_is_the_same(client):
    plain = [model.id for model in client.models.list(limit=1000)]
    assert [model.id for model in client.beta.models.list(limit=1000)] == plain
    assert client.beta.models.retrieve(MODEL).id == MODEL


COUNTED = {
    "text": message_request("Hello there, how are you?"),
    "system": message_request("Hello", system="Be brief. " * 50),
    "tools": message_request("Hello", tools=[WEATHER, CLOCK]),
    "a forced tool": message_request("Hello", tools=[WEATHER, CLOCK], tool_choice={"type": "any"}),
    "an image": message_request("What is this?", image()),
    "a PDF": message_request("What is this?", document({"type": "base64", "media_type": "application/pdf", "data": PDF})),
    "thinking": message_request("Hello", thinking={"type": "enabled", "budget_tokens": 1024}),
    "Bedrock's own search": message_request(
        "Hello",
        tools=[
            {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
            {**WEATHER, "defer_loading": True},
        ],
    ),
}


def counting(request):
    return {name: value for name, value in request.items() if name != "max_tokens"}


@pytest.mark.parametrize("name", COUNTED)
# Bedrock counts tokens for the first model, but not for the second.
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-5-5"])
def test_tokens_are_counted(client, model, name):
    request = counting(COUNTED[name])
    if model == "claude-opus-5-5" and name == "thinking":
        request["thinking"] = {"type": "adaptive"}
    counted = client.messages.count_tokens(**{**request, "model": model})
    assert counted.input_tokens > 0
    assert client.beta.messages.count_tokens(**{**request, "model": model}).input_tokens == counted.input_tokens


def test_more_words_cost_more_tokens(client):
    texts = ["word " * words for words in (1, 100, 10_000)]
    counts = [client.messages.count_tokens(**counting(message_request(text))).input_tokens for text in texts]
    assert counts == sorted(set(counts))
    without, with_tools = (
        client.messages.count_tokens(**counting(message_request("Hello", **more))).input_tokens
        for more in ({}, {"tools": [WEATHER, CLOCK]})
    )
    assert with_tools > without + 20


def test_count_is_near_the_input_tokens_of_usage(client):
    request = message_request("word " * 2000, system="Be brief. " * 100, tools=[WEATHER])
    counted = client.messages.count_tokens(**counting(request)).input_tokens
    cost = client.messages.create(**request).usage.input_tokens
    assert counted == pytest.approx(cost, rel=0.5)


def test_count_of_invalid_request_is_rejected_with_path(client):
    request = counting(message_request("Hello"))
    request["messages"].append({"role": "user", "content": [{"type": "text"}]})
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.1\.content\.0\.text: Field required"):
        client.messages.count_tokens(**request)
    with pytest.raises(anthropic.NotFoundError, match="gpt-4o"):
        client.messages.count_tokens(**{**counting(message_request("Hello")), "model": "gpt-4o"})
