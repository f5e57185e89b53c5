"""Gradient-boosted trees that optimise the order itself, from a linear fusion on: LambdaMART (Burges 2010)."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Doubles, Floats, Ints
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.rankers import BaseRanker
from llmrec_cli.ranking.rankers.boosted_trees import Trees, lightgbm
from llmrec_cli.ranking.rankers.conditional_logit import BELOW, Fusion, FusionConfig
from llmrec_cli.tensors.checkpoints import Tensors, under


class LambdaRankConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.ranker.lambdarank]`."""

    trees: int = Field(0, ge=0, description="boosting rounds; 0 chooses 10 to 150, one for 20 users with a target")
    leaves: int = Field(15, ge=2, description="leaves of a tree")
    learning_rate: float = Field(0.04, gt=0, description="shrinkage")
    min_leaf: int = Field(0, ge=0, description="rows in a leaf at least; 0 chooses 20 to 200 by the size of the data")
    l2: float = Field(10.0, ge=0, description="ridge on the leaves")
    top: int = Field(100, ge=2, description="candidates of a user, the best by a linear fusion, that the trees order")


class LambdaRank(BaseRanker):
    """score = the linear fusion + what trees over the features add to it, on the fusion's best candidates."""

    config: LambdaRankConfig
    linear: Fusion
    trees: Trees | None
    """None where the data had nothing to learn from; then the fusion alone decides."""
    counts: Floats
    """(features,) those of `importance`."""

    @classmethod
    def fit(cls, config: LambdaRankConfig, candidates: Candidates, seed: int) -> Self:
        linear = Fusion.fit(FusionConfig(), candidates, seed)
        top = candidates.ranks(linear.score(candidates)) < config.top
        kept = candidates.keep(top & candidates.rows(candidates.has_target()))
        learnable = kept.rows(kept.has_target() & (np.diff(kept.offsets) > 1))  # one row has no order
        if kept.label is None or not learnable.any():
            return cls(config, linear, None, linear.importance())
        training = kept.keep(learnable)
        x, start = _inputs(training, linear)
        lengths = np.diff(training.offsets)
        groups, label = lengths[lengths > 0], kept.label[learnable].astype(np.int32)
        data = lightgbm().Dataset(x, label=label, group=groups, init_score=start)
        rounds = config.trees or int(np.clip(len(groups) // 20, 10, 150))
        booster = lightgbm().train(_parameters(config, len(x), seed), data, rounds)
        trees, gain = Trees(booster.model_to_string()), booster.feature_importance("gain")
        return cls(config, linear, trees, _counts(linear, trees, gain, training))

    def score(self, candidates: Candidates) -> Floats:
        scores = self.linear.score(candidates)
        if self.trees is None:
            return scores
        top = candidates.ranks(scores) < self.config.top
        out = scores - np.float32(BELOW)
        x, start = _inputs(candidates.keep(top), self.linear)
        out[top] = start + self.trees.predict(x)
        return out.astype(np.float32)

    def parts(self, candidates: Candidates, rows: Ints) -> Floats:
        """Of the fusion, and of the trees by their TreeSHAP values (Lundberg et al. 2020) on these rows alone."""
        own = self.linear.parts(candidates, rows)
        if self.trees is None or not len(rows):
            return own
        features = candidates.features[rows]
        scaled = self.linear.weights / self.linear.std
        start = features @ scaled - np.float32(self.linear.mean @ scaled)
        shap = self.trees.parts(np.column_stack([features, start])).astype(np.float32)
        size = np.abs(own)  # what the trees take from the fusion's score is made of features too
        through = shap[:, -1:] * size / np.maximum(size.sum(axis=1, keepdims=True), 1e-12)
        return np.asarray(own + shap[:, :-1] + through, dtype=np.float32)

    def importance(self) -> Floats:
        """How far each feature moves a user's candidates apart: through the fusion, and by its gain in the trees."""
        return self.counts

    def tensors(self) -> Tensors:
        linear = {f"linear.{name}": value for name, value in self.linear.tensors().items()}
        text = self.trees.text if self.trees is not None else ""
        trees = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
        return {**linear, "trees": trees, "counts": torch.from_numpy(self.counts)}

    @classmethod
    def restore(cls, config: LambdaRankConfig, tensors: Tensors) -> Self:
        text = tensors["trees"].numpy().tobytes().decode().strip("\0")
        trees = Trees(text) if text else None
        linear = Fusion.restore(FusionConfig(), under("linear.", tensors))
        return cls(config, linear, trees, tensors["counts"].numpy())


def _inputs(candidates: Candidates, linear: Fusion) -> tuple[Floats, Floats]:
    """The features with the linear fusion's score as the last column, and that score, from which the trees go on."""
    scores = linear.score(candidates)
    return np.column_stack([candidates.features, scores]), scores


def _counts(linear: Fusion, trees: Trees, gain: Doubles, training: Candidates) -> Floats:
    """(features,) what each moves through the fusion, plus what the trees move, shared out by gain."""
    own = linear.importance().astype(np.float64)
    shares = gain[:-1] + gain[-1] * own / max(float(own.sum()), 1e-12)  # the fusion's score is made of features too
    x, _ = _inputs(training, linear)
    added = trees.predict(x)
    users, sizes = training.users, np.maximum(np.diff(training.offsets), 1)
    apart = added - (np.bincount(users, added, training.n_users) / sizes)[users]
    return np.asarray(own + apart.std() * shares / max(float(shares.sum()), 1e-12), dtype=np.float32)


def _parameters(config: LambdaRankConfig, rows: int, seed: int) -> dict[str, Any]:
    return {
        "objective": "lambdarank",
        "learning_rate": config.learning_rate,
        "num_leaves": config.leaves,
        "min_data_in_leaf": config.min_leaf or int(np.clip(rows // 1000, 20, 200)),
        "feature_fraction": 0.7,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "lambda_l2": config.l2,
        "lambdarank_truncation_level": 20,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": torch.get_num_threads(),
        "verbosity": -1,
    }
