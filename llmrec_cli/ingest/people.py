"""Ids of people on their way from raw files: rows of forgotten people are emptied, pseudonyms replace ids."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.pseudonyms import People
from llmrec_cli.ingest.engine_checks import FORGOTTEN
from llmrec_cli.ingest.spool import Extra
from llmrec_cli.ingest.sql import BLANKS

KNOWN = 1 << 17
"""Ids that are looked up once."""


def protected(people: People, column: str) -> Extra:
    """Empties the rows of forgotten people, whose ids stand in `column`, so that nothing after it knows of them.

    `#forgotten` marks these rows. Pseudonyms take the place of the other ids if asked for.
    """
    look_up = lru_cache(KNOWN)(people.look_up)

    def change(batch: pa.RecordBatch) -> pa.RecordBatch:
        ids = pc.utf8_trim(batch.column(column), BLANKS).dictionary_encode()
        found = [look_up(each) if each else (each, False) for each in ids.dictionary.to_pylist()]
        names, gone = (pa.array([each[k] for each in found], kind) for k, kind in ((0, pa.string()), (1, pa.bool_())))
        out = pc.fill_null(gone.take(ids.indices), False)
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        if people.pseudonymise:
            columns[column] = names.take(ids.indices)
        if pc.any(out).as_py():
            columns = {
                name: values if name in ("#row", "#parsable") else pc.if_else(out, pa.scalar(None, values.type), values)
                for name, values in columns.items()
            }
        return pa.record_batch({**columns, FORGOTTEN: out})

    return Extra({FORGOTTEN: "false"}, change)
