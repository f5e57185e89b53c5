"""The measuring of `benchmarks.images`."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks.images import Classifier, frechet, look, read_images


def test_the_distance_of_normal_clouds_is_the_one_in_closed_form() -> None:
    a = np.random.default_rng(0).standard_normal((2000, 6))
    scale = np.arange(1, 7) / 3
    b = a * scale + 2
    covariance = np.cov(a.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariance) + np.trace(np.cov(b.T))
    product = covariance @ np.cov(b.T)
    expected -= 2 * np.sqrt(np.linalg.eigvals(product).real).sum()
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_pictures_and_labels_are_read_and_looked_at(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels.tobytes()))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + bytes(range(5))))
    images, labels = read_images(tmp_path, "train")
    assert (images == pixels).all() and labels.tolist() == [0, 1, 2, 3, 4]
    features, classes = look(Classifier().eval(), images)
    assert features.shape == (5, 128) and classes.shape == (5,)
