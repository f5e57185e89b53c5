"""`docs/truth.md` names every sentence that the code can say, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmrec_cli.lists import wording
from llmrec_cli.writing.facts import Claim, Facts, ItemFacts, TasteFacts
from llmrec_cli.writing.writers.template import TemplateWriter

TABLE = (Path(__file__).parents[1] / "docs" / "truth.md").read_text(encoding="utf-8")


def describe(heading: str, language: str = "en") -> list[str]:
    """First (or, in Chinese, second) cells of the table under a heading; "[a|b]" is nothing, a or b."""
    (section,) = re.findall(rf"^## {re.escape(heading)}[^\n]*\n(.*?)(?=^## |\Z)", TABLE, re.MULTILINE | re.DOTALL)
    rows = [re.split(r"(?<!\\)\|", row)[1:] for row in re.findall(r"^\|.*$", section, re.MULTILINE)]
    cells = [row[language == "zh"].strip().replace("\\|", "|") for row in rows[2:]]
    return [form for cell in filter(None, cells) for form in forms(cell)]


def forms(cell: str) -> list[str]:
    start, bracket, rest = cell.partition("[")
    if not bracket:
        return [cell]
    either, _, end = rest.partition("]")
    return [start + each + end for each in ("", *either.split("|"))]


@pytest.mark.parametrize("language", list(wording.SENTENCES))
def test_every_reason_stands_in_the_table(language: str) -> None:
    assert describe("Reasons", language) == wording.SENTENCES[language].forms()


def shape(sentence: str) -> str:
    """The words of a sentence: quotations and numbers are blanks, several in a row are one."""
    bare = re.sub(r"“[^”]*”|\"[^\"]*\"", "{}", re.sub(r"\{\w+\}", "{}", sentence))
    bare = re.sub(r"((?:[Dd]etails|It has|Also): |(?:详情|具体|另外)：).*([.。])", r"\1{}\2", bare)
    return re.sub(r"\{\}(?:(?:, | and | › |、|和|›)\{\})+", "{}", re.sub(r"\d[\d,]*", "{}", bare))


def sentences(facts: list[Facts]) -> set[str]:
    """Shapes of all sentences that the templates write of these facts."""
    texts = [draft.text for draft in TemplateWriter().write(facts)]
    ends = r"(?:\"[^\"]*\"|“[^”]*”|[^\".“。])+[.。]"
    return {shape(sentence.strip()) for text in texts for sentence in re.findall(ends, text)}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_sentence_of_a_template_stands_in_the_table(language: str) -> None:
    """Facts with and without each part, so that every branch of the templates is written."""
    claim = (Claim("war", 9, 9, 0.1), Claim("peace", 9, 9, 0.1))
    items: list[Facts] = [
        ItemFacts(title, category, tags, details, people, rank, 40, sentence, turn=turn, language=language)
        for turn in range(60)
        for title in ("", "Mug")
        for category in ((), ("a",), ("a", "b"))
        for tags in ((), ("c", "d"))
        for details in ((), (("size", "1", ""), ("price", "1", "2")))
        for sentence in ("", "It holds tea")
        for people, rank in ((0, 0), (1, 0), (2, 0), (2000, 3))
    ]
    tastes: list[Facts] = [
        TasteFacts(leanings, examples, late, example, n_events, turn=turn, language=language)
        for turn in range(36)
        for leanings in ((), claim)
        for examples in ((), ("A", "B"))
        for late, example in (((), ""), (claim, ""), (claim, "C"))
        for n_events in (0, 1, 2000)
        if n_events or not (leanings or examples or late)
    ]
    assert sentences(items) == {shape(each) for each in describe("Descriptions of items", language)}
    assert sentences(tastes) == {shape(each) for each in describe("Tastes", language)}
