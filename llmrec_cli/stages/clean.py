"""Read the raw log and what is known of items and users; keep the valid rows and account for each of the others.

Reads: the files named under [clean].
Writes: clean/interactions, clean/items, clean/item_ranges, clean/users, clean/sequences, clean/negative_feedback,
clean/rejects, clean/funnel, clean/holdout; clean/reviews where the log has any.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

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
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.pseudonyms import People, ticket_part
from llmrec_cli.core.pseudonyms import people as people_of
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.ticket import Source
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest.clean_config import CleanConfig
from llmrec_cli.ingest.column_mapping import Column, name_of
from llmrec_cli.ingest.raw_files import locate

if TYPE_CHECKING:
    from llmrec_cli.ingest.checked_log import CheckedLog
    from llmrec_cli.ingest.described import Kept
    from llmrec_cli.ingest.engine import Engine
    from llmrec_cli.ingest.raw_log import RawLog


def run(work: WorkDir, config: CleanConfig, context: Context) -> Report:
    from llmrec_cli.ingest import array_log, metadata, oddities
    from llmrec_cli.ingest.described import Kept, described, ranges
    from llmrec_cli.ingest.engine import Engine

    with Engine(context.max_memory // 2, context.threads, work.scratch("clean", context.ticket)) as engine:
        log = _read_log(
            engine, config, context.base, people_of(work.path, context.base, pseudonymise=config.pseudonymise)
        )
        context.progress.log(f"{log.total:,} rows read from {log.paths}")
        checked = array_log.check(log, config, _microseconds(config))
        kept = Kept(log, checked, context.base, [])
        if config.event_weights:
            kept.warnings.extend(oddities.events(config.event_weights, checked.kinds()))
        account = _account(kept, config)
        log_rows = checked.known_rows()
        items = metadata.items(*described(kept, config.items, ITEM, log_rows), config.items)
        about = described(kept, config.users, USER, log_rows)
        users = metadata.users(*about, config.users)
        if config.min_support > 1:
            items = items.filter(pc.invert(pc.is_in(items.column(ITEM), value_set=checked.only_rejected())))
        kept.warnings.extend(oddities.tables(items, users))
        if ages := about[1](config.users.age):
            kept.warnings.extend(oddities.ages(metadata.text(about[0], ages), users.column("age"), ages))

        work.write(ITEMS, items)
        work.write(USERS, users)
        if (varied := ranges(kept, config.items, log_rows, items.column(ITEM))).num_rows:
            work.write(ITEM_RANGES, varied)
        work.write(FUNNEL, account)
        _write_events(work, checked, items)
        if config.interactions.review is not None:
            column = str(log.columns.index(name_of(config.interactions.review, log.inputs)))
            events = engine.put(pa.concat_tables(piece.select(metadata.REVIEWED) for piece in checked.training()))
            _write(work, REVIEWS, engine.tables(metadata.reviews(events, log_rows, column)))
        _write(work, REJECTS, checked.rejects())
        _write(work, NEGATIVE_FEEDBACK, checked.negative_feedback())
        if config.holdout != "none":
            _write(work, HOLDOUT, checked.holdout())
        lines = _lines(account, kept, config)
    counts = {"rows": log.total, "events": account.column("left")[-1].as_py()}
    counts |= {"users": users.num_rows, "items": items.num_rows}
    return Report(counts=counts, lines=lines, warnings=kept.warnings)


def check(work: WorkDir, config: CleanConfig, context: Context) -> Report:
    """What `run` would keep, by the limits of `clean.check`; nothing is written. DataError where the log breaks one."""
    from llmrec_cli.ingest import array_log, funnel
    from llmrec_cli.ingest.described import Kept
    from llmrec_cli.ingest.engine import Engine

    people = people_of(work.path, context.base, pseudonymise=config.pseudonymise)
    with tempfile.TemporaryDirectory() as scratch, Engine(context.max_memory // 2, context.threads, Path(scratch)) as e:
        log = _read_log(e, config, context.base, people)
        kept = Kept(log, array_log.check(log, config, _microseconds(config)), context.base, [])
        account = _account(kept, config)
        lines = _lines(account, kept, config)
        newest = kept.checked.newest()
    if broken := funnel.broken_limits(account, newest, config.check):
        raise DataError("; ".join(broken), where=log.paths, fix="look at the log, or move the limit", table=lines)
    return Report(counts={"rows": log.total}, lines=[*lines, "every limit of [clean.check] holds"])


def sources(work: WorkDir, config: CleanConfig, base: Path) -> Iterator[Source]:
    """The raw files on disk, by their names as they are given; for a member of a zip file, the zip file."""
    paths = [each.path for each in (config.interactions, config.items, config.users) if each.path is not None]
    given = [entry for path in paths for entry in ([path] if isinstance(path, str) else path)]
    for what, root, absolute in (("raw files", base, False), ("raw files elsewhere", Path(), True)):
        here = [entry for entry in given if Path(entry).is_absolute() == absolute]
        if files := sorted({location.path for location in locate(here, base)}):
            yield Source(what, root, files)


# --- the log ----------------------------------------------------------------------------------------------------------


def _read_log(engine: Engine, config: CleanConfig, base: Path, people: People | None) -> RawLog:
    from llmrec_cli.ingest import engine_filter
    from llmrec_cli.ingest import people as ids
    from llmrec_cli.ingest.raw_log import ColumnMapping, RawLog

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
    if settings.where:
        wanted += engine_filter.columns(settings.where, inputs[0].dialect.columns)
    columns = list(dict.fromkeys(c for c in wanted if c is not None))
    raw = engine.raw(inputs, columns)
    forgotten = ids.protect(engine, raw, mapping.user, people) if people else None
    return RawLog(engine, raw, mapping, settings.where, columns, inputs, engine.count(raw), people, forgotten)


def _microseconds(config: CleanConfig) -> int:
    """`holdout_after` since 1970; a time without a zone is UTC."""
    from llmrec_cli.ingest import holdout

    if config.holdout != "time":
        return 0
    if config.interactions.time is None:
        what = "a log without times cannot be cut by time"
        raise SettingsError(what, where="clean.holdout", fix='holdout = "last"')
    return int(holdout.instant(config.holdout_after, "clean.holdout_after").timestamp() * 1_000_000)


def _account(kept: Kept, config: CleanConfig) -> pa.Table:
    """Rows read, taken out by each rule and left. Raises DataError where nothing is left."""
    from llmrec_cli.ingest import funnel, rules

    log, removed = kept.log, kept.checked.removed()
    unused = {
        rules.FORGOTTEN: log.forgotten is None,
        "where": not config.interactions.where,
        "invalid time": log.mapping.time is None,
        "invalid value": log.mapping.value is None,
        "negative feedback": config.negative_below is None and all(w >= 0 for w in config.event_weights.values()),
        "no weight": 0 not in config.event_weights.values(),
        "duplicate": log.mapping.time is None and config.interactions.layout == "sequences",
        "outlier value": log.mapping.value is None or not config.value_outlier_z,
        "cancelled": config.cancellations == "keep",
        "cancellation": config.cancellations == "keep",
        "repeat": config.repeats == "keep",
        "outlier user": not config.outlier_z,
        "outlier item": not config.item_outlier_z,
        "min_user_events": config.min_user_events == 1,
        "min_item_events": config.min_item_events == 1,
        "min_support": config.min_support <= 1,
        funnel.WITHHELD: config.holdout == "none",
    }
    left = {"users": kept.checked.last_rows(USER), "items": kept.checked.last_rows(ITEM)}
    table = funnel.funnel(log.total, removed, [rule for rule in funnel.RULES if not unused.get(rule)], left)
    if table.column("left")[-1].as_py() == 0:
        rule, fix = funnel.emptied_by(table)
        raise DataError(f"no row is left after the rule {rule!r}", where=log.paths, fix=fix, table=funnel.lines(table))
    return table


def _lines(account: pa.Table, kept: Kept, config: CleanConfig) -> list[str]:
    """The account in words: rows, the users or items behind them, and what is taken for the order in time."""
    from llmrec_cli.ingest import funnel

    lines = funnel.lines(account, kept.checked.taken())
    if kept.log.mapping.time is None:
        order = "of rows" if config.interactions.layout == "rows" else "of the items in a line"
        lines.append(f"there are no times: the order {order} is taken as order in time")
    return lines


# --- writing ----------------------------------------------------------------------------------------------------------


def _write_events(work: WorkDir, checked: CheckedLog, items: pa.Table) -> None:
    """Interactions and sequences in one pass over the kept events, by user and in time order."""
    from llmrec_cli.data.item_codes import with_codes
    from llmrec_cli.ingest import kept_events

    with work.writer(INTERACTIONS) as interactions, work.writer(SEQUENCES) as sequences:
        for piece in checked.training():
            timed = _with_time(piece)
            interactions(timed)
            sequences(with_codes(kept_events.sequences(timed), items))


def _write(work: WorkDir, table: Table, pieces: Iterable[pa.Table]) -> None:
    with work.writer(table) as append:
        for piece in pieces:
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
    estimate=check,
    sources=sources,
    facts=lambda work, config, context: ticket_part(work.path, context.base, pseudonymise=config.pseudonymise),
    revision=9,
)
