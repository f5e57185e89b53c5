"""Why raw files are no log of events, each with what would make them one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmrec_cli.core.errors import DataError
from llmrec_cli.ingest.column_mapping import name_of
from llmrec_cli.ingest.survey import MOST_UNNAMED, NEEDED, RawTable, log_columns

SETS = "name them: --set clean.interactions.user=COLUMN --set clean.interactions.item=COLUMN"
SEVERAL = r"\[?\S*\d\S*(?:[ ,;]+\S*\d\S*)+"
"""Several ids in a cell: words with a digit in each."""
HEADED = 'awk -F, \'NF==1 {sub(/:$/, ""); item=$1; next} {print item "," $0}\' FILE > log.csv'


def no_log(tables: Sequence[RawTable], given: Mapping[str, str | int]) -> DataError:
    """Of each file what is in the way of its being a log."""
    for each in tables:
        for column in given.values():
            if column != "" and len(tables) == 1:
                name_of(column, [each.input])
    several = [f"{f.name!r} of {each.name}" for each in tables for f in each.facts.values() if f.share(SEVERAL) > 0.5]
    fix = f"{NEEDED}; or {SETS}"
    if several:
        fix = f"write a row for each id of the column {several[0]} first, in SQL: unnest(string_split(COLUMN, ' '))"
    return DataError(
        "none of the files is a log of events",
        table=[f"{each.name} {_why(each)}" for each in tables],
        where=", ".join(dict.fromkeys(each.given for each in tables)),
        fix=fix,
    )


def _why(each: RawTable) -> str:
    for id_field in ("user", "item"):
        only = next((f for f in each.facts.values() if f.n_distinct == 1 and f.named(id_field)), None)
        if only is not None:
            return f"has only one {id_field}: {only.name} is {only.values[0].as_py()!r} in every row"
    names = each.table.column_names
    columns = f"columns: {', '.join(names[:MOST_UNNAMED])}{', …' if len(names) > MOST_UNNAMED else ''}"
    if each.table.num_rows == 1:
        return "has one row only"
    if each.headless and len(names) > MOST_UNNAMED:
        return f"has {len(names)} columns without names, and none shows which are users and items"
    if several := [f.name for f in each.facts.values() if f.share(SEVERAL) > 0.5]:
        return f"has several ids in a cell of {' and '.join(several)} ({columns})"
    if each.keys:
        return f"describes something: {each.keys[0].name} is another in each row ({columns})"
    return f"has no column of users and one of items ({columns})"


def check_users(log: RawTable, tables: Sequence[RawTable]) -> None:
    """Raise DataError where the users of a log stand in another file, by a column that both have."""
    user = next(g for g in log_columns(log, {}) if g.field == "user")
    for other in tables if not log.facts[user.column].named("user") and not log.headless else ():
        named = [f.name for f in other.facts.values() if f.named("user") and f not in other.keys]
        if named and user.column in other.facts and other is not log:
            raise _without_users(log, other, user.column, named[0])


def _without_users(log: RawTable, other: RawTable, shared: str, user: str) -> DataError:
    """A log whose users stand in another file, in the column `user`, by a column that both have."""
    join = f"SELECT * FROM '{log.given}' JOIN '{other.given}' USING ({shared})"
    return DataError(
        f"{log.name} has items but no users; {other.name} has the users, {user!r}, by the same {shared!r}",
        where=log.given,
        fix=f"join them first: duckdb -c \"COPY ({join}) TO 'log.csv'\"; or take each {shared!r} for a user: "
        f"--set clean.interactions.user={shared}",
    )


def headed(name: str, where: str) -> DataError:
    """A file with lines such as `17:`, after which come the events of the item 17."""
    what = f"in {name} the item stands on a line of its own above its events"
    return DataError(what, where=where, fix=f"write it into each row: {HEADED}")
