"""Items without a single event: ranked among all items by the sequence model, by the whole pipeline, and by text.

python -m benchmarks.cold [--data beauty,toys] [--seeds 42,43,44] [--set pretrain.item_dropout=0.2]

A random 10 % of the items is taken out of all training histories but stays in the items file. A user's target is the
last event; its history is what is left of the events before.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import harness, ranking
from benchmarks.data_sets import DATA_SETS, DataSet
from benchmarks.harness import Json, Options, say
from benchmarks.tables import Table, interval, score, show
from llmrec_cli.core.artifacts import (
    ENCODER,
    ENCODER_VALIDATION,
    HOLDOUT,
    ITEM_TEXT_VECTORS,
    ITEMS,
    RANKER,
    RETRIEVERS,
    SEQUENCES,
)
from llmrec_cli.core.workdir import WorkDir, to_numpy
from llmrec_cli.data.interactions import Sequences, from_table
from llmrec_cli.data.metrics import paired_bootstrap
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.ranking.rankers import load_ranker
from llmrec_cli.ranking.retrieval import Retrieval, load_config
from llmrec_cli.ranking.retrievers import Histories, load_class, load_retrievers
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.stages import train_ranker

DECAY = 0.7
MODEL, WITHOUT_CONTENT, LEFT_OUT = "llmrec", "llmrec without similarity of content", "llmrec, new items left out"
PIPELINE, UNHIDDEN = "whole pipeline", "whole pipeline, no items hidden from rankers"
WAYS = {PIPELINE: [], UNHIDDEN: ["train-ranker.candidates.hidden=0", "train-ranker.candidates.cold=0"]}
"""The pipeline as it is, and as it would be without what is done for new items."""
NEVER = 1e4


@dataclass(frozen=True)
class EvalUsers:
    """Who is asked, with what is left of each history and the withheld item."""

    histories: Sequences
    targets: np.ndarray
    cold: np.ndarray
    """(users,) whether the target is one of the items without events."""
    is_cold: np.ndarray
    """(items,)"""
    ties: np.ndarray

    def ranks(self, queries: np.ndarray, items: np.ndarray) -> ranking.Ranks:
        return ranking.target_ranks(ranking.by_vectors(queries, items), self.histories, self.targets, self.ties)


def measure(data: DataSet, options: Options) -> Json:
    """Both models with each seed, and what needs no training."""
    source = harness.cleaned(data, options.work)
    frozen = choose(
        source.read(ITEMS, ["item_id"]).column("item_id").to_pylist(), options.own.share, options.own.chosen
    )
    reduced = without_items(source, data, frozen, options.work / data.name / f"cold-{options.own.chosen}")
    eval_users = ask(source, reduced, frozen, options.own.warm_users)
    say(f"{data.name}: {len(frozen):,} items without events, targets of {eval_users.cold.sum():,} users")
    found: dict[str, list[ranking.Ranks]] = {name: [] for name in (*WAYS, MODEL, WITHOUT_CONTENT, LEFT_OUT)}
    for seed in options.seeds:
        work = harness.with_clean_of(reduced, reduced.path.parent / "-".join([*options.settings, f"seed-{seed}"]))
        harness.stage(work, "pretrain", data, options, [*options.settings, "pretrain.refit=false"], seed=seed)
        for name, ranks in ranked(SequenceEncoder.load(work.need(ENCODER_VALIDATION)), eval_users).items():
            found[name].append(ranks)
        harness.stage(work, "profile", data, options, options.settings, seed=seed)
        for name, settings in WAYS.items():
            harness.stage(work, "train-ranker", data, options, [*options.settings, *settings], seed=seed)
            found[name].append(by_pipeline(work, eval_users))
            cold, warm = (
                ranking.means(ranking.metrics(found[name][-1]["filtered"][users]))
                for users in (eval_users.cold, ~eval_users.cold)
            )
            say(ranking.named(f"{data.name}, seed {seed}, {name}: cold ", cold) + ranking.named("; warm ", warm))
    systems = {name: summary(eval_users, ranks) for name, ranks in found.items()}
    return {
        "data": data.name,
        "share": options.own.share,
        "items": len(eval_users.ties),
        "cold_items": len(frozen),
        "cold_users": int(eval_users.cold.sum()),
        "warm_users": int((~eval_users.cold).sum()),
        "seeds": options.seeds,
        "settings": harness.settings_of(work),
        "given": options.settings,
        "systems": systems | by_text(eval_users, work),
        "random": ranking.at_random(len(eval_users.ties) - distinct(eval_users.histories)[eval_users.cold]),
        "warm_difference": {
            name: difference(eval_users, found[MODEL], found[name]) for name in (WITHOUT_CONTENT, LEFT_OUT)
        },
        "pipeline_warm_difference": difference(eval_users, found[PIPELINE], found[UNHIDDEN]),
        "with": harness.stamp(),
    }


def choose(item_ids: list[str], share: float, seed: int) -> list[str]:
    """The items that lose their events."""
    rng = np.random.default_rng([seed, len(item_ids)])
    return [item_ids[i] for i in np.sort(rng.choice(len(item_ids), round(share * len(item_ids)), replace=False))]


def without_items(source: WorkDir, data: DataSet, frozen: list[str], folder: Path) -> WorkDir:
    """A cleaned log in which no history has the frozen items; SystemExit where the catalogue has lost any."""
    gone, table = set(frozen), source.read(SEQUENCES, ["user_id", "item_ids"])
    log = folder / "log.txt"
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        for user, items in zip(table.column("user_id").to_pylist(), table.column("item_ids").to_pylist(), strict=True):
            left = [item for item in items if item not in gone]
            if left:
                file.write(" ".join([user, *left]) + "\n")
    work = harness.clean(folder / "cleaned", data, [f"clean.interactions.path={log}", "clean.holdout=none"])
    items = work.read(ITEMS, ["item_id", "n_events"])
    events = dict(zip(items.column("item_id").to_pylist(), items.column("n_events").to_pylist(), strict=True))
    if len(events) != data.items or any(events[item] for item in frozen):
        raise SystemExit(
            f"{data.name}: the catalogue should keep all {data.items:,} items, the cold ones without events"
        )
    return work


def ask(source: WorkDir, reduced: WorkDir, frozen: list[str], n_warm: int) -> EvalUsers:
    """All users with anything left of their history; of those with a warm target `n_warm` at random, 0 for all."""
    items, holdout = reduced.read(ITEMS, ["item_id"]), source.read(HOLDOUT)
    histories = from_table(reduced.read(SEQUENCES), items, holdout.column("user_id"))
    targets = harness.codes(holdout.column("item_id"), items)
    ids = items.column("item_id").to_pylist()
    cold = np.isin(np.array(ids), frozen)
    some = np.flatnonzero(histories.lengths)
    warm = some[~cold[targets[some]]]
    if 0 < n_warm < len(warm):
        chosen = np.random.default_rng(n_warm).choice(warm, n_warm, replace=False)
        some = np.sort(np.concatenate([some[cold[targets[some]]], chosen]))
    return EvalUsers(histories.select(some), targets[some], cold[targets[some]], cold, tie_order(ids))


def ranked(encoder: SequenceEncoder, eval_users: EvalUsers) -> dict[str, ranking.Ranks]:
    """By a model that never saw the newest event of the reduced histories: as it is, and with less of it."""
    plain = encoder.with_content_weight(0)
    queries, items = encoder.encode(eval_users.histories), encoder.item_vectors
    one, out = np.ones((len(queries), 1)), np.where(eval_users.is_cold, -NEVER, 0)[:, None]
    return {
        MODEL: eval_users.ranks(queries, items),
        WITHOUT_CONTENT: eval_users.ranks(plain.encode(eval_users.histories), plain.item_vectors),
        LEFT_OUT: eval_users.ranks(np.concatenate([queries, one], axis=1), np.concatenate([items, out], axis=1)),
    }


def by_pipeline(work: WorkDir, eval_users: EvalUsers) -> ranking.Ranks:
    """By the ranker, over what the retrievers bring; a target that none of them brings is a miss."""
    catalogue, sequences = train_ranker.read(work)
    folder, encoder = work.need(RETRIEVERS), SequenceEncoder.load(work.need(ENCODER))
    retrieval = Retrieval(
        load_retrievers(folder),
        replace(catalogue, vectors=encoder.item_vectors),
        load_config(folder),
        cold=sequences.counts() == 0,
    )
    asked = Histories(eval_users.histories, encoder.encode(eval_users.histories))
    candidates = retrieval.candidates(asked, eval_users.targets.astype(np.int32))
    return {"filtered": candidates.target_ranks(load_ranker(work.need(RANKER)).score(candidates))}


def by_text(eval_users: EvalUsers, work: WorkDir) -> dict[str, Json]:
    """Nearest neighbours in the centred text vectors, of the whole history and of its last item alone; by words."""
    vectors = to_numpy(work.read(ITEM_TEXT_VECTORS).column("vector"))
    recent = eval_users.histories.matrix(DECAY) @ vectors
    last = vectors[eval_users.histories.last()]
    kind = load_class("tfidf")
    words = kind.fit(kind.Config(decay=DECAY), *reversed(train_ranker.read(work)), 0).similarity
    weights = eval_users.histories.matrix(DECAY)
    by_words = ranking.target_ranks(
        lambda start, stop: (weights[start:stop] @ words).toarray(),
        eval_users.histories,
        eval_users.targets,
        eval_users.ties,
    )
    return {
        f"text of the history, decay {DECAY}": summary(eval_users, [eval_users.ranks(recent, vectors)]),
        "text of the last item": summary(eval_users, [eval_users.ranks(last, vectors)]),
        f"text of the history by sparse TF-IDF, decay {DECAY}": summary(eval_users, [by_words]),
    }


def summary(eval_users: EvalUsers, runs: list[ranking.Ranks]) -> Json:
    """Cold and warm targets apart, filtered and not: [mean, low, high] over users, of the mean over seeds."""
    return {
        how: {
            kind: ranking.intervals(ranking.over_seeds([ranking.metrics(run[how][users]) for run in runs]))
            for kind, users in (("cold", eval_users.cold), ("warm", ~eval_users.cold))
        }
        for how in runs[0]
    }


def difference(eval_users: EvalUsers, ours: list[ranking.Ranks], others: list[ranking.Ranks]) -> list[float]:
    """Warm NDCG@10 less that of another system, over the same users: [mean, low, high]."""
    one, other = (
        ranking.over_seeds([ranking.metrics(run["filtered"][~eval_users.cold]) for run in runs])["ndcg@10"]
        for runs in (ours, others)
    )
    return list(map(float, paired_bootstrap(one, other, ranking.RESAMPLES_SEED)))


def distinct(histories: Sequences) -> np.ndarray:
    """(users,) how many different items are in each history."""
    return np.diff(histories.matrix().indptr)


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(results: Json) -> list[Table]:
    return [_one(results[name]) for name in DATA_SETS if name in results]


def _one(found: Json) -> Table:
    rows = []
    for name, system in found["systems"].items():
        cold, warm = system["filtered"]["cold"], system["filtered"]["warm"]
        rows.append([name, interval(cold["recall@10"]), interval(cold["ndcg@10"]), interval(warm["ndcg@10"])])
    rows.append(["random order", *(score(found["random"][name]) for name in ("recall@10", "ndcg@10")), "–"])
    notes = [
        f"{found['cold_items']:,} of {found['items']:,} items without events; {found['cold_users']:,} users with a "
        f"cold target, {found['warm_users']:,} with a warm one; all items ranked, seen items filtered; "
        f"mean of {len(found['seeds'])} seeds.",
        *(
            f"Against the best text neighbour, cold R@10 of {system} is {_gain(found, system, 'recall@10'):.2f}× and "
            f"N@10 {_gain(found, system, 'ndcg@10'):.2f}×."
            for system in (MODEL, PIPELINE)
            if system in found["systems"]
        ),
        *(
            f"Warm N@10 of {MODEL} less that of {name}: {_signed(value)}."
            for name, value in found["warm_difference"].items()
        ),
    ]
    if PIPELINE in found["systems"]:
        notes.append(f"Warm N@10 of {PIPELINE} less that of {UNHIDDEN}: {_signed(found['pipeline_warm_difference'])}.")
    columns = ["system", "cold R@10", "cold N@10", "warm N@10"]
    return Table(DATA_SETS[found["data"]].title, columns, rows, notes=notes)


def _gain(found: Json, system: str, metric: str) -> float:
    """The system's cold metric over that of the best of the baselines, chosen with hindsight for the baseline."""
    cold = {name: system["filtered"]["cold"][metric][0] for name, system in found["systems"].items()}
    return cold[system] / max(value for name, value in cold.items() if name.startswith("text"))


def _signed(value: list[float]) -> str:
    mean, low, high = (f"{part:+.4f}" for part in value)
    return f"{mean} [{low}, {high}]"


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--share", type=float, default=0.1, help="of the items that lose their events")
    parser.add_argument("--warm-users", type=int, default=0, help="of those with a warm target, so many; 0 for all")
    parser.add_argument("--chosen", type=int, default=1, help="seed of the choice of those items")


def main() -> None:
    options = harness.options(__doc__, data="beauty,toys", seeds=True, extend=_extend)
    results = {}
    for data in harness.present(options.data):
        results[data.name] = measure(data, options)
        harness.keep(options.results / "cold.json", data.name, results[data.name])
    if results:
        show(tables(results))


if __name__ == "__main__":
    main()
