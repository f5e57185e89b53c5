"""Gradient-boosted trees that optimise the order itself: LambdaMART (Burges 2010) by LightGBM."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import BaseModel, Field

from llmrec_cli.core.errors import MissingExtraError
from llmrec_cli.models.checkpoints import Tensors, under
from llmrec_cli.models.rankers import Floats
from llmrec_cli.models.rankers.fusion import BELOW, Fusion, FusionConfig, best
from llmrec_cli.tables.features import Candidates


class LambdaRankConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.lambdarank]`."""

    trees: int = Field(150, ge=1, description="boosting rounds")
    leaves: int = Field(15, ge=2, description="leaves of a tree")
    learning_rate: float = Field(0.04, gt=0, description="shrinkage")
    min_leaf: int = Field(0, ge=0, description="rows in a leaf at least; 0 chooses 20 to 200 by the size of the data")
    l2: float = Field(10.0, ge=0, description="ridge on the leaves")
    top: int = Field(100, ge=2, description="candidates of a user, the best by a linear fusion, that the trees order")


class LambdaRank:
    """score = trees over the features and the linear fusion's score, on the fusion's best candidates."""

    Config = LambdaRankConfig
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: LambdaRankConfig, linear: Fusion, trees: Any | None) -> None:
        """`trees` is None where the data had nothing to learn from; then the fusion alone decides."""
        self.config, self.linear, self.trees = config, linear, trees

    @classmethod
    def fit(cls, config: LambdaRankConfig, candidates: Candidates, seed: int) -> Self:
        lightgbm = _lightgbm()
        linear = Fusion.fit(FusionConfig(), candidates, seed)
        scores = linear.score(candidates)
        top = best(candidates, scores, config.top)
        kept = candidates.keep(top & candidates.rows(candidates.has_target()))
        learnable = kept.rows(kept.has_target() & (np.diff(kept.offsets) > 1))  # one row has no order
        if kept.label is None or not learnable.any():
            return cls(config, linear, None)
        x = np.column_stack([kept.features[learnable], linear.score(kept)[learnable]])
        groups = np.bincount(kept.users[learnable])
        data = lightgbm.Dataset(x, label=kept.label[learnable].astype(np.int32), group=groups[groups > 0])
        return cls(config, linear, lightgbm.train(_parameters(config, len(x), seed), data, config.trees))

    def score(self, candidates: Candidates) -> Floats:
        scores = self.linear.score(candidates)
        if self.trees is None:
            return scores
        top = best(candidates, scores, self.config.top)
        out = scores - np.float32(BELOW)
        out[top] = self.trees.predict(np.column_stack([candidates.features[top], scores[top]]))
        return out.astype(np.float32)

    def importance(self) -> Floats:
        if self.trees is None:
            return self.linear.importance()
        gain = self.trees.feature_importance("gain")
        linear = self.linear.importance().astype(np.float64)
        inside = gain[-1] * linear / max(float(linear.sum()), 1e-12)  # the fusion's score is made of features too
        return np.asarray(gain[:-1] + inside, dtype=np.float32)

    def tensors(self) -> Tensors:
        linear = {f"linear.{name}": value for name, value in self.linear.tensors().items()}
        text = self.trees.model_to_string() if self.trees is not None else ""
        return {**linear, "trees": torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)}

    @classmethod
    def restore(cls, config: LambdaRankConfig, tensors: Tensors) -> Self:
        text = tensors["trees"].numpy().tobytes().decode().strip("\0")
        trees = _lightgbm().Booster(model_str=text) if text else None
        return cls(config, Fusion.restore(FusionConfig(), under("linear.", tensors)), trees)


def _lightgbm() -> Any:
    try:
        import lightgbm
    except OSError as error:  # the wheel leaves libgomp to the system
        raise MissingExtraError(
            f"lightgbm cannot be loaded: {error}",
            fix="apt-get install libgomp1, or leave lambdarank out of train-ranker.rankers",
        ) from error
    return lightgbm


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
