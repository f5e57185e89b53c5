"""Which kept events a backtest withholds, as Narwhals expressions; no stage before `evaluate` sees them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import narwhals as nw
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import SettingsError

Frame: TypeAlias = "nw.LazyFrame[Any]"
Holdout = Literal["none", "last", "last-n", "time"]


def instant(text: str, where: str) -> datetime:
    """An ISO time of the setting `where`; one without a zone is UTC. SettingsError where it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        name = where.rpartition(".")[2]
        raise SettingsError(f"{text!r} is no ISO time", where=where, fix=f'{name} = "2010-11-01"') from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def withheld(kept: Frame, how: Holdout, n: int = 1, after: int = 0) -> Frame:
    """Add `withheld` to the kept events of `kept_events.in_order`.

    last: each user's last event; last-n: the last `n`; a user's first event always stays. time: all events at or after
    `after`, in microseconds since 1970: users who came later than that are new to the pipeline, as they were then.
    """
    if how == "none":
        return kept.with_columns(nw.lit(False).alias("withheld"))
    if how == "time":
        return kept.with_columns((nw.col("time") >= after).alias("withheld"))
    newest = 1 if how == "last" else n
    age = nw.len().over(USER) - nw.col("position")
    return kept.with_columns(((age <= newest) & (nw.col("position") > 0)).alias("withheld"))


def training(kept: Frame) -> Frame:
    """What is not withheld, by user and in time order: the columns of `clean/interactions`."""
    names = [USER, "position", ITEM, "time", "value", "event", "weight", "session", "source_row"]
    return kept.filter(~nw.col("withheld")).select(*names).sort(USER, "position")


def holdout(kept: Frame) -> Frame:
    """What is withheld, each with the position that it would have had: the columns of `clean/holdout`."""
    return kept.filter(nw.col("withheld")).select(USER, "position", ITEM, "time").sort(USER, "position")


def known(checked: Frame, kept: Frame, how: Holdout, after: int = 0) -> Frame:
    """`#source_row` of the rows, kept or rejected, that were there before the cut-off of a backtest.

    A user's own cut-off is the first event that is withheld, so that a copy of it is unknown too; that of `time` is the
    same for all, and a row whose time cannot be read is not known to be before it.
    """
    if how == "time":
        earlier = checked.filter(nw.col("time") < after)
    else:
        first = kept.filter(nw.col("withheld")).filter(nw.col("position") == nw.col("position").min().over(USER))
        first = first.select(USER, nw.col("time").alias("#time"), nw.col("source_row").alias("#first"))
        # without times the rows alone are the order
        same = nw.col("#time").is_null() | (nw.col("time") == nw.col("#time"))
        before = (nw.col("time") < nw.col("#time")) | (same & (nw.col("source_row") < nw.col("#first")))
        earlier = checked.join(first, on=USER, how="left").filter(nw.col("#first").is_null() | before)
    return earlier.select(nw.col("source_row").alias("#source_row"))


def among(rows: Frame, known: Frame) -> Frame:
    """Those of the raw `rows` whose `#source_row` is `known`."""
    return rows.join(known, on="#source_row", how="semi")


def known_negatives(negative_feedback: Frame, kept: Frame, how: Holdout, after: int = 0) -> Frame:
    """Negative feedback before a backtest's cut-off, by users who have events then: `clean/negative_feedback`.

    A user's own cut-off is the first event that is withheld; that of `time` is the same for all.
    """
    own = kept.filter(~nw.col("withheld")).group_by(USER).agg(nw.len().alias("n"))
    known = negative_feedback.join(own, on=USER, how="inner")
    known = known.filter(nw.col("time") < after) if how == "time" else known.filter(nw.col("position") <= nw.col("n"))
    return known.select(USER, ITEM, "position").sort(USER, ITEM)


def before(holdout: pa.Table, until: str) -> pa.Table:
    """The rows of `clean/holdout` before an ISO time (`evaluate.holdout_until`), all where it is empty."""
    times = holdout.column("time")
    end = pa.scalar(instant(until, "evaluate.holdout_until"), times.type) if until else None
    return holdout.filter(pc.less(times, end)) if end else holdout
