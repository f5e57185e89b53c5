"""What every image generator must do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_cli.core.errors import SettingsError
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.imaging.generators import GENERATORS, Examples, ImageGenerator, Wanted, load_class

QUICK: dict[str, dict[str, Any]] = {
    "gan": {"steps": 80, "batch_size": 16, "width": 8, "latent_dim": 4, "average": 0.9, "learning_rate": 4e-3},
    "vae": {"steps": 60, "batch_size": 16, "width": 8, "latent_dim": 4},
    "collage": {},
}
RED, BLUE = (220, 20, 20), (20, 20, 220)
WANTED = Wanted(np.array([0, 1, 0]), ["red", "blue", "red"])


def examples(size: int = 16, colours: tuple[tuple[int, ...], ...] = (RED, BLUE)) -> Examples:
    rng = np.random.default_rng(0)
    kinds = np.arange(40) % len(colours)
    images = np.array(colours)[kinds][:, None, None, :] + rng.integers(-20, 20, (40, size, size, 1))
    return Examples(np.clip(images, 0, 255).astype(np.uint8), kinds, len(colours))


def fitted(name: str, of: Examples) -> ImageGenerator:
    kind = load_class(name)
    return kind.fit(kind.Config(**QUICK[name]), of, seed=1, device="cpu", progress=PlainProgress(quiet=True))


@pytest.mark.parametrize("name", sorted(QUICK))
def test_generators_make_the_kind_they_are_asked_for(name: str) -> None:
    first, second = (fitted(name, examples()).generate(WANTED, seed=5) for _ in range(2))
    assert first.shape == (3, 16, 16, 3) and first.dtype == np.uint8
    red, blue = first[..., 0].mean(axis=(1, 2)), first[..., 2].mean(axis=(1, 2))
    assert (red > blue).tolist() == [True, False, True]
    assert (first == second).all()
    assert (first[0] != first[2]).any()


@pytest.mark.parametrize("name", sorted(QUICK))
@pytest.mark.parametrize("size", [20, 28, 64])
def test_generators_make_images_as_large_as_the_examples_and_grey_ones_of_grey(name: str, size: int) -> None:
    made = fitted(name, examples(size, ((40, 40, 40),))).generate(Wanted(np.zeros(2, dtype=np.int64), ["a", "b"]), 1)
    assert made.shape == (2, size, size, 3)
    assert name == "collage" or (made == made[..., :1]).all()


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_settings_have_defaults(name: str) -> None:
    assert load_class(name).Config() == load_class(name).Config.model_validate({})


def test_a_collage_is_of_the_pictures_of_its_kind() -> None:
    made = fitted("collage", examples(16, ((10, 10, 10), (200, 200, 200)))).generate(Wanted(np.array([1]), [""]), 1)
    assert (made > 150).all() and (made[0, 7] == 255).all() and (made[0, 0, :7] < 230).all()


def test_diffusers_needs_a_folder(tmp_path: Path) -> None:
    kind = load_class("diffusers")
    for folder in ("", str(tmp_path)):
        with pytest.raises(SettingsError, match=r"model_index\.json"):
            kind.folder(kind.Config(pipeline=folder))
