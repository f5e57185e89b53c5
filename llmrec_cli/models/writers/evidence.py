"""Facts from the artifacts: what the catalogue says of an item, what the history says of a user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llmrec_cli.models.writers.facts import LONGEST_TITLE, ItemFacts, TasteFacts, plain
from llmrec_cli.models.writers.grounding import GLUE
from llmrec_cli.tables.sequences import from_table

Ints = npt.NDArray[np.int64]

LEVELS, TAGS, ATTRIBUTES = 5, 5, 3  # at most so many are told of an item
FOREMOST = 0.1  # share of the catalogue whose place by popularity is told
INTERESTS, EXAMPLES, RECENT = 3, 2, 2  # at most so many are told of a user
EXAMPLE_EVENTS = 50  # newest events that examples are taken from
LEAST_EVENTS_FOR_RECENT = 10  # with fewer, recent interests say nothing beyond the lasting ones


class ItemEvidence:
    """Facts of items, by row of `clean/items`."""

    def __init__(self, items: pa.Table, by_events: Ints) -> None:
        self._items = items
        self._rank = np.empty(items.num_rows, dtype=np.int64)
        self._rank[by_events] = np.arange(1, items.num_rows + 1)

    def __call__(self, rows: Ints) -> list[ItemFacts]:
        taken = self._items.take(rows).to_pylist()
        return [self._facts(item, int(rank)) for item, rank in zip(taken, self._rank[rows], strict=True)]

    def _facts(self, item: dict[str, Any], rank: int) -> ItemFacts:
        n_items, n_events = self._items.num_rows, item["n_events"]
        levels = sayable((item["category"] or "").split(" > "))[-LEVELS:]
        pairs = [(plain(each["name"]), plain(each["value"])) for each in item["attributes"] or ()]
        return ItemFacts(
            title=plain(item["title"], LONGEST_TITLE),
            category=levels,
            tags=tuple(tag for tag in sayable(item["tags"] or ()) if tag not in levels)[:TAGS],
            attributes=tuple(dict.fromkeys(pair for pair in pairs if all(pair)))[:ATTRIBUTES],
            n_events=n_events,
            rank=rank if n_events and rank <= FOREMOST * n_items else 0,
            n_items=n_items,
        )


class TasteEvidence:
    """Facts of users, by row of `profile/profiles`. Demographics are not among them."""

    def __init__(self, profiles: pa.Table, sequences: pa.Table, items: pa.Table) -> None:
        self._profiles = profiles
        self._histories = from_table(sequences, items, profiles.column("user_id"))
        self._titles = [plain(title, LONGEST_TITLE) for title in items.column("title").to_pylist()]
        self._tags = [frozenset(tags or ()) for tags in items.column("tags").to_pylist()]

    def __call__(self, rows: Ints) -> list[TasteFacts]:
        taken = self._profiles.select(["interests", "recent_interests", "n_events"]).take(rows).to_pylist()
        return [self._facts(int(row), profile) for row, profile in zip(rows, taken, strict=True)]

    def _facts(self, row: int, profile: dict[str, Any]) -> TasteFacts:
        lasting = [tag for tag in _tags(profile["interests"]) if sayable([tag])][:INTERESTS]
        n_events = len(self._histories[row])
        if n_events == 0:
            return TasteFacts(interests=sayable(lasting))
        newest = list(dict.fromkeys(self._histories[row][::-1][:EXAMPLE_EVENTS].tolist()))
        recent: list[str] = []
        if n_events >= LEAST_EVENTS_FOR_RECENT:
            leading = [tag for tag in _tags(profile["recent_interests"]) if sayable([tag])][:INTERESTS]
            recent = [tag for tag in leading if tag not in lasting][:RECENT]
        latest = next(
            (self._titles[i] for i in newest if recent and recent[0] in self._tags[i] and self._titles[i]), ""
        )
        return TasteFacts(
            interests=sayable(lasting),
            examples=self._examples(newest, frozenset(lasting), latest),
            recent=sayable(recent),
            recent_example=latest,
            n_events=n_events,
        )

    def _examples(self, newest: list[int], lasting: frozenset[str], told: str) -> tuple[str, ...]:
        """Titles of the items that carry most of the interests, the newest first among equals."""
        fitting = [i for i in newest if self._titles[i] not in ("", told) and (not lasting or lasting & self._tags[i])]
        best = sorted(fitting, key=lambda i: -len(lasting & self._tags[i]))
        return tuple(dict.fromkeys(self._titles[i] for i in best[: 2 * EXAMPLES]))[:EXAMPLES]


def sayable(words: Iterable[str]) -> tuple[str, ...]:
    """The distinct words and phrases, made plain, that have a letter and are more than a word such as "of"."""
    plain_words = dict.fromkeys(map(plain, words))
    return tuple(word for word in plain_words if any(c.isalpha() for c in word) and word.lower() not in GLUE)


def _tags(weighted: list[dict[str, str]]) -> list[str]:
    return [each["tag"] for each in weighted]
