"""Facts of what people wrote of items: how many reviews, their stars, and sentences that are like most of them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Self
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.text_cleaning import plain
from llmrec_cli.ranking.ratings import are_ratings
from llmrec_cli.writing.facts import LONGEST_TITLE, Facts
from llmrec_cli.writing.languages import EMPTY
from llmrec_cli.writing.sentences import LONGEST, sentences

FEWEST = 3
"""People who must have written of an item."""
READ = 500
"""Reviews of an item whose sentences are looked at."""
ALIKE = 0.5
"""Share of common words from which on a second sentence says the same as the first."""
_WORD = re.compile(r"[^\W\d_\u4e00-\u9fff]+|[\u4e00-\u9fff]")


@dataclass(frozen=True)
class Quotation:
    """A sentence of a review."""

    sentence: str
    stars: float
    """That the review gives; 0 where the log has no ratings."""
    row: int
    """Of the raw log."""


@dataclass(frozen=True)
class ReviewFacts(Facts):
    """What people wrote of an item. The title and the sentences have gone through `plain`."""

    title: str
    n_reviews: int
    stars: float | None = None
    """Their mean; None where the log has no ratings."""
    most_stars: float = 0
    """Those of the best rating in the log."""
    often: tuple[int, float] = (0, 0)
    """How many reviews give the stars that most of them give, and these stars."""
    quotations: tuple[Quotation, ...] = ()
    """Each of another person."""

    kind = "review"

    @property
    def quotes(self) -> tuple[str, ...]:
        return (self.title,) if self.title else ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """How many reviews there are, with stars their mean, and what more than half of them give if it is not all."""
        share, usual = self.often
        known = {
            "n": f"{self.n_reviews:,}",
            "share": f"{share:,}",
            "usual": f"{usual:g}",
            "most": f"{self.most_stars:g}",
        }
        known["stars"] = f"{self.stars or 0:.2f}".rstrip("0").rstrip(".")
        last = 1 if self.stars is None else 2 + (share < self.n_reviews < 2 * share)
        return tuple(each.format(**known) for each in self.wording.reviews[:last])

    @property
    def says(self) -> list[list[str]]:
        """What each quotation says, in three forms."""
        w, most, one = self.wording, f"{self.most_stars:g}", self.wording.one[self.stars is not None]
        found = [(one.format(stars=f"{q.stars:g}", most=most), w.mark.format(q.sentence)) for q in self.quotations]
        return [[form.format(one=review, quote=quote) for form in w.says] for review, quote in found]

    @property
    def source_rows(self) -> tuple[int, ...]:
        return tuple(each.row for each in self.quotations)

    @property
    def statements(self) -> tuple[str, ...]:
        return (*self.numbers, *(form for forms in self.says for form in forms))

    def bare(self) -> Self:
        """Without quotations."""
        return replace(self, quotations=())


class ReviewEvidence:
    """Facts of the reviews of items, by row of `clean/items`."""

    def __init__(self, reviews: pa.Table, items: pa.Table, language: str, least: int = 0) -> None:
        """`reviews` is `clean/reviews`, `least` the people that an item needs to be named (`clean.min_support`)."""
        self._items, self._language = items, language
        codes = pc.index_in(reviews.column(ITEM), value_set=items.column(ITEM).combine_chunks())
        known = np.flatnonzero(codes.is_valid().to_numpy())
        of = codes.drop_null().to_numpy().astype(np.int64)
        order = np.argsort(of, kind="stable")
        self._reviews = reviews.take(known[order])
        self._ends = np.searchsorted(of[order], np.arange(items.num_rows + 1))
        pairs = self._reviews.append_column("code", pa.array(of[order])).group_by(["code", USER]).aggregate([])
        people = np.bincount(pairs.column("code").to_numpy(), minlength=items.num_rows)
        self.enough = people >= max(FEWEST, least)
        """(items,) whether enough people wrote of an item."""
        values = reviews.column("value")
        self._most = float(pc.max(values).as_py()) if are_ratings(values) else 0.0

    def __call__(self, rows: Ints) -> list[ReviewFacts]:
        names = self._items.select([ITEM, "title"]).take(rows).to_pylist()
        return [self._facts(each, int(row)) for each, row in zip(names, rows, strict=True)]

    def _facts(self, item: dict[str, str], row: int) -> ReviewFacts:
        begin, end = self._ends[row], self._ends[row + 1]
        mine = self._reviews.slice(begin, end - begin)
        stars = [each for each in mine.column("value").to_pylist() if each is not None]
        rated = self._most > 0 and len(stars) == mine.num_rows
        common = Counter(stars).most_common(1)[0] if rated else (0.0, 0)
        return ReviewFacts(
            title=plain(item["title"], LONGEST_TITLE),
            n_reviews=mine.num_rows,
            stars=sum(stars) / len(stars) if rated else None,
            most_stars=self._most,
            often=(common[1], common[0]),
            quotations=chosen(mine.slice(0, READ), common[0] if rated else None),
            turn=crc32(item[ITEM].encode()),
            language=self._language,
        )


def chosen(reviews: pa.Table, usual: float | None) -> tuple[Quotation, ...]:
    """At most two sentences of different people: the one whose words most reviews have, and one of other words.

    The first is of a review with the `usual` stars, the second rather of one with others.
    """
    found: dict[Quotation, set[str]] = {}
    people, reviewed = {}, Counter[str]()
    for each in reviews.to_pylist():
        reviewed.update(_words(each["text"]))
        for sentence in sentences(each["text"]):
            if len(sentence) <= LONGEST and (words := _words(sentence)):
                quotation = Quotation(sentence, each["value"] or 0.0, each["source_row"])
                found[quotation], people[quotation] = words, each[USER]
    ranked = sorted(found, key=lambda q: (-sum(reviewed[w] for w in found[q]) / len(found[q]), len(q.sentence), q.row))
    first = next((q for q in ranked if usual is None or q.stars == usual), None)
    if first is None:
        return tuple(ranked[:1])
    others = [q for q in ranked if people[q] != people[first] and _overlap(found[q], found[first]) < ALIKE]
    return (first, *sorted(others, key=lambda q: usual is None or q.stars == usual)[:1])


def _words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.casefold()) if word not in EMPTY}


def _overlap(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)
