"""The transformer blocks shared by both architectures: pre-norm, learned relative position bias, packed rows."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

EXACT_DISTANCES = 32
HIDDEN = -1e9
"""Added to the attention score of what must not be seen; finite, so that a row of padding stays a number."""


class Transformer(nn.Module):
    """(B, L, d) item vectors to (B, L, d) states. Tokens see their own segment only, and where causal only the past."""

    def __init__(self, dim: int, layers: int, heads: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.causal, self.dropout = causal, dropout
        self.bias = nn.Parameter(torch.zeros(layers, heads, bucket_count(causal)))
        blocks = [Block(dim, heads, dropout) for _ in range(layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for block in blocks:
            nn.init.normal_(block.out.weight, std=0.02 / math.sqrt(2 * layers))
            nn.init.normal_(block.down.weight, std=0.02 / math.sqrt(2 * layers))

    def forward(self, x: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        """`segments` (B, L): equal numbers within a row belong to one user."""
        length = x.shape[1]
        visible = segments[:, None, :, None] == segments[:, None, None, :]
        if self.causal:
            visible = visible & torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        positions = toeplitz(self.bias[:, :, distance_buckets(length, self.causal)])
        x = dropout(x, self.dropout, self.training)
        for block, bias in zip(self.blocks, positions, strict=True):
            x = block(x, torch.where(visible, bias, HIDDEN))
        return self.norm(x)


class Block(nn.Module):
    """Attention and feed-forward, each behind a layer norm and a residual."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_forward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """x (B, L, d), bias (B, heads, L, L) added to the attention scores."""
        y = self.out(self._attend(self.norm_attention(x), bias))
        x = x + dropout(y, self.dropout, self.training)
        y = self.down(nn.functional.gelu(self.up(self.norm_forward(x))))
        return x + dropout(y, self.dropout, self.training)

    def _attend(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        batch, length, dim = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        # Written out: the fused attention of CPUs is slow backward in bf16, and gives the bias no gradient
        scores = (query * (dim // self.heads) ** -0.5) @ key.transpose(-1, -2) + bias
        mixed = scores.softmax(-1) @ value
        return mixed.transpose(1, 2).reshape(batch, length, dim)


def bucket_count(causal: bool) -> int:
    """Size of the table of relative positions: exact up to 31, doubling spans up to 511, and one for all beyond."""
    return (EXACT_DISTANCES + 5) * (1 if causal else 2)


def distance_buckets(length: int, causal: bool) -> torch.Tensor:
    """(2 L - 1,) row of the bias table for each query - key, from L - 1 down to 1 - L.

    The future has its own half where it can be seen; where it cannot, its rows do not matter.
    """
    back = torch.arange(length - 1, -length, -1)
    distance = back.abs()
    spans = (distance.clamp_min(1).float() / EXACT_DISTANCES).log2().floor().long().clamp(0, 4)
    bucket = torch.where(distance < EXACT_DISTANCES, distance, EXACT_DISTANCES + spans)
    return bucket if causal else torch.where(back < 0, bucket + EXACT_DISTANCES + 5, bucket)


def toeplitz(diagonals: torch.Tensor) -> torch.Tensor:
    """(..., 2 L - 1) values by query - key, from L - 1 down to 1 - L, as (..., L, L): [i, j] = diagonal i - j.

    The row is repeated with a period one longer than the rows it is then cut into, so that each is shifted by one: no
    look-up of L x L entries, and none to scatter back in the backward pass.
    """
    length = (diagonals.shape[-1] + 1) // 2
    repeated = (
        nn.functional.pad(diagonals, (0, 1)).unsqueeze(-2).expand(*diagonals.shape[:-1], length, 2 * length).flatten(-2)
    )
    skewed = repeated[..., : length * (2 * length - 1)].unflatten(-1, (length, 2 * length - 1))  # type: ignore[no-untyped-call]
    return skewed[..., length - 1 :]


def dropout(x: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    """Dropout; on CPUs with p in steps of 1/256 from a byte for each element, which is several times faster."""
    if not training or p == 0 or x.device.type != "cpu":
        return nn.functional.dropout(x, p, training)
    dropped = min(round(p * 256), 255)
    generator = np.random.Generator(np.random.SFC64(int(torch.randint(2**62, (1,)))))
    noise = torch.frombuffer(bytearray(generator.bytes(x.numel())), dtype=torch.uint8).view(x.shape)
    return x * (noise >= dropped).to(x.dtype).mul_(256 / (256 - dropped))
