"""The checked log as arrays of codes: one machine's path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llmrec_cli.core.arrays import Codes, Floats, Ints, offsets_of, within_groups
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.ingest import array_rules, holdout, sql
from llmrec_cli.ingest.array_rules import NAMES, NEGATIVE, NO_TIME, Rows
from llmrec_cli.ingest.checked_log import IdName
from llmrec_cli.ingest.column_codes import codes, numbers
from llmrec_cli.ingest.funnel import WITHHELD
from llmrec_cli.ingest.metadata import COUNT, ID

if TYPE_CHECKING:
    from llmrec_cli.ingest.clean_config import CleanConfig
    from llmrec_cli.ingest.raw_log import RawLog
    from llmrec_cli.ingest.rules import Frame

PIECE = 1 << 18
"""Events that are written at a time."""


@dataclass(frozen=True)
class ArrayLog:
    """A `CheckedLog` of codes; ids are sorted, so that the order of codes is theirs."""

    log: RawLog
    config: CleanConfig
    rows: Rows
    user_ids: pa.Array
    item_ids: pa.Array
    kind_names: pa.Array
    order: npt.NDArray[np.uint32]
    """The kept and the negative rows by user, time and row."""
    after: int
    """Where the backtest cuts by time, in microseconds since 1970."""

    def removed(self) -> dict[str, int]:
        counts = np.bincount(self.rows.reasons, minlength=len(NAMES))
        found = {name: int(n) for name, n in zip(NAMES[1:], counts[1:], strict=True) if n}
        if self.config.holdout == "none":
            return found
        return found | {WITHHELD: sum(int(piece.withheld.sum()) for piece in self._pieces())}

    def taken(self) -> list[dict[str, str | int]]:
        there = np.flatnonzero(np.bincount(self.rows.reasons, minlength=len(NAMES)))

        def n_ids(codes: Codes, number: int) -> int:
            found = codes[self.rows.with_reason(number)]
            return int(np.count_nonzero(np.bincount(found[found >= 0])))

        return [
            {"reason": NAMES[n], "users": n_ids(self.rows.users, n), "items": n_ids(self.rows.items, n)}
            for n in there.tolist()
            if n
        ]

    def last_rows(self, id_name: IdName) -> dict[str, int]:
        codes, ids = self._ids(id_name)
        last = np.zeros(len(ids) + 1, dtype=np.uint8)
        for number in range(1, len(NAMES) + 1):  # kept rows last of all: a rule that comes later writes over an earlier
            last[codes[self.rows.with_reason(number % len(NAMES))]] = number
        found = np.bincount(last[:-1], minlength=len(NAMES) + 1)[1:]
        return {name: int(n) for name, n in zip((*NAMES[1:], ""), found, strict=True) if n}

    def kinds(self) -> list[str]:
        found: list[str] = self.kind_names.to_pylist()
        return found

    def event_counts(self, id_name: IdName, *, met_only: bool = False) -> pa.Table:
        codes, ids = self._ids(id_name)
        kept = met = self.rows.counts(codes, len(ids))
        if self.config.holdout != "none":
            met = kept.copy()
            for piece in self._pieces():
                met -= np.bincount(codes[piece.rows[piece.withheld]], minlength=len(ids))
        there = np.flatnonzero(met if met_only else kept)
        return pa.table({ID: ids.take(pa.array(there)), COUNT: met[there]})

    def _ids(self, id_name: IdName) -> tuple[Codes, pa.Array]:
        return (self.rows.users, self.user_ids) if id_name == USER else (self.rows.items, self.item_ids)

    def newest(self) -> int | None:
        newest = int(self.rows.times[self.rows.valid].max(initial=NO_TIME))
        return None if newest == NO_TIME else newest

    def only_rejected(self) -> pa.Array:
        items = self.rows.items
        named = np.bincount(items[items >= 0], minlength=len(self.item_ids)) > 0
        kept = self.rows.counts(items, len(self.item_ids)) > 0
        return self.item_ids.take(pa.array(np.flatnonzero(named & ~kept)))

    def known_rows(self) -> Frame:
        numbered = self.log.engine.numbered(self.log.raw, self.log.columns)
        if self.config.holdout == "none":
            return numbered
        known = np.flatnonzero(self._known()) + 1
        return holdout.among(numbered, self.log.engine.put(pa.table({"#source_row": known})))

    def _known(self) -> npt.NDArray[np.bool_]:
        """(rows,) whether a row lies before its user's first withheld event, or before the cut-off of all."""
        times = self.rows.times
        if self.config.holdout == "time":
            return (times != NO_TIME) & (times < self.after)
        first = np.full(len(self.user_ids) + 1, -1, dtype=np.int64)
        for piece in self._pieces():
            there, users = piece.rows[piece.withheld], piece.users[piece.withheld]
            first[users[::-1]] = there[::-1]
        of_row = first[self.rows.users]
        timed = self.log.mapping.time is not None
        cut, row = times[of_row], np.arange(len(times))
        earlier = (times < cut) | ((times == cut) & (row < of_row))
        return (of_row < 0) | (earlier & ((times != NO_TIME) | (not timed)))

    # --- tables ---------------------------------------------------------------------------------------------------

    def training(self) -> Iterator[pa.Table]:
        of_kinds = kind_weights(self.config, self.kind_names)
        for piece in self._pieces():
            kept = ~piece.withheld
            there = piece.rows[kept]
            rows = self.rows.at(there)
            times = _instants(rows.times)
            yield pa.table(
                {
                    USER: _named(piece.users[kept], self.user_ids),
                    "position": piece.positions[kept],
                    ITEM: _named(rows.items, self.item_ids),
                    "time": times,
                    "value": pa.array(rows.values, from_pandas=True),
                    "event": self.kind_names.take(pa.array(rows.kinds, mask=rows.kinds < 0)),
                    "weight": array_rules.weights(rows, of_kinds, self.config.negative_below),
                    "session": piece.sessions[kept],
                    "source_row": there.astype(np.int64) + 1,
                }
            )

    def holdout(self) -> Iterator[pa.Table]:
        for piece in self._pieces():
            there = piece.rows[piece.withheld]
            ids = (
                self.user_ids.take(pa.array(piece.users[piece.withheld])),
                self.item_ids.take(pa.array(self.rows.items[there])),
            )
            positions, times = piece.positions[piece.withheld], _instants(self.rows.times[there])
            yield pa.table({USER: ids[0], "position": positions, ITEM: ids[1], "time": times})

    def negative_feedback(self) -> Iterator[pa.Table]:
        """A row for each user and item, that of the last time: `position` counts the kept events before it."""
        n_users = len(self.user_ids)
        reasons = self.rows.reasons[self.order]
        there = self.order[reasons == NEGATIVE]
        users = self.rows.users[there]
        first = offsets_of(self.rows.counts(self.rows.users, n_users))
        before = np.cumsum(reasons == 0)[reasons == NEGATIVE] - first[users]
        own = np.zeros(n_users, dtype=np.int64)
        for piece in self._pieces():
            own += np.bincount(piece.users[~piece.withheld], minlength=n_users)
        # the last of each pair: the order is that of time
        pair = users.astype(np.int64) * max(1, len(self.item_ids)) + self.rows.items[there]
        last = len(pair) - 1 - np.unique(pair[::-1], return_index=True)[1]
        known = own[users[last]] > 0
        if self.config.holdout == "time":
            known &= self.rows.times[there[last]] < self.after
        else:
            known &= before[last] <= own[users[last]]
        last = last[known]
        ids = (self.user_ids.take(pa.array(users[last])), self.item_ids.take(pa.array(self.rows.items[there[last]])))
        yield pa.table({USER: ids[0], ITEM: ids[1], "position": before[last].astype(np.int32)})

    def rejects(self) -> Iterator[pa.Table]:
        there = np.flatnonzero(self.rows.reasons)
        reasons = pa.array(NAMES).take(pa.array(self.rows.reasons[there]))
        return self.log.engine.tables(self.log.rejected(pa.table({"source_row": there + 1, "reason": reasons})))

    # --- pieces ---------------------------------------------------------------------------------------------------

    def _pieces(self) -> Iterator[Piece]:
        """The kept events of whole users, about `PIECE` at a time."""
        kept = self.order[self.rows.reasons[self.order] == 0]
        ends = offsets_of(self.rows.counts(self.rows.users, len(self.user_ids)))
        start = 0
        while start < len(kept):
            user = int(self.rows.users[kept[start]])
            stop = int(max(ends[user + 1], ends[np.searchsorted(ends, start + PIECE, side="right") - 1]))
            yield self._piece(kept[start:stop])
            start = stop

    def _piece(self, there: npt.NDArray[np.uint32]) -> Piece:
        users, times = self.rows.users[there], self.rows.times[there]
        starts = np.flatnonzero(np.append(True, users[1:] != users[:-1]))
        lengths = np.diff(np.append(starts, len(users)))
        positions = within_groups(lengths).astype(np.int32)
        pause = np.append(0, np.diff(times)) > self.config.session_gap_minutes * 60e6
        pause[starts] = False
        sessions = np.cumsum(pause, dtype=np.int32)
        sessions -= np.repeat(sessions[starts], lengths)
        how = self.config.holdout
        if how == "none":
            withheld = np.zeros(len(users), dtype=bool)
        elif how == "time":
            withheld = times >= self.after
        else:
            newest = 1 if how == "last" else self.config.holdout_n
            withheld = (np.repeat(lengths, lengths) - positions <= newest) & (positions > 0)
        return Piece(there, users, positions, sessions, withheld)


