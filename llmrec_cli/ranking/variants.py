"""Retrievers and rankers as they are chosen by name, and which of them a catalogue allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel

from llmrec_cli.ranking import returned


@dataclass(frozen=True)
class Variant:
    """A class chosen by name, and its checked settings."""

    kind: Any
    config: Any

    @classmethod
    def of(cls, kind: Any, config: BaseModel | None) -> Self:
        return cls(kind, config or kind.Config())

    def fit(self, *given: Any) -> Any:
        return returned.fitted(self.kind, self.kind.fit(self.config, *given))


def affordable(retrievers: dict[str, Variant], n_items: int) -> tuple[dict[str, Variant], list[str]]:
    """The retrievers that a catalogue of this size allows, and a warning for each that is left out."""
    left = {name: v for name, v in retrievers.items() if getattr(v.config, "max_items", n_items) >= n_items}
    warnings = [
        f"{name} is left out: {n_items:,} items are more than its max_items = {v.config.max_items:,}"
        for name, v in retrievers.items()
        if name not in left
    ]
    return left, warnings
