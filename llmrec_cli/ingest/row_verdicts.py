"""The rows of a log as arrays, each with what is wrong with it by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Floats
from llmrec_cli.ingest import array_rules
from llmrec_cli.ingest.array_rules import NO_TIME, Rows
from llmrec_cli.ingest.column_codes import Coded, numbers
from llmrec_cli.ingest.engine_checks import FORGOTTEN, MICROSECONDS, NUMBER
from llmrec_cli.ingest.sql import BLANKS

if TYPE_CHECKING:
    from llmrec_cli.ingest.clean_config import CleanConfig
    from llmrec_cli.ingest.raw_log import RawLog

READ, ENCODED = 12 << 20, 64 << 20
"""Bytes of columns that rules look at, and of texts that become codes, at a time."""


def coded(log: RawLog, column: str | None) -> Coded:
    texts = () if column is None else log.spool.pieces([column], ENCODED)
    return Coded((table.column(0) for table in texts), log.engine.folder)


def with_verdicts(log: RawLog, config: CleanConfig, users: Coded, items: Coded, kinds: Coded) -> Iterator[Rows]:
    """The rows of the log, each with what is wrong with it by itself."""
    of_kinds, value, start, passing = kind_weights(config, kinds.ids), log.mapping.value, 0, log.passing()
    names = [MICROSECONDS, NUMBER, "#parsable", *([value] if value else []), *([FORGOTTEN] if log.people else [])]
    for table in log.spool.pieces(names, READ):
        stop = start + len(table)
        times, values = numbers(table.column(MICROSECONDS), NO_TIME), numbers(table.column(NUMBER), np.nan)
        codes = (users.read(start, stop), items.read(start, stop), kinds.read(start, stop))
        rows = Rows(np.arange(start, stop, dtype=np.uint32), *codes, times, values, np.zeros(len(table), np.uint8))
        broken = {"unparsable": ~numbers(table.column("#parsable"), False)}
        if log.mapping.time is not None:
            broken["invalid time"] = times == NO_TIME
        if value and len(none := np.flatnonzero(np.isnan(values))):
            given = pc.not_equal(pc.utf8_trim(table.column(value).take(pa.array(none)), BLANKS), "")
            broken["invalid value"] = none[numbers(given, False)]
        if passing is not None:
            broken["where"] = ~passing[start:stop]
        if log.people:
            broken["forgotten"] = numbers(table.column(FORGOTTEN), False)
        array_rules.reject_invalid(rows, broken, of_kinds, config.negative_below)
        yield rows
        start = stop


def kind_weights(config: CleanConfig, names: pa.Array) -> Floats:
    """(kinds,) the weight of each kind of event."""
    return np.array([config.event_weights.get(name, 1.0) for name in names.to_pylist()], dtype=np.float32)
