"""A work directory that is only read: for estimates, questions, and the worker processes of a distributed training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from llmrec_cli.core.artifacts import Artifact, Folder, Table
from llmrec_cli.core.disk import size
from llmrec_cli.core.workdir import WorkDir


class ReadOnly(WorkDir):
    """Artifacts are read as usual; what is written is discarded, and tables are written for estimates alone."""

    def __init__(self, work: WorkDir, scratch: Path | None) -> None:
        super().__init__(work.path)
        self.own_scratch, self.discarded = scratch, 0
        """A folder of its own, for estimates; and the bytes that were discarded."""

    @contextmanager
    def writer(self, table: Table) -> Iterator[Callable[[pa.Table], None]]:
        if self.own_scratch is None:
            yield lambda piece: None
            return
        with super().writer(table) as append:
            yield append

    @contextmanager
    def writing(self, artifact: Artifact) -> Iterator[Path]:
        with TemporaryDirectory(prefix="llmrec-") as away:
            path = Path(away) / Path(artifact.path).name
            if isinstance(artifact, Folder):
                path.mkdir(parents=True)
            yield path
            self.discarded += size(path)

    def remove(self, artifact: Artifact) -> None:
        pass

    def scratch(self, stage: str, ticket: str) -> Path:
        """A folder of its own, or that of the process that writes, which alone removes old ones."""
        folder = self.own_scratch or self.path / stage / ".scratch" / ticket[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@contextmanager
def read_only(work: WorkDir, *, own_scratch: bool) -> Iterator[ReadOnly]:
    """The same artifacts in a work directory that cannot be written."""
    if not own_scratch:
        yield ReadOnly(work, None)
        return
    with TemporaryDirectory(prefix="llmrec-") as scratch:
        yield ReadOnly(work, Path(scratch))
