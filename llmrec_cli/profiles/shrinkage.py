"""How far the vector of a user with few events leans on the segment, chosen on each user's newest event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.metrics import single_target_metrics
from llmrec_cli.data.ranks import unseen_ranks
from llmrec_cli.data.segments import Segments, mixed, own_weight

if TYPE_CHECKING:
    from llmrec_cli.sequence.encoder import SequenceEncoder


FULL_WEIGHTS = (1, 2, 3, 5, 10, 20)
"""Numbers of events for full weight that are tried; 1 is the own vector alone."""
CUTS = (1, 2, 3, 5)
EVAL_USERS, CROWD = 2_000, 20_000
"""Users whose newest event is asked for, and users whose mean stands for their segments."""
UNLEARNED = 5
"""Events for full weight where nobody has two events to learn from."""


@dataclass(frozen=True)
class Shrinkage:
    """How many events give a user's own vector full weight, and what was measured."""

    full_weight: int
    ndcg: Mapping[int, float]
    """Events for full weight -> mean NDCG@10 of the newest event over all users and cuts; empty where not measured."""
    n_measured: int
    """Users and cuts that were asked."""

    def line(self) -> str:
        """What was chosen and how the others did."""
        if not self.ndcg:
            return f"the own vector has full weight from {self.full_weight} events (nobody has two to learn that from)"
        scores = ", ".join(f"{full}: {value:.4f}" for full, value in self.ndcg.items())
        events = "1 event" if self.full_weight == 1 else f"{self.full_weight} events"
        return (
            f"the own vector has full weight from {events}; NDCG@10 of the newest event for users cut down to their "
            f"first {', '.join(map(str, CUTS))} events ({self.n_measured:,} asked), by that number: {scores}"
        )


def choose(encoder: SequenceEncoder, log: Sequences, found: Segments, ties: Ints, seed: int) -> Shrinkage:
    """The one of FULL_WEIGHTS that ranks newest events best for users cut down to their first CUTS events.

    `encoder` has not seen the newest event of a user, `log` (users) has it. The mean of a segment leaves out the user
    who is asked. Equal figures go to the smaller number, which is nearer to the own vector.
    """
    users = np.random.default_rng([seed, 7]).permutation(np.flatnonzero(log.lengths >= 2))[:CROWD]
    if not len(users):
        return Shrinkage(UNLEARNED, {}, 0)
    some = log.select(users)
    times = None if some.times is None else some.times[some.offsets[1:] - 1]
    past, targets = some.without_last(), some.last().astype(np.int64)
    means = means_of_others(encoder.encode(past, times), found, users)[:EVAL_USERS]
    table = encoder.item_vectors.T
    gains: dict[int, list[Floats]] = {full: [] for full in FULL_WEIGHTS}
    for cut in CUTS:
        rows = np.flatnonzero(past.lengths[:EVAL_USERS] >= cut)
        heads = past.select(rows).head(cut)
        states = encoder.encode(heads, None if times is None else times[rows])
        measured: dict[float, Floats] = {}
        for full in FULL_WEIGHTS:
            weight = float(own_weight(np.array([cut]), full)[0])
            if weight not in measured:
                queries = mixed(states, means[rows], np.full(len(rows), weight, dtype=np.float32))
                measured[weight] = _gains(queries, table, heads, targets[rows], ties)
            gains[full].append(measured[weight])
    ndcg = {full: float(np.concatenate(values).mean()) for full, values in gains.items()}
    best = max(FULL_WEIGHTS, key=lambda full: (ndcg[full], -full))
    return Shrinkage(best, ndcg, sum(len(values) for values in gains[best]))


def _gains(queries: Floats, table: Floats, heads: Sequences, targets: Ints, ties: Ints) -> Floats:
    """(users,) NDCG@10 of each target; `ties` (items,) is the order of equal scores."""
    ranks = unseen_ranks(lambda start, stop: queries[start:stop] @ table, heads, targets, ties)
    return np.asarray(single_target_metrics(ranks, 10)["ndcg@10"], dtype=np.float32)


def means_of_others(states: Floats, found: Segments, users: Ints) -> Floats:
    """(n, d) for each of `users` (n,) the mean `states` (n, d) of the others in the segment, or else of all others."""
    members = (found.members[:, users] > 0).astype(np.float32)
    segment = found.of_user[users]
    others = np.asarray(members.sum(axis=1)).reshape(-1)[segment] - 1
    totals = np.where(others[:, None] > 0, (members @ states)[segment], states.sum(axis=0))
    counts = np.where(others > 0, others, max(len(users) - 1, 1))
    return np.asarray((totals - states) / counts[:, None], dtype=np.float32)
