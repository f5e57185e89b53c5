"""A settings file before it is written: values and comments by section, and their text as TOML."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass
class Draft:
    """Settings in the order in which they were put; "" is the section above all others."""

    sections: dict[str, dict[str, tuple[Any, str]]] = field(default_factory=lambda: {"": {}})
    notes: dict[str, str] = field(default_factory=dict)
    """What is written behind the name of a section, or below it where it is a line of its own."""

    def put(self, dotted: str, value: Any, note: str = "") -> None:
        section, _, last = dotted.rpartition(".")
        self.sections.setdefault(section, {})[last] = (value, note)

    def drop(self, dotted: str) -> None:
        section, _, last = dotted.rpartition(".")
        self.sections.get(section, {}).pop(last, None)

    def text(self) -> str:
        """The file. Notes must hold no text of others: what stands behind a # ends with the line."""
        lines: list[str] = []
        for section, values in self.sections.items():
            if section:
                name = ".".join(map(key, section.split(".")))
                lines += ["", f"[{name}]{_behind(self.notes.get(section, ''))}"]
            lines += [f"{key(name)} = {toml(value)}{_behind(note)}" for name, (value, note) in values.items()]
        return "\n".join(lines) + "\n"


def _behind(note: str) -> str:
    return f"     # {note}" if note else ""


def key(name: str) -> str:
    """A key as TOML writes it: in quotes where it is more than letters, digits, _ and -."""
    return name if _BARE.fullmatch(name) else toml(name)


def toml(value: Any) -> str:
    """A value as TOML. A basic string has the escapes of JSON, and wants that of DEL too."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key(name)} = {toml(each)}" for name, each in value.items()) + "}"
    return value.isoformat() if isinstance(value, (date, time)) else repr(value)
