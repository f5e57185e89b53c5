"""Train the sequence transformer on behaviour, with the items' texts fused into its item table.

Reads: clean/items, clean/sequences.
Writes: pretrain/item_vectors, item_text_vectors, encoder, encoder_validation, pretrain_curve.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, Field, model_validator

from llmrec_cli.core.artifacts import (
    ENCODER,
    ENCODER_VALIDATION,
    ITEM_TEXT_VECTORS,
    ITEM_VECTORS,
    ITEMS,
    PRETRAIN_CURVE,
    SEQUENCES,
)
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.workdir import WorkDir, vectors

if TYPE_CHECKING:
    from llmrec_cli.models.encoders.sequence import SequenceEncoder, Shape
    from llmrec_cli.models.runtime import Epoch, Runtime
    from llmrec_cli.tables.sequences import Sequences

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
SEARCH, REFIT = "search", "refit"
WATCH = "ndcg@10"


class PretrainConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[pretrain]`."""

    architecture: Literal["gpt", "bert"] = Field("gpt", description="gpt (causal) or bert (masked items)")
    dim: int = Field(64, ge=4, description="width of the model and of its vectors")
    layers: int = Field(2, ge=1, description="transformer blocks")
    heads: int = Field(2, ge=1, description="attention heads of a block")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of activations dropped in training")
    max_length: int = Field(50, ge=2, description="newest events of a user that the model looks at")
    epochs: int = Field(16, ge=1, description="passes over the events at most; the learning rate falls to 0 by then")
    patience: int = Field(
        4, ge=0, description="stop after this many epochs without a better NDCG@10; 0 never stops early"
    )
    learning_rate: float = Field(2e-3, gt=0, description="highest learning rate")
    tokens_per_step: int = Field(0, ge=0, description="events in a step; 0 chooses 256 to 2048 by the size of the data")
    text_encoder: str = Field("auto", description="auto, minilm, hashed, a transformers folder, or module:Class")
    text_dim: int = Field(128, ge=1, description="principal directions of the text vectors that the model sees")
    refit: bool = Field(True, description="train again on all events for the best number of epochs")
    validation_users: int = Field(10000, ge=1, description="users measured after each epoch at most")

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> PretrainConfig:
        if self.dim % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide dim = {self.dim}")
        return self


def run(work: WorkDir, config: PretrainConfig, context: Context) -> Report:
    """Embed the texts, search for the number of epochs without the newest events, refit on all of them."""
    from llmrec_cli.models import runtime
    from llmrec_cli.models.encoders import fusion
    from llmrec_cli.tables import sequences as tables

    machine = runtime.start(context.device, context.threads)
    items = work.read(ITEMS)
    everything = tables.from_table(work.read(SEQUENCES, columns=["item_ids"]), items)
    past, histories, targets = _without_newest(everything, config, context.seed)
    report = Report()
    scratch = work.scratch("pretrain", context.ticket)
    text_vectors = _embed(items, config, context, scratch, report)
    text = fusion.reduced(text_vectors, config.text_dim)

    training = _Training(config, context, machine, text, scratch)
    searched, search = training.train(SEARCH, past, validation=(histories, targets))
    best = runtime.best_epoch(search, WATCH)
    final, refit = training.train(REFIT, everything, stop_after=best) if config.refit else (searched, [])

    ids = items.column("item_id")
    with work.writing(ENCODER_VALIDATION) as folder:
        searched.save(folder)
    with work.writing(ENCODER) as folder:
        final.save(folder)
    work.write(ITEM_VECTORS, pa.table({"item_id": ids, "vector": vectors(final.item_vectors)}))
    work.write(ITEM_TEXT_VECTORS, pa.table({"item_id": ids, "vector": vectors(text_vectors)}))
    work.write(PRETRAIN_CURVE, _curve({SEARCH: search, REFIT: refit}))
    return _told(report, search, best, _popularity(past, histories, targets))


