"""What a log looks like, and the settings that follow from it: repeats, what is rare, and what a full run costs."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from llmrec_cli.core.cost import Cost

if TYPE_CHECKING:
    from llmrec_cli.ingest.engine import Engine
    from llmrec_cli.ingest.survey import Assignment

DAY = 86_400_000_000
SOME, MOST = 0.05, 0.5
"""Shares of events of items that the user had before: from where on a log has repeats, and lives of them."""
LATER = 50
"""Events that a share is of, at least."""
LARGE, UNUSED = 100_000, 10
"""Items of a large catalogue; and how many times as many as those of the log are worth a setting."""
SHAPE = """WITH v AS (SELECT {user} AS "#u", {item} AS "#i", {day} AS "#d", count(*) AS n FROM {log} WHERE "#u" <> ''
AND "#i" <> '' GROUP BY ALL), us AS (SELECT "#u", sum(n) AS n, min("#d") AS first FROM v GROUP BY "#u"), its AS (SELECT
sum(n) AS n FROM v GROUP BY "#i") SELECT (SELECT sum(n) FROM us), (SELECT count(*) FROM us), (SELECT count(*) FROM its),
(SELECT count(*) FROM (SELECT DISTINCT "#u", "#i" FROM v)), (SELECT count(*) FROM us WHERE n = 1), (SELECT count(*) FROM
its WHERE n = 1), (SELECT count(*) FROM v JOIN us USING ("#u") WHERE "#d" > first), (SELECT count(*) FROM v)"""


class Shape(NamedTuple):
    """Sizes of a log. Of the `later` events, those after a user's first day, `again` are of items that the user had.

    Without times, those after a user's first event.
    """

    rows: int
    users: int
    items: int
    pairs: int
    lone_users: int
    lone_items: int
    later: int
    again: int
    catalogue: int


def shape(engine: Engine, found: Assignment, given: Mapping[str, str | int], folder: Path) -> Shape:
    """The whole log looked at; `given` are columns by their fields."""
    from llmrec_cli.ingest import sql, survey
    from llmrec_cli.ingest.column_mapping import FileConfig

    log, day = found.log, "0"
    columns = {g.field: g for g in survey.log_columns(log, given)}
    user, item = (sql.cell(columns[field].column) for field in ("user", "item"))
    if time := columns.get("time"):
        instant = sql.microseconds(sql.column(time.column), time.formats[0] if time.formats else "")
        day = f"coalesce({instant} // {DAY}, 0)"
    source = engine.name(log.table)
    if log.table.num_rows >= survey.SAMPLE:
        paths = [os.path.normpath(folder.absolute() / path) for path in log.paths]  # the folder may not be there yet
        files = engine.open(FileConfig.model_validate({"path": paths}), Path(), sequences=log.is_sequences)
        names = dict.fromkeys(each.column for each in columns.values() if each.field in ("user", "item", "time"))
        source = engine.raw(files, list(names))
    counts = engine.one(SHAPE.format(user=user, item=item, day=day, log=source))
    *sizes, later, visits = (int(n or 0) for n in counts)
    rows, users, items, pairs = sizes[:4]
    later, again = (later, visits - pairs) if later else (rows - users, rows - pairs)
    return Shape._make([*sizes, later, again, max(items, found.items.table.num_rows if found.items else 0)])


def proposed(log: Shape, given: Collection[str]) -> dict[str, tuple[object, str]]:
    """Setting -> value and reason of `proposals`, without what is given and what that contradicts."""
    found = {key: (value, why) for key, value, why in proposals(log) if key not in given}
    return {key: each for key, each in found.items() if "clean.repeats" not in given or key.startswith("clean.")}


def proposals(log: Shape) -> Iterator[tuple[str, object, str]]:
    """Setting, value and reason of each that the log is a reason for."""
    share = log.again / max(1, log.later)
    seen = f"{share:.0%} of {log.later:,} later events are of items that the user had before"
    if log.later >= LATER and share >= MOST:
        yield "clean.repeats", "keep", f"{seen}: people come back for the same things, so these are recommended too"
        yield "train-ranker.candidates.repeat", True, "what is chosen again is learned"
        yield "recommend.filter_seen", False, "and shown"
    elif log.later >= LATER and share >= SOME:
        yield "clean.repeats", "first", f'{seen}: only what is new to a user is recommended; "keep" learns from all'
    lone = f"{log.lone_users:,} of {log.users:,} users have one event"
    yield "clean.min_user_events", 2, f"{lone}: nothing can be learned of what comes next; 1 keeps them"
    if log.items > LARGE and 2 * log.lone_items > log.items:
        why = f"{log.lone_items:,} of {log.items:,} items have one event: much work, little to learn; 1 keeps them"
        yield "clean.min_item_events", 2, why
    if log.catalogue >= UNUSED * max(1, log.items):
        why = f'{log.catalogue:,} items in their file, {log.items:,} in the log; "keep" recommends the others too'
        yield "clean.items.unseen", "drop", why


def cost(log: Shape, settings: Mapping[str, object]) -> list[str]:
    """What a full run costs on this machine, and what more time would bring.

    The seconds were fitted to runs of the sample, MovieLens 100K and 1M and Amazon Beauty on one core of a server.
    """
    from llmrec_cli.sequence import defaults

    once = settings.get("clean.repeats", "keep") in ("first", "last", "sum")
    events, items, cores = log.pairs if once else log.rows, log.items, min(2, os.cpu_count() or 1)
    epochs, most = defaults.epochs("gpt", events), defaults.EPOCHS["gpt"]
    targets, sampled = 2 * epochs * events, defaults.loss(events, items, epochs) == "sampled"
    steps = targets / defaults.tokens_per_step(events)
    scores = 1.5e-9 * targets / cores  # seconds for each item
    training = 5 + (7e-3 + 1.5e-6 * items) * steps + 4e-5 * targets + 2e-3 * min(log.catalogue, events)
    training = training / cores + scores * (defaults.NEGATIVES if sampled else items)
    rest = 10 + 3.5e-5 * events + 4e-3 * min(log.users, 40_000) + 2.5e-3 * log.users + 1e-3 * log.catalogue
    whole = f"about {Cost(training + rest / cores).wall} on {cores} cores, {Cost(training).wall} of it in pretrain"
    lines = [f"  cost       a full run takes {whole}; half or twice as much on another machine"]
    if epochs < most:
        lines.append(f"  epochs     {epochs}, for the log is long    --set pretrain.epochs={most} may be better")
    if sampled:
        long = f"{Cost(scores * items).wall} more"
        lines.append(f"  loss       sampled, for items are many    --set pretrain.loss=softmax may be better, {long}")
    return lines
