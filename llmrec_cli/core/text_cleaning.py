"""Texts of the data made clean: on one line, cut at a word, without markup, or as words that can be compared."""

from __future__ import annotations

import html
import re
import unicodedata

LONGEST_PHRASE = 40
_MARKUP = re.compile(r"<[^<>]*>")
_LINK = re.compile(r"(?:https?:|ftp:|www\.)\S*", re.IGNORECASE)
_HARMLESS = str.maketrans({**dict.fromkeys('"“”„«»<>`', "'"), "[": "(", "]": ")"})
_NO_WORD = re.compile(r"[\W_]+")


def one_line(text: str) -> str:
    """The words with single blanks between them."""
    return " ".join(text.split())


def shortened(line: str, longest: int, ends: str = " .,;:") -> str:
    """The line cut at a word to `longest` characters, the mark "…" included; `ends` do not stand before the mark."""
    return line if len(line) <= longest else line[: longest - 1].rsplit(" ", 1)[0].rstrip(ends) + "…"


def plain(text: str | None, longest: int = LONGEST_PHRASE) -> str:
    """The text on one line without markup, links, control characters and double quotes, cut at a word to `longest`."""
    bare = _LINK.sub(" ", _MARKUP.sub(" ", html.unescape(text or "")))
    visible = bare if bare.isprintable() else "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in bare)
    return shortened(one_line(visible.translate(_HARMLESS)).strip(" .,;:"), longest)


def comparable(title: str) -> str:
    """The words in lower case: the same for titles that differ in case, blanks, punctuation or encoding of accents."""
    return _NO_WORD.sub(" ", unicodedata.normalize("NFKC", title).casefold()).strip()
