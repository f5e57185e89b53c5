"""Make `data/pictures`: images of Fashion-MNIST as a catalogue, and a log simulated from how they look.

    python -m benchmarks.picture_sample FOLDER     FOLDER holds the files of the Debian package dataset-fashion-mnist

Nobody chose anything here. Every user is drawn a taste: weights of the ten categories, and a wish for how dark, how
patterned and how wide things look, measured on the pixels. Choices follow category, looks and some popularity, without
repeats. Titles and prices say nothing of the looks, so a model has to see the images, or to learn them from choices.
"""

from __future__ import annotations

import csv
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.images import CLASSES, read_images
from llmrec_cli.core.arrays import Floats, Ints

OUT = Path(__file__).resolve().parents[1] / "data" / "pictures"
SEED, OF_CATEGORY, N_USERS = 42, 50, 450
LOOKS, LIKES, POPULARITY = 2.2, 1.6, 0.5
"""How much looks, category and popularity weigh in a choice."""
SHORTEST, LONGEST = 5, 18  # choices of a user
START, DAYS = datetime(2026, 1, 1), 270
GROUPS = {"T-shirt": "Tops", "Trouser": "Bottoms", "Pullover": "Tops", "Dress": "Dresses", "Coat": "Outerwear"} | {
    "Sandal": "Shoes",
    "Shirt": "Tops",
    "Sneaker": "Shoes",
    "Bag": "Bags",
    "Ankle boot": "Shoes",
}


def looks(images: npt.NDArray[np.uint8]) -> Floats:
    """(n, 3) how light, how patterned and how wide each (28, 28) image is, standardised among all."""
    pixels = images.astype(np.float32) / 255
    thing = pixels > 0.05
    area = np.maximum(thing.sum(axis=(1, 2)), 1)
    light = pixels.sum(axis=(1, 2)) / area
    pattern = np.abs(np.diff(pixels, axis=1)).sum(axis=(1, 2)) / area
    wide = thing.any(axis=1).sum(axis=1) / np.maximum(thing.any(axis=2).sum(axis=1), 1)
    columns = np.stack([light, pattern, wide], axis=1)
    return np.asarray((columns - columns.mean(axis=0)) / columns.std(axis=0), dtype=np.float32)


def standardised_within(values: Floats, labels: Ints) -> Floats:
    """The same within each category: what is dark for a shirt."""
    out = values.copy()
    for label in np.unique(labels):
        of = labels == label
        out[of] = (values[of] - values[of].mean(axis=0)) / values[of].std(axis=0)
    return out


def simulate(style: Floats, labels: Ints, rng: np.random.Generator) -> list[tuple[int, int, datetime]]:
    """(user, item, time) of all choices, in order of time."""
    popularity = rng.standard_normal(len(labels))
    events = []
    for user in range(N_USERS):
        wish = rng.standard_normal(style.shape[1])
        wish *= 1.5 / np.linalg.norm(wish)
        likes = rng.standard_normal(len(CLASSES))
        appeal = POPULARITY * popularity + LIKES * likes[labels] - LOOKS / 2 * ((style - wish) ** 2).sum(axis=1)
        n = int(rng.integers(SHORTEST, LONGEST + 1))
        chosen = np.argsort(-(appeal + rng.gumbel(size=len(labels))))[:n]  # n draws without repeats
        seconds = np.sort(rng.integers(DAYS * 86400, size=n))
        times = [START + timedelta(seconds=int(second)) for second in seconds]
        events += list(zip([user] * n, rng.permutation(chosen).tolist(), times, strict=True))
    return sorted(events, key=lambda event: (event[2], event[0]))


def write(name: str, header: list[str], rows: list[list[Any]]) -> None:
    with (OUT / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def main(folder: Path) -> None:
    rng = np.random.default_rng(SEED)
    images, labels = read_images(folder, "t10k")
    rows = np.concatenate([rng.permutation(np.flatnonzero(labels == k))[:OF_CATEGORY] for k in range(len(CLASSES))])
    rows = rng.permutation(rows)
    images, labels = images[rows], labels[rows]
    style = standardised_within(looks(images), labels)
    (OUT / "images").mkdir(parents=True, exist_ok=True)
    items = []
    for place, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        kind = CLASSES[label]
        path = f"images/{place + 1:03d}.png"
        Image.fromarray(image).save(OUT / path, optimize=True)
        price = round(float(rng.lognormal(3.2, 0.5)), 2)
        items.append([f"F{place + 1:03d}", f"{kind} No. {place + 1}", f"{GROUPS[kind]} > {kind}", price, path])
    write("items.csv", ["item", "title", "category", "price", "image"], items)
    events = simulate(style, labels, rng)
    log = [[f"P{user + 1:03d}", items[item][0], time.isoformat(" ")] for user, item, time in events]
    write("events.csv", ["user", "item", "time"], log)
    print(f"{len(items)} items, {len(log)} events of {N_USERS} users")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
