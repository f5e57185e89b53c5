"""The user's own condition: proven to be one harmless expression, then evaluated where nothing else is in reach.

The parsed tree may hold only what this file names. The engine that evaluates it has the rows of the log, no files, no
network, no Python variables, and settings that cannot be changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Bools
from llmrec_cli.core.errors import SettingsError, did_you_mean
from llmrec_cli.ingest.interruptible import Interruptible

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SETTING = "clean.interactions.where"
FIX = "write the condition as SQL over the columns; TRY_CAST(x AS DOUBLE) reads a text as a number"
KEY = "#source_row"
MAX_CHARACTERS = 100_000
"""Characters of a filter: a long list of ids fits."""
TIME_LIMIT, PER_ROW = 60.0, 5e-5
"""Seconds that a filter may take, and those for each row."""
MEMORY = "512MiB"
SIDES = ("item", "user")
"""Columns with columns in them: `item.price` reads one."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NODES = _words("BETWEEN CASE CAST COLLATE COMPARISON CONJUNCTION CONSTANT FUNCTION")
OPERATORS = _words(
    """OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL OPERATOR_NOT OPERATOR_COALESCE OPERATOR_NULLIF COMPARE_IN COMPARE_NOT_IN
    ARRAY_EXTRACT ARRAY_SLICE"""
)
TYPES = {"TIMESTAMP WITH TIME ZONE", "TIME WITH TIME ZONE"} | _words(
    """BOOLEAN TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT FLOAT DOUBLE DECIMAL VARCHAR
    DATE TIME TIMESTAMP TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS INTERVAL"""
)
# Each gives the same for the same row, reads nothing but its arguments, and makes no text much longer than these.
FUNCTIONS = _words(
    """+ - * / // % ** ^ & | ~ << >> || ~~ !~~ ~~* !~~* ~~~ ^@ @
    like_escape not_like_escape ilike_escape not_ilike_escape regexp_full_match regexp_matches regexp_extract
    lower upper lcase ucase trim ltrim rtrim length len strlen char_length character_length substring substr left right
    split_part starts_with prefix ends_with suffix contains instr strpos position translate replace reverse concat
    concat_ws strip_accents ascii unicode ord nullif ifnull
    abs sign round floor ceil ceiling trunc sqrt ln log log2 log10 exp pow power mod add subtract multiply divide
    greatest least isnan isinf isfinite even
    date_part datepart date_trunc datetrunc date_diff datediff year month day hour minute second quarter week weekday
    dayofweek dayofmonth dayofyear isodow isoyear yearweek decade century dayname monthname last_day epoch epoch_ms
    epoch_us to_timestamp make_date make_time make_timestamp strptime try_strptime strftime
    to_years to_months to_weeks to_days to_hours to_minutes to_seconds to_milliseconds to_microseconds"""
)


def columns(where: str, there: Sequence[str]) -> list[str]:
    """The columns of a log that the filter reads, as the log spells them.

    Raises SettingsError where the text is not exactly one expression, does more than compare and compute, or names
    a column that is not there.
    """
    spelt = {name.lower(): name for name in reversed(there)}
    found: dict[str, None] = {}
    for node in _nodes(_expression(where), where):
        if node["class"] == "COLUMN_REF":
            name = ".".join(node["column_names"])
            if name.lower() not in spelt:
                raise _invalid(f"there is no column {name!r}", where, did_you_mean(name, there))
            found[spelt[name.lower()]] = None
    return list(found)


def check(where: str) -> None:
    """Raise SettingsError where the text can be no row filter, whatever the columns are."""
    for _ in _nodes(_expression(where), where):
        pass


def terms(where: str) -> list[str]:
    """The conditions that a harmless one joins with AND, in its order."""
    check(where)
    found = []
    with _closed() as connection:

        def converted(function: str, text: str) -> str:
            (made,) = connection.execute(f"SELECT {function}(?)", [text]).fetchone() or ("",)
            return str(made)

        query = json.loads(converted("json_serialize_sql", f"SELECT 1 FROM rows WHERE {where}\n"))
        node = query["statements"][0]["node"]
        tree = node["where_clause"]
        for part in tree["children"] if tree["type"] == "CONJUNCTION_AND" else [tree]:
            node["where_clause"] = part
            text = converted("json_deserialize_sql", json.dumps(query)).partition(" WHERE ")[2]
            found.append(text[1:-1] if part["class"] in {"COMPARISON", "CONJUNCTION"} else text)
    return found


@contextmanager
def setting(name: str) -> Iterator[None]:
    """An error inside is of this setting."""
    try:
        yield
    except SettingsError as error:
        where = error.where.replace(SETTING, name, 1)
        raise SettingsError(error.what.replace("row filter", "condition"), where=where, fix=error.fix) from error


