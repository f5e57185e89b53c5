"""The users and items that the page can show, as plain data for its script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.artifacts import ITEM_IMAGES, PROFILES
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.report import views
from llmrec_cli.report.views import Json, Titles

TAGS, TEXT = 8, 300
"""Interests shown of a user, and characters of the text that an item came with."""
IMAGE_BYTES, ALL_IMAGE_BYTES = 24_000, 1_000_000
"""Generated images are put into the page while they are small."""


def shown(n_events: Ints, n: int) -> Ints:
    """(at most n,) rows of users evenly spread from those with the fewest events to those with the most, ascending."""
    order = np.argsort(n_events, kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(np.int64))
    return np.sort(order[places])


def gather(work: WorkDir, n_users: int) -> Json:
    """`users` (profile, history, list) and the `items` that they refer to by place."""
    profiles = work.read(PROFILES, [USER, "n_events"])
    some = profiles.take(shown(profiles.column("n_events").to_numpy(), n_users))
    titles, book = Titles(work), _Book()
    users = [_user(view, book) for view in views.users(work, some.column(USER).to_pylist(), titles)]
    images = _images(work, list(book.used))
    items = [_item(view, images) for view in views.items(work, list(book.used), titles)]
    return {"users": users, "items": items, "first": _first(users), "of": profiles.num_rows}


class _Book:
    """Numbers the items in the order in which they are first spoken of, so that the page holds each once."""

    def __init__(self) -> None:
        self.used: dict[str, int] = {}

    def place(self, item_id: str) -> int:
        return self.used.setdefault(item_id, len(self.used))


def _user(view: Json, book: _Book) -> Json:
    return {
        "id": view[USER],
        "events": view["n_events"],
        "last": view["last_time"].date().isoformat() if view["last_time"] else None,
        "cold": view["cold"],
        "about": [view[name] for name in ("age_band", "gender", "region") if view[name]],
        "segment": view["segment"],
        "interests": _tags(view["interests"]),
        "recent": _tags(view["recent_interests"]),
        "topics": _tags(view["topics"]),
        "taste": view["taste"],
        "history": [book.place(event[ITEM]) for event in view["history"]],
        "list": _list(view["recommendations"], book),
        "texts": {f"{each['kind']} {each['rank']}": each["text"] for each in view["texts"]},
    }


def _tags(tags: list[Json]) -> list[list[Any]]:
    return [[each["tag"], each["weight"]] for each in tags[:TAGS]]


def _list(rows: list[Json], book: _Book) -> list[Json]:
    """A user's rows; `strength` is the score between the list's lowest (0) and highest (1)."""
    scores = [row["score"] for row in rows]
    low, span = min(scores, default=0), (max(scores, default=0) - min(scores, default=0)) or 1
    return [
        {
            "item": book.place(row[ITEM]),
            "strength": round((row["score"] - low) / span, 4),
            **{name: row[name] for name in ("score", "strategy", "reason")},
            "evidence": [_evidence(each, book) for each in row["evidence"]],
        }
        for row in rows
    ]


def _evidence(piece: Json, book: _Book) -> list[Any]:
    item_id = piece.get(ITEM)
    return [piece["kind"], book.place(item_id) if item_id else None, piece.get("tag"), piece["weight"]]


def _item(view: Json, images: dict[str, Json]) -> Json:
    return {
        "id": view[ITEM],
        "title": view["title"],
        "category": view["category"] or "",
        "tags": view["tags"][:4],
        "text": view["text"] if view["generated"] else view["text"][:TEXT],
        "events": view["n_events"],
        "reviews": view["reviews"],
        **images.get(view[ITEM], {}),
    }


def _images(work: WorkDir, item_ids: Sequence[str]) -> dict[str, Json]:
    """Item -> its generated image as a data address, and what made it, for small PNG files of the work directory."""
    if not work.has(ITEM_IMAGES):
        return {}
    rows = {row[ITEM]: row for row in work.read(ITEM_IMAGES, [ITEM, "path", "image_generator"]).to_pylist()}
    out: dict[str, Json] = {}
    left, root = ALL_IMAGE_BYTES, work.path.resolve()
    for item_id in item_ids:
        path = (root / rows[item_id]["path"]).resolve() if item_id in rows else root
        if path.suffix != ".png" or not path.is_relative_to(root) or not path.is_file():
            continue
        content = path.read_bytes()
        if len(content) <= min(IMAGE_BYTES, left):
            left -= len(content)
            address = "data:image/png;base64," + base64.b64encode(content).decode()
            out[item_id] = {"image": address, "image_by": rows[item_id]["image_generator"]}
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
