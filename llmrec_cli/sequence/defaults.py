"""What stands for "auto" in the settings of `pretrain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from llmrec_cli.data.interactions import Sequences
from llmrec_cli.sequence.encoder_config import Auto

T = TypeVar("T", int, float)
SHORT = 20
"""Events a user, on average, below which histories are short."""
LENGTHS = (50, 100, 200)
TEMPERATURE = {"cosine": 0.07, "dot": 1.0}
EPOCHS = {"gpt": 16, "bert": 40}
"""A masked model learns from the masked events of an epoch, a causal one from all."""
LONG, LEAST_EPOCHS = 1_050_000, 4
"""Events from which on there are fewer passes; and how many there are at least."""
MOST_SCORES, NEGATIVES = 10**12, 1024
LEARNING_RATE, WARM_LEARNING_RATE = 2e-3, 2e-4
"""The whole rate takes a model that has learnt away from what it knows."""


@dataclass(frozen=True)
class ByLength:
    """What suits histories of a length.

    Found on validation events: histories of 8 or 9 events (three Amazon sets) want much dropout and cosine, those of
    over 100 (two of MovieLens) little, a long view and the dot product.
    """

    dropout: float
    max_length: int
    similarity: Literal["dot", "cosine"]


def by_length(log: Sequences) -> ByLength:
    """What suits this log, by the events of a user on average."""
    mean = mean_length(log)
    longest = next((length for length in LENGTHS if mean <= length), LENGTHS[-1])
    return ByLength(0.5, longest, "cosine") if mean < SHORT else ByLength(0.2, longest, "dot")


def epochs(architecture: str, events: int) -> int:
    """Passes at most: fewer over a log of more than a million events, which read about as many events in all."""
    most = EPOCHS[architecture]
    return max(LEAST_EPOCHS, min(most, most * LONG // max(1, events)))


def loss(events: int, items: int, epochs: int) -> Literal["softmax", "sampled"]:
    """All items, or a sample of them where scoring all for every event is too dear."""
    return "softmax" if events * items * epochs <= MOST_SCORES else "sampled"


def resolve_auto(setting: Auto | T, default: T) -> T:
    """The setting, or its default where it is "auto"."""
    return default if isinstance(setting, str) else setting


def tokens_per_step(targets: int) -> int:
    """About 150 steps an epoch, of 256 to 2,048 tokens: few data need many small steps, many pay for large ones."""
    return int(np.clip(targets // 150, 256, 2048))


def mean_length(log: Sequences) -> float:
    """Events a user on average; 0 without users."""
    return float(log.lengths.mean()) if len(log) else 0.0
