"""Whether reasons hold: without the event that a reason names a row must lose more than without another one as old."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Bools, Codes, Doubles, Ints
from llmrec_cli.core.artifacts import DELETIONS
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.lists.maker import Maker
from llmrec_cli.lists.without import Without
from llmrec_cli.ranking.rankers import scores_of

Json = dict[str, Any]
CAP = 100.0
"""Ratios are reported up to here: where other events hardly count there is no limit to them."""
EVENTS = ("named", "other")


def measure(lists: pa.Table, maker: Maker, without: Without, n: int, seed: int) -> pa.Table:
    """`evaluate/deletions`: at most n rows of lists that name an event, drawn at random, scored and listed anew.

    The models stay as they are. The named event is the one that leads the evidence, the other one is not named in it.
    """
    asked = _drawn(lists, maker, n, seed)
    if not len(asked):
        return DELETIONS.schema.empty_table()
    users, items = asked[:, 0], asked[:, 2].astype(np.int32)
    of_users: dict[str, Any] = {"histories": maker.histories.select(users), "segment": maker.segment[users]}
    whole = replace(maker, **of_users, own_weight=maker.own_weight[users], people=users)
    ids = pa.array(maker.catalogue.item_ids, type=pa.string())
    columns = {USER: maker.user_ids.take(pa.array(users)), "rank": asked[:, 1].astype(np.int32)}
    columns |= {ITEM: ids.take(pa.array(items)), "score": _scores(whole, items)}
    for event, code, age in zip(EVENTS, asked[:, 3::2].T, asked[:, 4::2].T, strict=True):
        changed = without.maker(whole, np.arange(len(users)), code.astype(np.int32))
        columns |= {f"item_{event}": ids.take(pa.array(code)), f"age_{event}": age}
        columns |= {f"score_{event}": _scores(changed, items), f"left_{event}": _left(changed, items)}
    return pa.table(columns, schema=DELETIONS.schema).sort_by([(USER, "ascending"), ("rank", "ascending")])


def figures(found: pa.Table, seed: int, resamples: int) -> Json:
    """How many times the mean loss without the named event is that without the other, with an interval over users.

    A rise is no loss: falls and rises without an event that says nothing of the row would cancel out to any ratio.
    """
    means = {
        what: {event: float(pc.mean(found.column(f"{what}_{event}")).as_py()) for event in EVENTS}
        for what in ("age", "left", "score")
    }
    score, *rest = (found.column(name).to_numpy() for name in ("score", *(f"score_{event}" for event in EVENTS)))
    _, user = np.unique(found.column(USER).to_numpy(), return_inverse=True)
    losses = np.stack([np.bincount(user, weights=np.maximum(score - each, 0)) for each in rest], axis=1)
    times = np.random.default_rng([seed, 0xB007]).multinomial(
        len(losses), np.ones(len(losses)) / len(losses), resamples
    )
    low, high = np.percentile(_ratio(times @ losses), [2.5, 97.5])
    ratio = {"value": float(_ratio(losses.sum(axis=0))), "low": float(low), "high": float(high)}
    means["score"]["whole"] = float(score.mean())
    return {"rows": found.num_rows, "ratio": ratio, **means}


def sentence(found: Json) -> str:
    """What the figures say."""
    ratio, left, age = found["ratio"], found["left"], found["age"]
    holds = "Reasons hold" if ratio["low"] > 1 else "Reasons do not hold"
    return (
        f"{holds}: without the event that a reason names a row loses {ratio['value']:.1f} times "
        f"(95 % {ratio['low']:.1f}–{ratio['high']:.1f}) as much score as without another as old "
        f"({found['rows']:,} rows, mean age {age['named']:.1f} and {age['other']:.1f} events) and leaves the list in "
        f"{left['named']:.0%} of them, without the other in {left['other']:.0%}"
    )


def _ratio(losses: Any) -> Doubles:
    """(…,) from (…, 2) losses: the first over the second, at most CAP; 0 where nothing is lost."""
    named, other = losses[..., 0], losses[..., 1]
    return np.asarray(named / np.maximum(np.maximum(other, named / CAP), 1e-30), dtype=np.float64)


def _drawn(lists: pa.Table, maker: Maker, n: int, seed: int) -> Ints:
    """(rows, 7) user, rank, item, named event, its age, other event, its age; users and items by row number."""
    evidence, rng = lists.column("evidence").combine_chunks(), np.random.default_rng([seed, 0xDE1E7E])
    names = pc.list_flatten(evidence).field(ITEM).is_valid()
    code = {item: at for at, item in enumerate(maker.catalogue.item_ids)}
    found: list[tuple[int, ...]] = []
    for row in rng.permutation(np.unique(pc.list_parent_indices(evidence).filter(names))).tolist():
        (given,) = lists.slice(row, 1).to_pylist()
        user, item = maker.user_ids.index(given[USER]).as_py(), code[given[ITEM]]
        named = [code[piece[ITEM]] for piece in given["evidence"] if piece[ITEM]]
        if (pair := _as_old(maker.histories.sequences[user], named, item, rng)) is not None:
            found.append((user, given["rank"], item, named[0], *pair))
        if len(found) == n:
            break
    return np.array(found, dtype=np.int64).reshape(-1, 7)


def _as_old(history: Codes, named: list[int], item: int, rng: np.random.Generator) -> tuple[int, int, int] | None:
    """The age of the event named first, and another item of the history whose newest event is as old as can be had,
    with its age; None where all are named.
    """
    codes, ages = np.unique(history[::-1], return_index=True)
    apart = np.where(np.isin(codes, [*named, item]), np.inf, np.abs(ages - ages[codes == named[0]]))
    if np.isinf(apart).all():
        return None
    other = rng.choice(np.flatnonzero(apart == apart.min()))
    return int(ages[codes == named[0]][0]), int(codes[other]), int(ages[other])


def _scores(maker: Maker, items: Codes) -> Doubles:
    """(users,) the ranker's score of one item for each user, whether or not a retriever brings it."""
    return scores_of(maker.ranker, maker.retrieval.of_pairs(maker.histories, items)).astype(np.float64)


def _left(maker: Maker, items: Codes) -> Bools:
    """(users,) whether the item is not in the user's list."""
    ((_, lists),) = maker.blocks([(0, len(items))])
    return np.asarray(~(lists.items == items[:, None]).any(axis=1))
