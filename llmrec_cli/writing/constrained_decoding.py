"""Constrained decoding: a language model may say whole phrases of a book, each once, joined by a few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

Tokens = tuple[int, ...]


@dataclass
class Node:
    """A place in a prefix tree of entries."""

    children: dict[int, Node] = field(default_factory=dict)
    entry: Tokens | None = None
    """The entry that may end here."""


def prefix_tree(entries: Sequence[Tokens]) -> Node:
    root = Node()
    for entry in entries:
        node = root
        for token in entry:
            node = node.children.setdefault(token, Node())
        node.entry = entry
    return root


class PhraseConstraint:
    """Scores of a batch's next tokens with everything forbidden that does not continue an entry of the row's book.

    A phrase is struck from the book once it was said; joints stay. A text ends after the full stop. `generate` calls
    this with (rows, tokens so far) and (rows, vocabulary).
    """

    def __init__(self, phrases: Sequence[Sequence[Tokens]], joints: Sequence[Tokens], full_stop: int, end: int) -> None:
        self._phrases = [list(row) for row in phrases]
        self._joints, self._full_stop, self._end = list(joints), full_stop, end
        self._places = [[prefix_tree([*row, *joints])] for row in phrases]
        self._started = False

    def __call__(self, tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._started:
            for row, token in enumerate(tokens[:, -1].tolist()):
                self._step(row, token)
        self._started = True
        mask = torch.full_like(scores, -torch.inf)
        for row, places in enumerate(self._places):
            allowed = {token for place in places for token in place.children}
            mask[row, sorted(allowed) or [self._end]] = 0
        return scores + mask

    def _step(self, row: int, token: int) -> None:
        """Move a row to where it may stand after a token: inside of entries, and between two where one has ended."""
        reached = [place.children[token] for place in self._places[row] if token in place.children]
        ended = [place.entry for place in reached if place.entry is not None]
        if token == self._full_stop and (token,) in ended:
            self._places[row] = []
            return
        if ended:
            self._phrases[row] = [phrase for phrase in self._phrases[row] if phrase not in ended]
            reached = [*reached, prefix_tree([*self._phrases[row], *self._joints])]
        self._places[row] = reached
