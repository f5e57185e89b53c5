"""Files on disk: fingerprints, durable and atomic writes, removal, and clear messages for errors of the disk."""

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
    errno.EFBIG: (
        "a file would be larger than this user or file system may write",
        "raise `ulimit -f`, or choose {elsewhere}",
    ),
    errno.EROFS: ("the file system is read-only", "choose {elsewhere}"),
    errno.EACCES: ("no permission to write", "choose {elsewhere}, or change the permissions"),
    errno.EPERM: ("no permission to write", "choose {elsewhere}, or change the permissions"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "choose {elsewhere}"),
    errno.ENOENT: ("the folder cannot be made there", "choose {elsewhere}"),
    errno.EISDIR: ("a folder stands where a file is needed", "move it away, or choose {elsewhere}"),
    errno.EEXIST: ("a file stands where a folder is needed", "choose {elsewhere}"),
    errno.ENAMETOOLONG: ("the name is too long", "choose {elsewhere}"),
}
OTHER_WORK_DIRECTORY = "a writable folder with --work"
"""What to choose instead for artifacts; other files name the option that says where they are written."""


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
    except Exception as error:
        if full := full_disk(error, path):
            raise full from error
        raise


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
_CLOCK_TICK_NS = 100_000_000


def fingerprint(path: Path) -> str:
    """sha256 of a file's bytes; of a folder, over the relative names and contents of its files.

    DataError for anything else: reading a named pipe, say, would never end.
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
        if time.time_ns() - now.st_mtime_ns < _CLOCK_TICK_NS:
            return found
        _HASHED[key] = found
    return _HASHED[key]


def fsync_tree(path: Path) -> None:
    """Flush a file, or a folder with everything in it, to the disk, so that it survives a power cut."""
    for each in [*path.rglob("*")] if path.is_dir() else []:
        if each.is_dir() or each.is_file():
            fsync(each)
    fsync(path)


def fsync(path: Path) -> None:
    """Flush one file, or the names in one folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def move_into_place(temporary: Path, path: Path) -> None:
    """Rename a finished file to its final name, durably; what stood there, a folder too, is replaced."""
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
        fsync(path.parent)  # a record must not survive a power cut that its artifacts do not
        temporary.write_text(text, encoding="utf-8")
        move_into_place(temporary, path)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(each.stat().st_size for each in (path.rglob("*") if path.is_dir() else [path]) if each.is_file())


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, or nothing where there is neither."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the half-written files of killed processes anywhere in the folder: `.tmp-<process>-<name>`."""
    for left in [*folder.rglob(".tmp-[0-9]*-*")]:
        remove(left)
