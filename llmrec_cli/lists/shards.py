"""Shards of `recommend`: the lists of some blocks of users, made by any process and put together in order.

A shard is a folder `WORK/recommend/.shards/3-of-7` that takes its name when it is whole. Many processes make shards at
once, on any machine that sees the work directory, without its lock: a shard is of the ticket that it was begun with.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from llmrec_cli.core import records
from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.artifacts import EXCLUSIONS, LIST_TEXTS, RECOMMENDATIONS
from llmrec_cli.core.disk import disk_errors, fingerprint, move_into_place, remove, write_atomically
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.parquet import conform
from llmrec_cli.core.stage import State
from llmrec_cli.core.ticket import difference
from llmrec_cli.core.workdir import SHARDS, WorkDir

if TYPE_CHECKING:
    from llmrec_cli.lists.build import Lists

FORMAT = "llmrec.shard/1"
RECORD, LISTS = "record.json", "lists.npz"
TABLES = {"rows": RECOMMENDATIONS, "texts": LIST_TEXTS, "exclusions": EXCLUSIONS}
"""Part of a piece -> what it is rows of; its file is called after the part."""
COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")
NAMED = 20
"""Missing shards that are named one by one."""


class Piece(NamedTuple):
    """What is written of a block of users."""

    rows: pa.Table
    """Of `recommendations`."""
    texts: pa.Table | None
    """Of `list_texts`, where there are any."""
    exclusions: pa.Table | None
    """Of `exclusions`, where they are logged."""
    lists: Lists
    """What the report looks at: without scores and shares where it was read."""


class Counts(NamedTuple):
    """What adds up over shards, for the report."""

    users: int
    faults: dict[str, int]
    """Of `ListTexts`."""
    left_out: dict[str, int]
    """Rule -> candidates that it took out, where it is checked on candidates."""


@dataclass(frozen=True, order=True)
class Shard:
    """Part `number` of `of`, counted from 1."""

    of: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "3/7"; SettingsError for anything else."""
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise SettingsError(f"{text!r} is no shard", where="--shard", fix="--shard 3/7 is the third of seven")
        return cls(int(of), int(number))

    @classmethod
    def of_folder(cls, path: Path) -> Self:
        return cls.parse(path.name.replace("-of-", "/"))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def part(self, all_of: range) -> range:
        """This shard's of all."""
        return all_of[(self.number - 1) * len(all_of) // self.of : self.number * len(all_of) // self.of]


class _Record(BaseModel, frozen=True, extra="forbid"):
    format: Literal["llmrec.shard/1"]
    ticket: str
    parts: records.Parts
    files: dict[str, str]
    """Name -> sha256."""
    counts: Counts
    core_seconds: float


def _read(shard: Shard, path: Path) -> _Record:
    with suppress(records.InvalidRecordError):
        if found := records.read(path / RECORD, _Record, FORMAT):
            return _Record.model_validate(found)
    raise _damaged(shard, path)


def _damaged(shard: Shard, path: Path) -> DataError:
    return DataError(f"shard {shard} is damaged", where=str(path), fix=f"rm -r {path}, and make it again")


@dataclass(frozen=True)
class Shards:
    """The finished shards of a work directory, all of one ticket and one count."""

    folder: Path
    made: dict[Shard, _Record]
    """In order."""

    @classmethod
    def of(cls, work: WorkDir, now: State) -> Self:
        """DataError for a shard that is damaged, or of another ticket or another count than the others."""
        found = cls(work.path / "recommend" / SHARDS, {})
        for shard, path in sorted((Shard.of_folder(path), path) for path in found.folder.glob("[0-9]*-of-[0-9]*")):
            record = found.made[shard] = _read(shard, path)
            if record.ticket != now.ticket:
                why = difference(record.parts.model_dump(), now.parts)
                raise found.mismatch(f"shard {shard} was made for other lists: {why}", "use the settings of then")
            if shard.of != found.count:
                raise found.mismatch(f"there are shards of {found.count} and of {shard.of}", "keep those of one count")
        return found

    @property
    def count(self) -> int:
        """How many there should be; 0 where there are none."""
        return next((shard.of for shard in self.made), 0)

    @property
    def missing(self) -> list[int]:
        return [n for n in range(1, self.count + 1) if Shard(self.count, n) not in self.made]

    def mismatch(self, what: str, fix: str) -> DataError:
        """That the shards here do not fit."""
        return DataError(what, where=str(self.folder), fix=f"{fix}, or begin anew: rm -r {self.folder}")

    def check_complete(self) -> None:
        """DataError that names the missing shards and the command that makes them, or one that is damaged."""
        if not self.made:
            fix = "make some first: llmrec recommend --shard 1/2 && llmrec recommend --shard 2/2"
            raise DataError("there are no shards to gather", where=str(self.folder), fix=fix)
        if missing := self.missing:
            named, left = [str(n) for n in missing[:NAMED]], len(missing) - NAMED
            more = f" and {left:,} more" if left > 0 else ""
            raise DataError(
                f"{len(missing):,} of {self.count:,} shards are missing: {', '.join(named)}{more}",
                where=str(self.folder),
                fix=f"for i in {' '.join(named)}; do llmrec recommend --shard $i/{self.count}; done"
                "   (with the options of the others)",
            )
        for shard, record in self.made.items():
            for file, sha256 in record.files.items():
                if not (path := self.path(shard) / file).is_file() or fingerprint(path) != sha256:
                    raise _damaged(shard, self.path(shard))

    def path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.number}-of-{shard.of}"

    def add_to(self, faults: Counter[str], left_out: dict[str, Ints]) -> None:
        """What the shards counted, to what a run counts."""
        for record in self.made.values():
            faults.update(record.counts.faults)
            for rule, n in record.counts.left_out.items():
                left_out[rule] = left_out.get(rule, np.zeros(1, dtype=np.int64)) + n

    @property
    def core_seconds(self) -> float:
        return sum(record.core_seconds for record in self.made.values())

    @contextmanager
    def writing(self, shard: Shard) -> Iterator[Path]:
        """A folder that becomes the shard at the end.

        Its name differs from what the holder of the lock removes as left over: it may be another machine's.
        """
        temporary = self.folder / f".making-{os.uname().nodename}-{os.getpid()}-{shard.number}-of-{shard.of}"
        with disk_errors(temporary):
            remove(temporary)
            temporary.mkdir(parents=True)
            try:
                yield temporary
                move_into_place(temporary, self.path(shard))
            finally:
                remove(temporary)

    def pieces(self) -> Iterator[Piece]:
        """The blocks of all shards in order, as they were made."""
        from llmrec_cli.lists.build import Lists

        for folder in map(self.path, self.made):
            with np.load(folder / LISTS) as lists:
                ends, items, carriers = np.cumsum(lists["sizes"]), lists["items"], lists["carriers"]
            with ExitStack() as files:
                paths = {name: path for name in TABLES if (path := folder / f"{name}.arrow").exists()}
                maps = {name: files.enter_context(pa.memory_map(str(path))) for name, path in paths.items()}
                tables = {name: pa.ipc.open_file(each) for name, each in maps.items()}
                for block, (start, end) in enumerate(pairwise([0, *ends])):
                    parts = {name: pa.Table.from_batches([each.get_batch(block)]) for name, each in tables.items()}
                    known = Lists(
                        items[start:end], np.broadcast_to(np.float32(0), items[start:end].shape), carriers[start:end]
                    )
                    yield Piece(parts["rows"], parts.get("texts"), parts.get("exclusions"), known)


