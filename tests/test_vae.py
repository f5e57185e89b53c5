from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.registry import load_variant
from llmrec_cli.imaging.generators import GENERATORS, ImageGenerator
from llmrec_cli.imaging.generators.vae import VaeConfig
from llmrec_cli.imaging.image_files import read_pictures

RED, BLUE = (220, 20, 20), (20, 20, 220)


def save(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path)


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_generators_make_the_kind_they_are_asked_for(name: str) -> None:
    rng = np.random.default_rng(0)
    kinds = np.arange(40) % 2
    colours = np.array([RED, BLUE])[kinds][:, None, None, :] + rng.integers(-20, 20, (40, 16, 16, 1))
    images = np.clip(colours, 0, 255).astype(np.uint8)
    config = VaeConfig(steps=60, batch_size=16, latent_dim=4, width=8)
    with PlainProgress(quiet=True).task("", 60) as task:
        first, second = (
            load_variant("image generator", GENERATORS, name, ImageGenerator).fit(
                config, images, kinds, seed=1, device="cpu", task=task
            )
            for _ in range(2)
        )
    made = first.generate(np.array([0, 1, 0]), seed=5)
    assert made.shape == (3, 16, 16, 3) and made.dtype == np.uint8
    red, blue = made[..., 0].mean(axis=(1, 2)), made[..., 2].mean(axis=(1, 2))
    assert (red > blue).tolist() == [True, False, True]
    assert (made == second.generate(np.array([0, 1, 0]), seed=5)).all()


def test_pictures_cannot_leave_their_folder(tmp_path: Path) -> None:
    project = tmp_path / "project"
    save(project / "in.png", RED)
    save(tmp_path / "out.png", BLUE)
    (project / "link.png").symlink_to(tmp_path / "out.png")
    (project / "broken.png").write_text("no image")
    paths = [
        None,
        "in.png",
        "../out.png",
        str(tmp_path / "out.png"),
        "link.png",
        "broken.png",
        "gone.png",
        "sub/../in.png",
    ]
    found = read_pictures(paths, project, 16, limit=10)
    assert (found.rows.tolist(), found.outside, found.unreadable) == ([1, 7], 3, 2)
    assert found.images.shape == (2, 16, 16, 3) and tuple(found.images[0, 0, 0]) == RED


def test_pictures_stop_at_the_limit(tmp_path: Path) -> None:
    save(tmp_path / "in.png", RED)
    assert len(read_pictures(["in.png"] * 5, tmp_path, 16, limit=2).images) == 2
