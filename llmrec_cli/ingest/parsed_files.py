"""What was read of raw files, kept by their content: of a log that grows day by day only the new files are read.

A file here has the columns that `clean` uses, as text, and the times in them. Rows of forgotten people are
empty in it, and pseudonyms stand for ids where they do in the tables.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmrec_cli.core.disk import fingerprint, move_into_place, remove
from llmrec_cli.core.pseudonyms import People
from llmrec_cli.ingest import people as ids
from llmrec_cli.ingest.clean_config import CleanConfig
from llmrec_cli.ingest.dialect import Dialect
from llmrec_cli.ingest.engine_checks import TIME
from llmrec_cli.ingest.locations import Location, locate
from llmrec_cli.ingest.raw_files import Input, RawFile, distinct_names
from llmrec_cli.ingest.raw_log import ColumnMapping, RawLog
from llmrec_cli.ingest.sql import literal, quoted

if TYPE_CHECKING:
    from llmrec_cli.ingest.engine import Engine

REVISION = 1
"""Raised when files are read in another way."""
GONE = "#forgotten"
COLUMNS = "columns"
"""Under which the names of all columns of the raw file stand in the metadata."""


@dataclass(frozen=True)
class ParsedFiles:
    """The folder of one log."""

    engine: Engine
    folder: Path
    config: CleanConfig
    people: People | None

    def open(self, base: Path) -> list[Input]:
        """Every file of the log, those that are here without a look at them."""
        log = self.config.interactions
        locations = locate(log.path or "", base)
        return [
            self._known(location, key) or self.engine.open_one(location, log, sequences=log.layout == "sequences")
            for location, key in zip(locations, self._keys(locations), strict=True)
        ]

    def raw(
        self, inputs: Sequence[Input], columns: Sequence[str], mapping: ColumnMapping
    ) -> tuple[str, pa.Table | None]:
        """The log as `Engine.raw` makes it, with times, and the rows of forgotten people.

        Files that are not here are read and kept; those that are not of this log are removed.
        """
        files = []
        for each, key in zip(inputs, self._keys([each.file.location for each in inputs]), strict=True):
            here = each.file.path.parent == self.folder
            files.append(each.file.path if here else self._parse(each, columns, mapping, key))
        for old in {*self.folder.iterdir()} - {*files}:
            remove(old)
        name = self.engine.name()
        before, sources, total = [], distinct_names(inputs), 0
        for file in files:
            before.append(total)
            total += pq.read_metadata(file).num_rows
        paths = [literal(str(file)) for file in files]
        first, source = (
            f"MAP {{{', '.join(f'{path}: {value}' for path, value in zip(paths, values, strict=True))}}}[filename]"
            for values in (before, map(literal, sources))
        )
        table = f"read_parquet([{', '.join(paths)}], filename=true, hive_partitioning=false)"
        numbered = f'{source} AS "#source", {first} + "#row" AS "#source_row"'
        self.engine.rows(f'CREATE TEMP VIEW {name} AS SELECT * EXCLUDE (filename, "{GONE}"), {numbered} FROM {table}')
        gone = self.engine.arrow(
            self.engine.frame(f'SELECT {first} + "#row" AS source_row FROM {table} WHERE "{GONE}"')
        )
        return name, gone if gone.num_rows else None

    def _keys(self, locations: Sequence[Location]) -> list[str]:
        """What each file is called here: by its content, how it is read, and which of several copies it is."""
        config, who = self.config, self.people
        reading = {
            "revision": REVISION,
            "log": config.interactions.model_dump(mode="json", exclude={"path"}),
            "described": [each.described() for each in (config.items, config.users) if each.path is None],
            "people": [who.key.check, who.pseudonymise, sorted(who.gone)] if who else [],
        }
        copies: Counter[tuple[Any, ...]] = Counter()
        keys = []
        for location in locations:
            content = fingerprint(location.path), location.member, location.partition
            copies[content] += 1
            text = json.dumps([reading, content, copies[content]], sort_keys=True)
            keys.append(hashlib.sha256(text.encode()).hexdigest()[:32])
        return keys

    def _known(self, location: Location, key: str) -> Input | None:
        """The file where it is here, whole."""
        for path in self.folder.glob(f"{key}-*.parquet"):
            if path.stem.endswith(f"-{fingerprint(path)}"):
                columns = json.loads(pq.read_metadata(path).metadata[COLUMNS.encode()])
                return Input(RawFile(location, path, "", "", parquet=True), Dialect("parquet", tuple(columns)))
        return None

    def _parse(self, each: Input, columns: Sequence[str], mapping: ColumnMapping, key: str) -> Path:
        """Read a file and keep what is used of it."""
        raw = self.engine.raw([each], columns)
        gone = ids.protect(self.engine, raw, mapping.user, self.people) if self.people else None
        time = RawLog(self.engine, raw, mapping).cells()["time"]
        named = pa.table({"source_row": pa.array([], pa.int64())}) if gone is None else gone
        chosen = ", ".join(map(quoted, ["#row", "#parsable", *columns]))
        theirs = f'"#source_row" IN (SELECT source_row FROM gone) AS "{GONE}"'
        rows = f'SELECT {chosen}, {time} AS "{TIME}", {theirs} FROM {raw} ORDER BY "#row"'
        about = literal(json.dumps(each.dialect.columns))
        new = self.folder / f".tmp-{os.getpid()}-{key}"
        options = f"FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{COLUMNS}: {about}}}"
        self.engine.change(f"COPY ({rows}) TO {literal(str(new))} ({options})", gone=named)
        self.engine.rows(f"DROP TABLE {raw}")
        final = self.folder / f"{key}-{fingerprint(new)}.parquet"
        move_into_place(new, final)
        return final
