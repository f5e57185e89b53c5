"""The network: a LlamaModel over packed rows of item vectors, with dropout and attention biases."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from llmrec_cli.sequence.llama import DEVIATION, STILL, THETA, Layer, Llama, inner_width
from llmrec_cli.sequence.model_config import ModelConfig

EXACT_DISTANCES = 32
TIME_BUCKETS = 64
HIDDEN = -1e9
"""Added to the attention score of what must not be seen; finite, so that a row of padding stays a number."""


class Transformer(nn.Module):
    """(B, L, d) item vectors to (B, L, d) states. Tokens see their own segment only, and where causal only the past.

    What it adds to LlamaModel: dropout on the input and on what each sub-layer adds, and, where the shape asks for
    them, learned positions (added to the input) and attention biases by distance and by elapsed time (shared by the
    layers, one for each head).
    """

    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        self.shape, self.causal = shape, shape.architecture == "gpt"
        self.llama = Llama(shape)
        buckets = bucket_count(self.causal)
        self.distance = nn.Parameter(torch.zeros(shape.heads, buckets)) if shape.positions == "relative" else None
        self.position = nn.Embedding(shape.max_length + 1, shape.dim) if shape.positions == "learned" else None
        self.elapsed = nn.Parameter(torch.zeros(shape.heads, TIME_BUCKETS)) if shape.time_bias else None
        if self.position is not None:
            nn.init.normal_(self.position.weight, std=DEVIATION)
        for layer in self.llama.layers:
            assert isinstance(layer, Layer)
            for added in (layer.self_attn.o_proj, layer.mlp.down_proj):
                nn.init.normal_(added.weight, std=DEVIATION / math.sqrt(2 * shape.layers))

    def forward(self, x: torch.Tensor, segments: torch.Tensor, times: torch.Tensor | None = None) -> torch.Tensor:
        """`segments` (B, L): equal numbers in a row belong to one user. `times` (2, B, L): see `elapsed_buckets`."""
        length = x.shape[1]
        visible = segments[:, None, :, None] == segments[:, None, None, :]
        if self.causal:
            visible = visible & torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        if self.position is not None:
            x = x + self.position(place_in_segment(segments).clamp_max(self.shape.max_length))
        drop = partial(dropout, p=self.shape.dropout, training=self.training)
        bias = self._bias(length, times)
        mask = visible if bias is None and x.is_cuda else torch.where(visible, 0.0 if bias is None else bias, HIDDEN)
        states: torch.Tensor = self.llama(drop(x), mask, drop)
        return states

    def _bias(self, length: int, times: torch.Tensor | None) -> torch.Tensor | None:
        """(B or 1, heads, L, L) added to the attention scores."""
        bias = None
        if self.distance is not None:
            bias = toeplitz(self.distance[:, distance_buckets(length, self.causal)])[None]
        if self.elapsed is not None and times is not None:
            by_time = self.elapsed.T[elapsed_buckets(times)].permute(0, 3, 1, 2)
            bias = by_time if bias is None else bias + by_time
        return bias


def llama_config(shape: ModelConfig, vocabulary: int) -> dict[str, Any]:
    """The `config.json` with which plain transformers opens the saved network over `vocabulary` rows of items."""
    still = {"rope_type": "linear", "factor": STILL, "rope_theta": THETA}
    turning = {"rope_type": "default", "rope_theta": THETA}
    return {
        "architectures": ["LlamaModel"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": shape.dim,
        "intermediate_size": inner_width(shape.dim),
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": max(2048, 2 * shape.max_length),
        "rope_parameters": turning if shape.positions == "rotary" else still,
        "bos_token_id": None,
        "eos_token_id": None,
        "use_cache": False,
        "is_causal": shape.architecture == "gpt",
    }


def place_in_segment(segments: torch.Tensor) -> torch.Tensor:
    """(B, L) how many tokens of the same segment stand before each."""
    columns = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    starts = torch.ones_like(segments, dtype=torch.bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return columns - torch.where(starts, columns, 0).cummax(1).values


def elapsed_buckets(times: torch.Tensor) -> torch.Tensor:
    """(B, L, L) bucket of the time from each event (key) to each query: two for every doubling.

    `times` (2, B, L) int64 seconds: of the query and of the event of each token. The query's is the event's own, or
    that of the event it asks for where the shape has `target_time` (HSTU, Zhai et al. 2024, asks so).
    """
    gap = (times[0][:, :, None] - times[1][:, None, :]).clamp_min(0)
    return (gap + 1).float().log2().mul(2).long().clamp_max(TIME_BUCKETS - 1)


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
