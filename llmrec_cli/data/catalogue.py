"""What is known of the items besides behaviour, as arrays in the order of `clean/items`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.core.columns import ITEM

T = TypeVar("T")


@dataclass(frozen=True)
class Catalogue:
    """Columns of `clean/items` with their vectors. Row number = item code."""

    item_ids: list[str]
    titles: list[str]
    texts: list[str]
    categories: list[str]
    """The category path, levels joined by " > "; "" where there is none."""
    tags: list[list[str]]
    text_vectors: Floats
    """(items, t) unit-length centred text embeddings; (items, 0) where there are none."""
    vectors: Floats
    """(items, d) the sequence model's item table; (items, 0) where there is none."""

    attributes: pa.ChunkedArray[Any] | None = None
    """(items,) the column of `clean/items`."""
    shared: dict[object, Any] = field(default_factory=dict, repr=False, compare=False)
    """What `once` keeps; a catalogue made from this one has it too."""

    def once(self, key: object, columns: Sequence[object], made: Callable[[], T]) -> T:
        """What `made` gives, kept under the key for as long as these columns are the very same."""
        kept = self.shared.get(key)
        if kept is None or any(one is not other for one, other in zip(kept[0], columns, strict=True)):
            kept = self.shared[key] = (tuple(columns), made())
        found: T = kept[1]
        return found

    def __len__(self) -> int:
        return len(self.item_ids)

    def names(self) -> list[str]:
        """(items,) what to call each item, see `names`."""
        return names(self.item_ids, self.titles)


def names(item_ids: Sequence[str], titles: Sequence[str | None]) -> list[str]:
    """(items,) what to call each item: its title, or its id where it has none."""
    return [title or item for item, title in zip(item_ids, titles, strict=True)]


def group_numbers(names: Sequence[str]) -> Ints:
    """(items,) the same number for the same name, -1 for ""."""
    codes = pa.array([name or None for name in names], pa.string()).dictionary_encode().indices
    return np.asarray(codes.fill_null(-1), dtype=np.int64)


def from_tables(items: pa.Table, text_vectors: Floats, vectors: Floats) -> Catalogue:
    """Columns of the items table as Python lists; nulls become empty."""

    def text(name: str) -> list[str]:
        return [value or "" for value in items.column(name).to_pylist()]

    return Catalogue(
        item_ids=items.column(ITEM).to_pylist(),
        titles=text("title"),
        texts=text("text"),
        categories=text("category"),
        tags=[value or [] for value in items.column("tags").to_pylist()],
        text_vectors=text_vectors,
        vectors=vectors,
        attributes=items.column("attributes") if "attributes" in items.column_names else None,
    )
