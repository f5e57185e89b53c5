"""One view of a user, an item and a row of a list, with the same digits for `show`, exports, the page and the API."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import unit
from llmrec_cli.core.artifacts import (
    ITEM_RANGES,
    ITEM_TEXTS,
    ITEM_VECTORS,
    ITEMS,
    LIST_TEXTS,
    PROFILES,
    RECOMMENDATIONS,
    REVIEW_SUMMARIES,
    SEQUENCES,
    TASTE_TEXTS,
    Table,
)
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.lineage import verified_inputs
from llmrec_cli.core.min_support import enough, least_people
from llmrec_cli.core.workdir import WorkDir, to_numpy
from llmrec_cli.data.catalogue import names

Json = dict[str, Any]
NEWEST, NEIGHBOURS = 24, 8
"""Items of a history and neighbours of an item that are reported."""
COMPARED = 20_000
"""Ids that one which is not known is compared with letter by letter; a tenth as many titles."""
PROFILE = (USER, "n_events", "cold", "segment", "age_band", "gender", "region", "last_time")
TAGGED = ("interests", "recent_interests", "changes", "topics", "brands")
LISTED = ("rank", ITEM, "score", "strategy", "reason")


def user(work: WorkDir, user_id: str) -> Json:
    """The view of one user, after a check of what it is made from; DataError with near ids for one not known."""
    _whole(work, PROFILES, ITEMS, SEQUENCES, TASTE_TEXTS, RECOMMENDATIONS, LIST_TEXTS)
    found = users(work, [readable(user_id)], Titles(work))
    if not found:
        raise unknown("user", user_id, work.read(PROFILES, [USER]).column(USER))
    return found[0]


def users(work: WorkDir, ids: Sequence[str], titles: Titles) -> list[Json]:
    """The view of each of these users who is known, in the order given: who they are, what they like, chose and get.

    `history` has the newest different items, each with the time of its newest event; `recommendations` the list,
    `texts` what the user is sent about it.
    """
    profiles = _by(work, PROFILES, USER, ids, [*PROFILE, *TAGGED, "price"])
    histories = _by(work, SEQUENCES, USER, ids, [USER, "item_ids", "times"])
    tastes = _by(work, TASTE_TEXTS, USER, ids, [USER, "text"])
    lists = _by(work, RECOMMENDATIONS, USER, ids)
    texts = _by(work, LIST_TEXTS, USER, ids, [USER, "kind", "rank", "text"])
    return [
        {
            **{name: profile[name] for name in PROFILE},
            **{name: [shares(each) for each in profile[name] or []] for name in TAGGED},
            "price": profile["price"] and shares(profile["price"]),
            "taste": next((each["text"] for each in tastes.get(user_id, [])), ""),
            "history": [event for row in histories.get(user_id, []) for event in _newest(row, titles)],
            "recommendations": [list_row(row, titles) for row in sorted(lists.get(user_id, []), key=_rank)],
            "texts": [{name: each[name] for name in ("kind", "rank", "text")} for each in texts.get(user_id, [])],
        }
        for user_id in ids
        for profile in profiles.get(user_id, [])
    ]


def list_row(row: Json, titles: Titles) -> Json:
    """A row of recommendations with the title of its item and, where the row has evidence, of its evidence."""
    shown = {key: row[key] for key in LISTED} | {"score": score(row["score"]), "title": titles[row[ITEM]]}
    if "evidence" in row:
        shown["evidence"] = [
            {key: value for key, value in shares(each).items() if value is not None}
            | ({"title": titles[each[ITEM]]} if each[ITEM] else {})
            for each in row["evidence"]
        ]
    return shown


def item(work: WorkDir, item_id: str) -> Json:
    """The view of one item with its neighbours, and how many people chose it and have it in their list.

    A number of people that may not be shown is None. DataError with near ids or titles for one that is not known.
    """
    _whole(work, ITEMS, SEQUENCES, ITEM_RANGES, ITEM_TEXTS, REVIEW_SUMMARIES, ITEM_VECTORS, RECOMMENDATIONS)
    titles, people = Titles(work), _people(work, known_item(work, item_id))
    return {
        **items(work, [item_id], titles)[0],
        "people": people if enough(people, least_people(work)) else None,
        "neighbours": _neighbours(work, item_id, NEIGHBOURS, titles),
        "recommended": _recommended_to(work, item_id),
    }


def items(work: WorkDir, ids: Sequence[str], titles: Titles) -> list[Json]:
    """The view of each of these items that is known, in the order given.

    An attribute that varies in the log is a range; `generated` says whether `text` was written by `generate`.
    """
    rows = _by(work, ITEMS, ITEM, ids)
    texts, reviews = (
        {item_id: each["text"] for item_id, (each,) in _by(work, table, ITEM, ids, [ITEM, "text"]).items()}
        for table in (ITEM_TEXTS, REVIEW_SUMMARIES)
    )
    ranges = _by(work, ITEM_RANGES, ITEM, ids)
    return [
        {
            **{name: row[name] for name in (ITEM, "category", "n_events")},
            "title": titles[item_id],
            "tags": row["tags"] or [],
            "attributes": {each["name"]: each["value"] for each in row["attributes"] or []}
            | {each["name"]: f"{each['low']} to {each['high']}" for each in ranges.get(item_id, [])},
            "text": texts.get(item_id) or row["text"] or "",
            "generated": bool(texts.get(item_id)),
            "reviews": reviews.get(item_id, ""),
        }
        for item_id in ids
        for row in rows.get(item_id, [])
    ]


def similar(work: WorkDir, item_id: str, n: int) -> list[Json]:
    """The n items nearest to this one, as the sequence model sees them; DataError with near ids or titles."""
    verified_inputs(work, [ITEMS, ITEM_VECTORS])
    return _neighbours(work, known_item(work, item_id), n, Titles(work))


def score(value: float) -> float:
    """A score as it is reported everywhere: with six significant digits."""
    return float(f"{value:.6g}")


def shares(row: Json) -> Json:
    """The row with four digits after the point of its fractions, as weights and shares are reported everywhere."""
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}


class Titles:
    """Item id -> what to call the item; an id that is not in the catalogue stands for itself."""

    def __init__(self, work: WorkDir) -> None:
        items = work.read(ITEMS, [ITEM, "title"])
        ids = items.column(ITEM).to_pylist()
        self.titles = dict(zip(ids, names(ids, items.column("title").to_pylist()), strict=True))

    def __getitem__(self, item_id: str) -> str:
        return self.titles.get(item_id, item_id)


def readable(name: str) -> str:
    """The id as it was typed; SettingsError for bytes that are no text."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"the id {name!r} is not UTF-8", fix="type it as it stands in the log") from error
    return name


