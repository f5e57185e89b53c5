"""The constraints of a list, applied in order of score: no title twice, few of a category, variety where it is set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from llmrec_cli.core.arrays import Bools, Codes, Floats, Ints, unit
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.text_cleaning import comparable
from llmrec_cli.data.catalogue import group_numbers
from llmrec_cli.lists.exploration import Exploration

Groups = Ints


@dataclass(frozen=True)
class Constraints:
    """What every list of one run has to keep to. Arrays are in the order of the catalogue."""

    titles: Groups
    """(items,) a number for each distinct normalised title; items without a title have one each."""
    categories: Groups
    """(items,) a number for each distinct category, -1 for none."""
    max_per_category: int = 0
    """At most so many items of one category in a list; 0 is no limit."""
    diversity: float = 0.0
    """0 orders by score alone, 1 by unlikeness to what is already in the list."""
    vectors: Floats | None = None
    """(items, d) unit-length vectors that say how alike two items are; needed where diversity > 0."""
    caps: tuple[tuple[Groups, int], ...] = ()
    """Of further groups: (items,) numbers, -1 for none, and the most items of one."""
    exploration: Exploration | None = None
    """Places for new items, where there are such."""
    pinned: Floats | None = None
    """(items,) above 0 for what stands first in every list that may have it, the largest foremost."""

    @property
    def limits(self) -> tuple[tuple[Groups, int], ...]:
        """All caps that there are."""
        return (*([(self.categories, self.max_per_category)] if self.max_per_category else []), *self.caps)

    def lifted(self, items: Codes) -> Floats:
        """What puts pinned items before all others, in the shape of `items` (codes); 0 for the others."""
        return np.zeros(items.shape, dtype=np.float32) if self.pinned is None else 1e6 * self.pinned[items]

    @classmethod
    def of(
        cls,
        titles: Sequence[str],
        categories: Sequence[str],
        cap: int,
        diversity: float = 0.0,
        rows: Floats | None = None,
    ) -> Constraints:
        """For (items,) titles and categories, empty where there is none; `rows` (items, d) are of any length."""
        vectors = None
        if rows is not None and diversity:
            vectors = unit(rows)
        return cls(title_groups(titles), group_numbers(categories), cap, diversity, vectors)


def choose(
    items: Codes, relevance: Floats, k: int, constraints: Constraints, new: tuple[Bools, Floats] | None = None
) -> Groups:
    """(users, k) columns of the chosen candidates in order, -1 where the constraints leave too few.

    `items` (users, width) are candidates, -1 where a row is short; of equal relevance the first stands first. With
    diversity d the next item is the one with the largest (1 - d) x relevance - d x cosine to the nearest item already
    chosen: maximal marginal relevance (Carbonell and Goldstein 1998). Relevance should lie in [0, 1] for that.
    `new` has the (users, k) places that new items are given, and (users, width) their order, -inf for other items.
    """
    users = np.arange(len(items))
    there = items >= 0
    codes = np.maximum(items, 0)
    titles = constraints.titles[codes]
    worth = (1 - constraints.diversity) * relevance + constraints.lifted(codes)
    worth = np.where(there, worth, -np.inf).astype(np.float32)
    nearest = np.zeros_like(worth)
    chosen = np.full((len(items), k), -1, dtype=np.int64)
    limits = [(groups[codes], most, np.full((len(items), k), -2)) for groups, most in constraints.limits]
    for rank in range(min(k, items.shape[1])):
        best = (worth - constraints.diversity * nearest).argmax(axis=1)
        if new is not None:
            fresh = np.where(np.isneginf(worth), -np.inf, new[1])
            best = np.where(new[0][:, rank] & np.isfinite(fresh.max(axis=1)), fresh.argmax(axis=1), best)
        found = np.isfinite(worth[users, best])
        chosen[found, rank] = best[found]
        worth[users, best] = -np.inf
        worth[found[:, None] & (titles == titles[users, best][:, None])] = -np.inf
        for groups, most, taken in limits:
            group = groups[users, best]
            taken[found, rank] = group[found]
            full = found & (group >= 0) & ((taken == group[:, None]).sum(1) >= most)
            worth[full[:, None] & (groups == group[:, None])] = -np.inf
        if constraints.diversity and constraints.vectors is not None:
            similarity = np.einsum("uwd,ud->uw", constraints.vectors[codes], constraints.vectors[codes[users, best]])
            nearest = similarity if rank == 0 else np.maximum(nearest, similarity)
    return chosen


def check_consistency(repeat: bool, filter_seen: bool, kept: str = "keep") -> None:
    """SettingsError where rankers learn that items come again and no list, or no log, has them again.

    `kept` is clean.repeats.
    """
    if repeat and kept != "keep":
        raise SettingsError(
            f"train-ranker.candidates.repeat lets items come again, clean.repeats = {kept!r} keeps one event of each",
            where="clean.repeats",
            fix='set clean.repeats = "keep", or leave repeat out',
        )
    if repeat and filter_seen:
        raise SettingsError(
            "train-ranker.candidates.repeat lets items come again, recommend.filter_seen takes them out",
            where="recommend.filter_seen",
            fix="set recommend.filter_seen = false, or leave repeat out",
        )


def pinned(ids: Sequence[str], item_ids: Sequence[str]) -> Floats | None:
    """`Constraints.pinned` of these items, the first foremost; None for none. Ids that are not known are left out."""
    place = {item: len(ids) - n for n, item in enumerate(ids)}
    return np.array([place.get(item, 0) for item in item_ids], dtype=np.float32) if ids else None


def title_groups(titles: Sequence[str]) -> Groups:
    """(items,) the same number for titles that differ only in case, spacing, accents' encoding or punctuation."""
    return group_numbers([comparable(title) or f"\0{code}" for code, title in enumerate(titles)])


