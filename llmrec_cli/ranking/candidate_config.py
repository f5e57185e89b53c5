"""How many items the retrievers bring, and whether those that the user had are among them."""

from __future__ import annotations

from pydantic import BaseModel, Field


class CandidateConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.candidates]`."""

    depth: int = Field(80, ge=1, description="best items that each retriever brings")
    depths: dict[str, int] = Field(
        {"content": 40, "tfidf": 40, "als": 40, "popularity": 20}, description="depth of single retrievers, by name"
    )
    repeat: bool = Field(
        False,
        description="items that the user had before are candidates and answers too; needs recommend.filter_seen off",
    )

    def of(self, retriever: str) -> int:
        return self.depths.get(retriever, self.depth)
