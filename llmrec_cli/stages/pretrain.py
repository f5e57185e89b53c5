"""Train the sequence transformer on behaviour, with the items' texts, images and recordings fused into its item table.

Reads: clean/items, clean/sequences.
Writes: pretrain/item_vectors, item_text_vectors, encoder, encoder_validation, pretrain_curve, language_adapter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field, model_validator

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
)
from llmrec_cli.core.columns import ITEM
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.progress import sparkline
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.ticket import Source
from llmrec_cli.core.workdir import WorkDir, vectors

if TYPE_CHECKING:
    from llmrec_cli.data.interactions import Sequences
    from llmrec_cli.sequence.encoder import SequenceEncoder
    from llmrec_cli.sequence.training_plan import TrainingPlan
    from llmrec_cli.tensors.runtime import Epoch, Runtime

Auto = Literal["auto"]
Kind = Literal["text", "image", "audio"]
SEARCH, REFIT = "search", "refit"
WATCH = "ndcg@10"
KINDS: tuple[Kind, ...] = ("text", "image", "audio")


class PretrainConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[pretrain]`. "auto" is what suits the log and the other settings (`defaults.settled`)."""

    architecture: Literal["gpt", "bert"] = Field("gpt", description="causal (gpt) or masked items (bert)")
    dim: int = Field(128, ge=4, description="width of the model and of its vectors")
    layers: int = Field(2, ge=1, description="transformer blocks")
    heads: int = Field(2, ge=1, description="attention heads of a block")
    dropout: Auto | Annotated[float, Field(ge=0, lt=1)] = Field("auto", description="share of activations dropped")
    max_length: Auto | Annotated[int, Field(ge=2)] = Field("auto", description="newest events that the model looks at")
    positions: Literal["rotary", "relative", "learned", "none"] = Field(
        "rotary", description="how order is told: rotary, relative (a learned bias by distance), learned, none"
    )
    time_bias: bool = Field(False, description="also a learned attention bias by the time between events")
    target_time: bool = Field(
        False, description="with time_bias: tell the model when the next item is asked for; not comparable without"
    )
    loss: Literal["softmax", "sampled", "gbce"] = Field(
        "softmax", description="softmax over all items, over sampled ones (large catalogues), or gbce"
    )
    negatives: int = Field(1024, ge=1, description="random items that a step of the sampled losses shares")
    similarity: Literal["auto", "dot", "cosine"] = Field("auto", description="how a history meets an item")
    temperature: Auto | Annotated[float, Field(gt=0)] = Field("auto", description="similarities are divided by this")
    targets: Literal["all", "prefixes"] = Field(
        "all", description="learn at all positions of a history, or at the end of each of its prefixes"
    )
    item_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of items whose id is hidden in a step, so that content places new items"
    )
    epochs: Auto | Annotated[int, Field(ge=1)] = Field("auto", description="passes at most (auto: gpt 16, bert 40)")
    patience: int = Field(4, ge=0, description="epochs without a better NDCG@10 before it stops; 0 never stops early")
    learning_rate: Auto | Annotated[float, Field(gt=0)] = Field(
        "auto", description="highest learning rate, 0 after the last of `epochs` (auto: 0.002, with init_from 0.0002)"
    )
    tokens_per_step: int = Field(0, ge=0, description="events in a step; 0 chooses 256 to 2048 by the size of the data")
    text_encoder: str = Field(
        "auto",
        min_length=1,
        description="what reads titles: auto, minilm, hashed, a transformers folder, a hub name, or module:Class",
    )
    image_encoder: str = Field("", description="transformers folder or hub name of a vision model; empty: no images")
    audio_encoder: str = Field("", description="transformers folder or hub name of an audio model; empty: no audio")
    text_dim: int = Field(128, ge=1, description="principal directions of each kind of content that the model sees")
    content_weight: bool = Field(
        True, description="also score items by how alike their content is to the history's; validation weighs it"
    )
    init_from: str = Field("", description="work directory whose encoder is the start; its items keep their vectors")
    refit: bool = Field(True, description="train again on all events for the best number of epochs")
    validation_users: int = Field(10000, ge=1, description="users measured after each epoch at most")
    dp_epsilon: float = Field(0.0, ge=0, description="privacy budget of each user (opacus); 0: no private training")
    dp_delta: float = Field(0.0, ge=0, lt=1, description="chance that the budget does not hold; 0: 1 / users^1.1")
    lm: str = Field("", description="language model (folder or name) to tune on users' titles with LoRA; empty: none")
    lm_steps: int = Field(100, ge=1, description="training steps of the language model")
    lm_rank: int = Field(8, ge=1, description="rank of its adapter")

    @model_validator(mode="after")
    def _possible(self) -> PretrainConfig:
        if self.dim % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide dim = {self.dim}")
        if self.positions == "rotary" and self.dim // self.heads % 2:
            raise ValueError(f"rotary positions need an even dim / heads, not {self.dim} / {self.heads}")
        if self.target_time and not self.time_bias:
            raise ValueError("target_time needs time_bias = true")
        if self.dp_epsilon and self.init_from:
            raise ValueError("dp_epsilon protects nothing in a model that starts from another (init_from)")
        return self

    def encoders(self) -> dict[Kind, str]:
        """Kind of content -> its encoder; empty where that kind is not looked at."""
        return {kind: getattr(self, f"{kind}_encoder") for kind in KINDS}


