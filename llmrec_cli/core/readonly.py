"""A work directory to look at only: for estimates, and for the processes that help another one train."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from llmrec_cli.core.artifacts import Artifact, Folder, Table
from llmrec_cli.core.workdir import WorkDir


class ReadOnly(WorkDir):
    """Artifacts are read as ever; what is written goes into a folder that is thrown away, tables nowhere."""

    def __init__(self, work: WorkDir, away: Path, *, own_scratch: bool) -> None:
        super().__init__(work.path)
        self.away, self.own_scratch = away, own_scratch

    @contextmanager
    def writer(self, table: Table) -> Iterator[Callable[[pa.Table], None]]:
        yield lambda piece: None

    @contextmanager
    def writing(self, artifact: Artifact) -> Iterator[Path]:
        path = self.away / artifact.path
        (path if isinstance(artifact, Folder) else path.parent).mkdir(parents=True, exist_ok=True)
        yield path

    def remove(self, artifact: Artifact) -> None:
        pass

    def scratch(self, stage: str, ticket: str) -> Path:
        """A folder of its own, or the one that the writing process uses, which alone clears away old ones."""
        folder = (self.away if self.own_scratch else self.path) / stage / ".scratch" / ticket[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@contextmanager
def read_only(work: WorkDir, *, own_scratch: bool) -> Iterator[WorkDir]:
    """The same artifacts in a work directory that does not change."""
    with TemporaryDirectory(prefix="llmrec-") as away:
        yield ReadOnly(work, Path(away), own_scratch=own_scratch)
