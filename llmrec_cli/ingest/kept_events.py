"""What is kept of a log, as Narwhals expressions: order, sessions, negative feedback; and events as sequences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.ingest.rules import MINUTE, NEGATIVE, Frame


def in_order(frame: Frame, gap_minutes: float) -> Frame:
    """The kept rows with `position` and `session`, both counted from 0 in each user's order of time and source row.

    An event more than `gap_minutes` after the one before it begins a new session; without times there is one session.
    """
    order = ["time", "source_row"]
    pause = nw.col("time") - nw.col("time").shift(1).over(USER, order_by=order)
    return (
        frame.filter(nw.col("reason").is_null())
        .with_columns(
            (nw.col("source_row").cum_count().over(USER, order_by=order) - 1).alias("position"),
            nw.when(pause > gap_minutes * MINUTE).then(nw.lit(1)).otherwise(nw.lit(0)).alias("starts"),
        )
        .with_columns(nw.col("starts").cum_sum().over(USER, order_by=order).cast(nw.Int32).alias("session"))
        .drop("starts", "reason")
    )


def negative_feedback(checked: Frame) -> Frame:
    """Negative feedback, with `position`: how many of the user's kept events came before.

    A row for each user and item, that of the last time; columns user_id, item_id, position, time.
    """
    kept = nw.col("reason").is_null().cast(nw.Int32)
    before = kept.cum_sum().over(USER, order_by=["time", "source_row"])
    return (
        checked.filter(nw.col("reason").is_null() | (nw.col("reason") == NEGATIVE))
        .with_columns(before.alias("position"))
        .filter(nw.col("reason") == NEGATIVE)
        .group_by(USER, ITEM)
        .agg(nw.col("position").max(), nw.col("time").max())
    )


def grouped(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows, sorted by user, in pieces that never part the rows of one user."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        users = batch.column(USER)
        ends = pc.run_end_encode(users).run_ends
        change = ends[-2].as_py() if len(ends) > 1 else 0
        if change == 0 and (not waiting or not len(users) or waiting[-1].column(USER)[-1].equals(users[0])):
            waiting.append(batch)
            continue
        yield pa.Table.from_batches([*waiting, batch.slice(0, change)])
        waiting = [batch.slice(change)]
    if waiting:
        yield pa.Table.from_batches(waiting)


def sequences(events: pa.Table, item_ids: pa.Array) -> pa.Table:
    """Whole users' events as one row for each: the columns of `clean/sequences`. Codes are places in `item_ids`."""
    users, items = (coded(events.column(name).combine_chunks()) for name in (USER, ITEM))
    change = np.diff(users.indices.to_numpy()) != 0
    starts = np.flatnonzero(np.append(len(users) > 0, change))
    offsets = pa.array(np.append(starts, len(users)).astype(np.int32))
    lists = {
        "item_ids": items,
        "item_codes": pc.index_in(items.dictionary, value_set=item_ids).take(items.indices),
        "times": events.column("time").combine_chunks(),
        "weights": events.column("weight").combine_chunks(),
    }
    columns = {name: pa.ListArray.from_arrays(offsets, values) for name, values in lists.items()}
    return pa.table({USER: users.take(pa.array(starts)).cast(pa.string())} | columns)


def coded(texts: pa.Array) -> pa.DictionaryArray:
    return texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
