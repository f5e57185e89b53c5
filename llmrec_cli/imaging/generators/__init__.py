"""Image generators: each learns from the images that items have, or knows how already, and makes new ones.

To add one: a class with its `Config`, a line in GENERATORS, and the contract tests run over it. None is imported by a
default run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.progress import Progress
from llmrec_cli.core.registry import load_variant

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Examples:
    """What there is to learn from."""

    images: Pixels
    """(n, size, size, 3)."""
    kinds: Ints
    """(n,) the kind of each, counted from 0."""
    n_kinds: int


@dataclass(frozen=True)
class Wanted:
    """The images to make."""

    kinds: Ints
    """(m,) kinds of the examples."""
    prompts: Sequence[str]
    """(m,) what is to be seen, in words, from the facts of each item."""


class ImageGenerator(Protocol):
    """Makes images. `Config` is its frozen pydantic settings; all its fields have defaults."""

    Config: ClassVar[type[BaseModel]]
    config: Any

    @classmethod
    def folder(cls, config: Any) -> Path | None:
        """The model folder that it is read from, None where there is none; SettingsError where it is missing."""
        ...

    @classmethod
    def fit(cls, config: Any, examples: Examples, *, seed: int, device: str, progress: Progress) -> Self:
        """Learn from the examples."""
        ...

    def generate(self, wanted: Wanted, seed: int) -> Pixels:
        """(m, size, size, 3) images, as large as the examples; the same seed makes the same."""
        ...


GENERATORS = {
    "gan": "llmrec_cli.extras.gan:GanGenerator",
    "vae": "llmrec_cli.extras.vae:VaeGenerator",
    "diffusers": "llmrec_cli.extras.diffusion:DiffusersGenerator",
    "collage": "llmrec_cli.extras.collage:CollageGenerator",
}


def load_class(name: str) -> type[ImageGenerator]:
    """A generator by name, or a class of your own given as module:Class."""
    found: type[ImageGenerator] = load_variant("image generator", GENERATORS, name, ImageGenerator)
    return found
