"""Profiles against what items are: a logistic model of every pair of a feature of the user and one of the item."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from pydantic import BaseModel, Field
from torch.nn.functional import softplus

from llmrec_cli.core.arrays import Codes, Floats
from llmrec_cli.data.attributes import amounts, by_name
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.retrievers import DenseRetriever, Histories

BANDS = 5
"""Levels of an attribute that is a number, such as a price, with as many items in each."""
SCALE = 10.0
"""What a cosine of 1 adds to the log odds before anything is learnt."""
MOST_VALUES = 50
"""An attribute with more different numbers is cut into bands."""


class ProfileMatchConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.profile-match]`."""

    rank: int = Field(16, ge=1, description="rank of the matrix between the two sides, beside its diagonal")
    decay: float = Field(0.65, gt=0, le=1, description="weight of an event against the one after it, in the profile")
    features: int = Field(1000, ge=1, description="features of items at most, the most frequent ones")
    least: int = Field(3, ge=1, description="items that have a feature at least")
    newest: int = Field(30, ge=1, description="newest events of each user that are learnt from")
    negatives: int = Field(256, ge=1, description="items drawn for each step as not chosen")
    epochs: int = Field(3, ge=0, description="passes over these events")
    learning_rate: float = Field(0.01, gt=0, description="step of Adam")
    weight_decay: float = Field(1e-4, ge=0, description="ridge on the weights")


