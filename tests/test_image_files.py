from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llmrec_cli.imaging.image_files import read_training_images, save_images

RED, BLUE = (220, 20, 20), (20, 20, 220)


def save(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path)


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
    found = read_training_images(paths, project, 16, limit=10)
    assert (found.rows.tolist(), found.outside, found.unreadable) == ([1, 7], 3, 2)
    assert found.images.shape == (2, 16, 16, 3) and tuple(found.images[0, 0, 0]) == RED


def test_pictures_stop_at_the_limit(tmp_path: Path) -> None:
    save(tmp_path / "in.png", RED)
    assert len(read_training_images(["in.png"] * 5, tmp_path, 16, limit=2).images) == 2


@pytest.mark.parametrize(("sides", "size"), [((64, 100, 20), 64), ((63, 100, 20), 32), ((28, 28), 32)])
def test_the_size_is_what_half_of_the_pictures_have(sides: tuple[int, ...], size: int, tmp_path: Path) -> None:
    for side in sides:
        Image.new("RGB", (side, side), RED).save(tmp_path / f"{side}.png")
    found = read_training_images([f"{side}.png" for side in sides], tmp_path, None, limit=10)
    assert found.images.shape == (len(sides), size, size, 3)


@pytest.mark.parametrize(("generator", "source"), [("gan", "trainedAlgorithmicMedia"), ("collage", "compositeCapture")])
def test_a_file_says_that_it_was_generated(generator: str, source: str, tmp_path: Path) -> None:
    (name,) = save_images(np.zeros((1, 8, 8, 3), dtype=np.uint8), tmp_path, generator)
    with Image.open(tmp_path / name) as image:
        marks = image.info
    assert marks["Comment"].startswith("generated") and generator in marks["Software"]
    assert f"digitalsourcetype/{source}" in marks["XML:com.adobe.xmp"]
