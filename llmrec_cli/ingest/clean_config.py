"""The settings of `clean`: where the log, items and users are, and by which rules rows are kept."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from llmrec_cli.core.config import IsoTime
from llmrec_cli.ingest.column_mapping import InteractionsConfig, ItemsConfig, UsersConfig


class CleanConfig(BaseModel, frozen=True, extra="forbid"):
    interactions: InteractionsConfig = Field(description="the log")
    items: ItemsConfig = Field(
        ItemsConfig.model_validate({}), description="the items file; without a path, columns of the log"
    )
    users: UsersConfig = Field(
        UsersConfig.model_validate({}), description="the users file; without a path, columns of the log"
    )
    pseudonymise: bool = Field(
        False, description="write keyed hashes in place of user ids; the key is llmrec.key next to the settings file"
    )
    min_user_events: int = Field(2, ge=1, description="users with fewer events are left out, until all have as many")
    min_item_events: int = Field(1, ge=1, description="items with fewer events are left out, until all have as many")
    min_support: int = Field(
        0, ge=0, description="what fewer people did is not shown: items, tags, topics, segments, evidence; 0 shows all"
    )
    repeats: Literal["keep", "first", "last"] = Field(
        "keep", description="which of a user's events with the same item stay"
    )
    outlier_z: float = Field(
        6.0, ge=0, description="leave out users so many robust deviations above the median; 0 keeps all"
    )
    item_outlier_z: float = Field(0.0, ge=0, description="the same for items; 0 keeps all, for popular items are real")
    session_gap_minutes: float = Field(30.0, gt=0, description="a longer pause starts a new session")
    event_weights: dict[str, float] = Field(
        {}, description="weight of each kind of event, 1 for others; 0 leaves it out, below 0 turns the item down"
    )
    negative_below: float | None = Field(None, description="an event of a smaller value turns the item down")
    holdout: Literal["none", "last", "last-n", "time"] = Field("none", description="what a backtest withholds")
    holdout_n: int = Field(1, ge=1, description="events withheld of each user by last-n")
    holdout_after: IsoTime = Field("", description="ISO time from which on the backtest withholds")

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if self.negative_below is not None and self.interactions.value is None:
            raise ValueError("negative_below needs the column clean.interactions.value")
        return self
