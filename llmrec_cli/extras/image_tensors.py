"""Images as tensors, for the generators that learn: batches of examples, and back to pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from llmrec_cli.core.arrays import Ints
from llmrec_cli.imaging.generators import Examples, Pixels
from llmrec_cli.tensors.runtime import choose_device, fast_dtype

SMALLEST = 4  # side of the innermost feature map, in pixels, at least
BLOCK = 256  # images made at a time

Network = TypeVar("Network", bound=torch.nn.Module)


def halvings(size: int) -> int:
    """How often a side can be halved."""
    return (size // SMALLEST).bit_length() - 1


def n_channels(images: Pixels) -> int:
    """1 where all images are grey, else 3."""
    return 1 if (images == images[..., :1]).all() else 3


@dataclass(frozen=True)
class Batches:
    """Random batches of examples and noise, on a device; the same seed draws the same."""

    pixels: torch.Tensor
    """(n, channels, size, size) bytes."""
    kinds: torch.Tensor
    rng: np.random.Generator
    device: torch.device
    size: int
    """Images in a batch."""

    @classmethod
    def of(cls, examples: Examples, size: int, device: str, seed: int) -> Batches:
        pixels = torch.from_numpy(np.ascontiguousarray(examples.images[..., : n_channels(examples.images)]))
        rng = np.random.default_rng([seed, 2])
        where = torch.device(choose_device(device))
        kinds = torch.from_numpy(examples.kinds)
        return cls(pixels.permute(0, 3, 1, 2), kinds, rng, where, min(size, len(pixels)))

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, channels, size, size) images in -1..1 and their (B,) kinds."""
        rows = torch.from_numpy(self.rng.integers(len(self.pixels), size=self.size))
        return self.at(rows), self.kinds[rows].to(self.device)

    def at(self, rows: torch.Tensor) -> torch.Tensor:
        """The images of some rows in -1..1."""
        images = self.pixels[rows].to(self.device).float() / 127.5 - 1
        return images.contiguous(memory_format=torch.channels_last)

    def noise(self, width: int) -> torch.Tensor:
        """(B, width) standard normal."""
        return torch.from_numpy(self.rng.standard_normal((self.size, width), dtype=np.float32)).to(self.device)

    def autocast(self) -> torch.autocast:
        """The fast number format of the device."""
        return torch.autocast(
            self.device.type, fast_dtype(self.device), enabled=fast_dtype(self.device) != torch.float32
        )


def placed(network: Network, device: torch.device) -> Network:
    """At training on a device, convolutions in the order of bytes that is fast on it."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(device).train()


def made(decode: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], codes: torch.Tensor, kinds: Ints) -> Pixels:
    """What a network makes of (m, width) codes and (m,) kinds, block by block: (m, size, size, 3) bytes."""
    places = torch.from_numpy(kinds)
    with torch.inference_mode():
        parts = [
            decode(codes[start : start + BLOCK], places[start : start + BLOCK].to(codes.device)).float().cpu()
            for start in range(0, len(codes), BLOCK)
        ]
    pixels = torch.cat(parts).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return np.ascontiguousarray(pixels.expand(-1, -1, -1, 3).numpy())
