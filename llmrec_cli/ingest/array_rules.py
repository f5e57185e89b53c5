"""The rules of `rules.py` on arrays of codes, far cheaper on one machine; a test holds them to the expressions.

Rows stand in the order of the log. Each rule fills `reasons` where no earlier one did.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from llmrec_cli.core.arrays import Bools, Codes, Doubles, Floats, Ints
from llmrec_cli.ingest import rules
from llmrec_cli.ingest.funnel import RULES

Order: TypeAlias = npt.NDArray[np.uint32]
"""Rows by user, time and place in the log."""
NO_TIME = np.iinfo(np.int64).min
NAMES = ("", *RULES)
"""Reasons by their number, in the order in which rules apply; 0 is none."""
NUMBER = {name: number for number, name in enumerate(NAMES)}
NEGATIVE = NUMBER[rules.NEGATIVE]
BLOCK = 1 << 20
"""Rows that are put in order at a time."""
TIME_UNITS = (86_400_000_000, 1_000_000, 1_000)
"""A day, a second, a millisecond in microseconds: times of a coarse log need fewer bits."""


@dataclass(frozen=True)
class Rows:
    """(rows,) arrays of a log; a user, item or kind of event that is missing has the code −1."""

    users: Codes
    items: Codes
    kinds: Codes
    times: Ints
    """Microseconds since 1970; NO_TIME where there is none."""
    values: Doubles
    """NaN where there is none."""
    reasons: npt.NDArray[np.uint8]

    @property
    def valid(self) -> Bools:
        return self.reasons == 0

    def at(self, rows: npt.NDArray[np.unsignedinteger[Any]]) -> Rows:
        """Some of the rows."""
        columns = (self.users, self.items, self.kinds, self.times, self.values, self.reasons)
        return Rows(*(column[rows] for column in columns))

    def reject(self, rows: Ints | Order, reason: str) -> None:
        self.reasons[rows] = NUMBER[reason]

    def with_reason(self, number: int) -> Ints:
        return np.flatnonzero(self.reasons == number)

    def counts(self, codes: Codes, n: int, number: int = 0) -> Ints:
        """(n,) how many rows with this reason have each code. Rows go in pieces: copies on the way stay small."""
        total = np.zeros(n, dtype=np.int64)
        for start in range(0, len(codes), BLOCK):
            piece = slice(start, start + BLOCK)
            total += np.bincount(codes[piece][self.reasons[piece] == number], minlength=n)
        return total


def weights(rows: Rows, of_kinds: Floats, negative_below: float | None) -> Floats:
    """(rows,) weights of events by the (kinds,) ones, 1 without a kind, −1 for a value under `negative_below`."""
    found = np.append(of_kinds, np.float32(1))[rows.kinds]
    if negative_below is not None:
        found[rows.values < negative_below] = -1
    return found


def reject_invalid(rows: Rows, broken: dict[str, Ints], of_kinds: Floats, negative_below: float | None) -> None:
    """What is wrong with a row by itself: the first rule that fits. `broken` has the rows of rules that need text."""
    found = rows.reasons
    if (of_kinds <= 0).any() or negative_below is not None:
        each = weights(rows, of_kinds, negative_below)
        found[each == 0] = NUMBER["no weight"]
        found[each < 0] = NEGATIVE
    rows.reject(broken["invalid value"], "invalid value")
    rows.reject(broken["invalid time"], "invalid time")
    found[rows.items < 0] = NUMBER["missing item"]
    found[rows.users < 0] = NUMBER["missing user"]
    for reason in ("where", "unparsable", "forgotten"):
        rows.reject(broken[reason], reason)


# --- order, duplicates, repeats ---------------------------------------------------------------------------------------


def ordered(rows: Rows, *, same: tuple[Codes | Doubles, ...] | None) -> Order:
    """The valid and the negative rows by user, time and row; `same` are the columns in which duplicates agree.

    Duplicates are rejected on the way: valid rows that agree with an earlier one in user, time and `same`. They stay
    in the order. None rejects nothing.
    """
    parts = []
    for some in _blocks(rows):
        order, tied = _by_user_and_time(rows.users[some], rows.times[some])
        block = some[order]
        if same is not None and tied.any():
            # what is tied with its neighbour; negative rows are none's duplicate
            ties = np.flatnonzero(tied | np.append(tied[1:], False))
            runs = np.cumsum(~tied[ties])
            valid = rows.reasons[block[ties]] == 0
            ties, runs = ties[valid], runs[valid]
            later = _later([runs, *(column[block[ties]] for column in same)])
            rows.reject(block[ties[later]], "duplicate")
        parts.append(block.astype(np.uint32))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint32)


def _blocks(rows: Rows) -> Iterator[Ints]:
    """Valid and negative rows in pieces of consecutive users; a piece has about `BLOCK` rows, or those of one user."""
    sound = (rows.reasons == 0) | (rows.reasons == NEGATIVE)
    n_users = int(rows.users.max(initial=-1)) + 1
    ends = np.cumsum(rows.counts(rows.users, n_users) + rows.counts(rows.users, n_users, NEGATIVE))
    n_blocks = -(-int(ends[-1]) // BLOCK) if n_users else 0
    if n_blocks <= 1:
        yield from [np.flatnonzero(sound)] * n_blocks
        return
    cuts = np.searchsorted(ends, np.arange(1, n_blocks) * (ends[-1] / n_blocks))
    of_user = np.searchsorted(cuts, np.arange(n_users + 1), side="left").astype(np.uint16)
    of_row = of_user[rows.users]
    of_row[~sound] = n_blocks
    for block in range(n_blocks):
        yield np.flatnonzero(of_row == block)


def _by_user_and_time(users: Codes, times: Ints) -> tuple[Ints, Bools]:
    """The stable order by user and time, and whether each row in it has the user and time of the one before."""
    if not len(users):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)
    step = next((unit for unit in TIME_UNITS if not (times[:1000] % unit).any() and not (times % unit).any()), 1)
    key = (times - times.min()) // step
    low, bits = users.min(), [int(each).bit_length() for each in (users.max() - users.min(), key.max(), len(users) - 1)]
    if sum(bits) > 63:
        order = np.lexsort((times, users))
    else:  # one number of user, time and row sorts faster than three columns
        key |= (users - low).astype(np.int64) << bits[1]
        key <<= bits[2]
        key |= np.arange(len(users))
        key.sort()
        order = key & ((1 << bits[2]) - 1)
    same = (np.diff(users[order]) == 0) & (np.diff(times[order]) == 0)
    return order, np.append(False, same)


def _later(columns: list[npt.NDArray[np.generic]]) -> Ints:
    """The places of rows that agree in all columns with an earlier row."""
    key = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        codes = np.unique(column, return_inverse=True)[1]
        key = np.unique(key * (codes.max(initial=0) + 1) + codes, return_inverse=True)[1]
    order = np.argsort(key, kind="stable")
    return np.sort(order[1:][key[order[1:]] == key[order[:-1]]])


def reject_repeats(rows: Rows, order: Order, repeats: rules.Repeats, window_minutes: float) -> None:
    """Of events of the same user and item that follow each other within the window keep the first or the last.

    Without a window, 0, all of them follow each other. The first of `sum` gets the sum of their values.
    """
    if repeats == "keep":
        return
    there, starts = _grouped(rows, order[rows.reasons[order] == 0], [rows.users, rows.items])
    if window_minutes:
        starts[1:] |= np.diff(rows.times[there]) > window_minutes * rules.MINUTE
    kept = np.append(starts[1:], True) if repeats == "last" else starts
    if repeats == "sum":
        first, values = there[starts], rows.values[there]
        known = np.add.reduceat((~np.isnan(values)).astype(np.int64), np.flatnonzero(starts)) > 0
        rows.values[first[known]] = np.add.reduceat(np.nan_to_num(values), np.flatnonzero(starts))[known]
    rows.reject(there[~kept], "repeat")


def reject_cancelled(rows: Rows, order: Order) -> None:
    """Reject rows of a value below 0, and of each the newest row before it that it undoes: see the expression."""
    amounts = np.unique(np.abs(rows.values), return_inverse=True)[1]
    there, starts = _grouped(rows, order[rows.reasons[order] == 0], [rows.users, rows.items, amounts])
    closes = rows.values[there] < 0
    group = np.cumsum(starts)
    height = np.cumsum(np.where(closes, -1, 1))
    height -= np.append(0, height)[np.flatnonzero(starts)][group - 1]
    # each group's heights lie below those of the one before, so that a minimum so far begins anew with it
    shift = group * (2 * len(there) + 1)
    floor = np.minimum(np.minimum.accumulate(height - shift) + shift, 0)
    before = np.where(starts, 0, np.append(0, floor[:-1]))
    depth = height - floor + closes
    paired = np.flatnonzero(~(closes & (floor < before)) & (rows.values[there] != 0))
    # at one depth rows that open and rows that close take turns
    paired = paired[np.lexsort((depth[paired], group[paired]))]
    follows = (np.diff(group[paired]) == 0) & (np.diff(depth[paired]) == 0) & closes[paired[1:]]
    rows.reject(there[paired[:-1][follows & ~closes[paired[:-1]]]], "cancelled")
    rows.reject(there[closes], "cancellation")


def reject_values(rows: Rows, z: float) -> None:
    """Reject rows of values whose size is out of all proportion."""
    sizes = np.abs(rows.values)
    limit = rules.outlier_limit(sizes[rows.valid & (sizes > 0)], z) if z else np.inf
    rows.reject(np.flatnonzero(rows.valid & (sizes > limit)), "outlier value")


def _grouped(rows: Rows, there: Order, columns: list[npt.NDArray[Any]]) -> tuple[Order, Bools]:
    """Some rows by their values in the columns, else in the order given; and where each group starts."""
    key = np.zeros(len(there), dtype=np.int64)
    for column in columns:
        key = np.unique(key * (int(column.max(initial=0)) + 1) + column[there], return_inverse=True)[1]
    order = np.argsort(key, kind="stable")
    return there[order], np.append(True, np.diff(key[order]) != 0)[: len(there)]


# --- counts -----------------------------------------------------------------------------------------------------------


def reject_outliers(rows: Rows, codes: Codes, n: int, z: float, reason: str) -> None:
    """Reject the rows of the users (items) with more valid rows than `rules.outlier_limit` allows."""
    counts = rows.counts(codes, n) if z else np.zeros(n, dtype=np.int64)
    over = counts > (rules.outlier_limit(counts[counts > 0], z) if z else np.inf)
    if over.any():
        rows.reject(np.flatnonzero(np.append(over, False)[codes] & rows.valid), reason)


def reject_rare(rows: Rows, min_user: int, min_item: int, min_people: int) -> None:
    """Reject what is outside of the k-core."""
    valid = np.flatnonzero(rows.valid)
    violated = rules.k_core(rows.users[valid], rows.items[valid], min_user, min_item, min_people)
    for mark, reason in ((1, rules.USER_RULE), (2, rules.ITEM_RULE), (3, rules.SUPPORT_RULE)):
        rows.reject(valid[violated == mark], reason)
