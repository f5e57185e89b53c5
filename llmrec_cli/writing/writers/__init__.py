"""Writers: each turns facts into a short text. They describe; they never choose items.

To add one: a file here with a class that has `open` and `write`, a line in WRITERS, and the contract tests run over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from pydantic import BaseModel, Field

from llmrec_cli.core.chat_server import ChatServerConfig
from llmrec_cli.writing.facts import Facts


class WriterConfig(BaseModel, frozen=True, extra="forbid"):
    model: str = Field("smollm2-135m", description="folder of a language model, or a name of `llmrec models list`")
    base: Path = Field(Path(), description="folder that a model's folder is looked for from")
    adapter: str = Field("", description="folder of a LoRA adapter of that model; none when empty")
    batch_size: int = Field(16, ge=1, description="texts that a language model writes at a time")
    max_new_tokens: int = Field(192, ge=8, description="longest text of a language model, in tokens")
    server: ChatServerConfig = ChatServerConfig()
    answers: str = Field("", description="folder that keeps what a chat server answered; none when empty")


@dataclass(frozen=True)
class Draft:
    """A text that has not been checked yet, and where it came from."""

    text: str
    writer: str
    model: str
    """Name of the language model, "+ adapter" after it where one was tuned; "" where there is no model."""
    prompt_sha256: str
    """Of the prompt as the model read it; of the template's source where there is no model."""
    tries: int = 1
    """Which draft for these facts it is, from 1."""


@dataclass(frozen=True)
class Expected:
    """What drafts would cost; the tokens are estimates, those of answers at most so many."""

    calls: int
    prompt_tokens: int
    answer_tokens: int
    cost: float
    """In the currency of the prices in the settings."""


class Writer(Protocol):
    """Writes drafts; the same facts give the same drafts."""

    name: str

    @classmethod
    def open(cls, config: WriterConfig, device: str, threads: int) -> Self:
        """Fails at once where the model is not there."""
        ...

    def write(self, facts: Sequence[Facts]) -> list[Draft]:
        """One draft for each, in order."""
        ...


@runtime_checkable
class Rewrites(Protocol):
    """A writer that can do better when it knows what was wrong."""

    def rewrite(self, facts: Sequence[Facts], faults: Sequence[str], tries: int) -> list[Draft]:
        """Another draft for each, the `tries`-th."""
        ...


@runtime_checkable
class Estimates(Protocol):
    """A writer that knows what its drafts would cost before it writes any."""

    def expected(self, facts: Sequence[Facts]) -> Expected: ...


WRITERS = {
    "template": "llmrec_cli.writing.writers.template:TemplateWriter",
    "hf": "llmrec_cli.writing.writers.hf:HfWriter",
    "openai": "llmrec_cli.extras.openai_writer:OpenAiWriter",
}
