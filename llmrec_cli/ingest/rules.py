"""The rules by which rows of a log are kept or rejected, as Narwhals expressions that any engine can run.

Frames are those of `Engine.log`; each rule fills `reason` where no earlier one did, so that every row has at most one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llmrec_cli.core.columns import ITEM, USER

Frame: TypeAlias = "nw.LazyFrame[Any]"
Repeats = Literal["keep", "first", "last", "sum"]

USER_RULE, ITEM_RULE, SUPPORT_RULE = "min_user_events", "min_item_events", "min_support"
NEGATIVE = "negative feedback"
FORGOTTEN = "forgotten"
MAD_TO_SIGMA = 1.4826
MINUTE = 60e6


class FrameEngine(Protocol):
    """What runs the expressions: DuckDB, or another engine to which the log is brought."""

    def log(self, log: Any) -> Frame:
        """`RawLog.frame` as a frame of this engine."""
        ...

    def keep(self, frame: Frame) -> Frame:
        """Compute a frame once; what follows reads the result."""
        ...

    def put(self, data: pa.Table) -> Frame:
        """An Arrow table as a frame of this engine."""
        ...

    def arrow(self, frame: Frame) -> pa.Table:
        """A frame that is small."""
        ...

    def batches(self, frame: Frame) -> Iterator[pa.RecordBatch]:
        """The rows of a frame, in its order, in pieces."""
        ...


def weighted(log: Frame, weights: dict[str, float], negative_below: float | None = None) -> Frame:
    """Add `weight`: that of the row's event, 1 for an event without one, −1 for a value less than `negative_below`."""
    low = [nw.when(nw.col("value") < negative_below).then(nw.lit(-1.0))] if negative_below is not None else []
    known = [nw.when(nw.col("event") == name).then(nw.lit(float(weight))) for name, weight in weights.items()]
    return log.with_columns(nw.coalesce(*low, *known, nw.lit(1.0)).alias("weight"))


def reject_invalid(log: Frame, *, timed: bool) -> Frame:
    """Add `reason`: what is wrong with a row by itself, null for a valid one. `log` has a `weight` (`weighted`)."""

    def rule(broken: nw.Expr, reason: str) -> nw.Expr:
        return nw.when(broken).then(nw.lit(reason))

    given = nw.col("value_text").str.strip_chars() != ""
    rules = [
        rule(~nw.col("parsable"), "unparsable"),
        rule(~nw.col("passes"), "where"),
        rule(nw.col(USER).is_null(), "missing user"),
        rule(nw.col(ITEM).is_null(), "missing item"),
        *([rule(nw.col("time").is_null(), "invalid time")] if timed else []),
        rule(given & nw.col("value").is_null(), "invalid value"),
        rule(nw.col("weight") < 0, NEGATIVE),
        rule(nw.col("weight") == 0, "no weight"),
    ]
    return log.with_columns(nw.coalesce(*rules).alias("reason"))


def _reject_more(frame: Frame, count: nw.Expr, most: float, reason: str) -> Frame:
    """Reject the valid rows whose `count`, an expression over the column `valid` and others, is more than `most`."""
    broken = nw.col("valid") & (nw.col("n") > most)
    return (
        frame.with_columns(nw.col("reason").is_null().alias("valid"))
        .with_columns(count.alias("n"))
        .with_columns(nw.when(broken).then(nw.lit(reason)).otherwise(nw.col("reason")).alias("reason"))
        .drop("valid", "n")
    )


def _reject_later(frame: Frame, same: Sequence[str], order: Sequence[str], reason: str, *, last: bool = False) -> Frame:
    """Reject all but the first (or last) of the valid rows that agree in the columns `same`."""
    rank = nw.col("source_row").cum_count(reverse=last).over("valid", *same, order_by=order)
    return _reject_more(frame, rank, 1, reason)


def reject_duplicates(frame: Frame, *, timed: bool) -> Frame:
    """Reject rows that repeat an event: the same user, item, time and event (without a time, value)."""
    same = [USER, ITEM, "event", "time" if timed else "value"]
    return _reject_later(frame, same, ["source_row"], "duplicate")


