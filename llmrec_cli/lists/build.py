"""From scored candidates to lists of k items a user: the best under the constraints, then backfill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from llmrec_cli.core.arrays import Bools, Codes, Doubles, Floats, Ints, distinct
from llmrec_cli.core.columns import ITEM
from llmrec_cli.core.stage import Report
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.metrics import coverage
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.lists.constraints import Constraints, broken, choose, overlap
from llmrec_cli.ranking.candidates import Candidates

SPARE = 200
"""Popular items looked at beyond those a user may have seen, so that the constraints leave enough of them."""


@dataclass(frozen=True)
class Lists:
    """The lists of some users, best first. Arrays are (users, k)."""

    items: Codes
    """Item codes, -1 where a list is short."""
    scores: Floats
    """The ranker's score; for rows of the backfill the share of the segment's people (or of all) who chose the item."""
    carriers: Ints
    """Which retriever carries the row, by number; -1 for the segment's popularity, -2 for everyone's."""
    shares: Floats | None = None
    """(users, k, retrievers) what each adds to a row's score; 0 for the backfill. None once they are written."""

    @property
    def there(self) -> Bools:
        return self.items >= 0


OF_SEGMENT, OF_ALL = -1, -2
TOO_ALIKE = 0.8
"""Above this share of items in common the lists are called much alike."""


def best(
    candidates: Candidates,
    scores: Floats,
    k: int,
    constraints: Constraints,
    shares_of: Callable[[Ints], Floats],
    *,
    rows: Ints | None = None,
) -> Lists:
    """The k best candidates of each user that the constraints allow; `rows` (users,) are their row numbers.

    `shares_of` gives (n, retrievers) what each adds to the scores of n candidates, by row number; the carrier of a row
    is the one that adds most.
    """
    rank, users = candidates.ranks(scores + constraints.lifted(candidates.items)), candidates.users
    width = int(np.diff(candidates.offsets).max(initial=0))
    explore = constraints.exploration
    width = max(1, width if constraints.limits or explore is not None else min(width, max(5 * k, 50)))
    kept = np.flatnonzero(rank < width)
    pool = np.full((candidates.n_users, width), -1, dtype=np.int64)
    pool[users[kept], rank[kept]] = kept
    there = pool >= 0
    items = np.where(there, _at(candidates.items, pool), -1).astype(np.int32)
    relevance = _relevance(_at(scores, pool), there)
    numbers = np.arange(len(items)) if rows is None else rows
    new = None if explore is None else explore.choice(numbers, k, items, relevance)
    chosen = choose(items, relevance, k, constraints, new)
    rows = np.where(chosen >= 0, np.take_along_axis(pool, np.maximum(chosen, 0), axis=1), -1)
    found = rows >= 0
    found_shares = shares_of(rows[found])
    shares = np.zeros((*rows.shape, found_shares.shape[1]), dtype=np.float32)
    shares[found] = found_shares
    return Lists(
        np.where(found, _at(candidates.items, rows), -1).astype(np.int32),
        np.where(found, _at(scores, rows), np.nan).astype(np.float32),
        np.where(found, shares.argmax(axis=2), OF_ALL),
        shares,
    )


