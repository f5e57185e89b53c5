from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.core.artifacts import ITEMS, RECOMMENDATIONS, SEQUENCES
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.stage import Context, Outcome, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists import id_lists
from llmrec_cli.stages import recommend
from llmrec_cli.stages.recommend import STAGE, RecommendConfig
from tests import tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    return tiny.make(tmp_path_factory.mktemp("tiny") / "work")


def recommended(work: WorkDir, context: Context, **settings: Any) -> Outcome:
    return execute(STAGE, work, RecommendConfig(**{"k": 3, **settings}), context, force=True)


def lists(work: WorkDir) -> dict[str, list[dict[str, Any]]]:
    out: dict[str, list[dict[str, Any]]] = {}
    for row in work.read(RECOMMENDATIONS).to_pylist():
        out.setdefault(row["user_id"], []).append(row)
    return out


def test_walkers_are_reported_the_next_step_and_why(made: WorkDir, context: Context) -> None:
    report = recommended(made, context).report
    found = lists(made)
    first = [found[f"u{user:02d}"][0] for user in range(tiny.WALKERS)]
    assert [row["item_id"] for row in first] == [tiny.item_id(tiny.following(user)) for user in range(tiny.WALKERS)]
    histories = {row["user_id"]: row["item_ids"] for row in made.read(SEQUENCES).to_pylist()}
    for row in first:
        leading = row["evidence"][0]
        assert leading["item_id"] in histories[row["user_id"]]
        assert f"“Thing {int(leading['item_id'][1:])}”" in row["reason"]
        assert "later" not in row["reason"]  # the log has no times
    assert report.counts["full"] == tiny.WALKERS + tiny.COLD_ITEMS


def test_every_list_is_full_ordered_new_and_without_repeats(made: WorkDir, context: Context) -> None:
    recommended(made, context, k=10)
    histories = {row["user_id"]: row["item_ids"] for row in made.read(SEQUENCES).to_pylist()}
    for user, rows in lists(made).items():
        items = [row["item_id"] for row in rows]
        assert [row["rank"] for row in rows] == list(range(1, 11))
        assert len(set(items)) == 10
        assert not set(items) & set(histories.get(user, []))
        assert all(row["reason"].endswith(".") for row in rows)


@pytest.mark.parametrize("filter_seen", [True, False])
def test_what_a_user_turned_down_is_not_shown_to_them(tmp_path: Path, context: Context, filter_seen: bool) -> None:
    """The next step of the first walker and, for the second, an item of the history."""
    negative = {"u00": tiny.item_id(tiny.following(0)), "u01": tiny.item_id(tiny.walk(1)[0])}
    work = tiny.make(tmp_path / "work", negative=negative)
    recommended(work, context, k=tiny.N_ITEMS, filter_seen=filter_seen)
    found = {user: {row["item_id"] for row in rows} for user, rows in lists(work).items()}
    assert all(item not in found[user] for user, item in negative.items())
    seen = tiny.STEPS if filter_seen else 0
    assert len(found["u00"]) == tiny.N_ITEMS - seen - 1 and len(found["u01"]) == tiny.N_ITEMS - max(seen, 1)
    assert any(negative["u00"] in items for user, items in found.items() if user != "u00")


