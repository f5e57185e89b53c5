"""What is read of items, as it is set: a part of `[pretrain]`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Modality = Literal["text", "image", "audio"]
KINDS: tuple[Modality, ...] = ("text", "image", "audio")


class ItemContentConfig(BaseModel, frozen=True, extra="forbid"):
    """Encoders of each kind of content, and what becomes of their vectors."""

    text_encoder: str = Field(
        "auto",
        min_length=1,
        description="what reads titles: auto, minilm, multilingual-e5-small, hashed, a transformers folder, a hub "
        "name, or module:Class",
    )
    image_encoder: str = Field(
        "", description="efficientnet-lite0, or folder or hub name of a vision model; empty: none"
    )
    audio_encoder: str = Field("", description="transformers folder or hub name of an audio model; empty: no audio")
    text_dim: int = Field(128, ge=1, description="principal directions of each kind of content that the model sees")
    tune_text: bool = Field(
        False, description="tune the text encoder on behaviour; its vectors are used where validation is better"
    )
    tune_text_layers: int = Field(2, ge=1, description="upper layers of the text encoder that are tuned")
    tune_text_steps: int = Field(800, ge=1, description="training steps of 64 users at most; fewer where none helps")
    content_weight: bool = Field(
        True, description="also score items by how alike their content is to the history's; validation weighs it"
    )
    lm: str = Field("", description="language model (folder or name) to tune on users' titles with LoRA; empty: none")
    lm_steps: int = Field(100, ge=1, description="training steps of the language model")
    lm_rank: int = Field(8, ge=1, description="rank of its adapter")

    def encoders(self) -> dict[Modality, str]:
        """Modality of content -> its encoder; empty where that kind is not looked at."""
        return {kind: getattr(self, f"{kind}_encoder") for kind in KINDS}
