"""The settings of lists, as they are typed: the section `[recommend]`."""

from __future__ import annotations

from pydantic import BaseModel, Field


class RecommendConfig(BaseModel, frozen=True, extra="forbid"):
    k: int = Field(10, ge=1, le=1000, description="items for each user")
    filter_seen: bool = Field(True, description="leave out what the user has chosen before")
    allow: list[str] | str = Field(
        [], description="only these items: ids, or a text file with one id a line; [] is all"
    )
    deny: list[str] | str = Field([], description="never these items: ids, or a text file with one id a line")
    max_per_category: int = Field(0, ge=0, description="cap for one category in a list; 0 is none")
    diversity: float = Field(0.0, ge=0, le=1, description="0 accuracy only … 1 variety only")