def run(work: WorkDir, config: PretrainConfig, context: Context) -> Report:
    """Embed the content, search for the number of epochs without the newest events, refit on all of them."""
    from llmrec_cli.content import preprocessing
    from llmrec_cli.data.ranks import tie_order
    from llmrec_cli.sequence import background_refit, warm_start
    from llmrec_cli.sequence.validation import Validation, curve
    from llmrec_cli.tensors import runtime

    machine = runtime.start(context.device, context.threads)
    scratch = work.scratch("pretrain", context.ticket)
    report = Report()
    with _log(work, config, scratch) as (items, log):
        asked = Validation.sample(log, tie_order(items.column(ITEM).to_pylist()), config.validation_users, context.seed)
        with machine.accelerator.main_process_first():  # the others find the vectors in the cache
            content = _embed(items, config, context, report)
        reduced = np.concatenate([preprocessing.reduced(rows, config.text_dim) for rows in content.values()], axis=1)
        plan = _plan(config, context, log, machine=machine, content=reduced, scratch=scratch)
        report.lines.append(plan.describe())
        start, onwards = warm_start.starts(config.init_from, context.base, items.column(ITEM))
        with background_refit.begun(plan, REFIT, SEARCH, onwards, wanted=config.refit) as other:
            first, search = plan.train(SEARCH, 1, context.progress, start=start, asked=asked)
            best = runtime.best_epoch(search, "" if config.dp_epsilon else WATCH)
            other.settle(best, context.progress)
        report.lines += first.privacy_told()
        report.warnings += plan.warnings(best)
        searched = final = first.encoder()
        reached = search[best - 1].metrics[WATCH]
        # what is chosen on users' events would need a budget of its own
        if config.content_weight and not config.dp_epsilon:
            searched, reached = asked.liken(searched)
        refit: list[Epoch] = []
        if config.refit:
            second, refit = plan.train(REFIT, 0, context.progress, start=onwards, stop_after=best)
            final = second.encoder().likened(searched.content_weight)
            report.lines += second.privacy_told()
        report.lines += _language_model(work, config, context, machine, items=items, log=log)
        popularity = asked.popularity(first.lessons.all_counts())[WATCH]
    _write(work, items, content["text"], searched, final)
    work.write(PRETRAIN_CURVE, curve({SEARCH: search, REFIT: refit}))
    report.metrics |= {"ndcg@10": reached, "popularity_ndcg@10": popularity, "content_weight": searched.content_weight}
    return _describe(report, context.finish, search, best)


def estimate(work: WorkDir, config: PretrainConfig, context: Context) -> Report:
    """What `run` would cost on this machine: sizes, and the time of a few real steps."""
    from llmrec_cli.ingest import oddities
    from llmrec_cli.tensors import runtime

    machine = runtime.start(context.device, context.threads)
    scratch = work.scratch("pretrain", context.ticket)
    with _log(work, config, scratch) as (items, log):
        content = np.zeros((items.num_rows, config.text_dim), dtype=np.float32)  # its values cost a step no time
        plan = _plan(config, context, log, machine=machine, content=content, scratch=scratch)
        lines, metrics = plan.phase(SEARCH, 1).cost(runtime.describe(context.device), refit=config.refit)
    return Report(
        metrics=metrics, lines=[plan.describe(), *lines], warnings=oddities.catalogue(items.column("n_events"))
    )


