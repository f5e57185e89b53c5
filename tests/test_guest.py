"""`recommend --history`: somebody who is in no log, asked of a finished work directory that stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import llmrec_cli
from llmrec_cli.core.workdir import WorkDir
from tests import recommend_command, tiny


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    return tiny.make(tmp_path_factory.mktemp("guest") / "work")


def llmrec(work: WorkDir, *options: str) -> Result:
    return recommend_command.llmrec(work, "-k", "3", *options)


def asked(work: WorkDir, *options: str) -> Any:
    return recommend_command.asked(work, "-k", "3", *options)


def ids(answer: Any) -> list[str]:
    return [row["item_id"] for row in answer["items"]]


def test_a_history_is_answered_as_that_of_a_user_and_nothing_is_written(work: WorkDir) -> None:
    before = {path: path.stat().st_mtime_ns for path in work.path.rglob("*")}
    found = asked(work, "--history", ",".join(tiny.item_id(code) for code in tiny.walk(4)))
    assert ids(found) == ids(asked(work, "--user", "u04"))
    assert ids(found)[0] == tiny.item_id(tiny.following(4))
    assert "Thing" in found["items"][0]["reason"] and "notes" not in found
    assert {path: path.stat().st_mtime_ns for path in work.path.rglob("*")} == before


def test_items_that_are_not_known_are_named_and_left_out(work: WorkDir) -> None:
    given = ",".join(tiny.item_id(code) for code in tiny.walk(4))
    found = asked(work, "--history", f"nowhere, {given}")
    assert found["notes"] == ["not in the catalogue: nowhere"]
    assert ids(found) == ids(asked(work, "--history", given))


def test_for_items_that_are_not_known_near_ones_are_proposed(work: WorkDir) -> None:
    found = asked(work, "--history", "i0, i01, thing 13")
    assert found["notes"] == [
        "not in the catalogue: i0, thing 13",
        "i0: did you mean 'i00', 'i01', 'i02'?",
        "thing 13: did you mean 'i13' (Thing 13), 'i01' (Thing 1), 'i03' (Thing 3)?",
    ]


@pytest.mark.parametrize(("region", "like"), [("France", "z0"), ("Spain", "z1"), (None, "z2")])
def test_without_a_known_item_the_segment_answers(work: WorkDir, region: str | None, like: str) -> None:
    found = asked(work, "--history", "nowhere", *(["--set-user", f"region={region}"] if region else []))
    assert ids(found) == ids(asked(work, "--user", like))
    assert found["notes"][1] == f"no event is known: what the segment “{region or 'everyone'}” chooses"


def test_rules_read_the_attributes_of_the_guest(work: WorkDir) -> None:
    rule = "recommend.constraints.where=user.region = 'France' AND item.category LIKE 'Ring 1%'"
    found = asked(work, "--history", "i00,i01", "--set-user", "region=France", "--set", rule)
    assert len(ids(found)) == 3 and all(int(item[1:]) >= tiny.RING for item in ids(found))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--history", "i00", "--set-user", "regoin=France"], "region"),
        (["--history", "i00", "--set-user", "age=old"], "an age is a number"),
        (["--history", "i00", "--user", "u00"], "asks alone"),
        (["--set-user", "region=France"], "--history"),
    ],
)
def test_what_cannot_be_meant_is_reported(work: WorkDir, options: list[str], said: str) -> None:
    done = llmrec(work, *options)
    assert done.exit_code == 2 and said in done.output


def test_the_python_api_answers_alike(work: WorkDir, tmp_path: Path) -> None:
    opened = llmrec_cli.open(work.path, settings={"recommend.k": 3}, threads=1)
    found = opened.recommend(history=(["i00", "i01"], {"region": "France"}))
    assert found["item_id"].tolist() == ids(asked(work, "--history", "i00,i01", "--set-user", "region=France"))
