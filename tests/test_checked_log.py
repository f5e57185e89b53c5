"""The arrays by which one machine applies the rules give the tables of the expressions, which any engine can run."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_cli.core.artifacts import INTERACTIONS, REJECTS
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.stage import Context, estimate, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest import array_log, column_codes, frame_log, row_verdicts, sorted_rows, spool
from llmrec_cli.stages.clean import STAGE, CleanConfig

USERS = ["u1", " u2", "u2 ", "007", "7", "NA", "Ünal", "", " ", "u9"]
ITEMS = ["a", "b ", "b", "ä", "A", "10", "010", "", "x y", "c", "d", "e"]
TIMES = [
    "2020-01-01",
    "2020-01-01",
    "2020-01-02 10:00:00",
    "2020-01-02 10:20:00",
    "1577930400",
    "20200102",
    "never",
    "",
]
VALUES = ["1", "3", "2.5", "-3", "many", "", " ", "inf", "-0.0", "0"]
KINDS = ["view", "buy", "hide", "", "seen "]
TIMED = {"time": "time", "value": "n", "event": "kind"}
SETTINGS: list[dict[str, Any]] = [
    {"interactions": TIMED},
    {"interactions": {**TIMED, "where": "n IS NULL OR n < 2"}, "repeats": "first", "holdout": "last"},
    {"interactions": TIMED, "repeats": "last", "holdout": "last-n", "holdout_n": 3, "min_item_events": 4},
    {"interactions": TIMED, "holdout": "time", "holdout_after": "2020-01-02T10:10:00", "negative_below": 0},
    {"interactions": TIMED, "event_weights": {"hide": -1, "seen": 0, "buy": 3}, "outlier_z": 0.1, "holdout": "last"},
    {"interactions": {"value": "n"}, "holdout": "last", "min_support": 3},
    {"interactions": TIMED, "repeats": "sum", "repeat_window_minutes": 30},
    {"interactions": TIMED, "repeats": "last", "repeat_window_minutes": 24 * 60, "value_outlier_z": 0.5},
    {"interactions": {"value": "n", "event": "kind"}, "repeats": "sum", "cancellations": "match"},
    {"interactions": TIMED, "cancellations": "match", "holdout": "last"},
    {"interactions": {}, "item_outlier_z": 0.1, "outlier_z": 0.5, "pseudonymise": True},
]


def write_log(folder: Path, rng: np.random.Generator, rows: int) -> None:
    """Rows of odd cells; some have a wrong number of fields, and a file of their own follows."""
    for name in ("log1.csv", "log2.csv"):
        with (folder / name).open("w", newline="", encoding="utf-8") as stream:
            write = csv.writer(stream)
            write.writerow(["user", "item", "time", "n", "kind", "title"])
            for _ in range(rows):
                cells = [str(rng.choice(column)) for column in (USERS, ITEMS, TIMES, VALUES, KINDS, ["T", "U", ""])]
                write.writerow(cells + ["one too many"] * int(rng.random() < 0.02))


def clean(folder: Path, settings: dict[str, Any]) -> WorkDir:
    common = {"path": ["log1.csv", "log2.csv"], "user": "user", "item": "item"}
    given = {**settings, "interactions": {**common, **settings["interactions"]}, "items": {"title": "title"}}
    context = Context(seed=1, base=folder, progress=PlainProgress(quiet=True), device="cpu", threads=1)
    work = WorkDir(folder / "work")
    execute(STAGE, work, CleanConfig.model_validate(given), context, force=True)
    return work


@pytest.mark.parametrize(("seed", "held"), [(1, 1 << 20), (2, 100)])
@pytest.mark.parametrize("settings", SETTINGS, ids="-".join)
def test_both_ways_give_the_same_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], seed: int, held: int
) -> None:
    monkeypatch.setenv("LLMREC_KEY", "ab" * 32)
    monkeypatch.setattr(sorted_rows, "BLOCK", 50)
    monkeypatch.setattr(row_verdicts, "READ", 2000)
    monkeypatch.setattr(row_verdicts, "ENCODED", 1000)
    monkeypatch.setattr(spool, "BATCH", 40)
    monkeypatch.setattr(column_codes, "HELD", held)
    monkeypatch.setattr(array_log, "PIECE", 30)
    write_log(tmp_path, np.random.default_rng(seed), 300)
    work = clean(tmp_path, settings)
    tables = {table.path: work.read(table) for table in STAGE.writes if work.has(table)}  # type: ignore[arg-type]
    assert tables["clean/interactions.parquet"].num_rows > 20 and tables["clean/rejects.parquet"].num_rows > 20
    monkeypatch.setattr(array_log, "check", frame_log.check)
    work = clean(tmp_path, settings)
    for table in STAGE.writes:
        assert work.has(table) == (table.path in tables)
        if work.has(table):
            assert work.read(table).equals(tables[table.path]), table.path  # type: ignore[arg-type]


def test_a_cancellation_undoes_the_newest_open_purchase_of_the_same_amount(tmp_path: Path) -> None:
    """The reasons of one user's rows, by hand: brackets, one too many, other amounts, another item."""
    rows = [("a", 6), ("a", 6), ("a", -6), ("a", 2), ("a", -6), ("a", -6), ("a", -1), ("b", -2), ("a", 6), ("a", 0)]
    with (tmp_path / "log1.csv").open("w", newline="") as stream:
        write = csv.writer(stream)
        write.writerow(["user", "item", "time", "n", "kind", "title"])
        write.writerows(
            ["u", item, f"2020-01-01 00:{minute:02}:00", n, "", ""] for minute, (item, n) in enumerate(rows)
        )
    (tmp_path / "log2.csv").write_text("user,item,time,n,kind,title\n")
    work = clean(tmp_path, {"interactions": TIMED, "cancellations": "match", "min_user_events": 1})
    kept = work.read(INTERACTIONS).select(["item_id", "value"]).to_pylist()
    assert [(each["item_id"], each["value"]) for each in kept] == [("a", 2), ("a", 6), ("a", 0)]
    reasons = work.read(REJECTS).select(["row", "reason"]).to_pylist()
    assert [each["row"] for each in reasons if each["reason"] == "cancelled"] == [1, 2]
    assert [each["row"] for each in reasons if each["reason"] == "cancellation"] == [3, 5, 6, 7, 8]


