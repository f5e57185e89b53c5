"""The validation users of `pretrain`: where their withheld next item stands in a full ranking, seen items left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Doubles, Floats, Ints
from llmrec_cli.core.artifacts import PRETRAIN_CURVE
from llmrec_cli.core.errors import DataError
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.metrics import single_target_metrics
from llmrec_cli.data.ranks import unseen_ranks
from llmrec_cli.sequence.encoder import DECAY, SequenceEncoder
from llmrec_cli.tensors.runtime import Epoch

WATCH = "ndcg@10"
CONTENT_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Weights of content similarity that are tried."""


@dataclass(frozen=True)
class Validation:
    """Users whose newest event is asked for."""

    histories: Sequences
    """What they did before it."""
    targets: Ints
    ties: Ints
    """(items,) the order of equal scores, see `data.ranks.tie_order`."""
    times: Ints | None = None
    """(users,) when it happened, for models with `target_time`."""

    @classmethod
    def sample(cls, log: Sequences, ties: Ints, limit: int, seed: int) -> Validation:
        """At most `limit` users with two events or more; DataError where nobody has a third to learn from."""
        if not (log.lengths >= 3).any():
            raise DataError(
                "no user has three events: there is nothing to learn an order from",
                where="clean/sequences",
                fix="lower clean.min_item_events, widen clean.interactions.where, or bring or leave a longer log",
            )
        users = np.flatnonzero(log.lengths >= 2)
        if len(users) > limit:
            users = np.sort(np.random.default_rng([seed, len(users)]).choice(users, limit, replace=False))
        chosen = log.select(users)
        times = None if chosen.times is None else chosen.times[chosen.offsets[1:] - 1]
        return cls(chosen.without_last(), chosen.last().astype(np.int64), ties, times)

    def measure(self, encoder: SequenceEncoder) -> dict[str, float]:
        """Recall and NDCG at 10 in a full ranking without what was seen."""
        return self._measured(encoder.encode(self.histories, self.times), encoder.item_vectors)

    def weigh_content(self, encoder: SequenceEncoder) -> tuple[SequenceEncoder, float]:
        """The encoder with the content weight that gives the best NDCG here, and that NDCG."""
        states, table = encoder.encode(self.histories, self.times), encoder.item_vectors
        tastes, content = encoder.tastes(self.histories), encoder.content.cpu().numpy()
        items = np.concatenate([table, content], axis=1)
        found = {
            weight: self._measured(np.concatenate([states, weight * tastes], axis=1), items)[WATCH]
            for weight in CONTENT_WEIGHTS
        }
        best = max(found, key=lambda weight: found[weight])
        return encoder.with_content_weight(best), found[best]

    def content_ndcg(self, vectors: Floats) -> Doubles:
        """(users,) NDCG@10 of items by the cosine of (items, t) content with the decayed mean of the history's."""
        tastes = self.histories.matrix(DECAY) @ vectors
        ranks = unseen_ranks(
            lambda start, stop: tastes[start:stop] @ vectors.T, self.histories, self.targets, self.ties
        )
        return single_target_metrics(ranks, 10)[WATCH]

    def _measured(self, queries: Floats, vectors: Floats) -> dict[str, float]:
        table = vectors.T
        ranks = unseen_ranks(lambda start, stop: queries[start:stop] @ table, self.histories, self.targets, self.ties)
        return recall_and_ndcg(ranks)

    def popularity(self, counts: Ints) -> dict[str, float]:
        """The same for the most frequent items."""
        scores = counts.astype(np.float32)
        ranks = unseen_ranks(
            lambda start, stop: np.broadcast_to(scores, (stop - start, len(scores))),
            self.histories,
            self.targets,
            self.ties,
        )
        return recall_and_ndcg(ranks)


def recall_and_ndcg(ranks: Ints, k: int = 10) -> dict[str, float]:
    """Mean recall@k and NDCG@k with one relevant item a user."""
    found = single_target_metrics(ranks, k)
    return {name: float(found[name].mean()) for name in (f"recall@{k}", f"ndcg@{k}")}


def curve(trainings: Mapping[str, Sequence[Epoch]]) -> pa.Table:
    """`pretrain/curve`: loss, speed and what validation users say, epoch by epoch of each training."""
    rows = [
        {"phase": name, **asdict(epoch), "recall": epoch.metrics.get("recall@10"), "ndcg": epoch.metrics.get(WATCH)}
        for name, epochs in trainings.items()
        for epoch in epochs
    ]
    return pa.Table.from_pylist(rows, schema=PRETRAIN_CURVE.schema)
