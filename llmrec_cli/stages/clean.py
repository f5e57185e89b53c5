"""Read the raw log and what is known of items and users; keep the valid rows and account for each of the others.

Reads: the files named under [clean].
Writes: clean/interactions, clean/items, clean/item_ranges, clean/users, clean/sequences, clean/negative_feedback,
clean/rejects, clean/funnel, clean/holdout; clean/reviews where the log has any.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
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
    LOG_PROFILE,
    NEGATIVE_FEEDBACK,
    REJECTS,
    REVIEWS,
    SEQUENCES,
    TIME,
    USERS,
    Table,
)
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.disk import remove
from llmrec_cli.core.errors import DataError, SettingsError, UpstreamError
from llmrec_cli.core.pseudonyms import People, ticket_part
from llmrec_cli.core.pseudonyms import people as people_of
from llmrec_cli.core.registry import load_function
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.ticket import Source
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest import appended
from llmrec_cli.ingest.clean_config import CleanConfig
from llmrec_cli.ingest.column_mapping import Column, name_of
from llmrec_cli.ingest.locations import locate

if TYPE_CHECKING:
    from llmrec_cli.ingest.array_log import ArrayLog
    from llmrec_cli.ingest.checked_log import CheckedLog, StartSpark
    from llmrec_cli.ingest.engine import Engine
    from llmrec_cli.ingest.frame_log import FrameLog
    from llmrec_cli.ingest.raw_log import RawLog


def run(work: WorkDir, config: CleanConfig, context: Context) -> Report:
    from llmrec_cli.ingest import raw_texts
    from llmrec_cli.ingest.engine import Engine

    scratch = work.scratch("clean", context.ticket)
    parsed = appended.parsed(work)
    people = people_of(work.path, context.base, pseudonymise=config.pseudonymise)
    new = WorkDir(scratch / "new")  # all of it takes the place of the old tables, or nothing
    remove(new.path)
    with Engine(context.max_memory // 2, context.threads, scratch) as engine:
        log = _read_log(engine, config, context.base, people, parsed if parsed.is_dir() else None)
        context.progress.log(f"{log.total:,} rows read from {log.paths}")
        report = _make(new, log, config, context, raw_texts.known(work, log.inputs))
        report.lines += appended.describe(log, new, work.record("clean"))
    if config.items.path is not None and work.has(ITEMS):
        with suppress(UpstreamError):  # the old table is damaged
            report.warnings += appended.undescribed(*(each.read(ITEMS, [ITEM, "title"]) for each in (work, new)))
    work.take_over(new, STAGE.writes)
    return report


def _make(work: WorkDir, log: RawLog, config: CleanConfig, context: Context, texts: dict[str, pa.Table]) -> Report:
    """All tables of a log; `texts` of rejected rows are known."""
    from llmrec_cli.ingest import account as accounts
    from llmrec_cli.ingest import log_profile, metadata, oddities, raw_texts
    from llmrec_cli.ingest.described import Kept, described, ranges

    checked = _checked(log, config, context)
    kept = Kept(log, checked, context.base, [])
    if config.event_weights:
        kept.warnings.extend(oddities.events(config.event_weights, checked.kinds()))
    account = accounts.account(kept, config)
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
    work.write(LOG_PROFILE, log_profile.table(checked))
    _write_events(work, checked, items)
    if config.interactions.review is not None:
        column = str(log.columns.index(name_of(config.interactions.review, log.inputs)))
        events = log.engine.put(pa.concat_tables(piece.select(metadata.REVIEWED) for piece in checked.training()))
        _write(work, REVIEWS, log.engine.tables(metadata.reviews(events, log_rows, column)))
    _write(work, REJECTS, raw_texts.with_raw(log, config.interactions, checked.rejects(), texts))
    _write(work, NEGATIVE_FEEDBACK, checked.negative_feedback())
    if config.holdout != "none":
        _write(work, HOLDOUT, checked.holdout())
    lines = accounts.in_words(account, kept, config) + oddities.language(items.column("title"))
    counts = {"rows": log.total, "events": account.column("left")[-1].as_py()}
    counts |= {"users": users.num_rows, "items": items.num_rows}
    return Report(counts=counts, lines=lines, warnings=kept.warnings)


def check(work: WorkDir, config: CleanConfig, context: Context) -> Report:
    """What `run` would keep, by the limits of `clean.check`; nothing is written. DataError where the log breaks one."""
    from llmrec_cli.ingest import account as accounts
    from llmrec_cli.ingest import funnel
    from llmrec_cli.ingest.described import Kept
    from llmrec_cli.ingest.engine import Engine

    people = people_of(work.path, context.base, pseudonymise=config.pseudonymise)
    with tempfile.TemporaryDirectory() as scratch, Engine(context.max_memory // 2, context.threads, Path(scratch)) as e:
        log = _read_log(e, config, context.base, people)
        kept = Kept(log, _checked(log, config, context), context.base, [])
        account = accounts.account(kept, config)
        lines = accounts.in_words(account, kept, config)
        newest = kept.checked.newest()
    if broken := funnel.broken_limits(account, newest, config.check):
        raise DataError("; ".join(broken), where=log.paths, fix="look at the log, or move the limit", table=lines)
    counts = dict(
        zip(
            ("events", "users", "items"),
            (account.column(n)[-1].as_py() for n in ("left", "users", "items")),
            strict=True,
        )
    )
    return Report(counts={"rows": log.total, **counts}, lines=[*lines, "every limit of [clean.check] holds"])


def sources(work: WorkDir, config: CleanConfig, base: Path) -> Iterator[Source]:
    """The raw files on disk, by their names as they are given; for a member of a zip file, the zip file."""
    paths = [each.path for each in (config.interactions, config.items, config.users) if each.path is not None]
    given = [entry for path in paths for entry in ([path] if isinstance(path, str) else path)]
    for what, root, absolute in (("raw files", base, False), ("raw files elsewhere", Path(), True)):
        here = [entry for entry in given if Path(entry).is_absolute() == absolute]
        if found := sorted({location.path for location in locate(here, base)}):
            yield Source(what, root, found)


# --- the log ----------------------------------------------------------------------------------------------------------


def _read_log(
    engine: Engine, config: CleanConfig, base: Path, people: People | None, parsed: Path | None = None
) -> RawLog:
    """The log; of one that grows what was read before lies in the folder `parsed`."""
    from llmrec_cli.ingest import engine_filter
    from llmrec_cli.ingest.parsed_files import ParsedFiles
    from llmrec_cli.ingest.raw_log import ColumnMapping, RawLog

    settings = config.interactions
    known = ParsedFiles(engine, parsed, config, people) if parsed else None
    inputs = known.open(base) if known else engine.open(settings, base, sequences=settings.layout == "sequences")

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
        decimal=settings.decimal,
    )
    wanted = [mapping.user, mapping.item, mapping.time, mapping.value, mapping.event]
    wanted += [name(c) for each in (config.items, config.users) if each.path is None for c in each.described()]
    wanted.append(name(settings.review))
    if settings.where:
        wanted += engine_filter.columns(settings.where, inputs[0].columns)
    columns = list(dict.fromkeys(c for c in wanted if c is not None))
    if mapping.time_format:
        engine.check_time_format(mapping.time_format)
    extra = mapping.extra(people)
    raw = known.raw(inputs, columns, extra) if known else engine.raw(inputs, columns, extra=extra)
    return RawLog(engine, raw, mapping, settings.where, columns, inputs, people)


def _checked(log: RawLog, config: CleanConfig, context: Context) -> ArrayLog | FrameLog:
    """The log with the rules applied: by arrays on this machine, or by expressions on Spark."""
    from llmrec_cli.ingest import array_log, frame_log

    after = _microseconds(config)
    if config.engine == "duckdb":
        return array_log.check(log, config, after)
    start: StartSpark = load_function("llmrec_cli.extras.spark:start")
    return frame_log.check(log, config, after, start(config.spark_master, context.max_memory // 2, log.engine))


def _microseconds(config: CleanConfig) -> int:
    """`holdout_after` since 1970; a time without a zone is UTC."""
    from llmrec_cli.ingest import holdout

    if config.holdout != "time":
        return 0
    if config.interactions.time is None:
        what = "a log without times cannot be cut by time"
        raise SettingsError(what, where="clean.holdout", fix='holdout = "last"')
    return int(holdout.instant(config.holdout_after, "clean.holdout_after").timestamp() * 1_000_000)


# --- writing ----------------------------------------------------------------------------------------------------------


def _write_events(work: WorkDir, checked: CheckedLog, items: pa.Table) -> None:
    """Interactions and sequences in one pass over the kept events, by user and in time order."""
    from llmrec_cli.ingest import kept_events

    with work.writer(INTERACTIONS) as interactions, work.writer(SEQUENCES) as sequences:
        for piece in checked.training():
            timed = _with_time(piece)
            interactions(timed)
            sequences(kept_events.sequences(timed, items.column(ITEM).combine_chunks()))


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
    writes=(
        *(INTERACTIONS, ITEMS, ITEM_RANGES, USERS, SEQUENCES, NEGATIVE_FEEDBACK, REVIEWS),
        *(REJECTS, FUNNEL, LOG_PROFILE, HOLDOUT),
    ),
    run=run,
    estimate=check,
    sources=sources,
    facts=lambda work, config, context: ticket_part(work.path, context.base, pseudonymise=config.pseudonymise),
    revision=9,
)
