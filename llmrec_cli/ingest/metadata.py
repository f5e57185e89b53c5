"""Items and users as tables, from the raw columns that describe them: one row for each id."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import offsets_of
from llmrec_cli.core.artifacts import ITEM_RANGES
from llmrec_cli.core.columns import ATTRIBUTES, ITEM, USER
from llmrec_cli.core.text_cleaning import one_line
from llmrec_cli.data.attributes import amounts
from llmrec_cli.ingest.column_mapping import Columns, ItemsConfig, UsersConfig
from llmrec_cli.ingest.tags import item_tags

Frame: TypeAlias = "nw.LazyFrame[Any]"
ID, COUNT, REPEATS, VALUE = "#id", "#n", "#repeats", "#value"
LEVELS = " > "
REVIEWED = [USER, "position", ITEM, "value", "source_row"]
"""What `reviews` needs of an event."""
UNIT = "\x1f"


def _tidy(column: str) -> nw.Expr:
    """The text with single blanks, without those around it; null where nothing is left."""
    text = nw.col(column).str.replace_all(r"\s+", " ").str.strip_chars()
    return nw.when(text != "").then(text).alias(column)


def _id(column: str) -> nw.Expr:
    """The id as in the log: without the blanks around it, else as it is."""
    text = nw.col(column).str.strip_chars()
    return nw.when(text != "").then(text).alias(ID)


def _first_of_each(frame: Frame, *order: str) -> Frame:
    """The first row of each `#id` in the order of some columns."""
    rank = nw.col("#source_row").cum_count().over(ID, order_by=order)
    return frame.with_columns(rank.alias("#rank")).filter(nw.col("#rank") == 1)


def first_rows(frame: Frame, key: str, columns: Sequence[str]) -> Frame:
    """The first row of each id with the columns, and `#repeats`: how many more rows the id has."""
    names = list(dict.fromkeys(columns))
    rows = frame.with_columns(_id(key), *map(_tidy, names)).filter(~nw.col(ID).is_null())
    counted = rows.with_columns((nw.len().over(ID) - 1).alias(REPEATS))
    return _first_of_each(counted, "#source_row").select(ID, *names, REPEATS)


def _pairs(frame: Frame, key: str, column: str) -> Frame:
    """`#id`, `#value` and `#source_row` of the rows that have both."""
    pairs = frame.select(_id(key), _tidy(column).alias(VALUE), nw.col("#source_row"))
    return pairs.filter(~nw.col(ID).is_null() & ~nw.col(VALUE).is_null())


def most_frequent(frame: Frame, key: str, column: str) -> Frame:
    """`#id` and `#value`, the most frequent value of the id; of equally frequent ones the first."""
    counted = (
        _pairs(frame, key, column).group_by(ID, VALUE).agg((0 - nw.len()).alias("#rare"), nw.col("#source_row").min())
    )
    return _first_of_each(counted, "#rare", "#source_row").select(ID, VALUE)


def reviews(events: Frame, rows: Frame, column: str) -> Frame:
    """What stands in a column beside kept events, where it is not empty: the columns of `clean/reviews`."""
    texts = rows.select(nw.col("#source_row").alias("source_row"), _tidy(column).alias("text"))
    found = events.join(texts.filter(~nw.col("text").is_null()), on="source_row", how="inner")
    return found.select(*REVIEWED, "text").sort(USER, "position")


def values_of(frame: Frame, key: str, column: str) -> Frame:
    """`#id` and each of its distinct values."""
    return _pairs(frame, key, column).select(ID, VALUE).unique()


def ranges(pairs: Mapping[str, pa.Table], ids: pa.ChunkedArray) -> pa.Table:
    """The columns of `clean/item_ranges` from the `values_of` each attribute, for the items `ids`; maybe no row."""
    found = [_range(name, table.filter(pc.is_in(table.column(ID), value_set=ids))) for name, table in pairs.items()]
    return pa.concat_tables([ITEM_RANGES.schema.empty_table(), *found]).sort_by([(ITEM, "ascending")])


def _range(name: str, pairs: pa.Table) -> pa.Table:
    """The rows of one attribute: items with two different numbers or more."""
    import pandas as pd

    pairs = pairs.filter(pc.match_substring_regex(pairs.column(VALUE), r"^\D{0,4}\d[\d.,]*\D{0,4}$"))
    texts = pairs.column(VALUE).combine_chunks()
    values = pd.DataFrame({ITEM: pairs.column(ID).to_pandas(), "text": texts.to_pandas(), "amount": amounts(texts)})
    by_item = values.dropna().sort_values("amount", kind="stable").groupby(ITEM)
    both = by_item.first().join(by_item.last().add_suffix("_high"))
    both = both[both["amount"] < both["amount_high"]]
    columns = [
        pa.array(each, pa.string()) for each in (both.index, [name] * len(both), both["text"], both["text_high"])
    ]
    return pa.table(columns, schema=ITEM_RANGES.schema)


def event_counts(events: Frame, column: str, *, met_only: bool = False) -> Frame:
    """`#id` of every user (item) with kept events and `#n`, how many of them are not withheld; maybe only above 0."""
    kept = nw.when(nw.col("withheld")).then(nw.lit(0)).otherwise(nw.lit(1))
    ids = events.select(nw.col(column).alias(ID), kept.alias(COUNT))
    counts = ids.group_by(ID).agg(nw.col(COUNT).sum().cast(nw.Int64))
    return counts.filter(nw.col(COUNT) > 0) if met_only else counts


def from_log(counts: pa.Table, values_by_column: Mapping[str, pa.Table]) -> pa.Table:
    """One row for each id with events, sorted, with its most frequent values in the log."""
    table = counts
    for column, values in values_by_column.items():
        table = table.join(values.rename_columns([ID, column]), ID)
    return table.sort_by(ID)


def from_file(counts: pa.Table, rows: pa.Table, *, only_seen: bool = False) -> pa.Table:
    """One row for each id with events or in the file, sorted; with `only_seen` those with events alone."""
    table = counts.join(rows, ID, join_type="left outer" if only_seen else "full outer").sort_by(ID)
    return table.set_column(table.column_names.index(COUNT), COUNT, pc.fill_null(table.column(COUNT), 0))


def repeated(rows: pa.Table) -> int:
    """How many rows of the file repeat the id of an earlier one."""
    return pc.sum(rows.column(REPEATS)).as_py() or 0


Names = Callable[[Columns | None], list[str]]


def items(table: pa.Table, names: Names, config: ItemsConfig) -> pa.Table:
    """The columns of `clean/items` from those of the file or the log; `names` finds the columns of a setting."""
    titles = text(table, names(config.title))
    paths = categories(table, names(config.category), config.category_separator)
    given = tags(table, names(config.tags), config.tags_separator)
    return pa.table(
        {
            ITEM: table.column(ID),
            "title": titles,
            "text": text(table, names(config.text)),
            "category": paths,
            "tags": item_tags(given, paths, titles),
            "image": text(table, names(config.image), first=True),
            "audio": text(table, names(config.audio), first=True),
            "attributes": attributes(table, names(config.attributes)),
            "n_events": table.column(COUNT),
        }
    )


def users(table: pa.Table, names: Names, config: UsersConfig) -> pa.Table:
    """The columns of `clean/users`, likewise."""
    return pa.table(
        {
            USER: table.column(ID),
            "age": ages(text(table, names(config.age))),
            "gender": text(table, names(config.gender)),
            "region": text(table, names(config.region)),
            "attributes": attributes(table, names(config.attributes)),
            "n_events": table.column(COUNT),
        }
    )


# --- columns of an Arrow table; a value that JSON lines or Parquet hold as a list comes as its JSON text -------------


def _changed(values: pa.Array, mask: pa.Array, change: Callable[[str], str | None]) -> pa.Array:
    """The values with those of the mask passed through a function, which is called for nothing else."""
    mask = pc.fill_null(mask, False)
    changed = [change(value) for value in values.filter(mask).to_pylist()]
    return pc.replace_with_mask(values, mask, pa.array(changed, pa.string())) if changed else values


def _parts(text: str) -> list[str]:
    """The values of a JSON list or object, nested ones too; any other text is its own part."""
    try:
        return list(_walk(json.loads(text)))
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, lists a thousand deep
        return [text]


def _walk(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [part for each in value for part in _walk(each)]
    return [] if value is None or str(value).strip() == "" else [one_line(str(value))]


def flat(values: pa.Array, joiner: str | None) -> pa.Array:
    """Lists joined (the first value alone with None), entities decoded."""

    def joined(text: str) -> str | None:
        parts = _parts(text)
        return (parts[0] if joiner is None else joiner.join(parts)) if parts else None

    lists = _changed(values, pc.match_substring_regex(values, r"^[\[{].*[\]}]$"), joined)
    return _changed(lists, pc.match_substring(lists, "&"), lambda text: html.unescape(text).strip())


def text(table: pa.Table, columns: Sequence[str], *, first: bool = False) -> pa.Array:
    """(rows,) the columns joined by blanks, null where all are empty; with `first` only the first value of a list."""
    return _joined([flat(_column(table, c), None if first else " ") for c in columns], " ", table.num_rows)


def categories(table: pa.Table, columns: Sequence[str], separator: str) -> pa.Array:
    """(rows,) paths "level > level"; several columns are the levels from the top."""
    paths = _joined([flat(_column(table, c), LEVELS) for c in columns], LEVELS, table.num_rows)
    return pc.replace_substring_regex(paths, rf"\s*{_escaped(separator)}\s*", LEVELS) if separator else paths


def tags(table: pa.Table, columns: Sequence[str], separator: str) -> pa.Array:
    """(rows,) lists of tags. A column that holds only 0 and 1 is a flag: its name is the tag where it is 1."""

    def units(column: str) -> pa.Array:
        values = _column(table, column)
        if pc.all(pc.is_in(values, value_set=pa.array(["0", "1", None], pa.string()))).as_py():
            return pc.if_else(pc.equal(values, "1"), pa.scalar(column), pa.scalar(None, pa.string()))
        return pc.replace_substring_regex(flat(values, UNIT), rf"\s*{_escaped(separator)}\s*", UNIT)

    joined = _joined([units(c) for c in columns], UNIT, table.num_rows)
    return pc.split_pattern(joined, UNIT)


def attributes(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """(rows,) lists of (name, value) of the columns that are not empty."""
    n, m = table.num_rows, len(columns)
    values = pa.concat_arrays([flat(_column(table, c), ", ") for c in columns]) if m else pa.array([], pa.string())
    row_by_row = (np.arange(n)[:, None] + n * np.arange(m)[None, :]).ravel()
    there = np.asarray(pc.is_valid(values))[row_by_row]
    counts = there.reshape(n, m).sum(axis=1)
    names = pa.array(list(columns), pa.string()).take(pa.array(np.tile(np.arange(m), n)[there]))
    pairs = pa.StructArray.from_arrays([names, values.take(pa.array(row_by_row[there]))], names=["name", "value"])
    offsets = offsets_of(counts).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pairs).cast(ATTRIBUTES)


def ages(values: pa.Array) -> pa.Array:
    """(rows,) the texts as numbers, bands such as 25-34, 55+ or under 18 as their lower end; null for others."""
    low = r"^(?i:over|>)?\s?(?P<age>[+-]?\d+(?:\.\d+)?)\s?(?:\+|[-–~至到]\s?\d+)?\D*$"
    found = pc.struct_field(pc.extract_regex(values, low), "age")
    under = pc.match_substring_regex(values, r"^(?i:(under|<)\s?\d+|\d+ (and|or) (under|younger)|\d+岁?以下)$")
    return pc.if_else(under, "0", found).cast(pa.float64())


def _column(table: pa.Table, column: str) -> pa.Array:
    return table.column(column).combine_chunks().cast(pa.string())


def _joined(columns: Sequence[pa.Array], joiner: str, rows: int) -> pa.Array:
    """(rows,) what is not null in each row, joined; null where all is."""
    # an empty first column, cut off again: Arrow leaves out the rows in which there is nothing to join
    start = pa.array([""], pa.string()).take(pa.array(np.zeros(rows, dtype=np.int64)))
    joined = pc.binary_join_element_wise(start, *columns, joiner, null_handling="skip")
    joined = pc.utf8_slice_codeunits(joined, start=len(joiner))
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), joined)


def _escaped(separator: str) -> str:
    return "".join(f"\\x{{{ord(c):x}}}" for c in separator)
