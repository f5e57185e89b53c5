from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.ingest import locations, raw_files
from llmrec_cli.ingest.column_mapping import FileConfig, name_of
from llmrec_cli.ingest.dialect import has_header, has_sequence_header, infer_dialect, is_sequences, uses_quotes
from llmrec_cli.ingest.engine import Engine
from llmrec_cli.ingest.raw_log import ColumnMapping, RawLog


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    with Engine(256 << 20, 1, folder) as engine:
        yield engine


def read(engine: Engine, base: Path, path: str | list[str], **settings: Any) -> list[tuple[Any, ...]]:
    """(source, row, source_row, parsable, columns …) of every row, in order."""
    inputs = engine.open(FileConfig(path=path, **settings), base)
    raw = engine.raw(inputs, inputs[0].dialect.columns)
    columns = ", ".join(f'"{c}"' for c in ("#source", "#row", "#source_row", "#parsable", *inputs[0].dialect.columns))
    return engine.connection.execute(f'SELECT {columns} FROM {raw} ORDER BY "#source_row"').fetchall()


def values(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [row[4:] for row in rows]


ROWS = [("u1", "007", "1"), ("NA", "None", "2"), ("u2", "null", None)]


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", "::"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_separator_and_line_end(engine: Engine, tmp_path: Path, separator: str, newline: str) -> None:
    lines = [separator.join(v or "" for v in row) for row in [("user", "item", "n"), *ROWS]]
    (tmp_path / "log.txt").write_text(newline.join(lines) + newline, encoding="utf-8", newline="")
    assert values(read(engine, tmp_path, "log.txt")) == ROWS


def test_runs_of_blanks_and_a_wrong_number_of_words(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(
        "1 a  5\n2   b 3\n\n3 c\n4 d 1\n5 d 1\n6 d 1\n7 d 1\n8 d 1\n9 d 1\n0 d 1\n1 e 1\n"
    )
    rows = read(engine, tmp_path, "log.txt")
    assert values(rows)[:4] == [("1", "a", "5"), ("2", "b", "3"), (None, None, None), ("4", "d", "1")]
    assert [row[3] for row in rows[:4]] == [True, True, False, True]


def test_rows_that_cannot_be_cut_are_counted_where_they_stand(engine: Engine, tmp_path: Path) -> None:
    body = ["a,1", "b,2,3", "c", "d,4", 'e,"x\ny"', "f,6,7", "g,7"]
    (tmp_path / "log.csv").write_text("user,item\n" + "\n".join(body) + "\n")
    rows = read(engine, tmp_path, "log.csv", separator=",", header=True)
    assert [(row[1], row[3]) for row in rows] == [(n, n not in (2, 3, 6)) for n in range(1, 8)]
    assert values(rows)[4] == ("e", "x\ny")
    assert values(rows)[6] == ("g", "7")


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("utf-8", "user,title\n1,Amélie\n".encode()),
        ("utf-8-sig", "\ufeffuser,title\n1,Amélie\n".encode()),
        ("latin-1", "user,title\n1,Amélie\n".encode("latin-1")),
        ("utf-16", "user,title\n1,Amélie\n".encode("utf-16")),
        ("utf-8", b"user,title\r\n1,Am\xc3\xa9lie\n"),
    ],
)
def test_encodings_are_found(engine: Engine, tmp_path: Path, encoding: str, data: bytes) -> None:
    (tmp_path / "log.csv").write_bytes(data)
    (each,) = engine.open(FileConfig(path="log.csv"), tmp_path)
    assert each.file.encoding == encoding
    assert values(read(engine, tmp_path, "log.csv")) == [("1", "Amélie")]


def test_a_latin_1_letter_far_down_is_seen(engine: Engine, tmp_path: Path) -> None:
    body = b"user,title\n" + b"1,abc\n" * 400_000 + b"2,Am\xe9lie\n"
    (tmp_path / "log.csv").write_bytes(body)
    assert values(read(engine, tmp_path, "log.csv"))[-1] == ("2", "Amélie")


