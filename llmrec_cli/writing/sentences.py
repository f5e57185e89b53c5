"""Sentences of descriptions and reviews that may be quoted: found, made plain, chosen, never changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import islice

from llmrec_cli.core.text_cleaning import comparable, plain

SHORTEST, LONGEST = 20, 140
"""Characters of a quotation; one of Chinese characters may be half as long as the shortest."""
SAMPLED, COMMON = 2000, 3
"""Descriptions that common sentences are looked for in, and how many of them have one."""
_END = re.compile(r"(?<=\w{3}[.!?])\s+|(?<=[。！？])|\s*[\n•|]\s*")
_UNFIT = re.compile(r"[@{}\\|]|\d{6}|https?:|www\.|<\w")
_HAN = re.compile(r"[\u4e00-\u9fff]")


def sentences(text: str) -> list[str]:
    """The sentences that are fit to be quoted, without a link, an address, markup or a long number."""
    found = [plain(each, 4 * LONGEST) for each in _END.split(text) if not _UNFIT.search(each)]
    return [each for each in dict.fromkeys(found) if len(each) + len(_HAN.findall(each)) >= SHORTEST]


def common_sentences(texts: Iterable[str]) -> frozenset[str]:
    """Sentences that several of the first descriptions have: terms of sale and the like."""
    counts = Counter(each for text in islice(texts, SAMPLED) for each in sentences(text))
    return frozenset(each for each, n in counts.items() if n >= COMMON)


def own_sentence(text: str, known: Iterable[str], common: Collection[str]) -> str:
    """The sentence of a description that has most words of `known` names and more than them; "" where there is none.

    One that is not among the `common` ones comes first; a long one is cut where there is none that is short enough.
    """
    names = set(comparable(" ".join(known)).split())
    more = [each for each in sentences(text) if not set(comparable(each).split()) <= names]
    whole = [each for each in more if len(each) <= LONGEST]
    if not whole:
        return plain(more[0], LONGEST) if more else ""
    return max(whole, key=lambda each: (each not in common, len(names & set(comparable(each).split()))))