@dataclass(frozen=True)
class Piece:
    """Kept events of some users, by user and in order of time."""

    rows: npt.NDArray[np.uint32]
    users: Codes
    positions: Codes
    sessions: Codes
    withheld: npt.NDArray[np.bool_]


# --- reading ----------------------------------------------------------------------------------------------------------


def check(log: RawLog, config: CleanConfig, after: int) -> ArrayLog:
    """Read the raw table column by column and apply the rules."""
    timed, cells = log.mapping.time is not None, log.cells()
    # with their blanks: these are taken from the different ids only, which are far fewer than the rows
    users, user_ids = codes(log.values(sql.column(log.mapping.user)))
    items, item_ids = codes(log.values(sql.column(log.mapping.item)))
    kinds, kind_names = np.full(log.total, -1, dtype=np.int32), pa.array([], pa.string())
    if log.mapping.event is not None:
        kinds, kind_names = codes(log.values(sql.column(log.mapping.event)))
    times, values = numbers(log.values(cells["time"]), NO_TIME), numbers(log.values(cells["value"]), np.nan)
    rows = Rows(users, items, kinds, times, values, np.zeros(log.total, dtype=np.uint8))
    of_kinds, none = kind_weights(config, kind_names), np.zeros(0, dtype=np.int64)
    # the cheaper condition first: taking blanks off every cell costs as much as all the rest
    no_number = f"({cells['value']}) IS NULL AND {sql.cell(log.mapping.value)} IS NOT NULL"
    broken = {
        "invalid value": log.rows_with(no_number) if log.mapping.value and np.isnan(values).any() else none,
        "invalid time": np.flatnonzero(times == NO_TIME) if timed else none,
        "where": log.rows_with(f"NOT ({log.passing()})") if log.where else none,
        "unparsable": log.rows_with('NOT "#parsable"'),
        "forgotten": none if log.forgotten is None else log.forgotten.column(0).to_numpy() - 1,
    }
    array_rules.reject_invalid(rows, broken, of_kinds, config.negative_below)
    array_rules.reject_values(rows, config.value_outlier_z)
    same = (rows.items, rows.kinds) if timed else (rows.items, rows.kinds, rows.values)
    order = array_rules.ordered(rows, same=same if timed or config.interactions.layout == "rows" else None)
    if config.cancellations == "match":
        array_rules.reject_cancelled(rows, order)
    array_rules.reject_repeats(rows, order, config.repeats, config.repeat_window_minutes)
    array_rules.reject_outliers(rows, users, len(user_ids), config.outlier_z, "outlier user")
    array_rules.reject_outliers(rows, items, len(item_ids), config.item_outlier_z, "outlier item")
    array_rules.reject_rare(rows, config.min_user_events, config.min_item_events, config.min_support)
    return ArrayLog(log, config, rows, user_ids, item_ids, kind_names, order, after)


def kind_weights(config: CleanConfig, names: pa.Array) -> Floats:
    """(kinds,) the weight of each kind of event."""
    return np.array([config.event_weights.get(name, 1.0) for name in names.to_pylist()], dtype=np.float32)


def _named(codes: Codes, ids: pa.Array) -> pa.DictionaryArray:
    """Codes with the ids that occur, which Parquet writes as text."""
    low = int(codes.min(initial=0))
    used = np.zeros(int(codes.max(initial=-1)) + 1 - low, dtype=bool)
    used[codes - low] = True
    there = np.flatnonzero(used)
    new = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return pa.DictionaryArray.from_arrays(pa.array(new[codes - low]), ids.take(pa.array(there + low)))


def _instants(times: Ints) -> pa.Array:
    """Microseconds since 1970, null where there are none."""
    return pa.array(times, mask=times == NO_TIME)
