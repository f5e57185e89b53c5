"""Histories as packed rows of tokens: nothing is padded, and segments keep users apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llmrec_cli.core.arrays import Ints, within_groups
from llmrec_cli.data.interactions import Sequences

NO_TARGET = -1


@dataclass(frozen=True)
class Tokens:
    """Training tokens of some users one after the other: what is seen, what to predict (or NO_TARGET), whose it is."""

    items: Ints
    targets: Ints
    segments: Ints
    """Equal for the tokens of one history, different for neighbours."""
    times: Ints | None = None
    """(2, tokens) seconds of what each token asks for and of its own event, where times are known."""

    def __len__(self) -> int:
        return len(self.items)


def next_item_tokens(sequences: Sequences, target_time: bool = False) -> Tokens:
    """Causal training: each event predicts the one after it. Histories shorter than 2 teach nothing."""
    some = sequences.select(np.flatnonzero(sequences.lengths >= 2))
    first = np.zeros(len(some.codes), dtype=bool)
    first[some.offsets[:-1]] = True
    newest = some.ages == 0
    times = None
    if some.times is not None:
        own = some.times[~newest]
        times = np.stack([some.times[~first] if target_time else own, own])
    return Tokens(some.codes[~newest].astype(np.int64), some.codes[~first].astype(np.int64), some.users[~newest], times)


def prefix_tokens(sequences: Sequences, length: int, target_time: bool = False) -> Tokens:
    """Each event but the first is predicted once, from a history of its own of the `length` events before it.

    The prefix augmentation of Tan et al. 2016: the target of every prefix stands at its last position only.
    """
    n = np.maximum(sequences.lengths - 1, 0)
    of_user = np.repeat(np.arange(len(sequences)), n)
    place = within_groups(n) + 1
    width = np.minimum(place, length)
    ends = np.cumsum(width)
    target = sequences.offsets[of_user] + place
    at = np.repeat(target - width - (ends - width), width) + np.arange(width.sum())
    targets = np.full(len(at), NO_TARGET, dtype=np.int64)
    targets[ends - 1] = sequences.codes[target]
    times = None
    if sequences.times is not None:
        own = sequences.times[at]
        queries = own.copy()
        if target_time:
            queries[ends - 1] = sequences.times[target]
        times = np.stack([queries, own])
    return Tokens(sequences.codes[at].astype(np.int64), targets, np.repeat(np.arange(len(width)), width), times)


def masked_item_tokens(sequences: Sequences, mask_token: int, share: float, rng: np.random.Generator) -> Tokens:
    """Bidirectional training (BERT4Rec, Sun et al. 2019): a share of the events, and half of the newest, are masked."""
    some = sequences.select(np.flatnonzero(sequences.lengths >= 2))
    masked = rng.random(len(some.codes)) < np.where(some.ages == 0, 0.5, share)
    items = np.where(masked, mask_token, some.codes)
    targets = np.where(masked, some.codes, NO_TARGET)
    return Tokens(items, targets, some.users, None if some.times is None else np.stack([some.times, some.times]))


def steps(
    parts: Iterator[Tokens], length: int, rows_per_step: int, rng: np.random.Generator
) -> Iterator[tuple[Ints, ...]]:
    """Packed rows of `length` tokens, `rows_per_step` at a time: (items, targets, segments) and, if known, times.

    Nothing is padded but the very end. Histories are cut where a row ends; what is cut off from its beginning simply
    has a shorter past. Rows are shuffled within a part; what does not fill a step waits for the next part.
    """
    waiting, first = np.empty((3, 0), dtype=np.int64), 0
    ahead = next(parts, None)
    while ahead is not None:
        part, ahead = ahead, next(parts, None)
        columns = [part.items, part.targets, part.segments + first, *(part.times if part.times is not None else ())]
        first += int(part.segments[-1]) + 1 if len(part) else 0
        table = np.stack(columns)
        table = np.concatenate([waiting, table], axis=1) if waiting.size else table
        step = length * rows_per_step
        whole = table.shape[1] if ahead is None else table.shape[1] // step * step
        waiting = table[:, whole:]
        rows = _rows(table[:, :whole], length, rng)
        for start in range(0, rows.shape[1], rows_per_step):
            items, targets, segments, *times = rows[:, start : start + rows_per_step]
            yield (items, targets, segments, np.stack(times)) if times else (items, targets, segments)


def row_count(tokens: int, length: int) -> int:
    """How many rows `tokens` fill."""
    return -(-tokens // length)


def _rows(table: Ints, length: int, rng: np.random.Generator) -> Ints:
    """(columns, tokens) as (columns, rows, length) in random order, the last row filled up."""
    count = row_count(table.shape[1], length)
    filler = np.array([0, NO_TARGET, -1, 0, 0], dtype=np.int64)[: len(table), None]
    padded = np.broadcast_to(filler, (len(table), count * length)).copy()
    padded[:, : table.shape[1]] = table
    return padded.reshape(len(table), count, length)[:, rng.permutation(count)]


def padded(sequences: Sequences, length: int, filler: int) -> tuple[Ints, Ints]:
    """(users, length) codes from the left, filled up with `filler`, and segments: 0 for events, -1 for filling."""
    out = np.full((len(sequences), length), filler, dtype=np.int64)
    segments = np.full((len(sequences), length), -1, dtype=np.int64)
    columns = within_groups(sequences.lengths)
    out[sequences.users, columns] = sequences.codes
    segments[sequences.users, columns] = 0
    return out, segments
