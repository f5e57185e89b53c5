from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.ingest import funnel, kept_events, rules
from llmrec_cli.ingest.engine import Engine


def k_core(engine: Engine, users: Any, items: Any, *least: int) -> list[str | None]:
    """The rule that each event violates."""
    columns = {"user_id": users, "item_id": items, "source_row": np.arange(len(users))}
    frame = engine.put(pa.table({**columns, "reason": pa.nulls(len(users), pa.string())}))
    found = rules.rare(frame, engine, *least)
    checked = engine.arrow((frame if found is None else rules.reject_rare(frame, found)).sort("source_row"))
    rejected: list[str | None] = checked.column("reason").to_pylist()
    return rejected


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(256 << 20, 1, tmp_path) as engine:
        yield engine


def log(engine: Engine, rows: list[dict[str, Any]], weights: dict[str, float] | None = None) -> nw.LazyFrame[Any]:
    """A log as the engine gives it, from rows of what matters, with weights."""
    types = {
        "source": pa.string(),
        "row": pa.int64(),
        "source_row": pa.int64(),
        "parsable": pa.bool_(),
        "user_id": pa.string(),
        "item_id": pa.string(),
        "event": pa.string(),
        "time_text": pa.string(),
        "value_text": pa.string(),
        "time": pa.int64(),
        "value": pa.float64(),
        "passes": pa.bool_(),
    }
    usual = {"source": "log", "parsable": True, "passes": True, "user_id": "u", "item_id": "i"}
    full = [{**usual, "row": n, "source_row": n, **row} for n, row in enumerate(rows, 1)]
    frame = engine.put(pa.Table.from_pylist(full, pa.schema(list(types.items()))))
    return rules.weighted(frame, weights or {}, negative_below=-3)


def reasons(engine: Engine, frame: nw.LazyFrame[Any]) -> list[str | None]:
    return engine.arrow(frame.sort("source_row")).column("reason").to_pylist()


def test_each_row_has_the_first_verdict_that_fits(engine: Engine) -> None:
    rows = [
        {"time": 1},
        {"parsable": False, "user_id": None, "item_id": None},
        {"passes": False, "user_id": None},
        {"user_id": None, "item_id": None},
        {"item_id": None},
        {"time": None},
        {"time": 1, "value_text": "many"},
        {"time": 1, "value_text": " "},
        {"time": 1, "value_text": "5", "value": 5.0},
    ]
    expected = [
        None,
        "unparsable",
        "where",
        "missing user",
        "missing item",
        "invalid time",
        "invalid value",
        None,
        None,
    ]
    assert reasons(engine, rules.reject_invalid(log(engine, rows), timed=True)) == expected


def test_duplicates_with_and_without_time(engine: Engine) -> None:
    rows = [{"time": 1}, {"time": 1}, {"time": 2}, {"time": 1, "event": "buy"}, {"time": 1, "user_id": None}]
    checked = rules.reject_invalid(log(engine, rows), timed=True)
    checked = rules.reject_duplicates(checked, timed=True)
    assert reasons(engine, checked) == [None, "duplicate", None, None, "missing user"]
    rows = [{"value": 1.0}, {"value": 2.0}, {"value": 1.0}]
    checked = rules.reject_duplicates(rules.reject_invalid(log(engine, rows), timed=False), timed=False)
    assert reasons(engine, checked) == [None, None, "duplicate"]


@pytest.mark.parametrize(
    ("repeats", "expected"),
    [("keep", [None] * 3), ("first", ["repeat", None, "repeat"]), ("last", ["repeat"] * 2 + [None])],
)
def test_repeats_go_by_time(engine: Engine, repeats: rules.Repeats, expected: list[str | None]) -> None:
    checked = rules.reject_invalid(log(engine, [{"time": 5}, {"time": 1}, {"time": 9}]), timed=True)
    assert reasons(engine, rules.reject_repeats(checked, repeats)) == expected


def test_outliers_are_far_out(engine: Engine) -> None:
    assert rules.outlier_limit(np.array([10]), np.array([100]), 6.0) == pytest.approx(10 * np.exp(6))
    assert rules.outlier_limit(np.array([]), np.array([]), 6.0) == np.inf
    rows = [{"user_id": "bot"}] * 5 + [{"user_id": "a"}] * 2
    checked = rules.reject_outliers(rules.reject_invalid(log(engine, rows), timed=False), "user_id", 4, "outlier user")
    assert reasons(engine, checked) == ["outlier user"] * 5 + [None] * 2


def test_the_k_core_by_hand(engine: Engine) -> None:
    # user 2 has one event; without it item 1 has one event; without that user 1 has one
    users, items = [0, 0, 1, 1, 2], [0, 2, 1, 2, 1]
    of_user, of_item = rules.USER_RULE, rules.ITEM_RULE
    assert k_core(engine, users, items, 2, 1) == [None, None, None, None, of_user]
    assert k_core(engine, users, items, 2, 2) == [of_item, of_user, of_item, of_user, of_user]
    assert k_core(engine, users, items, 1, 1) == [None] * 5


