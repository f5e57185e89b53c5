"""The settings of lists, as they are typed: the section `[recommend]`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ConstraintsConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[recommend.constraints]`: rules that every list obeys, and its completion too."""

    where: str = Field(
        "",
        description="what a user may have, as SQL over columns of both: item.price <= 50 AND item.risk <= user.risk;"
        " where a value is missing the rule does not hold",
    )
    log_exclusions: bool = Field(
        False,
        description="write recommend/exclusions: each candidate that a rule took out; candidates are made twice for it",
    )
    min_age_days: float | None = Field(None, description="items are at least so old, at the newest event of the log")
    max_age_days: float | None = Field(None, description="items are at most so old; item.age_days in `where`")
    age_from: str = Field("", description="attribute of items with the date that their age counts from; empty: events")

    max_per: dict[str, int] = Field({}, description="caps by column or attribute of items: {brand = 2}")
    pinned: list[str] = Field([], description="items that stand first in every list that may have them, in this order")
    repeat_after_days: float | None = Field(
        None, description="with filter_seen off: what the user chose so many days ago or later does not come again"
    )

    explore: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of a list's places, drawn by the seed, that goes to new items; never the first",
    )
    explore_days: float = Field(
        30.0, ge=0, description="items first seen (or dated, see age_from) so many days ago or later are new"
    )

    @property
    def conditions(self) -> list[str]:
        """All that must hold of a user and an item."""
        ages = (("item.age_days >= ", self.min_age_days), ("item.age_days <= ", self.max_age_days))
        return [*([self.where] if self.where else []), *(f"{text}{days}" for text, days in ages if days is not None)]


class RecommendConfig(BaseModel, frozen=True, extra="forbid"):
    k: int = Field(10, ge=1, le=1000, description="items for each user")
    filter_seen: bool = Field(True, description="leave out what the user has chosen before")
    allow: list[str] | str = Field(
        [], description="only these items: ids, or a text file with one id a line; [] is all"
    )
    deny: list[str] | str = Field([], description="never these items: ids, or a text file with one id a line")
    exclude: str = Field(
        "", description="file of further items never shown: an id a line, or a table with their column"
    )
    max_per_category: int = Field(0, ge=0, description="cap for one category in a list; 0 is none")
    constraints: ConstraintsConfig = ConstraintsConfig()
    wishes: str = Field(
        "",
        description="CSV file of users' wishes: user, wish (more, less, never), what (tag, category, item, words)",
    )
    wish_strength: float = Field(
        3.0,
        ge=0,
        description="standard deviations of a user's order that more lifts an item by, and less lowers it; 3 is the"
        " least with which 19 of 20 lists have a row of what is wished more of, on one half of a backtest's users",
    )
    diversity: float = Field(0.0, ge=0, le=1, description="0 accuracy only … 1 variety only")
    ask_weight: float = Field(
        0.7, ge=0, le=1, description="weight of the words of --ask against what the ranker says of the user"
    )
    texts: list[Literal["why", "push", "digest", "news"]] = Field(
        ["why", "push", "digest"],
        description="written of each list: why each row is there, a push line, a digest by theme, news of the same",
    )
    language: str = Field(
        "auto",
        pattern=r"^(auto|[a-z]{2,3}(-[A-Za-z]{2,4})?)$",
        description="of reasons and texts: en, zh, another that templates has; auto is that of the titles",
    )
    templates: str = Field(
        "templates", description="folder whose files such as why.en.jinja stand in for the program's templates"
    )