def reject_repeats(frame: Frame, repeats: Repeats, window_minutes: float = 0) -> Frame:
    """Keep all of a user's events with the same item, or the first or last of them in time.

    With a window only those that follow each other within it. The first of `sum` gets the sum of their values.
    """
    if repeats == "keep":
        return frame
    order, same = ["time", "source_row"], ["valid", USER, ITEM]
    frame = frame.with_columns(nw.col("reason").is_null().alias("valid"))
    if window_minutes:
        pause = nw.col("time") - nw.col("time").shift(1).over(*same, order_by=order)
        starts = nw.when(pause > window_minutes * MINUTE).then(nw.lit(1)).otherwise(nw.lit(0))
        runs = nw.col("starts").cum_sum().over(*same, order_by=order)
        frame = frame.with_columns(starts.alias("starts")).with_columns(runs.alias("run")).drop("starts")
    else:
        frame = frame.with_columns(nw.lit(0).alias("run"))
    if repeats == "sum":
        total = nw.when(nw.col("valid")).then(nw.col("value").sum().over(*same, "run")).otherwise(nw.col("value"))
        known = nw.col("value").count().over(*same, "run") > 0
        frame = frame.with_columns(nw.when(known).then(total).otherwise(nw.col("value")).alias("value"))
    frame = frame.drop("valid")
    return _reject_later(frame, [USER, ITEM, "run"], order, "repeat", last=repeats == "last").drop("run")


def reject_cancelled(frame: Frame) -> Frame:
    """Reject valid rows of a value below 0, and of each the newest row before it that it undoes.

    That is a row of the same user, item and amount that no other has undone. Rows are brackets: one that opens and
    the one that closes it have the same depth, and the n-th that opens at a depth belongs to the n-th that closes.
    """
    order, same = ["time", "source_row"], ["valid", USER, ITEM, "amount"]
    step = nw.when(nw.col("value") < 0).then(nw.lit(-1)).otherwise(nw.lit(1))
    frame = frame.with_columns(nw.col("reason").is_null().alias("valid"), nw.col("value").abs().alias("amount"))
    frame = frame.with_columns(step.alias("step"))
    frame = frame.with_columns(nw.col("step").cum_sum().over(*same, order_by=order).alias("height"))
    lowest = nw.col("height").cum_min().over(*same, order_by=order)
    floor = nw.when(lowest < 0).then(lowest).otherwise(nw.lit(0))
    frame = frame.with_columns((nw.col("height") - floor).alias("depth"), floor.alias("floor"))
    # a row that closes lies one above where it leads to; one that closes nothing makes a new floor
    inner = nw.when(nw.col("step") < 0).then(nw.col("depth") + 1).otherwise(nw.col("depth"))
    before = nw.col("floor").shift(1).over(*same, order_by=order)
    undone = (nw.col("step") < 0) & (nw.col("floor") < nw.when(before.is_null()).then(nw.lit(0)).otherwise(before))
    frame = frame.with_columns(inner.alias("depth"), undone.alias("alone"))
    at = [*same, "depth", "alone"]
    rank = nw.col("step").cum_count().over(*at, "step", order_by=order)
    closed = nw.when(nw.col("step") < 0).then(nw.lit(1)).otherwise(nw.lit(0)).sum().over(*at)
    undoes = nw.col("valid") & (nw.col("value") < 0)
    cancelled = nw.col("valid") & (nw.col("step") > 0) & (nw.col("value") > 0) & (nw.col("rank") <= nw.col("closed"))
    named = nw.when(undoes).then(nw.lit("cancellation")).when(cancelled).then(nw.lit("cancelled"))
    return (
        frame.with_columns(rank.alias("rank"), closed.alias("closed"))
        .with_columns(named.otherwise(nw.col("reason")).alias("reason"))
        .drop("valid", "amount", "step", "height", "depth", "floor", "alone", "rank", "closed")
    )


def sizes(frame: Frame) -> Frame:
    """`size`, how far the values of valid rows are from 0, without those that are 0, and `n`, how many have each."""
    size = nw.col("value").abs().alias("size")
    sizes = frame.filter(nw.col("reason").is_null()).select(size).filter(nw.col("size") > 0)
    return sizes.group_by("size").agg(nw.len().alias("n"))


def reject_values(frame: Frame, limit: float) -> Frame:
    """Reject valid rows of a value that is farther from 0 than `limit`."""
    broken = nw.col("reason").is_null() & (nw.col("value").abs() > limit)
    return frame.with_columns(nw.when(broken).then(nw.lit("outlier value")).otherwise(nw.col("reason")).alias("reason"))


def outlier_limit(sizes: npt.NDArray[Any], n: npt.NDArray[Any], z: float) -> float:
    """The size beyond which the logarithm lies more than z robust deviations above the median of all; 0: no size.

    `n` is how often each size occurs. The deviation is 1.4826 × the median absolute deviation, at least 1: at z = 6,
    400 × the median is never out.
    """
    if not len(sizes) or not z:
        return np.inf
    logs = np.log(sizes)
    median = _median(logs, n)
    sigma = max(MAD_TO_SIGMA * _median(np.abs(logs - median), n), 1.0)
    return float(np.exp(median + z * sigma))


