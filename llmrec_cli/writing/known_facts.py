"""Facts from the artifacts: what the catalogue says of an item, what the history says of a user."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from llmrec_cli.core.arrays import Bools, Ints
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.text_cleaning import plain
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.profiles.interests import tagged
from llmrec_cli.writing.claims import usual_shares
from llmrec_cli.writing.facts import LONGEST_TITLE, Claim, ItemFacts, TasteFacts
from llmrec_cli.writing.languages import EMPTY
from llmrec_cli.writing.sentences import common_sentences, own_sentence

LEVELS, TAGS, ATTRIBUTES = 5, 5, 3  # at most so many are reported of an item
FOREMOST = 0.1  # share of the catalogue whose place by popularity is reported
INTERESTS, EXAMPLES, RECENT = 3, 2, 2  # at most so many are reported of a user
EXAMPLE_EVENTS = 50  # newest events that examples are taken from
NEWEST = 10  # events that are lately, where there are as many before


class ItemEvidence:
    """Facts of items, by row of `clean/items`."""

    def __init__(self, items: pa.Table, people: Ints, ranges: pa.Table | None = None, language: str = "en") -> None:
        """`people` (items,) chose each item; `ranges` is `clean/item_ranges`, where the log has such attributes."""
        self._items, self._people, self._language = items, people, language
        chosen = np.sort(people[people > 0])
        self._n_items = len(chosen)
        self._rank = 1 + len(chosen) - np.searchsorted(chosen, people, side="right")
        self._common = common_sentences(text or "" for text in items.column("text").to_pylist())
        rows = [] if ranges is None else ranges.to_pylist()
        self._ranges = {(row[ITEM], row["name"]): (row["low"], row["high"]) for row in rows}

    def __call__(self, rows: Ints) -> list[ItemFacts]:
        taken = self._items.take(rows).to_pylist()
        return [self._facts(item, int(row)) for item, row in zip(taken, rows, strict=True)]

    def _facts(self, item: dict[str, Any], row: int) -> ItemFacts:
        people, rank = int(self._people[row]), int(self._rank[row])
        levels = sayable((item["category"] or "").split(" > "))[-LEVELS:]
        attributes = [self._attribute(item[ITEM], each) for each in item["attributes"] or ()]
        title = plain(item["title"], LONGEST_TITLE)
        return ItemFacts(
            title=title,
            category=levels,
            tags=tuple(tag for tag in sayable(item["tags"] or ()) if tag not in levels)[:TAGS],
            attributes=tuple(dict.fromkeys(each for each in attributes if each[0] and each[1]))[:ATTRIBUTES],
            people=people,
            rank=rank if people and rank <= FOREMOST * self._n_items else 0,
            n_items=self._n_items,
            sentence=own_sentence(item["text"] or "", [title, *levels], self._common),
            turn=crc32(item[ITEM].encode()),
            language=self._language,
        )

    def _attribute(self, item_id: str, each: dict[str, str]) -> tuple[str, str, str]:
        low, high = self._ranges.get((item_id, each["name"]), (each["value"], ""))
        return plain(each["name"]), plain(low), plain(high)


class TasteEvidence:
    """Facts of users, by row of `profile/profiles`. Demographics are not among them."""

    def __init__(self, profiles: pa.Table, histories: Sequences, items: pa.Table, language: str = "en") -> None:
        """`histories` are those of the profiles' users."""
        self._profiles, self._histories, self._language = profiles, histories, language
        self._titles = [plain(title, LONGEST_TITLE) for title in items.column("title").to_pylist()]
        self._tags = tagged(items.column("tags").to_pylist())
        self._code = {name: code for code, name in enumerate(self._tags.names)}
        self._all = self._counted(np.ones(len(histories.codes), dtype=bool))
        self._new = self._counted(lately(histories))
        self._everybody = np.asarray(self._all.sum(axis=0)).reshape(-1)

    def _counted(self, events: Bools) -> sp.csr_matrix:
        """(users, tags + 1) events of each tag among some events, and in the last column all of them."""
        histories = self._histories
        places = (histories.users[events], histories.codes[events])
        chosen = sp.csr_matrix(
            (np.ones(len(places[0]), dtype=np.int64), places), shape=(len(histories), histories.n_items)
        )
        every = sp.csr_matrix(np.ones((histories.n_items, 1), dtype=np.int64))
        return (chosen @ sp.hstack([self._tags.matrix.astype(np.int64), every]).tocsr()).tocsr()

    def __call__(self, rows: Ints) -> list[TasteFacts]:
        taken = self._profiles.select([USER, "interests"]).take(rows).to_pylist()
        found = [self._facts(int(row), _tags(each["interests"])) for row, each in zip(rows, taken, strict=True)]
        turns = [crc32(each[USER].encode()) for each in taken]
        return [replace(each, turn=turn, language=self._language) for each, turn in zip(found, turns, strict=True)]

    def _facts(self, row: int, interests: list[str]) -> TasteFacts:
        history = self._histories[row]
        if len(history) == 0:
            return TasteFacts()
        newest = list(dict.fromkeys(history[::-1][:EXAMPLE_EVENTS].tolist()))
        leanings = self._leanings(row, interests)
        recent = self._lately(row, {claim.tag for claim in leanings})
        codes, new = (self._codes(claims) for claims in (leanings, recent[:1]))
        latest = next((self._titles[i] for i in newest if self._titles[i] and self._carries(i, new)), "")
        return TasteFacts(
            leanings=leanings,
            examples=self._examples(newest, codes, latest),
            lately=recent,
            lately_example=latest,
            n_events=len(history),
        )

    def _leanings(self, row: int, interests: list[str]) -> tuple[Claim, ...]:
        """What the user has more of than all others, in the order of the profile's interests."""
        counts, everybody = self._of(self._all, row), self._everybody
        events = counts[-1]
        found = []
        for tag in (tag for tag in interests if tag in self._code):
            n, total = int(counts[self._code[tag]]), everybody[self._code[tag]]
            (usual,) = usual_shares(np.array([n]), np.array([events]), np.array([total]), int(everybody[-1]))
            found.append(Claim(plain(tag), n, int(events), float(usual)))
        return self._sayable(found)[:INTERESTS]

    def _lately(self, row: int, known: set[str]) -> tuple[Claim, ...]:
        """What the newest events have more of than the user's earlier ones, the largest surplus first."""
        new, counts = self._of(self._new, row), self._of(self._all, row)
        before = counts - new
        usual = before[:-1] / max(before[-1], 1)
        order = np.argsort(-(new[:-1] - usual * new[-1]), kind="stable")[: 4 * RECENT]
        found = [Claim(plain(self._tags.names[c]), int(new[c]), int(new[-1]), float(usual[c])) for c in order.tolist()]
        return self._sayable([claim for claim in found if claim.tag not in known])[:RECENT]

    @staticmethod
    def _sayable(claims: list[Claim]) -> tuple[Claim, ...]:
        words = sayable([claim.tag for claim in claims])
        return tuple({claim.tag: claim for claim in reversed(claims) if claim.holds and claim.tag in words}.values())[
            ::-1
        ]

    @staticmethod
    def _of(counts: sp.csr_matrix, row: int) -> Ints:
        return np.asarray(counts[row].toarray(), dtype=np.int64).reshape(-1)

    def _codes(self, claims: tuple[Claim, ...]) -> frozenset[str]:
        return frozenset(claim.tag for claim in claims)

    def _carries(self, item: int, tags: frozenset[str]) -> int:
        """How many of the tags an item has."""
        row = self._tags.matrix.indices[self._tags.matrix.indptr[item] : self._tags.matrix.indptr[item + 1]]
        return len(tags & {plain(self._tags.names[code]) for code in row})

    def _examples(self, newest: list[int], leanings: frozenset[str], already: str) -> tuple[str, ...]:
        """Titles of the items that carry most of the leanings, the newest first among equals."""
        carried = {i: self._carries(i, leanings) for i in newest if self._titles[i] not in ("", already)}
        fitting = [i for i in carried if not leanings or carried[i]]
        best = sorted(fitting, key=lambda i: -carried[i])
        return tuple(dict.fromkeys(self._titles[i] for i in best[: 2 * EXAMPLES]))[:EXAMPLES]


def lately(histories: Sequences) -> Bools:
    """(events,) whether an event is among a user's newest `NEWEST`, and strictly later than all that came before.

    None of a user with fewer events before than lately, and none without times: then nothing is known to be late.
    """
    if histories.times is None or not len(histories.codes):
        return np.zeros(len(histories.codes), dtype=bool)
    long = histories.lengths >= 2 * NEWEST
    last_before = np.zeros(len(histories), dtype=np.int64)
    last_before[long] = histories.times[histories.offsets[1:][long] - 1 - NEWEST]
    later = histories.times > last_before[histories.users]
    return np.asarray(later & long[histories.users] & (histories.ages < NEWEST))


def sayable(words: Iterable[str]) -> tuple[str, ...]:
    """The distinct words and phrases, made plain, that have a letter and are more than a word such as "of"."""
    plain_words = dict.fromkeys(map(plain, words))
    return tuple(word for word in plain_words if any(c.isalpha() for c in word) and word.lower() not in EMPTY)


def _tags(weighted: list[dict[str, str]] | None) -> list[str]:
    return [each["tag"] for each in weighted or ()]
