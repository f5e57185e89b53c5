"""The lists of several systems against what users chose afterwards: metrics, intervals, and the verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from llmrec_cli.core.arrays import Codes, Doubles, Floats, Ints, offsets_of
from llmrec_cli.core.artifacts import EVALUATION
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.metrics import (
    Interval,
    bootstrap,
    calibration,
    coverage,
    diversity,
    gini,
    list_mean,
    normal_interval,
    novelty,
    paired_bootstrap,
    rank_metrics,
    row_shares,
)
from llmrec_cli.evaluation.eval_users import EvalUsers

Json = dict[str, Any]
PIPELINE = "pipeline"
COLUMNS = ("recall", "novelty", "coverage", "poplift", "diversity", "calibration")
"""Metrics that the table shows next to NDCG, where the data have them."""
ACCURACY = ("recall", "ndcg", "mrr", "map", "hit")
TOGETHER = ("coverage", "gini")
"""Metrics of all lists together: they have no interval."""


@dataclass(frozen=True)
class Traits:
    """What is known of the items besides who chose them."""

    vectors: Floats | None = None
    """(items, d) unit-length content vectors, zero where an item has none: it is like no other."""
    tags: sp.csr_matrix | None = None
    """(items, tags) rows that sum to 1; empty for items without tags."""

    @classmethod
    def of(cls, tags: pa.ChunkedArray[Any], vectors: Floats) -> Traits:
        """From the (items,) lists of tags of the catalogue and the (items, d) vectors of its texts."""
        lists = tags.combine_chunks()
        names = pc.list_flatten(lists).dictionary_encode()
        codes = np.asarray(names.indices).astype(np.int32)
        offsets = offsets_of(np.asarray(pc.fill_null(pc.list_value_length(lists), 0)))
        shape = (len(lists), len(names.dictionary))
        shares = row_shares(sp.csr_matrix((np.ones(len(codes)), codes, offsets), shape=shape))
        return cls(vectors if vectors.any() else None, shares if len(codes) else None)


@dataclass(frozen=True)
class Comparison:
    """How well each system answers the question."""

    eval_users: EvalUsers
    values: dict[str, dict[str, Doubles]]
    """System -> metric -> (users,) values, or (1,) for what all lists have together. The pipeline stands first."""
    k: int
    """Length of the longest lists that are compared."""
    seed: int
    resamples: int

    @classmethod
    def of(
        cls,
        eval_users: EvalUsers,
        lists: Mapping[str, Codes],
        log: Sequences,
        ks: Sequence[int],
        *,
        seed: int,
        resamples: int,
        traits: Traits = Traits(),
    ) -> Comparison:
        """`lists` are (users, k) codes of each system, `log` all histories as of the cut-off."""
        values = {name: measured(codes, eval_users, log, ks, traits) for name, codes in lists.items()}
        return cls(eval_users, values, max(ks), seed, resamples)

    @property
    def metric(self) -> str:
        return f"ndcg@{self.k}"

    def interval(self, system: str, metric: str) -> Interval:
        """Accuracy is bootstrapped; what differs from user to user has the interval of the normal law, far cheaper."""
        values = self.values[system][metric]
        if metric.split("@", maxsplit=1)[0] in ACCURACY:
            return bootstrap(values, self.seed, self.resamples)
        return normal_interval(values)

    def table(self) -> pa.Table:
        """The rows of `evaluate/evaluation`; what all lists have together has no interval."""
        rows: list[Json] = []
        for system, metrics in self.values.items():
            for metric, each in metrics.items():
                together = metric.split("@", maxsplit=1)[0] in TOGETHER
                mean, low, high = (float(each[0]), None, None) if together else self.interval(system, metric)
                n_users = len(self.eval_users.users) if together else int((~np.isnan(each)).sum())
                if n_users == 0:
                    continue  # defined for nobody
                figures = {"value": mean, "low": low, "high": high, "n_users": n_users}
                rows.append({"system": system, "metric": metric, **figures})
        return pa.Table.from_pylist(rows, schema=EVALUATION.schema)

    def lines(self) -> list[str]:
        """Systems in rows, the metrics of the longest lists in columns, NDCG with its interval."""
        columns = [f"{name}@{self.k}" for name in COLUMNS if f"{name}@{self.k}" in self.values[PIPELINE]]
        width = max(map(len, self.values))
        lines = [
            f"{'':<{width}}  {self.metric:>8}  {'95 % interval':<15}"
            + "".join(f"  {c:>{max(len(c), 7)}}" for c in columns)
        ]
        for system, metrics in self.values.items():
            mean, low, high = self.interval(system, self.metric)
            rest = "".join(f"  {mean_of(metrics[c]):>{max(len(c), 7)}.4f}" for c in columns)
            lines.append(f"{system:<{width}}  {mean:>8.4f}  {low:.4f} – {high:.4f}{rest}")
        return lines

    def summary(self) -> Json:
        """Whether the pipeline beats each of the others, in figures and in words; the first of them is popularity."""
        ours = self.interval(PIPELINE, self.metric)
        versus = [self.against(name) for name in self.values if name != PIPELINE]
        n_users, name = len(self.eval_users.users), f"NDCG@{self.k}"
        words = [f"{name} {ours.mean:.4f} (95 % {ours.low:.4f}–{ours.high:.4f}) over {n_users:,} users"]
        missed = self.eval_users.out_of_reach()
        warnings = [f"{n:,} users {what}: no list can be right for them" for what, n in missed.items() if n]
        if self.eval_users.skipped:
            warnings.append(
                f"{self.eval_users.skipped:,} users came after the cut-off: they have no list and are left out"
            )
        return {
            "metric": self.metric,
            "pipeline": _figures(ours),
            "beats_popularity": versus[0]["outcome"] == "beats",
            "versus": versus,
            "words": [*words, *(_sentence(each, ours, name) for each in versus)],
            "n_users": n_users,
            "out_of_reach": missed,
            "skipped_users": self.eval_users.skipped,
            "warnings": warnings,
        }

    def against(self, name: str) -> Json:
        """The paired difference to another system; it counts where its interval leaves out 0."""
        ours, theirs = self.values[PIPELINE][self.metric], self.values[name][self.metric]
        gain = paired_bootstrap(ours, theirs, self.seed, self.resamples)
        outcome = "beats" if gain.low > 0 else "is worse than" if gain.high < 0 else "does not beat"
        ratio = float(ours.mean() / theirs.mean()) if theirs.mean() > 0 else None
        value = _figures(self.interval(name, self.metric))
        return {"baseline": name, "outcome": outcome, "value": value, "gain": _figures(gain), "times": ratio}


def measured(
    lists: Codes,
    eval_users: EvalUsers,
    log: Sequences,
    ks: Sequence[int],
    traits: Traits = Traits(),
) -> dict[str, Doubles]:
    """Metric -> (users,) values, NaN where not defined, or (1,) for what all lists have together.

    Popularity is that of the log as of the cut-off. `arp` is the mean number of events of the recommended items, and
    `poplift` how far that is above the mean of the user's own history, as a share of it (Abdollahpouri et al. 2020).
    """
    counts, n_users = log.counts(), int((log.lengths > 0).sum())
    own = history_mean(eval_users.histories, counts)
    wanted = None if traits.tags is None else row_shares(eval_users.histories.matrix() @ traits.tags)
    out: dict[str, Doubles] = {}
    for k in sorted(set(ks)):
        out |= rank_metrics(lists, eval_users.targets, k)
        out[f"novelty@{k}"] = novelty(lists, counts, n_users, k)
        out[f"coverage@{k}"] = np.array([coverage(lists, log.n_items, k)])
        out[f"gini@{k}"] = np.array([gini(lists, log.n_items, k)])
        out[f"arp@{k}"] = list_mean(lists, counts.astype(np.float64), k)
        out[f"poplift@{k}"] = out[f"arp@{k}"] / own - 1
        if traits.vectors is not None:
            out[f"diversity@{k}"] = diversity(lists, traits.vectors, k)
        if traits.tags is not None and wanted is not None:
            out[f"calibration@{k}"] = calibration(lists, wanted, traits.tags, k)
    return out


def history_mean(histories: Sequences, counts: Ints) -> Doubles:
    """(users,) mean events of the items that each user has chosen; NaN without history."""
    total = np.bincount(histories.users, weights=counts[histories.codes], minlength=len(histories))
    return np.where(histories.lengths > 0, total / np.maximum(histories.lengths, 1), np.nan)


def mean_of(values: Doubles) -> float:
    """The mean over those for whom the metric is defined; NaN where it is for nobody."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def _sentence(versus: Json, ours: Interval, metric: str) -> str:
    gain, theirs, times, outcome = versus["gain"], versus["value"]["value"], versus["times"], versus["outcome"]
    ratio = f", {times:.1f} times as high" if times is not None and outcome == "beats" else ""
    difference = f"difference {gain['value']:+.4f}, 95 % {gain['low']:+.4f} to {gain['high']:+.4f}"
    against = f"{metric} {ours.mean:.4f} against {theirs:.4f}{ratio} ({difference})"
    return f"{outcome[0].upper()}{outcome[1:]} {versus['baseline']}: {against}"


def _figures(interval: Interval) -> dict[str, float]:
    return {"value": interval.mean, "low": interval.low, "high": interval.high}


def cold_line(cold: Json) -> str:
    """How much of the question is about users and items without a past."""
    return (
        f"cold: {cold['users']:,} users without events; "
        f"{cold['targets']:,} of {cold['of_targets']:,} withheld events are of items that nobody had before"
    )


def filter_line(other: Mapping[str, float], metric: str, *, filter_seen: bool) -> str:
    """The baselines with the filter the other way: whether people come back to what they had."""
    what = "left in" if filter_seen else "filtered"
    return f"{metric} with seen items {what}: " + ", ".join(f"{name} {value:.4f}" for name, value in other.items())
