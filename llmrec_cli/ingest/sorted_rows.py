"""Rows of a log by user and time, as columns that may be larger than memory, and the rules on counts.

Rows come in the order of the log. They are divided into blocks of consecutive users, so that a block can be put in
order by itself; blocks that follow each other make one order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llmrec_cli.core.arrays import Bools, Ints, offsets_of
from llmrec_cli.ingest import rules
from llmrec_cli.ingest.array_rules import COLUMNS, NUMBER, Rows
from llmrec_cli.ingest.column_codes import Coded, Flat

BLOCK = 1 << 20
"""Rows that are put in order at a time."""


class Blocks:
    """Rows in the order of the log, taken out again in blocks of users."""

    def __init__(self, folder: Path, users: Coded, total: int) -> None:
        self._columns = {name: Flat(folder, kind) for name, kind in COLUMNS.items()}
        self._cuts: list[Ints] = []
        self._n = max(1, -(-total // BLOCK))
        if self._n > 1:
            counts = np.zeros(len(users.ids) + 1, dtype=np.int64)
            for start, stop in spans(total):
                counts += np.bincount(users.read(start, stop) + 1, minlength=len(counts))
            ends = np.cumsum(counts[1:])
            cuts = np.searchsorted(ends, np.arange(1, self._n) * (ends[-1] / self._n))
            self._of_user = np.searchsorted(cuts, np.arange(len(ends)), side="left").astype(np.uint16)

    def append(self, rows: Rows) -> None:
        start = len(self._columns["places"])
        counts = np.array([len(rows)])
        if self._n > 1:
            of_row = self._of_user[rows.users]
            rows = rows.at(np.argsort(of_row, kind="stable"))
            counts = np.bincount(of_row, minlength=self._n)
        self._cuts.append(start + offsets_of(counts))
        for name, column in self._columns.items():
            column.append(getattr(rows, name))

    def __len__(self) -> int:
        return len(self._columns["places"])

    def __iter__(self) -> Iterator[Rows]:
        for block in range(self._n):
            bounds = [cuts[block : block + 2] for cuts in self._cuts]
            parts = {name: [column.read(*each) for each in bounds] for name, column in self._columns.items()}
            if sum(map(len, parts["places"])):
                yield Rows(*map(np.concatenate, parts.values()))


class SortedRows:
    """Rows by user and time. What changes is in memory: the reason why each is rejected, if it is, and counts."""

    def __init__(
        self, blocks: Blocks, change: Callable[[Rows], Rows], folder: Path, n_users: int, n_items: int
    ) -> None:
        """`change` puts the rows of a block in order and applies the rules on the events of one user."""
        self._columns = {name: Flat(folder, kind) for name, kind in COLUMNS.items() if name != "reasons"}
        self.reasons = np.zeros(len(blocks), dtype=np.uint8)
        self.n_of_user, self.n_of_item = np.zeros(n_users, dtype=np.int64), np.zeros(n_items, dtype=np.int64)
        """How many valid rows each has."""
        stored = np.zeros(n_users, dtype=np.int64)
        for block in blocks:
            rows = change(block)
            start = len(self._columns["places"])
            for name, column in self._columns.items():
                column.append(getattr(rows, name))
            self.reasons[start : start + len(rows)] = rows.reasons
            stored += np.bincount(rows.users, minlength=n_users)
            self.n_of_user += np.bincount(rows.users[rows.valid], minlength=n_users)
            self.n_of_item += np.bincount(rows.items[rows.valid], minlength=n_items)
        self.offsets = offsets_of(stored)
        """(users + 1,) where the rows of each user begin."""

    def read(self, start: int, stop: int) -> Rows:
        columns = [column.read(start, stop) for column in self._columns.values()]
        return Rows(*[*columns, self.reasons[start:stop]])

    def valid(self, name: str) -> Iterator[tuple[slice, npt.NDArray[np.int64 | np.int32 | np.uint32]]]:
        """Spans of the rows, with a column of those that are valid."""
        for start, stop in spans(len(self.reasons)):
            yield slice(start, stop), self._columns[name].read(start, stop)[self.reasons[start:stop] == 0]

    # --- rules ----------------------------------------------------------------------------------------------------

    def reject_outliers(self, of_items: bool, z: float, reason: str) -> None:
        """Reject the rows of the users (items) with more valid rows than `rules.outlier_limit` allows."""
        counts = self.n_of_item if of_items else self.n_of_user
        limit = rules.outlier_limit(*np.unique(counts[counts > 0], return_counts=True), z)
        self._reject("items" if of_items else "users", counts > limit, reason)

    def reject_rare(self, min_user: int, min_item: int, min_people: int) -> None:
        """Reject what is outside of the k-core, as `rules.k_core` does."""
        before = -1
        while before != (before := int(self.n_of_user.sum())):
            self._reject("users", self.n_of_user < min_user, rules.USER_RULE)
            self._reject("items", self.n_of_item < min_item, rules.ITEM_RULE)
            if min_people > 1:
                self._reject("items", self._people() < min_people, rules.SUPPORT_RULE)

    def _reject(self, name: str, out: Bools, reason: str) -> None:
        """Reject the valid rows of some users (items)."""
        if not (out & ((self.n_of_item if name == "items" else self.n_of_user) > 0)).any():
            return
        for start, stop in spans(len(self.reasons)):
            gone = np.flatnonzero(out[self._columns[name].read(start, stop)] & (self.reasons[start:stop] == 0))
            self.reasons[start + gone] = NUMBER[reason]
            users, items = (self._columns[column].read(start, stop)[gone] for column in ("users", "items"))
            self.n_of_user -= np.bincount(users, minlength=len(self.n_of_user))
            self.n_of_item -= np.bincount(items, minlength=len(self.n_of_item))

    def _people(self) -> Ints:
        """(items,) how many different users have valid rows of each."""
        found = np.zeros(len(self.n_of_item), dtype=np.int64)
        n_items = max(1, len(found))
        for first, last in self.users(BLOCK):
            rows = self.read(first, last)
            pairs = np.sort(rows.users[rows.valid].astype(np.int64) * n_items + rows.items[rows.valid])
            pairs = pairs[np.append(True, np.diff(pairs) != 0)[: len(pairs)]]
            found += np.bincount(pairs % n_items, minlength=len(found))
        return found

    def users(self, size: int) -> Iterator[tuple[int, int]]:
        """Spans of all rows of some users, each with about `size` valid ones; users without any may be left out."""
        ends = offsets_of(self.n_of_user)
        start = 0
        while start < ends[-1]:
            user = int(np.searchsorted(ends, start, side="right")) - 1
            stop = int(max(ends[user + 1], ends[np.searchsorted(ends, start + size, side="right") - 1]))
            yield int(self.offsets[user]), int(self.offsets[np.searchsorted(ends, stop)])
            start = stop


def spans(total: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + BLOCK, total)) for start in range(0, total, BLOCK))
