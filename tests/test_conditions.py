"""Rules over columns of items and users: what they read, and that no list breaks them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.core.artifacts import EXCLUSIONS, ITEMS, RECOMMENDATIONS, USERS
from llmrec_cli.core.columns import ATTRIBUTES
from llmrec_cli.core.errors import DataError, LlmrecError, SettingsError
from llmrec_cli.core.stage import Context, Outcome, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ingest import engine_filter
from llmrec_cli.lists import conditions, rule_columns
from llmrec_cli.lists.conditions import Rules
from llmrec_cli.lists.recommend_config import ConstraintsConfig
from llmrec_cli.stages import recommend
from llmrec_cli.stages.recommend import STAGE, RecommendConfig
from tests import tiny
from tests.signing import vouch

PRICES = [str(5 + code) for code in range(tiny.N_ITEMS)]
PRICES[3] = ""


def attributes(rows: list[dict[str, str]]) -> pa.Array:
    return pa.array([[{"name": n, "value": v} for n, v in row.items() if v] for row in rows], type=ATTRIBUTES)


def put(work: WorkDir, table: Any, rows: list[dict[str, str]]) -> None:
    old = work.read(table)
    work.write(table, old.set_column(old.column_names.index("attributes"), "attributes", attributes(rows)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    """Items have a price, but one, and a risk of 0 to 3; users a tolerance of 0 to 3, but the last three none."""
    work = tiny.make(tmp_path_factory.mktemp("rules") / "work")
    put(work, ITEMS, [{"price": PRICES[n], "risk": str(n % 4), "Net weight": "9 kg"} for n in range(tiny.N_ITEMS)])
    people = tiny.WALKERS + tiny.COLD_ITEMS
    put(work, USERS, [{"tolerance": str(n % 4) if n < tiny.WALKERS else ""} for n in range(people)])
    return vouch(work)


def recommended(work: WorkDir, context: Context, where: str, **settings: Any) -> Outcome:
    config = RecommendConfig(**{"k": 3, **settings, "constraints": {"where": where, **settings.get("constraints", {})}})
    return execute(STAGE, work, config, context, force=True)


def lists(work: WorkDir) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {}
    for row in work.read(RECOMMENDATIONS).to_pylist():
        out.setdefault(row["user_id"], []).append(int(row["item_id"][1:]))
    return out


def test_a_rule_of_items_alone_holds_for_every_row_and_what_has_no_value_is_out(
    made: WorkDir, context: Context
) -> None:
    report = recommended(made, context, "item.price <= 12", k=8).report
    assert {item for rows in lists(made).values() for item in rows} == {0, 1, 2, 4, 5, 6, 7}
    assert any(line.startswith("rule item.price <= 12: keeps 9 of 16 items from everybody") for line in report.lines)


@pytest.mark.parametrize("most", [1000, 2])
def test_a_rule_of_both_gives_each_user_their_own(
    made: WorkDir, context: Context, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By masks, and by checks on candidates where the users have more values than that."""
    monkeypatch.setattr(conditions, "VALUES", most)
    report = recommended(made, context, "item.risk <= user.tolerance AND item.price > 0").report
    found = lists(made)
    assert set(found) == {f"u{user:02d}" for user in range(tiny.WALKERS)}  # a tolerance that is missing allows nothing
    assert all(item % 4 <= int(user[1:]) % 4 and item != 3 for user, rows in found.items() for item in rows)
    assert all(len(rows) == 3 for rows in found.values())
    assert any("item.risk <= user.tolerance" in line for line in report.lines)


