"""The arrays by which one machine applies the rules give the tables of the expressions, which any engine can run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest import array_log, array_rules, frame_log
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
VALUES = ["1", "2.5", "-3", "many", "", " ", "inf", "-0.0", "0"]
KINDS = ["view", "buy", "hide", "", "seen "]
TIMED = {"time": "time", "value": "n", "event": "kind"}
SETTINGS: list[dict[str, Any]] = [
    {"interactions": TIMED},
    {"interactions": {**TIMED, "where": "n IS NULL OR n < 2"}, "repeats": "first", "holdout": "last"},
    {"interactions": TIMED, "repeats": "last", "holdout": "last-n", "holdout_n": 3, "min_item_events": 4},
    {"interactions": TIMED, "holdout": "time", "holdout_after": "2020-01-02T10:10:00", "negative_below": 0},
    {"interactions": TIMED, "event_weights": {"hide": -1, "seen": 0, "buy": 3}, "outlier_z": 0.1, "holdout": "last"},
    {"interactions": {"value": "n"}, "holdout": "last", "min_support": 3},
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


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("settings", SETTINGS, ids="-".join)
def test_both_ways_give_the_same_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], seed: int
) -> None:
    monkeypatch.setenv("LLMREC_KEY", "ab" * 32)
    monkeypatch.setattr(array_rules, "BLOCK", 50)
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
