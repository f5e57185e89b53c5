"""The rules of `rules.py` on arrays of codes, far cheaper on one machine; a test holds them to the expressions.

Rows stand in the order of the log. Each rule fills `reasons` where no earlier one did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec_cli.core.arrays import Bools, Codes, Doubles, Floats, Ints
from llmrec_cli.ingest import rules
from llmrec_cli.ingest.funnel import RULES

NO_TIME = np.iinfo(np.int64).min
NAMES = ("", *RULES)
"""Reasons by their number, in the order in which rules apply; 0 is none."""
NUMBER = {name: number for number, name in enumerate(NAMES)}
NEGATIVE = NUMBER[rules.NEGATIVE]
TIME_UNITS = (86_400_000_000, 1_000_000, 1_000)
"""A day, a second, a millisecond in microseconds: times of a coarse log need fewer bits."""


@dataclass(frozen=True)
class Rows:
    """(rows,) arrays of some rows of a log; a user, item or kind of event that is missing has the code −1."""

    places: npt.NDArray[np.uint32]
    """Where they stand in the log, from 0."""
    users: Codes
    items: Codes
    kinds: Codes
    times: Ints
    """Microseconds since 1970; NO_TIME where there is none."""
    values: Doubles
    """NaN where there is none."""
    reasons: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def valid(self) -> Bools:
        return self.reasons == 0

    def at(self, rows: Ints | Bools) -> Rows:
        """Some of the rows; these themselves where it is all of them."""
        if rows.dtype == bool:
            if rows.all():
                return self
            rows = np.flatnonzero(rows)
        return Rows(*(getattr(self, name).take(rows) for name in COLUMNS))

    def reject(self, rows: Ints | Bools, reason: str) -> None:
        self.reasons[rows] = NUMBER[reason]


COLUMNS = {
    "places": np.uint32,
    "users": np.int32,
    "items": np.int32,
    "kinds": np.int32,
    "times": np.int64,
    "values": np.float64,
    "reasons": np.uint8,
}


def weights(rows: Rows, of_kinds: Floats, negative_below: float | None) -> Floats:
    """(rows,) weights of events by the (kinds,) ones, 1 without a kind, −1 for a value under `negative_below`."""
    found = np.append(of_kinds, np.float32(1))[rows.kinds]
    if negative_below is not None:
        found[rows.values < negative_below] = -1
    return found


def reject_invalid(rows: Rows, broken: dict[str, Bools | Ints], of_kinds: Floats, negative_below: float | None) -> None:
    """What is wrong with a row by itself: the first rule that fits. `broken` has the rows of rules that need text."""
    found = rows.reasons
    if (of_kinds <= 0).any() or negative_below is not None:
        each = weights(rows, of_kinds, negative_below)
        found[each == 0] = NUMBER["no weight"]
        found[each < 0] = NEGATIVE
    for reason in ("invalid value", "invalid time"):
        if reason in broken:
            rows.reject(broken[reason], reason)
    found[rows.items < 0] = NUMBER["missing item"]
    found[rows.users < 0] = NUMBER["missing user"]
    for reason in ("where", "unparsable", "forgotten"):
        if reason in broken:
            rows.reject(broken[reason], reason)


# --- order, duplicates, repeats ---------------------------------------------------------------------------------------


def in_order(rows: Rows, same: tuple[str, ...] | None) -> Rows:
    """The rows by user, time and place; `same` are the columns in which duplicates agree, besides user and time.

    Duplicates are rejected: valid rows that agree with an earlier one. None rejects nothing.
    """
    order, tied = _by_user_and_time(rows.users, rows.times)
    rows = rows.at(order)
    if same is not None and tied.any():
        # what is tied with its neighbour; negative rows are none's duplicate
        ties = np.flatnonzero(tied | np.append(tied[1:], False))
        runs = np.cumsum(~tied[ties])
        valid = rows.valid[ties]
        ties, runs = ties[valid], runs[valid]
        rows.reject(ties[_later([runs, *(getattr(rows, name)[ties] for name in same)])], "duplicate")
    return rows


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


def reject_repeats(rows: Rows, repeats: rules.Repeats, window_minutes: float) -> None:
    """Of events of the same user and item that follow each other within the window keep the first or the last.

    Without a window, 0, all of them follow each other. The first of `sum` gets the sum of their values.
    """
    if repeats == "keep" or not rows.valid.any():
        return
    there, starts = _grouped(rows, [rows.users, rows.items])
    if window_minutes:
        starts[1:] |= np.diff(rows.times[there]) > window_minutes * rules.MINUTE
    kept = np.append(starts[1:], True) if repeats == "last" else starts
    if repeats == "sum":
        first, values = there[starts], rows.values[there]
        known = np.add.reduceat((~np.isnan(values)).astype(np.int64), np.flatnonzero(starts)) > 0
        rows.values[first[known]] = np.add.reduceat(np.nan_to_num(values), np.flatnonzero(starts))[known]
    rows.reject(there[~kept], "repeat")


def reject_cancelled(rows: Rows) -> None:
    """Reject rows of a value below 0, and of each the newest row before it that it undoes: see the expression."""
    amounts = np.unique(np.abs(rows.values), return_inverse=True)[1]
    there, starts = _grouped(rows, [rows.users, rows.items, amounts])
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


def reject_values(rows: Rows, limit: float) -> None:
    """Reject rows of values whose size is out of all proportion."""
    rows.reject(rows.valid & (np.abs(rows.values) > limit), "outlier value")


def _grouped(rows: Rows, columns: list[npt.NDArray[Any]]) -> tuple[Ints, Bools]:
    """The valid rows by their values in the columns, else in the order given; and where each group starts."""
    there = np.flatnonzero(rows.valid)
    key = np.zeros(len(there), dtype=np.int64)
    for column in columns:
        key = np.unique(key * (int(column.max(initial=0)) + 1) + column[there], return_inverse=True)[1]
    order = np.argsort(key, kind="stable")
    return there[order], np.append(True, np.diff(key[order]) != 0)[: len(there)]