def test_masks_and_checks_on_candidates_give_the_same_lists(
    made: WorkDir, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = "item.item_id <> concat('i', substr(user.user_id, 2)) AND item.risk <> user.tolerance"
    recommended(made, context, where, k=6)
    by_masks = lists(made)
    monkeypatch.setattr(conditions, "VALUES", 2)
    monkeypatch.setattr(recommend, "BLOCK", 30)
    recommended(made, context, where, k=6)
    assert lists(made) == by_masks
    assert all(int(user[1:]) not in rows for user, rows in by_masks.items() if user.startswith("u"))


@pytest.mark.parametrize(
    ("where", "kind", "said"),
    [
        ("item.prise < 3", SettingsError, "item.price"),
        ("price < 3", SettingsError, "no column 'price'"),
        ("item.price < (SELECT 1)", SettingsError, "not allowed"),
        ("item.price < 3) OR (true", SettingsError, "syntax error"),
        ("item.price < 0", DataError, "item.price < 0: keeps 0 of 16 items"),
        ("user.tolerance > 99", DataError, "nobody an item"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_reported(
    made: WorkDir, context: Context, where: str, kind: type[LlmrecError], said: str
) -> None:
    with pytest.raises(kind) as reported:
        recommended(made, context, where)
    assert said in str(reported.value) and "recommend.constraints.where" in str(reported.value)


def test_columns_are_named_without_regard_to_case(made: WorkDir, context: Context) -> None:
    recommended(made, context, "item.price <= 12 AND item.risk <= user.tolerance")
    plain = made.where(RECOMMENDATIONS).read_bytes()
    recommended(made, context, "ITEM.Price <= 12 AND item.RISK <= User.Tolerance")
    assert made.where(RECOMMENDATIONS).read_bytes() == plain


@pytest.mark.parametrize("most", [1000, 2])
def test_each_candidate_that_a_rule_took_out_is_logged(
    made: WorkDir, context: Context, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted again from lists without rules that are as long as candidates go; and nothing else changes."""
    monkeypatch.setattr(conditions, "VALUES", most)
    monkeypatch.setattr(recommend, "BLOCK", 7)
    where = "item.risk <= user.tolerance AND item.price <= 12"
    recommended(made, context, where)
    assert not made.has(EXCLUSIONS)
    plain = made.where(RECOMMENDATIONS).read_bytes()
    recommended(made, context, "", k=tiny.N_ITEMS)
    free = {(row["user_id"], row["item_id"]): row for row in made.read(RECOMMENDATIONS).to_pylist()}
    report = recommended(made, context, where, constraints={"log_exclusions": True}).report
    assert made.where(RECOMMENDATIONS).read_bytes() == plain
    found, of_popular = made.read(EXCLUSIONS).to_pylist(), ("popularity", "segment-popularity")
    assert any(line.startswith(f"{len(found):,} exclusions of candidates") for line in report.lines)
    expected = []
    for (user, item), row in free.items():
        tolerance, code = int(user[1:]) % 4 if user.startswith("u") else None, int(item[1:])
        out = {"item.risk <= user.tolerance": tolerance is None or code % 4 > tolerance}
        out |= {"item.price <= 12": PRICES[code] == "" or int(PRICES[code]) > 12}
        expected += [(user, row["rank"], item, rule, row) for rule, broken in out.items() if broken]
    known = [each for each in expected if each[0].startswith("u") and each[4]["strategy"] not in of_popular]
    logged = {(row["user_id"], row["rank"], row["item_id"], row["rule"]): row["score"] for row in found}
    assert known and {each[:4] for each in known} <= logged.keys()
    assert all(logged[each[:4]] == pytest.approx(each[4]["score"]) for each in known)
    assert logged.keys() <= {each[:4] for each in expected}
    assert list(logged) == sorted(logged, key=lambda each: (each[:2], each[3] == "item.price <= 12"))


def test_conditions_are_split_where_and_joins_them() -> None:
    found = engine_filter.terms(
        "item.a <= 5 AND (item.b = 'x AND y' OR item.c IS NULL) AND NOT contains(item.tags, 'z')"
    )
    assert found[:2] == ["item.a <= 5", "(item.b = 'x AND y') OR (item.c IS NULL)"] and len(found) == 3


@pytest.mark.parametrize("seed", range(3))
def test_random_rules_are_those_of_a_loop(seed: int) -> None:
    """Numbers, texts and gaps; the engine answers row by row what the tables answer."""
    rng = np.random.default_rng(seed)
    n_items, n_users = 40, 30
    gaps = [None, 1.0, 2.0, 3.0, 4.0]
    price, limit = (rng.choice(gaps, n).tolist() for n in (n_items, n_users))  # type: ignore[arg-type]
    brand, own = (rng.choice(["a", "b", "c"], n).tolist() for n in (n_items, n_users))
    items = {"price": pa.array(price, pa.float64()), "brand": pa.array(brand)}
    users = {"limit": pa.array(limit, pa.float64()), "brand": pa.array(own)}
    rules = Rules.of(["item.price <= user.limit AND (item.brand <> user.brand OR item.price = 1)"], items, users)
    assert rules.masks is not None and rules.kinds is not None and rules.values is not None
    wanted = [
        [
            bool(p is not None and m is not None and p <= m and (b != o or p == 1))
            for p, b in zip(price, brand, strict=True)
        ]
        for m, o in zip(limit, own, strict=True)
    ]
    assert (rules.masks[rules.kinds][:, rules.values] == np.array(wanted)).all()
    rows = np.arange(n_users)
    assert rules.broken(rows, np.tile(np.arange(n_items, dtype=np.int32), (n_users, 1))) == (~np.array(wanted)).sum()


def test_a_user_who_is_not_known_has_no_values(made: WorkDir, context: Context) -> None:
    def popular(where: str) -> list[str]:
        config = RecommendConfig(constraints={"where": where})
        return recommend.popular(made, config, context).column("item_id").to_pylist()

    assert popular("item.risk <= user.tolerance") == []
    assert popular("item.item_id <> user.user_id AND item.price = 6") == ["i01"]


@pytest.mark.parametrize(("age_from", "wanted"), [("", [10.0, 9.0, 0.0]), ("released", [3.0, None, -1.0])])
def test_an_item_is_as_old_as_its_first_event_or_its_date(age_from: str, wanted: list[float | None]) -> None:
    day = 86400
    times = np.array([0, 10, 1, 9], dtype=np.int64) * day
    histories = Sequences(np.array([0, 0, 1, 1], dtype=np.int32), np.array([0, 2, 4]), 3, times)
    items = pa.table(
        {name: pa.nulls(3, pa.string()) for name in ("item_id", "title", "text", "category", "tags", "n_events")}
        | {"attributes": attributes([{"released": "1970-01-08 10:00"}, {}, {"released": "1970-01-12"}])}
    )
    assert rule_columns.item_columns(items, histories, age_from)["age_days"].to_pylist() == wanted


def test_ages_are_rules_too() -> None:
    config = ConstraintsConfig(where="item.x > 1", min_age_days=2, max_age_days=30.5)
    assert config.conditions == ["item.x > 1", "item.age_days >= 2.0", "item.age_days <= 30.5"]


def test_no_item_comes_again_before_so_many_days(made: WorkDir, context: Context) -> None:
    times = np.array([0, 5, 9, 10], dtype=np.int64) * 86400
    histories = Sequences(np.array([0, 1, 0, 2], dtype=np.int32), np.array([0, 2, 4]), 3, times)
    users, items = rule_columns.of_late(histories, 2).excluded(seen=False)
    assert list(zip(users.tolist(), items.tolist(), strict=True)) == [(1, 0), (1, 2)]
    with pytest.raises(SettingsError, match="nothing come again"):
        STAGE.ready(RecommendConfig(constraints={"repeat_after_days": 2}), context)
    with pytest.raises(DataError, match="no times"):
        recommended(made, context, "", filter_seen=False, constraints={"repeat_after_days": 2})


def test_a_cap_of_a_column_that_is_not_there_is_reported(made: WorkDir, context: Context) -> None:
    with pytest.raises(SettingsError, match="no column 'brand'") as reported:
        recommended(made, context, "", constraints={"max_per": {"brand": 1}})
    assert "price, risk" in str(reported.value)


@pytest.mark.parametrize("seed", range(4))
def test_no_list_breaks_random_rules(made: WorkDir, context: Context, seed: int) -> None:
    """Prices, caps, pinned items: every row is looked up, those of users without events too."""
    rng = np.random.default_rng(seed)
    least, cap = int(rng.integers(5, 15)), int(rng.integers(1, 3))
    first = rng.permutation(tiny.N_ITEMS)[:2].tolist()
    where = f"item.price >= {least} AND (user.tolerance IS NULL OR item.risk <= user.tolerance)"
    held = {"max_per": {"risk": cap}, "pinned": [tiny.item_id(code) for code in first]}
    recommended(made, context, where, k=int(rng.integers(2, 7)), constraints=held)
    good = [code for code in range(tiny.N_ITEMS) if PRICES[code] and int(PRICES[code]) >= least]
    rows = made.read(RECOMMENDATIONS).to_pylist()
    assert {"u00", "z0"} & {row["user_id"] for row in rows}
    for user, items in lists(made).items():
        cold = user.startswith("z")
        assert set(items) <= {c for c in good if cold or c % 4 <= int(user[1:]) % 4}
        assert max(np.bincount([c % 4 for c in items])) <= cap
        had = set() if cold else set(tiny.walk(int(user[1:])))
        able = [c for c in first if c in good and c not in had and (cold or c % 4 <= int(user[1:]) % 4)]
        able = able if cap > 1 or len({c % 4 for c in able}) == len(able) else able[:1]
        assert items[: len(able)] == able
    pinned = [row["reason"] for row in rows if row["item_id"] in held["pinned"]]
    assert all(reason.startswith("Placed first by those who run this. ") for reason in pinned)
