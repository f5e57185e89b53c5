"""The settings of the sequence model and its training, as they are typed: a part of `[pretrain]`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

Auto = Literal["auto"]


class EncoderConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings; "auto" is what suits the log and the other settings (`sequence/defaults.py`)."""

    architecture: Literal["gpt", "bert"] = Field("gpt", description="causal (gpt) or masked items (bert)")
    dim: int = Field(128, ge=4, description="width of the model and of its vectors")
    layers: int = Field(2, ge=1, description="transformer blocks")
    heads: int = Field(2, ge=1, description="attention heads of a block")
    dropout: Auto | Annotated[float, Field(ge=0, lt=1)] = Field("auto", description="share of activations dropped")
    max_length: Auto | Annotated[int, Field(ge=2)] = Field("auto", description="newest events that the model looks at")
    positions: Literal["rotary", "relative", "learned", "none"] = Field(
        "rotary", description="how order is encoded: rotary, relative (a learned bias by distance), learned, none"
    )
    time_bias: bool = Field(False, description="also a learned attention bias by the time between events")
    target_time: bool = Field(
        False, description="with time_bias: give the model the time of the next event; not comparable without"
    )
    loss: Literal["auto", "softmax", "sampled", "gbce"] = Field(
        "auto", description="softmax over all items, over sampled ones (auto: large logs of many items), or gbce"
    )
    negatives: int = Field(1024, ge=1, description="random items that a step of the sampled losses shares")
    similarity: Literal["auto", "dot", "cosine"] = Field("auto", description="how a history meets an item")
    temperature: Auto | Annotated[float, Field(gt=0)] = Field("auto", description="similarities are divided by this")
    targets: Literal["all", "prefixes"] = Field(
        "all", description="learn at all positions of a history, or at the end of each of its prefixes"
    )
    item_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of items whose id is hidden in a step, so that content places new items"
    )
    epochs: Auto | Annotated[int, Field(ge=1)] = Field(
        "auto", description="passes at most (auto: gpt 16, bert 40, fewer over more than a million events)"
    )
    patience: int = Field(4, ge=0, description="epochs without a better NDCG@10 before it stops; 0 never stops early")
    validation_users: int = Field(10000, ge=1, description="users measured after each epoch at most")
    learning_rate: Auto | Annotated[float, Field(gt=0)] = Field(
        "auto", description="highest learning rate, 0 after the last of `epochs` (auto: 0.002, with init_from 0.0002)"
    )
    tokens_per_step: int = Field(0, ge=0, description="events in a step; 0 chooses 256 to 2048 by the size of the data")
    init_from: str = Field("", description="work directory whose encoder is the start; its items keep their vectors")
    warm: Literal["auto", "always", "never"] = Field(
        "auto", description="after clean --append start from the encoder of before: where validation finds it as good"
    )
    refit: bool = Field(True, description="train again on all events for the best number of epochs")
    dp_epsilon: float = Field(0.0, ge=0, description="privacy budget of each user (opacus); 0: no private training")
    dp_delta: float = Field(0.0, ge=0, lt=1, description="chance that the budget does not hold; 0: 1 / users^1.1")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide dim = {self.dim}")
        if self.positions == "rotary" and self.dim // self.heads % 2:
            raise ValueError(f"rotary positions need an even dim / heads, not {self.dim} / {self.heads}")
        if self.target_time and not self.time_bias:
            raise ValueError("target_time needs time_bias = true")
        if self.dp_epsilon and self.init_from:
            raise ValueError("dp_epsilon protects nothing in a model that starts from another (init_from)")
        return self
