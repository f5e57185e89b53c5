"""What a log looks like, and the settings that follow from it: repeats, what is rare, and what a full run costs."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from llmrec_cli.core.cost import Cost
from llmrec_cli.core.forecast import Part

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
CORES = min(2, os.cpu_count() or 1)
RATES = {
    "clean": ((1.0, 2e-6, 0, 0, 0), (1e5, 13, 0, 0, 0)),
    "profile": ((1.0, 0, 0, 1e-4, 2.5e-4), (0, 0, 0, 1.1e3, 0)),
    "train-ranker": ((1.0, 2e-5, 4e-3, 0, 0), (0, 200, 0, 0, 3.5e3)),
    "generate": ((0.2, 0, 0, 4e-4, 4e-4), (0, 0, 0, 50, 50)),
    "recommend": ((0.3, 0, 0, 2e-3, 0), (0, 0, 0, 800, 0)),
    "report": ((0.2, 0, 0, 0, 0), (1.3e6, 0, 0, 0, 0)),
}
"""Stage -> seconds and bytes: once, and for each event, user that rankers learn from, user, and item."""
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
    if log.cut:
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
    """What a full run costs on this machine, and what more time would bring."""
    from llmrec_cli.sequence import defaults

    parts = {name: part_of(name, log, settings) for name in [*RATES, "pretrain"]}
    training, whole = parts["pretrain"].cost.wall, reduce(Part.then, parts.values())
    long = f"about {whole.cost.wall} on {CORES} cores, {training} of it in pretrain"
    lines = [f"  cost       a full run takes {long}; half or twice as much on another machine"]
    lines.append(
        f"  size       {whole.cost.peak_memory / 1e9:.1f} GB of memory, {whole.size / 1e6:,.0f} MB of artifacts"
    )
    epochs, sampled, scores = _training(log, settings)[:3]
    if epochs < (most := defaults.EPOCHS["gpt"]):
        lines.append(f"  epochs     {epochs}, for the log is long    --set pretrain.epochs={most} may be better")
    if sampled:
        long = f"{Cost(scores * log.items).wall} more"
        lines.append(f"  loss       sampled, for items are many    --set pretrain.loss=softmax may be better, {long}")
    return lines


def part_of(stage: str, log: Shape, settings: Mapping[str, object], threads: int = CORES) -> Part:
    """What a stage costs in a full run, where it is not measured. More threads than two are not reckoned with.

    The constants were fitted to runs of the sample, MovieLens 100K and 1M, Amazon Beauty and a synthetic log on a core
    of a server.
    """
    events, learners = _events(log, settings), min(log.users, 40_000)
    peak = int(7.5e8 + 2.5e3 * events + (1e5 * learners if stage == "train-ranker" else 2e4 * learners))
    if stage == "pretrain":
        seconds = _training(log, settings)[3]
        wall = seconds * CORES / min(threads, CORES)
        return Part(log.users, Cost(wall, seconds * CORES, peak), 4e6 + 3e3 * log.catalogue)
    of_seconds, of_bytes = RATES[stage]
    by = (1, events, learners, log.users, log.catalogue)
    seconds, size = (sum(n * rate for n, rate in zip(by, rates, strict=True)) for rates in (of_seconds, of_bytes))
    if stage == "train-ranker" and log.items <= 6000:  # EASE
        size += 4.0 * log.items**2
    return Part(log.users, Cost(seconds, seconds, peak), size)


def _events(log: Shape, settings: Mapping[str, object]) -> int:
    return log.pairs if settings.get("clean.repeats", "keep") in ("first", "last", "sum") else log.rows


def _training(log: Shape, settings: Mapping[str, object]) -> tuple[int, bool, float, float]:
    """Epochs, whether the loss is of sampled items, the seconds of scoring for each item, and all seconds."""
    from llmrec_cli.sequence import defaults

    events, items = _events(log, settings), log.items
    epochs = defaults.epochs("gpt", events)
    targets, sampled = 2 * epochs * events, defaults.loss(events, items, epochs) == "sampled"
    scores = 1.5e-9 * targets / CORES
    steps = targets / defaults.tokens_per_step(events)
    training = 2 + (2.5e-3 + 1.5e-6 * items) * steps + 1e-5 * targets + 2e-3 * min(log.catalogue, events)
    return epochs, sampled, scores, training / CORES + scores * (defaults.NEGATIVES if sampled else items)
