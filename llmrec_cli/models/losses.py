"""Full-softmax cross-entropy over a large catalogue, without the matrix of logits ever being kept."""

from __future__ import annotations

from typing import Any

import torch

# Logits of one chunk: small enough to stay in the last-level cache of a CPU.
CHUNK_ELEMENTS = 4 << 20


def softmax_cross_entropy(
    states: torch.Tensor, table: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Mean of -log softmax(states @ table.T)[target].

    states (N, d), table (V, d), targets (N,) int64 rows of the table. `dtype` is the format of the large products;
    sums are kept in float32. The gradients are computed chunk by chunk in the forward pass, so memory is that of one
    chunk of logits and each is computed once; with bfloat16 gradients agree with float32 to about 2e-3.
    """
    loss: torch.Tensor = _ChunkedSoftmax.apply(states, table, targets, dtype)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, table: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        n, n_items = len(states), len(table)
        states, table = states.detach().float(), table.detach().float()
        h, items = states.to(dtype), table.to(dtype)
        grad_states = torch.empty_like(h)
        grad_table = torch.zeros_like(table)
        picked = torch.empty(n, dtype=torch.float32, device=h.device)
        rows = max(16, min(512, CHUNK_ELEMENTS // n_items))
        logits = torch.empty(min(rows, n), n_items, dtype=dtype, device=h.device)
        share = torch.empty_like(logits)
        for start in range(0, n, rows):
            chunk = h[start : start + rows]
            p = share[: len(chunk)]
            torch.mm(chunk, items.T, out=logits[: len(chunk)])
            torch.softmax(logits[: len(chunk)], -1, out=p)
            picked[start : start + rows] = p.gather(1, targets[start : start + rows, None])[:, 0]
            torch.mm(p, items, out=grad_states[start : start + rows])
            grad_table += torch.mm(p.T, chunk)
        # The one-hot part of the gradient, outside of the large matrices
        one_hot_states = grad_states.float() - table[targets]
        grad_table.index_add_(0, targets, h.float(), alpha=-1)
        ctx.save_for_backward(one_hot_states.div_(n), grad_table.div_(n))
        return -picked.clamp_min(torch.finfo(torch.float32).tiny).log().mean()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_states, grad_table = ctx.saved_tensors
        return grad_states * grads[0], grad_table * grads[0], None, None
