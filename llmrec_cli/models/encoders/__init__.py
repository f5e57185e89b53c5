"""Encoders: what turns histories, texts, images and recordings into vectors."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class TextEncoder(Protocol):
    """Texts to vectors."""

    name: str

    def encode(self, texts: list[str]) -> Floats:
        """(texts, dim) unit-length rows; a zero row for an empty text."""
        ...


TEXT_ENCODERS = {
    "minilm": "llmrec_cli.models.encoders.text:SentenceEncoder",
    "hashed": "llmrec_cli.models.encoders.text:HashedEncoder",
}
