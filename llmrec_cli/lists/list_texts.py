"""Texts over finished lists: why a row is there, a push line, a digest, news, each from what the evidence holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Any
from zlib import crc32

import pyarrow as pa

from llmrec_cli.core.artifacts import LIST_TEXTS
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.text_cleaning import plain
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.writing.claims import People
from llmrec_cli.writing.facts import LONGEST_TITLE
from llmrec_cli.writing.known_facts import sayable
from llmrec_cli.writing.text_checks import Allowed, fault
from llmrec_cli.writing.text_templates import Template

LONGEST = {"why": 400, "push": 90, "digest": 20_000, "news": 20_000}
"""Characters of a text."""
WHOLE = ("digest", "news")
"""Kinds that are written of a whole list."""
CUTS = (60, 40, 28, 20, 12)
"""Characters of the titles in a push line: the first with which it is short enough."""
MOST_THEMES = 4
"""Named themes of a digest."""
OF_EVENTS = ("followed", "together", "similar")


@dataclass(frozen=True)
class Pick:
    """A row of a list and what may be said of it to its reader. Every string has gone through `plain`."""

    item_id: str
    rank: int
    title: str
    themes: tuple[str, ...]
    """What it may be grouped by in a digest: its categories, the narrowest first, and its tags."""
    because: str
    """What speaks for the row: a kind of evidence on events, interest, favourite, chosen, history, or discover."""
    event: str = ""
    """Title of the reader's own choice that speaks for it."""
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
    *(Pick("i", 1, "a title", (), kind, "another", ("a theme",)) for kind in OF_EVENTS),
    Pick("i", 1, "a title", (), "interest", tags=("a theme", "another")),
    *(Pick("i", 1, "a title", (), kind) for kind in ("favourite", "chosen", "history", "discover")),
)
"""A pick of every kind, to try a template on."""


@lru_cache(1 << 16)
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
    themes: Mapping[str, tuple[str, ...]]
    """Item id -> what it may be grouped by."""
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
        catalogue: Catalogue,
        people: People,
    ) -> ListTexts:
        """`people` who chose the items of the catalogue."""
        ids, counts = catalogue.item_ids, people.counts
        levels = (path.split(" > ")[::-1] for path in catalogue.categories)
        themes = (sayable([*path, *tags]) for path, tags in zip(levels, catalogue.tags, strict=True))
        foremost = people.foremost() & (counts >= people.fewest)
        return cls(
            templates,
            fallback,
            titles={item: plain(title, LONGEST_TITLE) for item, title in zip(ids, catalogue.titles, strict=True)},
            themes=dict(zip(ids, themes, strict=True)),
            people=dict(zip(ids, counts.tolist(), strict=True)),
            favourites=frozenset(item for item, top in zip(ids, foremost.tolist(), strict=True) if top),
            fewest=people.fewest,
        )

    def table(self, rows: pa.Table) -> pa.Table:
        """The rows of `recommend/list_texts` for the lists of some users, given as rows of `recommendations`."""
        records = rows.select([USER, "rank", ITEM, "evidence"]).to_pylist()
        texts = []
        for user, mine in groupby(records, lambda row: row[USER]):
            picks, turn = [self.pick(row) for row in mine], crc32(user.encode())
            reasons: dict[int, str] = {}
            for kind in self.templates:
                found = self.written(kind, picks, turn, reasons)
                reasons |= {text["rank"]: text["text"] for text in found if kind == "why"}
                texts += [{USER: user, **text} for text in found]
        return pa.Table.from_pylist(texts, schema=LIST_TEXTS.schema)

    def pick(self, row: Mapping[str, Any]) -> Pick:
        """A row with the evidence that leads it, as far as it can be named to a reader."""
        item, evidence = row[ITEM], row["evidence"]
        facts = item, row["rank"], self.titles[item], self.themes[item]
        first = evidence[0] if evidence else {"kind": "history"}
        kind = first["kind"]
        if kind in OF_EVENTS:
            event, tag = self.titles[first[ITEM]], plain(first["tag"])
            known = event and (tag or kind != "similar")
            return Pick(*facts, kind, event, (tag,) if tag else ()) if known else Pick(*facts, "history")
        if kind == "interest":
            tags = tuple(filter(None, (plain(each["tag"]) for each in evidence[:2] if each["kind"] == kind)))
            return Pick(*facts, kind, tags=tags) if tags else Pick(*facts, "history")
        if kind == "history":
            return Pick(*facts, kind)
        chosen = "chosen" if self.people[item] >= self.fewest else "discover"
        return Pick(*facts, "favourite" if item in self.favourites else chosen)

    def written(self, kind: str, picks: list[Pick], turn: int, reasons: Mapping[int, str]) -> list[dict[str, Any]]:
        """The texts of one kind for one list; `reasons` are those of its rows, for a digest."""
        if kind == "why":
            found = [self.checked(kind, [pick], turn + pick.rank, reasons) for pick in picks]
        else:
            named = [pick for pick in picks if pick.title]
            telling = [pick for pick in named if pick.because in (*OF_EVENTS, "interest")]
            chosen = named if kind in WHOLE else (telling or named)[:1]
            found = [self.checked(kind, chosen, turn, reasons)] if chosen else []
        return [text for text in found if text]

    def checked(self, kind: str, picks: list[Pick], turn: int, reasons: Mapping[int, str]) -> dict[str, Any] | None:
        """A text that passes its check, by the program's own template where the user's does not; None without one."""
        for template in filter(None, (self.templates[kind], self.fallback.get(kind))):
            text, why = fitted(template, picks, turn, reasons)
            if not why:
                return {
                    "kind": kind,
                    "rank": 0 if kind in WHOLE else picks[0].rank,
                    "text": text,
                    "item_ids": [pick.item_id for pick in picks],
                    "facts": [fact for pick in picks for fact in pick.facts],
                    "language": template.language,
                    "template_sha256": template.sha256,
                }
            self.faults[f"{kind}: {why.partition(':')[0]}"] += 1
        return None


