"""The blocks of transformers' LlamaModel: its names, its arithmetic, its first weights, but none of its imports.

These cost twice as much as those of torch, and would be half of the time that a single person waits for an answer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from llmrec_cli.sequence.model_config import ModelConfig

THETA = 1e4
"""Base of the rotary frequencies."""
STILL = 1e12
"""What frequencies are divided by where positions are not rotary: turns by nothing at all."""
DEVIATION = 0.02
"""Of the first weights."""
Turn = tuple[torch.Tensor, torch.Tensor]
Drop = Callable[[torch.Tensor], torch.Tensor]


def inner_width(dim: int) -> int:
    """Of the feed-forward part: its three matrices are as large as two that are 4 times as wide."""
    return -(-dim * 8 // 3 // 16) * 16


class Llama(nn.Module):
    """(B, L, d) item vectors to (B, L, d) states; `drop` is applied to what each sub-layer adds."""

    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        tokens = nn.Embedding(1, shape.dim)  # the original has one: it takes part in the order of random numbers
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.dim)
        width = shape.dim // shape.heads
        frequencies = 1.0 / THETA ** (torch.arange(0, width, 2, dtype=torch.float) / width)
        self.register_buffer("frequencies", frequencies / (1 if shape.positions == "rotary" else STILL), False)
        for module in (tokens, *self.layers.modules()):
            if isinstance(module, (nn.Embedding, nn.Linear)):
                nn.init.normal_(module.weight, std=DEVIATION)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, drop: Drop) -> torch.Tensor:
        """`mask` (B or 1, heads or 1, L, L): bool, or what is added to the attention scores."""
        turn = self._turn(x)
        for layer in self.layers:
            x = layer(x, mask, turn, drop)
        normed: torch.Tensor = self.norm(x)
        return normed

    @torch.no_grad()
    def _turn(self, x: torch.Tensor) -> Turn:
        """(1, 1, L, d / heads) cosine and sine of the angle of each place and each half of the dimensions."""
        assert isinstance(self.frequencies, torch.Tensor)
        angles = torch.arange(x.shape[1], device=x.device)[None, :, None].float() * self.frequencies
        angles = torch.cat((angles, angles), dim=-1)[:, None]
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


class Layer(nn.Module):
    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = FeedForward(shape.dim)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(shape.dim), RMSNorm(shape.dim)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, turn: Turn, drop: Drop) -> torch.Tensor:
        x = x + drop(self.self_attn(self.input_layernorm(x), mask, turn))
        return x + drop(self.mlp(self.post_attention_layernorm(x)))


class Attention(nn.Module):
    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(shape.dim, shape.dim, bias=False) for _ in range(4)
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor, turn: Turn) -> torch.Tensor:
        query, key, value = (
            project(x).view(*x.shape[:-1], self.heads, -1).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = attention(rotated(query, turn), rotated(key, turn), value, mask)
        out: torch.Tensor = self.o_proj(mixed.transpose(1, 2).reshape(x.shape))
        return out


class FeedForward(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = inner_width(dim)
        self.gate_proj, self.up_proj = (nn.Linear(dim, inner, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class RMSNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        exact = x.float()
        exact = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * exact.to(x.dtype)


def rotated(x: torch.Tensor, turn: Turn) -> torch.Tensor:
    """(B, heads, L, d / heads) each pair of dimensions, half the width apart, turned by its angle."""
    cos, sin = turn
    first, second = x.chunk(2, dim=-1)
    return (x * cos) + (torch.cat((-second, first), dim=-1) * sin)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """All (B, heads, L, d / heads): fused on GPUs, written out on CPUs.

    The fused attention of CPUs is slow backward in bf16, and gives a bias in the mask no gradient.
    """
    scaling = query.shape[-1] ** -0.5
    if query.is_cuda:
        mask = mask if mask.dtype == torch.bool else mask.to(query.dtype)
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    return ((query * scaling) @ key.transpose(-1, -2) + mask).softmax(-1) @ value
