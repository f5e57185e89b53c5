"""Ways to spoil a log, each a function of a generator of chances: what people, programs and disks do to files."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

Cells = list[list[str]]
COLUMNS = ["user", "item", "time", "value", "event"]
TIMES = (
    "99999-01-01", "0001-01-01", "0", "-1", "-62135596800", "1e400", "1e18", "9223372036854775807", "20100101", "nan",
    "infinity", "epoch", "12/31/2023", "31/12/2023 24:61", "Mar 05 2024 10:30AM", "2024-02-30",
    "2024-01-01T00:00:00Z", "2024-01-01T00:00:00+99:99", "1700000000", "1700000000000", "1700000000.5",
    "1,700,000,000", "2024-W05-1", "'", "٢٠٢٤", "290308-12-31", "294247-01-10 04:00:54.775807", "-290308-01-01",
    "today", "2024-01-01 00:00:00 Europe/Paris",
)  # fmt: skip
VALUES = (
    "1e999", "-1e999", "nan", "inf", "-0", "1,5", "1.5.5", "−3", "0x10", "1_000", "٣", "", " ", "1e-400",
    "99999999999999999999", "TRUE", "NULL", "$5", "5 €", "1/2", "'; DROP TABLE x; --",
)  # fmt: skip
IDS = (
    "NULL", "NA", "null", "None", "nan", "", " ", "\u200b", "\x00", "\x1b[31mred", "👩‍👩‍👧", "مرحبا", "=cmd()",
    "../../x", "<script>", "a" * 10_000, '"', "'", "\\", "#", "%s", "{}", "007", "7", "7.0", "-", "é", "e\u0301",
    "\u202eevil", "\ufeffx", "0", "true", "a,b", "a\tb",
)  # fmt: skip
HEADERS = (
    "", " ", "user", '"', 'a"b', "#row", "source_row", "user_id", "passes", "reason", "1", "x" * 5_000, "naïve",
    "\x00", "\n", "a.b", "$", "select", 'x" IS NULL); DROP TABLE part; --', "item", "USER", "user ", "\ufefftime",
    "c0", "verdict", "weight", "time_text",
)  # fmt: skip


def cells(rng: random.Random) -> Cells:
    """The header and some rows of a sound log."""
    people, things = rng.choice(((6, 8), (3, 4), (1, 5), (12, 6)))
    rows = [[f"u{rng.randrange(people)}", f"i{rng.randrange(things)}"] for _ in range(rng.choice((12, 30, 60, 200)))]
    for n, row in enumerate(rows):
        row += [f"2024-01-{1 + n % 28:02d} {n % 24:02d}:00:00", str(rng.randint(1, 5)), rng.choice(("buy", "view"))]
    return [list(COLUMNS), *rows]


# --- cells -----------------------------------------------------------------------------------------------------------


def _some(rng: random.Random, rows: Cells, column: int, values: tuple[str, ...]) -> Cells:
    share = rng.choice((0.02, 0.2, 1.0))
    for row in rows[1:]:
        if len(row) > column and rng.random() < share:
            row[column] = rng.choice(values)
    return rows


def odd_times(rng: random.Random, rows: Cells) -> Cells:
    return _some(rng, rows, 2, TIMES)


def odd_values(rng: random.Random, rows: Cells) -> Cells:
    return _some(rng, rows, 3, VALUES)


def odd_ids(rng: random.Random, rows: Cells) -> Cells:
    return _some(rng, rows, rng.choice((0, 1, 4)), IDS)


def odd_header(rng: random.Random, rows: Cells) -> Cells:
    for _ in range(rng.randint(1, 3)):
        rows[0][rng.randrange(len(rows[0]))] = rng.choice(HEADERS)
    return rows


def no_header(rng: random.Random, rows: Cells) -> Cells:
    return rows[1:]


def header_again(rng: random.Random, rows: Cells) -> Cells:
    return [*rows[:3], list(rows[0]), *rows[3:]]


def header_only(rng: random.Random, rows: Cells) -> Cells:
    return rows[: rng.choice((1, 2))]


def wrong_width(rng: random.Random, rows: Cells) -> Cells:
    for row in rows[1:]:
        if rng.random() < 0.2:
            row[rng.randrange(len(row) or 1) :] = [] if rng.random() < 0.5 else ["x"] * rng.choice((1, 3, 300))
    return rows


def many_columns(rng: random.Random, rows: Cells) -> Cells:
    extra = rng.choice((50, 3_000))
    return [row + ([f"c{i}" for i in range(extra)] if not n else ["1"] * extra) for n, row in enumerate(rows[:20])]


def huge_field(rng: random.Random, rows: Cells) -> Cells:
    row = rng.choice(rows)
    at = rng.randrange(len(row) or 1)  # a row may have been emptied before
    row[at : at + 1] = [rng.choice(("x", "é", " ", "9", ";")) * rng.choice((70_000, 3_000_000))]
    return rows


def one_item(rng: random.Random, rows: Cells) -> Cells:
    return _some(rng, rows, rng.choice((0, 1)), ("same",))


CELLS: tuple[Callable[[random.Random, Cells], Cells], ...] = (
    odd_times, odd_values, odd_ids, odd_header, no_header, header_again, header_only, wrong_width, many_columns,
    huge_field, one_item,
)  # fmt: skip


KINDS = (
    "csv",
    "csv",
    "csv",
    "quoted",
    "quoted",
    "tab",
    "semicolon",
    "blank",
    "colons",
    "json",
    "json",
    "array",
    "sequences",
)
"""What a log is before it is spoilt: separated text of many kinds, JSON lines, a JSON array, or sequences."""

# --- text ------------------------------------------------------------------------------------------------------------


def text(rng: random.Random, rows: Cells, how: str) -> str:
    """Rows in one of the `KINDS`."""
    if how in ("json", "array"):
        objects = [json.dumps(dict(zip(rows[0], row, strict=False))) for row in rows[1:]]
        return "\n".join(objects) if how == "json" else "[" + ",\n".join(objects) + "]"
    if how == "sequences":
        lines: dict[str, list[str]] = {}
        for row in rows[1:]:
            lines.setdefault(row[0] if row else "", []).extend(row[1:2])
        return "\n".join(f"{user} {' '.join(items)}" for user, items in lines.items())
    mark = {"tab": "\t", "semicolon": ";", "blank": " ", "colons": "::"}.get(how, ",")
    enclosed = (['"' + cell.replace('"', '""') + '"' for cell in row] for row in rows)
    return "\n".join(mark.join(row) for row in (enclosed if how == "quoted" else rows)) + rng.choice(("\n", "", "\n\n"))


def _lines(rng: random.Random, whole: str, change: Callable[[str], str]) -> str:
    lines = whole.split("\n")
    for _ in range(rng.choice((1, 1, 3, 10))):
        at = rng.randrange(len(lines))
        lines[at] = change(lines[at])
    return "\n".join(lines)


def broken_quotes(rng: random.Random, whole: str) -> str:
    def change(line: str) -> str:
        at = rng.randint(0, len(line))
        return line[:at] + rng.choice(('"', '""', '"""', '\\"', "'", '",', ',"', '"\n')) + line[at:]

    return _lines(rng, whole, change)


