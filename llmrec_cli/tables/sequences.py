"""Users' histories as one flat array of item codes with offsets: the shape in which every model reads behaviour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sequences:
    """Histories of `len(self)` users, oldest event first. Codes are row numbers of the items table."""

    codes: npt.NDArray[np.int32]
    """(events,) item codes of all users, one after the other."""
    offsets: Ints
    """(users + 1,) where each user's events begin."""
    n_items: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, user: int) -> npt.NDArray[np.int32]:
        return self.codes[self.offsets[user] : self.offsets[user + 1]]

    @property
    def lengths(self) -> Ints:
        return np.diff(self.offsets)

    @property
    def users(self) -> Ints:
        """(events,) the user of each event."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def ages(self) -> Ints:
        """(events,) how many events of the same user came later: 0 for the last one."""
        return np.repeat(self.offsets[1:], self.lengths) - 1 - np.arange(len(self.codes))

    def counts(self) -> Ints:
        """(items,) how often each item occurs."""
        return np.bincount(self.codes, minlength=self.n_items)

    def select(self, users: npt.ArrayLike) -> Sequences:
        """The histories of some users (row numbers or a mask), in that order."""
        chosen = np.asarray(users)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        lengths = self.lengths[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        starts = np.repeat(self.offsets[:-1][chosen] - offsets[:-1], lengths)
        return Sequences(self.codes[starts + np.arange(offsets[-1])], offsets, self.n_items)

    def _keep(self, mask: npt.NDArray[np.bool_]) -> Sequences:
        lengths = np.bincount(self.users[mask], minlength=len(self))
        return Sequences(self.codes[mask], np.concatenate([[0], np.cumsum(lengths)]), self.n_items)

    def tail(self, n: int) -> Sequences:
        """At most the last n events of each user."""
        return self._keep(self.ages < n)

    def without_last(self, n: int = 1) -> Sequences:
        """All but the last n events of each user; users with fewer keep none."""
        return self._keep(self.ages >= n)

    def last(self) -> npt.NDArray[np.int32]:
        """(users,) the newest item of each user, -1 for a user without events."""
        out = np.full(len(self), -1, dtype=np.int32)
        some = self.lengths > 0
        out[some] = self.codes[self.offsets[1:][some] - 1]
        return out

    def matrix(self, decay: float = 1.0, limit: int | None = None) -> sp.csr_matrix:
        """(users, items) sparse float32: sum of decay**age over a user's events of an item (of the last `limit`)."""
        weights = np.power(np.float32(decay), self.ages.astype(np.float32))
        if limit is not None:
            weights = np.where(self.ages < limit, weights, np.float32(0))
        matrix = sp.csr_matrix(
            (weights.astype(np.float32), self.codes.astype(np.int32), self.offsets), shape=(len(self), self.n_items)
        )
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        return matrix


def from_table(sequences: pa.Table, items: pa.Table, user_ids: pa.ChunkedArray | None = None) -> Sequences:
    """Encode `clean/sequences` by the order of `clean/items`.

    With `user_ids` (of `clean/users`, say) there is one history for each of them, empty for users without events.
    Raises ValueError where a sequence has an item that is not in the catalogue.
    """
    lists = sequences.column("item_ids").combine_chunks()
    codes = pc.index_in(lists.flatten(), value_set=items.column("item_id").combine_chunks())
    if codes.null_count:
        raise ValueError("a sequence has an item that is not in the catalogue")
    lengths = np.asarray(pc.list_value_length(lists)).astype(np.int64)
    flat = np.asarray(codes, dtype=np.int32)
    found = Sequences(flat, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), items.num_rows)
    if user_ids is None:
        return found
    rows = pc.index_in(user_ids, value_set=sequences.column("user_id").combine_chunks())
    rows_or_last = np.asarray(pc.fill_null(rows, len(found)), dtype=np.int64)
    padded = Sequences(found.codes, np.append(found.offsets, found.offsets[-1]), found.n_items)
    return padded.select(rows_or_last)
