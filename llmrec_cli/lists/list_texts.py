"""Texts over finished lists: why a row is there, a push line, each from what the evidence holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any
from zlib import crc32

import pyarrow as pa

from llmrec_cli.core.arrays import Bools, Ints
from llmrec_cli.core.artifacts import LIST_TEXTS
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.text_cleaning import plain
from llmrec_cli.writing.claims import People
from llmrec_cli.writing.facts import LONGEST_TITLE
from llmrec_cli.writing.text_checks import Allowed, fault
from llmrec_cli.writing.text_templates import Template

LONGEST_PUSH = 90
CUTS = (60, 40, 28, 20, 12)
"""Characters of the titles in a push line: the first with which it is short enough."""
OF_EVENTS = ("followed", "together", "similar")


@dataclass(frozen=True)
class Pick:
    """A row of a list and what may be said of it to its reader. Every string has gone through `plain`."""

    item_id: str
    rank: int
    title: str
    because: str
    """What speaks for the row: a kind of evidence on events, interest, favourite, chosen, history, or discover."""
    event: str = ""
    """Title of the reader's own choice that speaks for it."""
    event_id: str = ""
    tags: tuple[str, ...] = ()
    """What both items have, or the interest."""

    def variables(self, cut: int = LONGEST_TITLE) -> dict[str, Any]:
        """What a template gets: names in quotation marks, titles cut to so many characters."""
        event = quoted(self.event, cut) if self.event else ""
        return {
            "because": self.because,
            "event": event,
            "title": quoted(self.title, cut),
            "tags": [quoted(tag, cut) for tag in self.tags],
        }

    @property
    def facts(self) -> list[dict[str, str]]:
        """What the row rests on, as the column `facts` has it."""
        found = [("because", self.because), ("event", self.event), *(("tag", tag) for tag in self.tags)]
        return [{"name": name, "value": value} for name, value in found if value]


SPECIMENS = (
    *(Pick("i", 1, "a title", kind, "another", "j", ("a theme",)) for kind in OF_EVENTS),
    Pick("i", 1, "a title", "interest", tags=("a theme", "another")),
    *(Pick("i", 1, "a title", kind) for kind in ("favourite", "chosen", "history", "discover")),
)
"""A pick of every kind, to try a template on."""


def quoted(name: str, cut: int = LONGEST_TITLE) -> str:
    return f"“{plain(name, cut)}”"


