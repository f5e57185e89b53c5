"""Every feature of a candidate in one table: its name, what it says, and how it is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
import torch

from llmrec_cli.core.arrays import Codes, Floats, Ints
from llmrec_cli.data.catalogue import Catalogue, group_numbers
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking import returned
from llmrec_cli.ranking.entries import values_at
from llmrec_cli.ranking.retrievers import GivesEvidence, Histories, Retriever, Statistics

Values = npt.NDArray[np.floating]

SHARE_DECAY = 0.85
"""Of an event's weight in the share of a group, by each newer event."""
FAMILIES = {
    "history": "length and popularity of the history",
    "newest": "popularity of the newest event",
    "category": "same category",
    "tag": "same tag",
    "repeat": "had before",
    "lm": "a language model",
}
"""What is said of features that are of no retriever, by what stands before the dot."""


@dataclass(frozen=True)
class Groups:
    """(items,) numbers of the item's category and of its first tag, below 0 for none."""

    category: Ints
    tag: Ints

    @classmethod
    def of(cls, catalogue: Catalogue) -> Groups:
        first = [tags[0] if tags else "" for tags in catalogue.tags]
        return cls(group_numbers(catalogue.categories), group_numbers(first))


@dataclass(frozen=True)
class Pairs:
    """Candidates of a block of users, as features are computed of them. Arrays are (pairs,)."""

    users: Histories
    rows: Ints
    """The user's row in the block."""
    items: Codes
    retrievers: Mapping[str, Retriever]
    statistics: Mapping[str, Statistics]
    groups: Groups
    repeat: bool
    """Whether items that the user had are candidates."""
    opinion: Callable[[Pairs], Floats] | None = None
    """A language model's, see `extras.lm_score`."""

    @property
    def sequences(self) -> Sequences:
        return self.users.sequences

    @cached_property
    def negative(self) -> Sequences | None:
        return None if self.sequences.negative is None else self.sequences.negative_items()

    @cached_property
    def last(self) -> Codes:
        """The user's newest event, -1 for none."""
        return self.sequences.last()[self.rows]

    @cached_property
    def previous(self) -> Codes:
        """The event before it, -1 for none."""
        return self.sequences.without_last().last()[self.rows]

    @cached_property
    def popularity(self) -> tuple[Values, Values] | tuple[None, None]:
        """Of all events of the history on average, and of the newest; 0 where there is none."""
        if "popularity" not in self.retrievers:
            return None, None
        sequences = self.sequences
        events = self.retrievers["popularity"].pairs(self.users, sequences.users, sequences.codes)
        total = np.bincount(sequences.users, weights=events, minlength=len(sequences))
        newest = np.zeros(len(sequences))
        some = np.flatnonzero(sequences.lengths)
        newest[some] = events[sequences.offsets[1:][some] - 1]
        return (total / np.maximum(sequences.lengths, 1))[self.rows], newest[self.rows]

    @cached_property
    def had(self) -> tuple[Values, Values] | tuple[None, None]:
        """log(1 + how often the user had the item), and 1 / (1 + events since then), 0 for never."""
        if not self.repeat:
            return None, None
        events = {"row": self.sequences.users, "item": self.sequences.codes, "age": self.sequences.ages}
        had = pd.DataFrame(events).groupby(["row", "item"])["age"].agg(["size", "min"])
        found = pd.DataFrame({"row": self.rows, "item": self.items}).join(had, on=["row", "item"])
        return np.log1p(found["size"].fillna(0).to_numpy()), (1 / (1 + found["min"])).fillna(0).to_numpy()


@dataclass(frozen=True)
class Scores:
    """What one retriever says of the pairs."""

    pairs: Pairs
    retriever: Retriever
    of_user: Statistics

    @cached_property
    def values(self) -> Floats:
        given = self.retriever.pairs(self.pairs.users, self.pairs.rows, self.pairs.items)
        found: Floats = returned.finite(self.retriever, "pairs", given, (len(self.pairs.rows),))
        return found


@dataclass(frozen=True)
class OfPair:
    """A feature of the item and the history, whichever retrievers there are."""

    name: str
    meaning: str
    values: Callable[[Pairs], Values | None]
    """(pairs,); None where there is no such feature."""


@dataclass(frozen=True)
class OfRetriever:
    """A feature that every retriever has."""

    name: str
    """What stands behind the retriever's name, the dot included."""
    meaning: str
    values: Callable[[Scores], Values | None]
    """(pairs,); None where the retriever has no such feature."""


def _share(history: str, group: str) -> Callable[[Pairs], Values | None]:
    def values(pairs: Pairs) -> Values | None:
        events = getattr(pairs, history)
        return None if events is None else group_shares(events, getattr(pairs.groups, group), pairs.rows, pairs.items)

    return values


def _same(event: str, group: str) -> Callable[[Pairs], Values]:
    def values(pairs: Pairs) -> Values:
        groups, events = getattr(pairs.groups, group), getattr(pairs, event)
        same: Values = (events >= 0) & (groups[events] == groups[pairs.items]) & (groups[pairs.items] >= 0)
        return same

    return values


def _support(event: str) -> Callable[[Scores], Values | None]:
    def values(scores: Scores) -> Values | None:
        if not isinstance(scores.retriever, GivesEvidence):
            return None
        events = getattr(scores.pairs, event)
        there = events >= 0
        strength = np.zeros(len(events), dtype=np.float32)
        given = scores.retriever.support(events[there], scores.pairs.items[there])
        strength[there] = returned.finite(scores.retriever, "support", given, (int(there.sum()),))
        return np.log(1e-3 + strength)

    return values


