"""Histories as packed rows of tokens: nothing is padded, and segments keep users apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec_cli.tables.sequences import Sequences

Ints = npt.NDArray[np.int64]
NO_TARGET = -1


@dataclass(frozen=True)
class Rows:
    """Packed training rows, each (rows, length): tokens in, the item to predict at each (or NO_TARGET), the segment."""

    tokens: Ints
    targets: Ints
    segments: Ints

    def __len__(self) -> int:
        return len(self.tokens)


def row_count(events: int, length: int) -> int:
    """How many rows `events` tokens fill."""
    return -(-events // length)


def next_item_rows(sequences: Sequences, length: int, rng: np.random.Generator) -> Rows:
    """Causal training: each event predicts the one after it, every target once.

    Histories follow each other in random order and are cut every `length` tokens, elsewhere in each epoch; what is cut
    off from its beginning simply has a shorter past.
    """
    shuffled = sequences.select(rng.permutation(np.flatnonzero(sequences.lengths >= 2)))
    first = np.zeros(len(shuffled.codes), dtype=bool)
    first[shuffled.offsets[:-1]] = True
    newest = shuffled.ages == 0
    return _rows(
        shuffled.codes[~newest].astype(np.int64),
        shuffled.codes[~first].astype(np.int64),
        shuffled.users[~newest],
        length,
        rng,
    )


def masked_item_rows(
    sequences: Sequences, length: int, mask_token: int, share: float, rng: np.random.Generator
) -> Rows:
    """Bidirectional training (BERT4Rec, Sun et al. 2019): a share of the events, and half of the newest, are masked."""
    shuffled = sequences.select(rng.permutation(np.flatnonzero(sequences.lengths >= 2)))
    masked = rng.random(len(shuffled.codes)) < np.where(shuffled.ages == 0, 0.5, share)
    tokens = np.where(masked, mask_token, shuffled.codes)
    targets = np.where(masked, shuffled.codes, NO_TARGET)
    return _rows(tokens, targets, shuffled.users, length, rng)


def _rows(tokens: Ints, targets: Ints, users: Ints, length: int, rng: np.random.Generator) -> Rows:
    order = rng.permutation(row_count(len(tokens), length))

    def cut(values: Ints, filler: int) -> Ints:
        padded = np.full(len(order) * length, filler, dtype=np.int64)
        padded[: len(values)] = values
        return padded.reshape(-1, length)[order]

    return Rows(cut(tokens, 0), cut(targets, NO_TARGET), cut(users, -1))


def length_sorted(lengths: Ints, tokens: int) -> Iterator[Ints]:
    """Users in blocks of like length whose padded size stays under `tokens`, shortest first."""
    order = np.argsort(lengths, kind="stable")
    stop = 0
    while stop < len(order):
        start = stop
        widths = np.maximum(lengths[order[start : start + tokens]], 1)
        fits = widths * np.arange(1, len(widths) + 1) <= tokens
        stop = start + max(1, int(fits.sum()))
        yield order[start:stop]


def padded(sequences: Sequences, length: int, filler: int) -> tuple[Ints, Ints]:
    """(users, length) codes from the left, filled up with `filler`, and segments: 0 for events, -1 for filling."""
    out = np.full((len(sequences), length), filler, dtype=np.int64)
    segments = np.full((len(sequences), length), -1, dtype=np.int64)
    columns = np.arange(len(sequences.codes)) - np.repeat(sequences.offsets[:-1], sequences.lengths)
    out[sequences.users, columns] = sequences.codes
    segments[sequences.users, columns] = 0
    return out, segments
