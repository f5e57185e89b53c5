"""What families of features and sources are worth: the ranker is fitted anew without one, for the same users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Bools, Codes, Doubles, Floats
from llmrec_cli.core.artifacts import ABLATION
from llmrec_cli.data.metrics import paired_bootstrap, rank_metrics
from llmrec_cli.evaluation.eval_users import EvalUsers
from llmrec_cli.lists.maker import Maker
from llmrec_cli.ranking import returned
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.features import FAMILIES, family
from llmrec_cli.ranking.hidden_items import Learning
from llmrec_cli.ranking.rankers import Ranker, scores_of
from llmrec_cli.ranking.retrieval import Retrieval
from llmrec_cli.ranking.retrievers import refit
from llmrec_cli.sequence.encoder import SequenceEncoder

WHOLE, FEATURES, SOURCE = "everything", "features", "source"
"""What a row of the table leaves out: nothing, the columns of a family, or a retriever's columns and candidates."""


@dataclass(frozen=True)
class Ablation:
    """NDCG of the ranker's order with everything, and without one thing at a time."""

    metric: str
    values: dict[tuple[str, str], Doubles]
    """(kind, name) of what is left out -> (users,); `WHOLE` first."""
    learners: int
    """Users whom the ranker was fitted on each time."""
    kept: list[str]
    """Families that the ranker cannot be fitted without."""

    @classmethod
    def of(cls, maker: Maker, encoder: SequenceEncoder, eval_users: EvalUsers, *, k: int, limit: int) -> Ablation:
        """With the maker's ranker and retrievers, for at most `limit` users on either side.

        `encoder` has not seen the users' last events, from which the ranker learns; the order is that of the ranker,
        before constraints and backfill.
        """
        seed, progress = maker.context.seed, maker.context.progress
        learnt = _training(maker, encoder, limit)
        some = eval_users.some(limit, seed)
        targets, asked = some.targets, maker.candidates(maker.histories.select(some.users))
        steps = list(_steps(learnt, list(maker.retrievers), maker.ranker.needs))
        values = {}
        with progress.task("ablation", len(steps) + 1, "fits") as task:
            for kind, name, columns, others in [(WHOLE, "", np.zeros(len(learnt.names), dtype=bool), -1), *steps]:
                known, open_ = (_left(table, columns, others) for table in (learnt, asked))
                values[kind, name] = rank_metrics(_order(maker.ranker, known, open_, k, seed), targets, k)[f"ndcg@{k}"]
                task.advance(note=name)
        kept = sorted(set(map(family, learnt.names)) & set(maker.ranker.needs))
        return cls(f"ndcg@{k}", values, int(learnt.has_target().sum()), kept)

    def table(self, seed: int, resamples: int) -> pa.Table:
        """The rows of `evaluate/ablation`: the value without it, and what that is more than with everything."""
        whole = self.values[WHOLE, ""]
        rows = []
        for (kind, name), values in self.values.items():
            difference, low, high = paired_bootstrap(values, whole, seed, resamples)
            given = {"value": float(values.mean()), "difference": difference, "low": low, "high": high}
            rows.append({"kind": kind, "name": name, "metric": self.metric, "n_users": len(values), **given})
        return pa.Table.from_pylist(rows, schema=ABLATION.schema)

    def lines(self, table: pa.Table) -> list[str]:
        """What is reported of it, the largest loss first."""
        whole, *rows = table.to_pylist()
        metric = self.metric.upper()
        out = [
            f"without one part at a time, the ranker fitted anew on {self.learners:,} users and its order asked about "
            f"{whole['n_users']:,}: {metric} {whole['value']:.4f} with everything"
        ]
        names = {FEATURES: "without features", SOURCE: "without source"}
        for row in sorted(rows, key=lambda row: row["difference"]):
            what = f"{names[row['kind']]} {FAMILIES.get(row['name'], row['name'])}"
            interval = f"95 % {row['low']:+.4f} to {row['high']:+.4f}"
            out.append(f"{what:<52} {metric} {row['value']:.4f}  {row['difference']:+.4f}  {interval}")
        return out + [f"the ranker cannot be fitted without {name}" for name in self.kept]


def _training(maker: Maker, encoder: SequenceEncoder, limit: int) -> Candidates:
    """What the ranker learns from: as `train-ranker` has it, of fewer users."""
    context, sequences = maker.context, maker.histories.sequences
    sequences = sequences.select(sequences.lengths > 0)
    learning = Learning.of(sequences, maker.catalogue, encoder, maker.depths.hidden)
    fitted = refit(maker.retrievers, learning.past, learning.catalogue, context.seed)
    retrieval = Retrieval(fitted, learning.catalogue, maker.depths, cold=learning.cold, max_memory=context.max_memory)
    return learning.candidates(retrieval, limit, context.seed, context.progress)


def _steps(table: Candidates, retrievers: list[str], needs: tuple[str, ...]) -> Iterator[tuple[str, str, Bools, int]]:
    """(kind, name, columns that go, bits of who may bring rows) of each fit."""
    families = np.array([family(name) for name in table.names])
    free = [name for name in dict.fromkeys(families.tolist()) if name not in needs]
    for name in free:
        yield FEATURES, name, families == name, -1
    for name in free:
        if name in retrievers and len(retrievers) > 1:
            yield SOURCE, name, families == name, ~(1 << retrievers.index(name))


def _left(table: Candidates, columns: Bools, bits: int) -> Candidates:
    """The table without some columns, of the rows that any of `bits` brought."""
    assert table.brought is not None
    return table.keep((table.brought & bits) != 0).without(columns)


def _order(ranker: Ranker, known: Candidates, open_: Candidates, k: int, seed: int) -> Codes:
    """(users, k) the best of `open_` by a ranker of the same kind and settings that learnt from `known`."""
    fitted = returned.fitted(type(ranker), type(ranker).fit(ranker.config, known, seed))
    scores: Floats = scores_of(fitted, open_)
    ranks = open_.ranks(scores)
    best = ranks < k
    lists = np.full((open_.n_users, k), -1, dtype=np.int32)
    lists[open_.users[best], ranks[best]] = open_.items[best]
    return lists
