"""Texts that are not UTF-8 with plain line ends, as such; and what a file is that is no text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from llmrec_cli.ingest.text_scan import CHUNK

BYTE_BY_BYTE = "llmrec-byte-by-byte"
PAIRED = 0.8
"""In a text in GB18030 so many of the bytes above ASCII stand next to another."""
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


def other_kind(start: bytes) -> str:
    """What a file that is no text is, by its first 512 bytes."""
    if start[257:262] == b"ustar":
        return "a tar archive"
    unknown = "no text: it has bytes that texts don't have"
    return next((what for magic, what in OTHERS.items() if start.startswith(magic)), unknown)


def legacy(lines: Sequence[bytes]) -> str:
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
