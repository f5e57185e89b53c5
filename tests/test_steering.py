"""`recommend --more --less --never`: what a user wishes of a list."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import llmrec_cli
from llmrec_cli.cli.app import app
from llmrec_cli.core.workdir import WorkDir
from tests import tiny


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    return tiny.make(tmp_path_factory.mktemp("steering") / "work")


def llmrec(work: WorkDir, *options: str) -> Result:
    given = ["recommend", "--work", str(work.path), "--threads", "1", "-k", "4", *options]
    return CliRunner().invoke(app, given, env={"LLMREC_CONFIG": ""})


def items(work: WorkDir, *options: str) -> list[dict[str, Any]]:
    done = llmrec(work, *options, "--json")
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return found


def rings(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["item_id"][1:]) // tiny.RING for row in rows]


@pytest.mark.parametrize("user", ["u00", "z0"])
def test_more_lifts_what_has_the_tag_and_says_so(work: WorkDir, user: str) -> None:
    plain, more = items(work, "--user", user), items(work, "--user", user, "--more", "RING 1")
    assert sum(rings(more)) > sum(rings(plain))
    said = ["More of “RING 1”, as you wish. " in row["reason"] for row in more]
    assert said == [ring == 1 for ring in rings(more)]


def test_less_lowers_a_level_of_the_category_and_says_what_is_left(work: WorkDir) -> None:
    half = [row["item_id"] for row in items(work, "--user", "u00")]
    less = items(work, "--user", "u00", "--less", "half 0")
    assert half[0] == "i03" != less[0]["item_id"]
    of_half = [int(row["item_id"][1:]) % tiny.RING < tiny.RING // 2 for row in less]
    assert ["Less of “half 0” is wished" in row["reason"] for row in less] == of_half


def test_never_is_a_rule_for_filled_rows_too(work: WorkDir) -> None:
    for user in ("u00", "z0"):
        rows = items(work, "--user", user, "--never", "ring 0", "--never", "i09")
        assert rings(rows) == [1] * 4 and "i09" not in [row["item_id"] for row in rows]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--user", "u00", "--never", "ring 0", "--never", "ring 1"], 3, "leaves no item"),
        (["--user", "u00", "--more", " "], 2, "no words"),
        (["--more", "ring 0"], 2, "--user"),
        (["--user", "nobody", "--more", "ring 0"], 3, "nobody"),
        (["--user", "u00", "--ask", "garden", "--more", "ring 0"], 2, "--ask"),
    ],
)
def test_what_cannot_be_meant_is_reported(work: WorkDir, options: list[str], code: int, said: str) -> None:
    done = llmrec(work, *options)
    assert done.exit_code == code and said in done.output


def test_the_python_api_answers_alike(work: WorkDir) -> None:
    opened = llmrec_cli.open(work.path, settings={"recommend.k": 4}, threads=1)
    found = opened.recommend("u00", steer={"never": ["ring 0"]})
    assert found["item_id"].tolist() == [row["item_id"] for row in items(work, "--user", "u00", "--never", "ring 0")]