def rows_of(
    work: WorkDir, table: Table, key: str, ids: Sequence[str], columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of some ids, found in one pass that holds a piece of the table at a time."""
    work.need(table)
    wanted = pa.array(ids, type=pa.string())
    batches = work.batches(table, columns=columns)
    pieces = [piece.filter(pc.is_in(piece.column(key), value_set=wanted)) for piece in batches]
    return pa.Table.from_batches(pieces) if pieces else table.schema.empty_table()


def unknown(kind: str, wanted: str, ids: pa.ChunkedArray[Any], titles: pa.ChunkedArray[Any] | None = None) -> DataError:
    """The error for an id that is not there, with up to three ids near it."""
    shown = near(wanted, ids, titles)
    some = f"there are {len(ids):,}, such as {ids[0].as_py()!r}" if len(ids) else ""
    return DataError(f"there is no {kind} {wanted!r}", fix=f"did you mean {shown}?" if shown else some)


def near(wanted: str, ids: pa.ChunkedArray[Any], titles: pa.ChunkedArray[Any] | None = None) -> str:
    """Up to three ids that are near to this one, or whose titles are; "" for none."""
    known, ends = ids.to_pylist(), (wanted[:1], wanted[-2:])
    alike = [
        each for each in known if abs(len(each) - len(wanted)) <= 2 and (each[:1] == ends[0] or each[-2:] == ends[1])
    ]
    longer = [each for each in alike if wanted and each.startswith(wanted)]
    found = longer[:3] or difflib.get_close_matches(wanted, alike[:COMPARED], n=3, cutoff=0.6)
    if found or titles is None or len(wanted) <= 2:
        return ", ".join(map(repr, found))
    begun = [word[:4] for word in re.findall(r"\w{3,}", wanted)] or [wanted]
    hits = sum(
        pc.fill_null(pc.match_substring(titles, each, ignore_case=True), False).to_numpy().astype(int) for each in begun
    )
    rows = np.flatnonzero((hits == hits.max(initial=0)) & (2 * hits >= len(begun)))[: COMPARED // 10]
    named = [(titles[row].as_py(), known[row]) for row in rows.tolist()]
    named.sort(key=lambda each: -difflib.SequenceMatcher(None, wanted.casefold(), each[0].casefold()).ratio())
    return ", ".join(f"{item!r} ({title})" for title, item in named[:3])


def _whole(work: WorkDir, *tables: Table) -> None:
    """What is there of these is what its makers signed, of one log; UpstreamError otherwise. None must be there yet."""
    verified_inputs(work, [replace(table, optional=True) for table in tables])


def _by(
    work: WorkDir, table: Table, key: str, ids: Sequence[str], columns: Sequence[str] | None = None
) -> Mapping[str, list[Json]]:
    """Id -> its rows; nothing for a table that was not made, unless it is needed."""
    found: dict[str, list[Json]] = {}
    if work.has(table) or table in (PROFILES, ITEMS, SEQUENCES):
        for row in rows_of(work, table, key, ids, columns).to_pylist():
            found.setdefault(row[key], []).append(row)
    return found


def _rank(row: Json) -> int:
    return int(row["rank"])


def _newest(history: Json, titles: Titles) -> Iterable[Json]:
    times: dict[str, Any] = {}
    for item_id, time in zip(reversed(history["item_ids"]), reversed(history["times"]), strict=True):
        times.setdefault(item_id, time)
    newest = list(times.items())[:NEWEST]
    return ({ITEM: item_id, "title": titles[item_id], "time": time} for item_id, time in newest)


def known_item(work: WorkDir, item_id: str) -> str:
    """The id, of the catalogue; DataError with near ids or titles for one that is not."""
    if rows_of(work, ITEMS, ITEM, [readable(item_id)], [ITEM]).num_rows == 0:
        items = work.read(ITEMS, [ITEM, "title"])
        raise unknown("item", item_id, items.column(ITEM), items.column("title"))
    return item_id


def _neighbours(work: WorkDir, item_id: str, n: int, titles: Titles) -> list[Json]:
    if not work.has(ITEM_VECTORS):
        return []
    table = work.read(ITEM_VECTORS)
    rows = to_numpy(table.column("vector"))
    directions = unit(rows)
    place = pc.index(table.column(ITEM), pa.scalar(item_id)).as_py()
    similarity = directions @ directions[place]
    order = [code for code in np.argsort(-similarity, kind="stable")[: n + 1].tolist() if code != place][:n]
    near = table.column(ITEM).take(pa.array(order, type=pa.int64())).to_pylist()
    found = zip(near, similarity[order].tolist(), strict=True)
    return [shares({ITEM: other, "title": titles[other], "similarity": value}) for other, value in found]


def _people(work: WorkDir, item_id: str) -> int:
    """How many users chose the item."""
    wanted, found = pa.scalar(item_id), 0
    for piece in work.batches(SEQUENCES, columns=["item_ids"]):
        lists = piece.column("item_ids")
        hits = pc.fill_null(pc.equal(pc.list_flatten(lists), wanted), False)
        found += len(pc.unique(pc.list_parent_indices(lists).filter(hits)))
    return found


def _recommended_to(work: WorkDir, item_id: str) -> Json | None:
    """How many lists have the item and at which place; None before `recommend` has run."""
    if not work.has(RECOMMENDATIONS):
        return None
    ranks = rows_of(work, RECOMMENDATIONS, ITEM, [item_id], [ITEM, "rank"]).column("rank").to_numpy()
    if not enough(len(ranks), least_people(work)):
        return {"users": None, "mean_rank": None}
    return {"users": len(ranks), "mean_rank": round(float(ranks.mean()), 2) if len(ranks) else None}
