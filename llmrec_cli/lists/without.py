"""Lists as if users had not chosen certain items, with every model as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llmrec_cli.core.arrays import Codes, Ints
from llmrec_cli.core.artifacts import ENCODER
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists.maker import Maker
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.tensors.checkpoints import fits


@dataclass(frozen=True)
class Without:
    """Makers of lists from changed histories."""

    encoder: SequenceEncoder
    present: int | None
    """The newest time of the log in seconds, where times are known: when all users are asked."""

    @classmethod
    def of(cls, work: WorkDir, maker: Maker) -> Without:
        """With the encoder of the work directory; UpstreamError where it is of another catalogue."""
        encoder = SequenceEncoder.load(fits(work.need(ENCODER), maker.catalogue.item_ids), maker.context.device)
        times = maker.histories.sequences.times
        return cls(encoder, None if times is None else int(times.max(initial=0)))

    def maker(self, maker: Maker, users: Ints, items: Codes) -> Maker:
        """The same maker where the user of row `users[i]` has no event with `items[i]`; the models stay as they are.

        What was taken out counts as had: no list brings it back. A vector moves as far as the encoder's state does, by
        the weight that the user's own vector has; the segment, its mean and the profile's interests stay.
        """
        before = maker.histories.sequences
        after, changed = before.without(users, items), np.unique(users)
        present = None if self.present is None else np.full(len(changed), self.present)
        then, now = (self.encoder.encode(each.select(changed), present) for each in (before, after))
        vectors = maker.histories.vectors.copy()
        vectors[changed] += maker.own_weight[changed, None] * (now - then)
        return replace(maker, histories=replace(maker.histories, sequences=after, vectors=vectors), had=before)
