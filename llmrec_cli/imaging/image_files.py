"""Reading and writing image files; of the items' images only those inside of the project's folder are opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from llmrec_cli.content.media import inside, read_image
from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.version import __version__
from llmrec_cli.imaging.generators import Pixels

LARGE, SMALL = 64, 32  # pixels a side that `auto` chooses from
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType='
    '"http://cv.iptc.org/newscodes/digitalsourcetype/{source}"/></rdf:RDF></x:xmpmeta>'
)
"""The IPTC's mark of images that no camera took; other programs know it."""


@dataclass(frozen=True)
class TrainingImages:
    """What could be read, and how many paths could not."""

    rows: Ints
    """(n,) places in the list of paths."""
    images: Pixels
    """(n, size, size, 3)."""
    outside: int
    """Paths that lead out of the folder: never opened."""
    unreadable: int
    """Paths of files that are missing, broken or no images."""


def read_training_images(paths: Sequence[str | None], folder: Path, size: int | None, limit: int) -> TrainingImages:
    """The first `limit` readable images of `paths`, which start from `folder`; symbolic links are followed first.

    Without a size they are 64 pixels a side where half of them are as large, else 32.
    """
    root = folder.resolve()
    rows: list[int] = []
    read: list[Image.Image] = []
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
        opened = read_image(file, size or LARGE)
        if opened is None:
            unreadable += 1
            continue
        rows.append(row)
        # its middle square, at once: what is kept of a large image is small
        side = size or min(LARGE, *opened.size)
        read.append(ImageOps.fit(opened, (side, side)))
    side = size or (LARGE if 2 * sum(opened.width >= LARGE for opened in read) >= len(read) else SMALL)
    images = [np.asarray(opened.resize((side, side)), dtype=np.uint8) for opened in read]
    stacked = np.stack(images) if images else np.zeros((0, side, side, 3), dtype=np.uint8)
    return TrainingImages(np.array(rows, dtype=np.int64), stacked, outside, unreadable)


def save_images(images: Pixels, folder: Path, generator: str) -> list[str]:
    """Write (n, size, size, 3) images as PNG files that are named by their place and say what made them; the names."""
    names = [f"{n:06d}.png" for n in range(len(images))]
    for name, image in zip(names, images, strict=True):
        save_image(image, folder / name, generator)
    return names


def save_image(image: Pixels, file: Path, generator: str) -> None:
    """Write a PNG file that says in its metadata that it was generated: in words, and as the IPTC does."""
    source = "compositeCapture" if generator == "collage" else "trainedAlgorithmicMedia"
    marks = PngImagePlugin.PngInfo()
    marks.add_text("Software", f"llmrec {__version__}, image generator {generator}")
    marks.add_text("Comment", "generated, not a photograph of the item")
    marks.add_itxt("XML:com.adobe.xmp", XMP.format(source=source))
    Image.fromarray(image).save(file, pnginfo=marks)