@dataclass(frozen=True)
class Backfill:
    """Who chose what, by segment: what short lists are completed from."""

    counts: sp.csr_matrix
    """(segments + 1, items) people who chose the item; the last row is everyone."""
    people: Ints
    """(segments + 1,) people with events."""
    order: Ints
    """(items,) allowed items by falling popularity among everyone."""
    weight: Floats
    """(segments + 1,) how much the segment's own counts weigh against everyone's, 0 to 1; 0 where it is everyone."""

    @classmethod
    def of(
        cls, histories: Sequences, segment: Ints, weight: npt.ArrayLike, allowed: Bools, ties: Ints, *, least: int = 0
    ) -> Backfill:
        """`segment` (users,) and `weight` (segments,) say which segment a user is of, and how much it weighs.

        What fewer than `least` people of a segment chose does not count.
        """
        chosen = histories.matrix()
        chosen.data[:] = 1.0
        some = np.flatnonzero(histories.lengths > 0)
        weights = np.append(np.asarray(weight, dtype=np.float32), np.float32(0))
        n_segments = len(weights) - 1
        rows, columns = np.concatenate([segment[some], np.full(len(some), n_segments)]), np.concatenate([some, some])
        members = sp.csr_matrix(
            (np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(n_segments + 1, len(histories))
        )
        counts = (members @ chosen).tocsr()
        counts.data[counts.data < least] = 0
        overall = counts[n_segments].toarray().ravel()
        order = np.lexsort((ties, -overall))
        people = np.bincount(rows, minlength=n_segments + 1)
        return cls(counts, people, order[allowed[order]], weights)

    def only(self, items: Bools | None) -> Backfill:
        """The same for users who may have these items alone: (items,), None is all that are allowed."""
        return self if items is None else replace(self, order=self.order[items[self.order]])

    def leading(self, segments: Ints, width: int) -> tuple[Codes, Floats, Bools]:
        """(n, width) items of each segment, the best first, their share, and whether that is the segment's own.

        The order is that of the segment's shares, which lean on everyone's as far as `weight` says; equals stand in the
        order of everyone's popularity.
        """
        distinct, of = np.unique(segments, return_inverse=True)
        own = self.counts[distinct][:, self.order].toarray() / np.maximum(self.people[distinct], 1)[:, None]
        all_own = self.counts[len(self.people) - 1].toarray().ravel()[self.order] / max(self.people[-1], 1)
        weight = self.weight[distinct][:, None]
        columns = np.argsort(-(weight * own + (1 - weight) * all_own), axis=1, kind="stable")[:, :width]
        number, items, overall = np.take_along_axis(own, columns, axis=1), self.order[columns], all_own[columns]
        theirs = (number > 0) & (weight > 0)
        share = np.where(theirs, number, overall)
        return items.astype(np.int32)[of], share.astype(np.float32)[of], theirs[of]


def backfilled(
    lists: Lists,
    backfill: Backfill,
    segments: Ints,
    histories: Sequences,
    constraints: Constraints,
    *,
    rows: Ints,
    filter_seen: bool,
) -> Lists:
    """The lists with popular items at the end, where they are short, and new ones at places of theirs that have none.

    `segments` (users,) is the row of `backfill` that a list is completed from; of `histories` nothing comes that has
    negative feedback and, with `filter_seen`, nothing that the user had. `rows` are the users' row numbers.
    """
    k, explore = lists.items.shape[1], constraints.exploration
    lacking = False if explore is None else explore.lacking(rows, lists.items)
    short = np.flatnonzero(~lists.there.all(axis=1) | lacking)
    if len(short) == 0:
        return lists
    users, codes = histories.select(short).excluded(seen=filter_seen)
    longest = int(np.bincount(users).max(initial=0))
    width = len(backfill.order) if constraints.limits else min(len(backfill.order), 2 * k + SPARE + longest)
    items, share, theirs = backfill.leading(segments[short], width)
    if explore is not None:
        given = (items, share, theirs), backfill.only(explore.new).leading(segments[short], SPARE)
        items, share, theirs = _shuffled_behind(*given, explore.drawn(rows[short], SPARE))
    n_items = np.int64(histories.n_items)
    excluded = np.isin(np.arange(len(short))[:, None] * n_items + items, users * n_items + codes)
    items = np.where(excluded, -1, items)
    repeated = (items[:, :, None] == lists.items[short][:, None, :]).any(axis=2)
    items = np.where(repeated, -1, items).astype(np.int32)
    wide = Lists(
        np.concatenate([lists.items[short], items], axis=1),
        np.concatenate([lists.scores[short], share], axis=1),
        np.concatenate([lists.carriers[short], np.where(theirs, OF_SEGMENT, OF_ALL)], axis=1),
    )
    relevance = -np.arange(wide.items.shape[1], dtype=np.float32)[None].repeat(len(short), axis=0)
    new = None if explore is None else explore.choice(rows[short], k, wide.items, relevance)
    if new is not None:
        new[1][:, k : k + width] = -np.inf  # of the popular ones everyone would have the same
    chosen = choose(wide.items, relevance, k, replace(constraints, diversity=0.0), new)
    return _rechosen(lists, short, wide, chosen)


def _shuffled_behind(
    leading: tuple[Codes, Floats, Bools], new: tuple[Codes, Floats, Bools], drawn: Doubles
) -> tuple[Codes, Floats, Bools]:
    """The columns of both, those of `new` in each user's own order: what is hardly known has no better one."""
    order = drawn[:, : new[0].shape[1]].argsort(axis=1)
    items, share, theirs = (
        np.concatenate([one, np.take_along_axis(other, order, axis=1)], axis=1)
        for one, other in zip(leading, new, strict=True)
    )
    return items, share, theirs


def _rechosen(lists: Lists, short: Ints, wide: Lists, chosen: Ints) -> Lists:
    """The lists where those of the users `short` are the `chosen` columns of `wide`, which begins with their own."""
    k, columns = lists.items.shape[1], np.maximum(chosen, 0)
    shares = None if lists.shares is None else lists.shares.copy()
    out = Lists(lists.items.copy(), lists.scores.copy(), lists.carriers.copy(), shares)
    out.items[short] = np.where(chosen >= 0, np.take_along_axis(wide.items, columns, axis=1), -1)
    out.scores[short] = np.where(chosen >= 0, np.take_along_axis(wide.scores, columns, axis=1), np.nan)
    out.carriers[short] = np.take_along_axis(wide.carriers, columns, axis=1)
    if shares is not None:
        own = np.take_along_axis(shares[short], np.minimum(columns, k - 1)[:, :, None], axis=1)
        shares[short] = np.where((columns < k)[:, :, None], own, 0)
    return out


def most_chosen(items: pa.Table, allowed: Bools, k: int, constraints: Constraints) -> pa.Table:
    """The k rows of `items` (item_id, people) with the most people that the constraints allow."""
    by_people = np.lexsort((tie_order(items.column(ITEM).to_pylist()), -items.column("people").to_numpy()))
    order = by_people[allowed[by_people]].astype(np.int32)
    chosen = choose(order[None], -np.arange(len(order), dtype=np.float32)[None], k, constraints)[0]
    return items.take(pa.array(order[chosen[chosen >= 0]]))


def check(lists: Lists, histories: Sequences, allowed: Bools, constraints: Constraints, *, filter_seen: bool) -> None:
    """Every promise about the lists of these users, checked before they are written."""
    of, codes = histories.excluded(seen=filter_seen)
    excluded = distinct(of * np.int64(histories.n_items) + codes)
    found = {name: n for name, n in broken(lists.items, excluded, allowed, constraints).items() if n}
    if found:
        raise AssertionError(f"lists break the constraints: {found}")


def joined(parts: Sequence[Lists], places: Sequence[Ints] = ()) -> Lists:
    """The lists of all parts in order, or at their `places` (row numbers), where later parts stand over earlier ones.

    The shares are left out without places.
    """
    items, scores, carriers = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("items", "scores", "carriers")
    )
    whole = Lists(items, scores, carriers)
    if not places:
        return whole
    at = np.concatenate(places)
    rows = np.empty(int(at.max(initial=-1)) + 1, dtype=np.int64)
    rows[at] = np.arange(len(at))
    shares = np.concatenate([part.shares for part in parts if part.shares is not None])
    return Lists(items[rows], scores[rows], carriers[rows], shares[rows])


