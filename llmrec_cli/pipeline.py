"""The stages in order, walking through them, and the backtest that replays them as of a cut-off."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from llmrec_cli.core.artifacts import RECOMMENDATIONS
from llmrec_cli.core.config import Settings
from llmrec_cli.core.errors import DataError, LlmrecError, SettingsError, ThresholdError, UpstreamError
from llmrec_cli.core.stage import (
    Context,
    Outcome,
    Report,
    Stage,
    State,
    estimate,
    execute,
    state,
)
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest import appended
from llmrec_cli.ingest.appended import Appended
from llmrec_cli.privacy import forget

# In the order in which `llmrec run` walks them. The order is the data flow: each artifact has one maker.
STAGES = ("clean", "pretrain", "profile", "train-ranker", "generate", "recommend", "report")
FOLDER_NAME = re.compile(r"\w[\w.-]*")
"""What a backtest may be called: a folder under `WORK/evaluate/`, none elsewhere."""
# What a backtest needs: texts, images and the page do not change what is recommended.
REPLAYED = ("clean", "pretrain", "profile", "train-ranker", "recommend")


def load(name: str) -> Stage:
    """The stage called `name`; imports only its module."""
    module = importlib.import_module(f"llmrec_cli.stages.{name.replace('-', '_')}")
    stage: Stage = module.STAGE
    return stage


def check(settings: Settings, names: Sequence[str] = (*STAGES, "evaluate")) -> dict[str, Any]:
    """Validate the sections of all stages, and that they are consistent, before the first of them works for an hour.

    What the settings say of the log is looked at for every stage: it is what all of them are made from.
    """
    configs = {name: settings.section(name, load(name).config) for name in names}
    if settings.names_a_log and "clean" not in configs:
        settings.section("clean", load("clean").config)
    if "train-ranker" in configs and "recommend" in configs:
        from llmrec_cli.lists.constraints import check_consistency

        clean = configs.get("clean")
        kept = clean.repeats if clean and not clean.repeat_window_minutes else "keep"
        check_consistency(configs["train-ranker"].candidates.repeat, configs["recommend"].filter_seen, kept)
    return configs


def walk(
    work: WorkDir,
    settings: Settings,
    context: Context,
    names: Sequence[str] = STAGES,
    *,
    force: bool = False,
    describe: Callable[[Outcome], None] = lambda outcome: None,
    append: Sequence[str] = (),
    rebuild: bool = False,
) -> list[Outcome]:
    """Run the named stages in order under the lock of the work directory, skipping what is up to date.

    Before the first of them works, all are asked whether what their settings name is there. `append` names raw files
    that the log has from now on; with `rebuild` it has none of those that were appended before.
    """
    check(settings, names)
    outcomes = []

    @cache
    def begin() -> None:
        for name in names:
            load(name).ready(configs[name], context)

    with work.lock():
        known = appended.read(work.path)
        log = Appended() if rebuild else _log(work, settings, context, append)
        configs = _with_log(log, check(settings, names))
        if log.files != known.files and log.files:
            appended.parsed(work).mkdir(exist_ok=True)
        for name in names:
            outcome = execute(load(name), work, configs[name], context, force=force, begin=begin)
            describe(outcome)
            outcomes.append(outcome)
            if name == "clean":
                if log != known:
                    appended.keep(work, log)
                for line in forget.left_the_log(work):
                    context.progress.log(line)
    return outcomes


def _log(work: WorkDir, settings: Settings, context: Context, append: Sequence[str]) -> Appended:
    """What was appended to the log, with more files; those that are there already are logged."""
    known = appended.read(work.path)
    if not append:
        return known
    config = check(settings, ["clean"])["clean"]
    log, lines = appended.grown(work, config, context.base, append, known)
    for line in lines:
        context.progress.log(line)
    return log


def _with_log(log: Appended, configs: dict[str, Any]) -> dict[str, Any]:
    return configs | {"clean": appended.with_files(configs["clean"], log.files)} if "clean" in configs else configs


def estimated(work: WorkDir, settings: Settings, context: Context, name: str, append: Sequence[str] = ()) -> Report:
    """What a stage would cost, without running it and without a change to the work directory."""
    configs = _with_log(_log(work, settings, context, append), check(settings, [name]))
    return estimate(load(name), work, configs[name], context)


def pretrain_together(work: WorkDir, settings: Settings, context: Context, *, force: bool = False) -> list[Outcome]:
    """Run `pretrain` in all processes that a launcher started; the outcome in the first, nothing in the others."""
    from llmrec_cli.tensors import process_group

    config = check(settings, ["pretrain"])["pretrain"]
    return process_group.run_together(load("pretrain"), work, config, context, force=force)


def states(work: WorkDir, settings: Settings, context: Context) -> Iterator[tuple[Stage, State | LlmrecError]]:
    """How each stage stands; a stage whose input is missing, stale or damaged says what it waits for."""
    for name, config in _with_log(appended.read(work.path), check(settings, STAGES)).items():
        stage = load(name)
        try:
            yield stage, state(stage, work, config, context)
        except (UpstreamError, DataError) as error:
            yield stage, error


def backtests(
    work: WorkDir,
    settings: Settings,
    context: Context,
    name: str = "last",
    *,
    force: bool = False,
    describe: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Replay the pipeline in `WORK/evaluate/<name>/` without the events that came later, and compare with them.

    Several cut-offs are replayed one after the other, each in a folder of its own, `<name>-<cut-off>`; a threshold that
    fails at one is reported when all are done. The comparison is the last stage of the nested work directory; then the
    page of the main one is drawn, also when a threshold failed: it must not keep an older verdict.
    """
    from llmrec_cli.evaluation import thresholds
    from llmrec_cli.ranking import private_retrievers
    from llmrec_cli.ranking.retrievers import RETRIEVERS

    if not FOLDER_NAME.fullmatch(name):
        raise SettingsError(
            f"a backtest cannot be called {name!r}", where="--name", fix="letters, digits, and . _ - inside"
        )
    stage, configs = load("evaluate"), check(settings)
    asked = configs["evaluate"]
    sources = configs["train-ranker"]
    fitted = private_retrievers.fitted(sources.retrievers, sources.dp_allow, configs["pretrain"].dp_epsilon)
    thresholds.check_consistency(fitted, asked.baselines, asked.must_beat, RETRIEVERS)
    outcomes, failed = [], []
    with work.lock():
        for at, config in asked.backtests(configs["recommend"], min_support=configs["clean"].min_support):
            nested = WorkDir(work.path / "evaluate" / (f"{name}-{at.replace(':', '')}" if at else name))
            walk(nested, as_of_the_past(settings, config), context, REPLAYED, force=force, describe=describe)
            try:
                with nested.lock():
                    outcome = execute(stage, nested, config, context, force=force)
                describe(outcome)
                outcomes.append(outcome)
            except ThresholdError as error:
                failed.append(error)
        draw(work, settings, context, describe)
    if failed:
        raise failed[0]
    return outcomes


