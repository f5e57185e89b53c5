"""What `show` tells of one user or one item."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.artifacts import (
    ITEM_RANGES,
    ITEM_TEXTS,
    ITEM_VECTORS,
    ITEMS,
    PROFILES,
    RECOMMENDATIONS,
    SEQUENCES,
    TASTE_TEXTS,
    Table,
)
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.lineage import vouched
from llmrec_cli.core.min_support import enough, least_people
from llmrec_cli.core.workdir import WorkDir, to_numpy

Json = dict[str, Any]
NEWEST, NEIGHBOURS = 15, 8
"""Events and neighbours that are told."""
WIDTH = 110
"""Characters of a line of the profile; what is longer goes on below."""


@dataclass(frozen=True)
class Shown:
    """The same twice: lines for a person, plain data for a program."""

    lines: list[str]
    data: Json


def user(work: WorkDir, user_id: str) -> Shown:
    """Profile, newest choices and recommendations of a user; DataError with near ids for one that is not known."""
    _whole(work, PROFILES, ITEMS, SEQUENCES, TASTE_TEXTS, RECOMMENDATIONS)
    profile = next(iter(rows_of(work, PROFILES, "user_id", [readable(user_id)]).to_pylist()), None)
    if profile is None:
        raise unknown("user", user_id, work.read(PROFILES, ["user_id"]).column("user_id"))
    titles = Titles(work)
    history: Json = next(
        iter(rows_of(work, SEQUENCES, "user_id", [user_id]).to_pylist()), {"item_ids": [], "times": []}
    )
    newest = list(zip(history["item_ids"], history["times"], strict=True))[::-1][:NEWEST]
    taste = next(iter(_optional(work, TASTE_TEXTS, "user_id", user_id)), {"text": ""})["text"]
    lists = _list(work, user_id, titles) if work.has(RECOMMENDATIONS) else None
    data = {
        **{name: profile[name] for name in ("user_id", "n_events", "cold", "segment", "age_band", "gender", "region")},
        "last_time": profile["last_time"],
        **{name: _rounded(profile[name]) for name in ("interests", "recent_interests", "changes", "topics", "brands")},
        "price": profile["price"] and _rounded([profile["price"]])[0],
        "taste": taste,
        "history": [{"item_id": i, "title": titles[i], "time": time} for i, time in newest],
        "recommendations": lists or [],
    }
    about = [f"{data['n_events']:,} events", *filter(None, (data["age_band"], data["gender"], data["region"]))]
    lines = [f"user {user_id}: {', '.join(about)}", *_profile_lines(data)]
    if data["history"]:
        lines += ["newest choices", *(f"  {_day(each['time'])}{each['title']}" for each in data["history"])]
    listed = ["  none yet: `llmrec recommend` makes them"] if lists is None else list_lines(lists)
    return Shown([*lines, "recommendations", *listed], data)


def _profile_lines(data: Json) -> list[str]:
    """Segment, interests with the events behind them, what rises and falls, topics, habits and taste."""
    rising = [each for each in data["changes"] if each["lately"] > each["before"]]
    falling = [each for each in data["changes"] if each["lately"] < each["before"]]
    brands = [
        f"{each['tag']} {each['share']:.0%} of the events ({each['support']}, lift {each['lift']:.1f})"
        for each in data["brands"]
    ]
    rows = {
        "segment": [data["segment"] + (", which interests and topics are taken from" if data["cold"] else "")],
        "interests": _interests(data["interests"]),
        "lately": _interests(data["recent_interests"]),
        "rising": [f"{each['tag']} {each['before']:.0%} → {each['lately']:.0%}" for each in rising],
        "falling": [f"{each['tag']} {each['before']:.0%} → {each['lately']:.0%}" for each in falling],
        "topics": [f"{each['tag']} {each['weight']:.0%}" for each in data["topics"]],
        "brands": brands,
        "taste": [data["taste"]] if data["taste"] else [],
    }
    if price := data["price"]:
        level = f"at {price['level']:.0%} between the cheapest and the dearest like it"
        rows["price"] = [f"{price['typical']:,.2f} typically, {level} ({price['support']} events)"]
    if data["last_time"] is None:  # nothing is known of an order
        rows = {label: parts for label, parts in rows.items() if label not in ("lately", "rising", "falling")}
    wrap = textwrap.TextWrapper(WIDTH, subsequent_indent=" " * 13, break_on_hyphens=False, break_long_words=False)
    return [line for label, parts in rows.items() if parts for line in wrap.wrap(f"  {label:<10} {', '.join(parts)}")]


def _interests(tags: Sequence[Json]) -> list[str]:
    """Each with its weight and, where there are any, the user's own events that have it."""
    return [f"{each['tag']} {each['weight']:.0%}" + (f" ({n})" if (n := each["support"]) else "") for each in tags]


