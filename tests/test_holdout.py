from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from llmrec_cli.ingest import holdout
from llmrec_cli.ingest.engine import Engine

USERS, POSITIONS = ["a", "a", "a", "b", "c", "c"], [0, 1, 2, 0, 0, 1]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(256 << 20, 1, tmp_path) as engine:
        yield engine


@pytest.mark.parametrize(
    ("how", "n", "after", "expected"),
    [
        ("none", 1, 0, []),
        ("last", 5, 0, [("a", 2), ("c", 1)]),
        ("last-n", 2, 0, [("a", 1), ("a", 2), ("c", 1)]),
        ("last-n", 9, 0, [("a", 1), ("a", 2), ("c", 1)]),
        ("time", 1, 30, [("a", 2), ("c", 0), ("c", 1)]),
    ],
)
def test_what_is_withheld(
    engine: Engine, how: holdout.Holdout, n: int, after: int, expected: list[tuple[str, int]]
) -> None:
    times = [10, 20, 30, 29, 40, 50]
    kept = engine.put(pa.table({"user_id": USERS, "item_id": list("uvwxyz"), "position": POSITIONS, "time": times}))
    table = engine.arrow(holdout.holdout(holdout.withheld(kept, how, n, after)))
    found = list(zip(table.column("user_id").to_pylist(), table.column("position").to_pylist(), strict=True))
    assert found == expected


@pytest.mark.parametrize(
    ("how", "n", "after", "expected"),
    [
        ("none", 1, 0, [("a", "p"), ("a", "q"), ("a", "r"), ("b", "p")]),
        ("last", 1, 0, [("a", "p"), ("a", "q"), ("b", "p")]),
        ("last-n", 2, 0, [("a", "p"), ("b", "p")]),
        ("time", 1, 30, [("a", "p"), ("a", "q")]),
    ],
)
def test_what_was_turned_down_after_the_cut_off_is_not_known(
    engine: Engine, how: holdout.Holdout, n: int, after: int, expected: list[tuple[str, str]]
) -> None:
    times = [10, 20, 30, 29, 40, 50]
    kept = engine.put(pa.table({"user_id": USERS, "item_id": list("uvwxyz"), "position": POSITIONS, "time": times}))
    printed = {
        "user_id": list("aaabz"),
        "item_id": list("pqrpp"),
        "position": [1, 2, 3, 1, 0],
        "time": [15, 25, 35, 30, 5],
    }
    withheld = holdout.withheld(kept, how, n, after)
    table = engine.arrow(holdout.known_negatives(engine.put(pa.table(printed)), withheld, how, after))
    assert list(zip(table.column("user_id").to_pylist(), table.column("item_id").to_pylist(), strict=True)) == expected
