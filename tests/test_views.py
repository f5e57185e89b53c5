"""One view for all: `show`, exports, the page and the API tell the same of a user, an item and a row of a list."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import llmrec_cli as llmrec
from llmrec_cli.commands import show
from llmrec_cli.core.artifacts import ITEM_TEXTS, RECOMMENDATIONS, REVIEW_SUMMARIES, SEQUENCES
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.report import page_data, views
from llmrec_cli.report.exports import export
from llmrec_cli.stages.recommend import STAGE, RecommendConfig
from tests import tiny
from tests.signing import vouch


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    folder = tmp_path_factory.mktemp("views")
    made = tiny.make(folder / "work", {5: ""})
    context = Context(seed=1, base=folder, progress=PlainProgress(quiet=True), device="cpu", threads=1)
    execute(STAGE, made, RecommendConfig(k=3), context)
    return made


def test_a_list_has_the_same_rows_everywhere(work: WorkDir, tmp_path: Path) -> None:
    export(work, "jsonl", str(tmp_path / "lists.jsonl"))
    exported = {row["user_id"]: row["items"] for row in map(json.loads, (tmp_path / "lists.jsonl").open("rb"))}
    page = page_data.gather(work, n_users=100)
    asked = llmrec.open(work.path, threads=1)
    for user in page["users"]:
        shown = show.user(work, user["id"]).data["recommendations"]
        on_page = [{**row, "item_id": page["items"][row["item"]]["id"]} for row in user["list"]]
        for key in ("item_id", "score", "strategy", "reason"):
            reported = [[row[key] for row in rows] for rows in (shown, exported[user["id"]], on_page)]
            assert reported[0] == reported[1] == reported[2]
        weights = [[each["weight"] for each in row["evidence"]] for row in shown]
        assert weights == [[each[3] for each in row["evidence"]] for row in on_page]
    found = asked.recommend("u00", k=3).drop(columns="user_id").to_dict("records")
    reported = show.user(work, "u00").data["recommendations"]
    assert [row["item_id"] for row in found] == [row["item_id"] for row in reported]


def test_a_profile_and_an_item_have_the_same_digits_on_the_page(work: WorkDir) -> None:
    page = page_data.gather(work, n_users=100)
    for user in page["users"]:
        view = views.user(work, user["id"])
        assert user["interests"] == [[each["tag"], each["weight"]] for each in view["interests"]]
        assert [page["items"][place]["id"] for place in user["history"]] == [row["item_id"] for row in view["history"]]
    for item in page["items"]:
        view = views.item(work, item["id"])
        assert (item["title"], item["events"], item["text"]) == (view["title"], view["n_events"], view["text"])
    assert views.item(work, "i05")["title"] == "i05"  # without a title an item is called by its id


def test_the_digits_of_scores_and_shares() -> None:
    assert views.score(float(np.float32(1.3321094))) == 1.33211 and views.score(1234567.8) == 1234570
    assert views.score(0.000012345678) == 0.0000123457
    reported = views.shares({"tag": "a", "weight": 0.123456, "support": 3, "item_id": None})
    assert reported == {"tag": "a", "weight": 0.1235, "support": 3, "item_id": None}


def test_users_come_in_the_order_asked_with_their_newest_different_items(tmp_path: Path) -> None:
    made = tiny.make(tmp_path / "work", fit=False)
    rows = made.read(SEQUENCES).to_pylist()
    rows[0]["item_ids"] = ["i02", "i01", "i02"]
    made.write(SEQUENCES, made.read(SEQUENCES).from_pylist(rows, schema=SEQUENCES.schema))
    found = views.users(vouch(made), ["z0", "u00", "nobody"], views.Titles(made))
    assert [each["user_id"] for each in found] == ["z0", "u00"] and found[0]["history"] == []
    assert [each["item_id"] for each in found[1]["history"]] == ["i02", "i01"]
    assert not made.has(RECOMMENDATIONS) and found[1]["recommendations"] == []


def test_a_text_says_whether_it_was_generated(tmp_path: Path) -> None:
    made = tiny.make(tmp_path / "work", fit=False)
    reported = dict.fromkeys(ITEM_TEXTS.schema.names, "-") | {
        "source_rows": [],
        "item_id": "i01",
        "text": "Written.",
        "tries": 1,
        "facts": [],
    }
    made.write(ITEM_TEXTS, made.read(SEQUENCES).from_pylist([reported], schema=ITEM_TEXTS.schema))
    said = reported | {"text": "Reviewed."}
    made.write(REVIEW_SUMMARIES, made.read(SEQUENCES).from_pylist([said], schema=REVIEW_SUMMARIES.schema))
    given, written = views.items(made, ["i00", "i01"], views.Titles(made))
    assert (written["text"], written["generated"]) == ("Written.", True)
    assert (given["text"], given["generated"]) == ("", False)
    assert (written["reviews"], given["reviews"]) == ("Reviewed.", "")
