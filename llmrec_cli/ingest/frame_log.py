"""The checked log as frames of an engine: the rules as expressions, the reference for `array_log`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import pyarrow as pa

from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.ingest import holdout, kept_events, metadata, rules
from llmrec_cli.ingest.checked_log import IdName
from llmrec_cli.ingest.funnel import RULES, WITHHELD

if TYPE_CHECKING:
    from llmrec_cli.ingest.clean_config import CleanConfig
    from llmrec_cli.ingest.raw_log import RawLog
    from llmrec_cli.ingest.rules import Frame, FrameEngine


@dataclass(frozen=True)
class FrameLog:
    """A `CheckedLog` of frames."""

    log: RawLog
    config: CleanConfig
    engine: FrameEngine
    checked: Frame
    """Every row with the reason why it is rejected, if it is."""
    events: Frame
    """The kept events with position and session, and whether the backtest withholds them."""
    after: int
    """Where the backtest cuts by time, in microseconds since 1970."""

    def removed(self) -> dict[str, int]:
        found = self._counts(self.checked, "reason")
        withheld = self._counts(self.events, "withheld").get(True, 0)
        return {reason: n for reason, n in found.items() if reason is not None} | {WITHHELD: withheld}

    def taken(self) -> list[dict[str, str | int]]:
        found: list[dict[str, str | int]] = self.engine.arrow(rules.taken(self.checked)).to_pylist()
        return found

    def last_rows(self, id_name: IdName) -> dict[str, int]:
        found = self.engine.arrow(rules.last_rows(self.checked, id_name, tuple(RULES))).to_pylist()
        return {(*RULES, "")[each["place"]]: each["n"] for each in found}

    def _counts(self, frame: Frame, column: str) -> dict[Any, int]:
        """How many rows have each value of a column."""
        table = self.engine.arrow(frame.group_by(column).agg(nw.len().alias("n")))
        return dict(zip(table.column(column).to_pylist(), table.column("n").to_pylist(), strict=True))

    def _tables(self, frame: Frame) -> Iterator[pa.Table]:
        return (pa.Table.from_batches([batch]) for batch in self.engine.batches(frame))

    def kinds(self) -> list[str]:
        return [kind for kind in self._counts(self.checked, "event") if kind is not None]

    def event_counts(self, id_name: IdName, *, met_only: bool = False) -> pa.Table:
        return self.engine.arrow(metadata.event_counts(self.events, id_name, met_only=met_only))

    def newest(self) -> int | None:
        found = self.engine.arrow(self.events.select(nw.col("time").max())).column("time")[0].as_py()
        return None if found is None else int(found)

    def only_rejected(self) -> pa.Array:
        return self.engine.arrow(rules.only_rejected(self.checked)).column(ITEM).combine_chunks()

    def known_rows(self) -> Frame:
        numbered = self.log.engine.numbered(self.log.raw, self.log.columns)
        if self.config.holdout == "none":
            return numbered
        known = holdout.known(self.checked, self.events, self.config.holdout, self.after)
        return holdout.among(numbered, self.log.engine.put(self.engine.arrow(known)))

    def training(self) -> Iterator[pa.Table]:
        return kept_events.grouped(self.engine.batches(holdout.training(self.events)))

    def holdout(self) -> Iterator[pa.Table]:
        return self._tables(holdout.holdout(self.events))

    def negative_feedback(self) -> Iterator[pa.Table]:
        found = kept_events.negative_feedback(self.checked)
        return self._tables(holdout.known_negatives(found, self.events, self.config.holdout, self.after))

    def rejects(self) -> Iterator[pa.Table]:
        return self._tables(rules.rejected(self.checked))


def check(log: RawLog, config: CleanConfig, after: int, engine: FrameEngine | None = None) -> FrameLog:
    """Apply the rules to the raw table; on DuckDB, where it lies, or on another engine."""
    timed, engine = log.mapping.time is not None, engine or log.engine
    frame = rules.weighted(engine.log(log), config.event_weights, config.negative_below)
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
    found = rules.rare(frame, engine, config.min_user_events, config.min_item_events, config.min_support)
    checked = frame if found is None else engine.keep(rules.reject_rare(frame, found))
    events = kept_events.in_order(checked, config.session_gap_minutes)
    events = engine.keep(holdout.withheld(events, config.holdout, config.holdout_n, after))
    return FrameLog(log, config, engine, checked, events, after)


def _limit(found: pa.Table, z: float) -> float:
    sizes, n = (found.column(name).to_numpy() for name in ("size", "n"))
    return rules.outlier_limit(sizes, n, z)