class _Training:
    """What both phases share; each phase is one training from its own seed."""

    def __init__(self, config: PretrainConfig, context: Context, machine: Runtime, text: Floats, scratch: Path) -> None:
        self.config, self.context, self.machine, self.text, self.scratch = config, context, machine, text, scratch

    def train(
        self,
        phase: str,
        sequences: Sequences,
        validation: tuple[Sequences, Ints] | None = None,
        stop_after: int | None = None,
    ) -> tuple[SequenceEncoder, list[Epoch]]:
        from llmrec_cli.models import runtime
        from llmrec_cli.models.encoders import batches, training

        shape, seeds = _shape(self.config), (self.context.seed, (SEARCH, REFIT).index(phase))
        compact, vocabulary = training.compact(sequences)
        targets = training.count_targets(compact, shape)
        rows = max(1, (self.config.tokens_per_step or tokens_per_step(targets)) // training.row_length(shape))
        steps = -(-batches.row_count(targets, training.row_length(shape)) // rows)
        runtime.seed_everything(*seeds)
        text = runtime.tensor(self.text)
        model = training.NextItemModel(shape, text[runtime.tensor(vocabulary)], self.machine.dtype)
        accelerator = self.machine.accelerator
        share = (accelerator.process_index, accelerator.num_processes)
        job = runtime.Job(
            name=phase,
            seeds=seeds,
            schedule=runtime.Schedule(self.config.epochs, steps, self.config.learning_rate),
            batches=lambda epoch: training.epoch_batches(compact, shape, rows, (*seeds, epoch), share),
            targets=targets,
            evaluate=(lambda: _measure(model.encoder(vocabulary, text), *validation)) if validation else None,
            watch=WATCH if validation else "",
            patience=self.config.patience,
            stop_after=stop_after,
            checkpoint=self.scratch / f"{phase}.safetensors",
        )
        history = runtime.train(model, job, self.machine, self.context.progress)
        return model.encoder(vocabulary, text), history


def tokens_per_step(targets: int) -> int:
    """About 150 steps an epoch, of 256 to 2,048 tokens: few data need many small steps, many pay for large ones."""
    return int(np.clip(targets // 150, 256, 2048))


def _shape(config: PretrainConfig) -> Shape:
    from llmrec_cli.models.encoders.sequence import Shape

    return Shape(**{name: getattr(config, name) for name in Shape.model_fields})


def _embed(items: pa.Table, config: PretrainConfig, context: Context, scratch: Path, report: Report) -> Floats:
    """(items, t) centred text vectors at unit length, zero without text. Kept for a killed run's return."""
    from llmrec_cli.models import checkpoints, runtime
    from llmrec_cli.models.encoders import fusion, text

    texts = text.item_texts(items)
    kept = scratch / "texts.safetensors"
    with context.progress.task("pretrain texts", total=sum(map(bool, texts)), unit="texts") as task:
        encoder = text.build(config.text_encoder, context.device, task.advance)
        if not kept.exists():
            checkpoints.save_state(kept, {"vectors": runtime.tensor(fusion.centred(encoder.encode(texts)))}, {})
    found: Floats = checkpoints.load_state(kept)[0]["vectors"].numpy()
    report.lines.append(
        f"item texts: {sum(map(bool, texts)):,} of {len(texts):,} by {encoder.name}, {found.shape[1]} wide"
    )
    if config.text_encoder == "auto" and text.minilm_folder() is None:
        report.warnings.append(f"texts are encoded by {encoder.name}; a sentence encoder is better: {text.INSTALL}")
    return found


def _without_newest(everything: Sequences, config: PretrainConfig, seed: int) -> tuple[Sequences, Sequences, Ints]:
    """(histories to search on, histories of the measured users, their newest items)."""
    past = everything.without_last()
    if not (past.lengths >= 2).any():
        raise DataError(
            "no user has three events: there is nothing to learn an order from",
            where="clean/sequences",
            fix="lower clean.min_item_events, widen clean.interactions.where, or bring a longer log",
        )
    users = np.flatnonzero(past.lengths >= 1)
    if len(users) > config.validation_users:
        rng = np.random.default_rng([seed, len(users)])
        users = np.sort(rng.choice(users, config.validation_users, replace=False))
    return past, past.select(users), everything.last()[users].astype(np.int64)


def _measure(encoder: SequenceEncoder, histories: Sequences, targets: Ints) -> dict[str, float]:
    """Recall and NDCG at 10 of the newest items, in a full ranking without what was seen."""
    from llmrec_cli.models.encoders import validation

    states, table = encoder.encode(histories), encoder.item_vectors.T
    ranks = validation.target_ranks(lambda start, stop: states[start:stop] @ table, histories, targets)
    return validation.recall_and_ndcg(ranks)


def _popularity(past: Sequences, histories: Sequences, targets: Ints) -> float:
    """NDCG@10 of the most frequent items, for comparison."""
    from llmrec_cli.models.encoders import validation

    counts = past.counts().astype(np.float32)
    ranks = validation.target_ranks(
        lambda start, stop: np.broadcast_to(counts, (stop - start, len(counts))), histories, targets
    )
    return validation.recall_and_ndcg(ranks)[WATCH]


def _curve(phases: dict[str, list[Epoch]]) -> pa.Table:
    rows: list[dict[str, Any]] = [
        {
            "phase": phase,
            "epoch": epoch.epoch,
            "loss": epoch.loss,
            "recall": epoch.metrics.get("recall@10"),
            "ndcg": epoch.metrics.get(WATCH),
            "targets_per_s": epoch.targets_per_s,
        }
        for phase, epochs in phases.items()
        for epoch in epochs
    ]
    return pa.Table.from_pylist(rows, schema=PRETRAIN_CURVE.schema)


def _told(report: Report, search: list[Epoch], best: int, popularity: float) -> Report:
    reached = search[best - 1].metrics[WATCH]
    curve = [epoch.metrics[WATCH] for epoch in search]
    speed = float(np.median([epoch.targets_per_s for epoch in search]))
    report.metrics |= {"ndcg@10": reached, "popularity_ndcg@10": popularity, "best_epoch": best, "targets_per_s": speed}
    report.lines += [
        f"NDCG@10 on each user's newest event by epoch: {sparkline(curve)}  best {reached:.4f} after {best} epochs",
        f"popularity reaches {popularity:.4f} on the same events; {speed:,.0f} targets/s",
    ]
    return report


def sparkline(values: list[float]) -> str:
    """A learning curve in one line of text."""
    bars, low, high = "▁▂▃▄▅▆▇█", min(values), max(values)
    return "".join(bars[int((value - low) / ((high - low) or 1) * (len(bars) - 1))] for value in values)


STAGE = Stage(
    "pretrain",
    PretrainConfig,
    reads=(ITEMS, SEQUENCES),
    writes=(ITEM_VECTORS, ITEM_TEXT_VECTORS, ENCODER, ENCODER_VALIDATION, PRETRAIN_CURVE),
    run=run,
)
