"""Raw files that an engine can read: as they lie, or as a plain UTF-8 copy."""

from __future__ import annotations

import bz2
import glob
import gzip
import lzma
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from llmrec_cli.core.disk import full_disk
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.registry import load_function
from llmrec_cli.ingest import text_scan
from llmrec_cli.ingest.dialect import Dialect
from llmrec_cli.ingest.locations import UNREADABLE, Location, damaged

CHUNK = 1 << 20
# A packed log is a fifth to a hundredth of its size. What is far less, and large, was made to fill a disk.
RATIO, SMALL = 250, 256 << 20
RESERVE = 256 << 20
"""Bytes of the disk that unpacking leaves free."""
FOREIGN = "llmrec_cli.extras.foreign_text"
LITERAL = ("{'", "{u'")
"""How a record begins as Python prints it."""
PACKED = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zst", b"\xfd7zXZ": "xz"}


@dataclass(frozen=True)
class RawFile:
    """A file that an engine can read: uncompressed, and UTF-8 without byte order mark if it is text."""

    location: Location
    path: Path
    encoding: str
    head: str = field(repr=False)
    """The first lines; "" for Parquet."""
    quoted_lines: tuple[str, ...] = field(default=(), repr=False)
    """Some of the lines with a quote character, wherever they stand."""
    parquet: bool = False
    long_lines: bool = False
    """Whether a line has more than `text_scan.LONG` bytes."""
    n_lines: int = 0


@dataclass(frozen=True)
class Input:
    """A raw file and how it is cut into columns."""

    file: RawFile
    dialect: Dialect

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the file, then those of its folders' names."""
        return (*self.dialect.columns, *self.partition)

    @property
    def partition(self) -> dict[str, str]:
        return {n: v for n, v in self.file.location.partition if n not in self.dialect.columns}


def prepare(location: Location, encoding: str, folder: Path) -> RawFile:
    """Unpack and decode a file into `folder` as far as needed; what can be read where it lies stays there.

    Raises DataError where the file is empty, cannot be unpacked or is not of the encoding given.
    """
    path, start = _readable(location, folder)
    if not start:
        raise DataError(f"{location.name} is empty", where=str(location))
    if start.startswith(b"PAR1"):
        return RawFile(location, path, "", "", parquet=True)
    look = text_scan.scan(path)
    if not look.encoding:
        what = load_function(f"{FOREIGN}:other_kind")(start)
        fix = "write it as CSV, JSON lines or Parquet and name that file"
        raise DataError(f"{location.name} is {what}", where=str(location), fix=fix)
    found = look.encoding if encoding == "auto" else encoding
    if found != "utf-8" or look.uneven:
        path = _decoded(path, found, location, _free(folder, f"{location.name}.utf8"), found=encoding == "auto")
        look = text_scan.scan(path)
    if look.head.startswith(LITERAL):
        source, path = path, _free(folder, f"{location.name}.jsonl")
        load_function("llmrec_cli.extras.conversions:write_literals")(source, path)
        look = text_scan.scan(path)
    return RawFile(
        location, path, found, look.head, look.quoted_lines, long_lines=look.long_lines, n_lines=look.n_lines
    )


def _readable(location: Location, folder: Path) -> tuple[Path, bytes]:
    """The file, unpacked into `folder` if it is packed, and its first bytes."""
    path = location.path
    try:
        if location.member and location.member not in zipfile.ZipFile(path).namelist():
            path = _free(folder, f"{location.member}.csv")
            load_function("llmrec_cli.extras.conversions:write_sheet")(location.path, location.member, path)
            location = Location(path)
        with _unpacked(location) as stream:
            start = stream.read(512)
        if location.member or _packing(location):
            path = _free(folder, re.sub(r"\.(gz|bz2|zst|xz)$", "", location.name))
            with _unpacked(location) as stream, path.open("wb") as out:
                _copy(stream, out, location)
    except (*UNREADABLE, pa.ArrowException) as error:
        raise full_disk(error, folder) or damaged(location, error) from error
    return path, start


def _copy(stream: IO[bytes], out: IO[bytes], location: Location) -> None:
    """Unpack; DataError before a packed file that is a trap, or just too large, has filled the disk."""
    packed, written = location.path.stat().st_size, 0
    while chunk := stream.read(CHUNK):
        written += len(chunk)
        if written > max(SMALL, RATIO * packed):
            what = f"{location.name} unpacks to more than {RATIO} times its size, as no log does"
            raise DataError(what, where=str(location), fix="if it is one, unpack it yourself and name the file")
        _room(Path(out.name), len(chunk), location)
        out.write(chunk)


def _room(target: Path, size: int, location: Location) -> None:
    folder = target.parent
    if shutil.disk_usage(folder).free < RESERVE + size:
        what = f"{location.name} does not fit on the disk of {folder}"
        raise DataError(what, where=str(location), fix="free some space there, or unpack it yourself and name the file")


@contextmanager
def _raw(location: Location) -> Iterator[IO[bytes]]:
    if location.member:
        with zipfile.ZipFile(location.path) as zipped, zipped.open(location.member) as stream:
            yield stream
    else:
        with location.path.open("rb") as stream:
            yield stream


def _packing(location: Location) -> str:
    with _raw(location) as stream:
        start = stream.read(6)
    return next((kind for magic, kind in PACKED.items() if start.startswith(magic)), "")


@contextmanager
def _unpacked(location: Location) -> Iterator[Any]:
    """What the file or member holds, as a stream of bytes."""
    kind = _packing(location)
    with _raw(location) as stream:
        if kind == "zst":
            yield pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")
        elif kind:
            yield {"gz": gzip, "bz2": bz2, "xz": lzma}[kind].open(stream)
        else:
            yield stream


def _free(folder: Path, name: str) -> Path:
    """A path in the folder that no other raw file of the same name has taken."""
    taken = sum(1 for _ in folder.glob(f"*-{glob.escape(name)}"))
    return folder / f"{taken}-{name}"


def _decoded(path: Path, encoding: str, location: Location, target: Path, *, found: bool) -> Path:
    """The same text as UTF-8 with plain line ends."""
    try:
        load_function(f"{FOREIGN}:decode")(
            path, encoding, target, lambda size: _room(target, size, location), found=found
        )
    except (UnicodeError, LookupError) as error:
        what = f"{location.name} is not {encoding}: {error}"
        raise DataError(what, where=str(location), fix='set encoding = "latin-1" or "auto"') from error
    return target


def distinct_names(inputs: Sequence[Input]) -> list[str]:
    """What each file is called in the rejects: its name, or its whole path where two have the same name."""
    names = [each.file.location.name for each in inputs]
    return names if len(set(names)) == len(names) else [str(each.file.location) for each in inputs]
