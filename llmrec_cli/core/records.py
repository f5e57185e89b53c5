"""The record of a finished stage: its content, its signature, and how it is validated."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

Json = dict[str, Any]
FORMAT = "llmrec.record/3"


@dataclass
class Report:
    """What a stage reports when it is done."""

    counts: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    """What a person should read, in order; shown as it is."""
    warnings: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds and speeds of parts of the work. They differ from run to run, so no artifact has them."""


class Parts(BaseModel, frozen=True, extra="forbid"):
    """Everything that the result of a stage depends on."""

    settings: Json
    seed: int
    inputs: dict[str, str | None]
    """Path of each input -> its sha256; None for an optional one that was not there."""
    sources: dict[str, dict[str, str]]
    """What files outside of the work directory are -> name and sha256 of each."""
    code: str
    facts: dict[str, str]
    """Anything else, in words -> its value."""
    threads: int | None
    """None for a stage whose result does not depend on their number."""


class Output(BaseModel, frozen=True, extra="forbid"):
    """An artifact as it was signed."""

    sha256: str
    mtime_ns: int


class Record(BaseModel, frozen=True, extra="forbid"):
    """The content of `record.json`, without its signature."""

    format: Literal["llmrec.record/3"]
    stage: str
    ticket: str
    parts: Parts
    outputs: dict[str, Output]
    report: Report
    seconds: float
    core_seconds: float
    peak_memory_mb: int
    forgot: int = 0
    """People who were in its inputs and were forgotten since."""


class InvalidRecordError(Exception):
    """Why a record does not count."""


def read(path: Path, model: type[BaseModel] = Record, version: str = FORMAT) -> Json | None:
    """A signed file, or None where there is none; InvalidRecordError for one that is damaged or of another version."""
    if not path.is_file():
        if path.exists():
            raise InvalidRecordError("what stands in the place of its record is no file")
        return None
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRecordError("its record cannot be read") from error
    if not isinstance(body, dict) or body.get("format") != version:
        raise InvalidRecordError("its record is not one of this version of llmrec")
    found = body.pop("signature", None)
    try:
        model.model_validate(body)
    except ValidationError as error:
        raise InvalidRecordError("its record is damaged") from error
    if found != signature(body):
        raise InvalidRecordError("its record was changed")
    return body


def signed(record: Json) -> str:
    """The text of the file."""
    return json.dumps({**record, "signature": signature(record)}, indent=1, sort_keys=True) + "\n"


def signature(record: Json) -> str:
    """sha256 of everything in the record: against damage, not against somebody who can write there."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
