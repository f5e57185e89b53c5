"""Encoders: what turns histories, texts, images and audio files into vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from llmrec_cli.core.arrays import Floats

Advance = Callable[[int], None]
"""Takes how many contents were done since its last call."""
Log = Callable[[str], None]
"""Takes a line of progress."""


def silent(_: object) -> None:
    """For callers who want no reports."""


class TextEncoder(Protocol):
    """Texts to vectors."""

    name: str

    def encode(self, texts: list[str]) -> Floats:
        """(texts, dim) unit-length rows; a zero row for an empty text."""
        ...


class FileEncoder(Protocol):
    """Images or audio files to vectors."""

    name: str

    def encode(self, files: list[Path]) -> Floats:
        """(files, dim) rows; a zero row for a file that cannot be read."""
        ...


class Cacheable(Protocol):
    """An encoder whose vectors may be kept for later runs. Others are asked for all contents in one call, each time."""

    itemwise: bool
    """Whether a vector depends on its own content alone, or on all contents of the call."""

    @property
    def identity(self) -> str:
        """What the vectors depend on besides the contents: weights, settings, number format."""
        ...


TEXT_ENCODERS = {
    "minilm": "llmrec_cli.content.text:SentenceEncoder",
    "multilingual-e5-small": "llmrec_cli.content.text:MultilingualEncoder",
    "hashed": "llmrec_cli.content.text:HashedEncoder",
}
# Beside these: a transformers folder, the name of a model on the Hugging Face hub, or module:Class.
IMAGE_ENCODERS = {"efficientnet-lite0": "llmrec_cli.extras.efficientnet:EfficientNetLite0"}
AUDIO_ENCODERS: dict[str, str] = {}
