"""While rankers learn, some items are hidden from all that reads behaviour: so they learn what a cold item is worth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from llmrec_cli.core.arrays import Bools
from llmrec_cli.core.progress import Progress
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences, some_with_two
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.retrieval import Retrieval
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.sequence import cold_items
from llmrec_cli.sequence.encoder import SequenceEncoder

LEAST_USERS = 2_000
"""Fewer users teach a ranker little of cold items: with 500 it lost more on the others than it gained."""


@dataclass(frozen=True)
class Learning:
    """What rankers learn from: the last event of each user, and models that know neither it nor the hidden items."""

    sequences: Sequences
    """Whole histories."""
    past: Sequences
    """The same without their last events and without hidden items: what retrievers are fitted on."""
    encoder: SequenceEncoder
    catalogue: Catalogue
    """With the item vectors of `encoder`."""
    cold: Bools
    """(items,) those without events in `past`."""

    @classmethod
    def of(cls, sequences: Sequences, catalogue: Catalogue, encoder: SequenceEncoder, share: float) -> Learning:
        """Hides a share of the items with events, chosen by a hash of their ids, at most as many as have none; with few
        users or without content it hides nothing.

        `encoder` has not seen the last events. Hidden items have their places in it by their content alone.
        """
        past = sequences.without_last()
        cold = past.counts() == 0
        if len(sequences) >= LEAST_USERS and catalogue.text_vectors.any():
            hashes = pd.util.hash_array(np.asarray(catalogue.item_ids, dtype=object), categorize=False)
            cold |= hashes < np.uint64(min(share, (sequences.counts() == 0).mean()) * 2.0**64)
        gone = cold[past.codes]
        if gone.any():
            past = past.without(past.users[gone], past.codes[gone])
            encoder = cold_items.as_cold(encoder, catalogue.text_vectors, cold)
        return cls(sequences, past, encoder, replace(catalogue, vectors=encoder.item_vectors), cold)

    def candidates(self, retrieval: Retrieval, limit: int, seed: int, progress: Progress) -> Candidates:
        """For the last event of at most `limit` users, from what was before it."""
        users = some_with_two(self.sequences, limit, seed)
        before = self.past.select(users)
        return retrieval.candidates(
            Histories(before, self.encoder.encode(before)), self.sequences.last()[users], progress
        )
