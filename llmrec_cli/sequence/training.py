"""Training of the sequence model: what an epoch reads, the item table with its content part, the choice of a loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from llmrec_cli.core.arrays import Ints
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.sequence import losses, packing
from llmrec_cli.sequence.cold_items import ColdItems
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.sequence.model_config import ModelConfig, Objective
from llmrec_cli.sequence.network import Transformer
from llmrec_cli.tensors.runtime import Batch

MASK_SHARE = 0.3
MIN_ROW = 64
PART = 1 << 20
"""Events that an epoch holds in memory at a time."""


class TrainingData:
    """What epochs read: the log without the newest events of each user, over the items that then occur.

    The log may lie on disk: no more than PART events of it are in memory at a time.
    """

    def __init__(self, log: Sequences, shape: ModelConfig, objective: Objective, withheld: int = 0) -> None:
        self.log, self.shape, self.objective, self.withheld = log, shape, objective, withheld
        self.row_length = max(MIN_ROW, shape.max_length)  # a whole history, or several short ones
        everyone = np.arange(len(log))
        counts = sum((part.counts() for part in self._parts(everyone)), np.zeros(log.n_items, dtype=np.int64))
        self.vocabulary: Ints = np.flatnonzero(counts)
        """Rows of the catalogue of the items that occur."""
        self.counts: Ints = counts[self.vocabulary]
        self._code = np.where(counts > 0, np.cumsum(counts > 0) - 1, -1).astype(np.int32)
        lengths = np.maximum(log.lengths - withheld, 0)
        learnt = lengths[lengths >= 2]
        self.targets = int((learnt - 1).sum())
        """Next items in an epoch."""
        self.tokens = self.targets
        """Tokens in an epoch, which is what takes time."""
        if shape.architecture == "bert":
            self.tokens = int(learnt.sum())
        elif objective.targets == "prefixes":
            m = shape.max_length
            inside = np.minimum(learnt - 1, m)
            self.tokens = int((inside * (inside + 1) // 2 + (learnt - 1 - inside) * m).sum())

    def all_counts(self) -> Ints:
        """(items,) events of every item of the catalogue."""
        counts = np.zeros(self.log.n_items, dtype=np.int64)
        counts[self.vocabulary] = self.counts
        return counts

    def steps(self, rows_per_step: int) -> int:
        """Steps of an epoch."""
        return -(-packing.row_count(self.tokens, self.row_length) // rows_per_step)

    def epoch(self, rows_per_step: int, seeds: tuple[int, ...], share: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """(items, targets, segments), maybe times, in random order; `share` = (process, processes): each n-th row."""
        rng = np.random.default_rng(seeds)
        order = rng.permutation(len(self.log))
        parts = (self._tokens(part, rng) for part in self._parts(order))
        process, processes = share
        for step in packing.steps(parts, self.row_length, rows_per_step, rng):
            mine = np.arange(process, len(step[0]), processes)
            mine = mine if len(mine) else np.array([0])  # every process takes part in every step
            yield tuple(torch.from_numpy(part[..., mine, :]) for part in step)

    def _parts(self, users: Ints) -> Iterator[Sequences]:
        """The histories of these users, in this order, without what is withheld, PART events at a time."""
        ends = np.cumsum(self.log.lengths[users])
        cuts = np.unique(np.searchsorted(ends, np.arange(PART, (ends[-1] if len(ends) else 0) + PART, PART)) + 1)
        start = 0
        for stop in np.minimum(cuts, len(users)):
            if stop > start:
                part = self.log.select(users[start:stop])
                yield part.without_last(self.withheld) if self.withheld else part
            start = stop

    def _tokens(self, part: Sequences, rng: np.random.Generator) -> packing.Tokens:
        compact = Sequences(self._code[part.codes], part.offsets, len(self.vocabulary), part.times)
        target_time = self.shape.target_time
        if self.shape.architecture == "bert":
            return packing.masked_item_tokens(compact, len(self.vocabulary), MASK_SHARE, rng)
        if self.objective.targets == "prefixes":
            return packing.prefix_tokens(compact, self.shape.max_length, target_time)
        return packing.next_item_tokens(compact, target_time)


class NextItemModel(nn.Module):
    """Item table (id embedding + projected content, tied to the output) under a transformer; forward gives the loss.

    Only items with events are rows of the table here; `encoder` adds the others.
    """

    def __init__(
        self, shape: ModelConfig, objective: Objective, content: torch.Tensor, counts: torch.Tensor, dtype: torch.dtype
    ) -> None:
        """`content` (vocabulary, t) float32, t = 0 where there is none; `counts` (vocabulary,) events of each item.

        `dtype`: see `losses.softmax_cross_entropy`.
        """
        super().__init__()
        self.shape, self.objective, self.dtype = shape, objective, dtype
        self.ids = nn.Embedding(len(content) + 1, shape.dim)
        self.projection = nn.Linear(content.shape[1], shape.dim, bias=False) if content.shape[1] else None
        self.network = Transformer(shape)
        self.register_buffer("content", content, persistent=False)
        self.register_buffer("frequency", counts / counts.sum(), persistent=False)
        nn.init.normal_(self.ids.weight, std=0.02)
        if self.projection is not None:
            nn.init.normal_(self.projection.weight, std=0.02)

    def forward(
        self, items: torch.Tensor, targets: torch.Tensor, segments: torch.Tensor, times: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean loss of the targets that are not NO_TARGET; all arguments (B, L), times (2, B, L)."""
        table = self.table()
        states = self.network(nn.functional.embedding(items, table), segments, times)
        wanted = targets != packing.NO_TARGET
        return self._loss(self.shape.scaled(states[wanted]), self.shape.compared(table[:-1]), targets[wanted])

    def table(self) -> torch.Tensor:
        """(vocabulary + 1, d); the last row is the mask token.

        In training the id embeddings of a random share of the items (`item_dropout`) are left out, so that the content
        alone learns to place an item, as it must for one that was never seen.
        """
        ids = self.ids.weight
        if self.training and self.objective.item_dropout:
            ids = ids * (torch.rand(len(ids), 1, device=ids.device) >= self.objective.item_dropout)
        if self.projection is None:
            return ids
        return ids + nn.functional.pad(self.projection(self.content).float(), (0, 0, 0, 1))

    def _loss(self, states: torch.Tensor, table: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        negatives = self.objective.negatives
        if self.objective.loss == "sampled":
            return losses.sampled_softmax(
                states, table, targets, negatives=negatives, frequency=self.get_buffer("frequency"), dtype=self.dtype
            )
        if self.objective.loss == "gbce":
            return losses.generalised_bce(states, table, targets, negatives)
        return losses.softmax_cross_entropy(states, table, targets, self.dtype)

    @torch.no_grad()
    def encoder(self, vocabulary: Ints, content: torch.Tensor, cold: ColdItems) -> SequenceEncoder:
        """The encoder over the whole catalogue: the content of items that were never trained places them.

        `vocabulary` holds the catalogue rows of the trained items, `content` (items, t) is of the whole catalogue.
        Without item dropout content was only ever seen together with an id, and the mean id stands in for it.
        """
        weights = self.ids.weight.float()
        unseen = torch.zeros_like(weights[0]) if self.objective.item_dropout else weights[:-1].mean(0)
        table = unseen.repeat(len(content) + 1, 1)
        table[torch.from_numpy(vocabulary).to(weights.device)] = weights[:-1]
        table[-1] = weights[-1]
        if self.projection is not None:
            table[:-1] += content.to(weights.device) @ self.projection.weight.float().T
        cold.place(table, torch.from_numpy(vocabulary).to(weights.device))
        return SequenceEncoder(self.shape, self.network, table, content)
