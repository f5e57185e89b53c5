"""Read the raw log and what is known of items and users; keep the valid rows and account for each of the others.

Reads: the files named under [clean].
Writes: clean/interactions, clean/items, clean/item_ranges, clean/users, clean/sequences, clean/negative_feedback,
clean/rejects, clean/funnel, clean/holdout; clean/reviews where the log has any.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field, model_validator

from llmrec_cli.core.artifacts import (
    FUNNEL,
    HOLDOUT,
    INTERACTIONS,
    ITEM_RANGES,
    ITEMS,
    NEGATIVE_FEEDBACK,
    REJECTS,
    REVIEWS,
    SEQUENCES,
    TIME,
    USERS,
    Table,
)
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.config import IsoTime
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.pseudonyms import People, ticket_part
from llmrec_cli.core.pseudonyms import people as people_of
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.ticket import Source
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest.column_mapping import Column, InteractionsConfig, ItemsConfig, UsersConfig, name_of
from llmrec_cli.ingest.raw_files import locate

if TYPE_CHECKING:
    from llmrec_cli.ingest.described import Kept, Log
    from llmrec_cli.ingest.engine import Engine
    from llmrec_cli.ingest.rules import Frame


class CleanConfig(BaseModel, frozen=True, extra="forbid"):
    interactions: InteractionsConfig = Field(description="the log")
    items: ItemsConfig = Field(
        ItemsConfig.model_validate({}), description="the items file; without a path, columns of the log"
    )
    users: UsersConfig = Field(
        UsersConfig.model_validate({}), description="the users file; without a path, columns of the log"
    )
    pseudonymise: bool = Field(
        False, description="write keyed hashes in place of user ids; the key is llmrec.key next to the settings file"
    )
    min_user_events: int = Field(2, ge=1, description="users with fewer events are left out, until all have as many")
    min_item_events: int = Field(1, ge=1, description="items with fewer events are left out, until all have as many")
    min_support: int = Field(
        0, ge=0, description="what fewer people did is not shown: items, tags, topics, segments, evidence; 0 shows all"
    )
    repeats: Literal["keep", "first", "last"] = Field(
        "keep", description="which of a user's events with the same item stay"
    )
    outlier_z: float = Field(
        6.0, ge=0, description="leave out users so many robust deviations above the median; 0 keeps all"
    )
    item_outlier_z: float = Field(0.0, ge=0, description="the same for items; 0 keeps all, for popular items are real")
    session_gap_minutes: float = Field(30.0, gt=0, description="a longer pause starts a new session")
    event_weights: dict[str, float] = Field(
        {}, description="weight of each kind of event, 1 for others; 0 leaves it out, below 0 turns the item down"
    )
    negative_below: float | None = Field(None, description="an event of a smaller value turns the item down")
    holdout: Literal["none", "last", "last-n", "time"] = Field("none", description="what a backtest withholds")
    holdout_n: int = Field(1, ge=1, description="events withheld of each user by last-n")
    holdout_after: IsoTime = Field("", description="ISO time from which on the backtest withholds")

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if self.negative_below is not None and self.interactions.value is None:
            raise ValueError("negative_below needs the column clean.interactions.value")
        return self


def run(work: WorkDir, config: CleanConfig, context: Context) -> Report:
    from llmrec_cli.ingest import holdout, metadata, oddities, rules
    from llmrec_cli.ingest.described import Kept, described, ranges
    from llmrec_cli.ingest.engine import Engine

    after = _microseconds(config)
    with Engine(context.max_memory // 2, context.threads, work.scratch("clean", context.ticket)) as engine:
        log = _read_log(
            engine, config, context.base, people_of(work.path, context.base, pseudonymise=config.pseudonymise)
        )
        context.progress.log(f"{log.total:,} rows read from {log.where}")
        checked = _reject(engine, log, config)
        kept = Kept(engine, log, _kept_events(engine, checked, config, after), context.base, [])
        if config.event_weights:
            kept.warnings.extend(oddities.events(config.event_weights, engine.counts(checked, "event")))
        account = _account(checked, kept, config)
        log_rows = holdout.known(engine.numbered(log.raw, log.columns), checked, kept.events, config.holdout, after)
        items = metadata.items(*described(kept, config.items, ITEM, log_rows), config.items)
        about = described(kept, config.users, USER, log_rows)
        users = metadata.users(*about, config.users)
        if config.min_support > 1:
            rare = engine.arrow(rules.only_rejected(checked)).column(ITEM).combine_chunks()
            items = items.filter(pc.invert(pc.is_in(items.column(ITEM), value_set=rare)))
        kept.warnings.extend(oddities.tables(items, users))
        if ages := about[1](config.users.age):
            kept.warnings.extend(oddities.ages(metadata.text(about[0], ages), users.column("age"), ages))

        work.write(ITEMS, items)
        work.write(USERS, users)
        if (varied := ranges(kept, config.items, log_rows, items.column(ITEM))).num_rows:
            work.write(ITEM_RANGES, varied)
        work.write(FUNNEL, account)
        _write_events(work, kept, items)
        if config.interactions.review is not None:
            column = str(log.columns.index(name_of(config.interactions.review, log.inputs)))
            _write(work, REVIEWS, kept, metadata.reviews(holdout.training(kept.events), log_rows, column))
        _write(work, REJECTS, kept, rules.rejected(checked))
        negative = holdout.known_negatives(rules.negative_feedback(checked), kept.events, config.holdout, after)
        _write(work, NEGATIVE_FEEDBACK, kept, negative)
        if config.holdout != "none":
            _write(work, HOLDOUT, kept, holdout.holdout(kept.events))
        lines = _lines(account, checked, kept, config)
    counts = {"rows": log.total, "events": account.column("left")[-1].as_py()}
    counts |= {"users": users.num_rows, "items": items.num_rows}
    return Report(counts=counts, lines=lines, warnings=kept.warnings)


def sources(work: WorkDir, config: CleanConfig, base: Path) -> Iterator[Source]:
    """The raw files on disk, by their names as they are given; for a member of a zip file, the zip file."""
    paths = [each.path for each in (config.interactions, config.items, config.users) if each.path is not None]
    given = [entry for path in paths for entry in ([path] if isinstance(path, str) else path)]
    for what, root, absolute in (("raw files", base, False), ("raw files elsewhere", Path(), True)):
        here = [entry for entry in given if Path(entry).is_absolute() == absolute]
        if files := sorted({location.path for location in locate(here, base)}):
            yield Source(what, root, files)


# --- the log ----------------------------------------------------------------------------------------------------------


def _read_log(engine: Engine, config: CleanConfig, base: Path, people: People | None) -> Log:
    from llmrec_cli.ingest import people as ids
    from llmrec_cli.ingest.described import Log
    from llmrec_cli.ingest.engine import ColumnMapping

    settings = config.interactions
    inputs = engine.open(settings, base, sequences=settings.layout == "sequences")

    def name(column: Column | None) -> str | None:
        return None if column is None else name_of(column, inputs)

    user, item = (settings.user, settings.item) if settings.layout == "rows" else ("user", "item")
    mapping = ColumnMapping(
        user=name(user) or "",
        item=name(item) or "",
        time=name(settings.time),
        value=name(settings.value),
        event=name(settings.event),
        time_format=settings.time_format,
    )
    wanted = [mapping.user, mapping.item, mapping.time, mapping.value, mapping.event]
    wanted += [name(c) for each in (config.items, config.users) if each.path is None for c in each.described()]
    wanted.append(name(settings.review))
    wanted += engine.filter_columns(settings.where, inputs[0].dialect.columns)
    columns = list(dict.fromkeys(c for c in wanted if c is not None))
    raw = engine.raw(inputs, columns)
    forgotten = ids.protect(engine, raw, mapping.user, people) if people else None
    return Log(raw, columns, inputs, mapping, engine.count(raw), people, forgotten)


def _reject(engine: Engine, log: Log, config: CleanConfig) -> Frame:
    """Every row of the log with the reason why it is rejected, if it is."""
    from llmrec_cli.ingest import rules

    timed = log.mapping.time is not None
    rows = engine.log(log.raw, log.mapping, config.interactions.where)
    frame = rules.reject_invalid(rules.weighted(rows, config.event_weights, config.negative_below), timed=timed)
    if log.forgotten is not None:
        frame = rules.reject_forgotten(frame, engine.put(log.forgotten))
    if timed or config.interactions.layout == "rows":
        frame = rules.reject_duplicates(frame, timed=timed)
    frame = engine.keep(rules.reject_repeats(frame, config.repeats))
    for column, z in ((USER, config.outlier_z), (ITEM, config.item_outlier_z)):
        counts = engine.arrow(rules.counts_of(frame, column)).column("n").to_numpy()
        limit = rules.outlier_limit(counts, z) if z else np.inf
        if (counts > limit).any():
            frame = engine.keep(rules.reject_outliers(frame, column, limit, f"outlier {column[:4]}"))
    valid = engine.arrow(rules.valid(frame))
    users, items = (rules.codes(valid.column(column)) for column in (USER, ITEM))
    violated = rules.k_core(users, items, config.min_user_events, config.min_item_events, config.min_support)
    if not violated.any():
        return frame
    out = pa.table({"source_row": valid.column("source_row"), "violated": violated}).filter(pa.array(violated > 0))
    return engine.keep(rules.reject_rare(frame, engine.put(out)))


def _kept_events(engine: Engine, checked: Frame, config: CleanConfig, after: int) -> Frame:
    """The kept events with position and session, and whether the backtest withholds them."""
    from llmrec_cli.ingest import holdout, rules

    events = rules.in_order(checked, config.session_gap_minutes)
    return engine.keep(holdout.withheld(events, config.holdout, config.holdout_n, after))


def _microseconds(config: CleanConfig) -> int:
    """`holdout_after` since 1970; a time without a zone is UTC."""
    from llmrec_cli.ingest import holdout

    if config.holdout != "time":
        return 0
    if config.interactions.time is None:
        what = "a log without times cannot be cut by time"
        raise SettingsError(what, where="clean.holdout", fix='holdout = "last"')
    return int(holdout.instant(config.holdout_after, "clean.holdout_after").timestamp() * 1_000_000)


def _account(checked: Frame, kept: Kept, config: CleanConfig) -> pa.Table:
    """Rows read, taken out by each rule and left. Raises DataError where nothing is left."""
    from llmrec_cli.ingest import funnel, rules

    engine, log = kept.engine, kept.log
    removed = engine.counts(checked, "reason")
    n_kept = removed.pop(None, 0)
    assert n_kept + sum(removed.values()) == log.total, "rows read = rows kept + rejects does not hold"
    removed[funnel.WITHHELD] = engine.counts(kept.events, "withheld").get(True, 0)
    unused = {
        rules.FORGOTTEN: log.forgotten is None,
        "where": not config.interactions.where,
        "invalid time": log.mapping.time is None,
        "invalid value": log.mapping.value is None,
        "negative feedback": config.negative_below is None and all(w >= 0 for w in config.event_weights.values()),
        "no weight": 0 not in config.event_weights.values(),
        "duplicate": log.mapping.time is None and config.interactions.layout == "sequences",
        "repeat": config.repeats == "keep",
        "outlier user": not config.outlier_z,
        "outlier item": not config.item_outlier_z,
        "min_user_events": config.min_user_events == 1,
        "min_item_events": config.min_item_events == 1,
        "min_support": config.min_support <= 1,
        funnel.WITHHELD: config.holdout == "none",
    }
    table = funnel.funnel(log.total, removed, [rule for rule in funnel.RULES if not unused.get(rule)])
    if table.column("left")[-1].as_py() == 0:
        rule, fix = funnel.emptied_by(table)
        raise DataError(f"no row is left after the rule {rule!r}", where=log.where, fix=fix, table=funnel.lines(table))
    return table


def _lines(account: pa.Table, checked: Frame, kept: Kept, config: CleanConfig) -> list[str]:
    """The account in words: rows, the users or items behind them, and what is taken for the order in time."""
    from llmrec_cli.ingest import funnel, rules

    lines = funnel.lines(account, kept.engine.arrow(rules.taken(checked)).to_pylist())
    if kept.log.mapping.time is None:
        order = "of rows" if config.interactions.layout == "rows" else "of the items in a line"
        lines.append(f"there are no times: the order {order} is taken as order in time")
    return lines


# --- writing ----------------------------------------------------------------------------------------------------------


def _write_events(work: WorkDir, kept: Kept, items: pa.Table) -> None:
    """Interactions and sequences in one pass over the kept events, by user and in time order."""
    from llmrec_cli.data.interactions import with_codes
    from llmrec_cli.ingest import holdout, rules

    events = holdout.training(kept.events)
    with work.writer(INTERACTIONS) as interactions, work.writer(SEQUENCES) as sequences:
        for piece in rules.grouped(kept.engine.batches(events)):
            timed = _with_time(piece)
            interactions(timed)
            sequences(with_codes(rules.sequences(timed), items))


def _write(work: WorkDir, table: Table, kept: Kept, rows: Frame) -> None:
    with work.writer(table) as append:
        for batch in kept.engine.batches(rows):
            piece = pa.Table.from_batches([batch])
            append(_with_time(piece) if TIME in table.schema.types else piece)


def _with_time(events: pa.Table) -> pa.Table:
    """Microseconds become times."""
    return events.set_column(events.column_names.index("time"), "time", events.column("time").cast(TIME))


STAGE = Stage(
    "clean",
    CleanConfig,
    reads=(),
    writes=(INTERACTIONS, ITEMS, ITEM_RANGES, USERS, SEQUENCES, NEGATIVE_FEEDBACK, REVIEWS, REJECTS, FUNNEL, HOLDOUT),
    run=run,
    sources=sources,
    facts=lambda work, config, context: ticket_part(work.path, context.base, pseudonymise=config.pseudonymise),
    revision=9,
)
