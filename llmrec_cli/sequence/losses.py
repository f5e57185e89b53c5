"""Losses of next-item training over a large catalogue, without the matrix of logits ever being kept."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

CHUNK_ELEMENTS = 8 << 20
"""Logits of one chunk, about: what lies in the last-level cache of a CPU or not far from it."""
TAME = 60.0
"""Logits below this can be put into exp as they are: a million of e**60 is still far from the end of float32."""


def softmax_cross_entropy(
    states: torch.Tensor,
    table: torch.Tensor,
    targets: torch.Tensor,
    dtype: torch.dtype = torch.float32,
    correction: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean of -log softmax(states @ table.T)[target].

    states (N, d), table (V, d), targets (N,) int64 rows of the table. `dtype` is the format of the large products;
    sums are kept in float32. The gradients are computed chunk by chunk in the forward pass, so memory is that of one
    chunk of logits and each is computed once; with bfloat16 gradients agree with float32 to about 2e-3.
    `correction` (V,) is added to the logits of all rows but the target's own.
    """
    loss: torch.Tensor = _ChunkedSoftmax.apply(states, table, targets, dtype, correction)  # type: ignore[no-untyped-call]
    return loss


def sampled_softmax(
    states: torch.Tensor,
    table: torch.Tensor,
    targets: torch.Tensor,
    *,
    negatives: int,
    frequency: torch.Tensor,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Softmax cross-entropy against the batch's own targets and `negatives` random items, shared by the whole batch.

    An item's logit is raised by -log of its chance to be there (logQ, Bengio and Senécal 2008), which makes the sum in
    the denominator unbiased; the target is always there and stays as it is. `frequency` (V,) sums to 1: how often each
    item is a target.
    """
    n_items = len(table)
    drawn = torch.randint(n_items, (negatives,), device=table.device)
    there = torch.unique(torch.cat([targets, drawn]))
    missed = negatives * math.log1p(-1 / n_items) if n_items > 1 else 0.0
    chance = -torch.expm1(len(targets) * torch.log1p(-frequency[there].clamp_max(1 - 1e-6)) + missed)
    rows = nn.functional.embedding(there, table)
    places = torch.searchsorted(there, targets)
    return softmax_cross_entropy(states, rows, places, dtype, -chance.clamp_min(1e-9).log())


def generalised_bce(
    states: torch.Tensor, table: torch.Tensor, targets: torch.Tensor, negatives: int, calibration: float = 0.75
) -> torch.Tensor:
    """gBCE (Petrov and Macdonald 2023, t = `calibration`) with `negatives` random items shared by the whole batch."""
    n_items = len(table)
    drawn = torch.randint(n_items, (min(negatives, n_items),), device=table.device)
    share = min(1.0, len(drawn) / max(1, n_items - 1))
    beta = share * (calibration * (1 - 1 / share) + 1 / share)
    positive = (states * nn.functional.embedding(targets, table)).sum(-1)
    logits = states @ nn.functional.embedding(drawn, table).T
    wrong = nn.functional.softplus(logits.float()).masked_fill(drawn[None] == targets[:, None], 0.0).sum(-1)
    return (wrong - beta * nn.functional.logsigmoid(positive.float())).mean() / (len(drawn) + 1)


class _ChunkedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any,
        states: torch.Tensor,
        table: torch.Tensor,
        targets: torch.Tensor,
        dtype: torch.dtype,
        correction: torch.Tensor | None,
    ) -> torch.Tensor:
        n, n_items = len(states), len(table)
        states, table = states.detach().float(), table.detach().float()
        h, items = states.to(dtype), table.to(dtype)
        grad_states = torch.empty_like(states)
        grad_table = torch.zeros_like(table)
        picked = torch.empty(n, dtype=torch.float32, device=h.device)
        tame = bool(_bound(states, table, correction) < TAME)
        chunks = math.ceil(n / max(16, min(1024, CHUNK_ELEMENTS // n_items)))
        rows = max(1, math.ceil(n / max(chunks, 1)))
        logits = torch.empty(min(rows, n), n_items, dtype=dtype, device=h.device)
        for start in range(0, n, rows):
            chunk, wanted = h[start : start + rows], targets[start : start + rows, None]
            scores = logits[: len(chunk)]
            if correction is None:
                torch.mm(chunk, items.T, out=scores)
            else:
                added = correction.to(dtype)
                torch.addmm(added, chunk, items.T, out=scores)
                scores.scatter_add_(1, wanted, -added[wanted])
            p = scores.exp_() if tame else torch.softmax(scores, -1, out=scores)
            share = 1 / p.sum(-1, keepdim=True).float()
            picked[start : start + rows] = (p.gather(1, wanted).float() * share)[:, 0]
            grad_states[start : start + rows] = torch.mm(p, items).float() * share
            grad_table += torch.mm(p.T, (chunk.float() * share).to(dtype))
        # The one-hot part of the gradient, outside of the large matrices
        grad_states -= table[targets]
        grad_table.index_add_(0, targets, h.float(), alpha=-1)
        ctx.save_for_backward(grad_states.div_(n), grad_table.div_(n))
        return -picked.clamp_min(torch.finfo(torch.float32).tiny).log().mean()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_states, grad_table = ctx.saved_tensors
        return grad_states * grads[0], grad_table * grads[0], None, None, None


def _bound(states: torch.Tensor, table: torch.Tensor, correction: torch.Tensor | None) -> torch.Tensor:
    """No logit is larger (Cauchy and Schwarz); nan where a number is none."""
    longest = torch.linalg.vector_norm(states, dim=1).amax() * torch.linalg.vector_norm(table, dim=1).amax()
    return longest if correction is None else longest + correction.abs().amax()
