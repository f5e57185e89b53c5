"""The gradient of each user's own loss, which differential privacy has to bound, a few users at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from llmrec_cli.core.arrays import Ints
from llmrec_cli.sequence import packing
from llmrec_cli.sequence.training import NextItemModel, TrainingData
from llmrec_cli.tensors import runtime

BYTES = 256 << 20
"""Gradients and activations of the users that are worked on at a time."""


class _UserLoss(nn.Module):
    """Mean softmax cross-entropy of one user's next items, in products that `torch.func` can differentiate by user."""

    def __init__(self, model: NextItemModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        dropped: torch.Tensor | None,
        items: torch.Tensor,
        targets: torch.Tensor,
        segments: torch.Tensor,
        times: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """All (L,), `times` (2, L); `dropped` (vocabulary + 1, 1) is 1 for the items whose id is left out."""
        shape, table = self.model.shape, self.model.table()
        if dropped is not None:
            table = table - self.model.ids.weight * dropped
        states = self.model.network(
            nn.functional.embedding(items[None], table), segments[None], None if times is None else times[:, None]
        )[0]
        logits = shape.scaled(states) @ shape.compared(table[:-1]).T
        wanted = targets != packing.NO_TARGET
        picked = logits.log_softmax(-1).gather(-1, targets.clamp_min(0)[:, None])[:, 0]
        return -(picked * wanted).sum() / wanted.sum()


class UserGradients:
    """The gradient of each of some users, left in `grad_sample` of the parameters, where opacus expects it."""

    def __init__(self, model: NextItemModel) -> None:
        self._loss = _UserLoss(model)
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        shape, items = model.shape, len(model.ids.weight)
        weights = sum(p.numel() for p in self.parameters.values())
        in_layer = 24 * shape.dim + 3 * shape.heads * shape.max_length
        # the table's gradient is the sum of two as large: as input, as output
        per_user = 4 * (3 * weights + shape.max_length * (4 * items + shape.layers * in_layer))
        self.users_at_a_time = max(1, BYTES // per_user)

    def set(self, rows: runtime.Batch, dropped: torch.Tensor | None = None) -> torch.Tensor:
        """(users,) losses; `rows` as `user_rows` gives them."""

        def loss(parameters: dict[str, torch.Tensor], *row: torch.Tensor) -> torch.Tensor:
            named = {f"model.{name}": value for name, value in parameters.items()}
            result: torch.Tensor = torch.func.functional_call(self._loss, named, (dropped, *row))
            return result

        of_each = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(None, *(0 for _ in rows)))
        values = {name: parameter.detach() for name, parameter in self.parameters.items()}
        gradients, losses = of_each(values, *rows)
        for name, parameter in self.parameters.items():
            parameter.grad_sample = gradients[name]  # type: ignore[attr-defined]
        found: torch.Tensor = losses
        return found

    def set_none(self) -> None:
        """The gradients of no user."""
        for parameter in self.parameters.values():
            parameter.grad_sample = parameter.new_zeros(0, *parameter.shape)  # type: ignore[attr-defined]


def user_rows(data: TrainingData, users: Ints, at_a_time: int) -> Iterator[runtime.Batch]:
    """(items, targets, segments), each (at most `at_a_time`, L), and (…, 2, L) times where known: a row for each user.

    A row has the last L events before the newest, and each asks for the one after it. Users of like length come
    together, so that little is padded.
    """
    lengths = np.minimum(data.log.lengths[users] - data.withheld, data.shape.max_length + 1)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(users), at_a_time):
        block = order[start : start + at_a_time]
        width = int(lengths[block].max())
        recent = data.log.select(users[block]).without_last(data.withheld).tail(width)
        codes = np.searchsorted(data.vocabulary, recent.codes).astype(np.int32)
        events, _ = packing.padded(replace(recent, codes=codes), width, packing.NO_TARGET)
        known = events[:, 1:] != packing.NO_TARGET
        columns = [np.where(known, events[:, :-1], 0), events[:, 1:], np.where(known, 0, -1)]
        if recent.times is not None:
            at, _ = packing.padded(replace(recent, codes=recent.times), width, 0)  # type: ignore[arg-type]
            own, asking = at[:, :-1], at[:, 1:] if data.shape.target_time else at[:, :-1]
            columns.append(np.stack([asking, own], axis=1))
        yield tuple(torch.from_numpy(np.ascontiguousarray(column)) for column in columns)
