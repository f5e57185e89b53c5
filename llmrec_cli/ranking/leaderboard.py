"""How well each retriever and ranker did on validation, which ranker is kept, and whether it beats popularity."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from llmrec_cli.core.arrays import Doubles, Floats, Ints
from llmrec_cli.core.artifacts import RANKER_FEATURES, RANKER_REPORT
from llmrec_cli.core.stage import Context
from llmrec_cli.data.metrics import MISS, bootstrap, paired_bootstrap, single_target_metrics
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.features import FAMILIES, family, meaning
from llmrec_cli.ranking.rankers import scores_of

CUTOFF = 10
METRIC = f"ndcg@{CUTOFF}"
LEAST = 0.01
"""Families of a smaller share are summed up."""


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


def cross_fitted(rankers: Mapping[str, Any], candidates: Candidates, folds: int, context: Context) -> list[Score]:
    """Each ranker on each part of the users after learning from the others. What no retriever brought is a miss.

    Each is a class with its settings, fitted by `fit(candidates, seed)`.
    """
    fold = np.random.default_rng([context.seed, folds]).permutation(candidates.n_users) % folds
    ranks = {name: np.full(candidates.n_users, MISS, dtype=np.int64) for name in rankers}
    seconds = dict.fromkeys(rankers, 0.0)
    with context.progress.task("rankers", folds * len(rankers), "fits") as task:
        for part in range(folds):
            known, withheld = (candidates.keep(candidates.rows(mask)) for mask in (fold != part, fold == part))
            for name, variant in rankers.items():
                started = time.monotonic()
                ranker = variant.fit(known, context.seed)
                seconds[name] += time.monotonic() - started
                found = withheld.target_ranks(scores_of(ranker, withheld))
                ranks[name][fold == part] = found[fold == part]
                task.advance(note=name)
    return [Score("ranker", name, ranks[name], seconds[name]) for name in rankers]


def report(
    scores: Sequence[Score], chosen: Score, seed: int, further: Sequence[tuple[object, ...]] = ()
) -> pd.DataFrame:
    """The rows of `train-ranker/ranker_report`, those that are given last."""
    rows = [
        (score.kind, score.name, metric, *bootstrap(values, seed), len(values), score is chosen)
        for score in scores
        for metric, values in score.metrics().items()
    ]
    return pd.DataFrame([*rows, *further], columns=RANKER_REPORT.schema.names)


def describe(report: pd.DataFrame) -> list[str]:
    """An aligned table of all, best last within its kind, the chosen one marked; of the rows of `report`."""
    recall = report.loc[report["metric"] == f"recall@{CUTOFF}", ["kind", "name", "value"]]
    ndcg = report[report["metric"] == METRIC].merge(recall, on=["kind", "name"], suffixes=("", "_recall"))
    ndcg = ndcg.sort_values("value", kind="stable").sort_values("kind", ascending=False, kind="stable")
    width = max(len(f"{row.kind} {row.name}") for row in ndcg.itertuples(index=False))
    out = [f"{'on validation':<{width}}  {METRIC:>8}  {'95 % interval':<15}  {f'recall@{CUTOFF}':>9}"]
    for row in ndcg.itertuples(index=False):
        figures = f"{row.value:>8.4f}  {row.low:.4f} – {row.high:.4f}  {row.value_recall:>9.4f}"
        out.append(f"{f'{row.kind} {row.name}':<{width}}  {figures}{'  <- kept' if row.chosen else ''}")
    return out


def at_least_popularity(report: pa.Table, retrievers: Sequence[str]) -> list[str]:
    """The retrievers that were not worse than popularity on validation; `report` is `train-ranker/ranker_report`."""
    rows = report.to_pandas()
    values = rows[(rows["kind"] == "retriever") & (rows["metric"] == METRIC)].set_index("name")["value"]
    least = values.get("popularity", 0.0)
    return [name for name in retrievers if values.get(name, 0.0) >= least] or list(retrievers)


def features_table(candidates: Candidates, importance: Floats) -> pa.Table:
    """The rows of `train-ranker/ranker_features`; `importance` (features,) is the chosen ranker's."""
    rows = candidates.features if len(candidates) else np.zeros((1, len(candidates.names)), dtype=np.float32)
    weights = importance.astype(np.float64)
    columns = {
        "feature": list(candidates.names),
        "family": [family(name) for name in candidates.names],
        "meaning": [meaning(name) for name in candidates.names],
        "mean": rows.mean(axis=0, dtype=np.float64),
        "std": rows.std(axis=0, dtype=np.float64),
        "importance": weights,
        "share": weights / max(float(weights.sum()), 1e-12),
    }
    return pa.table(columns, schema=RANKER_FEATURES.schema)


def describe_weights(table: pa.Table, ranker: str) -> list[str]:
    """One line with the share of each family of `features_table`, the largest first; none where nothing is known."""
    of_family = table.select(["family", "share"]).to_pandas().groupby("family", sort=False)["share"].sum()
    shares = of_family.sort_values(ascending=False, kind="stable")
    if not (shares > 0).any():
        return []
    parts = [f"{100 * share:.0f} % {FAMILIES.get(str(name), name)}" for name, share in shares[shares >= LEAST].items()]
    rest = shares[shares < LEAST].sum()
    if rest > LEAST / 2:
        parts.append(f"{100 * rest:.0f} % the rest")
    return [f"what {ranker} goes by: {', '.join(parts)}"]


def compare(scores: Sequence[Score], chosen: Score, seed: int) -> list[str]:
    """One sentence on whether the chosen ranker beats popularity, where both were scored.

    A difference counts where the interval of the paired bootstrap leaves out 0.
    """
    baseline = next((score for score in scores if score.name == "popularity"), None)
    if baseline is None:
        return []
    if chosen.name == baseline.name:
        return [f"no ranker is better than {baseline.name} on validation"]
    gain, low, high = paired_bootstrap(chosen.metrics()[METRIC], baseline.metrics()[METRIC], seed)
    how = "beats" if low > 0 else "is worse than" if high < 0 else "is not shown to beat"
    figures = f"{METRIC} {gain:+.4f} on the same users, 95 % interval {low:+.4f} to {high:+.4f}"
    return [f"{chosen.name} {how} {baseline.name}: {figures}"]
