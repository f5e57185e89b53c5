"""Who did how well on validation: every source and ranker with intervals, the one kept, and a verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec_cli.tables.metrics import bootstrap, paired_bootstrap, single_target_metrics

CUTOFF = 10
METRIC = f"ndcg@{CUTOFF}"


@dataclass(frozen=True)
class Score:
    """How a retriever or a ranker did. `ranks` (users,) is where it put each user's target, 0 = first."""

    kind: str
    name: str
    ranks: npt.NDArray[np.int64]
    seconds: float

    def metrics(self) -> dict[str, npt.NDArray[np.float64]]:
        return single_target_metrics(self.ranks, CUTOFF)


def best(scores: Sequence[Score]) -> Score:
    """The ranker of the highest mean nDCG; the first of equals."""
    return max((s for s in scores if s.kind == "ranker"), key=lambda score: score.metrics()[METRIC].mean())


def rows(scores: Sequence[Score], chosen: Score, seed: int) -> list[dict[str, Any]]:
    """The rows of `train-ranker/ranker_report`."""
    out = []
    for score in scores:
        for metric, values in score.metrics().items():
            mean, low, high = bootstrap(values, seed)
            told = {"value": mean, "low": low, "high": high, "n_users": len(values), "seconds": score.seconds}
            out.append({"kind": score.kind, "name": score.name, "metric": metric, **told, "chosen": score is chosen})
    return out


def lines(scores: Sequence[Score], chosen: Score, seed: int) -> list[str]:
    """An aligned table of all, best last within its kind, the chosen one marked, and whether it beats popularity."""
    width = max(len(f"{score.kind} {score.name}") for score in scores)
    out = [f"{'on validation':<{width}}  {METRIC:>8}  {'95 % interval':<15}  {f'recall@{CUTOFF}':>9}"]
    for kind in ("retriever", "ranker"):
        of_kind = [(score, score.metrics()) for score in scores if score.kind == kind]
        for score, values in sorted(of_kind, key=lambda pair: pair[1][METRIC].mean()):
            mean, low, high = bootstrap(values[METRIC], seed)
            told = f"{f'{kind} {score.name}':<{width}}  {mean:>8.4f}  {low:.4f} – {high:.4f}"
            kept = "  <- kept" if score is chosen else ""
            out.append(f"{told}  {values[f'recall@{CUTOFF}'].mean():>9.4f}{kept}")
    baseline = next((score for score in scores if score.name == "popularity"), None)
    return out if baseline is None else [*out, verdict(chosen, baseline, seed)]


def verdict(chosen: Score, baseline: Score, seed: int) -> str:
    """One sentence; a difference counts where the interval of the paired bootstrap leaves out 0."""
    gain, low, high = paired_bootstrap(chosen.metrics()[METRIC], baseline.metrics()[METRIC], seed)
    told = f"{METRIC} {gain:+.4f} on the same users, 95 % interval {low:+.4f} to {high:+.4f}"
    if low > 0:
        return f"{chosen.name} beats {baseline.name}: {told}"
    if high < 0:
        return f"{chosen.name} is worse than {baseline.name}: {told}"
    return f"{chosen.name} is not shown to beat {baseline.name}: {told}"
