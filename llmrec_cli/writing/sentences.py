"""Sentences of descriptions and reviews that may be quoted: found, made plain, chosen, never changed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from llmrec_cli.core.text_cleaning import comparable, plain

SHORTEST, LONGEST = 20, 140
"""Characters of a quotation; one of Chinese characters may be half as long as the shortest."""
_END = re.compile(r"(?<=\w{3}[.!?])\s+|(?<=[。！？])|\s*[\n•|]\s*")
_UNFIT = re.compile(r"[@{}\\|]|\d{6}|https?:|www\.|<\w")
_HAN = re.compile(r"[\u4e00-\u9fff]")


def sentences(text: str) -> list[str]:
    """The sentences that are fit to be quoted, without a link, an address, markup or a long number."""
    found = [plain(each, 4 * LONGEST) for each in _END.split(text) if not _UNFIT.search(each)]
    return [each for each in dict.fromkeys(found) if len(each) + len(_HAN.findall(each)) >= SHORTEST]


def own_sentence(text: str, known: Iterable[str]) -> str:
    """The sentence of a description that has most words of `known` names and more than them; "" where there is none."""
    names = set(comparable(" ".join(known)).split())
    more = [each for each in sentences(text) if not set(comparable(each).split()) <= names]
    whole = [each for each in more if len(each) <= LONGEST]
    if not whole:
        return plain(more[0], LONGEST) if more else ""
    return max(whole, key=lambda each: len(names & set(comparable(each).split())))
