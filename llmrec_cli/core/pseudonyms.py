"""People by keyed hash: who was forgotten, and the names that stand in for ids. The key lies elsewhere."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_cli.core.disk import disk_errors, put
from llmrec_cli.core.errors import MissingExtraError, SettingsError, UpstreamError

KEY_FILE = "llmrec.key"
"""Beside the settings."""
KEY_VARIABLE = "LLMREC_KEY"
SHORTEST_KEY = 16
HEX = 32
"""Characters of a hash: 128 bits."""
LIST = "forgotten.json"
FORMAT = "llmrec.forgotten/1"


@dataclass(frozen=True)
class Key:
    """The secret of the keyed hashes (HMAC-SHA256)."""

    secret: bytes

    def hash(self, user_id: str) -> str:
        """The stand-in of an id: `HEX` hexadecimal digits."""
        return hmac.new(self.secret, user_id.encode(), "sha256").hexdigest()[:HEX]

    @property
    def check(self) -> str:
        """Tells one key from another without saying what it is; no id has a NUL in it."""
        return self.hash("\0llmrec key")


def find_key(base: Path) -> Key | None:
    """The key of the environment or else of the file beside the settings; SettingsError for one that is too short."""
    file = base / KEY_FILE
    text = os.environ.get(KEY_VARIABLE, "").strip()
    if not text and file.is_file():
        text = file.read_text(encoding="utf-8").strip()
    if not text:
        return None
    if len(text) < SHORTEST_KEY:
        fix = f"use at least {SHORTEST_KEY} random characters"
        raise SettingsError("the key of people's hashes is too short", where=f"{KEY_VARIABLE} or {file}", fix=fix)
    return Key(text.encode())


def make_key(base: Path) -> Key:
    """Write a new key beside the settings, for its owner alone to read."""
    file = base / KEY_FILE
    text = secrets.token_hex(32)
    with disk_errors(file, f"a key of your own in {KEY_VARIABLE}"):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text + "\n")
    return Key(text.encode())


def need_key(base: Path, why: str) -> Key:
    """The key; MissingExtraError where there is none."""
    key = find_key(base)
    if key is None:
        fix = f"put the key back: the file {base / KEY_FILE}, or the environment variable {KEY_VARIABLE}"
        raise MissingExtraError(f"the key of people's hashes is missing: {why}", fix=fix)
    return key


@dataclass(frozen=True)
class Forgotten:
    """The people whom a work directory has forgotten, as hashes, and by which key these were made."""

    check: str
    people: frozenset[str]

    @property
    def digest(self) -> str:
        """For tickets: another list, another result."""
        return _digest({"key_check": self.check, "people": sorted(self.people)})

    def fitting(self, key: Key, path: Path) -> Key:
        """The same key; SettingsError for one by which nobody on the list would be recognised."""
        if key.check != self.check:
            raise SettingsError(
                "the key is not the one by which people were forgotten: nobody of them could be kept out",
                where=str(place(path)),
                fix=f"put the old key back ({KEY_FILE} beside the settings, or {KEY_VARIABLE})",
            )
        return key


def place(work: Path) -> Path:
    """Where the list lies; a backtest goes by that of the work directory around it."""
    outer = work.absolute()
    while outer.parent.name == "evaluate":
        outer = outer.parent.parent
    return outer / LIST


def forgotten(work: Path) -> Forgotten | None:
    """The list of a work directory; None where nobody was forgotten; UpstreamError where it is damaged."""
    path = place(work)
    if not path.exists():
        return None
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        signature = told.pop("signature")
        found = Forgotten(told["key_check"], frozenset(told["people"]))
        whole = signature == _digest(told) and told["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path) from error
    if not whole:
        raise _damaged(path)
    return found


def add_forgotten(work: Path, key: Key, hashes: Iterable[str]) -> Forgotten:
    """Put people on the list, atomically."""
    known = forgotten(work)
    if known is not None:
        known.fitting(key, work)
    found = Forgotten(key.check, frozenset(hashes) | (known.people if known else frozenset()))
    told = {"format": FORMAT, "key_check": found.check, "people": sorted(found.people)}
    path = place(work)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({**told, "signature": _digest(told)}, indent=1) + "\n", encoding="utf-8")
        put(temporary, path)
    return found


@dataclass(frozen=True)
class People:
    """What `clean` does with ids before it writes anything: whom it keeps out, and whether it writes ids at all."""

    key: Key
    gone: frozenset[str]
    pseudonymise: bool

    def describe(self, user_id: str) -> tuple[str, bool]:
        """What to write for an id, and whether the person was forgotten."""
        hashed = self.key.hash(user_id)
        return (hashed if self.pseudonymise else user_id), hashed in self.gone


def people(work: Path, base: Path, *, pseudonymise: bool) -> People | None:
    """What is to be done with ids; None for nothing. MissingExtraError or SettingsError without the right key."""
    known = forgotten(work)
    if known is None and not pseudonymise:
        return None
    key = need_key(base, "ids are pseudonymised by it" if known is None else "forgotten people are kept out by it")
    return People(known.fitting(key, work) if known else key, known.people if known else frozenset(), pseudonymise)


def ticket(work: Path, base: Path, *, pseudonymise: bool) -> dict[str, str]:
    """What of this a result depends on; empty where nobody was forgotten and ids are written as they are."""
    known = forgotten(work)
    told = {"the list of forgotten people": known.digest} if known else {}
    if pseudonymise:
        key = find_key(base)
        told["the key of people's hashes"] = key.check if key else ""
    return told


def _digest(told: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path) -> UpstreamError:
    return UpstreamError(
        "the list of forgotten people is damaged: nobody on it could be kept out",
        where=str(path),
        fix="put it back from a backup, or move it away and run `llmrec forget` for these people again",
    )
