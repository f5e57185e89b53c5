"""Matrix factorisation and deep learning together: a linear part and a small network over all features."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import nn

from llmrec_cli.core.arrays import Floats, Ints, within_groups
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.rankers import BaseRanker
from llmrec_cli.ranking.rankers.conditional_logit import (
    BELOW,
    Fusion,
    FusionConfig,
    centred,
    conditional_loss,
    labelled,
    spreads,
)
from llmrec_cli.tensors.checkpoints import Tensors, under


class DeepConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.ranker.wide-deep]`."""

    hidden: int = Field(64, ge=1, description="width of the hidden layer")
    epochs: int = Field(8, ge=1, description="passes over the users")
    learning_rate: float = Field(3e-3, gt=0, description="highest learning rate, falling to 0")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of hidden units dropped in training")
    batch_users: int = Field(256, ge=1, description="users in a step")
    max_users: int = Field(20000, ge=1, description="users that the network is fitted on at most")
    top: int = Field(
        100, ge=2, description="candidates of a user, the best by a linear fusion, that the network orders"
    )


class WideDeep(BaseRanker):
    """score = wide + deep over standardised features, the factors' product among them (NeuMF, He et al. 2017).

    The wide part starts at the weights of `fusion`, the deep part at zero; both learn by the softmax over the fusion's
    best candidates, and order those. The others stay behind, as the fusion has them.
    """

    config: DeepConfig
    linear: Fusion
    network: nn.Module
    weights: torch.Tensor
    """(features,) of the wide part."""
    spread: torch.Tensor
    """(features,) that of `spreads`."""

    def __post_init__(self) -> None:
        self.network.eval()

    @classmethod
    def fit(cls, config: DeepConfig, candidates: Candidates, seed: int) -> Self:
        linear = Fusion.fit(FusionConfig(), candidates, seed)
        kept = candidates.keep(candidates.ranks(linear.score(candidates)) < config.top)
        sample = labelled(kept, config.max_users, seed)
        weights, spread = torch.from_numpy(linear.weights.copy()), torch.from_numpy(linear.spread)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _network(len(candidates.names), config)
            if len(sample):
                x = _inputs(sample.features, linear)
                weights = _train(network, weights, x, sample, config=config, seed=seed)
                spread = torch.from_numpy(spreads(x.numpy(), weights.numpy(), sample.names, sample.offsets))
        return cls(config, linear, network, weights, spread)

    @torch.inference_mode()
    def score(self, candidates: Candidates) -> Floats:
        scores = self.linear.score(candidates)
        top = np.flatnonzero(candidates.ranks(scores) < self.config.top)
        out = scores - np.float32(BELOW)
        for start in range(0, len(top), 1 << 18):
            rows = top[start : start + (1 << 18)]
            x = _inputs(candidates.features[rows], self.linear)
            out[rows] = (self.network(x)[:, 0] + x @ self.weights).numpy()
        return out

    def parts(self, candidates: Candidates, rows: Ints) -> Floats:
        """By the slope of wide and deep part at the row: how much a feature would take with it, were it as usual."""
        x = _inputs(candidates.features[rows], self.linear).requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad((self.network(x)[:, 0] + x @ self.weights).sum(), x)
        return np.asarray(slope.numpy() * centred(candidates, rows) / self.linear.std, dtype=np.float32)

    def importance(self) -> Floats:
        """Of the wide part; what the deep part adds is not in it."""
        return self.spread.numpy()

    def tensors(self) -> Tensors:
        linear = {f"linear.{name}": value for name, value in self.linear.tensors().items()}
        wide = {"weights": self.weights, "spread": self.spread}
        return {**linear, **wide, **self.network.state_dict(prefix="network.")}

    @classmethod
    def restore(cls, config: DeepConfig, tensors: Tensors) -> Self:
        linear = Fusion.restore(FusionConfig(), under("linear.", tensors))
        network = _network(len(linear.mean), config)
        network.load_state_dict(under("network.", tensors))
        return cls(config, linear, network, tensors["weights"], tensors["spread"])


def _inputs(features: Floats, linear: Fusion) -> torch.Tensor:
    return torch.from_numpy(((features - linear.mean) / linear.std).astype(np.float32))


def _network(n_features: int, config: DeepConfig) -> nn.Sequential:
    last = nn.Linear(config.hidden, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(n_features, config.hidden), nn.GELU(), nn.Dropout(config.dropout), last)


def _train(
    network: nn.Sequential, start: torch.Tensor, x: torch.Tensor, sample: Candidates, *, config: DeepConfig, seed: int
) -> torch.Tensor:
    """Train the network in place, with a wide part from `start` on; the wide part's weights."""
    weights = nn.Parameter(start)
    optimiser = torch.optim.AdamW([*network.parameters(), weights], lr=config.learning_rate, weight_decay=1e-4)
    label, lengths = torch.from_numpy(sample.label), np.diff(sample.offsets)
    rng = np.random.default_rng([seed, sample.n_users])
    for epoch in range(config.epochs):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * (1 - epoch / config.epochs)
        order = rng.permutation(sample.n_users)
        for first in range(0, len(order), config.batch_users):
            chosen = order[first : first + config.batch_users]
            n = lengths[chosen]
            within = within_groups(n)
            rows = torch.from_numpy(np.repeat(sample.offsets[chosen], n) + within)
            users = torch.from_numpy(np.repeat(np.arange(len(chosen)), n))
            scores = network(x[rows])[:, 0] + x[rows] @ weights
            loss = conditional_loss(scores, users, label[rows], len(chosen))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return weights.detach()
