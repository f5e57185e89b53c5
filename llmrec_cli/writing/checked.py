"""Drafts become texts: each is checked against its facts, and what fails is written anew by the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmrec_cli.writing.facts import Facts
from llmrec_cli.writing.grounding import facts_in, fault
from llmrec_cli.writing.writers import Draft, Rewrites, Writer
from llmrec_cli.writing.writers.template import TemplateWriter

PASSED = "passed"


@dataclass(frozen=True, kw_only=True)
class Text(Draft):
    """A draft that may be shown: its words are those of `writer`, the last of `tries` drafts."""

    facts: tuple[str, ...]
    """What it says of the facts, as often as it says so."""
    check: str
    """PASSED, or "replaced: " and what was wrong with the first draft."""
    source_rows: tuple[int, ...]


def write_until_valid(writer: Writer, facts: Sequence[Facts], tries: int) -> list[Draft]:
    """A draft for each; what fails the check is written anew, `tries` drafts at most, by a writer that can do so."""
    drafts = writer.write(facts)
    if not isinstance(writer, Rewrites):
        return drafts
    for attempt in range(2, tries + 1):
        faults = [fault(draft.text, each) for draft, each in zip(drafts, facts, strict=True)]
        wrong = [place for place, why in enumerate(faults) if why]
        if not wrong:
            break
        again = writer.rewrite([facts[i] for i in wrong], [faults[i] for i in wrong], attempt)
        for place, draft in zip(wrong, again, strict=True):
            drafts[place] = draft
    return drafts


def checked(drafts: Sequence[Draft], facts: Sequence[Facts], template: TemplateWriter) -> list[Text]:
    """A text for each draft; a template's text that fails is written anew from the barest facts."""
    return [_checked(draft, each, template) for draft, each in zip(drafts, facts, strict=True)]


def _checked(draft: Draft, facts: Facts, template: TemplateWriter) -> Text:
    why = fault(draft.text, facts)
    if not why:
        return _text(draft, facts, PASSED)
    for known in (facts, facts.bare()):
        (again,) = template.write([known])
        if not fault(again.text, known):
            return _text(replace(again, tries=draft.tries + 1), known, f"replaced: {why}")
    raise AssertionError(f"the barest template fails its own check: {fault(again.text, known)}")


def _text(draft: Draft, facts: Facts, check: str) -> Text:
    return Text(**vars(draft), facts=facts_in(draft.text, facts), check=check, source_rows=facts.source_rows)
