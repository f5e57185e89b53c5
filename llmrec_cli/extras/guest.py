"""Somebody who is in no log: a history and attributes as one more user of a work directory that is only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Floats
from llmrec_cli.core.artifacts import ENCODER, ITEMS, PROFILES, SEQUENCES, USERS, Table
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import SettingsError, did_you_mean
from llmrec_cli.core.lineage import verified_inputs
from llmrec_cli.core.readonly import ReadOnly
from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir, to_numpy
from llmrec_cli.data.attributes import by_name
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.segments import EVERYONE, age_bands
from llmrec_cli.report.views import near
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.tensors.checkpoints import fits

GUEST = "(history)"
"""The guest's id; one of a log is hardly like it."""
KNOWN = ("age", "gender", "region")
MOST_TOLD = 5
"""Unknown items for which others are proposed."""


class WithGuest(ReadOnly):
    """The tables of a work directory with a row more each."""

    def __init__(self, work: WorkDir, rows: Mapping[str, dict[str, Any]]) -> None:
        """`rows` has the values that are not null, by the path of the table."""
        super().__init__(work, None)
        self.rows = rows

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        """As `WorkDir.read`, the guest last."""
        data = super().read(table, columns)
        if table.path not in self.rows:
            return data
        row = [{name: self.rows[table.path].get(name) for name in data.column_names}]
        return pa.concat_tables([data, pa.Table.from_pylist(row, schema=data.schema)])


def joined(
    work: WorkDir, items: Sequence[str], about: Sequence[str], context: Context
) -> tuple[WithGuest, list[str], list[str]]:
    """The work directory with a guest who chose these items, oldest first; the guest's id; what is to be said of it.

    `about` are attributes such as "region=France". SettingsError for one that no user has. Items that are not in the
    catalogue are left out and named. With few events the vector leans on the segment's mean, as in `profile`.
    """
    verified_inputs(work, [ENCODER])
    catalogue = work.read(ITEMS, [ITEM, "title"])
    item_ids = catalogue.column(ITEM).to_pylist()
    found = pc.index_in(pa.array(items, pa.string()), value_set=pa.array(item_ids, pa.string())).to_pylist()
    codes = [code for code in found if code is not None]
    unknown = [item for item, code in zip(items, found, strict=True) if code is None]
    row, parts = _described(work.read(USERS), about)
    profiles = work.read(PROFILES, [USER, "vector", "segment", "segment_weight", "last_time", "cold"])
    segment = _segment(profiles.column("segment"), parts)
    now = pc.max(profiles.column("last_time")).as_py()
    of_segment = np.asarray(pc.equal(profiles.column("segment"), segment).combine_chunks().to_numpy(False), dtype=bool)
    seconds = None if now is None else np.full(len(codes), int(now.timestamp()))
    history = Sequences(np.array(codes, dtype=np.int32), np.array([0, len(codes)]), len(item_ids), seconds)
    metrics = (work.record("profile") or {"report": {"metrics": {}}})["report"]["metrics"]
    weight = min(1.0, len(codes) / max(1.0, metrics.get("full_weight_events", 1.0)))
    vector = weight * _encoded(work, item_ids, history, context) if codes else np.float32(0)
    if weight < 1:
        mean = to_numpy(profiles.column("vector")).reshape(len(of_segment), -1)[of_segment].mean(axis=0)
        vector = vector + (1 - weight) * mean
    first = int(of_segment.argmax())
    profile = {"segment": segment, "segment_weight": profiles.column("segment_weight")[first].as_py(), "interests": []}
    profile |= {"vector": vector.tolist(), "own_weight": weight, "cold": not codes, "n_events": len(codes)}
    profile |= {name: row.get(name) for name in ("gender", "region")}
    profile["age_band"] = None if row.get("age") is None else age_bands([row["age"]])[0]
    events: dict[str, Any] = {"item_codes": codes, "item_ids": [item_ids[code] for code in codes]}
    events |= {"times": [now] * len(codes), "weights": [1.0] * len(codes)}
    rows = {USERS.path: row | {"n_events": len(codes)}, PROFILES.path: profile}
    rows |= {SEQUENCES.path: events} if codes else {}
    notes = [f"not in the catalogue: {', '.join(unknown)}"] if unknown else []
    for item in unknown[:MOST_TOLD]:
        if like := near(item, *catalogue.itercolumns()):
            notes.append(f"{item}: did you mean {like}?")
    notes += [] if codes else [f"no event is known: what the segment “{segment}” chooses"]
    return WithGuest(work, {path: {**values, USER: GUEST} for path, values in rows.items()}), [GUEST], notes


def _encoded(work: WorkDir, item_ids: list[str], history: Sequences, context: Context) -> Floats:
    encoder = SequenceEncoder.load(fits(work.need(ENCODER), item_ids), context.device)
    return encoder.encode(history)[0]


def _described(users: pa.Table, about: Sequence[str]) -> tuple[dict[str, Any], set[str]]:
    """The row of `clean/users`, and the parts of names of segments that the guest is of."""
    others = by_name(users.column("attributes"))
    row: dict[str, Any] = {"attributes": []}
    parts = set()
    for each in about:
        name, sign, value = each.partition("=")
        if not sign or name not in (*KNOWN, *others):
            fix = did_you_mean(name, [*KNOWN, *others]) if sign else "--set-user region=France"
            raise SettingsError(f"users have no attribute {name!r}", where=f"--set-user {each}", fix=fix)
        if name == "age":
            try:
                row["age"] = float(value)
            except ValueError as error:
                raise SettingsError(
                    "an age is a number", where=f"--set-user {each}", fix="--set-user age=34"
                ) from error
            parts.add(str(age_bands([row["age"]])[0]))
        elif name in KNOWN:
            row[name] = value
            parts.add(value)
        else:
            row["attributes"].append({"name": name, "value": value})
            parts.add(f"{name}: {value}")
    return row, parts


def _segment(names: pa.ChunkedArray[Any], parts: set[str]) -> str:
    """The finest segment whose parts the guest has; everyone, or the largest where nobody is of everyone."""
    counts = {str(each["values"]): int(each["counts"]) for each in pc.value_counts(names).to_pylist()}
    fitting = [name for name in counts if name != EVERYONE and set(name.split(" · ")) <= parts]
    largest = EVERYONE if EVERYONE in counts else max(counts, key=lambda name: counts[name])
    return max(fitting, key=lambda name: (name.count(" · "), counts[name]), default=largest)
