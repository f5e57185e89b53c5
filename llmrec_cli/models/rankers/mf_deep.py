"""Matrix factorisation and deep learning together: a linear part and a small network over all sources."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import nn

from llmrec_cli.models.checkpoints import Tensors, under
from llmrec_cli.models.rankers import Floats
from llmrec_cli.models.rankers.fusion import Fusion, FusionConfig, conditional_loss, labelled, spreads
from llmrec_cli.tables.features import Candidates


class DeepConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.mf-deep]`."""

    hidden: int = Field(32, ge=1, description="width of the hidden layer")
    epochs: int = Field(8, ge=1, description="passes over the users")
    learning_rate: float = Field(3e-3, gt=0, description="highest learning rate, falling to 0")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of hidden units dropped in training")
    batch_users: int = Field(256, ge=1, description="users in a step")
    max_users: int = Field(6000, ge=1, description="users that the network is fitted on at most")


class DeepFusion:
    """score = wide + deep over standardised features, the factors' product among them (NeuMF, He et al. 2017).

    The wide part starts at the weights of `fusion`, the deep part at zero; both learn by the softmax over candidates.
    """

    Config = DeepConfig
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: DeepConfig, linear: Fusion, network: nn.Module) -> None:
        self.config, self.linear, self.network = config, linear, network.eval()

    @classmethod
    def fit(cls, config: DeepConfig, candidates: Candidates, seed: int) -> Self:
        linear = Fusion.fit(FusionConfig(max_users=config.max_users), candidates, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _network(len(candidates.names), config)
            _train(network, linear, labelled(candidates, config.max_users, seed), config, seed)
        return cls(config, linear, network)

    @torch.inference_mode()
    def score(self, candidates: Candidates) -> Floats:
        wide = self.linear.score(candidates)
        chunks = range(0, len(candidates), 1 << 18)
        deep = [self.network(self._inputs(candidates.features[i : i + (1 << 18)]))[:, 0].numpy() for i in chunks]
        return wide + np.concatenate([*deep, np.zeros(0, dtype=np.float32)])

    def importance(self) -> Floats:
        """Of the wide part; what the deep part adds is not told apart."""
        return self.linear.importance()

    def tensors(self) -> Tensors:
        linear = {f"linear.{name}": value for name, value in self.linear.tensors().items()}
        return {**linear, **self.network.state_dict(prefix="network.")}

    @classmethod
    def restore(cls, config: DeepConfig, tensors: Tensors) -> Self:
        linear = Fusion.restore(FusionConfig(), under("linear.", tensors))
        network = _network(len(linear.mean), config)
        network.load_state_dict(under("network.", tensors))
        return cls(config, linear, network)

    def _inputs(self, features: Floats) -> torch.Tensor:
        return torch.from_numpy(((features - self.linear.mean) / self.linear.std).astype(np.float32))


def _network(n_features: int, config: DeepConfig) -> nn.Sequential:
    last = nn.Linear(config.hidden, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(n_features, config.hidden), nn.GELU(), nn.Dropout(config.dropout), last)


def _train(network: nn.Sequential, linear: Fusion, sample: Candidates, config: DeepConfig, seed: int) -> None:
    x = torch.from_numpy(((sample.features - linear.mean) / linear.std).astype(np.float32))
    weights = nn.Parameter(torch.from_numpy(linear.weights.copy()))
    optimiser = torch.optim.AdamW([*network.parameters(), weights], lr=config.learning_rate, weight_decay=1e-4)
    label = torch.from_numpy(sample.label) if sample.label is not None else torch.zeros(0, dtype=torch.bool)
    rng = np.random.default_rng([seed, sample.n_users])
    for epoch in range(config.epochs):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * (1 - epoch / config.epochs)
        order = rng.permutation(sample.n_users)
        for start in range(0, len(order), config.batch_users):
            chosen = order[start : start + config.batch_users]
            lengths = np.diff(sample.offsets)[chosen]
            within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            rows = torch.from_numpy(np.repeat(sample.offsets[chosen], lengths) + within)
            users = torch.from_numpy(np.repeat(np.arange(len(chosen)), lengths))
            scores = network(x[rows])[:, 0] + x[rows] @ weights
            loss = conditional_loss(scores, users, label[rows], len(chosen))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    linear.weights = weights.detach().numpy()
    if len(x):
        linear.spread = spreads(x.numpy(), linear.weights, sample.names, sample.offsets)
