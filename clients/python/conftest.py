"""Fixtures: fake-bedrock and the proxy, as processes on free ports."""

import http.client
import json
import os
import pathlib
import subprocess
import threading
import time

import anthropic
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Absolute, because the processes start in directories of their own.
PROXY_BIN = os.path.abspath(os.environ.get("BEDROCK_PROXY_BIN", ROOT / "target" / "debug" / "bedrock-proxy"))
FAKE_BIN = os.path.abspath(os.environ.get("FAKE_BEDROCK_BIN", ROOT / "target" / "debug" / "fake-bedrock"))

# Seconds; long enough for a loaded machine.
TIMEOUT = 20

# The SDKs read their own variables, and an HTTP proxy cannot connect to the loopback of this machine.
for name in list(os.environ):
    if name.startswith(("ANTHROPIC_", "AWS_", "OPENAI_")) or name.lower().endswith("_proxy"):
        del os.environ[name]


class Process:
    """A server that writes JSON lines to its standard output."""

    def __init__(self, command, environment, directory):
        # A new environment and an empty directory: neither this machine's AWS_* nor a .env can leak in.
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._lines = []
        self._stderr_lines = []
        self._news = threading.Condition()
        self._command = command
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._read_stderr, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            try:
                parsed = json.loads(line)
            except ValueError:
                parsed = {"text": line}
            with self._news:
                self._lines.append(parsed)
                self._news.notify_all()
        with self._news:
            self._lines.append({"ended": True})
            self._news.notify_all()

    def _read_stderr(self):
        # A pipe that is not read fills up and blocks the process.
        self._stderr_lines.extend(self._process.stderr)

    def line(self, wanted):
        """Waits for the first line that `wanted` accepts."""
        deadline = time.monotonic() + TIMEOUT
        seen = 0
        with self._news:
            while True:
                for line in self._lines[seen:]:
                    if wanted(line):
                        return line
                    if line.get("ended"):
                        raise RuntimeError(f"{self._command} ended: {''.join(self._stderr_lines)} {self._lines}")
                seen = len(self._lines)
                if not self._news.wait(max(0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    raise TimeoutError(f"{self._command} did not write the line; it wrote {self._lines[-20:]}")

    def is_alive(self):
        return self._process.poll() is None

    def stop(self):
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class HttpResponse:
    """Response as received, not parsed."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


class Proxy(Process):
    """The proxy, its log, and requests without an SDK."""

    def __init__(self, bedrock_url, directory, route="auto", **more):
        self.route = route
        environment = {
            "AWS_BEDROCK_ACCESS_KEY": "AKIDEXAMPLE",
            "AWS_BEDROCK_SECRET_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "AWS_BEDROCK_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock_url,
            "AWS_BEDROCK_ROUTE": route,
            "HOST": "127.0.0.1",
            # The system chooses a free port, which is in the log: no other process can take it meanwhile.
            "PORT": "0",
            "LOG_OUTPUT": "stdout",
            **more,
        }
        super().__init__([PROXY_BIN, "serve"], environment, directory)
        self.address = self.line(lambda line: "address" in line)["address"]
        self.url = f"http://{self.address}"
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                if self.send_request("GET", "/health").status == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError("the proxy is not healthy")

    def connect(self):
        host, port = self.address.rsplit(":", 1)
        return http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)

    def send_request(self, method, path, body=None, more_headers=None):
        connection = self.connect()
        try:
            headers = {"content-type": "application/json", "x-api-key": "key", **(more_headers or {})}
            connection.request(method, path, body if body is None else json.dumps(body), headers)
            return HttpResponse(connection.getresponse())
        finally:
            connection.close()

    def logged(self, request_id):
        """Waits for the access log line of a request."""
        return self.line(lambda line: line.get("event") == "request" and line["request_id"] == request_id)


@pytest.fixture(scope="session")
def bedrock_url(tmp_path_factory):
    fake = Process([FAKE_BIN, "--listen", "127.0.0.1:0"], {}, tmp_path_factory.mktemp("fake-bedrock"))
    try:
        yield fake.line(lambda line: "url" in line)["url"]
    finally:
        fake.stop()


@pytest.fixture(scope="session", params=["auto", "invoke", "messages"])
def proxy(request, bedrock_url, tmp_path_factory):
    """The proxy with its default route, which prefers Converse, and with each of the other upstream APIs."""
    proxy = Proxy(bedrock_url, tmp_path_factory.mktemp("proxy"), request.param)
    try:
        yield proxy
    finally:
        proxy.stop()


# Strict: the SDK checks each response and each event against its types. No retries: each test gets the first response.
SETTINGS = {"api_key": "key", "max_retries": 0, "timeout": TIMEOUT, "_strict_response_validation": True}


@pytest.fixture(scope="session")
def auto_proxy(bedrock_url, tmp_path_factory):
    """The proxy with its default route, for tests that do not depend on the route."""
    proxy = Proxy(bedrock_url, tmp_path_factory.mktemp("auto-proxy"))
    try:
        yield proxy
    finally:
        proxy.stop()


@pytest.fixture()
def client(proxy):
    with anthropic.Anthropic(base_url=proxy.url, **SETTINGS) as client:
        yield client


@pytest.fixture()
def make_async_client(proxy):
    """Factory to call inside the event loop that the client belongs to."""
    return lambda: anthropic.AsyncAnthropic(base_url=proxy.url, **SETTINGS)
