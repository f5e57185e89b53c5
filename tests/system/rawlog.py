"""The raw log and the item file, read with pandas alone: what the recount counts. It imports nothing of the program."""

from __future__ import annotations

import gzip
import html
import io
import itertools
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

STOP_WORDS = frozenset(
    """a about all an and any are as at be been but by can for from has have he her his how if in into is it its just
    my no not of off on one or our out over per she so than that the their them then there these they this to too two
    up us was we were what when where which who will with without you your""".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Source:
    """How raw files were read: places of columns, as in the settings of `clean`."""

    log: Path
    user: str
    item: str
    time: str | None = None
    columns: tuple[str, ...] = ()
    items: Path | None = None
    item_columns: tuple[str, ...] = ()
    item_key: str = ""
    seen_only: str = ""
    """Anything: the catalogue leaves out what nobody chose (`unseen = "drop"`)."""
    title: str | None = None
    category: str | None = None
    category_separator: str = ""
    tags: str | None = None
    tags_separator: str = ""
    attributes: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    review: str | None = None
    stars: str | None = None


@dataclass(frozen=True)
class Review:
    user: str
    stars: float
    text: str
    row: int


@dataclass
class Item:
    title: str = ""
    text: str = ""
    levels: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    values: dict[str, set[str]] = field(default_factory=dict)
    """Attribute -> every value that stands beside the item."""


@dataclass
class Facts:
    """Kept events and items, as the raw files have them."""

    events: pd.DataFrame
    """user, item, time (seconds, 0 where there is none); by user and in order of time and row."""
    items: dict[str, Item]
    timed: bool
    reviews: dict[str, list[Review]] = field(default_factory=dict)
    """Item -> what kept events say of it."""

    @cached_property
    def history(self) -> dict[str, list[str]]:
        return {str(user): list(items) for user, items in self.events.groupby("user")["item"]}

    @cached_property
    def times(self) -> dict[str, list[float]]:
        return {str(user): list(times) for user, times in self.events.groupby("user")["time"]}

    @cached_property
    def first(self) -> dict[str, dict[str, float]]:
        """Item -> user -> time of the first choice."""
        out: dict[str, dict[str, float]] = defaultdict(dict)
        for user, item, time in self.events[["user", "item", "time"]].itertuples(index=False):
            out[item][user] = min(time, out[item].get(user, time))
        return dict(out)

    @cached_property
    def people(self) -> dict[str, int]:
        return {item: len(users) for item, users in self.first.items()}

    @cached_property
    def tag_events(self) -> dict[str, int]:
        """Tag -> events of everybody whose item has it."""
        out: dict[str, int] = defaultdict(int)
        for item, n in self.events["item"].value_counts().items():
            for tag in self.items[str(item)].tags:
                out[tag] += int(n)
        return dict(out)

    @cached_property
    def called(self) -> dict[str, list[str]]:
        """What a title comes down to -> items of that title."""
        out: dict[str, list[str]] = defaultdict(list)
        for item_id, item in self.items.items():
            out[key(item.title or item_id)].append(item_id)
        return dict(out)

    def titled(self, quoted: str) -> set[str]:
        """Items of a title as it is quoted; one that ends in … is the beginning of a title."""
        if not quoted.endswith("…"):
            return set(self.called.get(key(quoted), ()))
        begin = key(quoted)
        return {item for name, items in self.called.items() if name.startswith(begin) for item in items}


def key(text: str) -> str:
    """Letters and digits alone: what is left of a title under any quoting."""
    bare = re.sub(r"<[^<>]*>", " ", html.unescape(text))
    return re.sub(r"[\W_]+", "", bare).casefold() or bare.strip()


def read(source: Source, rejects: Path) -> Facts:
    """Facts of the raw rows whose numbers are not among the `rejects` (clean/rejects.parquet)."""
    raw = table(source.log, source.columns)
    gone = pd.read_parquet(rejects, columns=["row"])["row"]
    assert gone.is_unique and gone.isin(raw.index).all(), "the rejects are not rows of this log"
    kept = raw[~raw.index.isin(gone)]
    time = seconds(kept[source.time]) if source.time else pd.Series(0.0, index=kept.index)
    events = pd.DataFrame({"user": tidy(kept[source.user]), "item": tidy(kept[source.item]), "time": time})
    events["row"] = events.index
    events = events.sort_values(["user", "time", "row"], kind="stable")
    items = described(source, raw, set(events["item"]))
    items |= {item: Item() for item in events["item"].unique() if item not in items}
    reviews: dict[str, list[Review]] = defaultdict(list)
    if source.review:
        for row, user, item, text, stars in zip(
            kept.index,
            events["user"].reindex(kept.index),
            events["item"].reindex(kept.index),
            tidy(kept[source.review].fillna("")),
            kept[source.stars] if source.stars else [0] * len(kept),
            strict=True,
        ):
            if text:
                reviews[item].append(Review(user, float(stars), text, row))
    return Facts(events, items, source.time is not None, dict(reviews))


def table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """All rows as text, numbered from 1; CSV, "::" between columns where these are named, or a JSON object a line."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    with io.StringIO(content.decode("latin-1" if columns else "utf-8")) as lines:
        if columns:
            frame = pd.DataFrame([line.rstrip("\n").split("::") for line in lines], columns=list(columns))
        elif ".json" in path.name:
            frame = pd.DataFrame([json.loads(line) for line in lines])
        else:
            frame = pd.read_csv(lines, dtype=str, keep_default_na=False)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


def tidy(column: pd.Series) -> pd.Series:
    return column.map(lambda value: " ".join(str(value).split()) if value is not None else "")


def seconds(column: pd.Series) -> pd.Series:
    """Seconds since 1970, from numbers of them or from dates."""
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().all():
        return numbers.astype(float)
    return (pd.to_datetime(column) - pd.Timestamp(0)).dt.total_seconds()


def parts(value: Any) -> list[str]:
    """The texts of a value, be it a list or one."""
    found = value if isinstance(value, list) else [value]
    texts = [" ".join(str(each).split()) for each in found if not pd.isna(each)]
    return [html.unescape(text) for text in texts if text]


def described(source: Source, raw: pd.DataFrame, kept: set[str]) -> dict[str, Item]:
    """What the item file says, its first row of an item; without one what the log says most often."""
    out: dict[str, Item] = {}
    if source.items is not None:
        frame = table(source.items, source.item_columns).fillna("")
        for row in frame.to_dict("records"):
            out.setdefault(" ".join(str(row[source.item_key]).split()), _item(source, row))
    else:
        ids = tidy(raw[source.item])
        for item_id, rows in raw[ids.isin(kept)].groupby(ids):
            out[str(item_id)] = item = Item()
            if source.title:
                counts = tidy(rows[source.title]).loc[lambda titles: titles != ""].value_counts(sort=False)
                item.title = html.unescape(str(counts.idxmax())) if len(counts) else ""
            item.values = {name: set(tidy(rows[name])) for name in source.attributes}
    if source.seen_only:
        out = {item_id: item for item_id, item in out.items() if item_id in kept}
    words = title_words({item_id: item.title for item_id, item in out.items()})
    for item_id, item in out.items():
        item.tags = item.tags or item.levels or words[item_id]
    return out


def _item(source: Source, row: dict[str, Any]) -> Item:
    def split(value: Any, separator: str) -> list[str]:
        texts = parts(value)
        return [each.strip() for text in texts for each in (text.split(separator) if separator else [text])]

    item = Item(title=" ".join(parts(row.get(source.title))) if source.title else "")
    if source.category:
        item.levels = split(row[source.category], source.category_separator)
    if source.tags:
        item.tags = split(row[source.tags], source.tags_separator)
    item.text = " ".join(part for name in source.text for part in parts(row.get(name)))
    item.values = {name: {", ".join(parts(row.get(name)))} for name in source.attributes}
    return item


def title_words(titles: dict[str, str]) -> dict[str, list[str]]:
    """Up to five words or phrases of each title, those of fewest titles first: the tags of items that have no others.

    A word has three letters, stands in two titles (one of 500) at least and in a tenth of them at most.
    """
    pattern = r"(?:(?<=[^\W\d_]{2})['’](?=[^\W\d_])|[^\W_])+"
    words = {item: re.findall(pattern, title.lower()) for item, title in titles.items()}
    for _ in range(2):
        words = joined(words)
    distinct = {item: list(dict.fromkeys(each)) for item, each in words.items()}
    counts = Counter(word for each in distinct.values() for word in each)
    n = len(titles)

    def telling(word: str) -> bool:
        known = in_phrases(word) and len(word) > 2
        return known and max(2, n / 500) <= counts[word] <= max(2, n / 10)

    return {item: sorted(filter(telling, each), key=lambda w: (counts[w], w))[:5] for item, each in distinct.items()}


def in_phrases(word: str) -> bool:
    return word not in STOP_WORDS and bool(re.search(r"[^\W\d_]", word))


def joined(words: dict[str, list[str]]) -> dict[str, list[str]]:
    """Neighbours that stand together with an NPMI of .6, in three titles (one of 500), as one phrase of three words."""
    pairs = {item: list(itertools.pairwise(each)) for item, each in words.items()}
    alone = Counter(word for each in words.values() for word in each)
    together, n = Counter(pair for each in pairs.values() for pair in each), len(words)

    def npmi(pair: tuple[str, str]) -> float:
        if not all(map(in_phrases, pair)) or sum(len(word.split()) for word in pair) > 3:
            return -1.0
        if together[pair] < max(3, n / 500):
            return -1.0
        share = min(together[pair] / n, 1 - 1e-9)
        return float(np.log(together[pair] * n / (alone[pair[0]] * alone[pair[1]])) / -np.log(share))

    out = {}
    for item, each in words.items():
        scores = [-1.0, *map(npmi, pairs[item]), -1.0, -1.0]
        begins = {i for i in range(len(pairs[item])) if scores[i] < scores[i + 1] >= max(scores[i + 2], 0.6)}
        out[item] = [
            f"{word} {each[i + 1]}" if i in begins else word for i, word in enumerate(each) if i - 1 not in begins
        ]
    return out


def lower_bound(n: int, of: int) -> float:
    """One-sided 95 % by Wilson."""
    if of == 0:
        return 0.0
    z, share = 1.6449, n / of
    centre = share + z * z / (2 * of)
    return float((centre - z * np.sqrt(share * (1 - share) / of + z * z / (4 * of * of))) / (1 + z * z / of))
