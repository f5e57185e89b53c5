"""Retrievers: each brings its best items for a block of users, and says what it thinks of given pairs.

To add one: a file here with its settings and a `DenseRetriever`, a line in RETRIEVERS; the contract tests run over it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import torch
from pydantic import BaseModel

from llmrec_cli.core.arrays import Bools, Codes, Floats, Ints
from llmrec_cli.core.registry import check_code, load_variant, plugin_code, saved_variant
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.ranks import falling_order
from llmrec_cli.ranking import returned
from llmrec_cli.ranking.topk import topk
from llmrec_cli.tensors import checkpoints
from llmrec_cli.tensors.fitted_model import FittedModel

T = TypeVar("T")
Kind = Literal["followed", "together", "similar", ""]
"""That people go on from one item to another, that they choose both, that the items are alike."""


@dataclass(frozen=True)
class Histories:
    """A block of users as retrievers see them: what they did, and the sequence model's vector for it."""

    sequences: Sequences
    vectors: Floats
    """(users, d) encoded histories."""
    kept: dict[object, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Retriever -> what it has worked out of these users and needs again; it goes with the block."""

    def __len__(self) -> int:
        return len(self.sequences)

    def once(self, retriever: object, made: Callable[[Histories], T]) -> T:
        """What `made` gives of these users, for a retriever that keeps one thing."""
        if retriever not in self.kept:
            self.kept[retriever] = made(self)
        found: T = self.kept[retriever]
        return found

    def select(self, users: Ints) -> Histories:
        """The users of these row numbers, in their order."""
        return Histories(self.sequences.select(users), self.vectors[users])

    def block(self, start: int, stop: int) -> Histories:
        return self.select(np.arange(start, min(stop, len(self))))


@dataclass(frozen=True)
class Excluded:
    """What may not be brought to a block of users, and in which order equal scores stand."""

    users: Ints
    """(pairs,) row numbers of users with an item that they may not have."""
    codes: Codes
    """(pairs,) that item."""
    items: Bools | None = None
    """(items,) what nobody may have."""
    ties: Ints | None = None
    """(items,) `tie_order` of the catalogue; without it equal scores stand by code."""

    @classmethod
    def of(cls, pairs: tuple[Ints, Codes], allowed: Bools | None = None, ties: Ints | None = None) -> Excluded:
        return cls(*pairs, None if allowed is None else ~allowed, ties)

    @cached_property
    def by_user(self) -> tuple[Ints, Codes]:
        """`users` and `codes`, the users ascending."""
        order = np.argsort(self.users, kind="stable")
        return self.users[order], self.codes[order]

    @cached_property
    def longest(self) -> int:
        """The most items that a user may not have, but for those that nobody may."""
        return int(np.bincount(self.users).max(initial=0))

    def falling(self, scores: Floats) -> Codes:
        """The codes of the items that somebody may have, by falling (items,) scores."""
        ties = np.arange(len(scores)) if self.ties is None else self.ties
        order = falling_order(np.zeros(len(scores), dtype=np.int64), scores, ties)
        return (order if self.items is None else order[~self.items[order]]).astype(np.int32)

    def mask(self, shape: tuple[int, int]) -> Bools:
        """(users, items) what may not be brought."""
        out = np.zeros(shape, dtype=bool)
        if self.items is not None:
            out[:, self.items] = True
        out[self.users, self.codes] = True
        return out

    def holds(self, users: Ints, codes: Codes, n_items: int) -> Bools:
        """(n,) whether the item may not be brought to the user."""
        one, other = users * n_items + codes, self.users * n_items + self.codes
        found: Bools = np.isin(one, other)
        return found if self.items is None else found | self.items[codes]


@dataclass(frozen=True)
class Statistics:
    """Of each user's scores of all items, what features are compared with."""

    mean: Floats
    """(users,)"""
    std: Floats
    """(users,) above 0."""
    top: Floats | None = None
    """(users,) the largest, at least a tiny positive number; scores that are `signed` need none."""

    @classmethod
    def of(cls, scores: Floats) -> Statistics:
        """Of (users, items) scores."""
        block = torch.from_numpy(scores)
        mean = block.mean(dim=1)
        # several times faster than torch.std, to the same digits
        std = torch.linalg.vector_norm(block - mean[:, None], dim=1) / block.shape[1] ** 0.5
        return cls(mean.numpy(), (std + 1e-9).numpy(), block.max(dim=1).values.clamp_min(1e-6).numpy())


class Retriever(Protocol):
    """What brings candidates. `config` holds the settings it was fitted with, those chosen from the data included.

    `DenseRetriever` has all of it but `fit`, made from a method `score` that gives (users, items) scores.
    """

    Config: ClassVar[type[BaseModel]]
    signed: ClassVar[bool]
    """Whether scores below zero mean something; counts and sums of similarities are not signed."""
    label: ClassVar[str]
    """What a reader of the page calls it; "" is its name in the settings."""
    evidence: ClassVar[Kind]
    """What its lists go by, for explanations; "" where no plain sentence says it."""
    config: Any

    @classmethod
    def fit(cls, config: Any, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        """Learn from whole histories."""
        ...

    def top(self, histories: Histories, n: int, excluded: Excluded) -> tuple[Codes, Floats]:
        """(users, n) codes and scores of the best items that are not excluded, best first; -1 and -inf where there are
        fewer. Works for users without events and for items without any.
        """
        ...

    def pairs(self, histories: Histories, users: Ints, items: Codes) -> Floats:
        """(pairs,) finite scores, higher is better, of `items[i]` for the user of row `users[i]`; rows ascend."""
        ...

    def statistics(self, histories: Histories) -> Statistics:
        """Of the scores of all items, the excluded ones too."""
        ...

    def tensors(self) -> checkpoints.Tensors:
        """What `restore` needs besides the settings."""
        ...

    @classmethod
    def restore(cls, config: Any, tensors: checkpoints.Tensors) -> Self: ...


@runtime_checkable
class GivesEvidence(Protocol):
    """A retriever that can say which event speaks for an item."""

    def support(self, history: Codes, items: Codes) -> Floats:
        """(n,) in [0, 1]: how strongly the history item `history[i]` speaks for `items[i]`."""
        ...


class BaseRetriever(FittedModel):
    """A retriever as a class declares it: `config: MySettings`, and what `fit` learns as fields.

    One that keeps the histories of the users of `fit` has a method `without(users)`, which gives the same without the
    users of these row numbers: `forget` calls it.
    """

    signed: ClassVar[bool] = False
    label: ClassVar[str] = ""
    evidence: ClassVar[Kind] = ""

    @classmethod
    @abstractmethod
    def fit(cls, config: Any, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        """As `Retriever.fit`."""


class DenseRetriever(BaseRetriever):
    """One whose `score` gives the whole block; called once for each block."""

    @abstractmethod
    def score(self, histories: Histories) -> Floats:
        """(users, items) finite scores, higher is better; works for users without events and items without any."""

    def top(self, histories: Histories, n: int, excluded: Excluded) -> tuple[Codes, Floats]:
        scores = self._scores(histories)
        return topk(scores, n, forbidden=excluded.mask(scores.shape), ties=excluded.ties)

    def pairs(self, histories: Histories, users: Ints, items: Codes) -> Floats:
        found: Floats = self._scores(histories)[users, items]
        return found

    def statistics(self, histories: Histories) -> Statistics:
        return Statistics.of(self._scores(histories))

    def _scores(self, histories: Histories) -> Floats:
        shape = (len(histories), histories.sequences.n_items)
        return histories.once(self, lambda users: returned.finite(self, "score", self.score(users), shape))


RETRIEVERS = {
    "sequence": "llmrec_cli.ranking.retrievers.transformer:SequenceRetriever",
    "transitions": "llmrec_cli.ranking.retrievers.transitions:Transitions",
    "content-transitions": "llmrec_cli.ranking.retrievers.transitions:ContentTransitions",
    "itemknn": "llmrec_cli.ranking.retrievers.itemknn:ItemKNN",
    "userknn": "llmrec_cli.ranking.retrievers.userknn:UserKNN",
    "ease": "llmrec_cli.ranking.retrievers.ease:Ease",
    "bpr": "llmrec_cli.ranking.retrievers.bpr:Bpr",
    "lda": "llmrec_cli.ranking.retrievers.topic_choice:Lda",
    "als": "llmrec_cli.ranking.retrievers.als:Als",
    "content": "llmrec_cli.ranking.retrievers.content_based:Content",
    "tfidf": "llmrec_cli.ranking.retrievers.content_based:Tfidf",
    "neural-mf": "llmrec_cli.extras.neural_mf:NeuralMF",
    "profile-match": "llmrec_cli.extras.profile_match:ProfileMatch",
    "popularity": "llmrec_cli.ranking.retrievers.popularity:Popularity",
    "segments": "llmrec_cli.ranking.retrievers.segment_popularity:Segments",
    "generative": "llmrec_cli.extras.generative:Generative",
}


def load_class(name: str) -> type[Retriever]:
    cls: type[Retriever] = load_variant("retriever", RETRIEVERS, name, Retriever)
    return cls


def refit(
    fitted: Mapping[str, Retriever], sequences: Sequences, catalogue: Catalogue, seed: int
) -> dict[str, Retriever]:
    """The same retrievers with the same settings, learnt from other events."""
    return {
        name: returned.fitted(type(each), type(each).fit(each.config, sequences, catalogue, seed))
        for name, each in fitted.items()
    }


def save_retrievers(folder: Path, retrievers: Mapping[str, Retriever]) -> None:
    """One folder for each, with its settings and tensors; `config.json` of the whole keeps their order."""
    for name, retriever in retrievers.items():
        settings = retriever.config.model_dump(mode="json")
        config = {"retriever": name, "settings": settings, "code": plugin_code(name)}
        checkpoints.save_model(folder / _file_name(name), config, retriever.tensors())
    labels = {name: retriever.label or name for name, retriever in retrievers.items()}
    checkpoints.save_config(folder, {"retrievers": list(retrievers), "labels": labels})


def saved_labels(folder: Path) -> dict[str, str]:
    """Name -> what a reader of the page calls it, of the retrievers in a folder; no class is imported for it."""
    with checkpoints.reading(folder):
        return {str(name): str(label) for name, label in checkpoints.load_config(folder)["labels"].items()}


def load_retrievers(folder: Path, named: Container[str] = ()) -> dict[str, Retriever]:
    """What `save_retrievers` wrote, in the same order; nothing else is needed.

    `named` are the classes outside of the program that the settings name; UpstreamError for others, and for damage.
    """
    with checkpoints.reading(folder):
        names = list(checkpoints.load_config(folder)["retrievers"])
    return {name: _load(folder, name, named) for name in names}


def _load(folder: Path, name: str, named: Container[str]) -> Retriever:
    cls: type[Retriever] = saved_variant("retriever", RETRIEVERS, name, named=named, folder=folder, protocol=Retriever)
    with checkpoints.reading(folder):
        config, tensors = checkpoints.load_model(folder / _file_name(name))
        check_code(config["code"], name, folder)
        return cls.restore(cls.Config(**config["settings"]), tensors)


def _file_name(name: str) -> str:
    return name.replace(":", "-")
