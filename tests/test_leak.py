"""No way for a withheld event into the lists: a synthetic log through the real stages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_cli import pipeline
from llmrec_cli.core import config
from llmrec_cli.core.artifacts import EVALUATION, HOLDOUT, RECOMMENDATIONS, SEQUENCES, VERDICT
from llmrec_cli.core.artifacts import ITEMS as ITEM_TABLE
from llmrec_cli.core.artifacts import USERS as USER_TABLE
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists.recommend_config import RecommendConfig
from tests.signing import rewrite

pytestmark = pytest.mark.slow
USERS, ITEMS, STEPS = 120, 60, 8


def log(last_day: int = STEPS) -> list[str]:
    """Users walk around a ring of items, an item a day; the last event of each is on `last_day`."""
    lines = ["user,item,time"]
    for user in range(USERS):
        for step in range(STEPS + 1):
            day = last_day if step == STEPS else step
            lines.append(f"u{user:03d},i{(7 * user + step) % ITEMS:02d},{1_700_000_000 + 86_400 * day + user}")
    return lines


def replayed(folder: Path, lines: list[str], context: Context, **settings: Any) -> tuple[WorkDir, Any, Context]:
    """The nested work directory of a backtest, the settings of evaluate, and the context."""
    folder.mkdir()
    (folder / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    given = {
        "clean.interactions.path": str(folder / "log.csv"),
        "clean.interactions.user": "user",
        "clean.interactions.item": "item",
        "clean.interactions.time": "time",
        "pretrain.epochs": 2,
        "evaluate.bootstrap": 100,
        "evaluate.ks": [5],
        **settings,
    }
    made = config.Settings({}, {}, folder, "the test")
    for key, value in given.items():
        made.put(key, value, "the test")
    context = dataclasses.replace(context, base=folder)
    pipeline.backtests(WorkDir(folder / "work"), made, context)
    (_, evaluate), *_ = made.section("evaluate", pipeline.load("evaluate").config).backtests(RecommendConfig())
    return WorkDir(folder / "work" / "evaluate" / "last"), evaluate, context


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[WorkDir, Any, Context]:
    from llmrec_cli.core.progress import PlainProgress

    folder = tmp_path_factory.mktemp("leak")
    context = Context(seed=1, base=folder, progress=PlainProgress(quiet=True), device="cpu", threads=1)
    return replayed(folder / "as it was", log(), context)


def recall(work: WorkDir) -> dict[str, float]:
    rows = work.read(EVALUATION).to_pylist()
    return {row["system"]: row["value"] for row in rows if row["metric"] == "recall@5"}


def test_shuffled_targets_drop_to_chance(made: tuple[WorkDir, Any, Context]) -> None:
    work, settings, context = made
    before = recall(work)["pipeline"]
    holdout = work.read(HOLDOUT)
    items = np.array(holdout.column("item_id").to_pylist())
    try:
        shuffled = np.random.default_rng(0).permutation(items)
        rewrite(work, HOLDOUT, holdout.set_column(2, "item_id", [shuffled.tolist()]))
        execute(pipeline.load("evaluate"), work, settings, context)
        after = recall(work)["pipeline"]
    finally:
        rewrite(work, HOLDOUT, holdout)
        execute(pipeline.load("evaluate"), work, settings, context)
    assert recall(work)["pipeline"] == before
    # a list holds 5 of the 52 items that the user has not seen; a shuffled target is one of 60
    chance = 5 / ITEMS
    assert before > 0.8
    assert abs(after - chance) < 4 * np.sqrt(chance * (1 - chance) / USERS)


def test_the_time_of_a_withheld_event_changes_no_list(made: tuple[WorkDir, Any, Context], tmp_path: Path) -> None:
    work, _, context = made
    later, _, _ = replayed(tmp_path / "later", log(last_day=4000), context)
    assert later.read(HOLDOUT).column("time") != work.read(HOLDOUT).column("time")
    assert later.read(RECOMMENDATIONS).equals(work.read(RECOMMENDATIONS))


def test_what_is_withheld_changes_no_list(made: tuple[WorkDir, Any, Context], tmp_path: Path) -> None:
    work, _, context = made
    head, *rows = log()
    latest = [place for place in range(len(rows)) if place % (STEPS + 1) == STEPS]
    others = list(rows)
    for place, other in zip(latest, np.roll(latest, 1), strict=True):
        user, _, time = rows[place].split(",")
        others[place] = f"{user},{rows[other].split(',')[1]},{time}"
    swapped, _, _ = replayed(tmp_path / "swapped", [head, *others], context)
    assert swapped.read(HOLDOUT).column("item_id") != work.read(HOLDOUT).column("item_id")
    assert swapped.read(RECOMMENDATIONS).equals(work.read(RECOMMENDATIONS))
    assert recall(swapped)["pipeline"] < 0.5 < recall(work)["pipeline"]


def test_items_that_only_withheld_events_have_are_unknown_and_change_no_list(
    made: tuple[WorkDir, Any, Context], tmp_path: Path
) -> None:
    """Else an item without events could only be somebody's withheld target, and any source of content finds it."""
    _, _, context = made
    head, *rows = log()
    named = [f"{row},{row.split(',')[1]}" for row in rows]
    new = list(named)
    for user, place in enumerate(range(STEPS, len(rows), STEPS + 1)):
        if user % 2:
            new[place] = f"u{user:03d},new{user:03d},{rows[place].split(',')[2]},a title that no item had"
    described = {"clean.items.title": "title", "clean.users.region": "title"}
    one, _, _ = replayed(tmp_path / "one", [f"{head},title", *named], context, **described)
    two, _, _ = replayed(tmp_path / "two", [f"{head},title", *new], context, **described)
    for table in (ITEM_TABLE, USER_TABLE, SEQUENCES, RECOMMENDATIONS):
        assert two.read(table).equals(one.read(table)), table.path
    assert set(one.read(ITEM_TABLE).column("item_id").to_pylist()) == {
        item for items in one.read(SEQUENCES).column("item_ids").to_pylist() for item in items
    }
    reported = json.loads(two.need(VERDICT).read_text(encoding="utf-8"))
    assert reported["out_of_reach"]["chose only items that nobody had before"] == USERS // 2
    assert recall(two)["pipeline"] < 0.6 < recall(one)["pipeline"]