def across(settings: Settings, outcomes: Sequence[Outcome]) -> list[str]:
    """A line about several backtests together; none about one."""
    if len(outcomes) < 2:
        return []
    metric = f"ndcg@{max(settings.section('evaluate', load('evaluate').config).ks)}"
    values = [outcome.report.metrics[metric] for outcome in outcomes]
    mean = sum(values) / len(values)
    return [f"{metric} at {len(values)} cut-offs: mean {mean:.4f}, from {min(values):.4f} to {max(values):.4f}"]


def as_of_the_past(settings: Settings, config: Any) -> Settings:
    """The same settings, with `clean` told to withhold what the backtest asks about."""
    asked = {f"clean.{key}": getattr(config, key) for key in ("holdout", "holdout_n", "holdout_after")}
    return settings.overridden({**asked, "recommend.k": max(config.ks), "recommend.texts": []}, "the backtest")


def draw(work: WorkDir, settings: Settings, context: Context, describe: Callable[[Outcome], None]) -> None:
    """Draw the page as things stand now, where there are lists to show; the caller holds the lock.

    Where it cannot be drawn because something before it is stale, that is logged: `run` updates it and draws then.
    """
    if not work.has(RECOMMENDATIONS):
        return
    try:
        describe(execute(load("report"), work, check(settings, ["report"])["report"], context))
    except UpstreamError as error:
        context.progress.log(f"report: not drawn, {error.what}")
