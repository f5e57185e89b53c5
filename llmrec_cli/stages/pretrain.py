"""Embed the items' texts and train the sequence transformer on what users did.

Reads: clean/items, clean/sequences
Writes: pretrain/item_vectors, item_text_vectors, encoder, encoder_validation, pretrain_curve
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, Field, model_validator

from llmrec_cli.core import workdir
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
from llmrec_cli.core.workdir import WorkDir

if TYPE_CHECKING:
    from llmrec_cli.models.encoders import TextEncoder
    from llmrec_cli.models.encoders.sequence import SequenceEncoder, Shape
    from llmrec_cli.models.runtime import Epoch, Runtime
    from llmrec_cli.tables.sequences import Sequences

Floats = npt.NDArray[np.float32]
WATCH = "ndcg@10"
# The seed's second part: each phase draws its own numbers
PHASES = {"search": 1, "refit": 2}


class PretrainConfig(BaseModel, frozen=True, extra="forbid"):
    architecture: Literal["gpt", "bert"] = Field("gpt", description="gpt predicts the next item; bert masked items")
    dim: int = Field(64, ge=8, le=1024, description="width of the item vectors and of the transformer")
    layers: int = Field(2, ge=1, le=24, description="transformer blocks")
    heads: int = Field(2, ge=1, le=32, description="attention heads; must divide dim")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of activations dropped in training")
    max_length: int = Field(50, ge=2, le=4096, description="how many of a user's newest events the model looks at")
    epochs: int = Field(20, ge=1, description="passes over the data at most; the learning rate reaches 0 at the last")
    patience: int = Field(3, ge=0, description="stop after so many epochs without a better validation; 0 = never")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate of AdamW")
    tokens_per_step: int = Field(0, ge=0, description="events in one step; 0 = chosen by the amount of data")
    text_encoder: str = Field("auto", description="auto, minilm, hashed, or the path of a transformers folder")
    text_dim: int = Field(128, ge=0, le=1024, description="text directions that the model sees; 0 = no text")
    refit: bool = Field(True, description="train again on every event after the best number of epochs is known")
    validation_users: int = Field(10_000, ge=1, description="users that the validation after each epoch asks about")

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> PretrainConfig:
        if self.dim % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide dim = {self.dim}")
        return self


@dataclass(frozen=True)
class Question:
    """What a training learns from, and the validation it is asked: histories and the item that came next."""

    learn: Sequences
    histories: Sequences
    targets: npt.NDArray[np.int64]


def run(work: WorkDir, config: PretrainConfig, context: Context) -> Report:
    from llmrec_cli.models import runtime
    from llmrec_cli.models.encoders.sequence import Shape
    from llmrec_cli.tables import sequences as histories

    machine = runtime.start(context.device, context.threads)
    shape = Shape(**config.model_dump(include=set(Shape.model_fields)))
    items = work.read(ITEMS)
    everything = histories.from_table(work.read(SEQUENCES, columns=["user_id", "item_ids"]), items)
    question = ask(everything, config.validation_users, np.random.default_rng([context.seed, 0]))
    text_vectors, text_name, warnings = embed(items, config, context)
    work.write(ITEM_TEXT_VECTORS, item_table(items, text_vectors))

    scratch = work.scratch("pretrain", context.ticket)
    trainer = Trainer(config, shape, text_input(text_vectors, config.text_dim), context, machine, scratch)
    searched, curve = trainer.search(question)
    with work.writing(ENCODER_VALIDATION) as folder:
        searched.save(folder)
    final = searched
    if config.refit:
        final, refitted = trainer.refit(everything, epochs=_best(curve).epoch)
        curve = {**curve, **refitted}
    with work.writing(ENCODER) as folder:
        final.save(folder)
    work.write(ITEM_VECTORS, item_table(items, final.item_vectors))
    work.write(PRETRAIN_CURVE, curve_table(curve))
    return report(curve, question, text_name, warnings)
