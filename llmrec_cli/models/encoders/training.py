"""Training of the sequence model: the item table with its text part, packed batches of an epoch, full softmax."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from llmrec_cli.models.encoders import batches
from llmrec_cli.models.encoders.sequence import SequenceEncoder, Shape
from llmrec_cli.models.losses import softmax_cross_entropy
from llmrec_cli.models.runtime import Batch
from llmrec_cli.tables.sequences import Sequences

Floats = npt.NDArray[np.float32]
MASK_SHARE = 0.3
MIN_ROW = 64


class NextItemModel(nn.Module):
    """Item table (id embedding + projected text, tied to the output) under a transformer; forward gives the loss.

    Only items with events are rows of the table here; `encoder` adds the others.
    """

    def __init__(self, shape: Shape, text: torch.Tensor, dtype: torch.dtype) -> None:
        """`text` is (vocabulary, t) float32, t = 0 where there is none. `dtype`: see `softmax_cross_entropy`."""
        super().__init__()
        self.shape, self.dtype = shape, dtype
        self.ids = nn.Embedding(len(text) + 1, shape.dim)
        self.projection = nn.Linear(text.shape[1], shape.dim, bias=False) if text.shape[1] else None
        self.network = shape.network()
        self.register_buffer("text", text, persistent=False)
        nn.init.normal_(self.ids.weight, std=0.02)
        if self.projection is not None:
            nn.init.normal_(self.projection.weight, std=0.02)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the targets that are not NO_TARGET; all arguments (B, L)."""
        table = self.table()
        states = self.network(nn.functional.embedding(tokens, table), segments)
        wanted = targets != batches.NO_TARGET
        return softmax_cross_entropy(states[wanted], table[:-1], targets[wanted], self.dtype)

    def table(self) -> torch.Tensor:
        """(vocabulary + 1, d); the last row is the mask token."""
        if self.projection is None:
            return self.ids.weight
        text = self.projection(self.text)
        return self.ids.weight + nn.functional.pad(text, (0, 0, 0, 1))

    @torch.no_grad()
    def encoder(self, vocabulary: npt.NDArray[np.int64], text: torch.Tensor) -> SequenceEncoder:
        """The encoder over the whole catalogue: items that were never trained get the mean id embedding and their text.

        `vocabulary` holds the catalogue rows of the trained items, `text` (items, t) is of the whole catalogue.
        """
        weights = self.ids.weight.float()
        table = weights[:-1].mean(0).repeat(len(text) + 1, 1)
        table[torch.from_numpy(vocabulary).to(weights.device)] = weights[:-1]
        table[-1] = weights[-1]
        if self.projection is not None:
            table[:-1] += text.to(weights.device) @ self.projection.weight.float().T
        return SequenceEncoder(self.shape, self.network, table)


def row_length(shape: Shape) -> int:
    """Length of a packed row: a whole history, or several short ones."""
    return max(MIN_ROW, shape.max_length)


def compact(sequences: Sequences) -> tuple[Sequences, npt.NDArray[np.int64]]:
    """The same histories over the items that occur in them, and those items' rows in the catalogue."""
    counts = sequences.counts()
    vocabulary = np.flatnonzero(counts)
    codes = (np.cumsum(counts > 0) - 1)[sequences.codes].astype(np.int32)
    return Sequences(codes, sequences.offsets, len(vocabulary)), vocabulary


def count_targets(sequences: Sequences, shape: Shape) -> int:
    """Tokens that an epoch packs: for "gpt" each is a target, for "bert" a share of them."""
    lengths = sequences.lengths[sequences.lengths >= 2]
    return int((lengths - 1 if shape.architecture == "gpt" else lengths).sum())


def epoch_batches(
    sequences: Sequences, shape: Shape, rows_per_step: int, seeds: tuple[int, ...], share: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """(tokens, targets, segments) of one epoch in random order; `share` = (process, processes) takes every n-th row."""
    rng = np.random.default_rng(seeds)
    length = row_length(shape)
    if shape.architecture == "gpt":
        rows = batches.next_item_rows(sequences, length, rng)
    else:
        rows = batches.masked_item_rows(sequences, length, sequences.n_items, MASK_SHARE, rng)
    process, processes = share
    for start in range(0, len(rows), rows_per_step):
        mine = np.arange(start + process, min(start + rows_per_step, len(rows)), processes)
        mine = mine if len(mine) else np.array([start])  # every process takes part in every step
        yield tuple(torch.from_numpy(part[mine]) for part in (rows.tokens, rows.targets, rows.segments))
