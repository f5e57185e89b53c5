"""A log whose rows are each kept or rejected, whatever engine looked at them: what `clean` writes and counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from llmrec_cli.ingest.engine import Engine
    from llmrec_cli.ingest.rules import Frame, FrameEngine

IdName = Literal["user_id", "item_id"]


class StartSpark(Protocol):
    """`extras.spark.start`."""

    def __call__(self, master: str, memory: int, engine: Engine) -> FrameEngine:
        """A session that ends with the engine; MissingExtraError without pyspark or Java."""
        ...


class CheckedLog(Protocol):
    """Columns of the tables that are handed over are those of the artifact; a time is microseconds since 1970."""

    def removed(self) -> dict[str, int]:
        """How many rows each rule took, and how many kept events the backtest withholds."""
        ...

    def taken(self) -> list[dict[str, str | int]]:
        """reason, and how many `users` and `items` have rows that it took."""
        ...

    def last_rows(self, id_name: IdName) -> dict[str, int]:
        """How many users (items) each rule took the last row of; those with kept rows under ""."""
        ...

    def kinds(self) -> list[str]:
        """The kinds of events in the log."""
        ...

    def event_counts(self, id_name: IdName, *, met_only: bool = False) -> pa.Table:
        """`#id` of every user (item) with kept events, `#n`, how many are not withheld; maybe only those above 0."""
        ...

    def newest(self) -> int | None:
        """The time of the newest kept event, in microseconds since 1970; None where there are no times."""
        ...

    def only_rejected(self) -> pa.Array:
        """The items that somebody had, but that no kept row has."""
        ...

    def known_rows(self) -> Frame:
        """The numbered raw rows, kept or rejected, that were there before the cut-off of a backtest."""
        ...

    def training(self) -> Iterator[pa.Table]:
        """What is not withheld: `clean/interactions` in pieces that never part a user."""
        ...

    def negative_feedback(self) -> Iterator[pa.Table]:
        """`clean/negative_feedback`."""
        ...

    def holdout(self) -> Iterator[pa.Table]:
        """`clean/holdout`."""
        ...

    def rejects(self) -> Iterator[pa.Table]:
        """`clean/rejects`."""
        ...
