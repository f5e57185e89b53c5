"""Who did how well on validation: every source and ranker with intervals, the one kept, and a verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Doubles, Floats, Ints
from llmrec_cli.core.artifacts import RANKER_FEATURES
from llmrec_cli.data.metrics import bootstrap, paired_bootstrap, single_target_metrics
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.features import FAMILIES, owner

CUTOFF = 10
METRIC = f"ndcg@{CUTOFF}"
_SOURCES = ("retriever", METRIC)
LEAST = 0.01
"""Sources of a smaller share are told together."""


@dataclass(frozen=True)
class Score:
    """How a retriever or a ranker did. `ranks` (users,) is where it put each user's target, 0 = first."""

    kind: str
    name: str
    ranks: Ints
    seconds: float
    """Of its fits."""

    def metrics(self) -> dict[str, Doubles]:
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
            told = {"value": mean, "low": low, "high": high, "n_users": len(values)}
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


def sound(report: pa.Table, sources: Sequence[str]) -> list[str]:
    """The sources that were not worse than popularity on validation; `report` is `train-ranker/ranker_report`."""
    values = {row["name"]: row["value"] for row in report.to_pylist() if (row["kind"], row["metric"]) == _SOURCES}
    least = values.get("popularity", 0.0)
    return [name for name in sources if values.get(name, 0.0) >= least] or list(sources)


def features_table(candidates: Candidates, importance: Floats) -> pa.Table:
    """The rows of `train-ranker/ranker_features`; `importance` (features,) is the chosen ranker's."""
    rows = candidates.features if len(candidates) else np.zeros((1, len(candidates.names)), dtype=np.float32)
    weights = importance.astype(np.float64)
    columns = {
        "feature": list(candidates.names),
        "source": [owner(name) for name in candidates.names],
        "mean": rows.mean(axis=0, dtype=np.float64),
        "std": rows.std(axis=0, dtype=np.float64),
        "importance": weights,
        "share": weights / max(float(weights.sum()), 1e-12),
    }
    return pa.table(columns, schema=RANKER_FEATURES.schema)


def weights_in_words(table: pa.Table, ranker: str) -> list[str]:
    """One line with the share of each source of `features_table`, the largest first; none where nothing is known."""
    of_source = table.select(["source", "share"]).to_pandas().groupby("source", sort=False)["share"].sum()
    shares = of_source.sort_values(ascending=False, kind="stable")
    if not (shares > 0).any():
        return []
    told = [f"{100 * share:.0f} % {FAMILIES.get(str(name), name)}" for name, share in shares.items() if share >= LEAST]
    rest = shares[shares < LEAST].sum()
    if rest > LEAST / 2:
        told.append(f"{100 * rest:.0f} % the rest")
    return [f"what {ranker} goes by: {', '.join(told)}"]


def verdict(chosen: Score, baseline: Score, seed: int) -> str:
    """One sentence; a difference counts where the interval of the paired bootstrap leaves out 0."""
    if chosen.name == baseline.name:
        return f"no ranker is better than {baseline.name} on validation"
    gain, low, high = paired_bootstrap(chosen.metrics()[METRIC], baseline.metrics()[METRIC], seed)
    told = f"{METRIC} {gain:+.4f} on the same users, 95 % interval {low:+.4f} to {high:+.4f}"
    if low > 0:
        return f"{chosen.name} beats {baseline.name}: {told}"
    if high < 0:
        return f"{chosen.name} is worse than {baseline.name}: {told}"
    return f"{chosen.name} is not shown to beat {baseline.name}: {told}"
