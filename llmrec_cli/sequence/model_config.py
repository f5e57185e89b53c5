"""What the sequence model is, and what it is asked in training."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, Field


class ModelConfig(BaseModel, frozen=True, extra="forbid"):
    """What must be known to build the network before its weights are read."""

    architecture: Literal["gpt", "bert"] = "gpt"
    dim: int = Field(64, ge=4)
    layers: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    max_length: int = Field(50, ge=2)
    positions: Literal["rotary", "relative", "learned", "none"] = "rotary"
    time_bias: bool = False
    target_time: bool = False
    similarity: Literal["dot", "cosine"] = "dot"
    temperature: float = Field(1.0, gt=0)

    def scaled(self, states: torch.Tensor) -> torch.Tensor:
        """States as they meet the item table: of unit length for "cosine", over the temperature."""
        if self.similarity == "cosine":
            states = torch.nn.functional.normalize(states.float(), dim=-1)
        return states if self.temperature == 1 else states / self.temperature

    def compared(self, table: torch.Tensor) -> torch.Tensor:
        """The item table as states meet it."""
        return torch.nn.functional.normalize(table.float(), dim=-1) if self.similarity == "cosine" else table


class Objective(BaseModel, frozen=True, extra="forbid"):
    """What the model is asked, and how wrong answers are counted."""

    loss: Literal["softmax", "sampled", "gbce"] = "softmax"
    negatives: int = Field(1024, ge=1)
    targets: Literal["all", "prefixes"] = "all"
    item_dropout: float = Field(0.0, ge=0, lt=1)
