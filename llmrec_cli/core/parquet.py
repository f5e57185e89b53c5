"""Tables as Parquet: how columns are encoded, and whether what is written or read is what was declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmrec_cli.core.artifacts import Table

PIECE = 1 << 18
"""Rows that are looked at at a time."""


def encodings(schema: pa.Schema) -> dict[str, Any]:
    """How columns are encoded: numbers and times by differences, vectors as they are, what may repeat by dictionary.

    Vectors are not packed: zstd takes a tenth off them, and unpacking takes ten times as long as reading. Text may come
    as codes with their texts; without the Arrow schema in the file it is read back as text.
    """
    leaves = {path: type_ for field in schema for path, type_ in _leaves(field.name, field.type)}
    deltas = [path for path, type_ in leaves.items() if pa.types.is_integer(type_) or pa.types.is_timestamp(type_)]
    vectors = [path for path, type_ in leaves.items() if type_ == pa.float32() and "." in path]
    return {
        "use_dictionary": [path for path in leaves if path not in {*deltas, *vectors}],
        "column_encoding": dict.fromkeys(deltas, "DELTA_BINARY_PACKED"),
        "write_statistics": deltas,
        "compression": {path: "none" if path in vectors else "zstd" for path in leaves},
        "store_schema": not any(pa.types.is_dictionary(type_) for type_ in leaves.values()),
    }


def _leaves(path: str, type_: pa.DataType) -> list[tuple[str, pa.DataType]]:
    """The columns that Parquet makes of one, by their paths."""
    if pa.types.is_list(type_) or pa.types.is_fixed_size_list(type_):
        return _leaves(f"{path}.list.element", type_.value_type)
    if pa.types.is_struct(type_):
        return [leaf for field in type_ for leaf in _leaves(f"{path}.{field.name}", field.type)]
    return [(path, type_)]


def same_type(found: pa.DataType, declared: pa.DataType) -> bool:
    if pa.types.is_list(declared) and (pa.types.is_fixed_size_list(found) or pa.types.is_list(found)):
        return same_type(found.value_type, declared.value_type)
    if pa.types.is_struct(declared) and pa.types.is_struct(found):
        return [f.name for f in found] == [f.name for f in declared] and all(
            same_type(a.type, b.type) for a, b in zip(found, declared, strict=True)
        )
    return bool(found == declared)


def _writable(found: pa.DataType, declared: pa.DataType) -> bool:
    """Whether a column is written as the declared type: text also where it comes as codes with their texts."""
    if pa.types.is_list(found) and pa.types.is_list(declared):
        return _writable(found.value_type, declared.value_type)
    coded = pa.types.is_dictionary(found) and found.value_type == declared
    return coded or same_type(found, declared)


def conform(table: Table, data: pa.Table) -> pa.Table:
    """Order the columns as declared and cast what differs in width only; a missing or extra column is a bug."""
    extra = set(data.column_names) ^ set(table.schema.names)
    if extra:
        raise ValueError(f"{table.path}: columns differ from the declaration: {sorted(extra)}")
    columns = [
        data.column(f.name) if _writable(data.schema.field(f.name).type, f.type) else data.column(f.name).cast(f.type)
        for f in table.schema
    ]
    return pa.table(columns, names=table.schema.names)


def _ascending(path: Path, key: list[str]) -> bool:
    """Whether each row's key is greater than that of the one before, so that none can occur twice."""
    import pyarrow.compute as pc

    last = None
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(PIECE, columns=key):
            keys = pa.Table.from_batches([batch]).select(key)
            keys = keys if last is None else pa.concat_tables([last, keys])
            above: Any = False
            for column in reversed(keys.columns):
                new, old = column[1:], column[: max(0, len(column) - 1)]
                above = pc.or_(pc.greater(new, old), pc.and_(pc.equal(new, old), above))
            if keys.num_rows > 1 and pc.all(pc.fill_null(above, False)).as_py() is not True:
                return False
            last = keys.slice(keys.num_rows - 1)
    return True


def verify(table: Table, path: Path) -> None:
    """What was written can be read, has the declared columns, and no key twice."""
    schema = pq.read_schema(path)
    for field in table.schema:
        if field.name not in schema.names or not same_type(schema.field(field.name).type, field.type):
            raise ValueError(f"{table.path}: column {field.name!r} was not written as {field.type}")
    if not _ascending(path, list(table.key)):
        keys = pq.read_table(path, columns=list(table.key))
        if keys.num_rows != keys.group_by(list(table.key)).aggregate([]).num_rows:
            raise ValueError(f"{table.path}: the key {table.key} occurs twice")