def allowed_items(item_ids: Sequence[str], allow: Iterable[str], deny: Iterable[str]) -> Bools:
    """(items,) whether an item may be shown: it is allowed (all are where `allow` is empty) and not denied.

    DataError where no item may.
    """
    ids = np.array(item_ids, dtype=object)
    wanted, unwanted = set(allow), set(deny)
    mask = np.array([i in wanted for i in ids], dtype=bool) if wanted else np.ones(len(ids), dtype=bool)
    mask &= ~np.array([i in unwanted for i in ids], dtype=bool)
    if not mask.any():
        raise DataError("allow, deny and exclude leave no item to recommend", fix="check the ids under [recommend]")
    return mask


def broken(lists: Codes, excluded: Ints, allowed: Bools, constraints: Constraints) -> dict[str, int]:
    """How many rows of (users, k) lists break each constraint; `excluded` are keys user x items + item."""
    users, ranks = np.nonzero(lists >= 0)
    items, n_items = lists[users, ranks].astype(np.int64), len(allowed)
    inside = np.minimum(items, n_items - 1)

    def sizes(groups: Ints | Codes) -> Ints:
        """How many rows of a user are of each group; a row of no group, below 0, is of none."""
        found = groups >= 0
        keys = users[found] * (np.int64(groups.max(initial=0)) + 1) + groups[found]
        return np.unique(keys, return_counts=True)[1]

    over = sum(int(np.maximum(sizes(groups[inside]) - most, 0).sum()) for groups, most in constraints.limits)
    return {
        "outside the catalogue": int((items >= n_items).sum()),
        "repeated": int((sizes(items) - 1).sum()),
        "same title": int((sizes(constraints.titles[inside]) - 1).sum()),
        "seen or with negative feedback": int(np.isin(users * n_items + items, excluded).sum()),
        "not allowed": int((~allowed[inside]).sum()),
        "over a cap": over,
    }


def overlap(lists: Codes, seed: int, pairs: int = 20_000) -> float:
    """Mean share of items that two users' lists have in common, over random pairs of users; 0 for one user."""
    if len(lists) < 2:
        return 0.0
    generator = np.random.default_rng([seed, len(lists)])
    one = generator.integers(0, len(lists), pairs)
    other = (one + generator.integers(1, len(lists), pairs)) % len(lists)
    shared = np.zeros(pairs)
    for rank in range(lists.shape[1]):
        item = lists[one, rank][:, None]
        shared += ((lists[other] == item) & (item >= 0)).any(axis=1)
    return float((shared / np.maximum((lists[one] >= 0).sum(axis=1), 1)).mean())
