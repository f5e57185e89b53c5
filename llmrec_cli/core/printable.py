"""Escapes control characters in texts from data, so that printing them cannot move the cursor or reverse a line."""

from __future__ import annotations

import re

# C0 with newlines and tabs, DEL and C1; marks, embeddings and isolates of writing direction; line and paragraph
# separators; halves of characters, which no terminal can be sent. Joiners stay: emoji and Persian need them.
_ACTIVE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    r"""The text in one line, with `\x1b` and the like written out where a terminal would obey them."""
    return _ACTIVE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def printable_json(document: str) -> str:
    r"""The same JSON document with such characters as `\u009b`; they can only stand inside of its strings."""
    return _ACTIVE.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
