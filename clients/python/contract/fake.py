"""Shared by the contract tests: credentials, fixtures and clients of fake-bedrock."""

import base64
import json
import os
import pathlib
import subprocess

import boto3
from botocore.config import Config

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ.get("FAKE_BEDROCK_BIN", str(ROOT / "target" / "debug" / "fake-bedrock"))

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
BARE_SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE_ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
BEARER = "bedrock-api-key-example"

RED_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

WEATHER = {
    "toolSpec": {
        "name": "get_weather",
        "description": "Returns the weather",
        "inputSchema": {
            "json": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "days"],
            }
        },
    }
}


class Fake:
    """fake-bedrock on a free port, which it prints on its first line."""

    def __init__(self, *arguments):
        command = [BINARY, "--listen", "127.0.0.1:0", *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = json.loads(self._process.stdout.readline())["url"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(timeout=10)


def client(url, service="bedrock-runtime", **credentials):
    credentials = credentials or {
        "aws_access_key_id": ACCESS_KEY,
        "aws_secret_access_key": SECRET_KEY,
    }
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=url,
        # One attempt: a retry would hide the first response.
        config=Config(retries={"total_max_attempts": 1}, read_timeout=10),
        **credentials,
    )


def user(text, *blocks):
    return [{"role": "user", "content": [*blocks, {"text": text}]}]


def events(bedrock, text, **more):
    stream = bedrock.converse_stream(modelId=SONNET, messages=user(text), **more)["stream"]
    return list(stream)


def names(events):
    return [next(iter(event)) for event in events]


def deltas(events):
    return [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]


def code(error):
    return error.value.response["Error"]["Code"]


def status(error):
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"]
