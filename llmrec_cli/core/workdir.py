"""The work directory: checked, atomic reading and writing of artifacts, fingerprints, records and the lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmrec_cli.core import records
from llmrec_cli.core.artifacts import Artifact, Folder, Table
from llmrec_cli.core.disk import (
    disk_errors,
    fingerprint,
    fsync_tree,
    move_into_place,
    remove,
    remove_leftovers,
    write_atomically,
)
from llmrec_cli.core.errors import LockedError, UpstreamError
from llmrec_cli.core.parquet import conform, encodings, same_type, verify
from llmrec_cli.core.records import Json

SHARDS = ".shards"
"""The folder of a stage whose work is shared out, for parts that are finished."""


class WorkDir:
    """One folder that holds all artifacts of one project, `WORK/<stage>/<name>`."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def where(self, artifact: Artifact) -> Path:
        return self.path / artifact.path

    def has(self, artifact: Artifact) -> bool:
        """Whether a folder is there for a Folder, and a file for anything else."""
        path = self.where(artifact)
        return path.is_dir() if isinstance(artifact, Folder) else path.is_file()

    def need(self, artifact: Artifact) -> Path:
        """The path of an artifact that must exist; UpstreamError with the command that makes it otherwise."""
        path = self.where(artifact)
        if not self.has(artifact):
            kind = "folder" if isinstance(artifact, Folder) else "file"
            what = f"is no {kind}" if os.path.lexists(path) else f"is missing: `{artifact.stage}` has not been run here"
            raise self.upstream(f"{artifact.path} {what}", artifact.stage)
        return path

    def upstream(self, what: str, stage: str) -> UpstreamError:
        """An error that another run of `stage` repairs."""
        return UpstreamError(what, where=str(self.path), fix=f"llmrec {stage}   (or `llmrec run` for all stages)")

    # --- tables -------------------------------------------------------------------------------------------------

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole table (or some columns) in memory; UpstreamError where it is missing or damaged."""
        path = self.need(table)
        try:
            data = pq.read_table(path, columns=list(columns) if columns else None)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._damaged(table, str(error).splitlines()[0]) from error
        wanted = [table.schema.field(name) for name in columns] if columns else list(table.schema)
        for field in wanted:
            if field.name not in data.column_names or not same_type(data.schema.field(field.name).type, field.type):
                raise self._damaged(table, f"column {field.name!r} should be {field.type}")
        return data

    def batches(
        self, table: Table, rows: int = 65536, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The table (or some columns) in pieces, for what may be larger than memory; UpstreamError as `read` does."""
        path = self.need(table)
        try:
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(rows, columns=list(columns) if columns else None)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._damaged(table, str(error).splitlines()[0]) from error

    def write(self, table: Table, data: pa.Table) -> None:
        """Write the whole table atomically, after checking columns, types and key."""
        with self.writer(table) as append:
            append(data)

    @contextmanager
    def writer(self, table: Table) -> Iterator[Callable[[pa.Table], None]]:
        """Write a table in pieces: `append(piece)`; the file appears, whole, when the block ends without error."""
        sink: pq.ParquetWriter | None = None
        with self.writing(table) as path:

            def append(piece: pa.Table) -> None:
                nonlocal sink
                conformed = conform(table, piece)
                if sink is None:
                    sink = pq.ParquetWriter(path, conformed.schema, **encodings(conformed.schema))
                sink.write_table(conformed)

            try:
                yield append
                if sink is None:
                    append(table.schema.empty_table())
            finally:
                if sink is not None:
                    sink.close()

    # --- anything -----------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, artifact: Artifact) -> Iterator[Path]:
        """A temporary path by the artifact (a fresh folder for a Folder); it takes the artifact's place at the end.

        After an error the old artifact is unchanged. Tables that an engine wrote itself are checked too.
        The record of the stage is removed when the new artifact takes its place, not before.
        """
        final = self.where(artifact)
        temporary = final.with_name(f".tmp-{os.getpid()}-{final.name}")
        with disk_errors(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            remove(temporary)
            if isinstance(artifact, Folder):
                temporary.mkdir()
            try:
                yield temporary
                if isinstance(artifact, Table):
                    verify(artifact, temporary)
                fsync_tree(temporary)
                self.unsign(artifact.stage)
                if final.is_dir() or isinstance(artifact, Folder):
                    remove(final)
                os.replace(temporary, final)
            finally:
                remove(temporary)

    def take_over(self, other: WorkDir, artifacts: Sequence[Artifact]) -> None:
        """Put what another work directory on the same disk has of these in the place of what is here, by renaming."""
        for artifact in artifacts:
            if other.has(artifact):
                self.unsign(artifact.stage)
                move_into_place(other.where(artifact), self.where(artifact))

    def remove(self, artifact: Artifact) -> None:
        """Remove an artifact, and with it the record that it was there."""
        if os.path.lexists(self.where(artifact)):
            self.unsign(artifact.stage)
            remove(self.where(artifact))

    def scratch(self, stage: str, ticket: str) -> Path:
        """A folder for checkpoints and shards of one ticket; those of other tickets are removed."""
        parent = self.path / stage / ".scratch"
        if parent.is_dir():
            for old in parent.iterdir():
                if old.name != ticket[:16]:
                    remove(old)
        folder = parent / ticket[:16]
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_scratch(self, stage: str) -> None:
        remove(self.path / stage / ".scratch")

    def fingerprint(self, artifact: Artifact) -> str:
        """sha256 of a file, or of the names and contents of all files in a folder."""
        return fingerprint(self.need(artifact))

    # --- records ------------------------------------------------------------------------------------------------

    def record(self, stage: str) -> Json | None:
        """The record of the last finished run of the stage; None where there is none or it is invalid."""
        try:
            return records.read(self._record(stage))
        except records.InvalidRecordError:
            return None

    def record_problem(self, stage: str) -> str:
        """Why the record is invalid; empty where it is valid, or where there is none."""
        try:
            records.read(self._record(stage))
        except records.InvalidRecordError as error:
            return str(error)
        return ""

    def sign(self, stage: str, record: Json) -> None:
        """Write the record, last of all: its existence means that the artifacts of the stage are complete."""
        write_atomically(self._record(stage), records.signed(record))

    def unsign(self, stage: str) -> None:
        """Remove the record: the artifacts of the stage are about to change."""
        remove(self._record(stage))

    def _record(self, stage: str) -> Path:
        return self.path / stage / "record.json"

    # --- lock ---------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, wait: float = 0.0) -> Iterator[None]:
        """Hold the work directory for this process; LockedError names the process that holds it."""
        import filelock

        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.path / ".lock", timeout=wait)
            holder = self.path / ".lock-holder"
            try:
                lock.acquire()
            except filelock.Timeout as error:
                who = holder.read_text(encoding="utf-8").strip() if holder.is_file() else "another process"
                raise LockedError(
                    f"the work directory is in use by {who}",
                    where=str(self.path),
                    fix="wait for it to end, or use another --work directory",
                ) from error
            try:
                remove(holder)
                remove_leftovers(self.path)
                holder.write_text(f"process {os.getpid()} on {os.uname().nodename}\n", encoding="utf-8")
                yield
            finally:
                holder.unlink(missing_ok=True)
                lock.release()

    def _damaged(self, artifact: Artifact, why: str) -> UpstreamError:
        return UpstreamError(
            f"{artifact.path} is damaged: {why}", where=str(self.path), fix=f"llmrec {artifact.stage} --force"
        )


def outermost(work: Path) -> Path:
    """The work directory that a backtest lies in; any other itself."""
    outer = work.absolute()
    while outer.parent.name == "evaluate":
        outer = outer.parent.parent
    return outer


def vectors(rows: Any) -> pa.FixedSizeListArray:
    """A float32 array of shape (n, d) as the Arrow type of every vector column."""
    import numpy as np

    block = np.ascontiguousarray(rows, dtype=np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), block.shape[1])


def to_numpy(column: pa.ChunkedArray) -> Any:
    """A vector column as a float32 array of shape (n, d); (0, 0) for an empty one."""
    import numpy as np

    combined = column.combine_chunks()
    if len(combined) == 0:
        return np.zeros((0, 0), dtype=np.float32)
    # a copy: Arrow's own memory is read-only, which torch does not take
    return np.array(combined.flatten().to_numpy(zero_copy_only=False)).reshape(len(combined), -1)
