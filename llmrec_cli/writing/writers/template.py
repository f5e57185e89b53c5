"""The template writer: fixed sentences that vary with the facts there are. It needs no model and cannot invent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import jinja2

from llmrec_cli.core.text_cleaning import one_line
from llmrec_cli.writing.facts import Facts
from llmrec_cli.writing.languages import LANGUAGES
from llmrec_cli.writing.text_templates import picker
from llmrec_cli.writing.writers import Draft, WriterConfig

PROMPTS = Path(__file__).parent / "prompts"


class TemplateWriter:
    """Renders `prompts/<kind>.<language>.jinja`."""

    name = "template"

    def __init__(self) -> None:
        self._templates = {
            (kind, name): load_prompt(f"{kind}.{name}") for name, each in LANGUAGES.items() for kind in each.words
        }

    @classmethod
    def open(cls, config: WriterConfig, device: str, threads: int) -> Self:
        return cls()

    def write(self, facts: Sequence[Facts]) -> list[Draft]:
        drafts = []
        for each in facts:
            template, sha256 = self._templates[each.kind, each.language]
            text = template.render(f=each, w=each.wording, pick=picker(each.turn))
            drafts.append(Draft(one_line(text), self.name, "", sha256))
        return drafts


def load_prompt(name: str) -> tuple[jinja2.Template, str]:
    """A template of the `prompts` folder and the sha256 of its source. The texts are not HTML: nothing is escaped."""
    source = (PROMPTS / f"{name}.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    return environment.from_string(source), hashlib.sha256(source.encode()).hexdigest()
