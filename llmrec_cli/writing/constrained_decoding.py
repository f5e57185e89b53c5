"""Constrained decoding: a language model chooses the order of clauses, of their elements, and how each begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Clause:
    """Part of a text that says one or more elements, each once."""

    openings: tuple[Tokens, ...]
    """How it may begin, one of these."""
    elements: tuple[Tokens, ...]
    following: Clause | None = None
    """The clause that comes right after it, such as examples of what it lists."""


@dataclass
class _Node:
    """A place in a prefix tree of what may be said next, or the end of one of them."""

    children: dict[int, _Node] = field(default_factory=dict)
    then: Callable[[], None] | None = None


@dataclass
class _Row:
    """A text that is being written: what it has still to say."""

    clauses: list[Clause]
    elements: list[Tokens]
    """Of the open clause."""
    following: Clause | None = None
    between: bool = False
    """Whether an element has just been said; at the start of a clause and after a joint one has to come."""
    ended: bool = False

    def open(self, clause: Clause) -> None:
        if clause in self.clauses:
            self.clauses.remove(clause)
        self.elements, self.following, self.between = list(clause.elements), clause.following, False

    def say(self, element: Tokens) -> None:
        self.elements.remove(element)
        self.between = True

    def join(self) -> None:
        self.between = False

    def end(self) -> None:
        self.ended = True


class ClauseConstraint:
    """Scores of a batch's next tokens with everything forbidden but what a complete and well-formed text may say next.

    Every text opens one clause after the other and says all of their elements: a list that is opened has one, and the
    full stop comes when nothing is left to say. No continuation may begin with another one. `generate` calls this with
    (rows, tokens so far) and (rows, vocabulary).
    """

    def __init__(self, rows: Sequence[Sequence[Clause]], joints: tuple[Tokens, Tokens], stop: Tokens, end: int) -> None:
        """The first clause of a row is open already; `joints` stand between two elements and before the last one."""
        self._joints, self._stop, self._end = joints, stop, end
        self._rows = [_Row(list(row), [], between=True) for row in rows]
        for row, clauses in zip(self._rows, rows, strict=True):
            if clauses:
                row.open(clauses[0])
        self._nodes = [self._tree(row) for row in self._rows]
        self._started = False

    def __call__(self, tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._started:
            for place, token in enumerate(tokens[:, -1].tolist()):
                self._step(place, token)
        self._started = True
        mask = torch.full_like(scores, -torch.inf)
        for place, node in enumerate(self._nodes):
            mask[place, sorted(node.children) or [self._end]] = 0
        return scores + mask

    def _step(self, place: int, token: int) -> None:
        node = self._nodes[place].children.get(token, _Node())
        if node.then is not None:
            node.then()
            node = self._tree(self._rows[place])
        self._nodes[place] = node

    def _tree(self, row: _Row) -> _Node:
        root = _Node()
        for entry, then in self._choices(row):
            node = root
            for token in entry:
                node = node.children.setdefault(token, _Node())
            node.then = then
        return root

    def _choices(self, row: _Row) -> list[tuple[Tokens, Callable[[], None]]]:
        """What may come next, and what it changes."""
        if row.ended:
            return []
        if not row.between:
            return [(element, partial(row.say, element)) for element in row.elements]
        if row.elements:
            return [(self._joints[len(row.elements) == 1], row.join)]
        coming = [row.following] if row.following else row.clauses
        found = [(opening, partial(row.open, clause)) for clause in coming for opening in clause.openings]
        return [*found] or [(self._stop, row.end)]