def passing(rows: pa.RecordBatchReader, total: int, where: str, interrupts: Sequence[Any]) -> Bools:
    """(total,) which rows meet the condition.

    `rows` streams that number and the columns of the filter; `interrupts` stop what the rows come from.
    """
    check(where)
    connection = _closed()
    limit = TIME_LIMIT + PER_ROW * total
    runner = Interruptible(connection.interrupt, *interrupts)

    passed = np.zeros(total, dtype=bool)

    def query() -> None:
        connection.register("rows", rows)
        for batch in connection.sql(f'SELECT "{KEY}" AS passed FROM rows WHERE (\n{where}\n)').to_arrow_reader():
            passed[batch.column(0).to_numpy() - 1] = True

    try:
        runner.run(query, limit)
        return passed
    except duckdb.Error as error:
        raise _invalid(str(error).splitlines()[0], where) from error
    except TimeoutError as error:
        raise _invalid(f"it took more than {limit:.0f} seconds", where, "write a simpler condition") from error
    finally:
        if not runner.stuck:
            connection.close()


def _closed() -> DuckDBPyConnection:
    """An engine that reaches nothing outside of itself."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "enable_external_access": False,
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": MEMORY,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        "SET disabled_optimizers = 'filter_pushdown,unused_columns'"
    )  # else `item.price` is not found where it is Price
    connection.execute("SET lock_configuration = true")
    return connection


@lru_cache(maxsize=16)
def _expression(where: str) -> Any:
    """The tree of the filter; SettingsError where the text is not exactly one expression."""
    if len(where) > MAX_CHARACTERS:
        raise _invalid(f"it has more than {MAX_CHARACTERS:,} characters", where)
    with _closed() as connection:
        # whatever closes a bracket early, ends the statement or goes on after it makes the two differ
        bare, inside = (_parsed(connection, text, where) for text in (f"{where}\n", f"(\n{where}\n)"))
    if _plain(bare) != _plain(inside):
        raise _invalid("it is not one expression", where)
    return bare


def _parsed(connection: DuckDBPyConnection, condition: str, where: str) -> Any:
    """The tree of a condition, after the proof that it is all that was added to a query."""
    query = "SELECT json_serialize_sql(?, skip_null := true, skip_empty := true, skip_default := true)"
    try:
        (text,) = connection.execute(query, [f"SELECT 1 FROM rows WHERE {condition}"]).fetchone() or ("",)
        found = json.loads(text)
    except (duckdb.Error, RecursionError, ValueError) as error:
        raise _invalid(str(error).splitlines()[0], where) from error
    if found.get("error"):
        raise _invalid(str(found.get("error_message", "")).splitlines()[0], where)
    statements = found["statements"]
    node = statements[0]["node"]
    added = {"type", "select_list", "from_table", "where_clause", "aggregate_handling"}
    if len(statements) != 1 or not {"where_clause"} <= set(node) <= added:
        raise _invalid("it is not one expression", where)
    return node["where_clause"]


def _plain(tree: Any) -> Any:
    """The tree without the positions in the text."""
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items() if key != "query_location"}
    return [_plain(value) for value in tree] if isinstance(tree, list) else tree


def _nodes(tree: Any, where: str) -> Iterator[dict[str, Any]]:
    """Every node of the expression, each of them allowed."""
    if isinstance(tree, dict):
        if "class" in tree:
            _check_node(tree, where)
            yield tree
        elif "node" in tree:
            raise _invalid("it has a query of its own", where)
    below: Iterable[Any] = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for each in below:
        yield from _nodes(each, where)


def _check_node(node: dict[str, Any], where: str) -> None:
    """Raise SettingsError for a node that is not on the lists above."""
    kind = node["class"]
    if kind == "OPERATOR":
        allowed, description = node["type"] in OPERATORS, node["type"]
    elif kind == "CAST":
        allowed, description = node["cast_type"]["id"] in TYPES, f"CAST AS {node['cast_type']['id']}"
    elif kind == "FUNCTION":
        name = node["function_name"].lower()
        named_only = not ({"schema", "catalog"} & set(node))
        allowed, description = named_only and name in FUNCTIONS and _short(name, node), f"{name}()"
    elif kind == "COLUMN_REF":
        names = node["column_names"]
        named = len(names) == 1 or (len(names) == 2 and names[0].lower() in SIDES)  # there is no table to name
        allowed, description = named, ".".join(names)
    else:
        allowed, description = kind in NODES, kind
    if not allowed:
        fix = (
            "compare and compute with the columns: AND OR NOT, = < >, IN, BETWEEN, LIKE, CASE, CAST, lower(), round() …"
        )
        raise _invalid(f"{description} is not allowed in a row filter", where, fix)


def _short(name: str, node: dict[str, Any]) -> bool:
    """Whether a `replace` cannot make a text longer: nested ones would fill the memory."""
    if name != "replace":
        return True
    texts = [each["value"].get("value", "") for each in node["children"][1:] if each["class"] == "CONSTANT"]
    return len(texts) == 2 and all(isinstance(t, str) for t in texts) and len(texts[1]) <= len(texts[0])


def _invalid(what: str, where: str, fix: str = FIX) -> SettingsError:
    shown = where if len(where) <= 200 else f"{where[:200]}…"
    return SettingsError(f"the row filter cannot be used: {what}", where=f"{SETTING} = {shown!r}", fix=fix)
