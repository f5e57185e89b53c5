"""A chat server on loopback that speaks OpenAI's protocol and does what a test tells it to."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]


def chat(text: str | None, tokens: int = 10) -> Reply:
    message = {"role": "assistant", "content": text}
    return 200, {}, json.dumps({"choices": [{"message": message}], "usage": {"total_tokens": tokens}}).encode()


def completions(asked: dict[str, Any], likelihood: Callable[[str, str], float], tokens: int = 10) -> Reply:
    """The prompts of a request echoed with a log-probability of each word: `likelihood(what is before, the word)`."""
    choices = []
    for index, prompt in enumerate(asked["prompt"]):
        words = re.findall(r"\s*\S+\s*?", prompt)
        starts = [sum(map(len, words[:n])) for n in range(len(words))]
        values = [None, *(likelihood(prompt[:at], word) for at, word in zip(starts[1:], words[1:], strict=True))]
        logprobs = {
            "tokens": [*words, " more"],
            "token_logprobs": [*values, -99.0],
            "text_offset": [*starts, len(prompt)],
        }
        choices.append({"index": index, "text": prompt + " more", "logprobs": logprobs})
    return 200, {}, json.dumps({"choices": choices[::-1], "usage": {"total_tokens": tokens}}).encode()


def failure(status: int, message: str = "no", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, json.dumps({"error": {"message": message}}).encode()


def plain_text(asked: dict[str, Any]) -> str:
    """The template's text in the prompt of a request: what an obedient model may answer."""
    _, _, rest = asked["messages"][-1]["content"].partition("<facts>\n")
    return str(json.loads(rest.partition("\n</facts>")[0])["plain text"])


@dataclass
class Stub:
    url: str
    reply: Callable[[int, dict[str, Any]], Reply] = lambda n, asked: chat(plain_text(asked))
    """(number of the request from 0, its body) -> what is answered."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serve() -> Iterator[Stub]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer((200, {}, b'{"data": []}'))

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with stub.lock:
                number = len(stub.asked)
                stub.asked.append({"path": self.path, **asked})
                stub.keys.append(self.headers.get("Authorization", ""))
            self._answer(stub.reply(number, asked))

        def _answer(self, reply: Reply) -> None:
            status, headers, body = reply
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *printed: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub = Stub(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
