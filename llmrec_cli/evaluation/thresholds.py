"""The baselines and thresholds of a backtest: what is set, whether it can be measured, and whether it was reached."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from llmrec_cli.core.errors import SettingsError, ThresholdError, did_you_mean

Json = dict[str, Any]
POPULARITY, BEST = "popularity", "best"
"""Always compared with; and the source that was best on validation, whichever that is."""


def check_consistency(
    sources: Iterable[str], baselines: Sequence[str], must_beat: Sequence[str], known: Collection[str]
) -> list[str]:
    """The baselines that are compared with, popularity first and those that must be beaten last; BEST is one.

    Popularity is always there: `evaluate` counts it where no retriever does. A baseline that is not among `sources` is
    left out: which sources there are is said elsewhere. SettingsError where one that must be beaten is not among them,
    and for a name that is not even `known`.
    """
    there = [POPULARITY, *sources, BEST]
    for name in dict.fromkeys([*must_beat, *baselines]):
        if name not in there and (name in must_beat or name not in known):
            raise SettingsError(
                f"the baseline {name!r} is not among train-ranker.retrievers",
                where="evaluate",
                fix="add it there, or take it out of evaluate" if name in known else did_you_mean(name, there),
            )
    return [name for name in dict.fromkeys([POPULARITY, *baselines, *must_beat]) if name in there]


def enforce(
    metrics: Mapping[str, float],
    versus: Sequence[Json],
    *,
    least: Mapping[str, float],
    most: Mapping[str, float],
    must: Sequence[str],
) -> None:
    """ThresholdError where less (or, for `most`, more) was reached than allowed, or a baseline of `must` stands.

    `versus` has the outcome against each baseline, as `Comparison.against` gives it. SettingsError for a threshold on a
    metric that these data do not have.
    """
    failed = []
    for limits, sign, what in ((least, 1, "below the threshold"), (most, -1, "above the upper bound")):
        for metric, limit in limits.items():
            if metric not in metrics:
                raise SettingsError(f"these data have no {metric}", where="evaluate", fix="leave that threshold out")
            if sign * metrics[metric] < sign * limit:
                failed.append(f"{metric.upper()} {metrics[metric]:.4f} is {what} {limit}")
    outcomes = {each["baseline"]: each["outcome"] for each in versus}
    failed += [f"the pipeline {outcomes[name]} {name}" for name in must if outcomes[name] != "beats"]
    if failed:
        raise ThresholdError(
            "; ".join(failed),
            where="evaluate.fail_under, evaluate.thresholds, evaluate.upper_bounds, evaluate.must_beat",
            fix="look at evaluate/verdict.json: what changed since the last backtest?",
        )
