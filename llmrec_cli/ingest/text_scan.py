"""What the bytes of a text file are: their encoding, line ends and quotes, and a copy of them as plain UTF-8."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 20
HEAD = 1 << 18
SOME_LINES = 1000
# A line is looked at up to this length; lines of logs are shorter.
LINE = 1 << 16
# Lines of a log have so many bytes only where texts are in it.
LONG = 5000
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
CONTROLS = bytes({*range(32)} - set(b"\t\n\v\f\r\x01\x1b\x1c\x1d\x1e\x1f"))
"""Bytes that texts don't have; \\x01 and \\x1c to \\x1f are separators."""
OTHERS = {
    b"PK\x03\x04": "a zip file",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"ARROW1": "an Arrow file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite database",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"%PDF": "a PDF file",
}
"""How files begin that are something else than a table of text or Parquet."""
BYTE_BY_BYTE = "llmrec-byte-by-byte"
PAIRED = 0.8
"""In a text in GB18030 so many of the bytes above ASCII stand next to another."""


@dataclass(frozen=True)
class Scan:
    """What one pass over the bytes of a file found."""

    encoding: str
    """"" for what is no text."""
    uneven: bool
    """Whether line ends are of two kinds, or lines are empty: the engine counts those among the rows."""
    n_lines: int
    head: str
    quoted_lines: tuple[str, ...]
    """Some of the lines with a quote character."""
    long_lines: bool


def scan(path: Path) -> Scan:
    """One pass over the bytes: their encoding, are the line ends of one kind, how does it begin, where are quotes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    valid, long, lines, returns, head, last, empty = True, False, 0, 0, b"", b"\n", False
    quoted, foreign = list[bytes](), list[bytes]()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK) + stream.readline(CHUNK):
            head = head or chunk[:HEAD]
            long = long or _has_long(chunk)
            lines += chunk.count(b"\n")
            returns += chunk.count(b"\r\n")
            empty = empty or b"\n\n" in chunk or b"\n\r\n" in chunk or chunk.startswith((b"\n", b"\r\n"))
            if len(quoted) < SOME_LINES and b'"' in chunk:
                quoted += [line for line in chunk.splitlines() if b'"' in line and len(line) < LINE]
            try:
                valid and decoder.decode(chunk)
            except UnicodeDecodeError:
                valid = False
            if not valid and len(foreign) < SOME_LINES:
                foreign += [line for line in chunk.split(b"\n") if not line.isascii()]
            last = chunk[-1:]
    encoding = _marked(head) or ("utf-8" if valid else _legacy(foreign[:SOME_LINES]))
    if encoding == "utf-8" or not encoding.startswith("utf-16"):
        controls = len(head) - len(head.translate(None, CONTROLS))
        encoding = "" if controls > 0.02 * len(head) + 3 else encoding
    n_lines = lines + (last != b"\n")
    texts = tuple(map(_text, quoted[:SOME_LINES]))
    return Scan(encoding, empty or returns not in (0, lines), n_lines, _text(head), texts, long)


def other_kind(start: bytes) -> str:
    """What a file is, by its first 512 bytes, where it is none that is read; else ""."""
    if start[257:262] == b"ustar":
        return "a tar archive"
    return next((what for magic, what in OTHERS.items() if start.startswith(magic)), "")


def _has_long(chunk: bytes) -> bool:
    at = 0
    while at + LONG < len(chunk):
        at = chunk.rfind(b"\n", at, at + LONG) + 1 or len(chunk) + 1
    return at > len(chunk)


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _marked(head: bytes) -> str:
    """The encoding that the first bytes show, by a mark or by the zeros of UTF-16; "" where they show none."""
    odd, even = (head[start::2].count(0) for start in (1, 0))
    marked = next((name for bom, name in BOMS.items() if head.startswith(bom)), "")
    half = 0.3 * len(head)
    return marked or ("utf-16-le" if odd > half > 4 * even else "utf-16-be" if even > half > 4 * odd else "")


def _legacy(lines: Sequence[bytes]) -> str:
    """The encoding of lines that are not all UTF-8.

    GB18030 has most bytes above ASCII in pairs; all else is read byte by byte, with what is UTF-8 as that.
    """
    text = b"\n".join(lines)
    high = sum(byte > 127 for byte in text)
    paired = sum(len(run) for run in re.findall(rb"[\x80-\xff]{2,}", text))
    if paired > PAIRED * high and _decodes(text, "gb18030"):
        return "gb18030"
    single = (
        "cp1252"
        if re.search(rb"[\x80-\x9f]", b"".join(line for line in lines if not _decodes(line, "utf-8")))
        else "latin-1"
    )
    return f"utf-8 and {single}" if any(_decodes(line, "utf-8") for line in lines) else single


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _byte_by_byte(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are no UTF-8 as characters of Windows-1252, those that it lacks as of Latin-1."""
    assert isinstance(error, UnicodeDecodeError)
    wrong = error.object[error.start : error.end]
    return "".join(bytes([b]).decode("cp1252", errors="ignore") or chr(b) for b in wrong), error.end


codecs.register_error(BYTE_BY_BYTE, _byte_by_byte)


def decode(path: Path, encoding: str, target: Path, room: Callable[[int], None], *, found: bool) -> None:
    """The same text as UTF-8 with plain line ends and no empty lines; `room` is called with the bytes to be written.

    An encoding that was `found` reads everything. One that was given raises UnicodeError or LookupError where it fails.
    """
    errors = "strict" if not found else "replace" if encoding.startswith(("utf-16", "gb")) else BYTE_BY_BYTE
    codec = "utf-8" if errors == BYTE_BY_BYTE and encoding != "utf-8-sig" else encoding
    with path.open(encoding=codec, errors=errors) as source, target.open("w", encoding="utf-8", newline="\n") as out:
        while piece := source.read(CHUNK) + source.readline():
            room(2 * len(piece))
            out.write(re.sub(r"(?m)^\n", "", piece))