def test_users_without_events_get_what_their_segment_chooses(made: WorkDir, context: Context) -> None:
    recommended(made, context)
    found = lists(made)
    french, spanish, unknown = (found[f"z{n}"] for n in range(tiny.COLD_ITEMS))
    assert {row["strategy"] for row in french + spanish} == {"segment-popularity"}
    assert {int(row["item_id"][1:]) // tiny.RING for row in french} == {0}
    assert {int(row["item_id"][1:]) // tiny.RING for row in spanish} == {1}
    assert french[0]["reason"] == "Chosen by 9 people."  # and not where they are from
    assert french[0]["evidence"][0]["kind"] == "segment" and french[0]["evidence"][0]["tag"] == "France"
    assert {row["strategy"] for row in unknown} == {"popularity"}


def test_rules_on_items_hold(made: WorkDir, context: Context, tmp_path: Path) -> None:
    allowed = [tiny.item_id(code) for code in range(1, 9)]
    (tmp_path / "deny.txt").write_text("# sold out\ni02\n\ni03\n")
    (tmp_path / "stock.csv").write_text("item_id,left\ni04,0\ni99,0\n")
    given: dict[str, Any] = {"allow": [*allowed, "nowhere"], "deny": "deny.txt", "exclude": "stock.csv"}
    report = recommended(made, context, **given).report
    shown = {row["item_id"] for rows in lists(made).values() for row in rows}
    assert shown and shown <= set(allowed) - {"i02", "i03", "i04"}
    for name, known, unknown in (("allow", 9, "nowhere"), ("exclude", 2, "i99")):
        said = f"recommend.{name}: 1 of {known} ids are not in the catalogue, such as {unknown!r}"
        assert said in report.warnings
    config = RecommendConfig(k=3, **given)
    assert not execute(STAGE, made, config, context).ran
    (tmp_path / "stock.csv").write_text("item_id,left\ni05,0\n")
    assert execute(STAGE, made, config, context).ran, "the content of the file is part of the ticket"
    assert "i05" not in {row["item_id"] for rows in lists(made).values() for row in rows}


def test_a_category_is_capped_in_filled_rows_too(made: WorkDir, context: Context) -> None:
    recommended(made, context, k=4, max_per_category=1)
    for rows in lists(made).values():
        halves = [(int(row["item_id"][1:]) // 4) for row in rows]
        assert len(set(halves)) == len(halves) == 4


def test_short_lists_are_counted_with_the_reason(made: WorkDir, context: Context) -> None:
    report = recommended(made, context, k=3, allow=["i00", "i08"]).report
    assert report.counts["full"] == 0
    assert any("lists are short: 2 items are allowed" in line for line in report.lines)


def test_nothing_left_to_recommend_and_no_such_file_are_reported(made: WorkDir, context: Context) -> None:
    with pytest.raises(DataError, match="leave no item"):
        recommended(made, context, allow=["nowhere"])
    with pytest.raises(DataError, match="cannot be read"):
        id_lists.ids_of("none.txt", context.base)


def test_seen_items_may_come_again_when_asked(made: WorkDir, context: Context) -> None:
    report = recommended(made, context, k=tiny.N_ITEMS, filter_seen=False).report
    assert report.counts["full"] == tiny.WALKERS + tiny.COLD_ITEMS
    assert report.lines[1].startswith("seen items not filtered")


def test_the_same_title_stands_once_in_a_list(context: Context, tmp_path: Path) -> None:
    work = tiny.make(tmp_path / "work", {3: "The Same", 4: "the  SAME!", 5: "The same"})
    recommended(work, context, k=8)
    for rows in lists(work).values():
        assert sum(row["item_id"] in {"i03", "i04", "i05"} for row in rows) <= 1


def test_variety_spreads_a_list_over_the_ring(made: WorkDir, context: Context) -> None:
    def spread() -> float:
        """Mean cosine of the angle between two items of a list: the more variety, the smaller."""
        angles = [
            [2 * np.pi * int(row["item_id"][1:]) / tiny.RING for row in rows]
            for user, rows in lists(made).items()
            if user.startswith("u")
        ]
        return float(np.mean([np.cos(np.subtract.outer(each, each)).mean() for each in angles]))

    recommended(made, context, k=2, diversity=0.0)
    alike = spread()
    recommended(made, context, k=2, diversity=0.9)
    assert spread() < alike - 0.05


def test_reruns_do_not_change_a_byte_and_blocks_nothing_but_the_last_digit(
    made: WorkDir, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommended(made, context)
    whole = made.read(RECOMMENDATIONS)
    before = made.fingerprint(RECOMMENDATIONS)
    recommended(made, context)
    assert made.fingerprint(RECOMMENDATIONS) == before
    monkeypatch.setattr(recommend, "BLOCK", 7)
    recommended(made, context)
    pieces = made.read(RECOMMENDATIONS)
    assert pieces.drop_columns(["score", "evidence"]).equals(whole.drop_columns(["score", "evidence"]))
    assert np.allclose(pieces.column("score").to_numpy(), whole.column("score").to_numpy(), rtol=1e-4)


def test_a_missing_list_of_ids_is_reported(tmp_path: Path) -> None:
    from llmrec_cli.core.errors import DataError
    from llmrec_cli.lists.id_lists import named_files
    from llmrec_cli.stages.recommend import RecommendConfig

    (tmp_path / "deny.txt").write_text("a\n")
    assert named_files(RecommendConfig(deny="deny.txt"), tmp_path) == [tmp_path / "deny.txt"]
    with pytest.raises(DataError, match="no list of item ids"):
        named_files(RecommendConfig(allow="nowhere.txt"), tmp_path)


def test_a_cap_on_categories_where_there_are_none_is_reported(tmp_path: Path, context: Context) -> None:
    work = tiny.make(tmp_path / "work")
    items = work.read(ITEMS)
    place = items.column_names.index("category")
    reported = "max_per_category does nothing: no item of the catalogue has a category"

    def warnings(categories: list[str | None]) -> list[str]:
        work.write(ITEMS, items.set_column(place, "category", pa.array(categories, pa.string())))
        config = RecommendConfig(k=3, max_per_category=2)
        return recommend.run(work, config, context).warnings

    assert reported in warnings([None] * items.num_rows)
    assert reported not in warnings(["Mugs"] * items.num_rows)
