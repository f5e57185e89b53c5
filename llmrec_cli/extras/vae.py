"""A class-conditional variational autoencoder (Kingma & Welling, 2014; Sohn et al., 2015) that draws from what its
codes are like: a mixture of normal distributions for each kind, fitted after the training (Ghosh et al., 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import nn

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.core.progress import Progress
from llmrec_cli.extras.image_tensors import BLOCK, Batches, halvings, made, placed
from llmrec_cli.imaging.generators import Examples, Pixels, Wanted
from llmrec_cli.tensors.runtime import seed_everything

KIND_DIM = 16
CODES_A_PART = 60  # examples that a part of a kind's mixture needs
MOST_CODES = 20_000  # examples that the mixtures are fitted on
RIDGE = 1e-3  # added to variances


class VaeConfig(BaseModel, frozen=True, extra="forbid"):
    steps: int = Field(2000, ge=1, description="training steps")
    batch_size: int = Field(64, ge=1, description="images in a step")
    latent_dim: int = Field(32, ge=1, description="width of the code of an image")
    width: int = Field(32, ge=4, description="channels at full size; they double with each halving of the side, twice")
    pixel_deviation: float = Field(
        0.1, gt=0, description="what a pixel may be off by (of -1 to 1); higher makes smoother images"
    )
    parts: int = Field(10, ge=1, description="normal distributions that the codes of a kind are made of, at most")
    learning_rate: float = Field(2e-3, gt=0, description="of AdamW")


class Network(nn.Module):
    """B images of C channels, S pixels a side; K width of the kind, Z width of the code."""

    def __init__(self, config: VaeConfig, shape: tuple[int, int], n_kinds: int) -> None:
        super().__init__()
        channels, size = shape
        levels = halvings(size)
        side = size >> levels
        widths = [config.width << min(level, 2) for level in range(levels + 1)]
        inner = widths[-1] * side * side
        self.kind = nn.Embedding(n_kinds, KIND_DIM)
        down = zip([channels, *widths[:-1]], [*widths[:-1], widths[-1]], strict=True)
        steps = [_layer(nn.Conv2d(a, b, 4, 2, 1)) for a, b in list(down)[:levels]]
        self.encoder = nn.Sequential(*steps, nn.Conv2d(widths[levels - 1], widths[-1], 3, padding=1), nn.Flatten())
        self.code = nn.Linear(inner + KIND_DIM, 2 * config.latent_dim)
        self.start = nn.Sequential(
            nn.Linear(config.latent_dim + KIND_DIM, inner), nn.SiLU(), nn.Unflatten(1, (widths[-1], side, side))
        )
        up = zip(widths[::-1], widths[-2::-1], strict=False)
        self.decoder = nn.Sequential(
            *(_layer(nn.ConvTranspose2d(a, b, 4, 2, 1)) for a, b in up), nn.Conv2d(widths[0], channels, 3, padding=1)
        )

    def encode(self, images: torch.Tensor, kind: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, Z) means and logarithms of variances."""
        mean, log_variance = (
            self.code(torch.cat([self.encoder(images), self.kind(kind)], dim=1)).float().chunk(2, dim=1)
        )
        return mean, log_variance.clamp(-10, 10)

    def decode(self, code: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        """(B, Z) codes and (B,) kinds to (B, C, S, S) images in -1..1."""
        inner = self.start(torch.cat([code, self.kind(kind)], dim=1)).contiguous(memory_format=torch.channels_last)
        pixels: torch.Tensor = self.decoder(inner).tanh()
        return pixels

    def forward(self, images: torch.Tensor, kind: torch.Tensor, noise: torch.Tensor, deviation: float) -> torch.Tensor:
        """The negative evidence lower bound of images: pixels are normally distributed around the generated ones."""
        mean, log_variance = self.encode(images, kind)
        found = self.decode(mean + noise * (log_variance / 2).exp(), kind).float()
        error = (found - images).square().sum() / (2 * deviation**2)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        return (error + divergence) / len(images)


@dataclass(frozen=True)
class Mixture:
    """What the codes of a kind are like."""

    weights: Floats
    means: Floats
    """(parts, Z)."""
    factors: Floats
    """(parts, Z, Z): times standard normal noise they have the covariance of the part."""

    @classmethod
    def of(cls, codes: Floats, parts: int, seed: int) -> Mixture:
        """Fitted on (n, Z) codes; fewer parts where there are few codes."""
        from sklearn.mixture import GaussianMixture

        n = max(1, min(parts, len(codes) // CODES_A_PART))
        kind = "full" if len(codes) > n * codes.shape[1] else "diag"
        found = GaussianMixture(n, covariance_type=kind, reg_covar=RIDGE, random_state=seed).fit(
            np.resize(codes, (max(len(codes), 2), codes.shape[1]))
        )
        covariances = found.covariances_ if kind == "full" else np.stack([np.diag(row) for row in found.covariances_])
        return cls(found.weights_, found.means_, np.linalg.cholesky(covariances))

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """(n, Z) codes."""
        part = rng.choice(len(self.weights), size=n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        drawn = self.means[part] + np.einsum("nij,nj->ni", self.factors[part], noise)
        return np.asarray(drawn, dtype=np.float32)


class VaeGenerator:
    Config = VaeConfig

    def __init__(self, config: VaeConfig, network: Network, mixtures: list[Mixture]) -> None:
        self.config, self._network, self._mixtures = config, network.eval(), mixtures

    @classmethod
    def folder(cls, config: VaeConfig) -> None:
        """It is read from none."""

    @classmethod
    def fit(cls, config: VaeConfig, examples: Examples, *, seed: int, device: str, progress: Progress) -> Self:
        """See `ImageGenerator`."""
        seed_everything(seed, 1)
        batches = Batches.of(examples, config.batch_size, device, seed)
        _, channels, size, _ = batches.pixels.shape
        network = placed(Network(config, (channels, size), examples.n_kinds), batches.device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=config.steps)
        with progress.task("train vae", config.steps, "steps") as task:
            for _ in range(config.steps):
                images, kinds = batches.draw()
                with batches.autocast():
                    loss = network(images, kinds, batches.noise(config.latent_dim), config.pixel_deviation)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                task.advance(note=f"loss {float(loss.detach()):.0f}")
        return cls(config, network, mixtures(network.eval(), batches, examples.kinds, config, seed))

    def generate(self, wanted: Wanted, seed: int) -> Pixels:
        """See `ImageGenerator`."""
        rng = np.random.default_rng([seed, 3])
        codes = np.zeros((len(wanted.kinds), self.config.latent_dim), dtype=np.float32)
        for kind in np.unique(wanted.kinds):
            rows = np.flatnonzero(wanted.kinds == kind)
            codes[rows] = self._mixtures[kind].draw(len(rows), rng)
        return made(self._network.decode, torch.from_numpy(codes).to(self._network.kind.weight.device), wanted.kinds)


@torch.inference_mode()
def mixtures(network: Network, batches: Batches, kinds: Ints, config: VaeConfig, seed: int) -> list[Mixture]:
    """One of each kind, of the codes of its examples."""
    rows = np.random.default_rng([seed, 5]).permutation(len(kinds))[:MOST_CODES]
    codes = np.zeros((len(rows), config.latent_dim), dtype=np.float32)
    noise = np.random.default_rng([seed, 6]).standard_normal(codes.shape, dtype=np.float32)
    for start in range(0, len(rows), BLOCK):
        part = torch.from_numpy(rows[start : start + BLOCK])
        mean, log_variance = network.encode(batches.at(part), batches.kinds[part].to(batches.device))
        spread = (log_variance / 2).exp().cpu().numpy() * noise[start : start + BLOCK]
        codes[start : start + BLOCK] = mean.cpu().numpy() + spread
    known = range(len(network.kind.weight))
    return [Mixture.of(codes[kinds[rows] == kind], config.parts, seed) for kind in known]


def _layer(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    channels = convolution.out_channels
    return nn.Sequential(convolution, nn.GroupNorm(min(8, channels), channels), nn.SiLU())