def fitted(template: Template, picks: list[Pick], turn: int, reasons: Mapping[int, str]) -> tuple[str, str]:
    """The text and what is wrong with it; a push line with titles as long as it can have."""
    kind, longest = template.kind, LONGEST[template.kind]
    for cut in CUTS if kind == "push" else (LONGEST_TITLE,):
        facts = [pick.variables(cut) for pick in picks]
        variables = digest(picks, reasons) if kind in WHOLE else facts[0]
        text = template.render(variables, turn)
        if len(text) <= longest:
            break
    names = {name for each in facts for name in (each["event"], each["title"], *each["tags"])}
    needed = [each["title"] for each in facts]
    if kind == "why":
        needed = [facts[0]["event"]] if picks[0].event else facts[0]["tags"]
    if kind in WHOLE:
        names |= {theme["name"] for theme in variables["themes"]}
    numbers = {str(len(picks))} if kind in WHOLE else set()
    return text, fault(text, template.language, Allowed(names, needed, numbers, longest))


def digest(picks: Sequence[Pick], reasons: Mapping[int, str]) -> dict[str, Any]:
    """What the template of a digest gets; each pick with its reason, where one could be said."""
    entries = {
        pick.rank: {"title": quoted(pick.title), "why": reasons.get(pick.rank, ""), "leads": pick is picks[0]}
        for pick in picks
    }
    themes = [
        {"name": name and quoted(name), "picks": [entries[pick.rank] for pick in mine]} for name, mine in grouped(picks)
    ]
    return {"themes": themes, "n": len(picks), "lead": entries[picks[0].rank]}


def grouped(picks: Sequence[Pick]) -> list[tuple[str, list[Pick]]]:
    """At most `MOST_THEMES` themes that some but not all have, that of most picks first; the others without a name."""
    left = list(picks)
    out: list[tuple[str, list[Pick]]] = []
    while len(out) < MOST_THEMES:
        counts = Counter(theme for pick in left for theme in pick.themes)
        telling = [theme for theme in counts if 2 <= counts[theme] < len(picks)]
        if not telling:
            break
        best = max(telling, key=counts.__getitem__)
        out.append((best, [pick for pick in left if best in pick.themes]))
        left = [pick for pick in left if best not in pick.themes]
    return [*out, ("", left)] if left else out


def tried(template: Template) -> None:
    """Render the template for a pick of every kind in every form: SettingsError for one that cannot be used."""
    entries = [{"title": quoted(each.title), "why": "because.", "leads": each is SPECIMENS[0]} for each in SPECIMENS]
    groups = [{"name": name, "picks": entries} for name in (quoted("a theme"), "")]
    several = {"themes": groups, "n": len(entries), "lead": entries[0]}
    tries = [several] if template.kind in WHOLE else [each.variables() for each in SPECIMENS]
    for facts in tries:
        for turn in range(12):
            template.render(facts, turn)
