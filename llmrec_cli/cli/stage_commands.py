"""The stages as commands. An option that sets a field of a stage's settings is made from that field."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_cli.cli import asking
from llmrec_cli.cli.asking import Question
from llmrec_cli.cli.options import Common, DryRun, Force, command
from llmrec_cli.core import launch
from llmrec_cli.core.errors import SettingsError

STAGES = "Stages, in order"
Shard = Annotated[str | None, typer.Option(metavar="I/N", help="Make one of N parts, for --gather; 3/7 is the third.")]
Gather = Annotated[bool, typer.Option("--gather", help="Put the parts of all --shard together.")]


def _stage(
    common: Common,
    name: str,
    following: str,
    *,
    force: bool,
    dry: bool = False,
    finish: bool = False,
    append: Sequence[str] = (),
    rebuild: bool = False,
    **options: Any,
) -> None:
    """Run one stage with its named options and print what comes next, or only what the stage would cost."""
    from llmrec_cli import pipeline

    settings = common.settings(name, **options)
    context = common.context(settings, finish=finish, works=True)
    if settings.without_data and not (common.work / "clean").exists():  # nothing was begun here
        pipeline.check(settings, ["clean"])
    if name == "clean":
        common.take_in(settings)
    if dry:
        common.console.estimate(name, pipeline.estimated(common.workdir, settings, context, name, append))
        return
    if launch.processes() > 1:
        outcomes = pipeline.pretrain_together(common.workdir, settings, context, force=force)
    else:
        outcomes = pipeline.walk(common.workdir, settings, context, [name], force=force, append=append, rebuild=rebuild)
    for outcome in outcomes:
        common.console.outcome(outcome)
    if launch.is_first():
        common.console.finish(outcomes, str(common.work), following)


@command(STAGES, settings=("min_user_events", "min_item_events", "repeats", "outlier_z", "engine", "spark_master"))
def clean(
    common: Common,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where a limit of clean.check breaks.")
    ] = False,
    append: Annotated[
        list[str] | None, typer.Option("--append", help="Add a raw file to the log; more may follow.")
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="MORE", help="More files of --append.")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Leave out all files that were appended before.")] = False,
    force: Force = False,
    **options: Any,
) -> None:
    """Read the raw log, item and user files; drop what is broken and say why.

    Reads the files that the section clean of the settings names. Writes interactions, items, users, sequences,
    rejects and funnel under WORK/clean/.

    --append adds files of new days: the result is that of all files together, but only the new ones are read. The work
    directory remembers them; `clean` and `run` read them too from then on, until --rebuild.

    Where the settings name "-" as the log, what comes by the pipe is kept beside them as stdin.raw, also by --check.

    Example: llmrec clean --min-user-events 5      Example, from cron: llmrec clean --append new.csv && llmrec run
    """
    if append and rebuild:
        raise SettingsError("--append adds files, --rebuild leaves them out", fix="first one, then the other")
    if more and not append:
        raise SettingsError(f"`clean` takes no file {more[0]!r}", fix=f"llmrec clean --append {more[0]}")
    files = [os.path.abspath(each) for each in (*(append or ()), *(more or ()))]  # from where it was typed
    _stage(common, "clean", "llmrec pretrain", force=force, dry=check, append=files, rebuild=rebuild, **options)


PRETRAIN = ("architecture", "epochs", "dim", "layers", "max_length", "text_encoder", "init_from", "lm", "dp_epsilon")


@command(STAGES, settings=PRETRAIN)
def pretrain(
    common: Common,
    *,
    dry_run: DryRun = False,
    finish: Annotated[bool, typer.Option("--finish", help="Settle for the epochs done before Ctrl-C.")] = False,
    force: Force = False,
    **options: Any,
) -> None:
    """Train the sequence transformer on behaviour and on the items' texts.

    Reads clean. Writes item_vectors, item_text_vectors, encoder and pretrain_curve under WORK/pretrain/. Killed and
    run again, it continues after the last finished epoch. Under torchrun, many processes train as one.

    Example: llmrec pretrain --architecture bert --epochs 20
    """
    if options["init_from"]:
        options["init_from"] = str(Path(options["init_from"]).absolute())  # from where it was typed
    _stage(common, "pretrain", "llmrec profile", force=force, dry=dry_run, finish=finish, **options)


@command(STAGES, settings=("n_topics", "topic_model"))
def profile(
    common: Common,
    *,
    user: Annotated[list[str] | None, typer.Argument(metavar="show USER", help="Print the profile of a user.")] = None,
    force: Force = False,
    **options: Any,
) -> None:
    """Describe each user: vectors, interests, topics, affinities and demographics, for users without events too.

    Reads clean and pretrain. Writes profiles and topics under WORK/profile/.

    `profile show USER` changes nothing: it prints what is known of a user, as `show user` does.

    Example: llmrec profile && llmrec profile show 17048
    """
    if user:
        if len(user) != 2 or user[0] != "show":
            raise SettingsError("`profile` takes nothing, or `show USER`", fix="llmrec profile show USER")
        from llmrec_cli.commands import show
        from llmrec_cli.privacy.held import as_written

        (name,) = as_written(common.workdir, common.settings(), user[1:])
        shown = show.user(common.workdir, name)
        return common.console.either(shown.lines, shown.data)
    _stage(common, "profile", "llmrec train-ranker", force=force, **options)


@command(STAGES, "train-ranker", settings=("retrievers", "rankers"))
def train_ranker(common: Common, *, dry_run: DryRun = False, force: Force = False, **options: Any) -> None:
    """Fit candidate sources and rankers, compare them on each user's last event, keep the best.

    Reads clean, pretrain and profile. Writes retrievers, ranker, ranker_features and ranker_report under
    WORK/train-ranker/.

    Example: llmrec train-ranker --rankers fusion,lambdarank
    """
    _stage(common, "train-ranker", "llmrec generate", force=force, dry=dry_run, **options)


@command(STAGES, settings=("writer", "model"))
def generate(common: Common, *, dry_run: DryRun = False, force: Force = False, **options: Any) -> None:
    """Write item descriptions and taste summaries, each checked against the facts.

    Reads clean and profile. Writes item_texts, taste_texts and, where items have images, item_images under
    WORK/generate/.

    Example: llmrec models fetch smollm2-135m && llmrec generate --writer hf --model smollm2-135m
    """
    _stage(common, "generate", "llmrec recommend", force=force, dry=dry_run, **options)


@command(STAGES, settings=("k", "diversity", "max_per_category", "exclude"))
def recommend(
    common: Common,
    question: Question,
    *,
    shard: Shard = None,
    gather: Gather = False,
    dry_run: DryRun = False,
    format_: Annotated[str | None, typer.Option("--format", help="Also write parquet, csv or jsonl.")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="File of --format; - is stdout.")] = None,
    force: Force = False,
    **options: Any,
) -> None:
    """Make the top-k list of every user, each row with a reason.

    Reads clean, pretrain, profile and train-ranker. Writes recommendations under WORK/recommend/.

    With --user it answers for these users under the given options and leaves the work directory as it is; with
    --without as if the user had not chosen these items, the models unchanged, and it says what left the list; with
    --ask for items whose texts are near to these words. --history answers likewise for somebody who is in no log.
    --to-item prints what goes with an item, --to-users for whom it is; --exclude FILE keeps items out of all of it.
    --shard 3/7 makes a seventh of the lists, at once with the others on any machine; --gather puts them together.

    Example: llmrec recommend --user 17048      Example: llmrec recommend --format jsonl -o - | head -1
    """
    if options["exclude"]:
        options["exclude"] = os.path.abspath(options["exclude"])  # from where it was typed
    wanted, about = _agreed(common, format_, output), question.about()
    of_all = {"--shard": shard is not None, "--dry-run": dry_run, "--gather": gather}
    _alone([name for name, on in of_all.items() if on], bool(about), bool(wanted))
    if about in ("to_item", "to_users"):
        return asking.about_item(common, question, (wanted, output), force=force, **options)
    if about:
        return asking.answer(common, question, (wanted, output), force=force, **options)
    if shard is not None or gather:
        _in_shards(common, shard, gather=gather, force=force, **options)
    else:
        _stage(common, "recommend", "" if output == "-" else "llmrec report", force=force, dry=dry_run, **options)
    _export(common, wanted, output)


@command(STAGES, settings=("users",))
def report(common: Common, *, force: Force = False, **options: Any) -> None:
    """Draw the page to look at: lists with reasons, how they came about, the verdicts of backtests.

    Reads everything before it. Writes report.html under WORK/report/. `run` and `evaluate` draw it at their end.

    Example: llmrec report --users 1000
    """
    _stage(common, "report", f"open {common.work}/report/report.html, or `llmrec evaluate`", force=force, **options)


def _agreed(common: Common, format_: str | None, output: str | None) -> str | None:
    """The format of an export; loads nothing where none is asked for."""
    if format_ is None and output is None:
        return None
    from llmrec_cli.report import exports

    return exports.agreed(common.workdir, format_, output, as_json=common.as_json)


def _alone(of_all: list[str], asked: bool, exported: bool) -> None:
    """SettingsError where an option about all lists stands beside one that it does not go with."""
    if len(of_all) > 1 or (of_all and asked) or (exported and {"--shard", "--dry-run"} & {*of_all}):
        raise SettingsError(f"{of_all[0]} is about all lists", fix="leave out the other options about lists")


def _export(common: Common, format_: str | None, output: str | None) -> None:
    """Write the lists in a format too, where one is asked for."""
    if format_ is not None:
        from llmrec_cli.report import exports

        exports.export(common.workdir, format_, output)


def _in_shards(common: Common, shard: str | None, *, gather: bool, force: bool, **options: Any) -> None:
    """Make a shard of the lists, or put all together, and print what comes next."""
    from llmrec_cli.commands import sharding

    settings = common.settings("recommend", **options)
    context = common.context(settings, works=True)
    outcome, following = sharding.run(common.workdir, settings, context, shard, gather=gather, force=force)
    common.console.outcome(outcome)
    common.console.finish([outcome], str(common.work), following)
