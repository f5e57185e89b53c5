"""The settings of backtests, as they are typed: the section `[evaluate]`, and what one backtest is compared by."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, PositiveInt, ValidationInfo, field_validator, model_validator

from llmrec_cli.core.config import IsoTime
from llmrec_cli.core.errors import did_you_mean
from llmrec_cli.evaluation.thresholds import BEST, POPULARITY
from llmrec_cli.lists.recommend_config import RecommendConfig

METRICS = (
    *("recall", "ndcg", "mrr", "map", "hit", "novelty"),
    *("coverage", "gini", "arp", "poplift", "diversity", "calibration"),
)
OF_REASONS = ("deletion_ratio", "deletion_ratio_low", "left_without_named")
"""Metrics of the explanations, where they are asked for; `_low` is the lower end of the 95 % interval."""


class EvaluateConfig(BaseModel, frozen=True, extra="forbid"):
    holdout: Literal["last", "last-n", "time"] = Field("last", description="what the backtest withholds of each user")
    holdout_n: int = Field(1, ge=1, description="events withheld of each user by last-n")
    holdout_after: list[IsoTime] | IsoTime = Field(
        "", description="ISO time from which on everything is withheld, for time; of several, up to the next one"
    )
    holdout_until: IsoTime = Field(
        "", description="ISO time from which on nothing is asked about, for time; empty: none"
    )
    ks: list[PositiveInt] = Field([5, 10], min_length=1, description="lengths of the lists that are compared")
    baselines: list[str] = Field(
        [POPULARITY, "itemknn", BEST],
        description="candidate sources to compare with, if fitted; popularity always, best is that of validation",
    )
    bootstrap: int = Field(1000, ge=100, description="resamples of the users behind each 95 % interval")
    fail_under: float | None = Field(None, ge=0, le=1, description="exit 7 when NDCG of the longest list is below this")
    explanations: bool = Field(
        False, description="whether reasons hold: rows are scored again without the event that their reason names"
    )
    explanation_rows: int = Field(300, ge=10, description="rows of the lists that explanations asks about")
    ablation: bool = Field(
        False, description="what each family of features and each source is worth: the ranker is fitted without it"
    )
    ablation_users: int = Field(
        4000, ge=10, description="users at most whom ablation fits the ranker on, and whom it asks about"
    )
    thresholds: dict[str, float] = Field(
        {},
        description='least values of the pipeline\'s metrics, such as "recall@10" = 0.1, or deletion_ratio_low = 4 '
        "with explanations; exit 7 below one",
    )
    upper_bounds: dict[str, float] = Field(
        {}, description='highest values, for metrics of which less is better, such as "gini@10" = 0.9; exit 7 above one'
    )
    must_beat: list[str] = Field([], description="baselines that must be beaten beyond doubt, else exit 7")

    @model_validator(mode="after")
    def _in_order(self) -> EvaluateConfig:
        if isinstance(self.holdout_after, list) and sorted(set(self.holdout_after)) != self.holdout_after:
            raise ValueError("holdout_after: cut-offs must stand in order, the oldest first")
        return self

    def least(self) -> dict[str, float]:
        """Metric -> lowest value allowed, `fail_under` among them."""
        return ({} if self.fail_under is None else {f"ndcg@{max(self.ks)}": self.fail_under}) | self.thresholds

    def backtests(self, lists: RecommendConfig, *, min_support: int = 0) -> list[tuple[str, BacktestConfig]]:
        """A name and the settings of each backtest; the name is empty where there is one."""
        longest = lists.model_copy(update={"k": max(self.ks)})
        given = self.model_dump() | {"lists": longest, "min_support": min_support}
        if isinstance(self.holdout_after, str):
            return [("", BacktestConfig(**given))]
        ends = [*self.holdout_after[1:], self.holdout_until]
        cuts = zip(self.holdout_after, ends, strict=True)
        return [(at, BacktestConfig(**given | {"holdout_after": at, "holdout_until": end})) for at, end in cuts]

    @field_validator("thresholds", "upper_bounds")
    @classmethod
    def _measured(cls, thresholds: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        """A mistyped metric is reported before the hours of a replay."""
        names = [f"{metric}@{k}" for metric in METRICS for k in info.data.get("ks", [])]
        names += OF_REASONS if info.data.get("explanations") else ()
        for name in thresholds:
            if name in OF_REASONS and name not in names:
                raise ValueError(f"{name} is of explanations: set evaluate.explanations = true (--explanations) too")
            if name not in names:
                raise ValueError(f"no metric {name!r}: {did_you_mean(name, names)}")
        return thresholds


class BacktestConfig(EvaluateConfig, frozen=True):
    """What one backtest is compared by: the settings of `[evaluate]`, and those of other stages that concern it."""

    lists: RecommendConfig = Field(description="how the lists were made; the baselines' go by its filter_seen")
    min_support: int = Field(0, description="clean.min_support: no slice of fewer people is shown")
