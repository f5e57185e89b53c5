"""The users and items that the page can show, as plain data for its script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.artifacts import (
    ITEM_IMAGES,
    ITEM_TEXTS,
    ITEMS,
    PROFILES,
    RECOMMENDATIONS,
    SEQUENCES,
    TASTE_TEXTS,
    Table,
)
from llmrec_cli.core.workdir import WorkDir

Json = dict[str, Any]

NEWEST, TAGS = 24, 8
"""Events and interests shown of a user."""
IMAGE_BYTES, ALL_IMAGE_BYTES = 24_000, 1_000_000
"""Generated images are put into the page while they are small."""


def shown(n_events: Ints, n: int) -> Ints:
    """(at most n,) rows of users evenly spread from those with the fewest events to those with the most, ascending."""
    order = np.argsort(n_events, kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(np.int64))
    return np.sort(order[places])


def gather(work: WorkDir, n_users: int) -> Json:
    """`users` (profile, history, list) and the `items` that they refer to by place."""
    profiles = work.read(PROFILES, [name for name in PROFILES.schema.names if "vector" not in name])
    some = profiles.take(shown(profiles.column("n_events").to_numpy(), n_users))
    ids = some.column("user_id").combine_chunks()
    lists = _of_users(work.read(RECOMMENDATIONS), ids).to_pylist()
    histories = {
        row["user_id"]: row["item_ids"]
        for row in _of_users(work.read(SEQUENCES, ["user_id", "item_ids"]), ids).to_pylist()
    }
    tastes = _texts(work, TASTE_TEXTS, "user_id", ids)
    book = _Book()
    rows_of: dict[str, list[Json]] = {}
    for row in lists:
        rows_of.setdefault(row["user_id"], []).append(row)
    users = [
        {
            "id": profile["user_id"],
            "events": profile["n_events"],
            "last": profile["last_time"].date().isoformat() if profile["last_time"] else None,
            "cold": profile["cold"],
            "about": [profile[name] for name in ("age_band", "gender", "region") if profile[name]],
            "segment": profile["segment"],
            "interests": _tags(profile["interests"]),
            "recent": _tags(profile["recent_interests"]),
            "topics": _tags(profile["topics"]),
            "taste": tastes.get(profile["user_id"], ""),
            "history": [book.place(item) for item in _newest(histories.get(profile["user_id"], []))],
            "list": _list(rows_of.get(profile["user_id"], []), book),
        }
        for profile in some.to_pylist()
    ]
    return {"users": users, "items": _items(work, book.used), "first": _first(users), "of": profiles.num_rows}


class _Book:
    """Numbers the items in the order in which they are first spoken of, so that the page holds each once."""

    def __init__(self) -> None:
        self.used: dict[str, int] = {}

    def place(self, item_id: str) -> int:
        return self.used.setdefault(item_id, len(self.used))


def _newest(items: Sequence[str]) -> list[str]:
    """The newest different items, newest first."""
    return list(dict.fromkeys(reversed(items)))[:NEWEST]


def _of_users(table: pa.Table, ids: pa.Array[Any]) -> pa.Table:
    return table.filter(pc.is_in(table.column("user_id"), value_set=ids))


def _texts(work: WorkDir, table: Table, key: str, ids: pa.Array[Any]) -> dict[str, str]:
    """Id -> generated text; nothing where none were generated."""
    if not work.has(table):
        return {}
    texts = work.read(table, [key, "text"])
    some = texts.filter(pc.is_in(texts.column(key), value_set=ids))
    return dict(zip(some.column(key).to_pylist(), some.column("text").to_pylist(), strict=True))


def _tags(tags: list[Json] | None) -> list[list[Any]]:
    return [[each["tag"], round(each["weight"], 3)] for each in (tags or [])[:TAGS]]


def _list(rows: list[Json], book: _Book) -> list[Json]:
    """A user's rows; `strength` is the score between the list's lowest (0) and highest (1)."""
    rows = sorted(rows, key=lambda row: row["rank"])
    scores = [row["score"] for row in rows]
    low, span = min(scores, default=0), (max(scores, default=0) - min(scores, default=0)) or 1
    return [
        {
            "item": book.place(row["item_id"]),
            "strength": round((row["score"] - low) / span, 3),
            "score": round(row["score"], 3),
            "strategy": row["strategy"],
            "reason": row["reason"],
            "evidence": [
                [
                    each["kind"],
                    book.place(each["item_id"]) if each["item_id"] else None,
                    each["tag"],
                    round(each["weight"], 2),
                ]
                for each in row["evidence"]
            ],
        }
        for row in rows
    ]


def _items(work: WorkDir, used: dict[str, int]) -> list[Json]:
    """What the page tells of each item, in the order of `used`."""
    ids = pa.array(list(used), type=pa.string())
    items = work.read(ITEMS, ["item_id", "title", "category", "text", "tags", "n_events"])
    found = items.take(pc.index_in(ids, value_set=items.column("item_id").combine_chunks()))
    texts = _texts(work, ITEM_TEXTS, "item_id", ids)
    images = _images(work, list(used))
    return [
        {
            "id": row["item_id"],
            "title": row["title"] or row["item_id"],
            "category": row["category"] or "",
            "tags": (row["tags"] or [])[:4],
            "text": texts.get(row["item_id"]) or (row["text"] or "")[:300],
            "events": row["n_events"],
            **({"image": images[row["item_id"]]} if row["item_id"] in images else {}),
        }
        for row in found.to_pylist()
    ]


def _images(work: WorkDir, item_ids: Sequence[str]) -> dict[str, str]:
    """Item -> its generated image as a data address, for small PNG files inside the work directory."""
    if not work.has(ITEM_IMAGES):
        return {}
    table = work.read(ITEM_IMAGES, ["item_id", "path"])
    paths = dict(zip(table.column("item_id").to_pylist(), table.column("path").to_pylist(), strict=True))
    out: dict[str, str] = {}
    left, root = ALL_IMAGE_BYTES, work.path.resolve()
    for item_id in item_ids:
        path = (root / paths[item_id]).resolve() if item_id in paths else root
        if path.suffix != ".png" or not path.is_relative_to(root) or not path.is_file():
            continue
        content = path.read_bytes()
        if len(content) <= min(IMAGE_BYTES, left):
            left -= len(content)
            out[item_id] = "data:image/png;base64," + base64.b64encode(content).decode()
    return out


def _first(users: list[Json]) -> int:
    """The user that the page opens with: among those with a middling history the one with the most ways to a list."""
    if not users:
        return 0
    middle = np.median([user["events"] for user in users])

    def interest(place: int) -> tuple[int, float, int]:
        user = users[place]
        near = abs(np.log1p(user["events"]) - np.log1p(middle))
        return len({row["strategy"] for row in user["list"]}) if near < 0.5 else 0, -near, -place

    return max(range(len(users)), key=interest)
