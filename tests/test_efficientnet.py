from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llmrec_cli.content import encoder_files, silent
from llmrec_cli.content.image import build
from llmrec_cli.core.errors import DataError, MissingExtraError
from llmrec_cli.extras import efficientnet
from llmrec_cli.extras.efficientnet import NAME, EfficientNetLite0, Same, convert, opened


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network of random weights, converted from a file like the package's."""
    monkeypatch.setenv("LLMREC_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    torch.manual_seed(0)
    network = efficientnet.Network()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    convert(tmp_path / "weights.pth", tmp_path / "models" / NAME)
    return tmp_path / "models" / NAME


def test_images_become_vectors_of_their_own(model: Path, tmp_path: Path) -> None:
    for name, colour in (("a", (250, 0, 0)), ("b", (0, 90, 0)), ("c", (250, 0, 0))):
        Image.new("RGB", (30, 28), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_text("no image")
    encoder = build(NAME, "cpu", silent)
    assert isinstance(encoder, EfficientNetLite0)
    found = encoder.encode([tmp_path / f"{name}.png" for name in ("a", "b", "broken", "c")])
    assert found.shape == (4, 1280)
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1, 0, 1], abs=1e-5)
    assert (found[0] == found[3]).all() and (found[0] != found[1]).any()


def test_the_model_is_an_input_of_pretrain(model: Path) -> None:
    before = EfficientNetLite0("cpu", silent).identity
    assert encoder_files.folder_of("image", NAME, Path()) == model
    torch.manual_seed(1)
    efficientnet.save_file(efficientnet.Network().state_dict(), model / "model.safetensors")
    assert EfficientNetLite0("cpu", silent).identity != before


def test_a_missing_and_a_damaged_model_say_how_to_get_it(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataError, match="cannot be read"):
        opened(model)
    (model / "config.json").unlink()
    with pytest.raises(MissingExtraError, match="not installed") as error:
        build(NAME, "cpu", silent)
    assert error.value.fix == f"llmrec models fetch {NAME}"


@pytest.mark.parametrize(("kernel", "n", "first"), [(3, 4, 3), (3, 5, 2), (5, 4, 4)])
def test_padding_is_as_tensorflow_does_it(kernel: int, n: int, first: int) -> None:
    layer = Same(1, 1, kernel, 2, bias=False)
    torch.nn.init.ones_(layer.weight)
    line = layer(torch.ones(1, 1, n, n))
    assert line.shape[-1] == -(-n // 2)
    assert round(float(line[0, 0, 0, 0].detach()) ** 0.5) == first  # ones that the first window sees of a row
