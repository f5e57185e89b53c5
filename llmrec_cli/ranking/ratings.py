"""Ratings of a log predicted by biases: how far a user and an item lie from the mean of all (Koren et al. 2009)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Doubles, Ints
from llmrec_cli.core.artifacts import INTERACTIONS
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.metrics import bootstrap, paired_bootstrap

USER_PRIOR, ITEM_PRIOR = 10.0, 25.0
"""Ratings of a bias of 0 that are added to those of each user and item."""
ROUNDS = 10
HIGHEST, MOST_VALUES = 100.0, 21
"""A column is of ratings where it has 3 to so many different values from 0 up to the highest."""
METRIC = "rmse"


@dataclass(frozen=True)
class Biases:
    """rating = mean + user + item, with 0 for whoever has none."""

    mean: float
    users: Doubles
    items: Doubles

    @classmethod
    def fit(cls, users: Ints, items: Ints, values: Doubles, n_users: int, n_items: int) -> Biases:
        """By ridge regression, the two sides in turn."""
        mean = float(values.mean())
        of_user, of_item = np.zeros(n_users), np.zeros(n_items)
        for _ in range(ROUNDS):
            of_item = _shrunk(items, values - mean - of_user[users], n_items, ITEM_PRIOR)
            of_user = _shrunk(users, values - mean - of_item[items], n_users, USER_PRIOR)
        return cls(mean, of_user, of_item)

    def predict(self, users: Ints, items: Ints) -> Doubles:
        return self.mean + self.users[users] + self.items[items]


def _shrunk(codes: Ints, rest: Doubles, n: int, prior: float) -> Doubles:
    """(n,) mean of what is left of the ratings of each, with `prior` ratings of 0 added."""
    found: Doubles = np.bincount(codes, rest, n) / (np.bincount(codes, minlength=n) + prior)
    return found


def are_ratings(values: pa.ChunkedArray[Any]) -> bool:
    """Whether the column `value` of the log is one of ratings; quantities and amounts have more different values."""
    if values.null_count == len(values):
        return False
    ends = pc.min_max(values)
    lowest, highest = ends["min"].as_py(), ends["max"].as_py()
    return bool(lowest >= 0 and highest <= HIGHEST and 3 <= pc.count_distinct(values).as_py() <= MOST_VALUES)


@dataclass(frozen=True)
class RatingErrors:
    """Squared errors of each user's newest rating, predicted from all the others."""

    mean: Doubles
    """(users,) by the mean of all."""
    biases: Doubles
    """(users,)"""

    @classmethod
    def of(cls, work: WorkDir) -> RatingErrors | None:
        """None where the log has no ratings, or nobody has rated twice."""
        if not are_ratings(work.read(INTERACTIONS, ["value"]).column("value")):
            return None
        log = work.read(INTERACTIONS, [USER, "position", ITEM, "value"])
        log = log.filter(pc.is_valid(log.column("value")))
        users, items = (log.column(name).combine_chunks().dictionary_encode() for name in (USER, ITEM))
        rows, codes = (np.asarray(each.indices, dtype=np.int64) for each in (users, items))
        values = log.column("value").to_numpy()
        order = np.lexsort((log.column("position").to_numpy(), rows))
        last = order[np.append(rows[order][1:] != rows[order][:-1], True)]
        last = last[np.bincount(rows)[rows[last]] > 1]
        known = np.ones(len(rows), dtype=bool)
        known[last] = False
        if not len(last):
            return None
        sizes = len(users.dictionary), len(items.dictionary)
        model = Biases.fit(rows[known], codes[known], values[known], *sizes)
        predicted = model.predict(rows[last], codes[last])
        return cls((values[last] - model.mean) ** 2, (values[last] - predicted) ** 2)

    def rows(self, seed: int) -> list[tuple[str, str, str, float, float, float, int, bool]]:
        """Of `train-ranker/ranker_report`: the error with its 95 % interval over users."""
        out = []
        for name, errors in (("global mean", self.mean), ("user and item biases", self.biases)):
            value, low, high = (float(each) ** 0.5 for each in bootstrap(errors, seed))
            out.append(("ratings", name, METRIC, value, low, high, len(errors), False))
        return out

    def line(self, seed: int) -> str:
        (_, _, _, plain, *_), (_, _, _, value, *_) = self.rows(seed)
        _, low, high = paired_bootstrap(self.biases, self.mean, seed)
        how = "lower" if high < 0 else "higher" if low > 0 else "not shown to be lower"
        return (
            f"ratings of {len(self.mean):,} last events predicted by user and item biases: RMSE {value:.3f}, "
            f"{how} than {plain:.3f} by the global mean"
        )
