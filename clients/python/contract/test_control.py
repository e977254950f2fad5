"""The contract of the control plane with boto3: models, profiles, and the models of application profiles."""

import pytest
from botocore.exceptions import ClientError
from fake import ACCESS_KEY, SONNET, client, code, status, user

pytest_plugins = ["running"]


def test_foundation_models_are_listed_and_filtered(control):
    listed = control.list_foundation_models()["modelSummaries"]
    opus = next(model for model in listed if model["modelId"] == "anthropic.claude-opus-5")
    assert opus["modelArn"] == "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-5"
    assert (opus["providerName"], opus["modelName"]) == ("Anthropic", "Claude Opus 5")
    assert opus["inferenceTypesSupported"] == ["INFERENCE_PROFILE"]
    assert opus["modelLifecycle"]["status"] == "ACTIVE"
    claude = control.list_foundation_models(byProvider="Anthropic")["modelSummaries"]
    assert 0 < len(claude) < len(listed)
    on_demand = control.list_foundation_models(byInferenceType="ON_DEMAND")["modelSummaries"]
    assert all(model["inferenceTypesSupported"] == ["ON_DEMAND"] for model in on_demand)
    assert control.list_foundation_models(byOutputModality="EMBEDDING")["modelSummaries"] == []


def test_a_foundation_model_is_found_by_its_id_and_its_arn(control):
    details = control.get_foundation_model(modelIdentifier="amazon.nova-pro-v1:0")["modelDetails"]
    assert details["inputModalities"] == ["TEXT", "IMAGE"]
    assert control.get_foundation_model(modelIdentifier=details["modelArn"])["modelDetails"] == details
    with pytest.raises(ClientError) as error:
        control.get_foundation_model(modelIdentifier="amazon.unknown-v1:0")
    assert (code(error), status(error)) == ("ResourceNotFoundException", 404)


def test_profiles_come_in_pages(control):
    non_streaming = control.list_inference_profiles(maxResults=1000)
    assert "nextToken" not in non_streaming
    pages = list(control.get_paginator("list_inference_profiles").paginate(PaginationConfig={"PageSize": 9}))
    assert len(pages) > 3
    assert all(len(page["inferenceProfileSummaries"]) <= 9 for page in pages)
    assert [p for page in pages for p in page["inferenceProfileSummaries"]] == non_streaming["inferenceProfileSummaries"]


def test_profiles_are_filtered_by_their_type(control, own_profile):
    own = control.list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"]
    assert own_profile in [profile["inferenceProfileArn"] for profile in own]
    system = control.list_inference_profiles(typeEquals="SYSTEM_DEFINED", maxResults=1000)
    ids = [profile["inferenceProfileId"] for profile in system["inferenceProfileSummaries"]]
    assert SONNET in ids and not any(name.startswith("eu.") for name in ids)


def test_profile_lists_its_models(control, bedrock, own_profile):
    profile = control.get_inference_profile(inferenceProfileIdentifier=own_profile)
    assert (profile["type"], profile["status"]) == ("APPLICATION", "ACTIVE")
    assert profile["models"][0]["modelArn"].endswith("foundation-model/anthropic.claude-opus-5")
    system = control.get_inference_profile(inferenceProfileIdentifier="us.anthropic.claude-opus-5")
    assert system["models"] == profile["models"] and len(system["models"]) == 3
    by_arn = control.get_inference_profile(inferenceProfileIdentifier=system["inferenceProfileArn"])
    assert by_arn["inferenceProfileId"] == system["inferenceProfileId"]
    with pytest.raises(ClientError, match="`temperature` is deprecated for this model."):
        bedrock.converse(modelId=own_profile, messages=user("hi"), inferenceConfig={"temperature": 1})


def test_what_does_not_exist_is_not_found(control, bedrock):
    with pytest.raises(ClientError) as error:
        control.get_inference_profile(inferenceProfileIdentifier="us.unknown")
    assert (code(error), status(error)) == ("ResourceNotFoundException", 404)
    with pytest.raises(ClientError, match="The provided model identifier is invalid."):
        arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/unknown"
        bedrock.converse(modelId=arn, messages=user("hi"))


def test_control_plane_requires_a_signature(url, no_bearer):
    other = client(url, "bedrock", aws_access_key_id=ACCESS_KEY, aws_secret_access_key="wrong")
    with pytest.raises(ClientError) as error:
        other.list_inference_profiles(maxResults=5, typeEquals="SYSTEM_DEFINED")
    assert (code(error), status(error)) == ("InvalidSignatureException", 403)
