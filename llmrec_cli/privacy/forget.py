"""`llmrec forget`: people leave every artifact of a work directory and its backtests, and later runs keep them out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core import disk, pseudonyms
from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.artifacts import RANKER, REGISTRY, RETRIEVERS, SEQUENCES, Folder, Forgets
from llmrec_cli.core.columns import USER
from llmrec_cli.core.errors import SettingsError, UpstreamError
from llmrec_cli.core.records import Json
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.privacy.removal import (
    RECEIPTS,
    RECORD,
    TABLES,
    Change,
    changing,
    exports,
    ids_in,
    leftovers,
    places,
    records,
    remove,
    repair_records,
    take_out,
)

HERE = "the work directory"
Rows = Ints
BEYOND = (
    "the raw files still have these people; `clean` leaves them out, as long as the list and its key are kept",
    "exports, copies and backups outside of the work directory are not known to llmrec",
    "figures over many people (counts, means, accuracies) were made with them until the stages run again",
)
"""What a receipt cannot vouch for."""


@dataclass(frozen=True)
class Receipt:
    """What was done, in words and as the data of the file."""

    lines: list[str]
    data: Json
    path: Path


def asked(users: Sequence[str] | None, file: Path | None) -> list[str]:
    """The ids of the command line and of a file with one id a line."""
    ids = [each.strip() for each in users or ()]
    if file is not None:
        try:
            ids += [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"the list of people cannot be read: {error}", where=str(file)) from error
    found = list(dict.fromkeys(filter(None, ids)))
    if not found:
        raise SettingsError("nobody is named", fix="llmrec forget USER…, or --file with one id a line")
    return found


def forget(work: WorkDir, base: Path, ids: Sequence[str], *, pseudonymised: bool = False) -> Receipt:
    """Put people on the list of the forgotten and take them out of everything here. Raises LockedError while in use.

    Of a pseudonymised work directory `ids` are the people's own or those that are written there.
    """
    started = time.monotonic()
    key = _key(work, base)
    theirs = {name: key.hash(name) for name in ids}
    if pseudonymised:
        theirs |= {name: name for name in ids if len(name) == pseudonyms.HEX and set(name) <= set("0123456789abcdef")}
    everywhere = {*theirs, *theirs.values()}
    left = leftovers(work)
    with ExitStack() as locks:
        locks.enter_context(work.lock())
        inner = places(work)
        for each in inner[1:]:
            locks.enter_context(each.lock())
        pseudonyms.add_forgotten(work.path, key, theirs.values())
        for path in leftovers(work):
            disk.remove(path)
        changes = {_name(work, each): leave(each, everywhere) for each in inner}
        gone, unsure = exports(work, inner, everywhere)
        for path in gone:
            path.unlink()
        data = _receipt(theirs, changes)
        data |= {"leftovers": _paths(work, left), "exports": _paths(work, gone), "look_at": _paths(work, unsure)}
        data["seconds"] = round(time.monotonic() - started, 2)
        return Receipt(_lines(data), data, _write(work, data))


def left_the_log(work: WorkDir) -> list[str]:
    """Take those out of the backtests who are no longer in the log of the work directory; a line for each backtest.

    The caller holds the lock. A backtest that was looked at since `clean` last ran is left alone.
    """
    cleaned = _age(work)
    old = [each for each in places(work)[1:] if each.path.parent == work.path / "evaluate" and _age(each) < cleaned]
    known = ids_in(work, [table for table in TABLES if table.stage == "clean"]) if old else set()
    lines = []
    for each in old:
        with each.lock():
            gone = ids_in(each) - known
            if gone:
                leave(each, gone)
                lines.append(f"{_name(work, each)}: {len(gone):,} people have left the log and were taken out")
            with suppress(FileNotFoundError):
                os.utime(each.path / "clean" / RECORD)
    return lines


def leave(work: WorkDir, ids: Collection[str]) -> Change:
    """Take people out of one work directory: models that keep them first, whose rows are those of the sequences."""
    change, before = Change(), records(work)
    for models in (RETRIEVERS, RANKER):
        if work.has(models):
            _leave_models(work, models, _rows(work, before, models, ids), change)
    take_out(work, ids, change)
    for artifact in REGISTRY:
        if artifact.forgets is Forgets.REMOVED and work.has(artifact):
            remove(work, artifact, change)
    repair_records(work, before, change)
    return change


# --- models --------------------------------------------------------------------------------------------------


def _leave_models(work: WorkDir, models: Folder, users: Rows | None, change: Change) -> None:
    """Save again without these users what keeps their events; remove what may still hold them."""
    from llmrec_cli.privacy import model_removal

    folder = work.where(models)
    try:
        keeping, strange = model_removal.holders(folder), model_removal.strangers(folder)
        if not keeping and not strange:
            return
        if users is None or (strange and len(users)):
            remove(work, models, change)
        elif len(users):
            with changing(work, models, change), work.writing(models) as new:
                model_removal.save_without(folder, new, users)
            change.rows[models.path] = len(users)
    except UpstreamError:  # damaged
        remove(work, models, change)


def _rows(work: WorkDir, before: Mapping[str, Json], models: Folder, ids: Collection[str]) -> Rows | None:
    """Row numbers of people in the sequences that the models were fitted on; None where these are others by now."""
    record = before.get(models.stage)
    if record is None or not work.has(SEQUENCES):
        return None
    signed = record["outputs"].get(models.path, {}).get("sha256")
    fitted_on = record["parts"]["inputs"].get(SEQUENCES.path)
    if (fitted_on, signed) != (work.fingerprint(SEQUENCES), work.fingerprint(models)):
        return None
    of = work.read(SEQUENCES, [USER]).column(USER)
    return np.flatnonzero(pc.is_in(of, value_set=pa.array(sorted(ids), pa.string())).to_numpy())


# --- the report ------------------------------------------------------------------------------------------------------


def _key(work: WorkDir, base: Path) -> pseudonyms.Key:
    """The key by which people are forgotten here; a new one where there is none and nobody was forgotten yet."""
    known = pseudonyms.forgotten(work.path)
    if known is None:
        return pseudonyms.find_key(base) or pseudonyms.make_key(base)
    return known.check_key(pseudonyms.need_key(base, "people were forgotten by it"), work.path)


def _receipt(theirs: Mapping[str, str], changes: Mapping[str, Change]) -> Json:
    found = {theirs.get(each, each) for change in changes.values() for each in change.found}
    return {
        "format": "llmrec.receipt/1",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "people": len(set(theirs.values())),
        "found": len(found),
        "hashes": sorted(set(theirs.values())),
        "rows": {name: change.rows for name, change in changes.items()},
        "removed": {name: change.removed for name, change in changes.items() if change.removed},
        "stale": {name: change.stale for name, change in changes.items() if change.stale},
        "retrained": False,
        "beyond": BEYOND,
    }


def _lines(data: Json) -> list[str]:
    """The receipt for a person to read."""
    people_ = f"{data['people']:,} {'person' if data['people'] == 1 else 'people'}"
    lines = [f"forgot {people_}, {data['found']:,} of whom were found, in {data['seconds']:.1f} s"]
    for name, rows in data["rows"].items():
        counts = ", ".join(f"{path} {n:,}" for path, n in rows.items()) or "nothing"
        lines.append(f"  rows taken out of {name}: {counts}")
    for name, removed in data["removed"].items():
        lines.append(f"  removed from {name}, to be made again: {', '.join(removed)}")
    for name, stages in data["stale"].items():
        lines.append(f"  learned from them, and stale by now, in {name}: {', '.join(stages)}")
    for what, key in (("leftovers and kept answers", "leftovers"), ("exports", "exports")):
        if data[key]:
            lines.append(f"  removed {what}: {', '.join(data[key])}")
    if data["look_at"]:
        lines.append(f"  look at these files, which may name them: {', '.join(data['look_at'])}")
    return [*lines, *(f"  {each}" for each in data["beyond"])]


def _write(work: WorkDir, data: Json) -> Path:
    """Keep a receipt; it names nobody."""
    folder = work.path / RECEIPTS
    with disk.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"forget-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.json"
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return path


def retrained(receipt: Receipt) -> Receipt:
    """Note that the stages of the work directory have been run again without these people, and what was not."""
    left = {name: stages for name, stages in receipt.data["stale"].items() if name != HERE}
    data = {**receipt.data, "retrained": True, "still_stale": left}
    lines = [f"  the stages of {HERE} have been run again without them"]
    lines += [f"  still stale is {name}: `llmrec evaluate` runs it again, or remove it" for name in left]
    with disk.disk_errors(receipt.path):
        receipt.path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return Receipt([*receipt.lines, *lines], data, receipt.path)


def _name(work: WorkDir, inner: WorkDir) -> str:
    return inner.path.relative_to(work.path).as_posix() if inner.path != work.path else HERE


def _paths(work: WorkDir, paths: Sequence[Path]) -> list[str]:
    return [path.relative_to(work.path).as_posix() for path in paths]


def _age(work: WorkDir) -> int:
    """When `clean` was signed; 0 where it was not."""
    path = work.path / "clean" / RECORD
    return path.stat().st_mtime_ns if path.exists() else 0
