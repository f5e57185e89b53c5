"""The gates of a backtest: what a user asked for, and whether it was reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmrec_cli.core.errors import GateError, SettingsError

Json = dict[str, Any]


def hold(
    metrics: Mapping[str, float],
    versus: Sequence[Json],
    *,
    least: Mapping[str, float],
    most: Mapping[str, float],
    must: Sequence[str],
) -> None:
    """GateError where less (or, for `most`, more) was reached than the user allows, or a baseline of `must` stands.

    `versus` has the outcome against each baseline, as `Comparison.against` gives it. SettingsError for a gate on a
    metric that these data do not have.
    """
    failed = []
    for limits, sign, what in ((least, 1, "below the gate"), (most, -1, "above the ceiling")):
        for metric, limit in limits.items():
            if metric not in metrics:
                raise SettingsError(f"these data have no {metric}", where="evaluate", fix="take that gate out")
            if sign * metrics[metric] < sign * limit:
                failed.append(f"{metric.upper()} {metrics[metric]:.4f} is {what} {limit}")
    outcomes = {each["baseline"]: each["outcome"] for each in versus}
    failed += [f"the pipeline {outcomes[name]} {name}" for name in must if outcomes[name] != "beats"]
    if failed:
        raise GateError(
            "; ".join(failed),
            where="evaluate.fail_under, evaluate.gates, evaluate.ceilings, evaluate.beats",
            fix="look at evaluate/verdict.json: what changed since the last backtest?",
        )
