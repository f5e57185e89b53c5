"""Rankers: each orders the candidates that the retrievers brought together.

To add one: a file here with its settings and a `BaseRanker`, a line in RANKERS, and the contract tests run over it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Container
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from pydantic import BaseModel

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.core.registry import check_code, load_variant, plugin_code, saved_variant
from llmrec_cli.ranking import returned
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.tensors import checkpoints
from llmrec_cli.tensors.fitted_model import FittedModel


class Ranker(Protocol):
    """Orders candidates. `BaseRanker` has all of it but `fit` and `score`."""

    Config: ClassVar[type[BaseModel]]
    needs: ClassVar[tuple[str, ...]]
    """Retrievers whose features it cannot do without."""
    config: Any

    @classmethod
    def fit(cls, config: Any, candidates: Candidates, seed: int) -> Self:
        """Learn from labelled candidates (`candidates.label`, one row a user at most)."""
        ...

    def score(self, candidates: Candidates) -> Floats:
        """(rows,) finite scores; only their order within a user means something."""
        ...

    def tensors(self) -> checkpoints.Tensors:
        """What `restore` needs besides the settings."""
        ...

    @classmethod
    def restore(cls, config: Any, tensors: checkpoints.Tensors) -> Self: ...


@runtime_checkable
class Explains(Protocol):
    """A ranker that can say what its scores are made of."""

    def importance(self) -> Floats:
        """(features,) how much each feature counts, in the order of `candidates.names`."""
        ...

    def parts(self, candidates: Candidates, rows: Ints) -> Floats:
        """(n, features) what each feature adds to the score of some rows (numbers), compared with a usual candidate."""
        ...


class BaseRanker(FittedModel):
    """A ranker as a class declares it: `config: MySettings`, what `fit` learns as fields, `fit` and `score`."""

    needs: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def fit(cls, config: Any, candidates: Candidates, seed: int) -> Self:
        """As `Ranker.fit`."""

    @abstractmethod
    def score(self, candidates: Candidates) -> Floats:
        """As `Ranker.score`."""


RANKERS = {
    "popularity": "llmrec_cli.ranking.rankers.popularity_order:PopularityRanker",
    "fusion": "llmrec_cli.ranking.rankers.conditional_logit:Fusion",
    "lambdarank": "llmrec_cli.ranking.rankers.lambdarank:LambdaRank",
    "als-linear": "llmrec_cli.ranking.rankers.als_linear:AlsLinear",
    "wide-deep": "llmrec_cli.ranking.rankers.wide_deep:WideDeep",
    "lda": "llmrec_cli.ranking.rankers.topic_order:LdaRanker",
    "logistic": "llmrec_cli.ranking.rankers.logistic:Logistic",
}


def load_class(name: str) -> type[Ranker]:
    cls: type[Ranker] = load_variant("ranker", RANKERS, name, Ranker)
    return cls


def importance(ranker: Ranker, candidates: Candidates) -> Floats:
    """(features,) how much each feature of the candidates counts; zeros where the ranker cannot say it."""
    n = len(candidates.names)
    if not isinstance(ranker, Explains):
        return np.zeros(n, dtype=np.float32)
    counts: Floats = returned.finite(ranker, "importance", ranker.importance(), (n,))
    return counts


def scores_of(ranker: Ranker, candidates: Candidates) -> Floats:
    """(rows,) what the ranker says of the candidates; SettingsError where it says something else than finite floats."""
    found: Floats = returned.finite(ranker, "score", ranker.score(candidates), (len(candidates),))
    return found


def save_ranker(folder: Path, name: str, ranker: Ranker) -> None:
    """`config.json` says what the ranker is, so that the settings are not needed to load it."""
    config = {"ranker": name, "settings": ranker.config.model_dump(mode="json"), "code": plugin_code(name)}
    checkpoints.save_model(folder, config, ranker.tensors())


def load_ranker(folder: Path, named: Container[str] = ()) -> Ranker:
    """What `save_ranker` wrote. `named` are the classes outside of the program that the settings name.

    UpstreamError where it is damaged, of a version that kept other tensors, or of a class that nobody names.
    """
    config, tensors = checkpoints.load_model(folder)
    cls: type[Ranker] = saved_variant(
        "ranker", RANKERS, config.get("ranker"), named=named, folder=folder, protocol=Ranker
    )
    check_code(config.get("code"), config["ranker"], folder)
    with checkpoints.reading(folder):
        return cls.restore(cls.Config(**config["settings"]), tensors)
