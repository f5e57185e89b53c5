"""Whether reasons hold: without the event that a reason names a row must lose more than without another one as old."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Bools, Codes, Doubles, Ints
from llmrec_cli.core.artifacts import DELETIONS
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.data.metrics import Interval
from llmrec_cli.lists.maker import Maker
from llmrec_cli.lists.without import Without
from llmrec_cli.ranking.rankers import scores_of

Json = dict[str, Any]
CAP = 100.0
"""Ratios are told up to here: where other events hardly count there is no limit to them."""


@dataclass(frozen=True)
class Asked:
    """Rows of lists that are asked about, with two events of the user's history. Arrays are (rows,)."""

    users: Ints
    """Row numbers of all users."""
    ranks: Ints
    items: Codes
    named: Codes
    """The event that leads the row's evidence."""
    other: Codes
    """An event that the evidence doesn't name, as old as can be had."""
    ages: Ints
    """(rows, 2) events of the user since the newest one with each of the two."""
    share: float
    """Of the rows of users with events those that name one."""

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def draw(cls, lists: pa.Table, maker: Maker, n: int, seed: int) -> Asked:
        """At most n of the rows of `recommendations` that name an event, of users who have another, at random."""
        named, others = _named(lists, maker)
        candidates = np.flatnonzero(named >= 0)
        rng = np.random.default_rng([seed, 0xDE1E7E])
        users = pc.index_in(lists.column(USER), value_set=maker.user_ids).to_numpy()
        items = _codes(lists.column(ITEM), maker)
        rows, found = [], []
        for row in rng.permutation(candidates).tolist():
            names = {*others[row], int(items[row])}
            pair = _as_old(maker.histories.sequences[int(users[row])], int(named[row]), names, rng)
            if pair is not None:
                rows.append(row)
                found.append(pair)
            if len(rows) == n:
                break
        chosen = np.array(rows, dtype=np.int64)
        other, age, other_age = np.array(found, dtype=np.int64).reshape(-1, 3).T
        ranks = lists.column("rank").to_numpy()[chosen].astype(np.int64)
        given = users[chosen].astype(np.int64), ranks, items[chosen], named[chosen], other.astype(np.int32)
        warm = maker.histories.sequences.lengths[users] > 0
        return cls(*given, np.stack([age, other_age], axis=1), len(candidates) / max(int(warm.sum()), 1))


@dataclass(frozen=True)
class Deletion:
    """What rows lose without one event or the other."""

    asked: Asked
    scores: Doubles
    """(rows, 3) the row's score with the whole history, without the named event, and without the other."""
    left: Bools
    """(rows, 2) whether the row has left the list without either."""
    seed: int
    resamples: int

    @classmethod
    def of(cls, asked: Asked, maker: Maker, without: Without, *, seed: int, resamples: int) -> Deletion:
        """Scored and listed anew with the models unchanged, one history for each row."""
        whole = replace(
            maker,
            histories=maker.histories.select(asked.users),
            segment=maker.segment[asked.users],
            own_weight=maker.own_weight[asked.users],
        )
        places = np.arange(len(asked))
        changed = [without.maker(whole, places, event) for event in (asked.named, asked.other)]
        scores = [_scores(each, asked.items) for each in (whole, *changed)]
        left = [_left(each, asked.items) for each in changed]
        return cls(asked, np.stack(scores, axis=1), np.stack(left, axis=1), seed, resamples)

    @property
    def drops(self) -> Doubles:
        """(rows, 2) how far the score falls without the named event and without the other; below 0 where it rises."""
        return self.scores[:, :1] - self.scores[:, 1:]

    def ratio(self) -> Interval:
        """Mean loss without the named event over that without the other; the interval resamples users.

        A rise is no loss: falls and rises without an event that says nothing of the row would cancel out to any ratio.
        """
        _, user = np.unique(self.asked.users, return_inverse=True)
        sums = np.stack([np.bincount(user, weights=np.maximum(drop, 0)) for drop in self.drops.T], axis=1)
        rng = np.random.default_rng([self.seed, 0xB007])
        times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=self.resamples)
        drawn = np.asarray(times @ sums, dtype=np.float64)
        low, high = np.percentile(_ratio(drawn), [2.5, 97.5])
        return Interval(float(_ratio(sums.sum(axis=0))), float(low), float(high))

    def table(self, maker: Maker) -> pa.Table:
        """The rows of `evaluate/deletions`, in the order of users and ranks."""
        asked, item_ids = self.asked, pa.array(maker.catalogue.item_ids)
        columns: dict[str, Any] = {
            USER: maker.user_ids.take(pa.array(asked.users)),
            "rank": pa.array(asked.ranks.astype(np.int32)),
            ITEM: item_ids.take(pa.array(asked.items)),
            "score": self.scores[:, 0],
        }
        for at, (name, events) in enumerate((("named", asked.named), ("other", asked.other))):
            columns[name] = item_ids.take(pa.array(events))
            columns[f"{name}_age"] = asked.ages[:, at]
            columns[f"score_without_{name}"] = self.scores[:, 1 + at]
            columns[f"left_without_{name}"] = self.left[:, at]
        found = pa.table({field.name: columns[field.name] for field in DELETIONS.schema}, schema=DELETIONS.schema)
        return found.sort_by([(USER, "ascending"), ("rank", "ascending")])

    def figures(self) -> Json:
        """For the verdict."""
        ratio, (named, other), ages = self.ratio(), self.left.mean(axis=0), self.asked.ages.mean(axis=0)
        return {
            "rows": len(self.asked),
            "ratio": {"value": ratio.mean, "low": ratio.low, "high": ratio.high},
            "loss": dict(zip(("named", "other"), np.maximum(self.drops, 0).mean(axis=0).tolist(), strict=True)),
            "drop": dict(zip(("named", "other"), self.drops.mean(axis=0).tolist(), strict=True)),
            "left": {"named": float(named), "other": float(other)},
            "age": {"named": float(ages[0]), "other": float(ages[1])},
            "rows_that_name_an_event": self.asked.share,
        }


