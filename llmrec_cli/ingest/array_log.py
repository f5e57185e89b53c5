"""The checked log as arrays of codes: one machine's path. Two bytes a row are in memory, the rest is on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llmrec_cli.core.arrays import Bools, Codes, Ints, within_groups
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.ingest import array_rules, holdout, row_verdicts, rules
from llmrec_cli.ingest.array_rules import NAMES, NEGATIVE, NO_TIME, Rows
from llmrec_cli.ingest.checked_log import IdName
from llmrec_cli.ingest.column_codes import Coded, Tally, numbers
from llmrec_cli.ingest.engine_checks import MICROSECONDS
from llmrec_cli.ingest.funnel import WITHHELD
from llmrec_cli.ingest.metadata import COUNT, ID
from llmrec_cli.ingest.row_verdicts import coded, kind_weights, with_verdicts
from llmrec_cli.ingest.sorted_rows import Blocks, SortedRows, spans

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
    users: Coded
    items: Coded
    kind_names: pa.Array
    rows: SortedRows
    reasons: npt.NDArray[np.uint8]
    """(rows,) why each row of the log is rejected, if it is."""
    after: int
    """Where the backtest cuts by time, in microseconds since 1970."""

    def removed(self) -> dict[str, int]:
        counts = np.bincount(self.reasons, minlength=len(NAMES))
        found = {name: int(n) for name, n in zip(NAMES[1:], counts[1:], strict=True) if n}
        if self.config.holdout == "none":
            return found
        return found | {WITHHELD: sum(int(piece.withheld.sum()) for piece in self.pieces())}

    def taken(self) -> list[dict[str, str | int]]:
        users, items = ([self._marks[name] >> n & 1 for n in range(len(NAMES))] for name in (USER, ITEM))
        there = np.flatnonzero(np.bincount(self.reasons, minlength=len(NAMES)))
        counts = ((NAMES[n], int(users[n].sum()), int(items[n].sum())) for n in there.tolist() if n)
        return [{"reason": reason, "users": n_users, "items": n_items} for reason, n_users, n_items in counts]

    def last_rows(self, id_name: IdName) -> dict[str, int]:
        marks = self._marks[id_name]
        last = np.zeros(len(marks), dtype=np.uint8)
        for number in range(1, len(NAMES) + 1):  # kept rows last of all: a rule that comes later writes over an earlier
            last[(marks >> number % len(NAMES) & 1) > 0] = number
        found = np.bincount(last, minlength=len(NAMES) + 1)[1:]
        return {name: int(n) for name, n in zip((*NAMES[1:], ""), found, strict=True) if n}

    @cached_property
    def _marks(self) -> dict[IdName, npt.NDArray[np.uint32]]:
        """(ids,) for each user (item) a bit for each reason that its rows have, the first where some are kept."""
        users, items = (np.append(n > 0, False).astype(np.uint32) for n in (self.rows.n_of_user, self.rows.n_of_item))
        for start, stop in spans(len(self.reasons)):
            reasons = self.reasons[start:stop]
            there = np.flatnonzero(reasons)
            for ids, marks in ((self.users, users), (self.items, items)) if len(there) else ():
                codes = ids.read(start, stop)[there]
                for number in np.unique(reasons[there]).tolist():
                    marks[codes[reasons[there] == number]] |= np.uint32(1 << number)
        return {USER: users[:-1], ITEM: items[:-1]}

    def kinds(self) -> list[str]:
        found: list[str] = self.kind_names.to_pylist()
        return found

    def event_counts(self, id_name: IdName, *, met_only: bool = False) -> pa.Table:
        kept = met = self.rows.n_of_user if id_name == USER else self.rows.n_of_item
        if self.config.holdout != "none":
            met = kept.copy()
            for piece in self.pieces():
                codes = piece.rows.users if id_name == USER else piece.rows.items
                met -= np.bincount(codes[piece.withheld], minlength=len(met))
        there = np.flatnonzero(met if met_only else kept)
        ids = (self.users if id_name == USER else self.items).ids
        return pa.table({ID: ids.take(pa.array(there)), COUNT: met[there]})

    def newest(self) -> int | None:
        newest = max((int(times.max(initial=NO_TIME)) for _, times in self.rows.valid("times")), default=NO_TIME)
        return None if newest == NO_TIME else newest

    def only_rejected(self) -> pa.Array:
        marks = self._marks[ITEM]
        return self.items.ids.take(pa.array(np.flatnonzero((marks > 0) & (marks & 1 == 0))))

    def known_rows(self) -> Frame:
        numbered = self.log.engine.numbered(self.log.raw, self.log.columns)
        if self.config.holdout == "none":
            return numbered
        known = np.concatenate([np.zeros(0, np.int64), *self._known()]) + 1
        return holdout.among(numbered, self.log.engine.put(pa.table({"#source_row": known})))

    def _known(self) -> Iterator[Ints]:
        """The rows before their user's first withheld event, or before the cut-off of all."""
        by_time, total = self.config.holdout == "time", len(self.reasons)
        first = np.full(len(self.users.ids) + 1, -1 if by_time else total, dtype=np.int64)
        cut = np.full(len(first), self.after, dtype=np.int64)
        for piece in () if by_time else self.pieces():
            there = piece.rows.at(np.flatnonzero(piece.withheld)[::-1])
            first[there.users], cut[there.users] = there.places, there.times
        timed, start = self.log.mapping.time is not None, 0
        for table in self.log.spool.pieces([MICROSECONDS], row_verdicts.READ):
            times, users = numbers(table.column(0), NO_TIME), self.users.read(start, start + len(table))
            place = np.arange(start, start + len(table))
            earlier = (times < cut[users]) | ((times == cut[users]) & (place < first[users]))
            known = (first[users] == total) | (earlier & ((times != NO_TIME) | (not timed)))
            yield place[known]
            start += len(table)

    # --- tables ---------------------------------------------------------------------------------------------------

    def training(self) -> Iterator[pa.Table]:
        of_kinds = kind_weights(self.config, self.kind_names)
        for piece in self.pieces():
            kept = ~piece.withheld
            rows = piece.rows.at(kept)
            yield pa.table(
                {
                    USER: _named(rows.users, self.users.ids),
                    "position": piece.positions[kept],
                    ITEM: _named(rows.items, self.items.ids),
                    "time": _instants(rows.times),
                    "value": pa.array(rows.values, from_pandas=True),
                    "event": self.kind_names.take(pa.array(rows.kinds, mask=rows.kinds < 0)),
                    "weight": array_rules.weights(rows, of_kinds, self.config.negative_below),
                    "session": piece.sessions[kept],
                    "source_row": rows.places.astype(np.int64) + 1,
                }
            )

    def holdout(self) -> Iterator[pa.Table]:
        for piece in self.pieces():
            rows = piece.rows.at(piece.withheld)
            ids = self.users.ids.take(pa.array(rows.users)), self.items.ids.take(pa.array(rows.items))
            positions, times = piece.positions[piece.withheld], _instants(rows.times)
            yield pa.table({USER: ids[0], "position": positions, ITEM: ids[1], "time": times})

    def negative_feedback(self) -> Iterator[pa.Table]:
        """A row for each user and item, that of the last time: `position` counts the kept events before it."""
        for piece in self.pieces() if (self.rows.reasons == NEGATIVE).any() else ():
            turned = np.flatnonzero(piece.all.reasons == NEGATIVE)
            rows, users = piece.all.at(turned), piece.all.users[turned]
            kept_users = piece.rows.users
            before = np.cumsum(piece.all.valid)[turned] - np.searchsorted(kept_users, users)
            # the last of each pair: the order is that of time
            pair = users.astype(np.int64) * max(1, len(self.items.ids)) + rows.items
            last = len(pair) - 1 - np.unique(pair[::-1], return_index=True)[1]
            met = kept_users[~piece.withheld]
            own = np.searchsorted(met, users[last], side="right") - np.searchsorted(met, users[last])
            known = own > 0
            known &= rows.times[last] < self.after if self.config.holdout == "time" else before[last] <= own
            last = last[known]
            ids = self.users.ids.take(pa.array(users[last])), self.items.ids.take(pa.array(rows.items[last]))
            yield pa.table({USER: ids[0], ITEM: ids[1], "position": before[last].astype(np.int32)})

    def rejects(self) -> Iterator[pa.Table]:
        mapping, parts, start = self.log.mapping, self.log.spool.parts, 0
        named = {"time": mapping.time, "value": mapping.value}
        wanted = list(dict.fromkeys(["#row", *(name for name in named.values() if name is not None)]))
        starts, names = np.array([part.before for part in parts]), pa.array([part.source for part in parts])
        for table in self.log.spool.pieces(wanted, row_verdicts.READ):
            reasons = self.reasons[start : start + len(table)]
            there = np.flatnonzero(reasons)
            codes = {USER: self.users, ITEM: self.items} if len(there) else {}
            ids = {
                name: _texts(coded.read(start, start + len(table))[there], coded.ids) for name, coded in codes.items()
            }
            some = table.take(pa.array(there))
            if len(there):
                texts = {
                    name: pa.nulls(len(there), pa.string()) if column is None else some.column(column)
                    for name, column in named.items()
                }
                source = np.searchsorted(starts, start + there, side="right") - 1
                yield pa.table(
                    {
                        "source": names.take(pa.array(source)),
                        "row": some.column("#row"),
                        "reason": pa.array(NAMES).take(pa.array(reasons[there])),
                        **ids,
                        **texts,
                    }
                )
            start += len(table)

    # --- pieces ---------------------------------------------------------------------------------------------------

    def pieces(self) -> Iterator[Piece]:
        """The kept events of whole users, about `PIECE` at a time."""
        for start, stop in self.rows.users(PIECE):
            yield self._piece(self.rows.read(start, stop))

    def _piece(self, stored: Rows) -> Piece:
        rows = stored.at(stored.valid)
        starts = np.flatnonzero(np.append(True, rows.users[1:] != rows.users[:-1]))
        lengths = np.diff(np.append(starts, len(rows)))
        positions = within_groups(lengths).astype(np.int32)
        pause = np.append(0, np.diff(rows.times)) > self.config.session_gap_minutes * 60e6
        pause[starts] = False
        sessions = np.cumsum(pause, dtype=np.int32)
        sessions -= np.repeat(sessions[starts], lengths)
        how = self.config.holdout
        if how == "none":
            withheld = np.zeros(len(rows), dtype=bool)
        elif how == "time":
            withheld = rows.times >= self.after
        else:
            newest = 1 if how == "last" else self.config.holdout_n
            withheld = (np.repeat(lengths, lengths) - positions <= newest) & (positions > 0)
        return Piece(stored, rows, positions, sessions, withheld)


