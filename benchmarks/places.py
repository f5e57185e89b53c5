"""Where the targets of all users stood, kept seed by seed: seeds that were measured on different days make one row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Json
from benchmarks.ranking import K

Ints = np.ndarray
Places = Mapping[str, Mapping[str, Ints]]
"""By "filtered" and "unfiltered", then by system: (users,) the place of each user's target, from 0."""
RECORD = b"told"


@dataclass(frozen=True)
class Seed:
    """One training: what is reported of it, and the places up to K; all that lies behind is K."""

    record: Json
    places: Places


def settings_digest(*parts: object) -> str:
    """What seeds must have in common to be of one row, as a digest."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def keep(folder: Path, row: str, record: Json, places: Places) -> None:
    """Write one seed; `told` has at least its "seed" and its "like"."""
    columns = {
        f"{how}/{system}": pa.array(np.minimum(ranks, K).astype(np.uint8))
        for how, systems in places.items()
        for system, ranks in systems.items()
    }
    table = pa.table(columns).replace_schema_metadata({RECORD: json.dumps(record, sort_keys=True)})
    folder.mkdir(parents=True, exist_ok=True)
    temporary = _file(folder, row, record["seed"]).with_suffix(".tmp")
    pq.write_table(table, temporary, compression="zstd", compression_level=19)
    temporary.replace(_file(folder, row, record["seed"]))


def kept(folder: Path, row: str, like: str) -> list[Seed]:
    """The seeds of a row that are alike, in their order."""
    found = [_read(path) for path in folder.glob(f"{_named(row)}-[0-9]*.parquet")]
    return sorted((seed for seed in found if seed.record["like"] == like), key=lambda seed: seed.record["seed"])


def _read(path: Path) -> Seed:
    table = pq.read_table(path)
    places: dict[str, dict[str, Ints]] = {}
    for name in table.column_names:
        how, _, system = name.partition("/")
        places.setdefault(how, {})[system] = table.column(name).to_numpy().astype(np.int64)
    return Seed(json.loads(table.schema.metadata[RECORD]), places)


def _named(row: str) -> str:
    """ "beauty, strict, without words" as a part of a file's name."""
    return row.replace(", ", "-").replace(" ", "-")


def _file(folder: Path, row: str, seed: int) -> Path:
    return folder / f"{_named(row)}-{seed}.parquet"