@dataclass(frozen=True)
class ListTexts:
    """Writes the texts of lists; counts what was not fit to print and who wrote in its place."""

    templates: Mapping[str, Template]
    fallback: Mapping[str, Template]
    """The program's own in that language, where there are any."""
    titles: Mapping[str, str]
    """Item id -> its title, "" where it has none."""
    people: Mapping[str, int]
    """Item id -> people who chose it."""
    favourites: frozenset[str]
    """Items of the foremost tenth."""
    fewest: int
    """People that a sentence on others needs."""
    faults: Counter[str] = field(default_factory=Counter)
    """Kind of text, a colon and what was wrong -> how often the user's template wrote it."""

    @classmethod
    def of(
        cls,
        templates: Mapping[str, Template],
        fallback: Mapping[str, Template],
        *,
        items: tuple[Sequence[str], Sequence[str]],
        people: People,
    ) -> ListTexts:
        """`items` are ids and titles in the order of `people`."""
        ids, titles = items
        counts: Ints = people.counts
        foremost: Bools = people.foremost() & (counts >= people.fewest)
        return cls(
            templates,
            fallback,
            titles={item: plain(title, LONGEST_TITLE) for item, title in zip(ids, titles, strict=True)},
            people=dict(zip(ids, counts.tolist(), strict=True)),
            favourites=frozenset(item for item, top in zip(ids, foremost.tolist(), strict=True) if top),
            fewest=people.fewest,
        )

    def table(self, rows: pa.Table) -> pa.Table:
        """The rows of `recommend/list_texts` for the lists of some users, given as rows of `recommendations`."""
        records = rows.select([USER, "rank", ITEM, "evidence"]).to_pylist()
        texts = []
        for user, mine in groupby(records, lambda row: row[USER]):
            picks = [self.pick(row) for row in mine]
            for kind in self.templates:
                texts += [{USER: user, **text} for text in self.written(kind, picks, crc32(user.encode()))]
        return pa.Table.from_pylist(texts, schema=LIST_TEXTS.schema)

    def pick(self, row: Mapping[str, Any]) -> Pick:
        """A row with the evidence that leads it, as far as it can be named to a reader."""
        item, evidence = row[ITEM], row["evidence"]
        facts = item, row["rank"], self.titles[item]
        first = evidence[0] if evidence else {"kind": "history"}
        kind = first["kind"]
        if kind in OF_EVENTS:
            event, tag = self.titles[first[ITEM]], plain(first["tag"])
            known = event and (tag or kind != "similar")
            return Pick(*facts, kind, event, first[ITEM], (tag,) if tag else ()) if known else Pick(*facts, "history")
        if kind == "interest":
            tags = tuple(filter(None, (plain(each["tag"]) for each in evidence[:2] if each["kind"] == kind)))
            return Pick(*facts, kind, tags=tags) if tags else Pick(*facts, "history")
        if kind == "history":
            return Pick(*facts, kind)
        chosen = "chosen" if self.people[item] >= self.fewest else "discover"
        return Pick(*facts, "favourite" if item in self.favourites else chosen)

    def written(self, kind: str, picks: list[Pick], turn: int) -> list[dict[str, Any]]:
        """The texts of one kind for one list."""
        if kind == "why":
            found = [self.checked(kind, [pick], turn + pick.rank) for pick in picks]
        else:
            named = [pick for pick in picks if pick.title]
            telling = [pick for pick in named if pick.because in (*OF_EVENTS, "interest")]
            found = [self.checked(kind, [pick], turn) for pick in (telling or named)[:1]]
        return [text for text in found if text]

    def checked(self, kind: str, picks: list[Pick], turn: int) -> dict[str, Any] | None:
        """A text that passes its check, by the program's own template where the user's does not; None without one."""
        for template in filter(None, (self.templates[kind], self.fallback.get(kind))):
            text, why = self.fitted(template, picks, turn)
            if not why:
                return {
                    "kind": kind,
                    "rank": picks[0].rank,
                    "text": text,
                    "item_ids": [pick.item_id for pick in picks],
                    "facts": [fact for pick in picks for fact in pick.facts],
                    "language": template.language,
                    "template_sha256": template.sha256,
                }
            self.faults[f"{kind}: {why.partition(':')[0]}"] += 1
        return None

    def fitted(self, template: Template, picks: list[Pick], turn: int) -> tuple[str, str]:
        """The text and what is wrong with it; a push line with titles as long as it can have."""
        (pick,) = picks
        if template.kind == "why":
            facts = pick.variables()
            needed = [facts["event"]] if pick.event else facts["tags"]
            text = template.render(facts, turn)
            return text, fault(text, template.language, Allowed(names_of(facts), needed))
        for cut in CUTS:
            facts = pick.variables(cut)
            text = template.render(facts, turn)
            allowed = Allowed(names_of(facts), [facts["title"]], longest=LONGEST_PUSH)
            if len(text) <= LONGEST_PUSH:
                break
        return text, fault(text, template.language, allowed)


def names_of(facts: Mapping[str, Any]) -> set[str]:
    """What a text from these variables may quote."""
    return {facts["event"], facts["title"], *facts["tags"]}


def tried(template: Template) -> None:
    """Render the template for a pick of every kind in every form: SettingsError for one that cannot be used."""
    for specimen in SPECIMENS:
        for turn in range(12):
            template.render(specimen.variables(), turn)
