"""Image encoders over tiny random vision models, saved and loaded as real ones are."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llmrec_cli.content import image, pretrained
from llmrec_cli.content.media import read_image
from llmrec_cli.core.errors import DataError, SettingsError

TOWER = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 16,
}
WORDS = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 8,
}
SIZE = {"height": 32, "width": 32}


def saved(folder: Path, kind: str) -> Path:
    """A tiny model of the kind with the processor that belongs to it."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    models: dict[str, Any] = {
        "clip": lambda: tf.CLIPModel(tf.CLIPConfig(text_config=WORDS, vision_config=TOWER, projection_dim=12)),
        "clip vision": lambda: tf.CLIPVisionModel(tf.CLIPVisionConfig(**TOWER)),
        "siglip": lambda: tf.SiglipModel(tf.SiglipConfig(text_config=WORDS, vision_config=TOWER)),
        "vit": lambda: tf.ViTModel(tf.ViTConfig(**TOWER)),
        "vit without pooler": lambda: tf.ViTForImageClassification(tf.ViTConfig(**TOWER)),
    }
    processors: dict[str, Any] = {
        "clip": lambda: tf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIZE),
        "siglip": lambda: tf.SiglipImageProcessorPil(size=SIZE),
        "vit": lambda: tf.ViTImageProcessorPil(size=SIZE),
    }
    models[kind]().save_pretrained(folder)
    processors[kind.split(maxsplit=1)[0]]().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Noise of different sizes and formats; the third is broken, the fourth is not there, the last a mere strip."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    files = [folder / name for name in ("a.png", "b.jpg", "broken.jpg", "gone.png", "grey.png", "small.png")]
    for file, (height, width) in zip((files[0], files[1], files[5]), ((40, 30), (500, 900), (3, 3)), strict=True):
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(file)
    Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8)).save(files[4])
    files[2].write_bytes(files[1].read_bytes()[:2000])
    strip = folder / "strip.png"
    Image.new("RGB", (1, 4000)).save(strip)
    return [*files, strip]


@pytest.mark.parametrize(
    ("kind", "dim"), [("clip", 12), ("clip vision", 16), ("siglip", 16), ("vit", 16), ("vit without pooler", 16)]
)
def test_encoders_do_not_mix_images_of_a_batch(kind: str, dim: int, tmp_path: Path, pictures: list[Path]) -> None:
    reported: list[int] = []
    saved(tmp_path / "models" / "tiny", kind)
    encoder = image.build("models/tiny", "cpu", reported.append, tmp_path)
    together = encoder.encode(pictures)
    assert encoder.name == "tiny" and together.shape == (7, dim) and sum(reported) == 7
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), [1, 1, 0, 0, 1, 1, 0], atol=1e-5)
    alone = np.concatenate([encoder.encode([pictures[row]]) for row in (0, 1, 4, 5)])
    np.testing.assert_allclose(together[[0, 1, 4, 5]], alone, atol=0.02)
    again = image.build("models/tiny", "cpu", reported.append, tmp_path).encode(pictures)
    np.testing.assert_array_equal(together, again)  # a pooler that the checkpoint lacks would be drawn anew


def test_no_image_at_all_gives_zeros(tmp_path: Path, pictures: list[Path]) -> None:
    encoder = image.build(str(saved(tmp_path, "vit")), "cpu", lambda n: None)
    assert not encoder.encode(pictures[2:4]).any()


def test_jpegs_are_decoded_at_the_detail_needed(pictures: list[Path]) -> None:
    small = read_image(pictures[1], 100)
    assert small is not None and small.mode == "RGB" and small.size[0] < 900


def test_a_text_model_is_reported_to_be_no_image_model(tmp_path: Path, pictures: list[Path]) -> None:
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(**WORDS)).save_pretrained(tmp_path)
    with pytest.raises(DataError) as caught:
        image.build(str(tmp_path), "cpu", lambda n: None).encode(pictures[:1])
    assert tmp_path.name in caught.value.what and "\n" not in caught.value.what


def test_a_folder_that_is_not_there_is_reported_with_its_setting(tmp_path: Path) -> None:
    for name in ("clip", "./clip", "~/no/such/clip", "/no/such", "models/image/clip"):
        with pytest.raises(SettingsError, match="does not exist") as caught:
            image.build(name, "cpu", lambda n: None, tmp_path)
        assert "pretrain.image_encoder" in caught.value.fix


def test_states_are_averaged_over_both_sides_of_a_map() -> None:
    import torch

    states = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert pretrained.mean_state(states, None).tolist() == [[5.5, 17.5]]


def test_a_huge_image_is_no_image_and_says_nothing_of_its_own(tmp_path: Path) -> None:
    Image.new("1", (9500, 9500)).save(tmp_path / "huge.png")
    with warnings.catch_warnings(action="error"):
        assert read_image(tmp_path / "huge.png", 32) is None
