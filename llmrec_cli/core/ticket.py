"""Of a ticket: the files outside of the work directory by content, and the difference between two tickets in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_cli.core.disk import fingerprint

Json = dict[str, Any]
Contents = dict[str, str]
"""Name of each file -> its sha256."""
NAMED = 5_000
"""Files that a ticket tells apart; of more it holds one sum, so that a record stays small."""


@dataclass(frozen=True)
class Source:
    """Files outside of the work directory that a result depends on."""

    what: str
    """What they are, as it stands before "changed": "images of items"."""
    root: Path
    """The folder that their names start from: moved as a whole, it is what it was."""
    files: Sequence[Path]

    def contents(self) -> Contents:
        """Each file by its name and sha256; of more than NAMED files one sum of all, without a name."""
        found = {self._name(file): fingerprint(file) for file in self.files}
        if len(found) <= NAMED:
            return found
        return {"": hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()}

    def _name(self, file: Path) -> str:
        return (file.relative_to(self.root) if file.is_relative_to(self.root) else file).as_posix()


def contents(sources: Iterable[Source]) -> dict[str, Contents]:
    """What the files are -> their contents."""
    return {source.what: source.contents() for source in sources}


def ticket_of(parts: Json) -> str:
    """The ticket of what a result depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def difference(old: Json, new: Json) -> str:
    """The first thing that differs between what two tickets are made of, in words."""
    if old["settings"] != new["settings"]:
        return f"{_changed_key(old['settings'], new['settings'])} has changed"
    if what := _unequal(old["sources"], new["sources"]):
        names = _unequal(old["sources"].get(what[0], {}), new["sources"].get(what[0], {}))
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        return f"{what[0]} changed" + (f": {names[0]}{more}" if names and names[0] else "")
    if paths := _unequal(old["inputs"], new["inputs"]):
        return f"{paths[0]} is new"
    if names := _unequal(old["facts"], new["facts"]):
        return f"{names[0]} has changed"
    if old["threads"] != new["threads"]:
        return f"it was made with {old['threads']} threads, these are {new['threads']}"
    return "the seed has changed" if old["seed"] != new["seed"] else "llmrec itself is newer"


def _unequal(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ, in order."""
    return sorted(key for key in {*old, *new} if old.get(key) != new.get(key))


def _changed_key(old: Json, new: Json) -> str:
    """The dotted key of the first setting that differs."""
    key = next(iter(_unequal(old, new)), "")
    before, after = old.get(key), new.get(key)
    return f"{key}.{_changed_key(before, after)}" if isinstance(before, dict) and isinstance(after, dict) else key
