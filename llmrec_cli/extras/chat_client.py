"""A client of chat servers that speak OpenAI's protocol (vLLM, Ollama, llama.cpp): retries, rate limit, token budget.

The key comes from the environment when a request is made and goes nowhere but into its header: redirections are not
followed, since they would carry it to another host, and no error quotes it.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from llmrec_cli.core.chat_server import KEY, ChatServerConfig
from llmrec_cli.core.errors import LlmrecError, MissingExtraError, SettingsError
from llmrec_cli.core.text_cleaning import one_line, shortened

SECTION = "generate.openai"
"""Of the settings of a server, where no other is named."""
BACKOFF, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the first repetition, doubled before each further one, and the most of them."""
LARGEST = 4 << 20
"""Bytes of an answer that are read."""
BYTES_PER_TOKEN = 3
"""Of a prompt, for estimates: English has about 4 and Chinese about 3 bytes of UTF-8 a token, JSON fewer."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
Message = Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int
    """As the server counted prompt and answer, else as estimated."""


class TransientError(Exception):
    """A fault that may pass, and the seconds that the server asks to wait."""

    def __init__(self, error: LlmrecError, wait: float = 0.0) -> None:
        super().__init__(str(error))
        self.error, self.wait = error, wait


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *request: Any, **more: Any) -> None:
        return None


class ChatClient:
    """Asks one model; may be called from several threads."""

    def __init__(
        self,
        config: ChatServerConfig,
        model: str,
        max_tokens: int,
        sleep: Callable[[float], object] = time.sleep,
        section: str = SECTION,
    ) -> None:
        """SettingsError for an address that is none. `section` is that of the settings, which errors name."""
        self.config, self.model, self.max_tokens, self._sleep = config, model, max_tokens, sleep
        self.url, self.section = config.base_url.rstrip("/"), section
        self._local = _host(self.url, section) in LOOPBACK
        direct = [urllib.request.ProxyHandler({})] if self._local else []
        self._opener = urllib.request.build_opener(_NoRedirection, *direct)
        self._lock, self._next_start = threading.Lock(), 0.0
        self._promised = 0
        self.spent = 0
        """Tokens of all answers so far."""

    def check(self) -> None:
        """MissingExtraError where the key is missing or refused, or nothing answers at the address."""
        try:
            self._send("/models", None, timeout=min(self.config.timeout, 10.0))
        except TransientError as fault:
            raise fault.error from fault
        except SettingsError:
            return  # a server without a list of models may still chat

    def ask(self, messages: Sequence[Message], temperature: float = 0.0) -> Answer:
        """The model's answer. Faults that may pass are met with patience, others with an error at once.

        SettingsError where the budget does not reach, or the server knows neither the request nor the protocol;
        MissingExtraError where the server or the key is not there.
        """
        body = {"messages": list(messages), "max_tokens": self.max_tokens, "temperature": temperature, "seed": 0}

        def read(content: Any) -> Answer:
            text = content["choices"][0]["message"]["content"] or ""  # null where a model has only thought
            if not isinstance(text, str):
                raise TypeError("its content is no text")
            return Answer(text, used_tokens(content) or tokens_of([*messages, {"content": text}]))

        return self.request("/chat/completions", body, read, tokens_of(messages) + self.max_tokens)

    def request(self, path: str, body: Mapping[str, Any], read: Callable[[Any], Answer], expected: int) -> Answer:
        """What `read` makes of the answer to a request that may take so many tokens; faults as `ask` meets them."""
        self._promise(expected)
        try:
            answer = self._patiently(path, {"model": self.model, **body}, read)
        finally:
            with self._lock:
                self._promised -= expected
        with self._lock:
            self.spent += answer.tokens
        return answer

    def _promise(self, tokens: int) -> None:
        budget = self.config.token_budget
        with self._lock:
            if budget and self.spent + self._promised + tokens > budget:
                raise SettingsError(
                    f"the budget of {budget:,} tokens is spent: {self.spent:,} were used, "
                    f"the next answer may take {tokens:,}",
                    where=f"{self.section}.token_budget",
                    fix="run the same command again: what was answered is kept, the next run has a budget of its own",
                )
            self._promised += tokens

    def _patiently(self, path: str, body: Mapping[str, Any], read: Callable[[Any], Answer]) -> Answer:
        for attempt in range(self.config.retries + 1):
            self._wait_for_turn()
            try:
                return self._answer(self._send(path, body, self.config.timeout), read)
            except TransientError as fault:
                if attempt == self.config.retries:
                    raise fault.error from fault
                self._sleep(min(max(fault.wait, BACKOFF * 2**attempt), LONGEST_WAIT))
        raise AssertionError("unreachable")

    def _wait_for_turn(self) -> None:
        """Requests begin at even distances, so many a minute."""
        if not self.config.requests_per_minute:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + 60.0 / self.config.requests_per_minute
        if start > now:
            self._sleep(start - now)

    def _send(self, path: str, body: Mapping[str, Any] | None, timeout: float) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with self._opener.open(request, timeout=timeout) as response:
                return bytes(response.read(LARGEST))
        except urllib.error.HTTPError as error:
            with error:
                raise self._error_text(error, key) from error
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", None) or error
            raise TransientError(
                MissingExtraError(
                    f"no chat server answers: {shortened(one_line(str(why) or type(why).__name__), 200)}",
                    where=self.url,
                    fix=f"start it, or name another one: --set {self.section}.base_url=http://HOST:PORT/v1",
                )
            ) from error

    def _key(self) -> str:
        key = os.environ.get(KEY, "").strip()
        if not key and not self._local:
            raise MissingExtraError(
                f"the key of the chat server is missing: the environment variable {KEY} is not set",
                where=self.url,
                fix=f"export {KEY}=...; any word does for a server that wants none",
            )
        if not key.isascii() or not key.isprintable():
            raise MissingExtraError(
                f"the environment variable {KEY} holds no key: it has characters that none has",
                where=self.url,
                fix=f"export {KEY}=... on one line",
            )
        return key

    def _error_text(self, error: urllib.error.HTTPError, key: str) -> Exception:
        """What an HTTP status other than 200 means; of the server's own words only what does not quote the key."""
        status = f"HTTP {error.code}"
        if error.code in (401, 403):
            return MissingExtraError(
                f"the chat server refuses the key ({status})", where=self.url, fix=f"export {KEY}=... with a valid key"
            )
        answer_text = _message(error)
        words = f": {answer_text}" if answer_text and not (key and key in answer_text) else ""
        if error.code in (408, 409, 429) or error.code >= 500:
            slow = "has too many requests" if error.code == 429 else "fails"
            return TransientError(
                MissingExtraError(
                    f"the chat server {slow} ({status}){words}",
                    where=self.url,
                    fix="run the same command again later: what was answered is kept"
                    + (f"; --set {self.section}.requests_per_minute=20 asks less often" if error.code == 429 else ""),
                ),
                _seconds(error.headers.get("Retry-After")),
            )
        return SettingsError(
            f"the chat server does not take the request ({status}){words}",
            where=f"{self.url}, model {self.model!r}",
            fix=f"check the name of the model and {self.section}.base_url",
        )

    def _answer(self, raw: bytes, read: Callable[[Any], Answer]) -> Answer:
        try:
            return read(json.loads(raw))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
            raise TransientError(
                SettingsError(
                    f"what the server answers is not OpenAI's protocol: {type(error).__name__}",
                    where=self.url,
                    fix=f"check {self.section}.base_url: it mostly ends in /v1",
                )
            ) from error


