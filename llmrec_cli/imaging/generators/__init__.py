"""Image generators: each learns from the images that items have to make one of a kind (a category).

To add one: a file here with its `Config` and class, a line in PAINTERS, and the contract tests run over it.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.progress import Task

Pixels = npt.NDArray[np.uint8]


class ImageGenerator(Protocol):
    """Makes images. `config` is its frozen pydantic settings."""

    config: Any

    @classmethod
    def fit(cls, config: Any, images: Pixels, kinds: Ints, *, seed: int, device: str, task: Task) -> Self:
        """Learn from (n, size, size, 3) images, each of a kind (n,) counted from 0; `task` advances by step."""
        ...

    def generate(self, kinds: Ints, seed: int) -> Pixels:
        """(len(kinds), size, size, 3) images of the kinds, all different; the same seed makes the same."""
        ...


GENERATORS = {"vae": "llmrec_cli.imaging.generators.vae:VaeGenerator"}
