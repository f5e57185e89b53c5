"""Which files a `path` means, and how a project names what it was given."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_cli.commands.scaffold import init
from llmrec_cli.core.config import load
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest import locations
from llmrec_cli.ingest.column_mapping import FileConfig
from llmrec_cli.ingest.engine import Engine
from llmrec_cli.stages.clean import STAGE, CleanConfig
from tests.public_layouts import events, lines

LOG = lines([["user", "item", "rating"], *([f"u{e.user}", f"i{e.item}", e.stars] for e in events(60))])


def rows(folder: Path, path: str | list[str]) -> list[tuple[Any, ...]]:
    """Every row of the files, with the columns of the first."""
    (folder / "scratch").mkdir(exist_ok=True)
    with Engine(256 << 20, 1, folder / "scratch") as engine:
        inputs = engine.open(FileConfig(path=path), folder)
        raw = engine.raw(inputs, inputs[0].columns)
        chosen = ", ".join(f'"{c}"' for c in inputs[0].columns)
        return engine.rows(f'SELECT {chosen} FROM {raw} ORDER BY "#source_row"')


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_packed_files_and_packed_members(kind: str, tmp_path: Path) -> None:
    data = LOG.encode()
    packed = {
        "gz": gzip.compress(data),
        "bz2": bz2.compress(data),
        "xz": lzma.compress(data),
        "zst": pa.compress(data, codec="zstd", asbytes=True),
    }[kind]
    (tmp_path / f"log.csv.{kind}").write_bytes(packed)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as zipped:
        zipped.writestr(f"log.csv.{kind}", packed)
    assert len(rows(tmp_path, f"log.csv.{kind}")) == len(rows(tmp_path, "all.zip")) == 60
    (tmp_path / f"cut.csv.{kind}").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"cut\.csv.* cannot be unpacked"):
        rows(tmp_path, f"cut.csv.{kind}")


def partitioned(folder: Path) -> list[Path]:
    for day in range(3):
        there = folder / f"events/dt=2024-03-0{day + 1}/country=F%20R"
        there.mkdir(parents=True)
        some = events(60)[day * 20 : day * 20 + 20]
        items = [{"id": f"i{e.item}", "price": {"amount": 2.0}} for e in some]
        pq.write_table(pa.table({"user": [f"u{e.user}" for e in some], "item": items}), there / "part-0.parquet")
    (folder / "events" / "_SUCCESS").write_text("")
    (folder / "events" / ".part.crc").write_bytes(b"\0\1")
    return [folder / "events"]


def test_a_folder_by_day_has_the_day_as_a_column(tmp_path: Path) -> None:
    partitioned(tmp_path)
    for path in ("events", "events/*/*/*.parquet", "events/**/*.parquet"):
        found = rows(tmp_path, path)
        assert len(found) == 60 and found[0] == ("u0", "i0", "2", "2024-03-01", "F R"), path
    assert rows(tmp_path, "events/dt=2024-03-02/*/*.parquet")[0][-1] == "F R"  # only what the pattern leaves open
    assert rows(tmp_path, "events/dt=2024-03-02/country=F%20R/part-0.parquet")[0] == ("u0", "i21", "2")


def written(given: list[Path], folder: Path) -> dict[str, Any]:
    init(given, folder)
    clean: dict[str, Any] = load(folder / "llmrec.toml", environ={}).values["clean"]
    return clean


def test_a_project_of_a_folder(tmp_path: Path, context: Context) -> None:
    (folder,) = partitioned(tmp_path)
    clean = written([folder], tmp_path)
    expected = {"path": "events/*/*/*.parquet", "user": "user", "item": "item.id", "time": "dt"}
    assert clean["interactions"] == expected
    outcome = execute(STAGE, WorkDir(tmp_path / "work"), CleanConfig.model_validate(clean), context)
    assert outcome.report.counts["rows"] == 60


def test_a_folder_with_a_log_by_day_items_and_other_files(tmp_path: Path) -> None:
    there = tmp_path / "shop"
    there.mkdir()
    body = LOG.splitlines(keepends=True)
    for day in range(3):
        (there / f"log-{day}.csv").write_text("".join([body[0], *body[1 + 20 * day : 21 + 20 * day]]))
    (there / "items.tsv").write_text(lines([["item", "title"], *([f"i{i}", f"A cup {i}"] for i in range(30))], "\t"))
    (there / "README.md").write_text("Words.\n")
    for n in range(9):
        (there / f"{n}.jpg").write_bytes(b"\xff\xd8" + bytes(300))
    clean = written([there], tmp_path / "p")
    assert clean["interactions"]["path"] == "../shop/*.csv"
    assert clean["items"] == {"path": "../shop/items.tsv", "item": "item", "title": "title"}
    said = "\n".join(init([there], tmp_path / "q").lines)
    assert "0.jpg and 8 more: not used" in said and "README.md: not used" in said


def test_columns_in_another_order_are_the_same_log(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text(LOG)
    swapped = [",".join(reversed(line.split(","))) for line in LOG.splitlines()]
    (tmp_path / "2.csv").write_text("\n".join(swapped) + "\n")
    assert written([tmp_path / "1.csv", tmp_path / "2.csv"], tmp_path)["interactions"]["path"] == ["1.csv", "2.csv"]
    assert rows(tmp_path, ["1.csv", "2.csv"])[0] == rows(tmp_path, ["1.csv", "2.csv"])[60]


@pytest.mark.parametrize(
    ("address", "command"),
    [
        ("https://example.org/log.csv", "curl -LO https://example.org/log.csv"),
        ("s3://bucket/day=1/", "aws s3 cp --recursive s3://bucket/day=1/ ."),
        ("gs://bucket/log", "gcloud storage cp -r gs://bucket/log ."),
        ("hdfs://node:9000/log", "hdfs dfs -get hdfs://node:9000/log ."),
    ],
)
def test_an_address_is_to_be_fetched_first(address: str, command: str, tmp_path: Path) -> None:
    for given in (address, str(Path(address))):  # a path has one slash less
        with pytest.raises(DataError, match="an address is not read") as reported:
            locations.locate(given, tmp_path)
        assert reported.value.fix.rstrip(" .").rstrip("/") == f"fetch it first: {command}".rstrip(" .").rstrip("/")


def test_a_pipe_is_kept_until_another_comes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing came yet") as reported:
        locations.locate("-", tmp_path)
    assert "cat log.csv | llmrec clean" in reported.value.fix
    locations.spool(io.BytesIO(LOG.encode()), tmp_path)
    assert len(rows(tmp_path, "-")) == 60
    locations.spool(io.BytesIO(b""), tmp_path)  # cron gives commands an empty pipe
    assert len(rows(tmp_path, "-")) == 60
    assert written([Path("-")], tmp_path)["interactions"]["path"] == "-"
    locations.spool(io.BytesIO(LOG.encode() + b"u1,i1,3\n"), tmp_path)
    assert len(rows(tmp_path, "-")) == 61


def test_json_arrays_and_nested_fields(tmp_path: Path) -> None:
    record = {
        "user": {"id": "u1", "at": {"city": "Rome"}},
        "item": "i1",
        "tags": ["a", {"b": 1}],
        "free": {f"key {n}": n for n in range(40)},
        "a.b": 1,
        "x": {"y.z": 2},
    }
    (tmp_path / "array.json").write_text(json.dumps([record, {"user": None, "item": "i2", "rare": 3}], indent=2))
    (tmp_path / "lines.json").write_text(json.dumps(record) + '\n{"user": null, "item": "i2", "rare": 3}\n')
    with Engine(256 << 20, 1, tmp_path) as engine:
        for name in ("array.json", "lines.json"):
            (each,) = engine.open(FileConfig(path=name), tmp_path)
            assert set(each.columns) == {"user.id", "user.at.city", "item", "tags", "free", "a.b", "x", "rare"}, name
    first, second = (dict(zip(each.columns, row, strict=True)) for row in rows(tmp_path, "array.json"))
    assert (first["user.at.city"], first["tags"], first["a.b"], first["x"]) == (
        "Rome",
        '["a",{"b":1}]',
        "1",
        '{"y.z":2}',
    )
    assert (second["user.id"], second["item"], second["rare"]) == (None, "i2", "3")
    (tmp_path / "broken.json").write_text('[{"user": 1, "item": 2}, {"user": 2, item: 3}]')
    with pytest.raises(DataError, match="cannot be read"):
        rows(tmp_path, "broken.json")
