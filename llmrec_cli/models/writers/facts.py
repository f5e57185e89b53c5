"""What a text may say: the facts of an item or the evidence of a user, made harmless to quote."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass, replace

LONGEST_TITLE = 120
LONGEST_PHRASE = 40

_MARKUP = re.compile(r"<[^<>]*>")
_HARMLESS = str.maketrans({**dict.fromkeys('"“”„«»<>`', "'"), "[": "(", "]": ")"})
_LINK = re.compile(r"(?:https?:|ftp:|www\.)\S*", re.IGNORECASE)


@dataclass(frozen=True)
class ItemFacts:
    """What the catalogue knows of an item. Every string has gone through `plain`."""

    title: str
    category: tuple[str, ...] = ()
    """Levels, the widest first."""
    tags: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    n_events: int = 0
    rank: int = 0
    """Place by popularity, from 1; 0 where it is not among the foremost."""
    n_items: int = 0

    kind = "item"

    @property
    def quotes(self) -> tuple[str, ...]:
        """Titles that may stand in quotation marks."""
        return (self.title,) if self.title else ()

    @property
    def phrases(self) -> tuple[str, ...]:
        """Words of the catalogue that may be said."""
        return (*self.category, *self.tags, *(part for pair in self.attributes for part in pair))

    @property
    def statements(self) -> tuple[str, ...]:
        """What may be said only as a whole: a figure together with what it counts."""
        chosen = f"chosen {times(self.n_events)}" if self.n_events else "nobody has chosen it yet"
        return (chosen, f"number {self.rank:,} of {self.n_items:,} by popularity") if self.rank else (chosen,)

    @property
    def lists(self) -> dict[str, tuple[str, ...]]:
        """Word that opens a list -> the phrases that may stand in it."""
        return {"under": self.category, "tagged": self.tags}

    @property
    def examples_of(self) -> dict[str, tuple[str, ...]]:
        """Word that opens a list -> the titles that may be quoted for it; any title where there is no entry."""
        return {}

    def bare(self) -> ItemFacts:
        """Only the title and how often it was chosen."""
        return replace(self, category=(), tags=(), attributes=())


@dataclass(frozen=True)
class TasteFacts:
    """What a user's history shows. No demographics, no ids."""

    interests: tuple[str, ...]
    examples: tuple[str, ...] = ()
    """Titles from the history that carry one of the interests."""
    recent: tuple[str, ...] = ()
    """What the newest events have and the interests have not."""
    recent_example: str = ""
    """Title of a newest event that carries the first of `recent`."""
    n_events: int = 0

    kind = "taste"

    @property
    def quotes(self) -> tuple[str, ...]:
        return tuple(filter(None, (*self.examples, self.recent_example)))

    @property
    def phrases(self) -> tuple[str, ...]:
        return (*self.interests, *self.recent)

    @property
    def statements(self) -> tuple[str, ...]:
        return (f"based on {counted(self.n_events, 'event')}" if self.n_events else "nothing chosen yet",)

    @property
    def lists(self) -> dict[str, tuple[str, ...]]:
        """Word that opens a list -> the phrases that may stand in it."""
        return {"towards": self.interests, "lately": self.recent}

    @property
    def examples_of(self) -> dict[str, tuple[str, ...]]:
        return {"towards": self.examples, "lately": (self.recent_example,)}

    def lasting(self) -> TasteFacts:
        """Without what is recent: a small model takes its example for one of the lasting interests."""
        return replace(self, recent=(), recent_example="")

    def bare(self) -> TasteFacts:
        """Only the number of events."""
        return TasteFacts(interests=(), n_events=self.n_events)


Facts = ItemFacts | TasteFacts


def plain(text: str | None, longest: int = LONGEST_PHRASE) -> str:
    """The text on one line without markup, links, control characters and double quotes, cut at a word to `longest`."""
    bare = _LINK.sub(" ", _MARKUP.sub(" ", html.unescape(text or "")))
    visible = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in bare)
    words = visible.translate(_HARMLESS).split()
    line = " ".join(words).strip(" .,;:")
    return line if len(line) <= longest else line[: longest - 1].rsplit(" ", 1)[0].rstrip(" .,;:") + "…"


def counted(n: int, noun: str) -> str:
    """ "1 event", "2,000 events"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def times(n: int) -> str:
    """ "once", "twice", "3 times"."""
    return {1: "once", 2: "twice"}.get(n, f"{n:,} times")


def listing(words: tuple[str, ...] | list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
