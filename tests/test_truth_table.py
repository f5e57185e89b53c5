"""`docs/truth.md` names every sentence that the code can say, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from llmrec_cli.lists import wording
from llmrec_cli.writing.facts import Claim, Facts, ItemFacts, TasteFacts
from llmrec_cli.writing.writers.template import TemplateWriter

TABLE = (Path(__file__).parents[1] / "docs" / "truth.md").read_text(encoding="utf-8")


def describe(heading: str) -> list[str]:
    """First cells of the table under a heading."""
    (section,) = re.findall(rf"^## {re.escape(heading)}[^\n]*\n(.*?)(?=^## |\Z)", TABLE, re.MULTILINE | re.DOTALL)
    return [cell.strip() for cell in re.findall(r"^\| (.+?) \|", section, re.MULTILINE)][1:]


def test_every_reason_stands_in_the_table() -> None:
    assert describe("Reasons") == list(wording.SENTENCES)


def shape(sentence: str) -> str:
    """The words of a sentence: quotations and numbers are blanks, several in a row are one."""
    bare = sentence.replace("This item", "{}")
    bare = re.sub(r'"[^"]*"', "{}", re.sub(r"\{\w+\}", "{}", bare))
    bare = re.sub(r"\d[\d,]*", "{}", re.sub(r"((?:[Dd]etails|It has|Also): ).*", r"\1{}.", bare))
    return re.sub(r"\{\}(?:(?:, | and | › )\{\})+", "{}", bare).replace("events", "event")


def sentences(facts: list[Facts]) -> set[str]:
    """Shapes of all sentences that the templates write of these facts."""
    texts = [draft.text for draft in TemplateWriter().write(facts)]
    return {shape(sentence.strip()) for text in texts for sentence in re.findall(r'(?:"[^"]*"|[^".])+\.', text)}


def test_every_sentence_of_a_template_stands_in_the_table() -> None:
    """Facts with and without each part, so that every branch of the templates is written."""
    claim = (Claim("war", 9, 9, 0.1), Claim("peace", 9, 9, 0.1))
    items: list[Facts] = [
        ItemFacts(title, category, tags, details, people=people, rank=rank, n_items=40, turn=turn)
        for turn in range(60)
        for title in ("", "Mug")
        for category in ((), ("a",), ("a", "b"))
        for tags in ((), ("c", "d"))
        for details in ((), (("size", "1", ""), ("price", "1", "2")))
        for people, rank in ((0, 0), (1, 0), (2, 0), (2000, 3))
    ]
    tastes: list[Facts] = [
        TasteFacts(leanings, examples, late, example, n_events)
        for leanings in ((), claim)
        for examples in ((), ("A", "B"))
        for late, example in (((), ""), (claim, ""), (claim, "C"))
        for n_events in (0, 1, 2000)
    ]
    printed = [*describe("Descriptions of items"), "One person chose it.", "Nobody has chosen it yet."]
    assert sentences(items) == {shape(each) for each in printed}
    assert sentences(tastes) == {shape(each) for each in describe("Tastes")}
