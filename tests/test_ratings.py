"""Ratings of users and items with biases are predicted better than by the mean; what is no rating is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.core.artifacts import INTERACTIONS
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ranking.ratings import Biases, RatingErrors, are_ratings

USERS, ITEMS, EVENTS = 80, 40, 25


def log(folder: Path, rate: object) -> WorkDir:
    """Each user rates EVENTS items; `rate(user, item, rng)` is the value."""
    rng = np.random.default_rng(1)
    rows = [
        {"user_id": f"u{user}", "position": position, "item_id": f"i{item}", "value": rate(user, item, rng)}  # type: ignore[operator]
        for user in range(USERS)
        for position, item in enumerate(rng.permutation(ITEMS)[:EVENTS].tolist())
    ]
    work = WorkDir(folder)
    work.write(INTERACTIONS, pa.Table.from_pylist(rows, schema=INTERACTIONS.schema))
    return work


def biased(user: int, item: int, rng: np.random.Generator) -> float:
    return float(np.clip(round(3 + (user % 3 - 1) + (item % 3 - 1) + rng.normal() / 4), 1, 5))


def test_biases_predict_better_than_the_mean(tmp_path: Path) -> None:
    errors = RatingErrors.of(log(tmp_path / "work", biased))
    assert errors is not None and len(errors.mean) == USERS
    (plain, biases) = errors.rows(42)
    assert plain[:3] == ("ratings", "global mean", "rmse") and biases[1] == "user and item biases"
    assert plain[3] == pytest.approx(1.1, abs=0.2) and biases[3] < 0.6
    assert biases[4] <= biases[3] <= biases[5]
    assert f"ratings of {USERS} last events" in errors.line(42) and ", lower than 1." in errors.line(42)


def test_without_biases_no_gain_is_claimed(tmp_path: Path) -> None:
    errors = RatingErrors.of(log(tmp_path / "work", lambda user, item, rng: float(rng.integers(1, 6))))
    assert errors is not None and ", lower than" not in errors.line(42)


def test_a_bias_is_drawn_towards_nothing() -> None:
    users, items = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    model = Biases.fit(users, items, np.array([5.0, 5.0, 1.0, 1.0]), 3, 3)
    assert model.mean == 3 and 0 < model.users[0] < 0.5 and model.users[2] == 0
    assert model.predict(np.array([2]), np.array([2])) == pytest.approx([3.0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 5.0], True),
        ([0.5 * n for n in range(1, 11)], True),
        ([1.0, 1.0, 1.0], False),
        ([float(n) for n in range(40)], False),
        ([1.0, 12.0, 720.0], False),
        ([-1.0, 0.0, 1.0], False),
        ([None, None], False),
    ],
)
def test_what_ratings_are(values: list[float | None], expected: bool) -> None:
    assert are_ratings(pa.chunked_array([pa.array(values, type=pa.float64())])) is expected


def test_a_log_without_ratings_has_no_errors(tmp_path: Path) -> None:
    work = WorkDir(tmp_path / "work")
    work.write(INTERACTIONS, INTERACTIONS.schema.empty_table())
    assert RatingErrors.of(work) is None
