"""What was read of raw files, kept by their content: of a log that grows day by day only the new files are read.

A file here is a part of a spool: the columns that `clean` uses, as text, and the times and values in them. Rows of
forgotten people are empty in it, and pseudonyms stand for ids where they do in the tables.
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

from llmrec_cli.core.disk import fingerprint, move_into_place, remove
from llmrec_cli.core.pseudonyms import People
from llmrec_cli.ingest import spool
from llmrec_cli.ingest.clean_config import CleanConfig
from llmrec_cli.ingest.dialect import Dialect
from llmrec_cli.ingest.locations import Location, locate
from llmrec_cli.ingest.raw_files import Input, RawFile, distinct_names
from llmrec_cli.ingest.spool import Extra, Part, Spool

if TYPE_CHECKING:
    from llmrec_cli.ingest.engine import Engine

REVISION = 2
"""Raised when files are read in another way."""
COLUMNS, ROWS = "columns", "rows"
"""Under which the names of all columns of the raw file, and the number of its rows, stand in the metadata."""


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

    def raw(self, inputs: Sequence[Input], columns: Sequence[str], extra: Extra) -> str:
        """The log as `Engine.raw` makes it.

        Files that are not here are read and kept; those that are not of this log are removed.
        """
        parts: list[Part] = []
        keys = self._keys([each.file.location for each in inputs])
        for source, each, key in zip(distinct_names(inputs), inputs, keys, strict=True):
            path = each.file.path
            if path.parent != self.folder:
                path = self._parse(each, columns, extra, key)
            rows = int(spool.schema(path).metadata[ROWS.encode()])
            parts.append(Part(path, source, sum(part.rows for part in parts), rows))
        for old in {*self.folder.iterdir()} - {part.path for part in parts}:
            remove(old)
        return self.engine.table(Spool(tuple(parts)))

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
        for path in self.folder.glob(f"{key}-*.arrow"):
            if path.stem.endswith(f"-{fingerprint(path)}"):
                columns = json.loads(spool.schema(path).metadata[COLUMNS.encode()])
                return Input(RawFile(location, path, "", "", parquet=True), Dialect("parquet", tuple(columns)))
        return None

    def _parse(self, each: Input, columns: Sequence[str], extra: Extra, key: str) -> Path:
        """Read a file and keep what is used of it."""
        read, new = self.engine.folder / f"{key}.arrow", self.folder / f".tmp-{os.getpid()}-{key}"
        rows = self.engine.spool(read, each, columns, ragged="", extra=extra)
        schema = spool.schema(read).with_metadata({COLUMNS: json.dumps(each.dialect.columns), ROWS: str(rows)})
        spool.write(new, schema, spool.batches(read), packed=True)
        remove(read)
        final = self.folder / f"{key}-{fingerprint(new)}.arrow"
        move_into_place(new, final)
        return final