def mixed_newlines(rng: random.Random, whole: str) -> str:
    ends = ("\n", "\r\n", "\r", "\x85", "\u2028", "\n\r", "\n\n", "\x0b", "\x1c")
    some = rng.sample(ends, rng.randint(1, 3))
    return "".join(line + rng.choice(some) for line in whole.split("\n"))


def strange_lines(rng: random.Random, whole: str) -> str:
    odd = (
        "{" * 5_000, '{"a":' * 5_000 + "1" + "}" * 5_000, '{"":1}', '{"user":{"a":[1]},"item":[2]}',
        '{"user":1e999,"item":NaN}', "null", "[]", '{"user":"a","user":"b","item":"c"}', "," * 140_000, " " * 100_000,
        "\x00" * 50, "# comment", "---", '{"user":"\\ud800","item":"x"}',
        '{"user": 123456789012345678901234567890, "item": 1.0}', "-- ;", '"', "\\", "a" * 300_000, "\x1a",
        "u1 " + "i1 " * 20_000,
    )  # fmt: skip
    return _lines(rng, whole, lambda line: rng.choice((line + "\n", "")) + rng.choice(odd))


def other_separators(rng: random.Random, whole: str) -> str:
    mark = rng.choice((";", "\t", "|", ":", "", "\x01", "\x1f", "\x00", ", ", '"'))
    return _lines(rng, whole, lambda line: line.replace(",", mark)) if rng.random() < 0.5 else whole.replace(",", mark)


