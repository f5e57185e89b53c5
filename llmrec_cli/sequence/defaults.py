"""What stands for "auto" in the settings of `pretrain`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmrec_cli.data.interactions import Sequences

AUTO = "auto"
SHORT = 20
"""Events a user, on average, below which histories are short."""
LENGTHS = (50, 100, 200)
COSINE_TEMPERATURE = 0.07
EPOCHS = {"gpt": 16, "bert": 40}
"""A masked model learns from the masked events of an epoch, a causal one from all."""
LEARNING_RATE, WARM_LEARNING_RATE = 2e-3, 2e-4
"""The whole rate takes a model that has learnt away from what it knows."""


def resolve_auto(settings: Mapping[str, Any], log: Sequences) -> dict[str, Any]:
    """The settings, with what suits the length of the histories, the architecture and the start for every "auto".

    Found on validation events: histories of 8 or 9 events (three Amazon sets) want much dropout and cosine, those of
    over 100 (two of MovieLens) little, a long view and the dot product.
    """
    mean = mean_length(log)
    short = mean < SHORT
    given = {name: value for name, value in settings.items() if value != AUTO or name == "text_encoder"}
    similarity = given.get("similarity", "cosine" if short else "dot")
    chosen = {
        "dropout": 0.5 if short else 0.2,
        "max_length": next((length for length in LENGTHS if mean <= length), LENGTHS[-1]),
        "similarity": similarity,
        "temperature": COSINE_TEMPERATURE if similarity == "cosine" else 1.0,
        "epochs": EPOCHS[settings["architecture"]],
        "learning_rate": WARM_LEARNING_RATE if settings["init_from"] else LEARNING_RATE,
    }
    return chosen | given


def tokens_per_step(targets: int) -> int:
    """About 150 steps an epoch, of 256 to 2,048 tokens: few data need many small steps, many pay for large ones."""
    return int(np.clip(targets // 150, 256, 2048))


def mean_length(log: Sequences) -> float:
    """Events a user on average; 0 without users."""
    return float(log.lengths.mean()) if len(log) else 0.0