def test_users_and_events_after_a_cut_off_in_time_change_no_list(tmp_path: Path, context: Context) -> None:
    cut = {"evaluate.holdout": "time", "evaluate.holdout_after": "2023-11-19"}
    more = [f"late{n},new{n % 7},{1_700_600_000 + n}" for n in range(40)]
    one, _, _ = replayed(tmp_path / "one", log(), context, **cut)
    two, _, _ = replayed(tmp_path / "two", [*log(), *more], context, **cut)
    assert two.read(ITEM_TABLE).equals(one.read(ITEM_TABLE))
    lists = [row for row in two.read(RECOMMENDATIONS).to_pylist() if not row["user_id"].startswith("late")]
    assert lists == one.read(RECOMMENDATIONS).to_pylist()


def test_several_cut_offs_are_replayed_each_without_its_future(tmp_path: Path, context: Context) -> None:
    days = ["2023-11-18", "2023-11-20"]  # events of a user are on the 14th (or 15th) and the eight days after
    replayed(tmp_path / "cuts", log(), context, **{"evaluate.holdout": "time", "evaluate.holdout_after": days})
    counts = []
    for day in days:
        work = WorkDir(tmp_path / "cuts" / "work" / "evaluate" / f"last-{day}")
        newest = max(time for times in work.read(SEQUENCES).column("times").to_pylist() for time in times)
        assert f"{newest:%Y-%m-%d}" < day
        reported = json.loads(work.need(VERDICT).read_text(encoding="utf-8"))
        assert ("asked about until 2023-11-20" in reported["protocol"]) == (day == days[0])
        counts.append(work.read(EVALUATION).num_rows)
    assert counts[0] == counts[1] > 0
