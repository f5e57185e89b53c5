from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from llmrec_cli.core.chat_server import KEY, ChatServerConfig
from llmrec_cli.core.errors import LlmrecError, MissingExtraError, SettingsError
from llmrec_cli.extras.chat_client import ChatClient
from tests.stub_server import Stub, chat, failure, serve

SECRET = "sk-topsecret-0123"
HELLO = [{"role": "user", "content": "Hello."}]


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serve() as server:
        yield server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing on loopback goes by a proxy


def client(url: str, waits: list[float] | None = None, **settings: Any) -> ChatClient:
    config = ChatServerConfig(base_url=url, timeout=5, **settings)
    return ChatClient(config, "toy", 20, ([] if waits is None else waits).append)


def error_of(client: ChatClient) -> LlmrecError:
    with pytest.raises(LlmrecError) as caught:
        client.ask(HELLO)
    assert SECRET not in str(caught.value)
    assert caught.value.fix
    return caught.value


def test_an_answer_with_key_and_count_of_tokens(stub: Stub) -> None:
    asks = client(stub.url)
    asks.check()
    stub.reply = lambda n, asked: chat("Good day.", tokens=7)
    answer = asks.ask(HELLO)
    assert (answer.text, answer.tokens, asks.spent) == ("Good day.", 7, 7)
    assert stub.asked[-1]["path"] == "/v1/chat/completions" and stub.asked[-1]["model"] == "toy"
    assert stub.asked[-1]["max_tokens"] == 20 and stub.keys[-1] == f"Bearer {SECRET}"


def test_a_server_that_counts_no_tokens_is_counted_for(stub: Stub) -> None:
    body = json.dumps({"choices": [{"message": {"content": "Good day."}}]}).encode()
    stub.reply = lambda n, asked: (200, {}, body)
    assert client(stub.url).ask(HELLO).tokens > 2


@pytest.mark.parametrize("fault", [failure(500, "boom"), failure(503), failure(429), (200, {}, b"{nonsense")])
def test_what_may_pass_is_tried_again_with_longer_waits(stub: Stub, fault: Any) -> None:
    waits: list[float] = []
    stub.reply = lambda n, asked: fault if n < 2 else chat("At last.")
    assert client(stub.url, waits).ask(HELLO).text == "At last."
    assert waits == [1.0, 2.0] and len(stub.asked) == 3


def test_the_server_says_how_long_to_wait(stub: Stub) -> None:
    waits: list[float] = []
    stub.reply = lambda n, asked: failure(429, Retry_After="7") if n == 0 else chat("Now.")
    client(stub.url, waits).ask(HELLO)
    assert waits == [7.0]


@pytest.mark.parametrize(
    ("reply", "code", "printed", "requests"),
    [
        (failure(429, "slow down"), 5, "too many requests (HTTP 429): slow down", 3),
        (failure(500, "boom"), 5, "fails (HTTP 500): boom", 3),
        (failure(401, f"wrong key {SECRET}"), 5, "refuses the key (HTTP 401)", 1),
        (failure(404, "no model 'toy'"), 2, "does not take the request (HTTP 404): no model 'toy'", 1),
        (failure(400, f"you sent {SECRET}"), 2, "does not take the request (HTTP 400)", 1),
        (failure(302, Location="http://127.0.0.1:9/"), 2, "(HTTP 302)", 1),
        ((200, {}, b"<html>"), 2, "not OpenAI's protocol", 3),
        ((200, {}, b'{"choices": []}'), 2, "not OpenAI's protocol", 3),
        ((200, {}, b'{"choices": [{"message": {"content": 3}}]}'), 2, "not OpenAI's protocol", 3),
    ],
)
def test_what_does_not_pass_is_told_with_its_exit_code(
    stub: Stub, reply: Any, code: int, printed: str, requests: int
) -> None:
    stub.reply = lambda n, asked: reply
    error = error_of(client(stub.url, retries=2))
    assert error.exit_code == code and printed in error.what
    assert len(stub.asked) == requests


def test_nothing_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    waits: list[float] = []
    asks = client(f"http://127.0.0.1:{port}/v1", waits, retries=1)
    error = error_of(asks)
    assert isinstance(error, MissingExtraError) and "no chat server answers" in error.what and waits == [1.0]
    with pytest.raises(MissingExtraError, match="no chat server answers"):
        asks.check()


def test_a_key_is_needed_elsewhere_than_on_this_machine(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY)
    stub.reply = lambda n, asked: chat("Come in.")
    assert client(stub.url).ask(HELLO).text == "Come in." and stub.keys == [""]
    error = error_of(client("https://api.example.com/v1"))
    assert error.exit_code == 5 and f"{KEY} is not set" in error.what
    monkeypatch.setenv(KEY, "two\nlines")
    assert "holds no key" in error_of(client("https://api.example.com/v1")).what


@pytest.mark.parametrize("url", ["localhost:8000/v1", "file:///etc/passwd", "http://", "http://[/v1", "ftp://x/v1"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(SettingsError, match="is no address"):
        client(url)


def test_a_secret_in_the_address_is_refused_and_not_quoted() -> None:
    for url in (f"https://me:{SECRET}@example.com/v1", f"https://example.com/v1?key={SECRET}"):
        with pytest.raises(SettingsError, match=KEY) as caught:
            client(url)
        assert SECRET not in str(caught.value)


def test_the_budget_is_not_exceeded(stub: Stub) -> None:
    stub.reply = lambda n, asked: chat("Yes.", tokens=30)
    asks = client(stub.url, token_budget=70)
    asks.ask(HELLO)
    asks.ask(HELLO)
    error = error_of(asks)
    assert isinstance(error, SettingsError) and "budget of 70 tokens is spent: 60 were used" in error.what
    assert len(stub.asked) == 2 and asks.spent == 60


def test_requests_begin_at_even_distances(stub: Stub) -> None:
    waits: list[float] = []
    stub.reply = lambda n, asked: chat("Yes.")
    asks = client(stub.url, waits, requests_per_minute=6)
    for _ in range(3):
        asks.ask(HELLO)
    assert len(waits) == 2 and 8 < waits[0] <= 10 and 17 < waits[1] <= 20
