from __future__ import annotations

import csv

import numpy as np
from PIL import Image

from benchmarks.picture_sample import OUT, SEED, looks, simulate, standardised_within


def rows(name: str) -> list[dict[str, str]]:
    with (OUT / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_item_has_a_picture_and_events_are_of_known_items() -> None:
    items = rows("items.csv")
    sizes = {Image.open(OUT / row["image"]).size for row in items}
    assert sizes == {(28, 28)} and len(items) == len(list((OUT / "images").iterdir())) == 500
    assert {row["item"] for row in rows("events.csv")} <= {row["item"] for row in items}
    assert sum(file.stat().st_size for file in OUT.rglob("*") if file.is_file()) < 1_000_000


def test_choices_follow_the_looks() -> None:
    """Items of one user are nearer to each other in looks than items of different users, also within a category."""
    items = rows("items.csv")
    images = np.stack([np.asarray(Image.open(OUT / row["image"])) for row in items])
    _, labels = np.unique([row["category"] for row in items], return_inverse=True)
    style = standardised_within(looks(images), labels)
    events = simulate(style, labels, np.random.default_rng(SEED))
    users, chosen = (np.array([event[column] for event in events]) for column in (0, 1))
    spread = np.mean([style[chosen[users == user]].var(axis=0).mean() for user in np.unique(users)])
    assert spread < 0.7 * style[chosen].var(axis=0).mean()
    assert len({(user, item) for user, item, _ in events}) == len(events)
