"""The budget of a training with differential privacy, what it spent, and what the guarantee does not cover."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, Field

CAVEATS = (
    "private are the weights of the encoder and the item vectors only, in each training that reports what it spent",
    "not private: which items there are (the vocabulary), and how many users",
    "not private: the loss of each epoch and the metrics on validation users; they are reported, and decide nothing",
    "not private: what other stages make of the raw log (sequences, counts, rankers, profiles, recommendations)",
    "each further training on the same users, after other settings or --force, spends a budget of its own: they add up",
)
"""What the guarantee does not cover, to be reported with it."""


class Privacy(BaseModel, frozen=True, extra="forbid"):
    """The budget of a training and how it is used."""

    epsilon: float = Field(gt=0)
    delta: float = Field(0.0, ge=0, lt=1)
    """0 means 1 / users^1.1."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of one user's gradient."""
    users_per_step: int = Field(256, ge=1)
    """Expected number of users that are drawn for a step."""
    seeded: bool = False
    """Noise and users from the seeds: repeatable, and no protection against those who know them."""

    def shared_by(self, trainings: int, users: int) -> Privacy:
        """The equal share of each of several trainings on the same `users`: epsilons add up, and so do deltas."""
        delta = self.delta_for(users) / trainings
        return self.model_copy(update={"epsilon": self.epsilon / trainings, "delta": delta})

    def delta_for(self, users: int) -> float:
        return self.delta or 1 / max(users, 2) ** 1.1


@dataclass(frozen=True)
class Spent:
    """What a training spent by the account of its steps; `noise` is in units of the clip norm."""

    epsilon: float
    delta: float
    noise: float
    steps: int
