"""What a text may say: the facts of an item or the evidence of a user, made harmless to quote."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from llmrec_cli.writing.claims import above
from llmrec_cli.writing.languages import LANGUAGES, Language

LONGEST_TITLE = 120


@dataclass(frozen=True)
class Claim:
    """That a user has more of a tag than usual, with the figures that it rests on."""

    tag: str
    n: int
    """Events of the user that have the tag."""
    of: int
    """Events of the user."""
    usual: float
    """Share of the events that it is held against: everybody else's, or the user's own earlier ones."""

    @property
    def holds(self) -> bool:
        return bool(above(self.n, self.of, self.usual))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a text may say and in which language. Every string has gone through `plain`."""

    language: str = "en"
    turn: int = field(default=0, compare=False)
    """Which of several forms a template takes: by an id, so that no text of the data decides it."""

    kind: ClassVar[str]

    @property
    def wording(self) -> Language:
        return LANGUAGES[self.language]

    @property
    def quotes(self) -> tuple[str, ...]:
        """Titles and sentences that may stand in quotation marks."""
        return ()

    @property
    def phrases(self) -> tuple[str, ...]:
        """Words of the data that may be said, in quotation marks too: they may be sentences of somebody else."""
        return ()

    @property
    def statements(self) -> tuple[str, ...]:
        """What may be said only as a whole: a figure together with what it counts."""
        return ()

    @property
    def lists(self) -> dict[str, tuple[str, ...]]:
        """Name of a list -> the phrases that may stand in it."""
        return {}

    @property
    def examples_of(self) -> dict[str, tuple[str, ...]]:
        """Name of a list -> the titles that may be quoted for it; any title where there is no entry."""
        return {}

    @property
    def untrue(self) -> tuple[str, ...]:
        """Claims whose figures do not bear them."""
        return ()

    @property
    def source_rows(self) -> tuple[int, ...]:
        """Rows of the raw log that are quoted."""
        return ()

    def bare(self) -> Self:
        """The least of them that makes a text."""
        return self


@dataclass(frozen=True)
class ItemFacts(Facts):
    """What the catalogue knows of an item. Every string has gone through `plain`."""

    title: str
    category: tuple[str, ...] = ()
    """Levels, the widest first."""
    tags: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str, str], ...] = ()
    """Name, value, and the highest value where the log has several: then the value is the lowest."""
    people: int = 0
    """Different people who chose it."""
    rank: int = 0
    """Place by people, from 1; 0 where it is not among the foremost."""
    n_items: int = 0
    """Items that anybody chose."""
    sentence: str = ""
    """One of the item's own description."""
    kind = "item"

    @property
    def quotes(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.title, self.sentence)))

    @property
    def phrases(self) -> tuple[str, ...]:
        return (*self.category, *self.tags)

    @property
    def distinctive_tags(self) -> tuple[str, ...]:
        """Tags that say more than the title."""
        return tuple(tag for tag in self.tags if tag.casefold() not in self.title.casefold())

    @property
    def details(self) -> tuple[str, ...]:
        """An attribute and its value, or the range of its values."""
        return tuple(self.wording.attribute(*each) for each in self.attributes)

    @property
    def statements(self) -> tuple[str, ...]:
        ranked = [each.format(rank=f"{self.rank:,}", n=f"{self.n_items:,}") for each in self.wording.place]
        return (self.wording.chosen_by(self.people), *(ranked if self.rank else ()), *self.details)

    @property
    def lists(self) -> dict[str, tuple[str, ...]]:
        return {"category": self.category, "tags": self.tags}

    def bare(self) -> Self:
        """Only the title and by how many it was chosen."""
        return replace(self, category=(), tags=(), attributes=(), sentence="")


@dataclass(frozen=True)
class TasteFacts(Facts):
    """What a user's history shows. No demographics, no ids."""

    leanings: tuple[Claim, ...] = ()
    examples: tuple[str, ...] = ()
    """Titles from the history, of items that carry one of the leanings where there are any."""
    lately: tuple[Claim, ...] = ()
    """What the newest events have more of than those before."""
    lately_example: str = ""
    """Title of a newest event that carries the first of `lately`."""
    n_events: int = 0

    kind = "taste"

    @property
    def interests(self) -> tuple[str, ...]:
        return tuple(claim.tag for claim in self.leanings)

    @property
    def recent(self) -> tuple[str, ...]:
        return tuple(claim.tag for claim in self.lately)

    @property
    def quotes(self) -> tuple[str, ...]:
        return tuple(filter(None, (*self.examples, self.lately_example)))

    @property
    def phrases(self) -> tuple[str, ...]:
        return (*self.interests, *self.recent)

    @property
    def statements(self) -> tuple[str, ...]:
        return (self.wording.begun[self.n_events > 0],)

    @property
    def lists(self) -> dict[str, tuple[str, ...]]:
        return {"leanings": self.interests, "lately": self.recent}

    @property
    def examples_of(self) -> dict[str, tuple[str, ...]]:
        return {"leanings": self.examples, "lately": (self.lately_example,)}

    @property
    def untrue(self) -> tuple[str, ...]:
        return tuple(claim.tag for claim in (*self.leanings, *self.lately) if not claim.holds)

    def bare(self) -> Self:
        """Only whether there are events."""
        return replace(self, leanings=(), examples=(), lately=(), lately_example="")