def _standardised(scores: Scores) -> Values:
    of_user, rows = scores.of_user, scores.pairs.rows
    return np.clip((scores.values - of_user.mean[rows]) / of_user.std[rows], -1e4, 1e4)


def _raw(scores: Scores) -> Values | None:
    return scores.values if scores.retriever.signed else None


def _ratio(scores: Scores) -> Values | None:
    if scores.retriever.signed:
        return None
    assert scores.of_user.top is not None
    return np.log(1e-3 + np.clip(scores.values, 0, None) / scores.of_user.top[scores.pairs.rows])


def _level(scores: Scores) -> Values | None:
    return None if scores.retriever.signed else np.log(1e-4 + np.clip(scores.values, 0, None))


Z, RAW, LM_SCORE = ".z", ".raw", "lm.score"
FEATURES: tuple[OfPair | OfRetriever, ...] = (
    OfRetriever(Z, "the score, standardised over all items for this user", _standardised),
    OfRetriever(RAW, "the score as it is, where scores below zero mean something", _raw),
    OfRetriever(".ratio", "log of the score's share of the highest, where none is below zero", _ratio),
    OfRetriever(".level", "log of the score, where none is below zero", _level),
    OfPair("history.length", "log(1 + events of the user)", lambda p: np.log1p(p.sequences.lengths)[p.rows]),
    OfPair(
        "category.share",
        "share of the item's category in the history, newer events more",
        _share("sequences", "category"),
    ),
    OfPair("tag.share", "share of the item's first tag in the history, newer events more", _share("sequences", "tag")),
    OfPair("category.negative", "share of the category in the negative feedback", _share("negative", "category")),
    OfPair("tag.negative", "share of the tag in the negative feedback", _share("negative", "tag")),
    OfPair("category.last", "1 where the newest event has the item's category", _same("last", "category")),
    OfPair("tag.last", "1 where the newest event has the item's first tag", _same("last", "tag")),
    OfRetriever(".last", "log of how strongly the newest event speaks for the item", _support("last")),
    OfPair("category.previous", "1 where the event before has the item's category", _same("previous", "category")),
    OfPair("tag.previous", "1 where the event before has the item's first tag", _same("previous", "tag")),
    OfRetriever(".previous", "log of how strongly the event before speaks for the item", _support("previous")),
    OfPair("history.popularity", "mean popularity of the user's events", lambda p: p.popularity[0]),
    OfPair("newest.popularity", "popularity of the user's newest event", lambda p: p.popularity[1]),
    OfPair("repeat.count", "log(1 + how often the user had the item)", lambda p: p.had[0]),
    OfPair("repeat.recency", "1 / (1 + events since the user had the item), 0 for never", lambda p: p.had[1]),
    OfPair(
        LM_SCORE,
        "how likely a language model finds the title after those of the history, standardised over what it was asked "
        "about for the user; 0 for the others",
        lambda p: None if p.opinion is None else p.opinion(p),
    ),
)
"""In the order of the columns; features of retrievers that follow each other stand retriever by retriever."""
MEANINGS = {feature.name: feature.meaning for feature in FEATURES}


def computed(pairs: Pairs) -> tuple[tuple[str, ...], Floats]:
    """The names of the features that there are, and (pairs, features) their finite values."""
    found = {name: values.astype(np.float32) for name, values in _columns(pairs) if values is not None}
    rows = torch.from_numpy(np.stack(list(found.values())))
    return tuple(found), rows.T.contiguous().numpy()  # several times as fast as numpy's stack of columns


def _columns(pairs: Pairs) -> Iterator[tuple[str, Values | None]]:
    scores = {name: Scores(pairs, each, pairs.statistics[name]) for name, each in pairs.retrievers.items()}
    for _, block in groupby(FEATURES, type):
        features = list(block)
        yield from ((f.name, f.values(pairs)) for f in features if isinstance(f, OfPair))
        for name, each in scores.items():
            yield from ((name + f.name, f.values(each)) for f in features if isinstance(f, OfRetriever))


def family(feature: str) -> str:
    """The retriever whose feature it is, `module:Class` too; of the others the key of `FAMILIES`."""
    return feature.rpartition(".")[0]


def meaning(feature: str) -> str:
    """A sentence on what the feature of this name says; KeyError where there is none."""
    return MEANINGS.get(feature) or MEANINGS["." + feature.rpartition(".")[2]]


def group_shares(sequences: Sequences, groups: Ints, rows: Ints, items: Codes) -> Floats:
    """(n,) in [0, 1]: how much of a history (row number), newer events counting more, is of the item's group.

    `groups` (items,) numbers them; where it is below 0 the item has none, and the share is 0.
    """
    there = groups[sequences.codes] >= 0
    weights = np.power(SHARE_DECAY, sequences.ages)
    n_groups = int(groups.max(initial=-1)) + 1
    entries = (weights[there], (sequences.users[there], groups[sequences.codes][there]))
    shares = sp.csr_matrix(entries, shape=(len(sequences), n_groups))  # adds what is of one group
    total = np.bincount(sequences.users, weights=weights, minlength=len(sequences))
    out = np.zeros(len(rows), dtype=np.float32)
    known = np.flatnonzero(groups[items] >= 0)
    if len(known):
        found = values_at(shares, rows[known], groups[items[known]])
        out[known] = found / np.maximum(total[rows[known]], 1e-12)
    return out
