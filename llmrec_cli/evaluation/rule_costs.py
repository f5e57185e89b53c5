"""What variety and each rule of the lists cost in NDCG: the lists of some users made again without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Doubles
from llmrec_cli.core.artifacts import ABLATION
from llmrec_cli.data.metrics import paired_bootstrap, rank_metrics
from llmrec_cli.evaluation.eval_users import EvalUsers
from llmrec_cli.lists.maker import Maker
from llmrec_cli.lists.recommend_config import RecommendConfig

USERS = 500
"""Whose lists are made again, at most: once for each rule, and once with all."""
RULE = "rule"
OF_LISTS = ("diversity", "max_per_category", "allow", "deny", "exclude", "wishes")
BESIDE = ("age_from", "explore_days", "log_exclusions")
"""Settings that change no list by themselves."""


def without_each(config: RecommendConfig) -> Iterator[tuple[str, RecommendConfig]]:
    """Each setting that changes what a list may have, by name, with the settings without it."""
    plain, rules = RecommendConfig(), config.constraints
    for name in OF_LISTS:
        if getattr(config, name) != (off := getattr(plain, name)):
            yield name, config.model_copy(update={name: off})
    for name, field in type(rules).model_fields.items():
        if name not in BESIDE and getattr(rules, name) != (off := field.default):
            yield name, config.model_copy(update={"constraints": rules.model_copy(update={name: off})})


@dataclass(frozen=True)
class RuleCosts:
    """NDCG of the lists of some users with all rules, and without one at a time."""

    metric: str
    given: Doubles
    """(users,)"""
    freed: dict[str, Doubles]
    """Setting -> the same without it; nothing where no rule is set."""

    @classmethod
    def of(
        cls, make: Callable[[RecommendConfig], Maker], config: RecommendConfig, eval_users: EvalUsers, seed: int
    ) -> RuleCosts:
        """`make` gives the maker of lists under other settings."""
        some, metric, steps = eval_users.some(USERS, seed), f"ndcg@{config.k}", dict(without_each(config))

        def values(settings: RecommendConfig) -> Doubles:
            return rank_metrics(make(settings).made(some.users).items, some.targets, config.k)[metric]

        given = values(config) if steps else np.zeros(0)
        return cls(metric, given, {name: values(less) for name, less in steps.items()})

    def table(self, seed: int, resamples: int) -> pa.Table:
        """Rows of `evaluate/ablation`: the value without a rule, and what that is more than with all."""
        rows = []
        for name, values in self.freed.items():
            difference, low, high = paired_bootstrap(values, self.given, seed, resamples)
            found = {"value": float(values.mean()), "difference": difference, "low": low, "high": high}
            rows.append({"kind": RULE, "name": name, "metric": self.metric, "n_users": len(values), **found})
        return pa.Table.from_pylist(rows, schema=ABLATION.schema)


def lines(table: pa.Table) -> list[str]:
    """What is reported of it."""
    return [
        f"{row['name']} costs {row['difference']:.4f} of {row['metric'].upper()}, 95 % {row['low']:+.4f} to "
        f"{row['high']:+.4f} ({row['n_users']:,} users, {row['value']:.4f} without it)"
        for row in table.to_pylist()
    ]
