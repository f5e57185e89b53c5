"""Ids of people in the raw tables of the engine: rows of forgotten people are emptied, pseudonyms replace ids."""

from __future__ import annotations

import narwhals as nw
import pyarrow as pa

from llmrec_cli.core.pseudonyms import People
from llmrec_cli.ingest.engine import Engine
from llmrec_cli.ingest.engine_checks import ROW_COLUMNS
from llmrec_cli.ingest.sql import cell, quoted


def protect(engine: Engine, raw: str, column: str, people: People) -> pa.Table | None:
    """Empty the rows of forgotten people in a raw table, so that nothing after it knows of them.

    Returns their `source_row`, None where there are none. Pseudonyms take the place of the other ids if asked for.
    """
    ids = _selected(engine, f"SELECT DISTINCT {cell(column)} AS id FROM {raw}").column("id")
    known = [each for each in ids.to_pylist() if each is not None]
    found = [people.look_up(each) for each in known]
    gone = [user_id for user_id, (_, out) in zip(known, found, strict=True) if out]
    rows = _emptied(engine, raw, column, gone) if gone else None
    if people.pseudonymise:
        names = {"#id": pa.array(known, pa.string()), "#name": pa.array([name for name, _ in found], pa.string())}
        statement = f'UPDATE {raw} SET {quoted(column)} = names."#name" FROM names WHERE {cell(column)} = names."#id"'
        engine.change(statement, names=pa.table(names))
    return rows


def _emptied(engine: Engine, raw: str, column: str, gone: list[str]) -> pa.Table:
    """Take every text out of their rows; the `source_row` of these."""
    columns = [each for each in engine.connection.table(raw).columns if each not in ROW_COLUMNS]
    ids = pa.table({"#id": pa.array(gone, pa.string())})
    engine.change("CREATE OR REPLACE TEMP TABLE gone AS FROM ids", ids=ids)
    theirs = f'{cell(column)} IN (SELECT "#id" FROM gone)'
    rows = _selected(engine, f'SELECT "#source_row" AS source_row FROM {raw} WHERE {theirs}')
    engine.change(f"UPDATE {raw} SET {', '.join(f'{quoted(each)} = NULL' for each in columns)} WHERE {theirs}")
    engine.change("DROP TABLE gone")
    return rows


def _selected(engine: Engine, query: str) -> pa.Table:
    return engine.arrow(nw.from_native(engine.connection.sql(query)))
