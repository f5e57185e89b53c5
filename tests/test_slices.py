"""Slices worked out by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.core.artifacts import SLICES, USERS
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.metrics import difference_bootstrap
from llmrec_cli.evaluation.comparison import PIPELINE, Comparison
from llmrec_cli.evaluation.eval_users import EvalUsers
from llmrec_cli.evaluation.slices import (
    GAP,
    TARGET,
    Sliced,
    Slicing,
    buckets,
    by_activity,
    by_attributes,
    widest,
)


def people(n: int, **columns: list[object]) -> pa.Table:
    given = {name: columns.get(name, [None] * n) for name in USERS.schema.names}
    given["attributes"] = columns.get("attributes", [[]] * n)
    return pa.table(given, schema=USERS.schema)


def test_users_by_events() -> None:
    found = by_activity(np.array([0, 1, 4, 5, 19, 20, 100, 5000]))
    assert found.of_user.tolist() == [0, 1, 1, 2, 2, 3, 4, 4]
    assert found.names == ["no events", "1-4", "5-19", "20-99", "100+"]


def test_users_by_what_is_known_of_them() -> None:
    gender = ["F"] * 12 + ["M"] * 10 + ["X"] * 3 + [None]
    member = [[{"name": "member", "value": "yes" if user % 2 else "no"}] for user in range(25)] + [[]]
    users = people(26, gender=gender, age=[30.0] * 26, attributes=member)
    found = {each.kind: each for each in by_attributes(users)}
    # everyone is of one age band; three of a gender are too few
    assert set(found) == {"gender", "member"}
    assert found["gender"].names == ["F", "M"]
    assert np.bincount(found["gender"].of_user + 1).tolist() == [4, 12, 10]
    assert found["member"].names == ["no", "yes"]
    assert found["member"].of_user.tolist() == [user % 2 for user in range(25)] + [-1]


def test_items_by_popularity() -> None:
    # 12 events, the first 4 of which are a third; items as popular as each other stand together
    assert buckets(np.array([4, 3, 3, 1, 1, 0])).tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert buckets(np.array([5, 5])).tolist() == [0, 0, 3]


def asked() -> tuple[Comparison, dict[str, np.ndarray], Sequences]:
    """Twenty users with the target 0 (popular) or 2 (new), twenty more with both; the pipeline always says 0, 1."""
    log = Sequences(np.array([0, 0, 1], dtype=np.int32), np.append(np.full(20, 0), np.full(21, 3)), 3)
    lengths = np.repeat([1, 1, 2], [10, 10, 20])
    targets = np.concatenate([np.zeros(10), np.full(10, 2), np.tile([0, 2], 20)]).astype(np.int32)
    eval_users = EvalUsers(np.arange(40), (np.concatenate([[0], np.cumsum(lengths)]), targets), log, 0, False)
    lists = {PIPELINE: np.tile(np.array([0, 1], dtype=np.int32), (40, 1)), "popularity": np.full((40, 2), -1, np.int32)}
    lists["popularity"][:, 0] = 1
    return Comparison.of(eval_users, lists, log, [2], seed=1, resamples=200), lists, log


def test_a_target_is_measured_in_its_own_bucket() -> None:
    found, lists, log = asked()
    groups = Slicing("group", ["a", "b", "c"], np.repeat([0, 1, 2], [10, 10, 20]))
    sliced = Sliced.of(found, lists, log.counts(), [groups])
    rows = {(row["kind"], row["slice"], row["system"], row["metric"]): row for row in sliced.rows}
    head, new = (rows[TARGET, name, PIPELINE, "recall@2"] for name in ("head", "new"))
    assert (head["value"], head["n_users"]) == (1, 30) and (new["value"], new["n_users"]) == (0, 30)
    assert rows["group", "a", PIPELINE, "recall@2"]["value"] == 1
    assert rows["group", "b", PIPELINE, "recall@2"]["value"] == 0
    assert rows["group", "c", PIPELINE, "recall@2"]["value"] == 0.5
    assert rows["group", GAP, PIPELINE, "ndcg@2"]["value"] == 1
    assert rows["group", GAP, "popularity", "ndcg@2"]["value"] == 0
    assert sliced.table().schema == SLICES.schema
    ndcg = 1 / (1 + 1 / np.log2(3))
    assert sliced.lines()[0] == (
        f"ndcg@2 by group: a 1.0000 (10), b 0.0000 (10), c {ndcg:.4f} (20); gap 1.0000 (95 % 1.0000 to 1.0000)"
    )


def test_the_gap_is_between_the_best_and_the_worst_slice() -> None:
    rng = np.random.default_rng(0)
    code = np.repeat([0, 1, 2, 3], [400, 300, 300, 5])
    values = rng.normal(np.array([0.0, 1.0, 0.4, 9.0])[code], 1)
    slicing = Slicing("group", ["a", "b", "c", "few"], code)
    gap = widest(values, slicing, 1, 1000)
    assert gap is not None and gap[:2] == ("b", "a")
    mean, low, high = gap[2]
    a, b = values[code == 0], values[code == 1]
    error = np.sqrt(a.var() / 400 + b.var() / 300)
    assert mean == pytest.approx(b.mean() - a.mean())
    assert (low, high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.3 * error)
    assert widest(values, Slicing("group", ["a", "few"], np.where(code == 3, 1, 0)), 1, 100) is None
    assert np.isnan(difference_bootstrap([], [1.0], 1).mean)
