"""From items and a generator to images: what each is to show, and which training image is nearest to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.core.artifacts import IMAGES, ITEM_IMAGES
from llmrec_cli.core.columns import ITEM
from llmrec_cli.core.stage import Context, Report
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.imaging.generators import Examples, ImageGenerator, Pixels, Wanted
from llmrec_cli.imaging.image_files import read_training_images, save_image, save_images

FEWEST, MOST = 8, 20_000  # images that a generator learns from
ENOUGH = 24  # images that a tag needs to be a kind of its own within a category
BLOCK = 512  # images compared with all others at a time
CLOSE = 1  # percent of the training images that have a neighbour nearer than what counts as a copy
SHEET = 8  # pairs a row of the contact sheet
SHEET_FILE = "contact_sheet.png"


@dataclass(frozen=True)
class ImageSettings:
    """A generator with its own settings, and how many images of what size it is to make."""

    name: str
    generator: type[ImageGenerator]
    config: Any
    max_images: int
    size: int | None


def write_images(work: WorkDir, items: pa.Table, settings: ImageSettings, context: Context, report: Report) -> None:
    """Fit the generator on images of `items`, popular first; make some for those without, then for others."""
    training = read_training_images(items.column("image").to_pylist(), context.base, settings.size, MOST)
    if training.outside:
        report.warnings.append(f"{training.outside:,} image paths lead out of {context.base}: they were not opened")
    if len(training.rows) < FEWEST:
        found = f"{len(training.rows)} of them readable, {FEWEST} needed" if training.unreadable else "too few"
        report.lines.append(f"images: none made, items have no image files to learn from ({found})")
        return
    conditions = kinds_of(items, training.rows)
    known, kinds = np.unique(np.array(conditions)[training.rows], return_inverse=True)
    fitted = settings.generator.fit(
        settings.config,
        Examples(training.images, kinds, len(known)),
        seed=context.seed,
        device=context.device,
        progress=context.progress,
    )
    rows = rows_without_image(conditions, known, training.rows)[: settings.max_images]
    prompts = prompts_of(items.take(rows))
    made = fitted.generate(Wanted(np.searchsorted(known, np.array(conditions)[rows]), prompts), context.seed)
    compared = nearest(made, training.images)
    with work.writing(IMAGES) as folder:
        names = save_images(made, folder, settings.name)
        save_image(contact_sheet(made, training.images, compared.places), folder / SHEET_FILE, settings.name)
    columns: dict[str, list[Any]] = {
        ITEM: items.column(ITEM).take(rows).to_pylist(),
        "path": [f"{IMAGES.path}/{name}" for name in names],
        "image_generator": [settings.name] * len(rows),
        "condition": [conditions[row] for row in rows],
        "nearest_item": items.column(ITEM).take(training.rows[compared.places]).to_pylist(),
        "distance": compared.distances.tolist(),
    }
    work.write(ITEM_IMAGES, pa.table(columns, schema=ITEM_IMAGES.schema))
    report.counts["images"] = len(rows)
    report.lines.append(
        f"images: {len(rows):,} made by {settings.name} from {len(training.rows):,} images, {made.shape[1]} pixels a "
        f"side; {compared.describe()}; each next to its nearest image: {IMAGES.path}/{SHEET_FILE}"
    )


def kinds_of(items: pa.Table, with_image: Ints) -> list[str]:
    """What the image of each item is made to show: its category, narrowed by a tag where enough images share both.

    `with_image` are the rows with an image. Of an item's tags the one of most images counts that not all of the
    category have.
    """
    heads = [(category or "any").partition(" > ")[0] for category in items.column("category").to_pylist()]
    tags = [set(each or ()) for each in items.column("tags").to_pylist()]
    of_category = Counter(heads[row] for row in with_image)
    pairs = Counter((heads[row], tag) for row in with_image for tag in tags[row])
    useful = {pair: n for pair, n in pairs.items() if ENOUGH <= n <= of_category[pair[0]] - ENOUGH}
    out = []
    for head, mine in zip(heads, tags, strict=True):
        known = [tag for tag in mine if (head, tag) in useful]
        best = max(known, key=lambda tag: (useful[head, tag], tag), default="")
        out.append(f"{head}, {best}" if best else head)
    return out


def prompts_of(items: pa.Table) -> list[str]:
    """What is to be seen, in words: title, category and tags as the catalogue has them."""
    columns = (items.column(name).to_pylist() for name in ("title", "category", "tags"))
    rows = zip(*columns, strict=True)
    return [", ".join(filter(None, [title, category, *(tags or ())])) for title, category, tags in rows]


@dataclass(frozen=True)
class Nearest:
    """The training image that each image is most like: a look shows whether it is a copy."""

    places: Ints
    """(m,) places among the training images."""
    distances: Floats
    """(m,) root mean square differences of the pixels, 0 to 1."""
    usual: float
    """A distance that 1 % of the training images have to their nearest other: below it an image is like a copy."""

    def describe(self) -> str:
        copies = int((self.distances < self.usual).sum())
        return f"{copies:,} are nearer to a training image than 99 % of those are to each other"


def nearest(made: Pixels, training: Pixels) -> Nearest:
    """Compare (m, s, s, 3) images with (n, s, s, 3) training images."""
    places, distances = _closest(made, training, itself=False)
    sample = training[:: max(1, len(training) // 2000)]
    _, among = _closest(sample, training, itself=True)
    return Nearest(places, distances, float(np.percentile(among, CLOSE)))


def _closest(images: Pixels, training: Pixels, *, itself: bool) -> tuple[Ints, Floats]:
    """The nearest training image and its distance; with `itself` the nearest that is no equal one."""
    flat = training.reshape(len(training), -1).astype(np.float32) / 255
    squares = (flat**2).sum(axis=1)
    places, distances = [], []
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].reshape(-1, flat.shape[1]).astype(np.float32) / 255
        apart = np.maximum((block**2).sum(axis=1)[:, None] - 2 * block @ flat.T + squares, 0) / flat.shape[1]
        if itself:
            apart[apart < 1e-6] = np.inf
        found = apart.argmin(axis=1)
        places.append(found)
        distances.append(np.sqrt(apart[np.arange(len(block)), found]))
    return np.concatenate(places), np.concatenate(distances).astype(np.float32)


def contact_sheet(made: Pixels, training: Pixels, places: Ints) -> Pixels:
    """All images on one sheet, to the right of each the training image that is nearest to it."""
    pairs = np.concatenate([made, training[places]], axis=2)
    missing = -len(pairs) % SHEET
    pairs = np.pad(pairs, ((0, missing), (2, 2), (2, 2), (0, 0)), constant_values=255)
    height, width = pairs.shape[1:3]
    rows = pairs.reshape(-1, SHEET, height, width, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(rows.reshape(-1, SHEET * width, 3))


def rows_without_image(conditions: Sequence[str], known: npt.NDArray[np.str_], with_image: Ints) -> Ints:
    """Rows whose condition the image generator knows: those without an image, then the others, each in order."""
    has_image = np.isin(np.arange(len(conditions)), with_image)
    able = np.isin(np.array(conditions), known)
    return np.concatenate([np.flatnonzero(able & ~has_image), np.flatnonzero(able & has_image)])
