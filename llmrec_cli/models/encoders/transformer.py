"""The transformer blocks shared by both architectures: pre-norm, learned relative position bias, packed rows."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
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
        buckets = distance_buckets(length, self.causal).to(x.device)
        x = F.dropout(x, self.dropout, self.training)
        for block, bias in zip(self.blocks, self.bias, strict=True):
            positions = F.embedding(buckets, bias.T).permute(2, 0, 1)
            x = block(x, torch.where(visible, positions, HIDDEN))
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
        x = x + F.dropout(y, self.dropout, self.training)
        y = self.down(F.gelu(self.up(self.norm_forward(x))))
        return x + F.dropout(y, self.dropout, self.training)

    def _attend(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        batch, length, dim = x.shape
        # In float32 also within bf16 autocast: the heads are small, and their bf16 backward is slow on CPUs
        qkv = self.qkv(x).float().view(batch, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        with torch.autocast(x.device.type, enabled=False):
            scores = (query * (dim // self.heads) ** -0.5) @ key.transpose(-1, -2) + bias
            mixed = scores.softmax(-1) @ value
        return mixed.transpose(1, 2).reshape(batch, length, dim)


def bucket_count(causal: bool) -> int:
    """Size of the table of relative positions: exact up to 31, doubling spans up to 511, and one for all beyond."""
    return (EXACT_DISTANCES + 5) * (1 if causal else 2)


def distance_buckets(length: int, causal: bool) -> torch.Tensor:
    """(L, L) row of the bias table for query i and key j; the future has its own half where it can be seen."""
    position = torch.arange(length)
    back = position[:, None] - position[None, :]
    distance = back.abs()
    spans = (distance.clamp_min(1).float() / EXACT_DISTANCES).log2().floor().long().clamp(0, 4)
    bucket = torch.where(distance < EXACT_DISTANCES, distance, EXACT_DISTANCES + spans)
    return bucket if causal else torch.where(back < 0, bucket + EXACT_DISTANCES + 5, bucket)
