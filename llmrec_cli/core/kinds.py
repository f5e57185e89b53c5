"""Kinds of artifacts, and how each of them forgets a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import pyarrow as pa


class Forgets(Enum):
    """How an artifact forgets a person (`llmrec forget`). Each must say so: one with a `user_id` by ROWS."""

    ROWS = "the person's rows are taken out"
    MODELS = "what keeps people's events is made again without them, or removed; the rest is marked as stale"
    REMOVED = "it is removed, to be made again without the person"
    LEARNT = "made of everyone, with no row of a person: marked as stale until it is made again"
    NOBODY = "it says nothing of people"


@dataclass(frozen=True)
class Table:
    """A Parquet file `WORK/<stage>/<name>.parquet`. An optional one is written only where there is such content."""

    stage: str
    name: str
    about: str
    key: tuple[str, ...]
    schema: pa.Schema
    optional: bool = False
    forgets: Forgets = field(kw_only=True)

    @property
    def path(self) -> str:
        return f"{self.stage}/{self.name}.parquet"


@dataclass(frozen=True)
class _NoTable:
    stage: str
    name: str
    about: str
    optional: bool = False
    forgets: Forgets = field(kw_only=True)

    @property
    def path(self) -> str:
        return f"{self.stage}/{self.name}"


class Folder(_NoTable):
    """A folder `WORK/<stage>/<name>/`: a saved model (`config.json` + `*.safetensors`) or generated files."""


class File(_NoTable):
    """A single file that is no table, `WORK/<stage>/<name>`."""


Artifact = Table | Folder | File
