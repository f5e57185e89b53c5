"""A collage of real images: what a category is, shown by its items. Nothing is learnt or invented."""

from __future__ import annotations

from typing import Self

import numpy as np
from PIL import Image
from pydantic import BaseModel, Field

from llmrec_cli.core.progress import Progress
from llmrec_cli.imaging.generators import Examples, Pixels, Wanted

GAP = 1  # white pixels between the images


class CollageConfig(BaseModel, frozen=True, extra="forbid"):
    side: int = Field(2, ge=1, le=4, description="images in a row, and rows")


class CollageGenerator:
    """Items' images in a square; fewer than fit are repeated."""

    Config = CollageConfig

    def __init__(self, config: CollageConfig, examples: Examples) -> None:
        self.config, self._examples = config, examples

    @classmethod
    def folder(cls, config: CollageConfig) -> None:
        """It is read from none."""

    @classmethod
    def fit(cls, config: CollageConfig, examples: Examples, *, seed: int, device: str, progress: Progress) -> Self:
        """Nothing to learn: the images are kept."""
        return cls(config, examples)

    def generate(self, wanted: Wanted, seed: int) -> Pixels:
        """See `ImageGenerator`: the parts are drawn anew for each image."""
        rng = np.random.default_rng([seed, 4])
        of_kind = [np.flatnonzero(self._examples.kinds == kind) for kind in range(self._examples.n_kinds)]
        n = self.config.side**2
        drawn = [rng.permutation(np.resize(rng.permutation(of_kind[kind]), n)) for kind in wanted.kinds]
        return np.stack([self._composed(self._examples.images[rows]) for rows in drawn])

    def _composed(self, images: Pixels) -> Pixels:
        """(side², s, s, 3) images to one of s pixels a side."""
        side, size = self.config.side, images.shape[1]
        edges = np.linspace(0, size, side + 1).round().astype(int)
        out = np.full((size, size, 3), 255, dtype=np.uint8)
        for place, image in enumerate(images):
            (top, bottom), (left, right) = (edges[each : each + 2] - [0, GAP] for each in divmod(place, side))
            out[top:bottom, left:right] = np.asarray(Image.fromarray(image).resize((right - left, bottom - top)))
        return out
