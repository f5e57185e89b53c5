"""Why the rows of lists are there: asks the retrievers which events speak for them, and puts it into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from llmrec_cli.models.retrievers import Retriever, Supports
from llmrec_cli.tables import reasons
from llmrec_cli.tables.catalogue import Catalogue
from llmrec_cli.tables.interests import tagged
from llmrec_cli.tables.sequences import Sequences

Codes = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """The rows of the lists of a block of users. All arrays are (rows,)."""

    users: Ints
    """Places in the block."""
    items: Codes
    sources: Ints
    """As in `lists.Lists`."""
    strategies: Sequence[str]
    segments: Ints
    """The user's segment, a place in the explainer's `segments`."""
    scores: Floats

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Explainer:
    """Everything that reasons are made of, for the whole data set."""

    supports: dict[int, Supports]
    """Kind of evidence -> who can say it."""
    interests: sp.csr_matrix
    """(users, tags) what their profiles say; nothing for users without events, who have the interests of others."""
    item_tags: sp.csr_matrix
    choosers: sp.csr_matrix
    """(items, users) ones."""
    wording: reasons.Wording
    item_ids: pa.Array[Any]
    tag_names: pa.Array[Any]
    """What the evidence calls tags: the items' tags, then the segments."""

    @classmethod
    def of(
        cls,
        retrievers: Mapping[str, Retriever],
        catalogue: Catalogue,
        histories: Sequences,
        *,
        interests: pa.ChunkedArray[Any],
        segments: Sequence[str],
        regions: set[str],
    ) -> Explainer:
        """`interests` is the column of profiles; `regions` are the values that may be read as places people are in."""
        tags = tagged(catalogue.tags)
        weights = reasons.interest_matrix(interests, pa.array(tags.names, type=pa.string()))
        choosers = histories.matrix().T.tocsr()
        choosers.data[:] = 1.0
        titles = [title or item for title, item in zip(catalogue.titles, catalogue.item_ids, strict=True)]
        phrases = [f"in {name}" if name in regions and name[0].isalpha() else f"like you ({name})" for name in segments]
        able = {name: source for name, source in retrievers.items() if isinstance(source, Supports)}
        return cls(
            supports={kind: able[name] for name, kind in reasons.SUPPORTERS.items() if name in able},
            interests=weights.multiply((histories.lengths > 0)[:, None]).tocsr(),
            item_tags=tags.matrix,
            choosers=choosers,
            wording=reasons.Wording(titles, [*tags.names, *phrases]),
            item_ids=pa.array(catalogue.item_ids, type=pa.string()),
            tag_names=pa.array([*tags.names, *segments], type=pa.string()),
        )

    def explain(self, rows: Rows, histories: Sequences, first_user: int) -> tuple[list[str], pa.Array[Any]]:
        """A sentence for each row, and the column of what speaks for it.

        `histories` are those of the block, whose first user is row `first_user` of all users.
        """
        pairs, events = reasons.event_pairs(histories, rows.users, rows.items)
        support = {kind: source.support(events, rows.items[pairs]) for kind, source in self.supports.items()}
        preferred = np.array([reasons.KIND_OF_STRATEGY.get(name, -1) for name in rows.strategies], dtype=np.int64)
        found = reasons.together(
            reasons.speaking_events(pairs, events, support, preferred),
            reasons.shared_interests(self.interests, self.item_tags, rows.users + first_user, rows.items),
            reasons.popularity(rows.sources, rows.segments + self.item_tags.shape[1], rows.scores),
        )
        sentences = self.wording.sentences(found, rows.strategies, self._frequent(found, rows))
        return sentences, found.column(len(rows), self.item_ids, self.tag_names)

    def _frequent(self, found: reasons.Evidence, rows: Rows) -> npt.NDArray[np.bool_]:
        """(rows,) whether many of those who chose the leading event chose the item too."""
        first = found.first(len(rows))
        leading = np.where(first >= 0, found.items[first] if len(found) else -1, -1)
        frequent = np.zeros(len(rows), dtype=bool)
        asked = leading >= 0
        frequent[asked] = reasons.often(self.choosers, leading[asked], rows.items[asked])
        return frequent