def item(work: WorkDir, item_id: str) -> Shown:
    """Facts, description, nearest items and how often an item is recommended; DataError with near ids or titles."""
    _whole(work, ITEMS, SEQUENCES, ITEM_RANGES, ITEM_TEXTS, ITEM_VECTORS, RECOMMENDATIONS)
    row = _item_row(work, item_id)
    least, people = least_people(work), _people(work, row["item_id"])
    data = {
        **{name: row[name] for name in ("item_id", "title", "category", "tags", "n_events")},
        "people": people if enough(people, least) else None,
        "attributes": {each["name"]: each["value"] for each in row["attributes"] or []} | _ranges(work, row["item_id"]),
        "text": next(iter(_optional(work, ITEM_TEXTS, "item_id", item_id)), {"text": row["text"] or ""})["text"],
        "neighbours": _neighbours(work, item_id, NEIGHBOURS),
        "recommended": _recommended_to(work, item_id),
    }
    lines = [f"item {item_id}: {row['title'] or '(no title)'}", f"  chosen     by {counted(people, least)}"]
    facts = {"category": row["category"], "tags": ", ".join(row["tags"] or []), **data["attributes"]}
    lines += [f"  {name:<10} {value}" for name, value in {**facts, "text": data["text"]}.items() if value]
    told = data["recommended"]
    if told is not None:
        mean = f", at place {told['mean_rank']:.1f} on average" if told["mean_rank"] else ""
        of = f"fewer than {least}" if told["users"] is None else f"{told['users']:,}"
        lines.append(f"  in lists   of {of} users{mean}")
    if data["neighbours"]:
        lines.append("nearest items, as the sequence model sees them")
        lines += [f"  {each['similarity']:.2f}  {each['title']}" for each in data["neighbours"]]
    return Shown(lines, data)


def _list(work: WorkDir, user_id: str, titles: Titles) -> list[Json]:
    rows = rows_of(work, RECOMMENDATIONS, "user_id", [user_id]).sort_by("rank").to_pylist()
    return [describe(row, titles) for row in rows]


def describe(row: Json, titles: Titles) -> Json:
    """A row of recommendations with the titles of its item and of its evidence."""
    evidence = [
        {key: value for key, value in each.items() if value is not None}
        | ({"title": titles[each["item_id"]]} if each["item_id"] else {})
        for each in row["evidence"]
    ]
    told = {key: row[key] for key in ("rank", "item_id", "score", "strategy", "reason")}
    return {**told, "title": titles[row["item_id"]], "evidence": evidence}


def list_lines(rows: Sequence[Json]) -> list[str]:
    """A line for each row of a list: place, title, reason."""
    if not rows:
        return ["  none"]
    width = min(48, max(len(row["title"]) for row in rows))
    return [f"{row['rank']:>4}  {_cut(row['title'], width):<{width}}  {row['reason']}" for row in rows]


def similar(work: WorkDir, item_id: str, n: int) -> list[Json]:
    """The n items nearest to this one, as the sequence model sees them; DataError with near ids or titles."""
    vouched(work, [ITEMS, ITEM_VECTORS])
    _item_row(work, item_id)
    return _neighbours(work, item_id, n)


def _item_row(work: WorkDir, item_id: str) -> Json:
    row: Json | None = next(iter(rows_of(work, ITEMS, "item_id", [readable(item_id)]).to_pylist()), None)
    if row is None:
        items = work.read(ITEMS, ["item_id", "title"])
        raise unknown("item", item_id, items.column("item_id"), items.column("title"))
    return row


def _neighbours(work: WorkDir, item_id: str, n: int) -> list[Json]:
    if not work.has(ITEM_VECTORS):
        return []
    table = work.read(ITEM_VECTORS)
    rows = to_numpy(table.column("vector"))
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    place = pc.index(table.column("item_id"), pa.scalar(item_id)).as_py()
    similarity = unit @ unit[place]
    titles, ids = Titles(work), table.column("item_id")
    order = [code for code in np.argsort(-similarity, kind="stable")[: n + 1].tolist() if code != place]
    return [
        {"item_id": other, "title": titles[other], "similarity": round(float(similarity[code]), 4)}
        for code in order[:n]
        for other in [ids[code].as_py()]
    ]


