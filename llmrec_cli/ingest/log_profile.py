"""What came in and what stayed of a log: events of days, users and items, the long tail, repeats, empty cells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Codes, Ints
from llmrec_cli.core.artifacts import LOG_PROFILE
from llmrec_cli.ingest.array_log import ArrayLog
from llmrec_cli.ingest.array_rules import NO_TIME
from llmrec_cli.ingest.column_codes import numbers
from llmrec_cli.ingest.engine_checks import MICROSECONDS
from llmrec_cli.ingest.row_verdicts import READ
from llmrec_cli.ingest.sql import BLANKS, EARLIEST, LATEST

QUANTILES = {"fewest": 0, "10 %": 0.1, "half": 0.5, "90 %": 0.9, "99 %": 0.99, "most": 1}
TAIL = (0.01, 0.1, 0.5)
DAY = 86_400_000_000


class _Counts:
    """How many events days, users and items have, and how many of them repeat a pair of user and item."""

    def __init__(self, n_users: int, n_items: int) -> None:
        self.of_users, self.of_items = np.zeros(n_users, dtype=np.int64), np.zeros(n_items, dtype=np.int64)
        self.of_days = np.zeros((LATEST - EARLIEST) // DAY + 1, dtype=np.int64)
        self.paired = self.pairs = 0

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


def table(checked: ArrayLog) -> pa.Table:
    """`clean/log_profile`. Users and items are counted only; no id is in it.

    What came is every row with a user and an item; of repeats, the rows that are valid by themselves, of users that
    stayed. Memory: a byte for each row.
    """
    log, sizes = checked.log, (len(checked.users.ids), len(checked.items.ids))
    came, left, start = _Counts(*sizes), _Counts(*sizes), 0
    stayed, empty = np.zeros(log.total, dtype=bool), np.zeros((len(log.columns), 2))
    for piece in checked.pieces():
        kept = piece.rows.at(~piece.withheld)
        stayed[kept.places] = True
        left.add(kept.users, kept.items, kept.times)
        # one order for both sides: of a pair the rows that stayed come first
        out = np.ones(len(piece.all), dtype=bool)
        out[np.flatnonzero(piece.all.valid)] = piece.withheld
        pairs = np.sort((piece.all.users.astype(np.int64) * sizes[1] + piece.all.items) * 2 + out)
        first = np.append(True, np.diff(pairs >> 1) != 0)[: len(pairs)]
        for side, those in ((came, slice(None)), (left, pairs & 1 == 0)):
            side.paired, side.pairs = side.paired + len(pairs[those]), side.pairs + int(first[those].sum())
    for part in log.spool.pieces([MICROSECONDS], READ):
        stop = start + len(part)
        codes = checked.users.read(start, stop), checked.items.read(start, stop)
        came.add(*codes, numbers(part.column(MICROSECONDS), NO_TIME))
        start = stop
    start = 0
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
