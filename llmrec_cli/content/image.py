"""Image encoders: any vision model of transformers (CLIP, SigLIP, DINOv2, ConvNeXt, ...), by folder or hub name."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec_cli.content import IMAGE_ENCODERS, Advance, FileEncoder, Log, pretrained, silent
from llmrec_cli.content.media import read_image
from llmrec_cli.core.arrays import Floats, Ints, unit
from llmrec_cli.core.registry import load_variant
from llmrec_cli.tensors.runtime import choose_device, fast_dtype


def build(name: str, device: str, advance: Advance, base: Path = Path(), log: Log = silent) -> FileEncoder:
    """The encoder of that name, in a folder (from `base`), on the hub, or "module:Class"."""
    if name in IMAGE_ENCODERS or ":" in name:
        encoder: FileEncoder = load_variant("image encoder", IMAGE_ENCODERS, name, FileEncoder)(device, advance)
        return encoder
    return ImageEncoder(device, advance, pretrained.locate(name, "image", base, log))


class ImageEncoder:
    """Image features of a dual encoder (Radford et al. 2021, Zhai et al. 2023), the pooler, or the mean of patches."""

    batch_size = 32
    side = 512
    """Pixels that images are decoded to at least, twice what most models look at."""
    itemwise = True

    def __init__(self, device: str, advance: Advance, checkpoint: pretrained.Checkpoint) -> None:
        self.device, self.advance, self.checkpoint = device, advance, checkpoint
        self.name = checkpoint.label

    @cached_property
    def identity(self) -> str:
        """See `Cacheable`."""
        return self.checkpoint.identity("image", self.side, fast_dtype(torch.device(choose_device(self.device))))

    def encode(self, files: list[Path]) -> Floats:
        """(files, dim) unit-length rows; a zero row for a file that holds no image."""
        parts: list[tuple[Ints, Floats]] = []
        for start in range(0, len(files), self.batch_size):
            block = files[start : start + self.batch_size]
            read = {start + n: opened for n, file in enumerate(block) if (opened := read_image(file, self.side))}
            if read:
                parts.append((np.array(list(read)), self._pooled(list(read.values()))))
            self.advance(len(block))
        return unit(pretrained.assembled(len(files), parts))

    def _pooled(self, images: list[Any]) -> Floats:
        processor, model = self._opened
        # without the named format an image three pixels high passes for one with channels first
        features = processor(images=images, input_data_format="channels_last", return_tensors="pt")
        return model.pooled(features, "get_image_features")

    @cached_property
    def _opened(self) -> tuple[Any, pretrained.Opened]:
        from transformers import AutoImageProcessor

        # Pillow's own resizing: needs no torchvision, and gives the same with and without it
        return self.checkpoint.load(AutoImageProcessor, backend="pil"), self.checkpoint.open(self.device)
