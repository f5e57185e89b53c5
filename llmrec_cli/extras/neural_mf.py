"""Neural matrix factorisation: a product of embeddings beside a small network over both sides (He et al. 2017)."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import BaseModel, Field
from torch import nn
from torch.nn.functional import embedding_bag, softplus

from llmrec_cli.core.arrays import Floats
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.retrievers import DenseRetriever, Histories
from llmrec_cli.tensors.checkpoints import Tensors

BLOCK = 1 << 24
"""Hidden units of pairs at a time."""


class NeuralMFConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.neural-mf]`."""

    factors: int = Field(64, ge=1, description="width of the embeddings of the product, and of those of the network")
    hidden: int = Field(32, ge=1, description="width of the first hidden layer; the second has half of it")
    decay: float = Field(0.5, gt=0, le=1, description="weight of an event against the one after it, in a user's vector")
    newest: int = Field(30, ge=1, description="newest events of each user that are learnt from")
    negatives: int = Field(8, ge=1, description="items drawn for each event as not chosen")
    epochs: int = Field(10, ge=1, description="passes over these events")
    batch: int = Field(256, ge=1, description="events in a step")
    learning_rate: float = Field(0.01, gt=0, description="highest learning rate, falling to 0")
    weight_decay: float = Field(1.0, ge=0, description="decay of the weights")


class NeuralMF(DenseRetriever):
    """P(chosen) = sigmoid(w'(p_u * q_i) + MLP(p'_u, q'_i) + b_i).

    A user's embeddings are the decayed mean of embeddings of the history, so that a new history needs no training.
    """

    signed, label, evidence = True, "Like-minded people, by a network", "together"
    config: NeuralMFConfig
    network: nn.Module

    def __post_init__(self) -> None:
        self.network.eval()

    @classmethod
    def fit(cls, config: NeuralMFConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Network(len(catalogue), config)
            _train(network, sequences, config, seed)
        return cls(config, network)

    @torch.inference_mode()
    def score(self, histories: Histories) -> Floats:
        network: Any = self.network
        product, deep = network.users(_means(histories.sequences, self.config.decay))
        out = (product * network.weight) @ network.items.weight.T + network.bias.weight[:, 0]
        of_users, of_items = network.of_user(deep), network.of_item(network.deep_items.weight)
        step = max(1, BLOCK // max(of_items.numel(), 1))
        for start in range(0, len(out), step):
            pairs = of_users[start : start + step, None] + of_items[None]
            out[start : start + step] += network.rest(pairs)[..., 0]
        return np.asarray(out.numpy(), dtype=np.float32)

    def tensors(self) -> Tensors:
        return dict(self.network.state_dict())

    @classmethod
    def restore(cls, config: NeuralMFConfig, tensors: Tensors) -> Self:
        network = Network(len(tensors["bias.weight"]), config)
        network.load_state_dict(tensors)
        return cls(config, network)


class Network(nn.Module):
    """The two halves. The first layer of the network is a sum of a part of the user and one of the item."""

    def __init__(self, n_items: int, config: NeuralMFConfig) -> None:
        super().__init__()
        width, hidden = config.factors, config.hidden
        self.events, self.items, self.deep_events, self.deep_items = (nn.Embedding(n_items, width) for _ in range(4))
        for table in (self.events, self.items, self.deep_events, self.deep_items):
            nn.init.normal_(table.weight, std=0.1)
        self.bias = nn.Embedding(n_items, 1)
        nn.init.zeros_(self.bias.weight)
        self.weight = nn.Parameter(torch.ones(width))
        self.of_user, self.of_item = nn.Linear(width, hidden), nn.Linear(width, hidden, bias=False)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden // 2), nn.ReLU(), nn.Linear(hidden // 2, 1))

    def users(self, means: sp.csr_matrix) -> tuple[torch.Tensor, torch.Tensor]:
        """(users, factors) twice: the weighted sum of the embeddings of each row's items, zero for an empty row."""
        codes, offsets = torch.from_numpy(means.indices).long(), torch.from_numpy(means.indptr[:-1]).long()
        weights = torch.from_numpy(means.data)
        product, deep = (
            embedding_bag(codes, table.weight, offsets, mode="sum", per_sample_weights=weights)
            for table in (self.events, self.deep_events)
        )
        return product, deep

    def forward(self, means: sp.csr_matrix, items: torch.Tensor) -> torch.Tensor:
        """(users, n) log odds of `items` (users, n)."""
        product, deep = self.users(means)
        linear = ((product * self.weight)[:, None] * self.items(items)).sum(2) + self.bias(items)[..., 0]
        pairs = self.of_user(deep)[:, None] + self.of_item(self.deep_items(items))
        found: torch.Tensor = linear + self.rest(pairs)[..., 0]
        return found


def _means(sequences: Sequences, decay: float) -> sp.csr_matrix:
    """(users, items) shares of the items in each history, newer events more."""
    weights = sequences.matrix(decay)
    total = np.asarray(weights.sum(axis=1), dtype=np.float32).ravel()
    return (sp.diags_array(1 / np.maximum(total, 1e-9)) @ weights).astype(np.float32).tocsr()


def _train(network: Network, sequences: Sequences, config: NeuralMFConfig, seed: int) -> None:
    """Logistic loss of the newest events, each after those before it, against items drawn from all that were chosen."""
    parts, chosen = [], []
    for n in range(config.newest):
        some = np.flatnonzero(sequences.without_last(n).lengths > 1)
        if len(some):
            parts.append(_means(sequences.without_last(n + 1).select(some), config.decay))
            chosen.append(sequences.without_last(n).last()[some])
    if not parts:
        return
    means, positive = sp.vstack(parts, format="csr"), np.concatenate(chosen).astype(np.int64)
    known, rng = np.unique(sequences.codes), np.random.default_rng([seed, len(positive)])
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    for epoch in range(config.epochs):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * (1 - epoch / config.epochs)
        order = rng.permutation(len(positive))
        for start in range(0, len(order), config.batch):
            rows = order[start : start + config.batch]
            others = rng.choice(known, (len(rows), config.negatives))
            scores = network(means[rows], torch.from_numpy(np.column_stack([positive[rows], others])))
            loss = softplus(-scores[:, 0]).mean() + softplus(scores[:, 1:]).sum(1).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
