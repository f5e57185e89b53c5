"""A weighted sum of the features: a conditional logit over each user's candidates (McFadden 1974).

Few users do not determine forty weights. Their weights stay near equal ones of the retrievers, which are hard to beat
where data are few (Dawes 1979, "The robust beauty of improper linear models in decision making").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Floats, Ints, offsets_of
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.features import Z, family
from llmrec_cli.ranking.rankers import BaseRanker

IMPERSONAL = ("popularity", "segments")
"""Sources that do not look at the user's events: no part of the equal weights."""
BELOW = 1e6
"""Taken off the scores of candidates that a ranker after this one never saw, so that they stay behind."""


class FusionConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.ranker.fusion]`."""

    l2: float = Field(20.0, ge=0, description="ridge towards equal weights, against the users' summed loss")
    iterations: int = Field(60, ge=1, description="steps of L-BFGS at most")
    max_users: int = Field(6000, ge=1, description="users that the weights are fitted on at most")


class LinearRanker(BaseRanker):
    """score = standardised features @ weights. All fields are (features,)."""

    mean: Floats
    std: Floats
    weights: Floats
    spread: Floats
    """That of `spreads`."""

    def score(self, candidates: Candidates) -> Floats:
        scaled = self.weights / self.std
        return candidates.features @ scaled - np.float32(self.mean @ scaled)

    def parts(self, candidates: Candidates, rows: Ints) -> Floats:
        return centred(candidates, rows) * (self.weights / self.std)

    def importance(self) -> Floats:
        return self.spread


class Fusion(LinearRanker):
    """Weights of a conditional logit, near equal ones of the retrievers."""

    config: FusionConfig

    @classmethod
    def fit(cls, config: FusionConfig, candidates: Candidates, seed: int, columns: Ints | None = None) -> Self:
        """With `columns`, only these features get a weight. Fitted once for each table: others build on it."""
        key = (cls, config, seed, None if columns is None else tuple(columns))
        if key not in candidates.fitted:
            candidates.fitted[key] = cls._fit(config, candidates, seed, columns)
        known: Self = candidates.fitted[key]
        return known

    @classmethod
    def _fit(cls, config: FusionConfig, candidates: Candidates, seed: int, columns: Ints | None) -> Self:
        mean, std = standardisation(candidates)
        used = np.arange(len(candidates.names)) if columns is None else columns
        sample = labelled(candidates, config.max_users, seed)
        weights, spread = np.zeros((2, len(candidates.names)), dtype=np.float32)
        if len(sample):
            x = torch.from_numpy(((sample.features[:, used] - mean[used]) / std[used]).astype(np.float32))
            equal = std[used] * [_personal(sample.names[i]) for i in used]  # as if the features were not scaled
            weights[used] = _conditional_logit(x, torch.from_numpy(equal), sample, config)
            spread[used] = spreads(x.numpy(), weights[used], [sample.names[i] for i in used], sample.offsets)
        return cls(config, mean, std, weights, spread)


def centred(candidates: Candidates, rows: Ints) -> Floats:
    """(n, features) of some rows (their numbers), less the mean of all candidates of the same user."""
    lengths = np.diff(candidates.offsets)
    some = np.flatnonzero(lengths)
    means = np.zeros((candidates.n_users, len(candidates.names)), dtype=np.float32)
    if len(some):
        sums = np.add.reduceat(candidates.features, candidates.offsets[:-1][some], axis=0)
        means[some] = sums / lengths[some][:, None].astype(np.float32)
    return np.asarray(candidates.features[rows] - means[candidates.users[rows]], dtype=np.float32)


def standardisation(candidates: Candidates) -> tuple[Floats, Floats]:
    """(features,) mean and standard deviation over a regular sample of the rows; 1 where a feature is constant."""
    sample = candidates.features[:: max(1, len(candidates) // 500_000)]
    if len(sample) == 0:
        return np.zeros(len(candidates.names), np.float32), np.ones(len(candidates.names), np.float32)
    mean = sample.mean(0, dtype=np.float64).astype(np.float32)
    off = sample - mean
    std = np.sqrt(np.einsum("ij,ij->j", off, off, dtype=np.float64) / len(sample))  # a tenth of the time of np.std
    return mean, np.where(std < 1e-6, 1.0, std).astype(np.float32)


def spreads(x: Floats, weights: Floats, names: Sequence[str], offsets: Ints) -> Floats:
    """(features,) how far each family moves a user's candidates apart, shared out among its features by |weight|.

    For a family it is the standard deviation within users of its part of the score, `x` (rows, features) @ `weights`.
    So what is the same for all candidates of a user counts nothing, and neither do features that undo each other.
    `offsets` (users + 1,) says where each user's rows begin; every user has some.
    """
    families, group = np.unique([family(name) for name in names], return_inverse=True)
    parts = x @ np.where(group[:, None] == np.arange(len(families)), weights[:, None], np.float32(0))
    lengths = np.diff(offsets)
    parts -= np.repeat(
        np.add.reduceat(parts, offsets[:-1], axis=0) / lengths[:, None].astype(np.float32), lengths, axis=0
    )
    apart = np.sqrt((parts**2).mean(axis=0, dtype=np.float64))
    size = np.abs(weights)
    together = np.maximum(np.bincount(group, weights=size), 1e-12)
    return (apart[group] * size / together[group]).astype(np.float32)


def labelled(candidates: Candidates, max_users: int, seed: int) -> Candidates:
    """The rows of at most `max_users` users whose target is among their candidates; only those users remain."""
    users = np.flatnonzero(candidates.has_target())
    if len(users) > max_users:
        users = np.sort(np.random.default_rng([seed, len(users)]).choice(users, max_users, replace=False))
    chosen = np.zeros(candidates.n_users, dtype=bool)
    chosen[users] = True
    kept = candidates.keep(candidates.rows(chosen))
    offsets = offsets_of(np.diff(kept.offsets)[users])
    return replace(kept, offsets=offsets, retriever_ranks={})


def conditional_loss(scores: torch.Tensor, users: torch.Tensor, label: torch.Tensor, n_users: int) -> torch.Tensor:
    """Mean of -log softmax of the labelled row over its user's rows. `users` (rows,) counts from 0 without gaps."""
    top = torch.full((n_users,), -torch.inf).scatter_reduce(0, users, scores.detach(), "amax")
    total = torch.zeros(n_users).index_add(0, users, (scores - top[users]).exp())
    return (total.log() + top - scores[label]).mean()


def _personal(feature: str) -> bool:
    """Whether it is the standardised score of a retriever that looks at the user's events."""
    return feature.endswith(Z) and family(feature) not in IMPERSONAL


def _conditional_logit(x: torch.Tensor, equal: torch.Tensor, sample: Candidates, config: FusionConfig) -> Floats:
    """(features,) weights, with a ridge towards the multiple of `equal` (features,) that fits best by itself."""
    users, label = torch.from_numpy(sample.users), torch.from_numpy(sample.label)

    def loss(scores: torch.Tensor) -> torch.Tensor:
        return conditional_loss(scores, users, label, sample.n_users)

    alone, ridge = x @ equal, config.l2 / sample.n_users
    start = equal * _least(lambda scale: loss(scale * alone), 1, config.iterations)
    own = _least(lambda w: loss(x @ (start + w)) + ridge * (w**2).sum(), x.shape[1], config.iterations)
    return np.asarray(start + own, dtype=np.float32)


def _least(loss: Callable[[torch.Tensor], torch.Tensor], n: int, iterations: int) -> torch.Tensor:
    """(n,) where a smooth loss is least, by L-BFGS from 0."""
    at = torch.zeros(n, requires_grad=True)
    optimiser = torch.optim.LBFGS([at], max_iter=iterations, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss(at)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return at.detach()