def _median(values: npt.NDArray[Any], n: npt.NDArray[Any]) -> float:
    """The median where each value stands for `n`."""
    order = np.argsort(values)
    ends = np.cumsum(n[order])
    middle = np.searchsorted(ends, [(ends[-1] - 1) // 2, ends[-1] // 2], side="right")
    return float(values[order[middle]].mean())


def counts_of(frame: Frame, column: str) -> Frame:
    """`size`, numbers of valid rows, and `n`, how many values of a column have each."""
    counted = frame.filter(nw.col("reason").is_null()).group_by(column).agg(nw.len().alias("size"))
    return counted.group_by("size").agg(nw.len().alias("n"))


def reject_outliers(frame: Frame, column: str, limit: float, reason: str) -> Frame:
    """Reject the rows of users (items) with more than `limit` valid rows."""
    return _reject_more(frame, nw.len().over("valid", column), limit, reason)


# --- the k-core -----------------------------------------------------------------------------------------------------


def rare(frame: Frame, engine: FrameEngine, min_user: int, min_item: int, min_people: int = 0) -> Frame | None:
    """`source_row` and `rare`, the rule that each row outside of the k-core violates; None where there are none.

    Rounds go on until all users have at least `min_user` valid rows, all items `min_item`, and these of at least
    `min_people` distinct users; users come first in each. No row leaves the engine.
    """
    limits = [(USER, nw.len(), min_user, USER_RULE), (ITEM, nw.len(), min_item, ITEM_RULE)]
    limits += [(ITEM, nw.col(USER).n_unique(), min_people, SUPPORT_RULE)]
    limits = [limit for limit in limits if limit[2] > 1]
    left = engine.keep(frame.filter(nw.col("reason").is_null()).select("source_row", USER, ITEM))
    removed, unchanged = list[Frame](), 0
    for column, count, least, rule in itertools.cycle(limits):
        few = engine.keep(left.group_by(column).agg(count.alias("n")).filter(nw.col("n") < least).select(column))
        if engine.arrow(few.select(nw.len())).column(0)[0].as_py():
            out = left.join(few, on=column, how="semi").select("source_row")
            removed.append(engine.keep(out.with_columns(nw.lit(rule).alias("rare"))))
            left, unchanged = engine.keep(left.join(few, on=column, how="anti")), 0
        else:
            unchanged += 1
        if unchanged == len(limits):
            break
    return nw.concat(removed) if removed else None


def reject_rare(frame: Frame, removed: Frame) -> Frame:
    """Reject the rows that `rare` found."""
    joined = frame.join(removed, on="source_row", how="left")
    return joined.with_columns(nw.coalesce("rare", "reason").alias("reason")).drop("rare")


def reject_forgotten(frame: Frame, rows: Frame) -> Frame:
    """Rows (`source_row`) of people who were forgotten: no other reason is given."""
    return (
        frame.join(rows.with_columns(nw.lit(FORGOTTEN).alias("gone")), on="source_row", how="left")
        .with_columns(nw.coalesce("gone", "reason").alias("reason"))
        .drop("gone")
    )


def taken(frame: Frame) -> Frame:
    """`reason`, and how many `users` and `items` have rows that it took."""
    ids = (nw.col(USER).n_unique().alias("users"), nw.col(ITEM).n_unique().alias("items"))
    return frame.filter(~nw.col("reason").is_null()).group_by("reason").agg(*ids)


def last_rows(frame: Frame, column: str, order: Sequence[str]) -> Frame:
    """`place` in `order` of the reason that took the last row of a user (item), and `n`, how many it is of.

    Those with kept rows have the place after the last.
    """
    places = [nw.when(nw.col("reason") == name).then(nw.lit(place)) for place, name in enumerate(order)]
    place = nw.coalesce(*places, nw.lit(len(order))).alias("place")
    last = frame.filter(~nw.col(column).is_null()).select(column, place).group_by(column).agg(nw.col("place").max())
    return last.group_by("place").agg(nw.len().alias("n"))


def only_rejected(frame: Frame) -> Frame:
    """`item_id` of the items that somebody had, but that no kept row has."""
    named = frame.filter(~nw.col(ITEM).is_null())
    kept = named.filter(nw.col("reason").is_null()).select(ITEM).unique()
    return named.select(ITEM).unique().join(kept, on=ITEM, how="anti")


def rejected(frame: Frame) -> Frame:
    """The rows that are not kept, as they were read: the columns of `clean/rejects`."""
    texts = [nw.col("time_text").alias("time"), nw.col("value_text").alias("value")]
    names = ["source", "row", "reason", USER, ITEM]
    return frame.filter(~nw.col("reason").is_null()).sort("source_row").select(*names, *texts)
