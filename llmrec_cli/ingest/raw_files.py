"""Raw files: which ones a setting names, and a plain UTF-8 copy of those that an engine cannot read as they lie."""

from __future__ import annotations

import codecs
import difflib
import glob
import gzip
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from llmrec_cli.core.disk import full_disk
from llmrec_cli.core.errors import DataError
from llmrec_cli.ingest.dialect import Dialect

CHUNK = 1 << 20
HEAD = 1 << 18
QUOTED_LINES = 1000
# A line with a quote is looked at up to this length; lines of logs are shorter.
LINE = 1 << 16
# Lines of a log have so many bytes only where texts are in it.
LONG = 5000
# A packed log is a fifth to a hundredth of its size. What is far less, and large, was made to fill a disk.
RATIO, SMALL = 250, 256 << 20
RESERVE = 256 << 20
"""Bytes of the disk that unpacking leaves free."""
UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError)
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# Each byte means a character in it, so that a file which is not UTF-8 can always be read.
FALLBACK = "latin-1"


@dataclass(frozen=True)
class Location:
    """A file, or a member of a zip file."""

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        return Path(self.member or self.path).name

    def __str__(self) -> str:
        return f"{self.path}#{self.member}" if self.member else str(self.path)


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
    """Whether a line has more than `LONG` bytes."""


@dataclass(frozen=True)
class Input:
    """A raw file and how it is cut into columns."""

    file: RawFile
    dialect: Dialect


def locate(path: str | Sequence[str], base: Path) -> list[Location]:
    """Every file that a `path` setting names, in its order; a glob in the order of names.

    Raises DataError with near matches where there is no such file or member.
    """
    entries = [path] if isinstance(path, str) else path
    return [location for entry in entries for location in _locate_one(entry, base)]


def _locate_one(entry: str, base: Path) -> list[Location]:
    name, hash_, member = entry.partition("#")
    if hash_ and name.lower().endswith(".zip"):
        archive = _existing(base / name)
        return [Location(archive, _member(archive, member))]
    full = base / entry
    if not full.exists() and glob.has_magic(entry):
        found = sorted(Path(p) for p in glob.glob(str(full), recursive=True) if Path(p).is_file())
        if not found:
            raise DataError(f"no file matches {entry!r}", where=str(base), fix=_near(full))
        return [Location(p) for p in found]
    file = _existing(full)
    return [Location(file, _member(file, ""))] if zipfile.is_zipfile(file) else [Location(file)]


def _existing(path: Path) -> Path:
    if path.is_file():
        return path.resolve()
    if path.exists() and not path.is_dir():
        what = f"{path.name!r} is no regular file but a pipe, a socket or a device"
        raise DataError(what, where=str(path.parent), fix="write what comes out of it into a file first")
    if path.is_dir():
        raise DataError(
            f"{path.name!r} is a folder", where=str(path.parent), fix=f'name its files: "{path.name}/*.csv"'
        )
    raise DataError(f"there is no file {path.name!r}", where=str(path.parent), fix=_near(path))


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {str(path.parent)!r}"
    return _did_you_mean(path.name, [p.name for p in path.parent.iterdir() if p.is_file()])


def _did_you_mean(name: str, names: Sequence[str]) -> str:
    """Near matches by whole name or by the part before the first dot, else the first names there are."""
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=3, cutoff=0.5)
    chosen = [n for close in near for n in sorted(names) if n.lower() == close] or sorted(names)[:8]
    return (
        f"did you mean {' or '.join(map(repr, chosen))}?" if near else f"there are: {', '.join(chosen) or 'no files'}"
    )


