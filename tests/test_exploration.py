"""New items at places drawn for them: how many, where, and that no rule gives way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.core.artifacts import RECOMMENDATIONS, SEQUENCES, TIME
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists.exploration import Exploration
from llmrec_cli.stages.recommend import STAGE, RecommendConfig
from tests import tiny
from tests.signing import vouch

DAY = 86400
NEW = {5, 6, 13, 14}


def test_places_are_the_share_of_all_and_the_same_for_a_user_whoever_else_is_asked() -> None:
    held = Exploration(np.ones(3, dtype=bool), 0.25, seed=7, pinned=2)
    users = np.arange(4000)
    places = held.places(users, 10)
    assert not places[:, :2].any() and set(places.sum(axis=1)) == {2, 3}
    assert abs(places.mean() - 0.25) < 0.005 and places[:, 2:].mean(axis=0).std() < 0.02
    assert (held.places(users[[9, 3]], 10) == places[[9, 3]]).all()
    other = Exploration(held.new, 0.25, seed=8, pinned=2)
    assert (other.places(users, 10) != places).any()
    assert Exploration(held.new, 1.0, 1).places(users[:2], 1).tolist() == [[True], [True]]
    assert not Exploration(held.new, 1.0, 1, pinned=4).places(users[:2], 3).any()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    """A log with times whose last days alone have the items `NEW`."""
    work = tiny.make(tmp_path_factory.mktemp("explore") / "work")
    log = work.read(SEQUENCES)
    times = [[DAY * (100 if code in NEW else 10) for code in row] for row in log.column("item_codes").to_pylist()]
    column = pa.array([[at * 1_000_000 for at in row] for row in times], pa.list_(pa.int64())).cast(pa.list_(TIME))
    work.write(SEQUENCES, log.set_column(log.column_names.index("times"), "times", column))
    return vouch(work)


def run(work: WorkDir, context: Context, **settings: Any) -> tuple[list[str], dict[str, list[dict[str, Any]]]]:
    done = execute(STAGE, work, RecommendConfig(**settings), context, force=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in work.read(RECOMMENDATIONS).to_pylist():
        found.setdefault(row["user_id"], []).append(row)
    return done.report.lines, found


def test_a_share_of_the_places_goes_to_new_items_and_says_so(made: WorkDir, context: Context) -> None:
    lines, found = run(made, context, k=5, constraints={"explore": 0.2, "explore_days": 30})
    rows = [row for each in found.values() for row in each]
    explored = [row for row in rows if row["strategy"] == "explore"]
    assert {int(row["item_id"][1:]) for row in explored} <= NEW and all(row["rank"] > 1 for row in explored)
    assert [row["reason"].startswith("New here, shown") for row in rows] == [r["strategy"] == "explore" for r in rows]
    n = len(found)
    assert n - 3 <= len(explored) <= n  # one of five places each; some walkers had all new ones that are left
    said = f"explore: {len(explored)} of {n} places drawn for new items have one, {len(explored) / len(rows):.1%} of"
    assert any(line.startswith(said) and line.endswith("4 of 16 allowed items are new") for line in lines)
    assert {row["strategy"] for row in found["z0"]} > {"explore"}
    plain = run(made, context, k=5)[1]
    for user, each in found.items():
        kept = [row["item_id"] for row in each if row["strategy"] != "explore"]
        missed = {row["item_id"] for row in each if row["strategy"] == "explore"}
        assert kept == [row["item_id"] for row in plain[user] if row["item_id"] not in missed][: len(kept)]


def test_without_times_new_is_what_nobody_chose(tmp_path: Any, context: Context) -> None:
    work = tiny.make(tmp_path / "work")
    lines, found = run(work, context, k=4, constraints={"explore": 0.5})
    assert not any(row["strategy"] == "explore" for rows in found.values() for row in rows)
    assert "explore: 0 of 102 places drawn for new items have one, 0.0% of all rows; 0 of 16" in "\n".join(lines)


@pytest.mark.parametrize("seed", range(4))
def test_no_rule_gives_way_to_a_new_item(made: WorkDir, context: Context, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, denied = (tiny.item_id(int(code)) for code in rng.choice(tiny.N_ITEMS, 2, replace=False))
    k, cap = int(rng.integers(2, 7)), int(rng.integers(1, 3))
    where = f"item.n_events >= {int(rng.integers(5, 9))} AND (user.region <> 'Spain' OR item.item_id <> 'i13')"
    given = {"explore": float(rng.choice([0.1, 0.35, 0.8])), "pinned": [first], "where": where}
    settings = {"k": k, "deny": [denied], "max_per_category": cap, "constraints": given}
    found = run(made, context, **settings, diversity=float(rng.choice([0.0, 0.4])))[1]
    assert any(row["strategy"] == "explore" for rows in found.values() for row in rows)
    for user, rows in found.items():
        codes = [int(row["item_id"][1:]) for row in rows]
        had = set() if user[0] == "z" else set(tiny.walk(int(user[1:])))
        assert len(set(codes)) == len(codes) and not set(codes) & had
        assert max(np.bincount([code // 4 for code in codes])) <= cap
        assert denied not in {row["item_id"] for row in rows}
        spanish = user == "z1" or (user[0] == "u" and int(user[1:]) % 2)
        assert not spanish or 13 not in codes
        assert first not in {row["item_id"] for row in rows[1:]}
        assert {row["rank"] for row in rows if row["strategy"] == "explore"} <= set(range(2, k + 1))


def test_lists_of_some_users_are_those_of_all(made: WorkDir, context: Context) -> None:
    from llmrec_cli.stages.recommend import answer

    config = RecommendConfig(k=4, constraints={"explore": 0.4})
    whole = run(made, context, k=4, constraints={"explore": 0.4})[1]
    asked = answer(made, config, context, ["u07", "z2"]).to_pylist()
    assert asked == [*whole["u07"], *whole["z2"]]