@dataclass(frozen=True)
class Piece:
    """Events of some users, by user and in order of time."""

    all: Rows
    """With those that are rejected only after they were put in order, and with negative feedback."""
    rows: Rows
    """The kept ones; so is what follows."""
    positions: Codes
    sessions: Codes
    withheld: Bools


# --- reading ----------------------------------------------------------------------------------------------------------


def check(log: RawLog, config: CleanConfig, after: int) -> ArrayLog:
    """Apply the rules: to each row by itself, to the rows of each user, then by counts of users and items."""
    mapping, folder = log.mapping, log.engine.folder
    users, items, kinds = (coded(log, name) for name in (mapping.user, mapping.item, mapping.event))
    blocks, sizes = Blocks(folder, users, log.total), Tally()
    reasons = np.zeros(log.total, dtype=np.uint8)
    for rows in with_verdicts(log, config, users, items, kinds):
        reasons[rows.places] = rows.reasons
        if config.value_outlier_z:
            sizes.add(np.abs(rows.values[rows.valid]))
        blocks.append(rows.at((rows.reasons == 0) | (rows.reasons == NEGATIVE)))
    limit = rules.outlier_limit(sizes.values, sizes.n, config.value_outlier_z)
    timed = mapping.time is not None
    same = ("items", "kinds") if timed else ("items", "kinds", "values")

    def in_order(rows: Rows) -> Rows:
        array_rules.reject_values(rows, limit)
        rows = array_rules.in_order(rows, same if timed or config.interactions.layout == "rows" else None)
        if config.cancellations == "match":
            array_rules.reject_cancelled(rows)
        array_rules.reject_repeats(rows, config.repeats, config.repeat_window_minutes)
        return rows

    found = SortedRows(blocks, in_order, folder, len(users.ids), len(items.ids))
    found.reject_outliers(False, config.outlier_z, "outlier user")
    found.reject_outliers(True, config.item_outlier_z, "outlier item")
    found.reject_rare(config.min_user_events, config.min_item_events, config.min_support)
    for start, stop in spans(len(found.reasons)):
        rows = found.read(start, stop)
        reasons[rows.places] = rows.reasons
    return ArrayLog(log, config, users, items, kinds.ids, found, reasons, after)


def _named(codes: Codes, ids: pa.Array) -> pa.DictionaryArray:
    """Codes with the ids that occur, which Parquet writes as text."""
    low = int(codes.min(initial=0))
    used = np.zeros(int(codes.max(initial=-1)) + 1 - low, dtype=bool)
    used[codes - low] = True
    there = np.flatnonzero(used)
    new = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return pa.DictionaryArray.from_arrays(pa.array(new[codes - low]), ids.take(pa.array(there + low)))


def _texts(codes: Codes, ids: pa.Array) -> pa.Array:
    """The ids of codes, null for −1."""
    return ids.take(pa.array(codes, mask=codes < 0))


def _instants(times: Ints) -> pa.Array:
    """Microseconds since 1970, null where there are none."""
    return pa.array(times, mask=times == NO_TIME)
