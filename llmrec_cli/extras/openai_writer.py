"""A model behind an OpenAI-compatible chat server as a writer: it gets the facts as fenced data and is checked.

Answers are kept by the sha256 of prompt and model: a run that was killed, or whose budget was spent, goes on where it
stopped, and a later one does not pay again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from llmrec_cli.core.disk import disk_errors
from llmrec_cli.core.text_cleaning import one_line
from llmrec_cli.extras.chat_client import ChatClient, Message, tokens_of
from llmrec_cli.writing.facts import Facts
from llmrec_cli.writing.languages import LANGUAGES
from llmrec_cli.writing.writers import Draft, Expected, WriterConfig
from llmrec_cli.writing.writers.template import TemplateWriter, load_prompt

WARMER = 0.7
"""Temperature of a second try; the first has 0."""
_THOUGHT = re.compile(r"<think>.*?(</think>|$)", re.DOTALL)


class OpenAiWriter:
    """Any chat model of a server that speaks OpenAI's protocol."""

    name = "openai"

    def __init__(self, config: WriterConfig) -> None:
        self.config = config
        self._client = ChatClient(config.server, config.model, config.max_new_tokens)
        self._answers = Answers(Path(config.answers) if config.answers else None)
        self._template = TemplateWriter()
        chat = load_prompt("chat")[0]
        self._orders = {
            (kind, name): one_line(chat.render(language=each.name, words=", ".join(sorted(words))))
            for name, each in LANGUAGES.items()
            for kind, words in each.words.items()
        }

    @classmethod
    def open(cls, config: WriterConfig, device: str, threads: int) -> Self:
        return cls(config)

    @classmethod
    def ready(cls, config: WriterConfig) -> None:
        """Raises what is wrong with address, key or server."""
        ChatClient(config.server, config.model, config.max_new_tokens).check()

    def write(self, facts: Sequence[Facts]) -> list[Draft]:
        return self._drafts([self._messages(each, "") for each in facts], tries=1)

    def rewrite(self, facts: Sequence[Facts], faults: Sequence[str], tries: int) -> list[Draft]:
        return self._drafts([self._messages(each, why) for each, why in zip(facts, faults, strict=True)], tries)

    def expected(self, facts: Sequence[Facts]) -> Expected:
        prompts = [self._messages(each, "") for each in facts]
        new = [prompt for prompt in prompts if self._answers.find(self._key(prompt, 1)) is None]
        server = self.config.server
        asked, answered = sum(map(tokens_of, new)), self.config.max_new_tokens * len(new)
        cost = (asked * server.price_prompt + answered * server.price_answer) / 1e6
        return Expected(len(new), asked, answered, cost)

    def _drafts(self, prompts: list[list[Message]], tries: int) -> list[Draft]:
        """In order, several requests at a time; the first error ends it, and what was answered by then is kept."""
        pool = ThreadPoolExecutor(self.config.server.parallel)
        try:
            texts = list(pool.map(lambda prompt: self._text(prompt, tries), prompts))
        finally:
            pool.shutdown(cancel_futures=True)
        return [
            Draft(text, self.name, self.config.model, _sha256(prompt), tries)
            for text, prompt in zip(texts, prompts, strict=True)
        ]

    def _text(self, prompt: list[Message], tries: int) -> str:
        key = self._key(prompt, tries)
        found = self._answers.find(key)
        if found is None:
            found = self._client.ask(prompt, WARMER if tries > 1 else 0.0).text
            self._answers.keep(key, found)
        return one_line(_THOUGHT.sub(" ", found))

    def _key(self, prompt: list[Message], tries: int) -> str:
        return _sha256([self.config.model, self.config.max_new_tokens, tries, prompt])

    def _messages(self, facts: Facts, fault: str) -> list[Message]:
        """Orders are the program's own; whatever comes from data stands as JSON between <facts> and </facts>."""
        (example,) = self._template.write([facts])
        known: dict[str, Any] = {
            "quotable": list(dict.fromkeys((*facts.quotes, *facts.phrases))),
            "lists": {
                phrase: facts.lists[name] for phrase, name in facts.wording.opens.items() if facts.lists.get(name)
            },
            "statements": facts.statements,
            "plain text": example.text,
        }
        if fault:
            known["what was wrong with the last text"] = fault
        data = json.dumps(known, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
        return [
            {"role": "system", "content": self._orders[facts.kind, facts.language]},
            {"role": "user", "content": f"<facts>\n{data}\n</facts>\nWrite the text."},
        ]


class Answers:
    """What the model answered, a file for each; what cannot be read is asked again. Without folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def find(self, key: str) -> str | None:
        try:
            found = json.loads((self.folder / key).read_text(encoding="utf-8"))["text"] if self.folder else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if isinstance(found, str) else None

    def keep(self, key: str, text: str) -> None:
        if not self.folder:
            return
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = self.folder / f".tmp-{key}"
            temporary.write_text(json.dumps({"text": text}, ensure_ascii=False), encoding="utf-8")
            os.replace(temporary, self.folder / key)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