def test_repeats_within_a_window_are_summed(tmp_path: Path) -> None:
    rows = [("10:00", 1), ("10:20", 2), ("10:40", 4), ("12:00", 8)]
    lines = [f"u,a,2020-01-01 {at}:00,{n},," for at, n in rows]
    (tmp_path / "log1.csv").write_text("\n".join(["user,item,time,n,kind,title", *lines, ""]))
    (tmp_path / "log2.csv").write_text("user,item,time,n,kind,title\n")
    work = clean(tmp_path, {"interactions": TIMED, "repeats": "sum", "repeat_window_minutes": 30})
    assert work.read(INTERACTIONS).column("value").to_pylist() == [7, 8]
    assert work.read(REJECTS).column("row").to_pylist() == [2, 3]


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ({"cancellations": "match"}, "needs the column clean.interactions.value"),
        ({"repeats": "sum"}, "needs the column clean.interactions.value"),
        ({"repeats": "first", "repeat_window_minutes": 5}, "needs the column clean.interactions.time"),
    ],
)
def test_a_rule_without_its_column_is_an_error(top: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CleanConfig.model_validate({"interactions": {"path": "a", "user": "u", "item": "i"}, **top})


def test_a_check_writes_nothing_and_fails_where_a_limit_breaks(tmp_path: Path) -> None:
    write_log(tmp_path, np.random.default_rng(3), 200)
    common = {"path": ["log1.csv", "log2.csv"], "user": "user", "item": "item", **TIMED}
    context = Context(seed=1, base=tmp_path, progress=PlainProgress(quiet=True), device="cpu", threads=1)

    def check(**limits: Any) -> list[str]:
        config = CleanConfig.model_validate({"interactions": common, "check": limits})
        return estimate(STAGE, WorkDir(tmp_path / "work"), config, context).lines

    assert check(max_rejected=0.99)[-1] == "every limit of [clean.check] holds"
    assert not (tmp_path / "work").exists()
    for limits, message in (
        ({"max_rejected": 0.1}, "clean.check.max_rejected allows 10.0%"),
        ({"max_rejected": 1, "max_rejected_by": {"duplicate": 0}}, "the rule 'duplicate' took"),
        ({"max_rejected": 1, "min_users": 50}, "users are left; clean.check.min_users is 50"),
        ({"max_rejected": 1, "max_age_days": 30}, "clean.check.max_age_days is 30"),
    ):
        with pytest.raises(DataError, match=re.escape(message)) as broken:
            check(**limits)
        assert broken.value.exit_code == 3 and any(line.startswith("duplicate") for line in broken.value.table)
