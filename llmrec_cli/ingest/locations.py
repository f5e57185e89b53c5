"""Which raw files a setting names: files, members of archives, folders, patterns, and what came by a pipe."""

from __future__ import annotations

import difflib
import glob
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from llmrec_cli.core.disk import disk_errors
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.registry import load_function

CHUNK = 1 << 20
UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError)
"""What reading a damaged packed file raises."""
PIPE = Path("-")
STDIN = "stdin.raw"
"""What came in by the pipe, in the folder of the settings."""
WORKBOOK = "xl/workbook.xml"
"""What an Excel file holds, which is a zip file."""
FETCH = {
    "http": "curl -LO",
    "https": "curl -LO",
    "s3": "aws s3 cp --recursive",
    "gs": "gcloud storage cp -r",
    "hdfs": "hdfs dfs -get",
}


@dataclass(frozen=True)
class Location:
    """A file, a member of a zip file, or a sheet of an Excel file."""

    path: Path
    member: str = ""
    partition: tuple[tuple[str, str], ...] = ()
    """Columns that the names of its folders give, as `day=2024-03-01`."""

    @property
    def name(self) -> str:
        return Path(self.member or self.path).name

    def __str__(self) -> str:
        return f"{self.path}#{self.member}" if self.member else str(self.path)


def locate(path: str | Sequence[str], base: Path, *, every: bool = False) -> list[Location]:
    """Every file that a `path` setting names, in its order; those of a folder or a glob in the order of names.

    Raises DataError with near matches where there is no such file or member; with `every`, an archive named without a
    member stands for all of them.
    """
    entries = [path] if isinstance(path, str) else path
    return [location for entry in entries for location in _locate_one(entry, base, every)]


def _locate_one(entry: str, base: Path, every: bool) -> list[Location]:
    _check_no_address(entry)
    if entry == str(PIPE):
        fix = "pipe the log into it: cat log.csv | llmrec clean"
        return [Location(_existing(base / STDIN, f"the log comes from a pipe ({entry!r}), and nothing came yet", fix))]
    name, hash_, member = entry.partition("#")
    if hash_ and name.lower().endswith((".zip", ".xlsx", ".xlsm")):
        archive = _existing(base / name)
        return [Location(archive, _member(archive, member))]
    full = base / entry
    if full.is_dir():
        return [each for path in _tables_in(full) for each in _whole(path, full, every)]
    if not full.exists() and glob.has_magic(entry):
        found = sorted(Path(p) for p in glob.glob(str(full), recursive=True) if Path(p).is_file())
        if not found:
            raise DataError(f"no file matches {entry!r}", where=str(base), fix=_near(full))
        fixed = next(parent for parent in full.parents if not glob.has_magic(str(parent)))
        return [each for path in found for each in _whole(path, fixed, every)]
    return _whole(full, full.parent, every)


def _check_no_address(entry: str) -> None:
    if address := re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+):/+(?=[^/])", entry):
        kind, rest = address[1].lower(), entry[address.end() :]
        fix = f"fetch it first: {FETCH.get(kind, 'download')} {kind}://{rest}{'' if kind.startswith('http') else ' .'}"
        raise DataError("an address is not read, only files on this machine", where=f"{kind}://{rest}", fix=fix)


def _tables_in(folder: Path) -> list[Path]:
    """The files below a folder, by name, without those that are hidden or named as markers (`_SUCCESS`)."""
    below = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = [p for p in below if not any(part[0] in "._" for part in p.relative_to(folder).parts)]
    if not found:
        fix = "name a folder with CSV, JSON or Parquet files, or one file"
        raise DataError(f"there is no file in the folder {folder.name!r}", where=str(folder), fix=fix)
    return found


def _whole(path: Path, root: Path, every: bool) -> list[Location]:
    """A file, or the only member of an archive, or all, with the columns of its folders' names below `root`."""
    file, folders = _existing(path), path.relative_to(root).parts[:-1]
    named = (part.partition("=") for part in folders if "=" in part)
    values = tuple((name, "" if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)) for name, _, value in named)
    if not zipfile.is_zipfile(file):
        return [Location(file, "", values)]
    return [Location(file, name, values) for name in (members(file) if every else [_member(file, "")])]


def _existing(path: Path, what: str = "", fix: str = "") -> Path:
    if path.is_file():
        return path.resolve()
    if path.exists():
        what = f"{path.name!r} is no regular file but a pipe, a socket or a device"
        raise DataError(what, where=str(path.parent), fix="write what comes out of it into a file first")
    raise DataError(what or f"there is no file {path.name!r}", where=str(path.parent), fix=fix or _near(path))


def spool(stream: IO[bytes], base: Path) -> None:
    """Keep what comes by a pipe as a file beside the settings, where "-" finds it; nothing changes if nothing comes."""
    if chunk := stream.read(CHUNK):
        target = base / f"{STDIN}.part"
        with disk_errors(target, "a writable folder"):
            base.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                while chunk:
                    out.write(chunk)
                    chunk = stream.read(CHUNK)
            target.replace(base / STDIN)


def named(location: Location, given: Path, folder: Path) -> tuple[str, str]:
    """How the settings in `folder` name a file, and by which pattern those like it; "" for what was named itself."""
    if given == PIPE:
        return str(PIPE), ""
    path = _from(folder, location.path) + (f"#{location.member}" if location.member else "")
    if location.member or given.is_file():
        return path, ""
    if not given.is_dir():
        return path, _from(folder, given)
    depth = len(location.path.relative_to(given.resolve()).parts) - 1
    return path, _from(folder, given.joinpath(*"*" * depth, f"*{location.path.suffix}"))


def _from(folder: Path, file: Path) -> str:
    """The path as the settings in `folder` name it: relative where it is near."""
    near = os.path.relpath(file.absolute(), folder.absolute())
    return near if near.count("..") < 3 else str(file.absolute())


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
    """The files inside a zip file, or the sheets of an Excel file."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            names = [info.filename for info in zipped.infolist() if not info.is_dir()]
    except (*UNREADABLE, ValueError) as error:
        raise damaged(Location(archive), error) from error
    return list(load_function("llmrec_cli.extras.conversions:sheets")(archive)) if WORKBOOK in names else names


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


def damaged(location: Location, error: BaseException) -> DataError:
    """That a file or member cannot be unpacked, and why."""
    reason = str(error) or type(error).__name__
    fix = "is the file whole? fetch it again, or unpack it yourself and name what is in it"
    return DataError(f"{location.name} cannot be unpacked: {reason}", where=str(location), fix=fix)
