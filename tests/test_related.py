"""`recommend --to-item`: what people choose after or with an item, and what is like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import llmrec_cli
from llmrec_cli.core.artifacts import ITEM_TEXT_VECTORS, ITEMS, SEQUENCES, TIME
from llmrec_cli.core.workdir import WorkDir, to_numpy
from tests import tiny
from tests.recommend_command import asked, llmrec
from tests.signing import vouch
from tests.system.item_recount import false_rows
from tests.system.rawlog import Facts, Item


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    """Two rings that people walk around, an event a second, some steps back."""
    made = tiny.make(tmp_path_factory.mktemp("related") / "work", {7: "", 12: "Thing 4"})
    sequences = made.read(SEQUENCES)
    at = [[pd.Timestamp(2024, 1, 1, 0, 0, step) for step in range(tiny.STEPS)]] * tiny.WALKERS
    at = sequences.column_names.index("times"), pa.array(at, pa.list_(TIME))
    made.write(SEQUENCES, sequences.set_column(at[0], "times", at[1]))
    return vouch(made)


@pytest.fixture(scope="module")
def facts(work: WorkDir) -> Facts:
    items, rows = work.read(ITEMS).to_pylist(), work.read(SEQUENCES).to_pylist()
    events = [
        (row["user_id"], item, time.timestamp())
        for row in rows
        for item, time in zip(row["item_ids"], row["times"], strict=True)
    ]
    known = {row["item_id"]: Item(row["title"] or "", tags=row["tags"]) for row in items}
    return Facts(pd.DataFrame(events, columns=["user", "item", "time"]), known, timed=True)


def vectors(work: WorkDir) -> dict[str, np.ndarray]:
    table = work.read(ITEM_TEXT_VECTORS)
    return dict(zip(table.column("item_id").to_pylist(), to_numpy(table.column("vector")), strict=True))


def test_what_follows_on_the_ring_comes_first_and_nothing_is_written(work: WorkDir) -> None:
    before = {path: path.stat().st_mtime_ns for path in work.path.rglob("*")}
    found = asked(work, "--to-item", "i03", "-k", "6")
    assert (found["item_id"], found["title"]) == ("i03", "Thing 3")
    kinds = {row["item_id"]: row["kind"] for row in found["items"]}
    assert found["items"][0]["item_id"] == "i04"
    assert kinds["i04"] == kinds["i05"] == "bought after" and kinds["i02"] == "bought with"
    assert [row["rank"] for row in found["items"]] == list(range(1, len(kinds) + 1))
    assert {path: path.stat().st_mtime_ns for path in work.path.rglob("*")} == before


def test_every_row_is_counted_again_and_planted_false_ones_are_found(work: WorkDir, facts: Facts) -> None:
    seen = set()
    for item in facts.items:
        rows = asked(work, "--to-item", item, "-k", "9")["items"]
        assert rows and not false_rows(facts, item, rows, vectors(work))
        seen |= {row["kind"] for row in rows}
        for row in rows:
            wrong = [{**row, "people": (row["people"] or 0) + 1}, {**row, "item_id": item}]
            wrong += [{**row, "kind": kind} for kind in {"similar", "bought with", "bought after"} - {row["kind"]}]
            wrong += [{**row, "reason": row["reason"].replace(" of ", " of 1")}] if row["people"] else []
            assert len(false_rows(facts, item, wrong, vectors(work))) == len(wrong)
    assert seen == {"bought after", "bought with", "similar"}


def test_without_times_nothing_is_bought_after(tmp_path: Path) -> None:
    rows = asked(tiny.make(tmp_path / "work"), "--to-item", "i03")["items"]
    assert {row["kind"] for row in rows} == {"bought with", "similar"}


def test_rules_of_items_hold_and_no_title_comes_twice(work: WorkDir, tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("i04\n")
    rule = "recommend.constraints.where=item.category LIKE '%Half 1%' AND user.region = 'France'"
    found = asked(work, "--to-item", "i03", "--exclude", str(tmp_path / "none.txt"), "--set", rule)["items"]
    assert {row["item_id"] for row in found} <= {"i05", "i06", "i07", "i12", "i13", "i14", "i15"}
    assert "i12" not in {row["item_id"] for row in asked(work, "--to-item", "i04")["items"]}, "a Thing 4 as well"
    pinned = asked(work, "--to-item", "i03", "--set", "recommend.constraints.pinned=['i15']")["items"]
    assert pinned[0]["item_id"] == "i04"


def test_who_asks_in_a_terminal_sees_the_kind(work: WorkDir) -> None:
    lines = llmrec(work, "--to-item", "i03", "-k", "2").stdout.splitlines()
    assert lines[0] == "for item i03: Thing 3"
    assert "bought after  6 of 9 people who chose “Thing 3” chose this later." in lines[1]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--to-item", "i0"], 3, "did you mean 'i00', 'i01', 'i02'?"),
        (["--to-item", "thnig 13"], 3, "there is no item 'thnig 13'"),
        (["--to-item", "thing fifteen"], 3, "'i00' (Thing 0)"),
        (["--to-item", "i03", "--user", "u00"], 2, "--to-item asks alone"),
        (["--to-item", "i03", "--shard", "1/2"], 2, "--shard is about all lists"),
        (["--to-item", "i03", "--ask", "cups"], 2, "--ask goes with --user or --history"),
        (["--to-item", "i03", "--to-users", "i03"], 2, "--to-users asks alone"),
        (["--to-item", "i03", "--format", "csv"], 2, "nothing is written"),
        (["--to-item", "i03", "--force"], 2, "nothing is written"),
    ],
)
def test_what_cannot_be_meant_is_reported(work: WorkDir, options: list[str], code: int, said: str) -> None:
    done = llmrec(work, *options)
    assert done.exit_code == code and said in done.output.replace("\n", " "), done.output


def test_the_python_api_answers_alike(work: WorkDir) -> None:
    opened = llmrec_cli.open(work.path, threads=1)
    found = opened.to_item("i03", k=4)
    rows = asked(work, "--to-item", "i03", "-k", "4")["items"]
    assert found.drop(columns="people").to_dict("records") == [
        {name: row[name] for name in found.columns if name != "people"} for row in rows
    ]
    assert found["people"].tolist()[:1] == [rows[0]["people"]]
