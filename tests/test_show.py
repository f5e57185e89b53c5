from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from llmrec_cli.commands import show
from llmrec_cli.core.artifacts import ITEM_RANGES, ITEM_VECTORS, PROFILES, RECOMMENDATIONS, SEQUENCES
from llmrec_cli.core.errors import DataError, UpstreamError
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.stages.recommend import STAGE, RecommendConfig
from tests import tiny
from tests.signing import vouch


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    from llmrec_cli.core.progress import PlainProgress

    folder = tmp_path_factory.mktemp("tiny")
    made = tiny.make(folder / "work")
    context = Context(seed=1, base=folder, progress=PlainProgress(quiet=True), device="cpu", threads=1)
    execute(STAGE, made, RecommendConfig(k=3), context)
    return made


def test_a_user_with_profile_history_and_list(work: WorkDir) -> None:
    shown = show.user(work, "u00")
    assert [each["title"] for each in shown.data["history"]] == ["Thing 2", "Thing 1", "Thing 0"]
    assert shown.data["recommendations"][0]["title"] == "Thing 3"
    assert shown.data["recommendations"][0]["evidence"][0]["title"].startswith("Thing")
    text = "\n".join(shown.lines)
    assert text.startswith("user u00: 3 events, France") and "interests  ring 0 100%" in text
    assert "newest choices" in text and "as you did" in text
    json.dumps(shown.data, default=str)


def test_a_user_without_events(work: WorkDir) -> None:
    shown = show.user(work, "z0")
    assert shown.data["cold"] and shown.data["history"] == []
    assert "newest choices" not in shown.lines
    assert any("One of the items that the most" in line or "Chosen by" in line for line in shown.lines)


def test_a_page_reports_support_changes_and_affinities(tmp_path: Path) -> None:
    """What `show user` prints of a profile that has everything; nothing has been recommended yet."""
    made = tiny.make(tmp_path / "work", fit=False)
    rows = made.read(PROFILES).to_pylist()
    rows[0] |= {
        "interests": [{"tag": f"a rather long tag {n}", "weight": 0.1, "support": n} for n in range(10)],
        "changes": [{"tag": "up", "before": 0.1, "lately": 0.6}, {"tag": "down", "before": 0.5, "lately": 0.0}],
        "last_time": datetime(2024, 3, 5, tzinfo=UTC),
        "brands": [{"tag": "acme", "share": 0.4, "lift": 2.25, "support": 12}],
        "price": {"typical": 1234.5, "level": 0.75, "support": 30},
    }
    made.write(PROFILES, pa.Table.from_pylist(rows, schema=made.read(PROFILES).schema))
    vouch(made)
    shown = show.user(made, "u00")
    text = "\n".join(shown.lines)
    assert "rising     up 10% → 60%" in text and "falling    down 50% → 0%" in text
    assert "brands     acme 40% of the events (12, lift 2.2)" in text
    assert "price      1,234.50 typically, at 75% between" in text and "(30 events)" in text
    assert "a rather long tag 9 10% (9)" in text and "a rather long tag 0 10%," in text  # none are the user's own
    assert max(map(len, shown.lines)) <= 110 and "none yet: `llmrec recommend`" in text
    assert shown.data["price"] == {"typical": 1234.5, "level": 0.75, "support": 30}
    assert shown.data["changes"][1] == {"tag": "down", "before": 0.5, "lately": 0.0}
    assert json.loads(json.dumps(shown.data, default=str))["brands"][0]["support"] == 12
    made.write(PROFILES, pa.Table.from_pylist([rows[0] | {"last_time": None}], schema=made.read(PROFILES).schema))
    untimed = "\n".join(show.user(vouch(made), "u00").lines)
    assert not any(f"  {word} " in untimed for word in ("lately", "rising", "falling"))  # there is no order


def test_an_item_is_chosen_by_people_and_a_price_that_varies_is_a_range(tmp_path: Path) -> None:
    made = tiny.make(tmp_path / "work", fit=False)
    row = {"item_id": "i02", "name": "price", "low": "1.25", "high": "2.10"}
    made.write(ITEM_RANGES, pa.Table.from_pylist([row], schema=ITEM_RANGES.schema))
    histories = made.read(SEQUENCES).to_pylist()
    histories[0]["item_ids"][0] = "i02"  # twice by one person
    made.write(SEQUENCES, pa.Table.from_pylist(histories, schema=SEQUENCES.schema))
    shown = show.item(vouch(made), "i02")
    assert "  chosen     by 9 people" in shown.lines and "  price      1.25 to 2.10" in shown.lines


def test_profile_show_is_show_user(work: WorkDir) -> None:
    from typer.testing import CliRunner

    from llmrec_cli.cli.app import app

    runner = CliRunner()
    given = ["u00", "--work", str(work.path)]
    by_stage, by_show = runner.invoke(app, ["profile", "show", *given]), runner.invoke(app, ["show", "user", *given])
    assert by_stage.exit_code == 0 and by_stage.output == by_show.output and "ring 0 100% (3)" in by_stage.output
    reported = json.loads(runner.invoke(app, ["profile", "show", *given, "--json"]).output)
    assert reported["interests"] == [{"tag": "ring 0", "weight": 1.0, "support": 3}] and reported["price"] is None
    assert runner.invoke(app, ["profile", "shw", *given]).exit_code == 2


def test_an_item_with_neighbours_and_how_often_it_is_recomrepaired(work: WorkDir) -> None:
    shown = show.item(work, "i03")
    ranks = [row["rank"] for row in work.read(RECOMMENDATIONS).to_pylist() if row["item_id"] == "i03"]
    assert shown.data["recommended"] == {"users": len(ranks), "mean_rank": round(sum(ranks) / len(ranks), 2)}
    nearest = [each["item_id"] for each in shown.data["neighbours"][:2]]
    assert set(nearest) == {"i02", "i04"}
    assert "i03" not in {each["item_id"] for each in shown.data["neighbours"]}
    assert shown.lines[0] == "item i03: Thing 3" and any("Ring 0 > Half 0" in line for line in shown.lines)


def test_unknown_ids_are_reported_with_near_ones(work: WorkDir) -> None:
    with pytest.raises(DataError, match="no user 'u0'") as raised:
        show.user(work, "u0")
    assert "u00" in raised.value.fix
    with pytest.raises(DataError, match="no item 'thing 12'") as raised:
        show.item(work, "thing 12")
    assert "'i12' (Thing 12)" in raised.value.fix


def test_before_recommend_has_run_no_list_has_an_item(tmp_path: Path) -> None:
    bare = tiny.make(tmp_path / "work", fit=False)
    assert show.item(bare, "i03").data["recommended"] is None


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes() + b"x")])
def test_what_is_gone_or_was_changed_is_not_shown(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    made = tiny.make(tmp_path / "work", fit=False)
    damage(made.where(ITEM_VECTORS))
    with pytest.raises(UpstreamError, match="pretrain/item_vectors"):
        show.item(made, "i03")
    damage(made.where(PROFILES))
    with pytest.raises(UpstreamError, match="profile/profiles"):
        show.user(made, "u00")