def _plan(config: PretrainConfig, context: Context, log: Sequences, **given: Any) -> TrainingPlan:
    from llmrec_cli.sequence.training_plan import TrainingPlan

    given |= {"seed": context.seed, "max_memory": context.max_memory, "finish": context.finish}
    return TrainingPlan.of(config.model_dump(), 1 + config.refit, log, **given)


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


def _embed(items: pa.Table, config: PretrainConfig, context: Context, report: Report) -> dict[Kind, Floats]:
    """(items, t) centred vectors at unit length of each kind of content that is looked at."""
    from llmrec_cli.content import encoding

    where = context.base, context.device, context.progress
    found, lines, warnings = encoding.encode_items(items, config.encoders(), *where)
    report.lines += lines
    report.warnings += warnings
    return {kind: encoded.vectors for kind, encoded in found.items()}


def _write(work: WorkDir, items: pa.Table, text: Floats, searched: SequenceEncoder, final: SequenceEncoder) -> None:
    from llmrec_cli.tensors.checkpoints import bind

    ids = items.column(ITEM)
    for artifact, encoder in ((ENCODER_VALIDATION, searched), (ENCODER, final)):
        with work.writing(artifact) as folder:
            encoder.save(folder)
            bind(folder, ids.to_pylist())
    work.write(ITEM_VECTORS, pa.table({ITEM: ids, "vector": vectors(final.item_vectors)}))
    work.write(ITEM_TEXT_VECTORS, pa.table({ITEM: ids, "vector": vectors(text)}))


def _language_model(
    work: WorkDir, config: PretrainConfig, context: Context, machine: Runtime, *, items: pa.Table, log: Sequences
) -> list[str]:
    if not config.lm:
        return []
    from llmrec_cli.core.registry import load_function
    from llmrec_cli.sequence import TUNE_LANGUAGE_MODEL

    titles = [title or "" for title in items.column("title").to_pylist()]
    given: dict[str, Any] = {"rank": config.lm_rank, "steps": config.lm_steps, "seed": context.seed}
    given |= {"scratch": work.scratch("pretrain", context.ticket), "progress": context.progress}
    tuned = load_function(TUNE_LANGUAGE_MODEL)(log, titles, config.lm, machine=machine, **given)
    with work.writing(LANGUAGE_ADAPTER) as folder:
        tuned.save(folder)
    return [tuned.describe()]


def _sources(work: WorkDir, config: PretrainConfig, base: Path) -> Iterator[Source]:
    """Models and what the items name: the encoders, the encoder to start from, the language model, media files."""
    from llmrec_cli.content import encoder_files
    from llmrec_cli.tensors import model_store

    yield from encoder_files.sources(config.encoders(), work.read(ITEMS, ["image", "audio"]), base)
    if config.init_from:
        from llmrec_cli.sequence import warm_start

        yield Source("work directory of init_from", base, warm_start.needed(config.init_from, base))
    if config.lm:
        yield from model_store.source("language model", model_store.folder_of(config.lm))


def _ready(config: PretrainConfig, context: Context) -> None:
    from llmrec_cli.content import encoding
    from llmrec_cli.sequence import warm_start
    from llmrec_cli.tensors import model_store

    if config.init_from:
        warm_start.needed(config.init_from, context.base)
    encoding.ready(config.encoders(), context.base, context.device, context.progress)
    if config.lm:
        model_store.locate(config.lm)


def _describe(report: Report, cut_short: bool, search: list[Epoch], kept: int) -> Report:
    curve = [epoch.metrics[WATCH] for epoch in search]
    speed = float(np.median([epoch.targets_per_s for epoch in search]))
    report.metrics["best_epoch"], report.timings["targets_per_s"] = kept, speed
    which = "best" if curve[kept - 1] == max(curve) else "kept, whatever was measured:"
    report.lines += [
        f"NDCG@10 on each user's newest event by epoch: {sparkline(curve)}  "
        f"{which} {curve[kept - 1]:.4f} after {kept} epochs",
        f"with content similarity (weight {report.metrics['content_weight']:g}): {report.metrics[WATCH]:.4f}",
        *([f"settled for after {len(search)} epochs (--finish)"] if cut_short else []),
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
        LANGUAGE_ADAPTER,
    ),
    run=run,
    sources=_sources,
    ready=_ready,
    revision=7,
    threaded=True,
    estimate=estimate,
)
