"""Settings of a chat server that speaks OpenAI's protocol: where it is and what it may cost. Its key is never one."""

from __future__ import annotations

from pydantic import BaseModel, Field

KEY = "OPENAI_API_KEY"
"""The environment variable that holds the key; no setting does, so that no file or record can."""

ANSWERS = ".answers"
"""Folder in that of a stage that keeps what a server answered; whoever is forgotten takes all of it along."""


class ChatServerConfig(BaseModel, frozen=True, extra="forbid"):
    base_url: str = Field(
        "http://localhost:11434/v1", description="where the server's protocol begins; its key is in OPENAI_API_KEY"
    )
    parallel: int = Field(4, ge=1, le=64, description="requests at a time")
    requests_per_minute: int = Field(0, ge=0, description="most requests begun in a minute; 0: no limit")
    token_budget: int = Field(0, ge=0, description="most tokens of a run, prompts and answers; 0: no limit")
    retries: int = Field(4, ge=0, description="times that a request is made again where the server fails")
    timeout: float = Field(60.0, gt=0, description="seconds that an answer may take")
    price_prompt: float = Field(0.0, ge=0, description="price of a million tokens of prompts, for --dry-run")
    price_answer: float = Field(0.0, ge=0, description="price of a million tokens of answers, for --dry-run")
