"""The account of the rows: how many were read, which rule took how many, how many are left."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field, field_validator

from llmrec_cli.core.errors import did_you_mean

READ, WITHHELD = "rows read", "withheld by the backtest"
# The rules in the order in which they apply, each with what to try where it leaves nothing.
RULES = {
    "forgotten": "everybody in the log was forgotten by `llmrec forget`",
    "unparsable": "check format, separator, header and quoting of the file",
    "where": "relax clean.interactions.where",
    "missing user": "check clean.interactions.user: the column is empty",
    "missing item": "check clean.interactions.item: the column is empty",
    "invalid time": 'set clean.interactions.time_format, such as "%d/%m/%Y %H:%M", or leave `time` out',
    "invalid value": "check clean.interactions.value: it has no numbers",
    "negative feedback": "every event has a negative weight: check clean.event_weights and clean.negative_below",
    "no weight": "raise the weights of clean.event_weights above 0",
    "outlier value": "raise clean.value_outlier_z, or set it to 0",
    "duplicate": "check which columns are user, item and time",
    "cancelled": 'set clean.cancellations = "keep"',
    "cancellation": 'set clean.cancellations = "keep"',
    "repeat": 'set clean.repeats = "keep"',
    "outlier user": "raise clean.outlier_z, or set it to 0",
    "outlier item": "raise clean.item_outlier_z, or set it to 0",
    "min_user_events": "lower clean.min_user_events",
    "min_item_events": "lower clean.min_item_events",
    "min_support": "lower clean.min_support",
    WITHHELD: "let clean.holdout_after be later",
}


class CheckConfig(BaseModel, frozen=True, extra="forbid"):
    """What a log must be like for `clean --check`."""

    max_rejected: float = Field(0.5, ge=0, le=1, description="share of rows that rules may take out at most")
    max_rejected_by: dict[str, float] = Field(
        {}, description='the same of single rules, such as {"invalid time" = 0.01}'
    )
    min_events: int = Field(1, ge=0, description="events that must be left")
    min_users: int = Field(1, ge=0, description="users that must be left")
    min_items: int = Field(1, ge=0, description="items with events that must be left")
    max_age_days: float = Field(0.0, ge=0, description="days since the newest event at most; 0: any age")

    @field_validator("max_rejected_by")
    @classmethod
    def _are_rules(cls, shares: dict[str, float]) -> dict[str, float]:
        for name in shares:
            if name not in RULES:
                raise ValueError(f"no rule is called {name!r}; {did_you_mean(name, RULES)}")
        return shares


def funnel(
    total: int, removed: Mapping[str, int], used: Collection[str], left: Mapping[str, Mapping[str, int]]
) -> pa.Table:
    """The funnel table: a line for what was read and one for each rule that was used or took a row.

    `left` has for "users" and "items" how many of them each rule took the last row of; "" for those that are kept.
    """
    rules = [rule for rule in RULES if rule in used or removed.get(rule)]
    taken = np.array([0, *(removed.get(rule, 0) for rule in rules)], dtype=np.int64)
    return pa.table(
        {
            "step": np.arange(len(taken), dtype=np.int32),
            "rule": [READ, *rules],
            "removed": taken,
            "left": total - np.cumsum(taken),
            **{
                what: sum(last.values()) - np.cumsum([0, *(last.get(r, 0) for r in rules)])
                for what, last in left.items()
            },
        }
    )


def emptied_by(table: pa.Table) -> tuple[str, str]:
    """The rule that took the last row, and what to try."""
    rule = table.column("rule")[int(np.argmin(table.column("left").to_numpy()))].as_py()
    return rule, RULES.get(rule, "the file has no rows: is it the right one?")


def broken_limits(table: pa.Table, newest: int | None, limits: CheckConfig) -> list[str]:
    """Where an account, and the time of the newest event in microseconds since 1970, break limits."""
    taken = dict(zip(table.column("rule").to_pylist()[1:], table.column("removed").to_pylist()[1:], strict=True))
    taken.pop(WITHHELD, None)
    total, n_rejected = max(1, table.column("left")[0].as_py()), sum(taken.values())
    shares = {"all rules together": (n_rejected, limits.max_rejected, "max_rejected")}
    shares |= {
        f"the rule {rule!r}": (taken.get(rule, 0), most, "max_rejected_by")
        for rule, most in limits.max_rejected_by.items()
    }
    broken = [
        f"{what} took {n / total:.1%} of {total:,} rows; clean.check.{name} allows {most:.1%}"
        for what, (n, most, name) in shares.items()
        if n / total > most
    ]
    least = {"events": limits.min_events, "users": limits.min_users, "items": limits.min_items}
    there = {"events": total - n_rejected, **{what: table.column(what)[-1].as_py() for what in ("users", "items")}}
    broken += [
        f"{there[what]:,} {what} are left; clean.check.min_{what} is {n:,}"
        for what, n in least.items()
        if there[what] < n
    ]
    age = None if newest is None else (time.time() - newest / 1e6) / 86_400
    if limits.max_age_days and (age is None or age > limits.max_age_days):
        since = "no event has a time" if age is None else f"the newest event is {age:,.1f} days old"
        broken.append(f"{since}; clean.check.max_age_days is {limits.max_age_days:g}")
    return broken


def lines(table: pa.Table, taken: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """The funnel in aligned columns; by `taken` (reason, users, items) also whom the rules on users and items took.

    4,012 rows may be one user.
    """
    rules = table.column("rule").to_pylist()
    removed = [f"{-n:,}" if n else "0" for n in table.column("removed").to_pylist()]
    left = [f"{n:,}" for n in table.column("left").to_pylist()]
    wide = [max(map(len, column)) for column in (rules, removed, left)]
    removed[0] = ""
    whom = {each["reason"]: _whom(each) for each in taken}
    rows = zip(rules, removed, left, strict=True)
    return [f"{rule:<{wide[0]}}  {out:>{wide[1]}}  {n:>{wide[2]}}{whom.get(rule, '')}" for rule, out, n in rows]


def _whom(taken: Mapping[str, Any]) -> str:
    of_items = ("outlier item", "min_item_events", "min_support")
    word = "user" if taken["reason"] in ("outlier user", "min_user_events") else "item"
    if word == "item" and taken["reason"] not in of_items:
        return ""
    n = taken[f"{word}s"]
    return f"  {n:,} {word}{'' if n == 1 else 's'}"
