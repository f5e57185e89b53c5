"""Drafts become texts: each is checked against its facts, and what fails is written anew by the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmrec_cli.writing.facts import Facts
from llmrec_cli.writing.grounding import fault
from llmrec_cli.writing.writers import Draft
from llmrec_cli.writing.writers.template import TemplateWriter

PASSED = "passed"


@dataclass(frozen=True)
class Text(Draft):
    """A draft that may be shown: its words are those of `writer`."""

    check: str
    """PASSED, or "replaced: " and what was wrong with the first draft."""


def checked(drafts: Sequence[Draft], facts: Sequence[Facts], template: TemplateWriter) -> list[Text]:
    """A text for each draft; a template's text that fails is written anew from the barest facts."""
    return [_checked(draft, each, template) for draft, each in zip(drafts, facts, strict=True)]


def _checked(draft: Draft, facts: Facts, template: TemplateWriter) -> Text:
    why = fault(draft.text, facts)
    if not why:
        return _text(draft, PASSED)
    for known in (facts, facts.bare()):
        (again,) = template.write([known])
        if not fault(again.text, known):
            return _text(again, f"replaced: {why}")
    raise AssertionError(f"the barest template fails its own check: {fault(again.text, known)}")


def _text(draft: Draft, check: str) -> Text:
    return Text(draft.text, draft.writer, draft.model, draft.prompt_sha256, check)