TEXT: tuple[Callable[[random.Random, str], str], ...] = (broken_quotes, mixed_newlines, strange_lines, other_separators)


# --- bytes -----------------------------------------------------------------------------------------------------------


def random_bytes(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 5, 200))):
        at = rng.randint(0, len(changed))
        changed[at : at + rng.choice((0, 1))] = rng.randbytes(rng.choice((1, 1, 2)))
    return bytes(changed)


def nuls(rng: random.Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + b"\x00" * rng.choice((1, 10, 4096)) + data[at:]


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def doubled(rng: random.Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + data[rng.randint(0, at) :]


def marked(rng: random.Random, data: bytes) -> bytes:
    mark = rng.choice(
        (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\x00\x00", b"\xef\xbb\xbf\xef\xbb\xbf", b"+/v8")
    )
    return mark + data


def recoded(rng: random.Random, data: bytes) -> bytes:
    to = rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "shift-jis", "utf-7", "cp037"))
    return data.decode("utf-8", "replace").encode(to, "replace")


def noise(rng: random.Random, data: bytes) -> bytes:
    start = rng.choice(
        (
            b"",
            b"PAR1",
            b"PK\x03\x04",
            b"\x1f\x8b",
            b"\x89PNG\r\n",
            b"%PDF-1.4",
            b"SQLite format 3\x00",
            b"{",
            b"PAR1\x00PAR1",
        )
    )
    return start + rng.randbytes(rng.choice((0, 10, 5_000)))


BYTES: tuple[Callable[[random.Random, bytes], bytes], ...] = (random_bytes, nuls, cut, doubled, marked, recoded, noise)


# --- wrappings -------------------------------------------------------------------------------------------------------


def gzipped(rng: random.Random, data: bytes) -> bytes:
    packed = gzip.compress(data, mtime=0)
    return packed + gzip.compress(data, mtime=0) if rng.random() < 0.2 else packed


def zipped(rng: random.Random, data: bytes) -> bytes:
    sink, names = (
        io.BytesIO(),
        rng.choice((["log.csv"], ["a/log.csv"], ["../log.csv"], [], ["log.csv", "log.csv"], ["log.csv", "b.csv"])),
    )
    how = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_STORED))
    with zipfile.ZipFile(sink, "w", how) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), data, how)
    return sink.getvalue()


def other_packing(rng: random.Random, data: bytes) -> bytes:
    return lzma.compress(data)


def bomb(rng: random.Random, data: bytes) -> bytes:
    return gzipped(rng, data + b"\x00" * (40 << 20)) if rng.random() < 0.5 else zipped(rng, data + b"0" * (40 << 20))


def parquet(rng: random.Random, rows: Cells) -> bytes:
    """Rows as Parquet, its columns of types that a log seldom has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    width = min(len(row) for row in rows[1:]) if len(rows) > 1 else 0
    columns: dict[str, pa.Array] = {}
    for at in range(width):
        texts = pa.array([row[at] for row in rows[1:]], pa.string())
        odd = (
            texts, texts, texts, texts, texts.dictionary_encode(), pa.array([[row[at]] for row in rows[1:]]),
            pa.nulls(len(texts)), pa.array([{"a": row[at]} for row in rows[1:]]),
            pa.array([row[at].encode() for row in rows[1:]]), pa.array([len(row[at]) % 2 == 0 for row in rows[1:]]),
            pa.array([float(n) for n in range(len(texts))]), pa.array(list(range(len(texts))), pa.duration("ns")),
            pa.array(list(range(len(texts))), pa.timestamp("ns", "Asia/Tokyo")),
            pa.array(list(range(len(texts))), pa.date32()),
            pa.array([f"{n}" for n in range(len(texts))]).cast(pa.decimal128(30, 5)),
        )  # fmt: skip
        columns[rows[0][at] if at < len(rows[0]) else str(at)] = rng.choice(odd)
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def special(rng: random.Random, path: Path) -> None:
    """What is no file, or one that goes nowhere, in the log's place."""
    kind = rng.choice(("folder", "pipe", "loop", "nowhere", "zero", "null", "empty"))
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.symlink_to(
            {"loop": path, "nowhere": Path("gone"), "zero": Path("/dev/zero"), "null": Path(os.devnull)}[kind]
        )
