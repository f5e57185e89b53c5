"""`recommend` in shards: one is made without the lock, wherever the work directory is seen; then all are gathered."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from llmrec_cli import pipeline
from llmrec_cli.core.config import Settings
from llmrec_cli.core.cost import Meter
from llmrec_cli.core.disk import remove
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.readonly import read_only
from llmrec_cli.core.stage import Context, Outcome, Report, State, execute, state, ticket_parts
from llmrec_cli.core.ticket import difference
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists import shards
from llmrec_cli.lists.shards import Shard, Shards
from llmrec_cli.stages import recommend

STAGE = recommend.STAGE


def run(
    work: WorkDir, settings: Settings, context: Context, shard: str | None, *, gather: bool, force: bool
) -> tuple[Outcome, str]:
    """Make the shard "3/7", or gather all; and the command that comes next."""
    if gather and shard is not None:
        raise SettingsError("--shard makes one shard, --gather puts all together", fix="first one, then the other")
    which = None if shard is None else Shard.parse(shard)
    config = pipeline.check(settings, [STAGE.name])[STAGE.name]
    STAGE.ready(config, context)
    return _gathered(work, config, context, force) if which is None else _made(work, config, context, which, force)


def _made(work: WorkDir, config: Any, context: Context, shard: Shard, force: bool) -> tuple[Outcome, str]:
    """Make a shard unless it is there or the lists are up to date.

    DataError where other shards are of another ticket or count, or where the inputs change meanwhile.
    """
    with read_only(work, own_scratch=True) as reader:
        now = state(STAGE, reader, config, context)
        if now.fresh and not force:
            return Outcome(STAGE.name, False, now.why, Report()), "llmrec report"
        there = _fitting(work, now, shard)
        if shard in there.made and not force:
            return Outcome(STAGE.name, False, f"shard {shard} is there", Report()), _next(there)
        meter = Meter()
        with there.writing(shard) as folder:
            counts = recommend.make_shard(reader, config, context, shard, folder)
            parts = ticket_parts(STAGE, reader, config, context)
            if parts != now.parts:
                why = f"shard {shard} was made of what is no longer there: {difference(now.parts, parts)}"
                raise DataError(why, where=str(work.path), fix="run the same command again")
            shards.sign(folder, now, counts, meter.read().core_seconds)
            _fitting(work, now, shard)  # another may have come first
    report = Report({"users": counts.users}, lines=[f"{counts.users:,} users"])
    return Outcome(STAGE.name, True, f"shard {shard}", report, meter.read()), _next(_fitting(work, now, shard))


def _gathered(work: WorkDir, config: Any, context: Context, force: bool) -> tuple[Outcome, str]:
    """Put all shards together, unless the lists are up to date; then they are removed."""
    with work.lock():
        now = state(STAGE, work, config, context)
        there = Shards.of(work, now)
        if not now.fresh or force:
            there.check_complete()
        stage = replace(STAGE, run=partial(recommend.run, made=there))
        outcome = execute(stage, work, config, context, force=force)
        remove(there.folder)
    return outcome, "llmrec report"


def _fitting(work: WorkDir, now: State, shard: Shard) -> Shards:
    """The shards that are there; DataError where they are no parts of the same whole."""
    there = Shards.of(work, now)
    if there.made and there.count != shard.of:
        fix = f"--shard {min(shard.number, there.count)}/{there.count}"
        raise there.mismatch(f"{shard} is none of the shards here: they are of {there.count}", fix)
    return there


def _next(there: Shards) -> str:
    left = len(there.missing)
    return f"{left:,} of {there.count:,} shards are missing" if left else "llmrec recommend --gather"
