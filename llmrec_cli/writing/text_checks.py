"""What a text about a list must be before a reader gets it: true to its names and numbers, and fit to print."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

QUOTED = re.compile(r"“[^“”]*”")
MARKUP = re.compile(r"<[a-z/!][^>]*>|https?:|www\.|```|\[/?\w+\]\(|\{\{|\{%", re.IGNORECASE)
INTERNAL = re.compile(
    r"\b(tag(s|ged)?|events?|score[sd]?|models?|ranker|retriever|candidates?|embedding|segment|strategy|item_id|user_id"
    r"|chosen [\d,]+ times|none|null|nan)\b|标签|模型|得分|事件|向量|候选",
    re.IGNORECASE,
)
_HAN = re.compile(r"[\u4e00-\u9fff]")
_NUMBER = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True)
class Allowed:
    """What a text may and must say."""

    names: Collection[str]
    """Titles and phrases, in their quotation marks, that it may quote."""
    needed: Collection[str]
    """Those of them that it must quote."""
    numbers: Collection[str] = ()
    longest: int = 1000


def fault(text: str, language: str, allowed: Allowed) -> str:
    """Why the text must not be shown, in a few words; "" where it passes."""
    return next(_faults(text, language, allowed), "")


def _faults(text: str, language: str, allowed: Allowed) -> Iterator[str]:
    if not text.strip():
        yield "empty"
    if len(text) > allowed.longest:
        yield f"longer than {allowed.longest} characters"
    if not text.replace("\n", "").isprintable() or MARKUP.search(text):
        yield "markup, a link or control characters"
    quotes, words = QUOTED.findall(text), QUOTED.sub(" ", text)
    if "“" in words or "”" in words:
        yield "an unfinished quotation"
    yield from (f"quotes what is not in the facts: {each[:40]}" for each in quotes if each not in allowed.names)
    yield from (f"leaves out: {each[:40]}" for each in allowed.needed if each not in quotes)
    numbers = (each.rstrip(".,") for each in _NUMBER.findall(words))
    yield from (f"a number that is not in the facts: {each}" for each in numbers if each not in allowed.numbers)
    yield from (f"a word of the program's own: {found[0]}" for found in INTERNAL.finditer(words))
    if language in ("en", "zh") and bool(_HAN.search(words)) != (language == "zh"):
        yield f"not in the language {language!r}"
