"""What came in and what stayed of a log: events of days, users and items, the long tail, repeats, empty cells."""

from __future__ import annotations

from collections.abc import Iterator

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Bools, Codes, Ints
from llmrec_cli.core.artifacts import LOG_PROFILE
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.ingest.array_log import ArrayLog
from llmrec_cli.ingest.array_rules import NO_TIME
from llmrec_cli.ingest.column_codes import numbers
from llmrec_cli.ingest.engine_checks import MICROSECONDS
from llmrec_cli.ingest.frame_log import FrameLog
from llmrec_cli.ingest.funnel import RULES
from llmrec_cli.ingest.row_verdicts import READ
from llmrec_cli.ingest.rules import NEGATIVE, Frame, FrameEngine
from llmrec_cli.ingest.sql import BLANKS, EARLIEST, LATEST

QUANTILES = {"fewest": 0, "10 %": 0.1, "half": 0.5, "90 %": 0.9, "99 %": 0.99, "most": 1}
TAIL = (0.01, 0.1, 0.5)
DAY = 86_400_000_000


class _Counts:
    """How many events days, users and items have, and how many of them repeat a pair of user and item."""

    def __init__(self, n_users: int = 0, n_items: int = 0) -> None:
        self.of_users, self.of_items = np.zeros(n_users, dtype=np.int64), np.zeros(n_items, dtype=np.int64)
        self.of_days = np.zeros((LATEST - EARLIEST) // DAY + 1, dtype=np.int64)
        self.paired = self.pairs = 0

    @classmethod
    def of(cls, engine: FrameEngine, rows: Frame, paired: Frame) -> _Counts:
        """Of the rows with a user and an item; those that may be a pair say whether they are `kept`."""
        found = cls()
        named = rows.filter(~nw.col(USER).is_null() & ~nw.col(ITEM).is_null())
        dated = named.filter(~nw.col("time").is_null())
        days = dated.select(((nw.col("time") - EARLIEST) // DAY).cast(nw.Int64).alias("day"))

        def counted(frame: Frame, key: str, *wanted: str) -> list[Ints]:
            counts = frame.group_by(key).agg(nw.len().alias("n")).select(*wanted, "n")
            return [numbers(column, 0) for column in engine.arrow(counts).columns]

        (found.of_users,), (found.of_items,) = counted(named, USER), counted(named, ITEM)
        of_days, n = counted(days, "day", "day")
        found.of_days[of_days] = n
        pairs = paired.group_by(USER, ITEM).agg(nw.len().alias("n"), nw.col("kept").sum())
        users = pairs.group_by(USER).agg(nw.col("n").sum(), nw.len().alias("pairs"), nw.col("kept").sum())
        sums = users.filter(nw.col("kept") > 0).select(nw.col("n").sum(), nw.col("pairs").sum())
        found.paired, found.pairs = (int(column[0].as_py() or 0) for column in engine.arrow(sums).columns)
        return found

    def add(self, users: Codes, items: Codes, times: Ints) -> None:
        both = (users >= 0) & (items >= 0)
        self.of_users += np.bincount(users[both], minlength=len(self.of_users))
        self.of_items += np.bincount(items[both], minlength=len(self.of_items))
        days = (times[both & (times != NO_TIME)] - EARLIEST) // DAY
        self.of_days += np.bincount(days, minlength=len(self.of_days))

    def measures(self) -> Iterator[tuple[str, str, float]]:
        """Part, name and value of each."""
        for day in np.flatnonzero(self.of_days):
            yield "events of a day", str(np.datetime64(EARLIEST // DAY + int(day), "D")), self.of_days[day]
        total = max(1, int(self.of_users.sum()))
        yield "log", "events", self.of_users.sum()
        for part, of_all in (("events of a user", self.of_users), ("events of an item", self.of_items)):
            counts = np.sort(of_all[of_all > 0])
            yield "log", f"{part.split()[-1]}s", len(counts)
            for name, share in QUANTILES.items() if len(counts) else ():
                yield part, name, np.quantile(counts, share)
        most = counts[::-1].cumsum()  # of the items, which come last
        for share in TAIL if len(counts) else ():
            name = f"of the {share:.0%} most chosen items"
            yield "share of events", name, most[max(1, round(share * len(most))) - 1] / total
        yield "share of events", "the user had the item before", 1 - self.pairs / max(1, self.paired)


def table(checked: ArrayLog | FrameLog) -> pa.Table:
    """`clean/log_profile`. Users and items are counted only; no id is in it.

    What came is every row with a user and an item; of repeats, the rows that are valid by themselves, of users that
    stayed. Memory: a byte for each row.
    """
    log, start = checked.log, 0
    came, left, stayed = _of_arrays(checked) if isinstance(checked, ArrayLog) else _of_frames(checked)
    empty = np.zeros((len(log.columns), 2))
    for part in log.spool.pieces(log.columns, READ):
        stop = start + len(part)
        for number, column in enumerate(log.columns):
            # few cells begin with a blank or nothing, and only of those are the blanks taken off
            texts = pc.coalesce(part.column(column), "")
            few = np.flatnonzero(numbers(pc.less(texts, "!"), False))
            blank = few[numbers(pc.equal(pc.utf8_trim(texts.take(pa.array(few)), BLANKS), ""), False)]
            empty[number] += len(blank), stayed[start + blank].sum()
        start = stop
    shares = empty / np.array([log.total, stayed.sum()]).clip(1)
    sides = [
        {(part, name): value for part, name, value in side.measures()}
        | {("empty cells", column): share for column, share in zip(log.columns, shares[:, n], strict=True)}
        for n, side in enumerate((came, left))
    ]
    found = [(*key, *(side.get(key) for side in sides)) for key in sorted(sides[0] | sides[1])]
    return pa.table([list(column) for column in zip(*found, strict=True)], schema=LOG_PROFILE.schema)


def _of_arrays(checked: ArrayLog) -> tuple[_Counts, _Counts, Bools]:
    """What came, what stayed, and (rows,) which rows did."""
    log, sizes = checked.log, (len(checked.users.ids), len(checked.items.ids))
    came, left, start = _Counts(*sizes), _Counts(*sizes), 0
    stayed = np.zeros(log.total, dtype=bool)
    for piece in checked.pieces():
        kept = piece.rows.at(~piece.withheld)
        stayed[kept.places] = True
        left.add(kept.users, kept.items, kept.times)
        # one order for both sides: of a pair the rows that stayed come first
        out = np.ones(len(piece.all), dtype=bool)
        out[np.flatnonzero(piece.all.valid)] = piece.withheld
        pairs = (piece.all.users.astype(np.int64) * sizes[1] + piece.all.items) * 2 + out
        pairs = np.sort(pairs[checked.rows.n_of_user[piece.all.users] > 0])
        first = np.append(True, np.diff(pairs >> 1) != 0)[: len(pairs)]
        for side, those in ((came, slice(None)), (left, pairs & 1 == 0)):
            side.paired, side.pairs = side.paired + len(pairs[those]), side.pairs + int(first[those].sum())
    for part in log.spool.pieces([MICROSECONDS], READ):
        stop = start + len(part)
        codes = checked.users.read(start, stop), checked.items.read(start, stop)
        came.add(*codes, numbers(part.column(MICROSECONDS), NO_TIME))
        start = stop
    return came, left, stayed


def _of_frames(checked: FrameLog) -> tuple[_Counts, _Counts, Bools]:
    """The same by group-bys of an engine: of the rows nothing but the numbers of those that stayed leaves it."""
    alone = [name for name in list(RULES)[: list(RULES).index("outlier value")] if name != NEGATIVE]
    paired = checked.checked.filter(nw.col("reason").is_null() | ~nw.col("reason").is_in(alone))
    kept = checked.events.filter(~nw.col("withheld"))
    came = _Counts.of(
        checked.engine, checked.checked, paired.with_columns(nw.col("reason").is_null().cast(nw.Int64).alias("kept"))
    )
    left = _Counts.of(checked.engine, kept, kept.with_columns(nw.lit(1).alias("kept")))
    stayed = np.zeros(checked.log.total, dtype=bool)
    for batch in checked.engine.batches(kept.select("source_row")):
        stayed[batch.column(0).to_numpy() - 1] = True
    return came, left, stayed