def sentence(figures: Json) -> str:
    """What the figures say."""
    ratio, left, age = figures["ratio"], figures["left"], figures["age"]
    holds = "Reasons hold" if ratio["low"] > 1 else "Reasons do not hold"
    return (
        f"{holds}: without the event that a reason names a row loses {ratio['value']:.1f} times "
        f"(95 % {ratio['low']:.1f}–{ratio['high']:.1f}) as much score as without another as old "
        f"({figures['rows']:,} rows, mean age {age['named']:.1f} and {age['other']:.1f} events) and leaves the list in "
        f"{left['named']:.0%} of them, without the other in {left['other']:.0%}; "
        f"{figures['rows_that_name_an_event']:.0%} of the rows of users with events name one"
    )


def _ratio(sums: Doubles) -> Doubles:
    """(…,) from (…, 2) losses: the first over the second, at most CAP; 0 where nothing is lost."""
    named, other = sums[..., 0], sums[..., 1]
    return np.where(named > 0, named / np.maximum(np.maximum(other, named / CAP), 1e-30), 0.0)


def _named(lists: pa.Table, maker: Maker) -> tuple[Codes, list[set[int]]]:
    """(rows,) the first event of each row's evidence, -1 for none, and all events that it names."""
    evidence = lists.column("evidence").combine_chunks()
    rows = pc.list_parent_indices(evidence).to_numpy()
    codes = _codes(pc.list_flatten(evidence).field(ITEM), maker)
    there = codes >= 0
    first = np.full(len(evidence), -1, dtype=np.int32)
    first[rows[there][::-1]] = codes[there][::-1]
    names: list[set[int]] = [set() for _ in range(len(evidence))]
    for row, code in zip(rows[there].tolist(), codes[there].tolist(), strict=True):
        names[row].add(code)
    return first, names


def _codes(ids: pa.Array[Any] | pa.ChunkedArray[Any], maker: Maker) -> Codes:
    """(n,) item codes, -1 for null."""
    found = pc.index_in(ids, value_set=pa.array(maker.catalogue.item_ids))
    return np.asarray(pc.fill_null(found, -1), dtype=np.int32)


def _as_old(history: Codes, named: int, names: set[int], rng: np.random.Generator) -> tuple[int, int, int] | None:
    """An item of the history outside of `names` whose newest event is as old as can be had, and the ages of `named` and
    of it; None where there is none.
    """
    codes, ages = np.unique(history[::-1], return_index=True)
    age = int(ages[codes == named][0])
    others = ~np.isin(codes, list(names))
    if not others.any():
        return None
    codes, ages = codes[others], ages[others]
    apart = np.abs(ages - age)
    nearest = np.flatnonzero(apart == apart.min())
    chosen = int(nearest[rng.integers(len(nearest))])
    return int(codes[chosen]), age, int(ages[chosen])


def _scores(maker: Maker, items: Codes) -> Doubles:
    """(users,) the ranker's score of one item for each user, whether or not a retriever brings it."""
    return scores_of(maker.ranker, maker.retrieval.of_pairs(maker.histories, items)).astype(np.float64)


def _left(maker: Maker, items: Codes) -> Bools:
    """(users,) whether the item is not in the user's list."""
    ((_, lists),) = maker.blocks([(0, len(items))])
    return np.asarray(~(lists.items == items[:, None]).any(axis=1))
