"""A class-conditional generative adversarial network (Goodfellow et al., 2014): projection discriminator, hinge loss,
spectral norm (Miyato & Koyama, 2018; Miyato et al., 2018), and the average of the generator's weights.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import nn
from torch.nn.functional import leaky_relu, relu
from torch.nn.utils.parametrizations import spectral_norm

from llmrec_cli.core.progress import Progress
from llmrec_cli.extras.image_tensors import Batches, halvings, made, placed
from llmrec_cli.imaging.generators import Examples, Pixels, Wanted
from llmrec_cli.tensors.runtime import seed_everything

WARM_UP = 10  # steps: young averages forget faster


class GanConfig(BaseModel, frozen=True, extra="forbid"):
    steps: int = Field(2000, ge=1, description="training steps of each of the two networks")
    batch_size: int = Field(32, ge=2, description="images in a step")
    latent_dim: int = Field(64, ge=1, description="width of the noise that an image is made from")
    width: int = Field(32, ge=4, description="channels at full size; they double with each halving of the side, twice")
    learning_rate: float = Field(8e-4, gt=0, description="of the discriminator; the generator's is half of it")
    average: float = Field(0.999, ge=0, lt=1, description="weight of the past in the average of the generator")


class ConditionalNorm(nn.Module):
    """Batch norm whose scale and shift belong to the kind."""

    def __init__(self, channels: int, n_kinds: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Embedding(n_kinds, channels)
        self.shift = nn.Embedding(n_kinds, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.norm(x) * self.scale(kind)[:, :, None, None] + self.shift(kind)[:, :, None, None]
        return out


class Generator(nn.Module):
    """(B, Z) noise and (B,) kinds to (B, C, S, S) images in -1..1."""

    def __init__(self, config: GanConfig, shape: tuple[int, int], n_kinds: int) -> None:
        super().__init__()
        channels, size = shape
        levels = halvings(size)
        widths = [config.width << min(level, 2) for level in range(levels, -1, -1)]
        self.inner = (widths[0], size >> levels, size >> levels)
        self.start = nn.Linear(config.latent_dim, int(np.prod(self.inner)))
        self.norms = nn.ModuleList(ConditionalNorm(width, n_kinds) for width in widths)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, noise: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        x = self.start(noise).view(-1, *self.inner).contiguous(memory_format=torch.channels_last)
        for norm, layer in zip(self.norms, [*self.ups, self.last], strict=True):
            x = layer(relu(norm(x, kind)))
        return x.tanh()


class Discriminator(nn.Module):
    """(B, C, S, S) images and (B,) kinds to (B,) scores: the higher, the more like an example of the kind."""

    def __init__(self, config: GanConfig, shape: tuple[int, int], n_kinds: int) -> None:
        super().__init__()
        channels, size = shape
        levels = halvings(size) + 1
        widths = [channels, *(config.width << min(level, 2) for level in range(levels))]
        layers = [nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths)]
        self.layers = nn.ModuleList(
            spectral_norm(layer) for layer in [*layers, nn.Conv2d(widths[-1], widths[-1], 3, padding=1)]
        )
        places = widths[-1] * (size >> levels) ** 2
        self.head = spectral_norm(nn.Linear(places, 1))
        self.kind = spectral_norm(nn.Embedding(n_kinds, places))

    def forward(self, x: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = leaky_relu(layer(x), 0.1)
        found = x.flatten(1)
        scores: torch.Tensor = self.head(found).squeeze(1) + (found * self.kind(kind)).sum(1)
        return scores.float()


class GanGenerator:
    Config = GanConfig

    def __init__(self, config: GanConfig, network: Generator) -> None:
        self.config, self._network = config, network.eval()

    @classmethod
    def folder(cls, config: GanConfig) -> None:
        """It is read from none."""

    @classmethod
    def fit(cls, config: GanConfig, examples: Examples, *, seed: int, device: str, progress: Progress) -> Self:
        """See `ImageGenerator`. Learning rates fall to 0 over the second half of the steps."""
        seed_everything(seed, 1)
        batches = Batches.of(examples, config.batch_size, device, seed)
        training = Training(config, batches, examples.n_kinds)
        with progress.task("train gan", config.steps, "steps") as task:
            for step in range(config.steps):
                discriminator, generator = training.step(step)
                task.advance(note=f"discriminator {discriminator:.2f}, generator {generator:.2f}")
        return cls(config, training.average)

    def generate(self, wanted: Wanted, seed: int) -> Pixels:
        """See `ImageGenerator`."""
        rng = np.random.default_rng([seed, 3])
        noise = torch.from_numpy(rng.standard_normal((len(wanted.kinds), self.config.latent_dim), dtype=np.float32))
        return made(self._network, noise.to(self._network.last.weight.device), wanted.kinds)


class Training:
    """The two networks at training."""

    def __init__(self, config: GanConfig, batches: Batches, n_kinds: int) -> None:
        self.config, self.batches = config, batches
        _, channels, size, _ = batches.pixels.shape
        self.generator = placed(Generator(config, (channels, size), n_kinds), batches.device)
        self.discriminator = placed(Discriminator(config, (channels, size), n_kinds), batches.device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        rates = {self.generator: config.learning_rate / 2, self.discriminator: config.learning_rate}
        self.optimisers = {
            net: torch.optim.Adam(net.parameters(), lr=rate, betas=(0.0, 0.9)) for net, rate in rates.items()
        }
        self.schedules = [torch.optim.lr_scheduler.LambdaLR(each, self._falling) for each in self.optimisers.values()]

    def _falling(self, step: int) -> float:
        return min(1.0, 2 * (1 - step / self.config.steps))

    def step(self, step: int) -> tuple[float, float]:
        """Train both on a batch; their losses."""
        n, autocast = self.batches.size, self.batches.autocast
        with autocast():
            real, kind = self.batches.draw()
            with torch.no_grad():
                fake = self.generator(self.batches.noise(self.config.latent_dim), kind).float()
            scores = self.discriminator(torch.cat([real, fake]), torch.cat([kind, kind]))
            discriminator = relu(1 - scores[:n]).mean() + relu(1 + scores[n:]).mean()
        self._descend(self.discriminator, discriminator)
        with autocast():
            kind = self.batches.draw()[1]
            generator = -self.discriminator(
                self.generator(self.batches.noise(self.config.latent_dim), kind).float(), kind
            ).mean()
        self._descend(self.generator, generator)
        for schedule in self.schedules:
            schedule.step()
        self._take_average(min(self.config.average, step / (step + WARM_UP)))
        return float(discriminator.detach()), float(generator.detach())

    def _descend(self, network: nn.Module, loss: torch.Tensor) -> None:
        self.optimisers[network].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers[network].step()

    @torch.no_grad()
    def _take_average(self, past: float) -> None:
        """Of the weights, and of the means and variances that the norms have seen."""
        pairs = zip(self.average.state_dict().values(), self.generator.state_dict().values(), strict=True)
        for mean, now in pairs:
            if mean.is_floating_point():
                mean.lerp_(now, 1 - past)
