"""What a piece of text looks like: its separator, quoting, header and the kind of value in each column."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmrec_cli.ingest.column_names import NAMES, plain

# Tried in this order; the first that cuts nearly every line into the same number of columns is taken.
SEPARATORS = ("\t", "::", ";", ",", "|", " ")
CONSISTENT = 0.9
UNIT = "\x1f"
MOST_FIELDS = 20
WORD = re.compile(r"[\w.:-]+")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
DATE = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}([T ].*)?|\d{1,2}[-/. ](\d{1,2}|[A-Za-z]{3})[-/., ]+\d{4}(\s.*)?")
HEADER_WORD = re.compile(
    "|".join([*(NAMES[field] for field in ("user", "item", "time", "title")), "rating|session|id$"])
)
SEQUENCE_USER = re.compile(r"(user|customer|client|session|visitor|member)s?(_?ids?)?(:\w+)?", re.I)
SEQUENCE_ITEM = re.compile(r"(item|product|movie|article|artist|track|song|game|book)s?(_?ids?)?(_?list)?(:\w+)?", re.I)


@dataclass(frozen=True)
class Dialect:
    """How a text file is cut into columns."""

    format: Literal["csv", "json", "json-array", "parquet", "sequences"]
    columns: tuple[str, ...]
    """Names; the numbers "0", "1", … where the file has none."""
    separator: str = ""
    """A single blank stands for any run of blanks."""
    header: bool = False
    quoting: bool = False


def infer_dialect(
    head: str,
    quoted_lines: Sequence[str] = (),
    *,
    separator: str = "",
    header: bool | None = None,
    quoting: bool | None = None,
    columns: Sequence[str] = (),
    format: str = "auto",
) -> Dialect:
    """The dialect of a text by its first lines and some lines with quotes; what is given is taken as it is."""
    if format == "json" or (format == "auto" and re.match(r"\s*(\{|\[\s*[{\]])", head)):
        return Dialect("json-array" if head.lstrip().startswith("[") else "json", json_keys(head))
    text = _whole_lines(head)
    sep = separator or find_separator(text)
    width = common_width(records(text, sep, quoting is not False))
    quotes = uses_quotes(quoted_lines, sep, width) if quoting is None else quoting
    rows = [row for row in records(text, sep, quotes) if any(row)]
    named = has_header(rows) if header is None else header
    first = [name.strip() or str(i) for i, name in enumerate(rows[0])] if rows else []
    names = columns or (first if named else [str(i) for i in range(common_width(rows))])
    return Dialect("csv", tuple(names), sep, named, quotes)


def _whole_lines(head: str) -> str:
    """The text without a last line that may be cut."""
    return head[: head.rindex("\n") + 1] if "\n" in head else head


def is_sequences(head: str) -> bool:
    """Whether the lines are `user item item …`: words without quotes, of varying number, another user in each."""
    lines = [line.split() for line in _whole_lines(head).splitlines() if line.strip()]
    if any(WORD.fullmatch(word) is None for line in lines for word in line) or len(lines) < 3:
        return False
    tabs = {line.count("\t") for line in head.splitlines()[1:] if line.strip()}
    texts = tabs != {1} or any(not any(c.isdigit() for c in word) for line in lines[1:] for word in line)
    if len(tabs) == 1 and tabs != {0} and texts:  # columns
        return False
    lengths = {len(line) for line in lines}
    return len(lengths) > 1 and min(lengths) > 1 and len({line[0] for line in lines}) == len(lines)


def has_sequence_header(head: str, separator: str = "") -> bool:
    """Whether the first line of sequences says `user items`, and is no user with an item."""
    lines = [line for line in head.splitlines() if line.strip()]
    first = [word.strip() for word in lines[0].split(separator or None)] if lines else []
    return len(first) > 1 and bool(SEQUENCE_USER.fullmatch(first[0]) and SEQUENCE_ITEM.fullmatch(first[1]))


def json_keys(text: str) -> tuple[str, ...]:
    """The keys of JSON lines in the order in which they first appear."""
    keys: dict[str, None] = {}
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, lists a thousand deep
            continue
        if isinstance(value, dict):
            keys.update(dict.fromkeys(key for key in value if key))  # SQL has no column without a name
    return tuple(keys)


def leaves(value: Any, name: str = "") -> list[str]:
    """The columns of a JSON structure: fields of nested objects are `object.field`.

    An object of more than `MOST_FIELDS`, or with names that have points, is one column: its keys are values.
    """
    inner = value if isinstance(value, dict) else {}
    fields = [leaf for key, each in inner.items() for leaf in leaves(each, f"{name}.{key}" if name else key)]
    usable = all(key and "." not in key for key in inner) and 0 < len(fields) <= MOST_FIELDS
    return fields if usable or not name else [name]


def rejoined(line: str, dialect: Dialect, column: str) -> list[str]:
    """The values of a line with a wrong number of columns: what is too much is part of one column, what lacks is empty.

    A title may hold the separator without quotes: `7,Good, Bad and Ugly,Western` has one value too many.
    """
    (values,) = records(line.rstrip("\r\n"), dialect.separator, dialect.quoting)[:1] or [[]]
    extra, place = max(0, len(values) - len(dialect.columns)), dialect.columns.index(column)
    whole = dialect.separator.join(values[place : place + extra + 1])
    joined = [*values[:place], whole, *values[place + extra + 1 :]]
    return joined + [""] * (len(dialect.columns) - len(joined))


def records(text: str, separator: str, quoting: bool) -> list[list[str]]:
    """The lines cut into columns; a quoted value may go over several lines."""
    if separator == " ":
        return [line.split() for line in text.splitlines() if line.strip()]
    # newlines are kept so that a quoted value over several lines stays one
    lines = text.replace(separator, UNIT).replace("\r\n", "\n").split("\n")
    if not quoting:
        return [line.split(UNIT) for line in lines if line]
    try:
        return list(csv.reader([line + "\n" for line in lines if line], delimiter=UNIT))
    except csv.Error:
        return [line.split(UNIT) for line in lines if line]


def find_separator(text: str) -> str:
    """The first separator that cuts nearly every line into the same number of columns, two at least.

    Where none does, as in a damaged file, that which does so most often, if for most of the lines; else a comma.
    """
    shares = {}
    for separator in SEPARATORS:
        rows = records(text, separator, quoting=True)
        width = common_width(rows)
        shares[separator] = sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0.0
        if shares[separator] >= CONSISTENT:
            return separator
    best = max(shares, key=lambda separator: shares[separator])
    return best if shares[best] > 0.5 else ","


def common_width(rows: Sequence[Sequence[str]]) -> int:
    """The most frequent number of columns."""
    return Counter(len(row) for row in rows).most_common(1)[0][0] if rows else 0


def uses_quotes(lines: Sequence[str], separator: str, width: int) -> bool:
    """Whether the quote character encloses values, or is only a character of names and measures (7" single).

    A line counts for enclosing where a value begins and ends with a quote, or where only enclosing gives the common
    number of columns; it counts against where a value begins with a quote that nothing closes.
    """
    votes = 0
    for line in lines:
        plain = line.rstrip("\r\n").split(separator)
        if len(plain) == width:
            opened = [value for value in plain[:-1] if value.startswith('"')]
            # a last value with no other quote may go on in the next line
            opened += [value for value in plain[-1:] if value.startswith('"') and value.count('"') > 1]
            closed = [len(v) > 1 and v.endswith('"') and '"' not in v[1:-1].replace('""', "") for v in opened]
            votes += 2 * sum(closed) - len(closed)
        elif any(len(row) == width for row in records(line, separator, quoting=True)):
            votes += 1
    return votes >= 0


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row holds names: none of them a number or a date, unlike rows below or with words of a header.

    By its words alone a row is one only if no name comes twice; a row without others also has no digit in it.
    """
    if not rows or {"number", "date"} & {kind(v) for v in rows[0]}:
        return False
    body = [row for row in rows[1:] if len(row) == len(rows[0])]
    for column in range(len(rows[0])):
        values = [row[column] for row in body if row[column].strip()]
        if values and sum(kind(value) != "text" for value in values) > 0.5 * len(values):
            return True
    if len(set(rows[0])) < len(rows[0]) or (len(rows) == 1 and any(c.isdigit() for name in rows[0] for c in name)):
        return False
    return any(HEADER_WORD.search(plain(name)) for name in rows[0])


def kind(value: str) -> Literal["number", "date", "text", "empty"]:
    """What a single value looks like."""
    stripped = value.strip()
    if not stripped:
        return "empty"
    if NUMBER.fullmatch(stripped):
        return "number"
    return "date" if DATE.fullmatch(stripped) else "text"