def write(folder: Path, pieces: Iterable[Piece]) -> int:
    """A shard's users: a record batch for each block, so that gathering appends the very blocks of an ordinary run."""
    from llmrec_cli.lists.build import joined

    lists: list[Lists] = []
    with ExitStack() as files:
        sinks: dict[str, Any] = {}
        for piece in pieces:
            for name, table in TABLES.items():
                rows = getattr(piece, name)
                if rows is None:
                    continue
                columns = conform(table, rows)
                if name not in sinks:
                    made = pa.ipc.new_file(folder / f"{name}.arrow", columns.schema, options=COMPRESSED)
                    sinks[name] = files.enter_context(made)
                whole = [column.combine_chunks() for column in columns.columns]
                sinks[name].write_batch(pa.record_batch(whole, schema=columns.schema))
            lists.append(piece.lists)
    sizes = np.array([len(each.items) for each in lists], dtype=np.int64)
    items, carriers = (joined(lists).items, joined(lists).carriers) if lists else (sizes, sizes)
    np.savez(folder / LISTS, sizes=sizes, items=items, carriers=carriers.astype(np.int16))
    return int(sizes.sum())


def sign(folder: Path, now: State, counts: Counts, core_seconds: float) -> None:
    """Write the record of a shard, when all of it is there."""
    files = {path.name: fingerprint(path) for path in sorted(folder.iterdir())}
    record = {"format": FORMAT, "ticket": now.ticket, "parts": now.parts, "files": files, "counts": counts._asdict()}
    write_atomically(folder / RECORD, records.signed({**record, "core_seconds": round(core_seconds, 3)}))
