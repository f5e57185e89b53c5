"""Counts the rows of an answer to `recommend --to-item` again, from the raw log, with code of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.system.rawlog import Facts, key

Q = r"“([^”]*)”"
FORMS = {
    "bought after": (
        rf"([\d,]+) of ([\d,]+) people who chose {Q} chose this later\.",
        rf"选过{Q}的 (?P<all>[\d,]+) 人中，有 (?P<n>[\d,]+) 人后来选了这个。",
    ),
    "bought with": (
        rf"([\d,]+) of ([\d,]+) people who chose {Q} chose this too\.",
        rf"选过{Q}的 (?P<all>[\d,]+) 人中，有 (?P<n>[\d,]+) 人也选了这个。",
    ),
    "similar": (
        rf"Like {Q}, it is tagged {Q}\.",
        rf"和{Q}一样，带有标签{Q}。",
        rf"Its text is near that of {Q}\.",
        rf"它的文字与{Q}相近。",
    ),
}


def false_rows(
    facts: Facts, asked: str, rows: Sequence[Mapping[str, Any]], vectors: Mapping[str, np.ndarray], least: int = 2
) -> list[str]:
    """Rows (item_id, kind, people, reason) that the log does not bear out, as they are."""
    return [
        f"{asked} {row['item_id']} {row['kind']} {row['people']}: {row['reason']}"
        for row in rows
        if not _true(facts, asked, row, vectors, least)
    ]


def _true(facts: Facts, asked: str, row: Mapping[str, Any], vectors: Mapping[str, np.ndarray], least: int) -> bool:
    found = [m for form in FORMS[row["kind"]] if (m := re.fullmatch(form, row["reason"]))]
    if len(found) != 1 or row["item_id"] == asked:
        return False
    quotations = re.findall(Q, row["reason"])
    one, other = facts.first.get(asked, {}), facts.first.get(row["item_id"], {})
    both = [user for user in one if user in other]
    later = [user for user in both if facts.timed and one[user] < other[user]]
    after = len(later) >= least and 2 * len(later) > len(both)
    kind = "bought after" if after else "bought with" if len(both) >= least else "similar"
    if asked not in facts.titled(quotations[0]) or row["kind"] != kind:
        return False
    if kind != "similar":
        counted, numbers = len(later if after else both), re.sub(Q, "", row["reason"])
        figures = sorted(int(each.replace(",", "")) for each in re.findall(r"[\d,]+", numbers))
        return figures == [counted, len(one)] and row["people"] == counted
    tags, events = [{key(tag): tag for tag in facts.items[item].tags} for item in (asked, row["item_id"])], facts.events
    shared = [
        name for name in tags[0].keys() & tags[1].keys() if facts.tag_events.get(tags[0][name], 0) <= 0.8 * len(events)
    ]
    if len(quotations) > 1:
        return key(quotations[1]) in shared and row["people"] is None
    return not shared and float(vectors[asked] @ vectors[row["item_id"]]) >= 0.3 - 1e-3
