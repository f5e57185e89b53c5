"""Keyed hashes of user ids: the list of forgotten people, pseudonyms, and the key, which is kept apart from both."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel

from llmrec_cli.core import records
from llmrec_cli.core.disk import disk_errors, write_atomically
from llmrec_cli.core.errors import MissingExtraError, SettingsError, UpstreamError
from llmrec_cli.core.records import signature
from llmrec_cli.core.workdir import outermost

KEY_FILE = "llmrec.key"
"""In the folder of the settings."""
KEY_VARIABLE = "LLMREC_KEY"
SHORTEST_KEY = 16
HEX = 32
"""Characters of a hash: 128 bits."""
LIST = "forgotten.json"
FORMAT: Final = "llmrec.forgotten/1"


@dataclass(frozen=True)
class Key:
    """The secret of the keyed hashes (HMAC-SHA256)."""

    secret: bytes

    def hash(self, user_id: str) -> str:
        """The pseudonym of an id: `HEX` hexadecimal digits."""
        return hmac.new(self.secret, user_id.encode(), "sha256").hexdigest()[:HEX]

    @property
    def check(self) -> str:
        """Identifies the key without revealing it; no id has a NUL in it."""
        return self.hash("\0llmrec key")


def find_key(base: Path) -> Key | None:
    """The key from the environment, or else from the file in the folder of the settings; None without one.

    SettingsError for a key that is too short.
    """
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
    """Write a new key into the folder of the settings; only its owner can read the file."""
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


class Forgotten(BaseModel, frozen=True, extra="forbid"):
    """The people whom a work directory has forgotten, as hashes, and by which key these were made."""

    format: Literal["llmrec.forgotten/1"] = FORMAT
    key_check: str
    people: tuple[str, ...]
    """Sorted."""

    @property
    def digest(self) -> str:
        """For tickets: the result depends on the list."""
        return signature(self.model_dump(mode="json", exclude={"format"}))

    def check_key(self, key: Key, path: Path) -> Key:
        """The same key; SettingsError for one by which nobody on the list would be recognised."""
        if key.check != self.key_check:
            raise SettingsError(
                "the key is not the one by which people were forgotten: nobody of them could be kept out",
                where=str(list_path(path)),
                fix=f"put the old key back ({KEY_FILE} next to the settings, or {KEY_VARIABLE})",
            )
        return key


def list_path(work: Path) -> Path:
    """The file of the list; a backtest uses that of the work directory around it."""
    return outermost(work) / LIST


def forgotten(work: Path) -> Forgotten | None:
    """The list of a work directory; None where nobody was forgotten; UpstreamError where it is damaged."""
    path = list_path(work)
    try:
        content = records.read(path, Forgotten, FORMAT)
    except records.InvalidRecordError as error:
        raise UpstreamError(
            "the list of forgotten people is damaged: nobody on it could be kept out",
            where=str(path),
            fix="put it back from a backup, or move it away and run `llmrec forget` for these people again",
        ) from error
    return Forgotten(**content) if content else None


def add_forgotten(work: Path, key: Key, hashes: Iterable[str]) -> None:
    """Put people on the list, atomically."""
    known = forgotten(work)
    if known is not None:
        known.check_key(key, work)
    people = sorted({*hashes, *(known.people if known else ())})
    content = Forgotten(key_check=key.check, people=tuple(people)).model_dump(mode="json")
    write_atomically(list_path(work), records.signed(content))


@dataclass(frozen=True)
class People:
    """What `clean` does with user ids: whom it leaves out, and whether it writes pseudonyms."""

    key: Key
    gone: frozenset[str]
    pseudonymise: bool

    def look_up(self, user_id: str) -> tuple[str, bool]:
        """What to write for an id, and whether the person was forgotten."""
        hashed = self.key.hash(user_id)
        return (hashed if self.pseudonymise else user_id), hashed in self.gone


def people(work: Path, base: Path, *, pseudonymise: bool) -> People | None:
    """How ids are treated; None for as they are. MissingExtraError or SettingsError without the right key."""
    known = forgotten(work)
    if known is None and not pseudonymise:
        return None
    key = need_key(base, "ids are pseudonymised by it" if known is None else "forgotten people are kept out by it")
    return People(known.check_key(key, work) if known else key, frozenset(known.people if known else ()), pseudonymise)


def ticket_part(work: Path, base: Path, *, pseudonymise: bool) -> dict[str, str]:
    """For the ticket of `clean`; empty where nobody was forgotten and ids are written as they are."""
    known = forgotten(work)
    parts = {"the list of forgotten people": known.digest} if known else {}
    if pseudonymise:
        key = find_key(base)
        parts["the key of people's hashes"] = key.check if key else ""
    return parts
