"""Raw columns that describe items and users, from files of their own or from the log: one row for each id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.ingest import metadata
from llmrec_cli.ingest.column_mapping import Columns, ItemsConfig, UsersConfig, listed, name_of
from llmrec_cli.ingest.people import protected
from llmrec_cli.ingest.spool import NOTHING

if TYPE_CHECKING:
    from llmrec_cli.ingest.checked_log import CheckedLog
    from llmrec_cli.ingest.raw_log import RawLog
    from llmrec_cli.ingest.rules import Frame


@dataclass(frozen=True)
class Kept:
    """What is left of the log, and where items and users are described."""

    log: RawLog
    checked: CheckedLog
    base: Path
    warnings: list[str]


def described(
    kept: Kept, config: ItemsConfig | UsersConfig, id_name: Literal["item_id", "user_id"], log_rows: Frame
) -> tuple[pa.Table, Callable[[Columns | None], list[str]]]:
    """One row for each id with events or in the file, with columns as text; and the names of columns in it.

    `log_rows` are the rows of the log that may be read for it, as `Engine.numbered` gives the log's columns.

    Items whose events a backtest withholds are not among those with events: as of its cut-off nobody knew of them.
    Users are, because they are evaluated.
    """
    engine = kept.log.engine
    inputs = kept.log.inputs if config.path is None else engine.open(config, kept.base)

    def names(columns: Columns | None) -> list[str]:
        return [name_of(c, inputs) for c in listed(columns)]

    columns = list(dict.fromkeys(names(config.described())))
    counts = kept.checked.event_counts(id_name, met_only=id_name == ITEM)
    if config.path is None:
        field = kept.log.mapping.item if id_name == ITEM else kept.log.mapping.user
        number = {c: str(kept.log.columns.index(c)) for c in [field, *columns]}
        values = [engine.arrow(metadata.most_frequent(log_rows, number[field], number[c])) for c in columns]
        return metadata.from_log(counts, dict(zip(columns, values, strict=True))), names
    (key,) = names(config.key)
    ragged = next(iter(names(config.title)), "") if isinstance(config, ItemsConfig) else ""
    before = engine.rejoined
    of_people = protected(kept.log.people, key) if id_name == USER and kept.log.people else NOTHING
    raw = engine.raw(inputs, list(dict.fromkeys([key, *columns])), ragged=ragged, extra=of_people)
    kept_rows = engine.rejoined - before
    numbers = [str(1 + i) for i in range(len(columns))]
    rows = engine.arrow(metadata.first_rows(engine.numbered(raw, [key, *columns]), "0", numbers))
    rows = rows.rename_columns([metadata.ID, *columns, metadata.REPEATS])
    for n, what in (
        (engine.count(raw, 'NOT "#parsable"'), "cannot be read: a wrong number of columns"),
        (
            kept_rows,
            f"have a wrong number of columns: what is too much was taken for part of {ragged!r}, "
            "what is missing is empty",
        ),
        (metadata.repeated(rows), "repeat the id of an earlier row, which counts"),
    ):
        if n:
            kept.warnings.append(f"{', '.join(i.file.location.name for i in inputs)}: {n:,} rows {what}")
    return metadata.from_file(counts, rows, only_seen=config.only_seen), names


def ranges(kept: Kept, config: ItemsConfig, log_rows: Frame, ids: pa.ChunkedArray) -> pa.Table:
    """The rows of `clean/item_ranges`: attributes of the items `ids` whose number varies in the log; maybe none."""
    names = [] if config.path is not None else [name_of(c, kept.log.inputs) for c in listed(config.attributes)]
    number = {c: str(kept.log.columns.index(c)) for c in [kept.log.mapping.item, *names]}
    pairs = {
        c: kept.log.engine.arrow(metadata.values_of(log_rows, number[kept.log.mapping.item], number[c])) for c in names
    }
    return metadata.ranges(pairs, ids)