class ProfileMatch(DenseRetriever):
    """P(chosen) = sigmoid(x_u' T x_i + b'x_i), with T = A B' + a diagonal where both sides speak of the same.

    x_i are the item's category levels, tags, brand and other attributes, numbers such as a price by their level; x_u is
    their decayed mean over the history, and the user's age band, gender and region.
    """

    signed, label, evidence = True, "Fits the profile", "similar"
    config: ProfileMatchConfig
    features: sp.csr_matrix
    """(items, features) at unit length."""
    taste: torch.Tensor
    """(features, rank)"""
    traits: torch.Tensor
    """(demographic values + 1, rank); the last row is everybody's."""
    item: torch.Tensor
    """(features, rank)"""
    same: torch.Tensor
    """(features,) the diagonal."""
    bias: torch.Tensor
    """(features + 1,), the last one that of every pair."""

    @classmethod
    def fit(cls, config: ProfileMatchConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        features = item_features(catalogue, config.features, config.least)
        n_traits = 1 if sequences.traits is None else sequences.traits.shape[1] + 1
        generator = torch.Generator().manual_seed(seed)
        n = features.shape[1]
        taste, traits, item = (
            torch.randn(rows, config.rank, generator=generator) * config.rank**-0.5 * 0.1 for rows in (n, n_traits, n)
        )
        same, bias = torch.full((n,), SCALE), torch.zeros(n + 1)
        bias[-1] = -SCALE / 2
        model = cls(config, features, taste, traits, item, same, bias)
        model._train(sequences, seed)
        return model

    def score(self, histories: Histories) -> Floats:
        sequences = histories.sequences
        taste = self._tastes(sequences)
        own = self._users(_dense(taste), _traits(sequences, len(self.traits)))
        items = torch.from_numpy(np.asarray(self.features @ self.item.numpy()))
        diagonal = (taste @ sp.diags_array(self.same.numpy()) @ self.features.T).toarray()
        scores = (own @ items.T).numpy() + diagonal + (self.features @ self.bias[:-1].numpy() + float(self.bias[-1]))
        return np.asarray(scores, dtype=np.float32)

    def _tastes(self, sequences: Sequences) -> sp.csr_matrix:
        """(users, features) mean of the features over each history, newer events more, at unit length."""
        return unit_rows((sequences.matrix(self.config.decay) @ self.features).tocsr())

    def _users(self, taste: torch.Tensor, traits: torch.Tensor) -> torch.Tensor:
        return taste @ self.taste + traits @ self.traits

    def _train(self, sequences: Sequences, seed: int) -> None:
        """Logistic loss of the newest events, each after those before it, against items drawn from all."""
        weights = [self.taste, self.traits, self.item, self.same, self.bias]
        for each in weights:
            each.requires_grad_()
        optimiser = torch.optim.Adam(weights, lr=self.config.learning_rate, weight_decay=self.config.weight_decay)
        examples = Examples.of(self, sequences)
        rng = np.random.default_rng([seed, len(examples)])
        for _ in range(self.config.epochs if len(examples) else 0):
            for taste, traits, positive in examples.batches(rng):
                negative = rng.choice(sequences.codes, self.config.negatives)
                chosen, others = (_dense(self.features[codes]) for codes in (positive, negative))
                own = self._users(taste, traits)
                yes = (
                    (own * (chosen @ self.item)).sum(1) + (taste * self.same * chosen).sum(1) + chosen @ self.bias[:-1]
                )
                no = own @ (others @ self.item).T + (taste * self.same) @ others.T + others @ self.bias[:-1]
                loss = softplus(-yes - self.bias[-1]).mean() + softplus(no + self.bias[-1]).mean()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        for each in weights:
            each.requires_grad_(False)


class Examples:
    """Events with the profile of the user before each of them."""

    def __init__(self, tastes: sp.csr_matrix, traits: torch.Tensor, chosen: Codes) -> None:
        self.tastes, self.traits, self.chosen = tastes, traits, chosen

    @classmethod
    def of(cls, model: ProfileMatch, sequences: Sequences) -> Examples:
        tastes, traits, chosen = [], [], []
        for n in range(model.config.newest):
            until = sequences.without_last(n)
            some = np.flatnonzero(until.lengths > 1)
            if not len(some):
                break
            before = sequences.without_last(n + 1).select(some)
            tastes.append(model._tastes(before))
            traits.append(_traits(before, len(model.traits)))
            chosen.append(until.last()[some])
        if not chosen:
            return cls(sp.csr_matrix((0, model.features.shape[1])), torch.zeros(0, len(model.traits)), np.zeros(0, int))
        return cls(sp.vstack(tastes, format="csr"), torch.cat(traits), np.concatenate(chosen))

    def __len__(self) -> int:
        return len(self.chosen)

    def batches(self, rng: np.random.Generator, size: int = 512) -> Iterator[tuple[torch.Tensor, torch.Tensor, Codes]]:
        order = rng.permutation(len(self))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            yield _dense(self.tastes[rows]), self.traits[rows], self.chosen[rows]


def item_features(catalogue: Catalogue, most: int, least: int) -> sp.csr_matrix:
    """(items, features) what `least` items or more have in common, the `most` frequent of it: the rarer the heavier."""
    rows, names = [], []
    for code, (category, tags) in enumerate(zip(catalogue.categories, catalogue.tags, strict=True)):
        levels = category.split(" > ") if category else []
        own = {f"c:{' > '.join(levels[: i + 1])}" for i in range(len(levels))} | {f"t:{tag}" for tag in tags}
        names += sorted(own)
        rows += [code] * len(own)
    for name, values in _attributes(catalogue).items():
        there = np.flatnonzero(values != "")
        names += [f"a:{name}:{value}" for value in values[there].tolist()]
        rows += there.tolist()
    codes, kinds = pd.factorize(np.array(names, dtype=object))
    counts = np.bincount(codes, minlength=len(kinds))
    kept = np.argsort(-counts, kind="stable")[:most]
    kept = np.sort(kept[counts[kept] >= least])
    place = np.full(len(kinds), -1)
    place[kept] = np.arange(len(kept))
    some = place[codes] >= 0
    weights = np.log(len(catalogue) / counts[codes[some]]).astype(np.float32)
    entries = (weights, (np.array(rows, dtype=np.int64)[some], place[codes[some]]))
    return unit_rows(sp.csr_matrix(entries, shape=(len(catalogue), len(kept))))


def _attributes(catalogue: Catalogue) -> dict[str, np.ndarray]:
    """Name -> (items,) texts, "" for none; numbers as their level."""
    found = {}
    for name, values in ({} if catalogue.attributes is None else by_name(catalogue.attributes)).items():
        texts = np.array(values.to_pylist(), dtype=object)
        numbers = amounts(values)
        known = ~np.isnan(numbers)
        if known.sum() > 0.9 * (texts != None).sum() and len(np.unique(numbers[known])) > MOST_VALUES:  # noqa: E711
            levels = pd.qcut(numbers, BANDS, labels=False, duplicates="drop")
            found[name] = np.where(np.isnan(levels), "", np.nan_to_num(levels).astype(int).astype(str)).astype(object)
        else:
            found[name] = np.where(texts == None, "", texts)  # noqa: E711
    return found


def unit_rows(matrix: sp.csr_matrix) -> sp.csr_matrix:
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1), dtype=np.float32)).ravel()
    return (sp.diags_array(1 / np.maximum(lengths, 1e-9)) @ matrix).astype(np.float32).tocsr()


def _traits(sequences: Sequences, width: int) -> torch.Tensor:
    """(users, width) demographic values, and a 1 for everybody in the last column."""
    out = torch.zeros(len(sequences), width)
    if sequences.traits is not None:
        out[:, :-1] = _dense(sequences.traits)
    out[:, -1] = 1
    return out


def _dense(matrix: sp.csr_matrix) -> torch.Tensor:
    return torch.from_numpy(np.asarray(matrix.toarray(), dtype=np.float32))