def tokens_of(messages: Sequence[Message]) -> int:
    """About how many tokens messages have, rather too many."""
    return sum(len(message["content"].encode()) // BYTES_PER_TOKEN + 8 for message in messages)


def used_tokens(content: Any) -> int:
    """The tokens that the server counted, 0 where it counts none."""
    used = (content.get("usage") or {}).get("total_tokens")
    return used if isinstance(used, int) and used > 0 else 0


def _host(url: str, section: str) -> str:
    """The host of an address; SettingsError for one that is none or holds a password. The message quotes none."""
    try:
        parts = urlsplit(url)
        host, secret = parts.hostname or "", parts.username or parts.password or parts.query
        sound = parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:
        host, secret, sound = "", "", False
    if not sound or secret:
        what = "holds a secret" if secret else f"is no address: {url!r}"
        fix = f"the key belongs into the environment variable {KEY}" if secret else "such as http://localhost:8000/v1"
        raise SettingsError(f"{section}.base_url {what}", fix=fix)
    return host


def _message(error: urllib.error.HTTPError) -> str:
    """What the server says of its refusal, on one line; "" where it says nothing in JSON."""
    try:
        content = json.loads(error.read(LARGEST))
        answer_text = content["error"]["message"] if isinstance(content["error"], dict) else content["error"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return shortened(one_line(str(answer_text)), 200)


def _seconds(retry_after: str | None) -> float:
    """The header's seconds; 0 where it is missing or a date."""
    try:
        return max(float(retry_after or 0), 0.0)
    except ValueError:
        return 0.0
