from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from llmrec_cli.core.artifacts import RECOMMENDATIONS
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.report import exports
from llmrec_cli.report.exports import COLUMNS, agreed, export, format_of, harmless
from llmrec_cli.stages import recommend
from tests import tiny


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    folder = tmp_path_factory.mktemp("exporting")
    made = tiny.make(folder, {3: '=HYPERLINK("http://x")', 4: 'a, "quoted"\nline'})
    context = Context(seed=1, base=folder, progress=PlainProgress(quiet=True), device="cpu", threads=1)
    recommend.run(made, recommend.RecommendConfig(k=3), context)
    return made


def test_csv_is_whole_and_harmless(work: WorkDir, tmp_path: Path) -> None:
    export(work, "csv", str(tmp_path / "out" / "lists.csv"))
    with (tmp_path / "out" / "lists.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == work.read(RECOMMENDATIONS).num_rows
    assert list(rows[0]) == list(COLUMNS)
    titles = {row["item_id"]: row["title"] for row in rows}
    assert titles["i03"] == '\'=HYPERLINK("http://x")' and titles["i04"] == 'a, "quoted"\nline'
    assert not list((tmp_path / "out").glob(".tmp*"))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("=1", "'=1"), ("-1", "'-1"), ("@a", "'@a"), ("\tb", "'\tb"), ("a=1", "a=1"), (-1, -1), (-0.5, -0.5)],
)
def test_formulas_are_disarmed(value: object, wanted: object) -> None:
    assert harmless(value) == wanted


def test_json_lines_hold_one_user_each(work: WorkDir, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    export(work, "jsonl", "-")
    lines = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert len(lines) == tiny.WALKERS + tiny.COLD_ITEMS
    assert set(lines[0]) == {"user_id", "items"}
    assert set(lines[0]["items"][0]) == {"item_id", "title", "score", "reason", "strategy"}


def test_parquet_and_some_users(work: WorkDir, tmp_path: Path) -> None:
    some = work.read(RECOMMENDATIONS).filter(pc.is_in(pc.field("user_id"), pa.array(["u01", "z0"])))
    export(work, "parquet", str(tmp_path / "some.parquet"), some)
    table = pq.read_table(tmp_path / "some.parquet")
    assert table.column_names == list(COLUMNS)
    assert set(table.column("user_id").to_pylist()) == {"u01", "z0"} and table.num_rows == 6


def test_mistakes_are_reported_and_nothing_is_written(work: WorkDir, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no format"):
        agreed(work, "cvs", str(tmp_path / "a.csv"), as_json=False)
    with pytest.raises(SettingsError, match="is a folder"):
        agreed(work, "csv", str(tmp_path), as_json=False)
    assert agreed(work, None, None, as_json=True) is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SettingsError, match="which format"):
        format_of("lists.xls")
    assert [format_of(name) for name in ("a.CSV", "b.jsonl", "c.parquet", "-", None)] == [
        "csv",
        "jsonl",
        "parquet",
        "jsonl",
        "jsonl",
    ]


@pytest.mark.parametrize("fault", ["file for a folder", "no right", "long name", "folder", "full", "read-only"])
def test_a_file_that_cannot_be_written_is_reported_with_its_own_option(
    work: WorkDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The work directory is not at fault: nobody should move it."""
    (tmp_path / "file").write_text("")
    (tmp_path / "lists.csv").mkdir()
    name = {"file for a folder": "file/lists.csv", "folder": "lists.csv", "long name": "x" * 300 + ".csv"}.get(
        fault, "new.csv"
    )
    codes = {"no right": errno.EACCES, "full": errno.ENOSPC, "read-only": errno.EROFS}
    if fault in codes:  # tests may run as one who may write anywhere

        def refuse(rows: object, file: object) -> None:
            raise OSError(codes[fault], os.strerror(codes[fault]))

        monkeypatch.setitem(exports.WRITERS, "csv", refuse)
    with pytest.raises(DataError, match="cannot write") as reported:
        export(work, "csv", str(tmp_path / name))
    assert "--work" not in str(reported.value) and str(tmp_path / name) in reported.value.where
    assert "--output" in reported.value.fix or fault == "full"
    assert not [p for p in tmp_path.rglob(".tmp*")]