def summary(lists: Lists, strategies: Sequence[str], allowed: Bools, *, checked: str, cold: int, seed: int) -> Report:
    """What a person should know of the lists as a whole.

    `checked` says which promises were checked, `cold` counts users without events.
    """
    n_users, k = lists.items.shape
    there = lists.there
    full, rows = int(there.all(axis=1).sum()), int(there.sum())
    distinct = len(np.unique(lists.items[there]))
    share, alike = coverage(lists.items, len(allowed), k), overlap(lists.items, seed)
    codes, counts = np.unique(lists.carriers[there], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    lines = [
        f"{n_users:,} users, {rows:,} rows, {full:,} lists full with {k} items",
        checked,
        f"{distinct:,} different items, {share:.0%} of the catalogue; two lists share {alike:.0%} of their items",
        "found by: " + ", ".join(f"{strategies[codes[i]]} {counts[i] / max(rows, 1):.0%}" for i in order),
    ]
    if cold:
        lines.append(f"{cold:,} users without events have what is popular in their segment")
    if full < n_users:
        short, left = n_users - full, int(allowed.sum())
        lines.insert(1, f"{short:,} lists are short: {left:,} items are allowed, less those seen or over a cap")
    warnings = []
    if alike > TOO_ALIKE:
        warnings.append(f"lists are much alike ({alike:.0%} shared): little in the data distinguishes these users")
    counted = {"users": n_users, "rows": rows, "full": full, "cold": cold, "items": distinct}
    return Report(counted, {"coverage": share, "overlap": alike}, lines, warnings)


def _at(values: npt.NDArray[np.generic], rows: Ints) -> npt.NDArray[np.generic]:
    """`values[rows]`, whatever for -1."""
    return values[np.maximum(rows, 0)] if len(values) else np.zeros(rows.shape, dtype=values.dtype)


def _relevance(scores: npt.NDArray[np.generic], there: Bools) -> Floats:
    """Scores of each row brought to [0, 1]: the best of the pool 1, the least 0."""
    values = np.asarray(scores, dtype=np.float32)
    top = np.where(there, values, -np.inf).max(axis=1, keepdims=True)
    low = np.where(there, values, np.inf).min(axis=1, keepdims=True)
    span = np.where(there.any(axis=1, keepdims=True), np.maximum(top - low, 1e-9), 1.0)
    return np.where(there, (values - np.where(np.isfinite(low), low, 0)) / span, 0).astype(np.float32)
