"""The checked log as frames of an engine: the rules as expressions, the reference for `array_log`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import narwhals as nw
import pyarrow as pa

from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.ingest import holdout, kept_events, metadata, rules
from llmrec_cli.ingest.checked_log import IdName
from llmrec_cli.ingest.funnel import RULES, WITHHELD

if TYPE_CHECKING:
    from llmrec_cli.ingest.clean_config import CleanConfig
    from llmrec_cli.ingest.raw_log import RawLog
    from llmrec_cli.ingest.rules import Frame


@dataclass(frozen=True)
class FrameLog:
    """A `CheckedLog` of frames."""

    log: RawLog
    config: CleanConfig
    checked: Frame
    """Every row with the reason why it is rejected, if it is."""
    events: Frame
    """The kept events with position and session, and whether the backtest withholds them."""
    after: int
    """Where the backtest cuts by time, in microseconds since 1970."""

    def removed(self) -> dict[str, int]:
        found = self.log.engine.counts(self.checked, "reason")
        withheld = self.log.engine.counts(self.events, "withheld").get(True, 0)
        return {reason: n for reason, n in found.items() if reason is not None} | {WITHHELD: withheld}

    def taken(self) -> list[dict[str, str | int]]:
        found: list[dict[str, str | int]] = self.log.engine.arrow(rules.taken(self.checked)).to_pylist()
        return found

    def last_rows(self, id_name: IdName) -> dict[str, int]:
        found = self.log.engine.arrow(rules.reasons_of(self.checked, id_name)).to_pandas()
        order = {name: place for place, name in enumerate((*RULES, ""))}
        last = found["reason"].fillna("").map(order).groupby(found[id_name]).max().value_counts()
        return {name: int(last[place]) for name, place in order.items() if place in last}

    def kinds(self) -> list[str]:
        return [kind for kind in self.log.engine.counts(self.checked, "event") if kind is not None]

    def event_counts(self, id_name: IdName, *, met_only: bool = False) -> pa.Table:
        return self.log.engine.arrow(metadata.event_counts(self.events, id_name, met_only=met_only))

    def newest(self) -> int | None:
        found = self.log.engine.arrow(self.events.select(nw.col("time").max())).column("time")[0].as_py()
        return None if found is None else int(found)

    def only_rejected(self) -> pa.Array:
        return self.log.engine.arrow(rules.only_rejected(self.checked)).column(ITEM).combine_chunks()

    def known_rows(self) -> Frame:
        numbered = self.log.engine.numbered(self.log.raw, self.log.columns)
        return holdout.known(numbered, self.checked, self.events, self.config.holdout, self.after)

    def training(self) -> Iterator[pa.Table]:
        return kept_events.grouped(self.log.engine.batches(holdout.training(self.events)))

    def holdout(self) -> Iterator[pa.Table]:
        return self.log.engine.tables(holdout.holdout(self.events))

    def negative_feedback(self) -> Iterator[pa.Table]:
        found = kept_events.negative_feedback(self.checked)
        return self.log.engine.tables(holdout.known_negatives(found, self.events, self.config.holdout, self.after))

    def rejects(self) -> Iterator[pa.Table]:
        return self.log.engine.tables(rules.rejected(self.checked))


def check(log: RawLog, config: CleanConfig, after: int) -> FrameLog:
    """Apply the rules to the raw table."""
    timed, engine = log.mapping.time is not None, log.engine
    frame = rules.weighted(log.frame(), config.event_weights, config.negative_below)
    frame = rules.reject_invalid(frame, timed=timed)
    if log.forgotten is not None:
        frame = rules.reject_forgotten(frame, engine.put(log.forgotten))
    if config.value_outlier_z:
        frame = rules.reject_values(frame, _limit(engine.arrow(rules.sizes(frame)), config.value_outlier_z))
    if timed or config.interactions.layout == "rows":
        frame = rules.reject_duplicates(frame, timed=timed)
    if config.cancellations == "match":
        frame = rules.reject_cancelled(engine.keep(frame))
    frame = engine.keep(rules.reject_repeats(frame, config.repeats, config.repeat_window_minutes))
    for column, z in ((USER, config.outlier_z), (ITEM, config.item_outlier_z)):
        counts = engine.arrow(rules.counts_of(frame, column))
        limit = _limit(counts, z)
        if (counts.column("size").to_numpy() > limit).any():
            frame = engine.keep(rules.reject_outliers(frame, column, limit, f"outlier {column[:4]}"))
    checked = _reject_rare(frame, log, config)
    events = kept_events.in_order(checked, config.session_gap_minutes)
    events = engine.keep(holdout.withheld(events, config.holdout, config.holdout_n, after))
    return FrameLog(log, config, checked, events, after)


def _limit(found: pa.Table, z: float) -> float:
    sizes, n = (found.column(name).to_numpy() for name in ("size", "n"))
    return rules.outlier_limit(sizes, n, z)


def _reject_rare(frame: Frame, log: RawLog, config: CleanConfig) -> Frame:
    valid = log.engine.arrow(rules.valid(frame))
    users, items = (rules.codes(valid.column(column)) for column in (USER, ITEM))
    violated = rules.k_core(users, items, config.min_user_events, config.min_item_events, config.min_support)
    if not violated.any():
        return frame
    out = pa.table({"source_row": valid.column("source_row"), "violated": violated}).filter(pa.array(violated > 0))
    return log.engine.keep(rules.reject_rare(frame, log.engine.put(out)))
