"""`recommend --more --less --never`: what a user wishes of a list."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import llmrec_cli
from llmrec_cli.cli.app import app
from llmrec_cli.core.artifacts import RECOMMENDATIONS
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists.recommend_config import RecommendConfig
from llmrec_cli.stages.recommend import STAGE
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


def by_file(work: WorkDir, context: Context, tmp_path: Path, lines: list[str], **settings: Any) -> Any:
    """The outcome and the lists of the whole stage with a file of wishes."""
    tmp_path.joinpath("wishes.csv").write_text("\n".join(["user,wish,what", *lines]) + "\n", encoding="utf-8")
    given = replace(context, base=tmp_path)
    done = execute(STAGE, work, RecommendConfig(**{"k": 4, "wishes": "wishes.csv", **settings}), given, force=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in work.read(RECOMMENDATIONS).to_pylist():
        found.setdefault(row["user_id"], []).append(row)
    return done.report, found


def test_a_file_of_wishes_is_what_one_user_asks(work: WorkDir, context: Context, tmp_path: Path) -> None:
    plain = by_file(work, context, tmp_path, [])[1]
    lines = ["u00,more,Ring 1", "u01,less,half 0", "z0,never,ring 0", "z0,more,i12", "u00,more,Ring 1"]
    report, found = by_file(work, context, tmp_path, [*lines, "gone,less,ring 0", "u02,more,zzz 9"])
    for user, options in {"u00": ["--more", "ring 1"], "u01": ["--less", "half 0"]}.items():
        asked = items(work, "--user", user, *options)
        assert [row["item_id"] for row in asked] == [row["item_id"] for row in found[user]]
    assert rings(found["z0"]) == [1] * 4 and found["z0"][0]["reason"].startswith("More of “i12”, as you wish. ")
    assert {user: found[user] for user in ("u02", "u03", "z1")} == {user: plain[user] for user in ("u02", "u03", "z1")}
    assert "1 users of wishes.csv have no list here, such as 'gone'" in report.warnings
    assert "1 of 5 wishes of wishes.csv mean no item, such as “zzz 9”" in report.warnings
    more, less = sum(rings(found["u00"])) + 1, sum("Less of" in row["reason"] for row in found["u01"])
    said = f"{more} rows are of what is wished more of, {less} of what is wished less of"
    assert f"wishes of 4 users: {said}" in report.lines


@pytest.mark.parametrize("seed", range(3))
def test_no_random_wish_breaks_a_rule(work: WorkDir, context: Context, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    users = [f"u{n:02d}" for n in range(tiny.WALKERS)] + ["z0", "z1", "z2"]
    what = ["ring 0", "ring 1", "half 0", "half 1", *(tiny.item_id(n) for n in range(tiny.N_ITEMS))]
    draw = [
        (str(rng.choice(users)), str(rng.choice(["more", "less", "never"])), str(rng.choice(what))) for _ in range(90)
    ]
    report, found = by_file(work, context, tmp_path, [",".join(row) for row in draw], k=5, max_per_category=2)
    assert not report.warnings
    for user, wish, each in draw:
        rows = found.get(user, [])
        codes = [int(row["item_id"][1:]) for row in rows]
        labels = [{f"ring {c // tiny.RING}", f"half {c % tiny.RING // 4}", tiny.item_id(c)} for c in codes]
        hit = [each in of for of in labels]
        assert wish != "never" or not any(hit)
        said = {"more": f"More of “{each}”", "less": f"Less of “{each}”"}.get(wish, "-")
        assert [said in row["reason"] for row in rows] == (hit if wish != "never" else [False] * len(rows))
    for user, rows in found.items():
        codes = [int(row["item_id"][1:]) for row in rows]
        assert max(np.bincount([c // 4 for c in codes])) <= 2
        assert user[0] == "z" or not set(codes) & set(tiny.walk(int(user[1:])))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user,what\nu00,ring 0\n", "columns user, wish"),
        ("user,wish,what\nu00,more,ring 0\nu01,mre,ring 0\n", "row 2 has 'u01', 'mre', 'ring 0'"),
        ("user,wish,what\nu00,more,\n", "row 1"),
        ("user,wish,what\nu00,more,a,b\n", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_meant_is_reported(
    work: WorkDir, context: Context, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "wishes.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as reported:
        execute(STAGE, work, RecommendConfig(wishes="wishes.csv"), replace(context, base=tmp_path), force=True)
    assert said in str(reported.value) and "wishes.csv" in str(reported.value)


def test_a_changed_file_of_wishes_makes_lists_anew(work: WorkDir, context: Context, tmp_path: Path) -> None:
    by_file(work, context, tmp_path, ["u00,never,i05"])
    config, given = RecommendConfig(k=4, wishes="wishes.csv"), replace(context, base=tmp_path)
    assert not execute(STAGE, work, config, given).ran
    (tmp_path / "wishes.csv").write_text("user,wish,what\nu00,never,i06\n", encoding="utf-8")
    assert execute(STAGE, work, config, given).ran
    with pytest.raises(DataError, match="no file of wishes"):
        STAGE.ready(RecommendConfig(wishes="none.csv"), given)
