"""The lists of several systems against what users chose afterwards: metrics, intervals, and the verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llmrec_cli.core.artifacts import EVALUATION
from llmrec_cli.tables.metrics import Interval, bootstrap, coverage, novelty, paired_bootstrap, rank_metrics
from llmrec_cli.tables.sequences import Sequences

Codes = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Json = dict[str, Any]
PIPELINE = "pipeline"
COLUMNS = ("recall", "mrr", "map", "novelty", "coverage")
"""Metrics that the table shows beside NDCG."""


@dataclass(frozen=True)
class Question:
    """What is asked of every system: lists for these users, without what was withheld."""

    users: Ints
    """(n,) rows of the users table: those with something withheld and a list."""
    targets: tuple[Ints, Codes]
    """(n + 1,) offsets and item codes; the number of items stands for an item that is not in the catalogue."""
    histories: Sequences
    """Of these users, as of the cut-off."""
    skipped: int
    """Users with something withheld who have no list: they came after the cut-off."""
    filter_seen: bool
    """Whether lists leave out what a user has chosen before."""

    def out_of_reach(self) -> dict[str, int]:
        """Users for whom no list can be right, by cause. They count as misses."""
        offsets, targets = self.targets
        n_users, n_items = len(self.users), self.histories.n_items
        owners = np.repeat(np.arange(n_users), np.diff(offsets))
        outside = targets >= n_items
        width = np.int64(n_items + 1)
        again = np.isin(owners * width + targets, self.histories.users * width + self.histories.codes)
        barred = outside | (again if self.filter_seen else np.zeros_like(again))
        reachable, inside = (np.bincount(owners[each], minlength=n_users) > 0 for each in (~barred, ~outside))
        return {
            "chose only items again that they had before": int((inside & ~reachable).sum()),
            "chose only items that nobody had before": int((~inside).sum()),
        }


@dataclass(frozen=True)
class Comparison:
    """How well each system answers the question."""

    question: Question
    values: dict[str, dict[str, Floats]]
    """System -> metric -> (users,) values, or (1,) for what all lists have together. The pipeline stands first."""
    k: int
    """Length of the longest lists that are compared."""
    seed: int
    resamples: int

    @classmethod
    def of(
        cls,
        question: Question,
        lists: Mapping[str, Codes],
        log: Sequences,
        ks: Sequence[int],
        *,
        seed: int,
        resamples: int,
    ) -> Comparison:
        """`lists` are (users, k) codes of each system, `log` all histories as of the cut-off."""
        values = {name: measured(codes, question, log, ks) for name, codes in lists.items()}
        return cls(question, values, max(ks), seed, resamples)

    @property
    def metric(self) -> str:
        return f"ndcg@{self.k}"

    def interval(self, system: str, metric: str) -> Interval:
        return bootstrap(self.values[system][metric], self.seed, self.resamples)

    def table(self) -> pa.Table:
        """The rows of `evaluate/evaluation`; what all lists have together has no interval."""
        rows: list[Json] = []
        for system, metrics in self.values.items():
            for metric, each in metrics.items():
                alone = metric.startswith("coverage")
                mean, low, high = (float(each[0]), None, None) if alone else self.interval(system, metric)
                figures = {"value": mean, "low": low, "high": high, "n_users": len(self.question.users)}
                rows.append({"system": system, "metric": metric, **figures})
        return pa.Table.from_pylist(rows, schema=EVALUATION.schema)

    def lines(self) -> list[str]:
        """Systems in rows, the metrics of the longest lists in columns, NDCG with its interval."""
        columns = [f"{name}@{self.k}" for name in COLUMNS]
        width = max(map(len, self.values))
        lines = [f"{'':<{width}}  {self.metric:>8}  {'95 % interval':<15}" + "".join(f"  {c:>11}" for c in columns)]
        for system, metrics in self.values.items():
            mean, low, high = self.interval(system, self.metric)
            rest = "".join(f"  {metrics[column].mean():>11.4f}" for column in columns)
            lines.append(f"{system:<{width}}  {mean:>8.4f}  {low:.4f} – {high:.4f}{rest}")
        return lines

    def verdict(self) -> Json:
        """Whether the pipeline beats each of the others, in figures and in words; the first of them is popularity."""
        ours = self.interval(PIPELINE, self.metric)
        versus = [self.against(name) for name in self.values if name != PIPELINE]
        n_users, name = len(self.question.users), f"NDCG@{self.k}"
        words = [f"{name} {ours.mean:.4f} (95 % {ours.low:.4f}–{ours.high:.4f}) over {n_users:,} users"]
        missed = self.question.out_of_reach()
        warnings = [f"{n:,} users {what}: no list can be right for them" for what, n in missed.items() if n]
        if self.question.skipped:
            warnings.append(
                f"{self.question.skipped:,} users came after the cut-off: they have no list and are left out"
            )
        return {
            "metric": self.metric,
            "pipeline": _figures(ours),
            "beats_popularity": versus[0]["outcome"] == "beats",
            "versus": versus,
            "words": [*words, *(_sentence(each, ours, name) for each in versus)],
            "n_users": n_users,
            "out_of_reach": missed,
            "skipped_users": self.question.skipped,
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


def measured(lists: Codes, question: Question, log: Sequences, ks: Sequence[int]) -> dict[str, Floats]:
    """Metric -> (users,) values, or (1,) for coverage. Novelty counts people of the log, coverage its catalogue."""
    counts, n_users = log.counts(), int((log.lengths > 0).sum())
    out: dict[str, Floats] = {}
    for k in sorted(set(ks)):
        out |= rank_metrics(lists, question.targets, k)
        out[f"novelty@{k}"] = novelty(lists, counts, n_users, k)
        out[f"coverage@{k}"] = np.array([coverage(lists, log.n_items, k)])
    return out


def _sentence(versus: Json, ours: Interval, metric: str) -> str:
    gain, theirs, times, outcome = versus["gain"], versus["value"]["value"], versus["times"], versus["outcome"]
    ratio = f", {times:.1f} times as high" if times is not None and outcome == "beats" else ""
    difference = f"difference {gain['value']:+.4f}, 95 % {gain['low']:+.4f} to {gain['high']:+.4f}"
    against = f"{metric} {ours.mean:.4f} against {theirs:.4f}{ratio} ({difference})"
    return f"{outcome[0].upper()}{outcome[1:]} {versus['baseline']}: {against}"


def _figures(interval: Interval) -> dict[str, float]:
    return {"value": interval.mean, "low": interval.low, "high": interval.high}
