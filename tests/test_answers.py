"""`recommend --user` asks: the answer is that of the given options, and no byte of the work directory changes."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_cli.core.artifacts import FUNNEL, PROFILES, RANKER, RECOMMENDATIONS, Table
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.report.views import score
from tests import tiny
from tests.recommend_command import asked, llmrec


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    """Everything is made, the lists with three items each."""
    made = tiny.make(tmp_path_factory.mktemp("asking") / "work")
    assert llmrec(made, "-k", "3", "-q").exit_code == 0
    return made


def tree(work: WorkDir) -> dict[str, tuple[int, int, str]]:
    """Every file and folder with its time, its inode and its content."""
    found = sorted([work.path, *work.path.rglob("*")])
    content = {path: path.read_bytes() if path.is_file() else b"" for path in found}
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_ino, hashlib.sha256(content[path]).hexdigest())
        for path in found
    }


@pytest.mark.parametrize(
    "options",
    [
        ["-k", "2"],
        ["-k", "500"],
        ["--diversity", "0.9"],
        ["--max-per-category", "1"],
        ["--set", "recommend.deny=['i03']"],
        ["--seed", "7"],
        ["--user", "nobody", "--user", "z0", "-k", "1"],
        ["--format", "csv"],
    ],
)
def test_asking_leaves_every_byte_and_time_alone(work: WorkDir, options: list[str]) -> None:
    before = tree(work)
    done = llmrec(work, "--user", "u00", *options)
    assert done.exit_code == 0, done.output
    assert tree(work) == before


@pytest.mark.parametrize(
    ("options", "heavy"),
    [
        (["--user", "u00", "-k", "3"], {"torch", "transformers", "scipy", "sklearn", "duckdb", "jinja2"}),
        (["--history", "i00,i01"], {"transformers", "accelerate", "sklearn", "duckdb", "jinja2"}),
    ],
)
def test_who_asks_waits_for_few_imports(work: WorkDir, options: list[str], heavy: set[str]) -> None:
    given = ["llmrec", "recommend", "--work", str(work.path), "--threads", "1", *options]
    code = (
        f"import sys; sys.argv = {given}\nfrom llmrec_cli.cli.app import main\n"
        f"try: main()\nfinally: print(sorted({heavy} & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=work.path, check=True)
    assert "Thing" in done.stdout and done.stdout.endswith("[]\n")


def test_the_answer_is_that_of_the_options(work: WorkDir) -> None:
    whole = [row["item_id"] for row in asked(work, "--user", "u00", "-k", "3")["items"]]
    assert [row["item_id"] for row in asked(work, "--user", "u00", "-k", "2")["items"]] == whole[:2]
    longer = [row["item_id"] for row in asked(work, "--user", "u00", "-k", "9")["items"]]
    assert longer[:3] == whole and len(longer) == 9
    without = asked(work, "--user", "u00", "-k", "3", "--set", f"recommend.deny=['{whole[0]}']")["items"]
    assert [row["item_id"] for row in without][:2] == whole[1:] and [row["rank"] for row in without] == [1, 2, 3]


def test_lists_made_for_some_are_those_that_were_made_for_all(work: WorkDir, tmp_path: Path) -> None:
    """Asked of a copy without lists, each user is reported what stands in them."""
    bare = tiny.make(tmp_path / "bare")
    users = [f"u{user:02d}" for user in range(tiny.WALKERS)] + [f"z{n}" for n in range(tiny.COLD_ITEMS)]
    options = [word for user in users for word in ("--user", user)]
    written, made = (asked(each, *options, "-k", "3") for each in (work, bare))
    assert [each["user_id"] for each in made] == users and not bare.has(RECOMMENDATIONS)
    for one, other in zip(written, made, strict=True):
        for name in ("rank", "item_id", "title", "strategy", "reason"):
            assert [row[name] for row in one["items"]] == [row[name] for row in other["items"]]
        scores = [[row["score"] for row in each["items"]] for each in (one, other)]
        assert np.allclose(*scores, rtol=1e-4)


def test_up_to_date_lists_are_read_as_they_are(work: WorkDir, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrec_cli.stages import recommend

    monkeypatch.setattr(recommend, "answer", lambda *given: pytest.fail("made again"))
    rows = [row for row in work.read(RECOMMENDATIONS).to_pylist() if row["user_id"] == "u05"]
    lines = asked(work, "--user", "u05", "-k", "3")["items"]
    assert [(row["item_id"], row["score"]) for row in lines] == [(row["item_id"], score(row["score"])) for row in rows]


def test_json_is_one_document(work: WorkDir) -> None:
    one = asked(work, "--user", "u00")
    assert one["user_id"] == "u00" and one["known"]
    several = asked(work, "--user", "u01", "--user", "nobody", "--user", "u01")
    assert [(each["user_id"], each["known"]) for each in several] == [("u01", True), ("nobody", False)]


def test_a_stranger_is_reported_what_is_popular_under_the_same_rules(work: WorkDir) -> None:
    lines = asked(work, "--user", "nobody", "-k", "4", "--max-per-category", "1", "--set", "recommend.deny=['i00']")
    halves = [int(row["item_id"][1:]) // 4 for row in lines["items"]]
    assert not lines["known"] and len(set(halves)) == len(halves) == 4
    assert {row["strategy"] for row in lines["items"]} == {"popularity"}
    assert "i00" not in {row["item_id"] for row in lines["items"]}
    lines = llmrec(work, "--user", "nobody").stdout.splitlines()
    assert lines[0] == "user nobody" and "not among the users" in lines[1]


def test_what_lists_are_not_made_of_may_be_missing_and_models_may_not(tmp_path: Path) -> None:
    made = tiny.make(tmp_path / "work")
    made.where(FUNNEL).unlink()  # by hand: what the program removes itself is no longer vouched for
    assert asked(made, "--user", "u00")["items"][0]["item_id"] == "i03"
    shutil.rmtree(made.where(RANKER))
    done = llmrec(made, "--user", "u00")
    assert done.exit_code == 4 and "llmrec train-ranker" in done.stderr
    nowhere = llmrec(WorkDir(tmp_path / "nowhere"), "--user", "u00")
    assert nowhere.exit_code == 4 and not (tmp_path / "nowhere").exists()


def test_an_answer_is_exported_to_a_new_folder_in_the_order_asked(work: WorkDir, tmp_path: Path) -> None:
    before = tree(work)
    file = tmp_path / "new" / "folder" / "some.csv"
    done = llmrec(work, "--user", "z0", "--user", "u01", "-k", "2", "-o", str(file), "--json")
    assert done.exit_code == 0 and json.loads(done.stdout) == {
        "file": str(file),
        "format": "csv",
        "users": 2,
        "rows": 4,
    }
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["user_id"], row["rank"]) for row in rows] == [("z0", "1"), ("z0", "2"), ("u01", "1"), ("u01", "2")]
    assert tree(work) == before


@pytest.mark.parametrize(
    ("options", "code", "lines"),
    [
        (["--force"], 2, "nothing to force"),
        (["-k", "0"], 2, "recommend.k"),
        (["--format", "cvs"], 2, "no format"),
        (["--format", "csv", "--json"], 2, "want stdout"),
        (["--user", "u99", "--format", "csv"], 3, "no user 'u99'"),
        (["--set", "recommend.deny=none.txt"], 3, "no list of item ids"),
    ],
)
def test_mistakes_are_reported_and_nothing_changes(work: WorkDir, options: list[str], code: int, lines: str) -> None:
    before = tree(work)
    done = llmrec(work, "--user", "u00", *options)
    assert done.exit_code == code and lines in done.output
    assert tree(work) == before


def test_an_export_never_takes_the_place_of_an_artifact(work: WorkDir) -> None:
    before = tree(work)
    for path in (work.where(PROFILES), work.path / "recommend" / "mine.csv", work.path):
        done = llmrec(work, "--user", "u00", "--format", "parquet", "-o", str(path))
        assert done.exit_code == 2, done.output
    assert tree(work) == before


@pytest.mark.parametrize("artifact", [PROFILES, RECOMMENDATIONS])
def test_what_was_changed_by_hand_is_never_answered_from(tmp_path: Path, artifact: Table) -> None:
    """Of ingredients that is an error; lists that were changed are made anew, for the answer alone."""
    made = tiny.make(tmp_path / "work")
    assert llmrec(made, "-k", "3", "-q").exit_code == 0
    whole = asked(made, "--user", "u00", "-k", "3")["items"]
    rows = made.read(artifact).slice(0, 12)
    pq.write_table(rows.set_column(0, "user_id", pa.array(["u00"] * 12)), made.where(artifact))
    before = tree(made)
    done = llmrec(made, "--user", "u00", "-k", "3", "--json")
    assert tree(made) == before
    if artifact is PROFILES:
        assert done.exit_code == 4 and "llmrec profile" in done.stderr
    else:
        assert [row["item_id"] for row in json.loads(done.stdout)["items"]] == [row["item_id"] for row in whole]


def test_without_an_event_is_another_list_and_changes_nothing(work: WorkDir) -> None:
    before = tree(work)
    whole = asked(work, "--user", "u00", "-k", "3")["items"]
    lines = asked(work, "--user", "u00", "-k", "3", "--without", "i02")
    assert tree(work) == before
    assert lines["without"] == ["i02"] and "i02" not in {row["item_id"] for row in lines["items"]}
    assert lines["left"] == [
        row["item_id"] for row in whole if row["item_id"] not in {r["item_id"] for r in lines["items"]}
    ]
    assert [row["item_id"] for row in lines["items"]] != [row["item_id"] for row in whole]
    assert not any("Thing 2" in row["reason"] for row in lines["items"])
    lines = llmrec(work, "--user", "u00", "-k", "3", "--without", "i02", "--without", "i01").stdout.splitlines()
    assert lines[1] == "as if never chosen, with the models as they are: Thing 2, Thing 1"
    assert lines[2].startswith("left the list: Thing 3")


@pytest.mark.parametrize(
    ("options", "code", "lines"),
    [
        (["--user", "u00", "--without", "i2"], 3, "there is no item 'i2'"),
        (["--user", "u00", "--without", "i09"], 3, "user 'u00' never chose item 'i09'"),
        (["--user", "z0", "--without", "i09"], 3, "user 'z0' never chose item 'i09'"),
        (["--user", "nobody", "--without", "i02"], 3, "there is no user 'nobody'"),
        (["--user", "u00", "--user", "u01", "--without", "i02"], 2, "asks for one list"),
        (["--without", "i02"], 2, "give --user USER"),
    ],
)
def test_what_cannot_be_taken_out_is_reported(work: WorkDir, options: list[str], code: int, lines: str) -> None:
    before = tree(work)
    done = llmrec(work, *options)
    assert done.exit_code == code and lines in done.output.replace("\n", " "), done.output
    assert tree(work) == before


def test_a_file_of_items_is_never_shown_and_what_is_odd_in_it_is_told(
    work: WorkDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is from where it was typed, for a known and an unknown user and for a history."""
    monkeypatch.chdir(tmp_path)
    for question in (["--user", "u00"], ["--user", "nobody"], ["--history", "i00,i01,i02"]):
        first = asked(work, *question)["items"][0]["item_id"]
        (tmp_path / "seen.csv").write_text(f"title;item_id\nx;{first}\ny;i99\n")
        found = asked(work, *question, "--exclude", "seen.csv")
        assert len(found["items"]) == 10 and first not in [row["item_id"] for row in found["items"]]
        assert found["notes"] == ["recommend.exclude: 1 of 2 ids are not in the catalogue, such as 'i99'"]
    (tmp_path / "none.txt").write_text("\n")
    (said,) = asked(work, "--user", "u00", "--exclude", "none.txt")["notes"]
    assert said.endswith("none.txt has no item ids")
    done = llmrec(work, "--user", "u00", "--exclude", "gone.txt")
    assert done.exit_code == 3 and "no list of item ids" in done.output and "check --exclude" in done.output
