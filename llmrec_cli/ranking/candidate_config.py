"""How many items the retrievers bring, and whether those that the user had are among them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from llmrec_cli.core.chat_server import ChatServerConfig

LANGUAGE_MODEL = "language model: "
"""How the line of a report begins that says whether one had a part in the lists."""
NO_PART = f"{LANGUAGE_MODEL}none had a part in the lists"


class LanguageScoreConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.candidates.lm]`: the feature `lm.score`, kept where validation is better with it."""

    model: str = Field(
        "", description="language model of the feature lm.score: a folder or name, or a server's name; empty: none"
    )
    scorer: Literal["hf", "openai"] = Field(
        "hf", description="who computes likelihoods: hf (a local model), openai (a server with echo and logprobs)"
    )
    openai: ChatServerConfig = ChatServerConfig()
    adapter: bool = Field(False, description="score with that model as `pretrain --lm` has tuned it")
    users: int = Field(300, ge=1, description="users, about, whose candidates it scores; a request each of a server")
    candidates: int = Field(20, ge=2, description="best candidates of each of them that it scores")

    @property
    def local(self) -> str:
        """The folder or name of a local model; "" for none."""
        return self.model if self.scorer == "hf" else ""


class CandidateConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.candidates]`."""

    depth: int = Field(80, ge=1, description="best items that each retriever brings")
    depths: dict[str, int] = Field(
        {"content": 40, "tfidf": 40, "als": 40, "popularity": 20}, description="depth of single retrievers, by name"
    )
    cold: int = Field(20, ge=0, description="items without events that retrievers by content bring besides")
    hidden: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="share of the items that rankers see as if they had no events; at most that of items without",
    )
    repeat: bool = Field(
        False,
        description="items that the user had before are candidates and answers too; needs recommend.filter_seen off",
    )

    lm: LanguageScoreConfig = LanguageScoreConfig()

    def of(self, retriever: str) -> int:
        return self.depths.get(retriever, self.depth)