def test_a_wrong_encoding_is_reported(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes("user,title\n1,Amélie\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"log\.csv is not utf-16"):
        engine.open(FileConfig(path="log.csv", encoding="utf-16"), tmp_path)


def test_gzip_zip_members_globs_and_lists(engine: Engine, tmp_path: Path) -> None:
    text = "user,item\n1,a\n2,b\n"
    (tmp_path / "one.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as zipped:
        zipped.writestr("deep/two.csv", text)
        zipped.writestr("deep/README", "nothing")
    (tmp_path / "part-1.csv").write_text(text)
    (tmp_path / "part-2.csv").write_text(text)
    paths = ["one.csv.gz", "all.zip#deep/two.csv", "part-*.csv"]
    rows = read(engine, tmp_path, paths)
    assert [row[0] for row in rows[::2]] == ["one.csv.gz", "two.csv", "part-1.csv", "part-2.csv"]
    assert [row[1] for row in rows] == [1, 2] * 4
    assert [row[2] for row in rows] == list(range(1, 9))
    assert values(rows) == [("1", "a"), ("2", "b")] * 4


def test_json_lines_with_lists_optional_keys_and_a_broken_line(engine: Engine, tmp_path: Path) -> None:
    lines = ['{"user": "007", "n": 5.0, "tags": ["a", "b"]}', "{broken", "", '{"user": null, "rare": {"x": 1}}']
    (tmp_path / "log.json").write_text("\n".join(lines) + "\n")
    rows = read(engine, tmp_path, "log.json")
    assert values(rows) == [("007", "5.0", '["a","b"]', None), (None,) * 4, (None, None, None, "1")]
    assert [row[3] for row in rows] == [True, False, True]


def test_parquet_ids_that_were_stored_as_floats(engine: Engine, tmp_path: Path) -> None:
    columns = {"user": [12345.0, None], "price": [0.5, 2.0], "tags": [["a", "b"], []], "name": ["NA", "x"]}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    assert values(read(engine, tmp_path, "log.parquet")) == [
        ("12345", "0.5", '["a","b"]', "NA"),
        (None, "2", "[]", "x"),
    ]


def test_near_matches_of_a_missing_file_and_member(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("a,b\n")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as zipped:
        zipped.writestr("deep/ratings.dat", "1::2\n")
        zipped.writestr("deep/movies.dat", "1::2\n")
    with pytest.raises(DataError, match=r"there is no file 'rating\.csv'") as missing:
        locations.locate("rating.csv", tmp_path)
    assert "'ratings.csv'" in missing.value.fix
    with pytest.raises(DataError, match=r"no member 'ratings\.dat'") as missing:
        locations.locate("all.zip#ratings.dat", tmp_path)
    assert missing.value.fix == "did you mean 'deep/ratings.dat'?"
    with pytest.raises(DataError, match="holds 2 files"):
        locations.locate("all.zip", tmp_path)
    with pytest.raises(DataError, match="no file matches"):
        locations.locate("*.tsv", tmp_path)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="no file in the folder 'nothing'"):
        locations.locate("nothing", tmp_path)


def test_a_missing_column_and_a_wrong_separator_are_reported(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item\n1,a\n2,b\n")
    inputs = engine.open(FileConfig(path="log.csv"), tmp_path)
    assert name_of(1, inputs) == "item"
    with pytest.raises(DataError, match="no column 'usr'") as missing:
        name_of("usr", inputs)
    assert "did you mean 'user'?" in missing.value.fix and "item" in missing.value.fix
    wrong = engine.open(FileConfig(path="log.csv", separator=";"), tmp_path)
    with pytest.raises(DataError, match="one column only") as missing:
        name_of("user", wrong)
    assert "separator" in missing.value.fix


def test_empty_and_damaged_files_are_reported(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"user,item\n" * 1000)[:40])
    with pytest.raises(DataError, match="is empty"):
        engine.open(FileConfig(path="empty.csv"), tmp_path)
    with pytest.raises(DataError, match="cannot be unpacked"):
        engine.open(FileConfig(path="cut.csv.gz"), tmp_path)
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(DataError, match="cannot be read"):
        engine.open(FileConfig(path="cut.parquet"), tmp_path)


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("978300760", 978300760_000000),
        ("978300760123", 978300760_123000),
        ("978300760123456", 978300760_123456),
        ("2000-12-31 22:12:40", 978300760_000000),
        ("2000-12-31T22:12:40Z", 978300760_000000),
        ("2001-01-01 00:12:40+02:00", 978300760_000000),
        ("2000-12-31", 978220800_000000),
        ("infinity", None),
        ("today", None),
        ("0", None),
        ("soon", None),
        ("2000-13-45", None),
    ],
)
def test_times(engine: Engine, tmp_path: Path, text: str, microseconds: int | None) -> None:
    (tmp_path / "log.csv").write_text(f"u,i,t\n1,2,{text}\n")
    raw = engine.raw(engine.open(FileConfig(path="log.csv", header=True), tmp_path), ["u", "i", "t"])
    assert engine.arrow(RawLog(engine, raw, ColumnMapping("u", "i", time="t")).frame()).column("time").to_pylist() == [
        microseconds
    ]


def test_a_time_format(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("u;i;t\n1;2;31/12/2000 22:12\n1;2;12/31/2000 22:12\n")
    raw = engine.raw(engine.open(FileConfig(path="log.csv"), tmp_path), ["u", "i", "t"])
    log = RawLog(engine, raw, ColumnMapping("u", "i", time="t", time_format="%d/%m/%Y %H:%M")).frame()
    assert engine.arrow(log).column("time").to_pylist() == [978300720_000000, None]


def test_where_sees_numbers_as_numbers_and_codes_as_texts(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("u,i,n\n1,10,9\n2,POST,10\n3,11,x\n")
    raw = engine.raw(engine.open(FileConfig(path="log.csv"), tmp_path), ["u", "i", "n"])
    log = RawLog(engine, raw, ColumnMapping("u", "i", value="n"), "n > 9.5 AND i <> 'M'").frame()
    assert engine.arrow(log).column("passes").to_pylist() == [False, True, False]
    with pytest.raises(SettingsError, match="the row filter cannot be used"):
        RawLog(engine, raw, ColumnMapping("u", "i"), "quantity >").frame()
    with pytest.raises(SettingsError, match="the row filter cannot be used"):
        RawLog(engine, raw, ColumnMapping("u", "i"), "nosuch > 1").frame()
    with pytest.raises(SettingsError, match="the row filter cannot be used"):
        RawLog(engine, raw, ColumnMapping("u", "i"), "i > 1").frame()


def test_quotes_that_enclose_and_quotes_that_do_not() -> None:
    assert uses_quotes(['1,"a, b",x\n'], ",", 3)
    assert uses_quotes(['1,"say ""hi""",x\n'], ",", 3)
    assert not uses_quotes(['1\t"Weird Al" Yankovic\n', '2\tThe "x"\n'], "\t", 2)
    assert infer_dialect('id\tname\n1\t"Weird Al" Y\n2\tb\n', ['1\t"Weird Al" Y\n']).quoting is False


def test_headers() -> None:
    assert has_header([["user", "item"], ["1", "2"]])
    assert has_header([["user_id", "product"], ["ab", "cd"]])
    assert not has_header([["1", "Toy Story"], ["2", "Heat"]])
    assert not has_header([["ab", "cd"], ["ef", "gh"]])
    assert has_header([["", "user", "n"], ["0", "x", "3"]])


def test_sequences_are_recognised() -> None:
    assert is_sequences("1 4 5 6\n2 4 9\n3 1 2 3 4\n")
    assert not is_sequences("1 4 5\n1 4 9\n3 1 2\n")
    assert not is_sequences('u, i\n1, "x y"\n2, z\n')


def test_only_blanks_are_cut_off_ids(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text('u,i\n" vtrnf ",007\n"\t v\t",\\n\n')
    raw = engine.raw(engine.open(FileConfig(path="log.csv", header=True), tmp_path), ["u", "i"])
    log = RawLog(engine, raw, ColumnMapping("u", "i")).frame()
    table = engine.arrow(log.sort("source_row"))
    assert table.column("user_id").to_pylist() == ["vtrnf", "v"]
    assert table.column("item_id").to_pylist() == ["007", "\\n"]


def test_a_header_alone_is_a_header() -> None:
    assert has_header([["user", "item", "timestamp"]])
    assert not has_header([["user17", "item4"]])
    assert not has_header([["anna", "tea"]])
    assert not has_header([])


def test_names_that_come_twice_are_a_header_above_numbers() -> None:
    assert has_header([["name", "id", "id"], ["x", "1", "2"]])
    assert not has_header([["user", "user"], ["ab", "cd"]])


def test_a_header_of_sequences_is_no_user() -> None:
    assert has_sequence_header("user_id:token item_id_list:token_seq\n1 2 3\n")
    assert has_sequence_header("user items\nanna tea milk\n")
    assert not has_sequence_header("user1 item1 item2\n")
    assert not has_sequence_header("1 2 3\n")
    assert not has_sequence_header("\n")


def test_times_that_no_calendar_of_events_has_are_invalid(tmp_path: Path) -> None:
    import duckdb

    from llmrec_cli.ingest import sql

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")

    def read(text: str, time_format: str = "") -> int | None:
        query = f"SELECT {sql.microseconds('x', time_format)} FROM (SELECT ? AS x)"
        (found,) = connection.execute(query, [text]).fetchone() or (None,)
        return found

    assert [read(text) for text in ("20100101", "99999-01-01", "290308-12-31", "1899-12-31", "-5", "1e300")] == [
        None
    ] * 6
    assert read("20100101", "%Y%m%d") == read("2010-01-01") == read("1262304000") == 1_262_304_000_000_000


@pytest.mark.parametrize("damage", ["gzip", "zip"])
def test_a_damaged_archive_is_reported(damage: str, tmp_path: Path) -> None:
    import gzip
    import zipfile

    path = tmp_path / "log.csv"
    if damage == "gzip":
        packed = bytearray(gzip.compress(b"user,item\n" + b"".join(b"u%d,i%d\n" % (n, n * n) for n in range(9999))))
        packed[len(packed) // 2] ^= 0xFF
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("log.csv", "user,item\nu,i\n")
        packed = bytearray(path.read_bytes())
        packed[packed.index(b"PK\x01\x02")] ^= 0xFF
    path.write_bytes(packed)
    with pytest.raises(DataError, match="cannot be unpacked"):
        (location,) = locations.locate(str(path), tmp_path)
        raw_files.prepare(location, "auto", tmp_path)


def test_a_packed_file_that_is_a_trap_ends_before_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    monkeypatch.setattr(raw_files, "SMALL", 1 << 20)
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"0" * (8 << 20)))
    with pytest.raises(DataError, match="250 times its size"):
        raw_files.prepare(locations.locate(str(path), tmp_path)[0], "auto", tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "log.csv")
    with pytest.raises(DataError, match="no regular file"):
        locations.locate("log.csv", tmp_path)


@pytest.mark.parametrize("lines", [["x," * 140_000], ["x," * 3000] * 100, ['"a,b",' + "x," * 140_000]])
def test_a_line_of_thousands_of_separators_does_not_fill_the_memory(
    engine: Engine, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmrec_cli.ingest.engine_checks.MAX_OVERLONG_BYTES", 1 << 28)
    body = ["u,i,1"] * 50
    (tmp_path / "log.csv").write_text("\n".join(["user,item,n", *body, *lines, *body]) + "\n")
    with pytest.raises(DataError, match=r"line 52 of log.csv has 1?[0-9,]+ columns, the others 3"):
        read(engine, tmp_path, "log.csv")
    (tmp_path / "head.csv").write_text(lines[0] + "\n" + "\n".join(body) + "\n")
    with pytest.raises(DataError, match="columns"):
        read(engine, tmp_path, "head.csv", separator=",", header=True)


def test_long_texts_with_separators_are_no_columns(engine: Engine, tmp_path: Path) -> None:
    text = "word, " * 6000
    (tmp_path / "items.csv").write_text("item,text\n" + "".join(f'i{n},"{text}"\n' for n in range(30)))
    assert values(read(engine, tmp_path, "items.csv")) == [(f"i{n}", text) for n in range(30)]


def test_the_history_of_one_user_takes_memory_by_its_length(tmp_path: Path) -> None:
    """With the whole line beside each of its items, 16,000 of them took a gigabyte."""
    lines = [f"u{n} " + " ".join(f"i{k}" for k in range(2 + n % 3)) for n in range(5)]
    (tmp_path / "log.txt").write_text("\n".join([*lines, "big " + " ".join(f"i{k}" for k in range(60_000))]) + "\n")
    with Engine(256 << 20, 1, tmp_path) as engine:
        inputs = engine.open(FileConfig(path="log.txt"), tmp_path, sequences=True)
        raw = engine.raw(inputs, ["user", "item"])
        assert engine.count(raw) == 60_000 + sum(2 + n % 3 for n in range(5))


def test_an_engine_leaves_nothing_of_the_raw_files(tmp_path: Path) -> None:
    (tmp_path / "scratch" / "engine").mkdir(parents=True)
    (tmp_path / "scratch" / "engine" / "of-a-killed-run.csv").write_text("secret")
    (tmp_path / "log.csv").write_bytes("user,title\n1,Amélie\n".encode("latin-1"))
    with pytest.raises(DataError), Engine(256 << 20, 1, tmp_path / "scratch") as engine:
        engine.open(FileConfig(path="log.csv"), tmp_path)
        assert [p.name for p in engine.folder.iterdir()] == ["0-log.csv.utf8"]
        engine.open(FileConfig(path="none.csv"), tmp_path)
    assert not list((tmp_path / "scratch").iterdir())


def test_names_of_files_and_keys_are_no_patterns(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "user=3").mkdir()
    for name, item in (("log[1].csv", "right"), ("log1.csv", "wrong")):
        (tmp_path / "user=3" / name).write_text(f"user,item\n7,{item}\n8,{item}\n")
    assert values(read(engine, tmp_path, "user=3/log[1].csv")) == [("7", "right"), ("8", "right")]
    keys = ['a"b', "a.b", "a/b", "a~1b", "a\\b", "*", "$.x", "#", "0"]
    line = json.dumps({**{key: key for key in keys}, "": "nameless"})
    (tmp_path / "log.json").write_text(f"{line}\n" * 2)
    inputs = engine.open(FileConfig(path="log.json"), tmp_path)
    assert list(inputs[0].dialect.columns) == keys
    raw = engine.raw(inputs, keys)
    assert list(engine.arrow(engine.texts(raw)).select(keys).to_pylist()[1].values()) == keys


def test_a_name_with_a_byte_0_is_no_column_of_sql(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"u\0ser,item\nu1,i1\nu2,i2\n")
    config = FileConfig.model_validate({"path": "log.csv", "header": True})
    with Engine(256 << 20, 1, tmp_path) as engine:
        inputs = engine.open(config, tmp_path)
        with pytest.raises(DataError, match="a byte 0 in its name"):
            engine.raw(inputs, inputs[0].dialect.columns)


def test_keys_that_are_no_text_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that the engine cuts inside of a letter comes back as bytes that are no UTF-8."""

    def cut(self: Engine, query: str) -> list[tuple[str]]:
        return [(b"\xc3(".decode(),)]

    (tmp_path / "log.json").write_text('{"user": "u", "item": "i"}\n')
    monkeypatch.setattr(Engine, "rows", cut)
    with Engine(256 << 20, 1, tmp_path) as engine, pytest.raises(DataError, match="cannot be read"):
        engine.open(FileConfig.model_validate({"path": "log.json", "format": "json"}), tmp_path)
