"""Reading and writing image files; of the items' pictures only those inside of the project's folder are opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from llmrec_cli.content.media import inside, read_picture
from llmrec_cli.core.arrays import Ints
from llmrec_cli.imaging.generators import Pixels


@dataclass(frozen=True)
class Pictures:
    """What could be read, and how many paths could not."""

    rows: Ints
    """(n,) places in the list of paths."""
    images: Pixels
    """(n, size, size, 3)."""
    outside: int
    """Paths that lead out of the folder: never opened."""
    unreadable: int
    """Paths of files that are missing, broken or no images."""


def read_pictures(paths: Sequence[str | None], folder: Path, size: int, limit: int) -> Pictures:
    """The first `limit` readable pictures of `paths`, which start from `folder`; symbolic links are followed first."""
    root = folder.resolve()
    rows: list[int] = []
    images: list[Pixels] = []
    outside = unreadable = 0
    for row, path in enumerate(paths):
        if not path:
            continue
        if len(rows) == limit:
            break
        file = inside(path, root)
        if file is None:
            outside += 1
            continue
        picture = read_picture(file, size)
        if picture is None:
            unreadable += 1
            continue
        rows.append(row)
        images.append(np.asarray(ImageOps.fit(picture, (size, size)), dtype=np.uint8))  # its middle square
    stacked = np.stack(images) if images else np.zeros((0, size, size, 3), dtype=np.uint8)
    return Pictures(np.array(rows, dtype=np.int64), stacked, outside, unreadable)


def save_pictures(images: Pixels, folder: Path) -> list[str]:
    """Write (n, size, size, 3) images as PNG files that are named by their place; the names."""
    names = [f"{n:06d}.png" for n in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / name)
    return names
