"""Training for the rows of `benchmarks.pipeline`, by protocol, and where the targets stand in what was trained."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks import harness, ranking
from benchmarks.data_sets import DataSet
from benchmarks.harness import Options
from llmrec_cli.core.artifacts import (
    ENCODER,
    ENCODER_VALIDATION,
    HOLDOUT,
    ITEM_TEXT_VECTORS,
    ITEM_VECTORS,
    ITEMS,
    RANKER,
    RANKER_REPORT,
    RETRIEVERS,
    SEQUENCES,
)
from llmrec_cli.core.config import load
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir, to_numpy
from llmrec_cli.data import catalogue
from llmrec_cli.data.interactions import Sequences, from_table
from llmrec_cli.data.metrics import MISS
from llmrec_cli.ranking import variants
from llmrec_cli.ranking.candidate_config import CandidateConfig
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.rankers import Ranker, load_ranker
from llmrec_cli.ranking.retrieval import Retrieval, load_config
from llmrec_cli.ranking.retrievers import Histories, Retriever, load_retrievers, refit
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.stages import train_ranker
from llmrec_cli.stages.train_ranker import TrainRankerConfig
from llmrec_cli.tensors.runtime import set_threads

PIPELINE = "pipeline"
MAX_MEMORY = 4 << 30
PROTOCOLS = {
    "strict": (
        2,
        "nothing of each user's last two events in any training; the rankers learned from the third last, the one kept "
        "is the best for the last but one; asked for the last with all before it as history",
    ),
    "val-in": (
        1,
        "the ranker learned from the last event but one, and was chosen on it; then the sources were fitted again with "
        "that event; asked for the last",
    ),
}
"""How many of each user's last events are withheld, and in words."""


@dataclass(frozen=True)
class Trained:
    """What ranks the items, and what it took to train."""

    retrievers: Mapping[str, Retriever]
    limits: CandidateConfig
    ranker: Ranker
    chosen: str
    """The name of the ranker."""
    seconds: float


def as_chosen(work: WorkDir, source: WorkDir, data: DataSet, options: Options, seed: int) -> Trained:
    """What `llmrec` trains and chooses by itself."""
    seconds = _seconds(work, ("pretrain", "profile", "train-ranker"), data, options, seed)
    kept = {row["name"] for row in work.read(RANKER_REPORT).to_pylist() if row["chosen"] and row["kind"] == "ranker"}
    retrievers, ranker = work.need(RETRIEVERS), load_ranker(work.need(RANKER))
    return Trained(load_retrievers(retrievers), load_config(retrievers), ranker, ", ".join(kept), seconds)


def as_strict(work: WorkDir, source: WorkDir, data: DataSet, options: Options, seed: int) -> Trained:
    """Rankers that learned each user's third last event; the one kept is the best for the last but one.

    That event is `source`'s last, and `work` does not know it. `llmrec` would choose on the third last, where sources
    have seen all that the user did before; here the newest event is new to them, as it is in the test.
    """
    seconds, started = _seconds(work, ("pretrain", "profile"), data, options, seed), time.monotonic()
    config = load(data.settings, options.settings).section("train-ranker", TrainRankerConfig)
    context = Context(seed, data.settings.parent, PlainProgress(quiet=True), "cpu", options.threads, MAX_MEMORY)
    set_threads(options.threads)
    retrievers, rankers = train_ranker.build(config)
    items, sequences = train_ranker.read(work)
    retrievers, _ = variants.affordable(retrievers, len(items))
    known, fitted, _ = train_ranker.validation(
        work, config, context, retrievers=retrievers, catalogue=items, sequences=sequences
    )
    encoder = SequenceEncoder.load(work.need(ENCODER_VALIDATION), context.device)
    longer = from_table(harness.known(source.read(SEQUENCES), work.read(ITEMS)), work.read(ITEMS))
    before = replace(items, vectors=encoder.item_vectors)
    check = candidates_for(fitted, encoder, longer.without_last(), before, config.candidates, targets=longer.last())
    results = {}
    for name, variant in rankers.items():
        ranker = variant.fit(known, seed)
        found = check.target_ranks(ranker.score(check))
        results[name] = (ranking.means(ranking.metrics(found))[f"ndcg@{ranking.K}"], ranker)
        harness.say(f"{data.name} seed {seed}, last event but one: {name} {results[name][0]:.4f}")
    chosen = max(results, key=lambda name: results[name][0])
    refitted = refit(fitted, sequences, items, seed)
    return Trained(refitted, config.candidates, results[chosen][1], chosen, seconds + time.monotonic() - started)


def _seconds(work: WorkDir, stages: Sequence[str], data: DataSet, options: Options, seed: int) -> float:
    """Run the stages that are not up to date; the seconds of all, also of those that were."""
    records = [harness.stage(work, stage, data, options, options.settings, seed=seed) for stage in stages]
    return float(sum(record["seconds"] for record in records))


def candidates_for(
    retrievers: Mapping[str, Retriever],
    encoder: SequenceEncoder,
    histories: Sequences,
    items: catalogue.Catalogue,
    limits: CandidateConfig,
    *,
    targets: np.ndarray,
    exclude_seen: bool = True,
) -> Candidates:
    retrieval = Retrieval(retrievers, items, limits, exclude_seen=exclude_seen, max_memory=MAX_MEMORY)
    return retrieval.candidates(Histories(histories, encoder.encode(histories)), targets)


def test_ranks(work: WorkDir, source: WorkDir, trained: Trained) -> dict[str, dict[str, np.ndarray]]:
    """ "filtered" and "unfiltered" -> system -> (users,) the place of each user's last event; MISS where not ranked.

    `source` has all events but the last: with more withheld from `work`, they are history all the same.
    """
    histories, targets, items = asked(work, source)
    encoder = SequenceEncoder.load(work.need(ENCODER))
    found = {}
    for how, filtered in (("filtered", True), ("unfiltered", False)):
        candidates = candidates_for(
            trained.retrievers, encoder, histories, items, trained.limits, targets=targets, exclude_seen=filtered
        )
        ranks = candidates.target_ranks(trained.ranker.score(candidates))
        systems = {PIPELINE: ranks, **candidates.retriever_ranks}
        found[how] = {name: np.where(targets < 0, MISS, each) for name, each in systems.items()}
    return found


def asked(work: WorkDir, source: WorkDir) -> tuple[Sequences, np.ndarray, catalogue.Catalogue]:
    """(histories without the last event, (users,) codes of the last, catalogue) by the codes of `work`."""
    items, holdout = work.read(ITEMS), source.read(HOLDOUT)
    texts, vectors = (to_numpy(work.read(t, ["vector"]).column("vector")) for t in (ITEM_TEXT_VECTORS, ITEM_VECTORS))
    past = harness.known(source.read(SEQUENCES), items)
    histories = from_table(past, items, holdout.column("user_id"))
    targets = harness.codes(holdout.column("item_id"), items).astype(np.int32)
    return histories, targets, catalogue.from_tables(items, texts.reshape(items.num_rows, -1), vectors)
