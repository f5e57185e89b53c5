"""Lists of item ids that settings give: the ids themselves, a text with one a line, or a table with their column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.columns import ITEM
from llmrec_cli.core.errors import DataError
from llmrec_cli.ingest.column_names import NAMES, plain
from llmrec_cli.lists.recommend_config import RecommendConfig

FILES = ("allow", "deny", "exclude")
"""Settings that may name a file of ids."""
MAGIC, DELIMITERS = b"PAR1", ",;\t"
CODE = r"\bid\b|code|\bno\b|number|sku|asin|isbn|编号"
"""In the name of a column of ids, which another one of items, such as their names, does not have."""


def files_of(config: RecommendConfig, base: Path) -> list[Path]:
    """The files of `FILES`; DataError for one that is not there."""
    given = {name: getattr(config, name) for name in FILES}
    found = {name: base / path for name, path in given.items() if path and isinstance(path, str)}
    for name, path in found.items():
        if not path.is_file():
            fix = f"check --exclude, or recommend.{name}" if name == "exclude" else f"check recommend.{name}"
            raise DataError(f"there is no list of item ids {str(path)!r}", fix=fix)
    return list(found.values())


def named_files(config: RecommendConfig, base: Path) -> list[Path]:
    """The files of ids and wishes that the settings name; DataError for one that is not there."""
    wishes = [base / config.wishes] if config.wishes else []
    lists = files_of(config, base)
    if not all(path.is_file() for path in wishes):
        raise DataError(f"there is no file of wishes {str(wishes[0])!r}", fix="check recommend.wishes")
    return lists + wishes


def notes(config: RecommendConfig, base: Path, item_ids: Sequence[str]) -> list[str]:
    """What is to be said of these lists: ids that are not in the catalogue, and files without any."""
    said, known = [], set(item_ids)
    for name, given in [*((name, getattr(config, name)) for name in FILES), ("pinned", config.constraints.pinned)]:
        ids = ids_of(given, base) if given else []
        unknown = [each for each in dict.fromkeys(ids) if each not in known]
        if given and not ids:
            said.append(f"recommend.{name}: {given} has no item ids")
        if unknown:
            of = f"{len(unknown):,} of {len(set(ids)):,} ids"
            said.append(f"recommend.{name}: {of} are not in the catalogue, such as {unknown[0]!r}")
    return said


def ids_of(given: list[str] | str, base: Path) -> list[str]:
    """The ids themselves, or those in a file; none for "".

    A table is Parquet, or has a first line with a column of items: `item_id` or named like one. In any other text each
    line is an id; blank lines and lines after # are left out.
    """
    if isinstance(given, list) or not given:
        return list(given)
    path = base / given
    try:
        if path.open("rb").read(len(MAGIC)) == MAGIC:
            return _of_parquet(path)
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        first = lines[0] if lines and not lines[0].startswith("#") else ""
        delimiter = max(DELIMITERS, key=first.count)
        names = [name.strip(' "') for name in first.split(delimiter)]
        csv = path.suffix.lower() in (".csv", ".tsv")
        if (name := _column(names)) and (csv or len(names) > 1):
            return _of_csv(path, name, delimiter)
        if csv and len(names) > 1:
            raise _no_column(names, path)
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        fix = f"one item id a line, UTF-8, or a table with a column {ITEM}"
        raise DataError("the list of item ids cannot be read", where=str(path), fix=fix) from error
    return [line for line in lines if line and not line.startswith("#")]


def _of_parquet(path: Path) -> list[str]:
    from pyarrow import parquet

    names = parquet.read_schema(path).names
    if not (name := _column(names)):
        raise _no_column(names, path)
    return _trimmed(parquet.read_table(path, columns=[name]))


def _of_csv(path: Path, name: str, delimiter: str) -> list[str]:
    from pyarrow import csv

    convert = csv.ConvertOptions(column_types={name: pa.string()}, include_columns=[name])
    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    return _trimmed(csv.read_csv(path, convert_options=convert, parse_options=parse))


def _trimmed(table: pa.Table) -> list[str]:
    ids = pc.utf8_trim_whitespace(table.column(0).cast(pa.string()).drop_null())
    return [each for each in pc.unique(ids).to_pylist() if each]


def _column(names: Sequence[str]) -> str:
    """`item_id`, or the first column that is named like a code of items, else like items; "" for none."""
    alike = [name for name in names if re.search(NAMES["item"], plain(name)) and not re.search(r"\d", name)]
    codes = [name for name in alike if re.search(CODE, plain(name))]
    return next(iter([*(name for name in names if name == ITEM), *codes, *alike]), "")


def _no_column(names: Sequence[str], path: Path) -> DataError:
    what = f"no column is of item ids: there are {', '.join(names)}"
    return DataError(what, where=str(path), fix=f"name one {ITEM}, or write one id a line")