def test_people_are_counted_not_events(engine: Engine) -> None:
    users, items, rule = [0, 0, 0, 1, 2, 3, 3], [0, 0, 0, 1, 1, 1, 0], rules.SUPPORT_RULE
    assert k_core(engine, users, items, 1, 1, 3) == [rule, rule, rule, None, None, None, rule]
    assert k_core(engine, users, items, 1, 1, 2) == [None] * 7
    # the third person of the second item falls with the first item, and the second item with the person
    assert None not in k_core(engine, [0, 1, 2, 2], [1, 1, 1, 0], 2, 1, 3)


def test_order_sessions_and_weights(engine: Engine) -> None:
    minute = 60_000_000
    rows = [
        {"time": 100 * minute, "item_id": "late"},
        {"time": 0, "item_id": "first"},
        {"time": 30 * minute, "item_id": "same session", "event": "buy"},
        {"time": 30 * minute, "item_id": "same time"},
        {"time": 5, "user_id": "v", "item_id": "other", "event": "click"},
    ]
    checked = rules.reject_invalid(log(engine, rows, {"buy": 3.0, "click": 0.5}), timed=True)
    kept = kept_events.in_order(checked, 30)
    table = engine.arrow(kept.sort("user_id", "position"))
    assert table.column("item_id").to_pylist() == ["first", "same session", "same time", "late", "other"]
    assert table.column("position").to_pylist() == [0, 1, 2, 3, 0]
    assert table.column("session").to_pylist() == [0, 0, 0, 1, 0]
    assert table.column("weight").to_pylist() == [1.0, 3.0, 1.0, 1.0, 0.5]


def test_without_time_the_order_is_that_of_the_rows_and_the_session_one(engine: Engine) -> None:
    kept = kept_events.in_order(rules.reject_invalid(log(engine, [{}, {}, {}]), timed=False), 30)
    table = engine.arrow(kept.sort("position"))
    assert table.column("source_row").to_pylist() == [1, 2, 3]
    assert table.column("session").to_pylist() == [0, 0, 0]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pieces_never_part_a_user(size: int) -> None:
    users = ["a"] * 4 + ["b"] + ["c"] * 3 + ["d"]
    table = pa.table({"user_id": users, "item_id": list("012345678")})
    empty = table.slice(0, 0).to_batches()
    pieces = list(kept_events.grouped([*empty, *table.to_batches(max_chunksize=size)]))
    assert pa.concat_tables(pieces).equals(table)
    seen = [set(piece.column("user_id").to_pylist()) for piece in pieces]
    assert sum(map(len, seen)) == 4


def test_the_funnel_adds_up_and_names_the_rule_that_emptied_it() -> None:
    used, left = ["unparsable", "where", "min_user_events"], {"users": {"where": 5, "min_user_events": 20}}
    table = funnel.funnel(1000, {"where": 400, "min_user_events": 600}, used, left)
    assert table.column("left").to_pylist() == [1000, 1000, 600, 0]
    assert table.column("users").to_pylist() == [25, 25, 20, 0]
    assert funnel.emptied_by(table) == ("min_user_events", "lower clean.min_user_events")
    assert funnel.lines(table) == [
        "rows read              1,000",
        "unparsable          0  1,000",
        "where            -400    600",
        "min_user_events  -600      0",
    ]


def test_events_below_no_weight_turn_an_item_down_and_know_how_many_came_before(engine: Engine) -> None:
    weights = {"hide": -1.0, "seen": 0.0}
    rows = [
        {"time": 1, "item_id": "a"},
        {"time": 2, "item_id": "b", "event": "hide"},
        {"time": 3, "item_id": "c", "event": "seen"},
        {"time": 4, "item_id": "d"},
        {"time": 5, "item_id": "b", "event": "hide"},
        {"time": 0, "item_id": "e", "value_text": "-4", "value": -4.0},
        {"time": 6, "item_id": "d", "value_text": "-3", "value": -3.0},
        {"time": 1, "user_id": "v", "item_id": "a", "event": "hide"},
    ]
    checked = rules.reject_invalid(log(engine, rows, weights), timed=True)
    assert reasons(engine, checked) == [
        None,
        "negative feedback",
        "no weight",
        None,
        "negative feedback",
        "negative feedback",
        None,
        "negative feedback",
    ]
    found = engine.arrow(kept_events.negative_feedback(checked).sort("user_id", "item_id")).to_pylist()
    assert [(row["user_id"], row["item_id"], row["position"], row["time"]) for row in found] == [
        ("u", "b", 2, 5),
        ("u", "e", 0, 0),
        ("v", "a", 0, 1),
    ]
    kept = kept_events.in_order(checked, 30)
    assert engine.arrow(kept.sort("position")).column("item_id").to_pylist() == ["a", "d", "d"]
