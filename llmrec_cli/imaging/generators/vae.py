"""A small class-conditional variational autoencoder (Kingma & Welling, 2014; conditional as in Sohn et al., 2015)."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import nn

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.progress import Task
from llmrec_cli.imaging.generators import Pixels
from llmrec_cli.tensors.runtime import choose_device, seed_everything

KIND_DIM = 16
SMALLEST = 4  # side of the innermost feature map, in pixels


class VaeConfig(BaseModel, frozen=True, extra="forbid"):
    steps: int = Field(250, ge=1, description="training steps")
    batch_size: int = Field(32, ge=1, description="images in a step")
    latent_dim: int = Field(32, ge=1, description="width of the code of an image")
    width: int = Field(32, ge=4, description="channels of the first layer; they double with each halving of the side")
    pixel_deviation: float = Field(
        0.3, gt=0, description="what a pixel may be off by (0 to 1); higher makes smoother images"
    )
    learning_rate: float = Field(2e-3, gt=0, description="of AdamW")


class Network(nn.Module):
    """B images, S pixels a side, K width of the kind, Z width of the code."""

    def __init__(self, config: VaeConfig, size: int, n_kinds: int) -> None:
        super().__init__()
        halvings = (size // SMALLEST).bit_length() - 1
        side = size >> halvings
        channels = [config.width << min(i, 2) for i in range(halvings)]
        inner = channels[-1] * side * side
        self.kind = nn.Embedding(n_kinds, KIND_DIM)
        down = [(a, b) for a, b in zip([3, *channels], channels, strict=False)]
        self.encoder = nn.Sequential(*(_layer(nn.Conv2d(a, b, 4, 2, 1)) for a, b in down), nn.Flatten())
        self.code = nn.Linear(inner + KIND_DIM, 2 * config.latent_dim)
        self.start = nn.Sequential(
            nn.Linear(config.latent_dim + KIND_DIM, inner), nn.SiLU(), nn.Unflatten(1, (channels[-1], side, side))
        )
        up = [(b, a) for a, b in reversed(list(zip([config.width, *channels], channels, strict=False)))]
        self.decoder = nn.Sequential(
            *(_layer(nn.ConvTranspose2d(a, b, 4, 2, 1)) for a, b in up), nn.Conv2d(config.width, 3, 3, padding=1)
        )

    def decode(self, code: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        """(B, Z) codes and (B,) kinds to (B, 3, S, S) images in 0..1."""
        pixels: torch.Tensor = self.decoder(self.start(torch.cat([code, self.kind(kind)], dim=1))).sigmoid()
        return pixels

    def forward(self, images: torch.Tensor, kind: torch.Tensor, noise: torch.Tensor, deviation: float) -> torch.Tensor:
        """The negative evidence lower bound of (B, 3, S, S) images: pixels are Gaussian around the generated ones."""
        mean, log_variance = self.code(torch.cat([self.encoder(images), self.kind(kind)], dim=1)).chunk(2, dim=1)
        log_variance = log_variance.clamp(-10, 10)
        made = self.decode(mean + noise * (log_variance / 2).exp(), kind)
        error = (made - images).square().sum() / (2 * deviation**2)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        return (error + divergence) / len(images)


class VaeGenerator:
    def __init__(self, config: VaeConfig, network: Network) -> None:
        self.config, self._network = config, network.eval()

    @classmethod
    def fit(cls, config: VaeConfig, images: Pixels, kinds: Ints, *, seed: int, device: str, task: Task) -> Self:
        where = torch.device(choose_device(device))
        seed_everything(seed, 1)
        network = Network(config, images.shape[1], int(kinds.max()) + 1).to(where).train()
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=config.steps)
        rng = np.random.default_rng([seed, 2])
        for _ in range(config.steps):
            rows = rng.integers(len(images), size=min(config.batch_size, len(images)))
            batch = pixels[rows].to(where).float() / 255
            noise = torch.from_numpy(rng.standard_normal((len(rows), config.latent_dim), dtype=np.float32)).to(where)
            loss = network(batch, torch.from_numpy(kinds[rows]).to(where), noise, config.pixel_deviation)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            task.advance(note=f"loss {loss.item():.0f}")
        return cls(config, network)

    @torch.inference_mode()
    def generate(self, kinds: Ints, seed: int) -> Pixels:
        rng = np.random.default_rng([seed, 3])
        codes = rng.standard_normal((len(kinds), self.config.latent_dim), dtype=np.float32)
        where = self._network.kind.weight.device
        made = self._network.decode(torch.from_numpy(codes).to(where), torch.from_numpy(kinds).to(where))
        pixels: Pixels = (made.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()
        return pixels


def _layer(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    channels = convolution.out_channels
    return nn.Sequential(convolution, nn.GroupNorm(min(8, channels), channels), nn.SiLU())
