"""Files as they lie on disk: fingerprints, what is forced onto it, what is removed, and its errors in a clear line."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmrec_cli.core.errors import DataError

DISK_ERRORS = {
    errno.ENOSPC: ("the disk is full", "free some space and run the same command again; finished stages are kept"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run the same command again"),
    errno.EROFS: ("the file system is read-only", "choose {elsewhere}"),
    errno.EACCES: ("no permission to write", "choose {elsewhere}, or mend the permissions"),
    errno.EPERM: ("no permission to write", "choose {elsewhere}, or mend the permissions"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "choose {elsewhere}"),
    errno.ENOENT: ("the folder cannot be made there", "choose {elsewhere}"),
    errno.EISDIR: ("a folder stands where a file is needed", "move it away, or choose {elsewhere}"),
    errno.EEXIST: ("a file stands where a folder is needed", "choose {elsewhere}"),
    errno.ENAMETOOLONG: ("the name is too long", "choose {elsewhere}"),
}
OTHER_WORK_DIRECTORY = "a writable folder with --work"
"""Where artifacts could lie instead. What lies elsewhere names the option of its own place."""


@contextmanager
def disk_errors(path: Path, elsewhere: str = OTHER_WORK_DIRECTORY) -> Iterator[None]:
    """Turn a full disk, a read-only folder and the like into one clear line; `elsewhere` is what to choose instead."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        what, fix = DISK_ERRORS[error.errno]
        raise DataError(f"cannot write: {what}", where=str(path), fix=fix.format(elsewhere=elsewhere)) from error


def full_disk(error: BaseException, path: Path) -> DataError | None:
    """A DataError where the cause is a full disk or quota, which libraries report as errors of their own kinds."""
    for code in (errno.ENOSPC, errno.EDQUOT):
        if getattr(error, "errno", None) == code or os.strerror(code) in str(error):
            what, fix = DISK_ERRORS[code]
            return DataError(f"cannot write: {what}", where=str(path), fix=fix)
    return None


# What was hashed in this process, by path, size, inode and time of the last change, so that no file is read twice.
_HASHED: dict[tuple[str, int, int, int], str] = {}
# A file that changed a moment ago may change again within the same tick of the file system's clock.
_SETTLED_NS = 100_000_000


def fingerprint(path: Path) -> str:
    """sha256 of a file's bytes; of a folder, over the relative names and contents of its files.

    DataError for what is neither: a named pipe, say, would be waited for without end.
    """
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        lines = [f"{p.relative_to(path).as_posix()} {fingerprint(p)}" for p in files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    now = path.stat()
    if not stat.S_ISREG(now.st_mode):
        raise DataError("this is neither a file nor a folder", where=str(path), fix="put a file there")
    key = (str(path.absolute()), now.st_size, now.st_ino, now.st_mtime_ns)
    if key not in _HASHED:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - now.st_mtime_ns < _SETTLED_NS:
            return found
        _HASHED[key] = found
    return _HASHED[key]


def fsync_tree(path: Path) -> None:
    """Have a file, or a folder with all that is in it, on the disk itself: a power cut must not take it back."""
    for each in [*path.rglob("*")] if path.is_dir() else []:
        if each.is_dir() or each.is_file():
            fsync(each)
    fsync(path)


def fsync(path: Path) -> None:
    """The same of one file, or of the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def move_into_place(temporary: Path, path: Path) -> None:
    """Give a finished file its name, on the disk itself; what stands there, a folder too, is whole until then."""
    fsync_tree(temporary)
    if path.is_dir():
        remove(path)
    os.replace(temporary, path)
    fsync(path.parent)


def write_atomically(path: Path, text: str) -> None:
    """Write a small file, and the folders on its way, with errors of the disk explained."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fsync(path.parent)  # that every file beside it has its name before this one says so
        temporary.write_text(text, encoding="utf-8")
        move_into_place(temporary, path)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, or nothing where there is neither."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written anywhere in the folder: `.tmp-<process>-<name>`."""
    for left in [*folder.rglob(".tmp-[0-9]*-*")]:
        remove(left)