def members(archive: Path) -> list[str]:
    """The files inside a zip file."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            return [info.filename for info in zipped.infolist() if not info.is_dir()]
    except (*UNREADABLE, ValueError) as error:
        raise _damaged(Location(archive), error) from error


def _member(archive: Path, wanted: str) -> str:
    names = members(archive)
    if wanted in names:
        return wanted
    if not wanted and len(names) == 1:
        return names[0]
    if not wanted:
        some = ", ".join(names[:8])
        fix = f'choose one, "{archive.name}#{names[0] if names else "…"}"; there are: {some}'
        raise DataError(f"{archive.name} holds {len(names)} files", where=str(archive), fix=fix)
    ends = [n for n in names if Path(n).name == Path(wanted).name]
    fix = f"did you mean {ends[0]!r}?" if ends else _did_you_mean(wanted, names)
    raise DataError(f"{archive.name} has no member {wanted!r}", where=str(archive), fix=fix)


def prepare(location: Location, encoding: str, folder: Path) -> RawFile:
    """Unpack and decode a file into `folder` as far as needed; what can be read where it lies stays there.

    Raises DataError where the file is empty, cannot be unpacked or is not of the encoding given.
    """
    try:
        with _unpacked(location) as stream:
            start = stream.read(4)
        path = location.path
        if location.member or _is_gzip(path):
            path = _free(folder, location.name.removesuffix(".gz"))
            with _unpacked(location) as stream, path.open("wb") as out:
                _copy(stream, out, location)
    except UNREADABLE as error:
        raise full_disk(error, folder) or _damaged(location, error) from error
    if not start:
        raise DataError(f"{location.name} is empty", where=str(location))
    if start == b"PAR1":
        return RawFile(location, path, "", "", parquet=True)
    look = _scan(path)
    found = look.encoding if encoding == "auto" else encoding
    if found != "utf-8" or look.mixed_newlines:
        path = _decoded(path, found, location, _free(folder, f"{location.name}.utf8"))
        look = _scan(path)
    return RawFile(location, path, found, look.head, look.quoted_lines, long_lines=look.long_lines)


def _copy(stream: IO[bytes] | gzip.GzipFile, out: IO[bytes], location: Location) -> None:
    """Unpack; DataError before a packed file that is a trap, or just too large, has filled the disk."""
    packed, written = location.path.stat().st_size, 0
    while chunk := stream.read(CHUNK):
        written += len(chunk)
        if written > max(SMALL, RATIO * packed):
            what = f"{location.name} unpacks to more than {RATIO} times its size, as no log does"
            raise DataError(what, where=str(location), fix="if it is one, unpack it yourself and name the file")
        _room(out, len(chunk), location)
        out.write(chunk)


def _room(out: IO[Any], size: int, location: Location) -> None:
    if shutil.disk_usage(Path(out.name).parent).free < RESERVE + size:
        folder = Path(out.name).parent
        what = f"{location.name} does not fit on the disk of {folder}"
        raise DataError(what, where=str(location), fix="free some space there, or unpack it yourself and name the file")


def _damaged(location: Location, error: BaseException) -> DataError:
    reason = str(error) or type(error).__name__
    fix = "is the file whole? fetch it again, or unpack it yourself and name what is in it"
    return DataError(f"{location.name} cannot be unpacked: {reason}", where=str(location), fix=fix)


@contextmanager
def _unpacked(location: Location) -> Iterator[IO[bytes] | gzip.GzipFile]:
    if location.member:
        with zipfile.ZipFile(location.path) as zipped, zipped.open(location.member) as stream:
            yield stream
    elif _is_gzip(location.path):
        with gzip.open(location.path) as stream:
            yield stream
    else:
        with location.path.open("rb") as stream:
            yield stream


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _free(folder: Path, name: str) -> Path:
    """A path in the folder that no other raw file of the same name has taken."""
    taken = sum(1 for _ in folder.glob(f"*-{glob.escape(name)}"))
    return folder / f"{taken}-{name}"


@dataclass(frozen=True)
class _Scan:
    encoding: str
    mixed_newlines: bool
    head: str
    quoted_lines: tuple[str, ...]
    long_lines: bool


def _scan(path: Path) -> _Scan:
    """One pass over the bytes: is it UTF-8, are the line ends of one kind, how does it begin, where are quotes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    valid, long, lines, returns, quoted, head = True, False, 0, 0, list[bytes](), b""
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK) + stream.readline(CHUNK):
            head = head or chunk[:HEAD]
            long = long or _has_long(chunk)
            lines += chunk.count(b"\n")
            returns += chunk.count(b"\r\n")
            if len(quoted) < QUOTED_LINES and b'"' in chunk:
                quoted += [line for line in chunk.splitlines() if b'"' in line and len(line) < LINE]
            try:
                valid and decoder.decode(chunk)
            except UnicodeDecodeError:
                valid = False
    marked = next((name for bom, name in BOMS.items() if head.startswith(bom)), "")
    encoding = marked or ("utf-8" if valid else FALLBACK)
    return _Scan(encoding, returns not in (0, lines), _text(head), tuple(_text(q) for q in quoted[:QUOTED_LINES]), long)


def _has_long(chunk: bytes) -> bool:
    at = 0
    while at + LONG < len(chunk):
        at = chunk.rfind(b"\n", at, at + LONG) + 1 or len(chunk) + 1
    return at > len(chunk)


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _decoded(path: Path, encoding: str, location: Location, target: Path) -> Path:
    """The same text as UTF-8 with plain line ends, piece by piece."""
    try:
        with path.open(encoding=encoding) as source, target.open("w", encoding="utf-8", newline="\n") as out:
            while piece := source.read(CHUNK):
                _room(out, 2 * len(piece), location)
                out.write(piece)
    except (UnicodeError, LookupError) as error:
        raise DataError(
            f"{location.name} is not {encoding}: {error}", where=str(location), fix='set encoding = "latin-1" or "auto"'
        ) from error
    return target


def distinct_names(inputs: Sequence[Input]) -> list[str]:
    """What each file is called in the rejects: its name, or its whole path where two have the same name."""
    names = [each.file.location.name for each in inputs]
    return names if len(set(names)) == len(names) else [str(each.file.location) for each in inputs]
