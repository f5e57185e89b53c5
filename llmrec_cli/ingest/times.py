"""Whether a raw column is a time: as it is, or by which strptime formats."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.ingest.column_facts import MOST, Facts

# Seconds since 1970 between 1990 and 2100, and the same in ms, us and ns.
UNIX = tuple((6.3e8 * scale, 4.1e9 * scale) for scale in (1, 1e3, 1e6, 1e9))
FIRST = 1000
"""Values by which formats are chosen; those that fit are then tried on all."""
TRIED = 20
_NAME = re.compile(
    r"\b(time|times|timestamp|timestamps|datetime|date|dates|ts|tstamp|datum|zeit|zeitpunkt|zeitstempel|uhrzeit|fecha|hora"
    r"|tijd|epoch|when)\b|时间|日期|时刻|(?<!candi)(?<!up)(?<!vali)date\b|(?<!play)(?<!run)(?<!life)(?<!over)(?<!watch)(?<!some)time\b|timestamp"
)
# Lengths of time, and what is none.
_LENGTH = re.compile(r"spent|zone|listen|session|reading|watch|play|elapsed|delivery")
# Times in the life of an item or a user, not of an event.
_OTHER = re.compile(r"release|birth|sign|regist|join|expir|publish|modif|launch|since")
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_PIECES = {
    "%Y": r"(?:19|20|21)\d\d",
    "%y": r"\d\d",
    "%m": r"(?:0?[1-9]|1[0-2])",
    "%d": r"(?:0?[1-9]|[12]\d|3[01])",
    "%b": "(?:" + "|".join(month[:3] for month in _MONTHS.split("|")) + ")",
    "%B": f"(?:{_MONTHS})",
    "%a": "(?:" + "|".join(day[:3] for day in _DAYS.split("|")) + ")",
    "%A": f"(?:{_DAYS})",
    "%H": r"(?:[01]?\d|2[0-3])",
    "%I": r"(?:0?[1-9]|1[0-2])",
    "%M": r"[0-5]\d",
    "%S": r"[0-5]\d",
    "%f": r"\d{1,6}",
    "%p": "[ap]m",
    "%z": r"[+-]\d\d(?::?\d\d)?",
}
_COMPACT = {"%m": r"(?:0[1-9]|1[0-2])", "%d": r"(?:0[1-9]|[12]\d|3[01])", "%H": r"(?:[01]\d|2[0-3])"}
_DATES = (
    *(f"%Y{s}%m{s}%d" for s in "-/."),
    *(f"%Y{s}%d{s}%m" for s in "-/."),
    *(f"{a}{s}{b}{s}{y}" for s in "/- " for y in ("%Y", "%y") for a, b in (("%d", "%m"), ("%m", "%d"))),
    *("%d.%m.%Y", "%d.%m.%y"),  # with points the day is first everywhere
    *(f"%y{s}%m{s}%d" for s in "/.-"),
    *(f"%d{s}{month}{s}{y}" for s in "-/ ." for month in ("%b", "%B") for y in ("%Y", "%y")),
    *(f"{month} %d{s} %Y" for s in ("", ",") for month in ("%b", "%B", "%m")),
    "%d. %B %Y",
    "%Y年%m月%d日",
    "%a, %d %b %Y",
    "%a %b %d %Y",
)
_CLOCKS = (
    *("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M%p", "%I:%M %p", "%I:%M:%S%p", "%I:%M:%S %p", "%H.%M", "%H.%M.%S"),
    *(f"%H:%M:%S{end}" for end in ("%z", " %z", "Z", " GMT", " UTC", ",%f", ".%fZ")),
)
_BETWEEN = (" ", "T", ", ", ":")
_COMPACTS = tuple(
    f"%Y%m%d{clock}"
    for clock in ("", "%H%M%S", "%H%M", "%H", "T%H%M%S", "T%H%M%SZ", " %H%M%S", " %H:%M", " %H:%M:%S", "-%H%M%S")
)
_REST = (
    *("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%Y-%m", "%Y/%m", "%m/%Y"),
    *(f"{clock} {date}" for clock in _CLOCKS[:2] for date in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y-%m-%d")),
)
# What `clean` reads without a format.
_ISO = (
    rf"\d{{4}}(?:-{_PIECES['%m']}-|/{_PIECES['%m']}/){_PIECES['%d']}"
    r"(?:[T ]+\d{1,2}:\d\d(?::\d\d(?:\.\d+)?(?:Z| UTC|[+-]\d\d(?::?\d\d)?)?)?)?"
)


def named_as_time(fact: Facts) -> bool:
    """Whether the column is named as a time."""
    name = fact.plain_name
    return _NAME.search(name) is not None and _LENGTH.search(name) is None and not fact.named("value")


def named_as_event_time(fact: Facts) -> bool:
    """Whether the name is not that of another time, of release, of birth."""
    return _OTHER.search(fact.plain_name) is None


def readable_as_is(fact: Facts) -> str:
    """Why `clean` reads the column as a time without a format, or ""."""
    if not fact.n_filled:
        return ""
    if fact.numbers and _unix(fact.values) and (fact.n_distinct > 1 or named_as_time(fact)):
        return "numbers in the range of Unix times"
    return "ISO dates" if fact.share(_ISO) >= MOST else ""


def _unix(values: pa.Array) -> bool:
    """Whether nearly all are Unix times of one unit, and not days such as 20240305 or hours such as 2024030517."""
    numeric = values.filter(pc.match_substring_regex(values, r"^[+-]?\d+(\.\d+)?$")).cast(pa.float64())
    shares = (pc.sum(pc.and_(pc.greater_equal(numeric, a), pc.less(numeric, b))).as_py() for a, b in UNIX)
    return max((share or 0) for share in shares) >= MOST * len(values) and not _fitting(values, _COMPACTS)


def formats(fact: Facts) -> tuple[str, ...]:
    """The strptime formats that fit the values, all that fit most of them; () where none fits nearly all.

    Numbers are times without separators only where the column is named as a time, or has no name.
    """
    if not fact.n_filled:
        return ()
    if fact.numbers is not None and not (named_as_time(fact) or fact.name.isdigit()):
        return ()
    first = fact.values.slice(0, TRIED).to_pylist()
    dates = [f for f in _DATES if any(_compiled(f).match(value) for value in first)]
    timed = [f"{date}{between}{clock}" for date in dates for between in _BETWEEN for clock in _CLOCKS]
    return _fitting(fact.values, (*dates, *timed, *_COMPACTS, *_REST))


def _fitting(values: pa.Array, tried: Sequence[str]) -> tuple[str, ...]:
    """Those of the formats that fit the most of the values, if nearly all."""
    first = values.slice(0, TRIED).to_pylist()
    some = values.slice(0, FIRST)
    likely = [f for f in tried if any(_compiled(f).fullmatch(value) for value in first)]
    likely = [f for f in likely if _share(some, f) >= MOST]
    shares = {f: _share(values, f) for f in likely}
    most = max(shares.values(), default=0.0)
    return tuple(f for f, share in shares.items() if share == most and share >= MOST)


def share_that_fits(fact: Facts, time_format: str) -> float | None:
    """The share of the values that a format fits; None for one with directives that are not known here."""
    known = re.sub("|".join((*_PIECES, "%%")), "", time_format)
    return None if "%" in known else _share(fact.values, time_format)


def _share(values: pa.Array, time_format: str) -> float:
    fits = pc.match_substring_regex(values, rf"^(?:{_regex(time_format)})$", ignore_case=True)
    return (pc.sum(fits).as_py() or 0) / max(len(values), 1)


@functools.cache
def _compiled(time_format: str) -> re.Pattern[str]:
    return re.compile(_regex(time_format), re.I)


@functools.cache
def _regex(time_format: str) -> str:
    """A format as a regular expression that Python and RE2 read alike."""
    pieces = _PIECES | (_COMPACT if time_format.startswith("%Y%m%d") else {})
    parts = re.split(r"(%.)", time_format)
    return "".join(pieces.get(part) or re.escape(part).replace(r"\ ", " +") for part in parts)