def counted(people: int, least: int = 0) -> str:
    """ "1 person", "2,000 people", "fewer than 5 people" where that is all that may be shown."""
    if not enough(people, least):
        return f"fewer than {least} people"
    return f"{people:,} {'person' if people == 1 else 'people'}"


def _people(work: WorkDir, item_id: str) -> int:
    """How many users chose the item."""
    wanted, found = pa.scalar(item_id), 0
    for piece in work.batches(SEQUENCES, columns=["item_ids"]):
        lists = piece.column("item_ids")
        hits = pc.fill_null(pc.equal(pc.list_flatten(lists), wanted), False)
        found += len(pc.unique(pc.list_parent_indices(lists).filter(hits)))
    return found


def _ranges(work: WorkDir, item_id: str) -> Json:
    """Attributes of the item that vary in the log, as ranges."""
    return {row["name"]: f"{row['low']} to {row['high']}" for row in _optional(work, ITEM_RANGES, "item_id", item_id)}


def _recommended_to(work: WorkDir, item_id: str) -> Json | None:
    """How many lists have the item and at which place; None before `recommend` has run."""
    if not work.has(RECOMMENDATIONS):
        return None
    ranks = rows_of(work, RECOMMENDATIONS, "item_id", [item_id]).column("rank").to_numpy()
    if not enough(len(ranks), least_people(work)):
        return {"users": None, "mean_rank": None}
    return {"users": len(ranks), "mean_rank": round(float(ranks.mean()), 2) if len(ranks) else None}


class Titles:
    """Item id -> what to call the item."""

    def __init__(self, work: WorkDir) -> None:
        items = work.read(ITEMS, ["item_id", "title"])
        self.titles = dict(zip(items.column("item_id").to_pylist(), items.column("title").to_pylist(), strict=True))

    def __getitem__(self, item_id: str) -> str:
        return self.titles.get(item_id) or item_id


def readable(name: str) -> str:
    """The id as it was typed; SettingsError for bytes that are no text."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"the id {name!r} is not UTF-8", fix="type it as it stands in the log") from error
    return name


def _whole(work: WorkDir, *tables: Table) -> None:
    """What is there of these is what its makers signed, of one log; UpstreamError otherwise. None must be there yet."""
    vouched(work, [replace(table, optional=True) for table in tables])


def rows_of(work: WorkDir, table: Table, key: str, ids: Sequence[str]) -> pa.Table:
    """The rows of some ids, found in one pass that holds a piece of the table at a time."""
    work.need(table)
    wanted = pa.array(ids, type=pa.string())
    pieces = [piece.filter(pc.is_in(piece.column(key), value_set=wanted)) for piece in work.batches(table)]
    return pa.Table.from_batches(pieces) if pieces else table.schema.empty_table()


def _optional(work: WorkDir, table: Table, key: str, wanted: str) -> list[Json]:
    return rows_of(work, table, key, [wanted]).to_pylist() if work.has(table) else []


def unknown(kind: str, wanted: str, ids: pa.ChunkedArray[Any], titles: pa.ChunkedArray[Any] | None = None) -> DataError:
    """The error for an id that is not there, with up to three ids (or titles) near it."""
    known = ids.to_pylist()
    alike = [each for each in known if abs(len(each) - len(wanted)) <= 2 and each[:1] == wanted[:1]]
    longer = [each for each in alike if wanted and each.startswith(wanted)]
    near = longer[:3] or difflib.get_close_matches(wanted, alike[:20_000], n=3, cutoff=0.6)
    told = ", ".join(repr(each) for each in near)
    if titles is not None and not near and len(wanted) > 2:
        found = np.flatnonzero(pc.fill_null(pc.match_substring(titles, wanted, ignore_case=True), False).to_numpy())
        told = ", ".join(f"{known[row]!r} ({titles[row].as_py()})" for row in found[:3])
    hint = f"did you mean {told}?" if told else f"there are {len(known):,}, such as {known[0]!r}" if known else ""
    return DataError(f"there is no {kind} {wanted!r}", fix=hint)


def _rounded(rows: list[Json] | None) -> list[Json]:
    """The same with four digits after the point of its fractions."""
    return [{key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()} for row in rows or []]


def _day(time: Any) -> str:
    return f"{time:%Y-%m-%d}  " if time is not None else ""


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
