"""Train the sequence transformer on behaviour, with the items' texts, images and audio files fused into its item table.

Reads: clean/items, clean/sequences.
Writes: pretrain/item_vectors, item_text_vectors, encoder, encoder_validation, pretrain_curve, text_encoder,
    language_adapter, warm_start.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from llmrec_cli.content.item_content_config import ItemContentConfig, Modality
from llmrec_cli.core.arrays import Floats
from llmrec_cli.core.artifacts import (
    ENCODER,
    ENCODER_VALIDATION,
    ITEM_TEXT_VECTORS,
    ITEM_VECTORS,
    ITEMS,
    LANGUAGE_ADAPTER,
    PRETRAIN_CURVE,
    SEQUENCES,
    TEXT_ENCODER,
    WARM_START,
)
from llmrec_cli.core.columns import ITEM
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.progress import sparkline
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.ticket import Source
from llmrec_cli.core.workdir import WorkDir, vectors
from llmrec_cli.sequence.encoder_config import EncoderConfig

if TYPE_CHECKING:
    from llmrec_cli.data.interactions import Sequences
    from llmrec_cli.sequence.fitting import Fitted
    from llmrec_cli.sequence.text_tuning import TextTuner
    from llmrec_cli.sequence.training_plan import TrainingPlan
    from llmrec_cli.sequence.validation import Validation
    from llmrec_cli.tensors.runtime import Runtime

SEARCH = "search"
WATCH = "ndcg@10"


class Data(NamedTuple):
    """What a run reads, and the users that it is validated on."""

    items: pa.Table
    log: Sequences
    validation: Validation


class PretrainConfig(ItemContentConfig, EncoderConfig, frozen=True, extra="forbid"):
    """Settings of `[pretrain]`: those of the sequence model (`sequence/encoder_config.py`), and what it reads."""

    @model_validator(mode="after")
    def _private(self) -> Self:
        if self.dp_epsilon and self.tune_text:
            raise ValueError("dp_epsilon does not cover tune_text: set tune_text = false")
        return self


def run(work: WorkDir, config: PretrainConfig, context: Context) -> Report:
    """Embed the content, search for the number of epochs without the newest events, refit on all of them."""
    from llmrec_cli.content import preprocessing
    from llmrec_cli.data.ranks import tie_order
    from llmrec_cli.sequence import warm_start
    from llmrec_cli.sequence.fitting import Fitting
    from llmrec_cli.sequence.validation import Validation, curve
    from llmrec_cli.tensors import runtime

    machine = runtime.start(context.device, context.threads)
    scratch = work.scratch("pretrain", context.ticket)
    report = Report()
    with _log(work, config, scratch) as (items, log):
        ties = tie_order(items.column(ITEM).to_pylist())
        data = Data(items, log, Validation.sample(log, ties, config.validation_users, context.seed))
        vectors = _embed(work, data, config, context, machine, report=report)
        plan = _plan(config, context, log, vectors, scratch)
        report.lines.append(plan.describe())
        # what is chosen on users' events would need a budget of its own
        weigh = bool(config.content_weight) and not config.dp_epsilon
        fitting = Fitting(plan, machine, data.validation, context.progress, config.refit, weigh)
        ids, folder = items.column(ITEM), warm_start.earlier(work, config)
        before = warm_start.load(folder, ids) if folder else None
        start = warm_start.load(warm_start.named(config.init_from, context.base), ids) if config.init_from else None
        fitted = fitting.fit(before, start, always=config.warm == "always")
        report.lines += [*fitted.lines, *_language_model(work, data, config, context, machine)]
        popularity = data.validation.popularity(fitted.counts)[WATCH]
    if folder is not None:
        warm_start.keep(work, folder)
    _write(work, items, preprocessing.joined_kinds(list(vectors.values())), fitted)
    work.write(PRETRAIN_CURVE, curve(fitted.curves))
    weight = fitted.searched.content_weight
    report.metrics |= {"ndcg@10": fitted.reached, "popularity_ndcg@10": popularity, "content_weight": weight}
    report.metrics["warm"] = float(fitted.warm)
    return _describe(report, fitted)


def estimate(work: WorkDir, config: PretrainConfig, context: Context) -> Report:
    """What `run` would cost on this machine: sizes, and the time of a few real steps."""
    from llmrec_cli.ingest import oddities
    from llmrec_cli.sequence.trainer import Trainer
    from llmrec_cli.sequence.validation import Validation
    from llmrec_cli.tensors import runtime

    machine = runtime.start(context.device, context.threads)
    scratch = work.scratch("pretrain", context.ticket)
    with _log(work, config, scratch) as (items, log):
        content = np.zeros((items.num_rows, config.text_dim), dtype=np.float32)  # its values cost a step no time
        plan = _plan(config, context, log, {"text": content}, scratch)
        lines, metrics = Trainer(plan, machine, SEARCH, withheld=1).cost(
            runtime.describe(context.device), refit=config.refit
        )
        if config.tune_text:
            data = Data(items, log, Validation.sample(log, np.arange(items.num_rows), 1, context.seed))
            line, metrics["tune_text_seconds"] = _tuner(work, data, config, context).cost(machine)
            lines.append(line)
    return Report(
        metrics=metrics, lines=[plan.describe(), *lines], warnings=oddities.catalogue(items.column("n_events"))
    )


def _plan(
    config: PretrainConfig, context: Context, log: Sequences, vectors: Mapping[Modality, Floats], scratch: Path
) -> TrainingPlan:
    from llmrec_cli.content import preprocessing
    from llmrec_cli.sequence.training_plan import TrainingPlan, training_config

    content = np.concatenate([preprocessing.reduced(each, config.text_dim) for each in vectors.values()], axis=1)
    return TrainingPlan(
        training_config(config, log), log, content, context.seed, context.max_memory, scratch, context.finish
    )


@contextmanager
def _log(work: WorkDir, config: PretrainConfig, scratch: Path) -> Iterator[tuple[pa.Table, Sequences]]:
    """The items, and the log as codes that lie in files without a name: it may be larger than memory."""
    from tempfile import TemporaryFile

    from llmrec_cli.data.interactions import from_batches

    items = work.read(ITEMS)
    columns = ["item_codes", "times"] if config.time_bias else ["item_codes"]
    with TemporaryFile(dir=scratch) as codes, TemporaryFile(dir=scratch) as times:
        log = from_batches(work.batches(SEQUENCES, columns=columns), items, codes, times)
        if config.time_bias and log.times is None:
            raise DataError("time_bias needs the time of every event", where=SEQUENCES.path, fix="time_bias = false")
        yield items, log


def _embed(
    work: WorkDir, data: Data, config: PretrainConfig, context: Context, machine: Runtime, *, report: Report
) -> dict[Modality, Floats]:
    """Modality of content -> (items, t) vectors at unit length; those of texts as validation chooses, where tuned."""
    from llmrec_cli.content import encoding

    where = context.base, context.device, context.progress
    with machine.accelerator.main_process_first():  # the others find the vectors in the cache
        found, lines, warnings = encoding.encode_items(data.items, config.encoders(), *where)
    vectors: dict[Modality, Floats] = {kind: encoded.vectors for kind, encoded in found.items()}
    if config.tune_text:
        choice = _tuner(work, data, config, context).choose(vectors["text"], machine, context.progress)
        vectors["text"], lines = choice.vectors, [*lines, choice.line]
        if choice.folder is not None:
            with work.writing(TEXT_ENCODER) as folder:
                shutil.copytree(choice.folder, folder, dirs_exist_ok=True)
    report.lines += lines
    report.warnings += warnings
    return vectors


def _tuner(work: WorkDir, data: Data, config: PretrainConfig, context: Context) -> TextTuner:
    from llmrec_cli.content import encoder_files, text
    from llmrec_cli.sequence.text_tuning import TextTuner, TextTuning

    name = encoder_files.chosen(config.encoders(), data.items)["text"]
    encoder = text.tunable(name, context.device, context.base, context.progress.log)
    scratch = work.scratch("pretrain", context.ticket)
    tuning = TextTuning(config.tune_text_layers, config.tune_text_steps, context.seed, scratch)
    return TextTuner(encoder, data.items, data.log, data.validation, tuning)


def _write(work: WorkDir, items: pa.Table, text: Floats, fitted: Fitted) -> None:
    from llmrec_cli.sequence.warm_start import FULL_FIT
    from llmrec_cli.tensors.checkpoints import bind, note

    ids = items.column(ITEM)
    for artifact, encoder in ((ENCODER_VALIDATION, fitted.searched), (ENCODER, fitted.final)):
        with work.writing(artifact) as folder:
            encoder.save(folder)
            bind(folder, ids.to_pylist())
            note(folder, FULL_FIT, fitted.full_fit)
    work.write(ITEM_VECTORS, pa.table({ITEM: ids, "vector": vectors(fitted.final.item_vectors)}))
    work.write(ITEM_TEXT_VECTORS, pa.table({ITEM: ids, "vector": vectors(text)}))


def _language_model(work: WorkDir, data: Data, config: PretrainConfig, context: Context, machine: Runtime) -> list[str]:
    if not config.lm:
        return []
    from llmrec_cli.sequence import optional

    titles = [title or "" for title in data.items.column("title").to_pylist()]
    scratch = work.scratch("pretrain", context.ticket)
    tuning = optional.LanguageTuning(config.lm, config.lm_rank, config.lm_steps, context.seed, scratch, context.base)
    tuned = optional.tune_language_model()(data.log, titles, tuning, machine, context.progress)
    with work.writing(LANGUAGE_ADAPTER) as folder:
        tuned.save(folder)
    return [tuned.describe()]


def _sources(work: WorkDir, config: PretrainConfig, base: Path) -> Iterator[Source]:
    """Models and what the items name: the encoders, the encoder to start from, the language model, media files."""
    from llmrec_cli.content import encoder_files
    from llmrec_cli.sequence import warm_start
    from llmrec_cli.tensors import model_store

    yield from encoder_files.sources(config.encoders(), work.read(ITEMS, ["title", "image", "audio"]), base)
    if folder := warm_start.earlier(work, config):
        yield Source("encoder of before the append", folder, warm_start.files(folder))
    if config.init_from:
        yield Source("work directory of init_from", base, warm_start.needed(config.init_from, base))
    if config.lm:
        yield from model_store.source("language model", model_store.folder_of(config.lm, base))


def _ready(config: PretrainConfig, context: Context) -> None:
    from llmrec_cli.content import encoding, text
    from llmrec_cli.sequence import warm_start
    from llmrec_cli.tensors import model_store

    if config.init_from:
        warm_start.needed(config.init_from, context.base)
    encoding.ready(config.encoders(), context.base, context.device, context.progress)
    if config.tune_text:
        text.tunable(config.text_encoder, context.device, context.base, context.progress.log)
    if config.lm:
        model_store.locate(config.lm, context.base)


def _describe(report: Report, fitted: Fitted) -> Report:
    plan, kept, search = fitted.plan, fitted.best, fitted.curves[SEARCH]
    report.warnings += [] if fitted.warm else plan.warnings(kept)
    curve = [epoch.metrics[WATCH] for epoch in search]
    speed = float(np.median([epoch.targets_per_s for epoch in search]))
    report.metrics["best_epoch"], report.timings["targets_per_s"] = kept, speed
    which = "best" if curve[kept - 1] == max(curve) else "kept, whatever was measured:"
    report.lines += [
        f"NDCG@10 on each user's newest event by epoch: {sparkline(curve)}  "
        f"{which} {curve[kept - 1]:.4f} after {kept} epochs",
        f"with content similarity (weight {report.metrics['content_weight']:g}): {report.metrics[WATCH]:.4f}",
        *([f"settled for after {len(search)} epochs (--finish)"] if plan.finish else []),
        f"popularity: {report.metrics['popularity_ndcg@10']:.4f} on the same events; {speed:,.0f} targets/s",
    ]
    return report


STAGE = Stage(
    "pretrain",
    PretrainConfig,
    reads=(ITEMS, SEQUENCES),
    writes=(
        ITEM_VECTORS,
        ITEM_TEXT_VECTORS,
        ENCODER,
        ENCODER_VALIDATION,
        PRETRAIN_CURVE,
        TEXT_ENCODER,
        LANGUAGE_ADAPTER,
        WARM_START,
    ),
    run=run,
    sources=_sources,
    ready=_ready,
    revision=10,
    threaded=True,
    estimate=estimate,
)
