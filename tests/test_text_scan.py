"""What the bytes of a file are taken for, and that nothing of a text is lost on the way to UTF-8."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec_cli.core.errors import DataError
from llmrec_cli.ingest import locations, raw_files

TITLES = ["Amélie", "Der Untergang", "Café – Paris", "Ärger im Paradies", "L’été"]


def read(folder: Path, data: bytes, encoding: str = "auto") -> tuple[str, str]:
    """The encoding, and the text as the engine reads it."""
    (folder / "log.csv").write_bytes(data)
    (location,) = locations.locate("log.csv", folder)
    (folder / "scratch").mkdir(exist_ok=True)
    found = raw_files.prepare(location, encoding, folder / "scratch")
    return found.encoding, found.path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "".join(f"u{n},{TITLES[n % 2]}\n" for n in range(9))),
        ("cp1252", "".join(f"u{n},{title}\n" for n, title in enumerate(TITLES))),
        ("gb18030", "".join(f"用户{n},茶杯第{n}号,{'红色' if n % 2 else 'blue'}\n" for n in range(20))),
        ("gb18030", "".join(f"u{n},杯\n" for n in range(20))),
        ("utf-16-le", "".join(f"u{n},{title}\n" for n, title in enumerate(TITLES))),
        ("utf-16-be", "".join(f"u{n},i{n}\n" for n in range(20))),
        ("utf-8", "".join(f"用户{n},{title}\n" for n, title in enumerate(TITLES))),
    ],
)
def test_encodings(encoding: str, text: str, tmp_path: Path) -> None:
    assert read(tmp_path, text.encode(encoding)) == (encoding, text)


def test_russian_in_an_old_encoding_is_not_taken_for_chinese(tmp_path: Path) -> None:
    text = "".join(f"u{n},Война и мир {n}\n" for n in range(9))
    found, _ = read(tmp_path, text.encode("cp1251"))
    assert found == "latin-1"  # nothing is lost, and `encoding` can say what it is
    assert read(tmp_path, text.encode("cp1251"), "cp1251") == ("cp1251", text)


def test_lines_of_two_encodings_keep_what_is_utf_8(tmp_path: Path) -> None:
    data = "u1,Amélie 北京\n".encode() + "u2,Café – x\n".encode("cp1252")
    assert read(tmp_path, data) == ("utf-8 and cp1252", "u1,Amélie 北京\nu2,Café – x\n")


def test_empty_lines_and_two_kinds_of_line_ends(tmp_path: Path) -> None:
    data = b'\r\nuser,item\r\n1,a\n\n\n2,"x\n\ny"\n,\n\t\n'
    assert read(tmp_path, data)[1] == 'user,item\n1,a\n2,"x\ny"\n,\n\t\n'


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (bytes(range(256)) * 20, "no text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(300), "no text"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "an old Excel file"),
        (b"SQLite format 3\0" + bytes(600), "an SQLite database"),
        (b"log.csv" + bytes(250) + b"ustar\0" + bytes(300), "a tar archive"),
    ],
)
def test_what_is_no_table_is_named(data: bytes, what: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=what) as reported:
        read(tmp_path, data)
    assert "CSV, JSON lines or Parquet" in reported.value.fix
