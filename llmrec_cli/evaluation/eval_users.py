"""What a backtest asks: the withheld events of the users who have a list."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Codes, Ints, offsets_of
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import DataError
from llmrec_cli.data.interactions import Sequences

Json = dict[str, Any]


@dataclass(frozen=True)
class EvalUsers:
    """What is asked of every system: lists for these users, without what was withheld."""

    users: Ints
    """(n,) rows of the users table: those with something withheld and a list."""
    targets: tuple[Ints, Codes]
    """(n + 1,) offsets and item codes; from the number of items on they stand for items outside of the catalogue."""
    histories: Sequences
    """Of these users, as of the cut-off."""
    skipped: int
    """Users with something withheld who have no list: they came after the cut-off."""
    filter_seen: bool
    """Whether lists leave out what a user has chosen before."""

    def some(self, limit: int, seed: int) -> EvalUsers:
        """At most so many of them, at random, in order."""
        offsets, codes = self.targets
        n = len(self.users)
        rows = np.sort(np.random.default_rng([seed, n]).choice(n, min(limit, n), replace=False))
        lengths = np.diff(offsets)[rows]
        found = offsets_of(lengths)
        targets = found, codes[np.repeat(offsets[:-1][rows] - found[:-1], lengths) + np.arange(found[-1])]
        return replace(self, users=self.users[rows], targets=targets, histories=self.histories.select(rows))

    def out_of_reach(self) -> dict[str, int]:
        """Users for whom no list can be right, by cause. They count as misses."""
        offsets, targets = self.targets
        n_users, n_items = len(self.users), self.histories.n_items
        owners = np.repeat(np.arange(n_users), np.diff(offsets))
        outside = targets >= n_items
        width = np.int64(max(n_items, targets.max(initial=0)) + 1)
        again = np.isin(owners * width + targets, self.histories.users * width + self.histories.codes)
        excluded = outside | (again if self.filter_seen else np.zeros_like(again))
        reachable, inside = (np.bincount(owners[each], minlength=n_users) > 0 for each in (~excluded, ~outside))
        return {
            "chose only items again that they had before": int((inside & ~reachable).sum()),
            "chose only items that nobody had before": int((~inside).sum()),
        }

    def cold(self, counts: Ints) -> Json:
        """Users without history, and withheld events of items that nobody had before; `counts` (items,) are events."""
        wanted = self.targets[1]
        known = np.append(counts, 0)[np.minimum(wanted, len(counts))] > 0
        return {
            "users": int((self.histories.lengths == 0).sum()),
            "targets": int((~known).sum()),
            "of_targets": len(wanted),
        }


def ask(
    holdout: pa.Table, users: pa.Table, items: pa.Table, sequences: Sequences, lists: Codes, *, filter_seen: bool
) -> EvalUsers:
    """The withheld events as targets of the users who have a list; DataError where there is nobody to ask about."""
    known = pc.index_in(holdout.column(USER), value_set=users.column(USER).combine_chunks())
    rows = pc.fill_null(known, -1).to_numpy().astype(np.int64)
    codes = pc.index_in(holdout.column(ITEM), value_set=items.column(ITEM).combine_chunks())
    # an item outside of the catalogue has a code beyond it, of its own: two of them are two targets
    outside = holdout.column(ITEM).combine_chunks().dictionary_encode().indices.to_numpy() + items.num_rows
    targets = np.where(codes.is_null().to_numpy(), outside, pc.fill_null(codes, 0).to_numpy()).astype(np.int32)
    everyone = pc.count_distinct(holdout.column(USER)).as_py()
    kept = (rows >= 0) & (lists[rows, 0] >= 0)
    order = np.argsort(rows[kept], kind="stable")
    owners, counts = np.unique(rows[kept], return_counts=True)
    if len(owners) == 0:
        raise DataError("nothing was withheld of a user who has a list", fix="choose another evaluate.holdout")
    offsets = offsets_of(counts)
    skipped = everyone - len(owners)
    return EvalUsers(owners, (offsets, targets[kept][order]), sequences.select(owners), skipped, filter_seen)


def lists_of(recommendations: pa.Table, users: pa.Table, items: pa.Table) -> Codes:
    """(users, k) item codes in the order of the users table, -1 where a list is short or missing."""
    rows = pc.index_in(recommendations.column(USER), value_set=users.column(USER).combine_chunks())
    codes = pc.index_in(recommendations.column(ITEM), value_set=items.column(ITEM).combine_chunks())
    ranks = recommendations.column("rank").to_numpy()
    lists = np.full((users.num_rows, int(ranks.max(initial=1))), -1, dtype=np.int32)
    lists[rows.to_numpy(), ranks - 1] = codes.to_numpy()
    return lists
