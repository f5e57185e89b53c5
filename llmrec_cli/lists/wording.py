"""The sentences of explanations. Each has its condition in `claims` and its row in `docs/truth.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmrec_cli.core.arrays import Bools, Ints
from llmrec_cli.core.text_cleaning import one_line, shortened
from llmrec_cli.lists.evidence import (
    EVERYONE,
    FOLLOWED,
    INTEREST,
    SEGMENT,
    SIMILAR,
    TOGETHER,
    Evidence,
)

LONGEST_TITLE = 80

ABOUT_EVENTS = {
    (FOLLOWED, True): "Because you chose {title}: people who did often chose this later.",
    (FOLLOWED, False): "Because you chose {title}: others who did chose this later.",
    (TOGETHER, True): "People who chose {title}, as you did, often chose this too.",
    (TOGETHER, False): "Others who chose {title}, as you did, chose this too.",
    (SIMILAR, True): "Like {title}, which you chose, it is tagged {tags}.",
    (SIMILAR, False): "Like {title}, which you chose, it is tagged {tags}.",
}
NEW_LIKE = "New, like {title}, which you chose."
INTERESTED = "Fits your interest in {tags}."
POPULAR = "One of the items that the most people chose."
CHOSEN, CHOSEN_ONCE, NEW = "Chosen by {n} people.", "Chosen by one person.", "Nobody has chosen it yet."
IN_ORDER = "Picked by a model that reads your choices in order."
BY_OTHERS = "Picked by a model that compares your choices with those of others."
BY_CONTENT = "Picked by a model that compares what it is with what you chose."
PLAIN = "Picked by a model that reads what you chose."
FITS = "Fits {wish}."
MORE, LESS = "More of {wish}, as you wish.", "Less of {wish} is wished, and this is left."
PINNED = "Placed first by those who run this."
EXPLORED = "New here, shown to find out who likes it."
SENTENCES = (*dict.fromkeys(ABOUT_EVENTS.values()), NEW_LIKE, INTERESTED, POPULAR, CHOSEN, CHOSEN_ONCE, NEW)
SENTENCES = (*SENTENCES, IN_ORDER, BY_OTHERS, BY_CONTENT, PLAIN, FITS, MORE, LESS, PINNED, EXPLORED)
"""Every form that an explanation can have."""
BY_MODEL = {"followed": IN_ORDER, "together": BY_OTHERS, "similar": BY_CONTENT}


@dataclass(frozen=True)
class Wording:
    """Turns evidence that holds into sentences."""

    kinds: Mapping[str, str]
    """Retriever -> what its lists go by, a name of `KINDS` or ""."""
    titles: Sequence[str]
    """(items,) what to call an item."""
    tags: Sequence[str]
    """What the tag codes of the evidence mean."""
    people: Ints
    """(items,) who chose it."""
    foremost: Bools
    """(items,) whether it is among the items that most people choose."""
    timed: bool
    """Whether the log has times, so that a sentence may speak of an order."""

    def sentences(self, evidence: Evidence, strategies: Sequence[str], items: Sequence[int]) -> list[str]:
        """One for each row, whose item and strategy are given."""
        first = evidence.first(len(strategies)).tolist()
        second = np.append(evidence.rows[1:] == evidence.rows[:-1], False)
        return [
            self._of(evidence, piece, bool(second[piece]), item) if piece >= 0 else self._without(strategy, item)
            for piece, strategy, item in zip(first, strategies, items, strict=True)
        ]

    def _of(self, evidence: Evidence, piece: int, more: bool, item: int) -> str:
        kind = int(evidence.kinds[piece])
        if kind == INTEREST:
            tags = [self.tags[evidence.tags[piece]]]
            if more and evidence.kinds[piece + 1] == INTEREST:
                tags.append(self.tags[evidence.tags[piece + 1]])
            return INTERESTED.format(tags=" and ".join(map(quoted, tags)))
        if kind in (SEGMENT, EVERYONE):
            return self._popular(item)
        title = quoted(self.titles[evidence.items[piece]])
        if kind == SIMILAR and not self.people[item]:
            return NEW_LIKE.format(title=title)
        tag = quoted(self.tags[evidence.tags[piece]]) if kind == SIMILAR else ""
        return ABOUT_EVENTS[kind, bool(evidence.often[piece])].format(title=title, tags=tag)

    def _popular(self, item: int) -> str:
        """Of rows that popularity carries, a segment's too: what is held of a person stays out of the sentence."""
        if self.foremost[item]:
            return POPULAR
        n = int(self.people[item])
        return CHOSEN.format(n=f"{n:,}") if n > 1 else CHOSEN_ONCE if n else NEW

    def _without(self, strategy: str, item: int) -> str:
        """Nothing that can be counted speaks for the row: what the model that carries it looks at."""
        kind = self.kinds.get(strategy, "")
        return PLAIN if kind == "followed" and not self.timed else BY_MODEL.get(kind, PLAIN)


def quoted(title: str) -> str:
    """The title in quotation marks, cut at a word to `LONGEST_TITLE` characters."""
    line = one_line(title.replace("“", "'").replace("”", "'"))
    return f"“{shortened(line, LONGEST_TITLE, ' ,;:')}”"
