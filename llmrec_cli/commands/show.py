"""What `show` prints: the view of a user or an item, and a list, as lines for a person."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmrec_cli.core.artifacts import RECOMMENDATIONS
from llmrec_cli.core.min_support import least_people
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.report import views
from llmrec_cli.report.views import Json

WIDTH = 110
"""Characters in a line of the profile; longer ones are wrapped."""


@dataclass(frozen=True)
class Display:
    """The same content as lines for a person and as plain data for a program."""

    lines: list[str]
    data: Json


def user(work: WorkDir, user_id: str) -> Display:
    """Profile, newest choices and recommendations of a user; DataError with near ids for one that is not known."""
    data = views.user(work, user_id)
    about = [f"{data['n_events']:,} events", *filter(None, (data["age_band"], data["gender"], data["region"]))]
    lines = [f"user {user_id}: {', '.join(about)}", *_profile_lines(data)]
    if data["history"]:
        lines += ["newest choices", *(f"  {_day(each['time'])}{each['title']}" for each in data["history"])]
    made = work.has(RECOMMENDATIONS)
    listed = list_lines(data["recommendations"]) if made else ["  none yet: `llmrec recommend` makes them"]
    return Display([*lines, "recommendations", *listed], data)


def item(work: WorkDir, item_id: str) -> Display:
    """Facts, description, nearest items and how often an item is recommended; DataError with near ids or titles."""
    data, least = views.item(work, item_id), least_people(work)
    title = "(no title)" if data["title"] == item_id else data["title"]
    facts = {"category": data["category"], "tags": ", ".join(data["tags"]), **data["attributes"]}
    facts |= {"text": data["text"], "reviews": data["reviews"]}
    lines = [f"item {item_id}: {title}", f"  chosen     by {_counted(data['people'], least)}"]
    lines += [f"  {name:<10} {value}" for name, value in facts.items() if value]
    lists = data["recommended"]
    if lists is not None:
        mean = f", at place {lists['mean_rank']:.1f} on average" if lists["mean_rank"] else ""
        of = f"fewer than {least}" if lists["users"] is None else f"{lists['users']:,}"
        lines.append(f"  in lists   of {of} users{mean}")
    if data["neighbours"]:
        lines.append("nearest items, as the sequence model sees them")
        lines += [f"  {each['similarity']:.2f}  {each['title']}" for each in data["neighbours"]]
    return Display(lines, data)


def list_lines(rows: Sequence[Json]) -> list[str]:
    """A line for each row of a list: place, title, reason."""
    if not rows:
        return ["  none"]
    width = min(48, max(len(row["title"]) for row in rows))
    return [f"{row['rank']:>4}  {_cut(row['title'], width):<{width}}  {row['reason']}" for row in rows]


def _profile_lines(data: Json) -> list[str]:
    """Segment, interests with the events behind them, what rises and falls, topics, brands, prices and taste."""
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


def _counted(people: int | None, least: int) -> str:
    """ "1 person", "2,000 people", "fewer than 5 people" where that is all that may be shown."""
    if people is None:
        return f"fewer than {least} people"
    return f"{people:,} {'person' if people == 1 else 'people'}"


def _day(time: Any) -> str:
    return f"{time:%Y-%m-%d}  " if time is not None else ""


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
