"""The account of a log that was checked: a table of rows taken out by each rule, and the same in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import DataError
from llmrec_cli.ingest import funnel, rules

if TYPE_CHECKING:
    from llmrec_cli.ingest.clean_config import CleanConfig
    from llmrec_cli.ingest.described import Kept


def account(kept: Kept, config: CleanConfig) -> pa.Table:
    """Rows read, taken out by each rule and left. Raises DataError where nothing is left."""
    log, removed = kept.log, kept.checked.removed()
    unused = {
        rules.FORGOTTEN: log.forgotten is None,
        "where": not config.interactions.where,
        "invalid time": log.mapping.time is None,
        "invalid value": log.mapping.value is None,
        "negative feedback": config.negative_below is None and all(w >= 0 for w in config.event_weights.values()),
        "no weight": 0 not in config.event_weights.values(),
        "duplicate": log.mapping.time is None and config.interactions.layout == "sequences",
        "outlier value": log.mapping.value is None or not config.value_outlier_z,
        "cancelled": config.cancellations == "keep",
        "cancellation": config.cancellations == "keep",
        "repeat": config.repeats == "keep",
        "outlier user": not config.outlier_z,
        "outlier item": not config.item_outlier_z,
        "min_user_events": config.min_user_events == 1,
        "min_item_events": config.min_item_events == 1,
        "min_support": config.min_support <= 1,
        funnel.WITHHELD: config.holdout == "none",
    }
    left = {"users": kept.checked.last_rows(USER), "items": kept.checked.last_rows(ITEM)}
    table = funnel.funnel(log.total, removed, [rule for rule in funnel.RULES if not unused.get(rule)], left)
    if table.column("left")[-1].as_py() == 0:
        rule, fix = funnel.emptied_by(table)
        raise DataError(f"no row is left after the rule {rule!r}", where=log.paths, fix=fix, table=funnel.lines(table))
    return table


def in_words(table: pa.Table, kept: Kept, config: CleanConfig) -> list[str]:
    """The account in words: rows, the users or items behind them, and what is taken for the order in time."""
    lines = funnel.lines(table, kept.checked.taken())
    if kept.log.mapping.time is None:
        order = "of rows" if config.interactions.layout == "rows" else "of the items in a line"
        lines.append(f"there are no times: the order {order} is taken as order in time")
    return lines
