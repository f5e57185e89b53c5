"""Items without a single event: ranked among all items by the sequence model, and by the nearest text of the history.

python -m benchmarks.cold [--data beauty,toys] [--seeds 42,43,44] [--item-dropout 0.2]

A random 10 % of the items is taken out of all training histories but stays in the items file. A user's target is the
last event; its history is what is left of the events before.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import harness, ranking
from benchmarks.data_sets import DATA_SETS, DataSet
from benchmarks.harness import CommandError, Json, Options, say
from benchmarks.tables import Table, interval, score, show
from llmrec_cli.core.artifacts import ENCODER_VALIDATION, HOLDOUT, ITEM_TEXT_VECTORS, ITEMS, SEQUENCES
from llmrec_cli.core.workdir import WorkDir, to_numpy
from llmrec_cli.models.encoders.sequence import SequenceEncoder
from llmrec_cli.tables.metrics import paired_bootstrap
from llmrec_cli.tables.sequences import Sequences, from_table

DECAY = 0.7
ITEM_DROPOUT = "pretrain.item_dropout"
MODEL, WITHOUT = "llmrec", "llmrec without item dropout"


@dataclass(frozen=True)
class Question:
    """Who is asked, with what is left of each history and the withheld item."""

    histories: Sequences
    targets: np.ndarray
    cold: np.ndarray
    """(users,) whether the target is one of the items without events."""
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
    question = ask(source, reduced, frozen)
    say(f"{data.name}: {len(frozen):,} items without events, targets of {question.cold.sum():,} users")
    shares = {MODEL: options.own.item_dropout, WITHOUT: 0}
    variants = {name: [*options.settings, f"{ITEM_DROPOUT}={share}"] for name, share in shares.items()}
    found: dict[str, list[ranking.Ranks]] = {}
    for name, settings in variants.items():
        try:
            found[name] = [trained(reduced, data, options, question, settings, seed=seed) for seed in options.seeds]
        except CommandError as error:
            say(f"{data.name}, {name}: not measured\n{error}")
    if not found:
        raise SystemExit(f"{data.name}: no model could be trained")
    systems = {name: summary(question, ranks) for name, ranks in found.items()}
    work = WorkDir(work_of(reduced, variants[next(iter(found))], options.seeds[0]))
    return {
        "data": data.name,
        "share": options.own.share,
        "items": len(question.ties),
        "cold_items": len(frozen),
        "cold_users": int(question.cold.sum()),
        "warm_users": int((~question.cold).sum()),
        "seeds": options.seeds,
        "settings": harness.settings_of(work),
        "systems": systems | by_text(question, to_numpy(work.read(ITEM_TEXT_VECTORS).column("vector"))),
        "random": ranking.at_random(len(question.ties) - distinct(question.histories)[question.cold]),
        "warm_difference": difference(question, found) if len(found) == len(variants) else None,
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


def ask(source: WorkDir, reduced: WorkDir, frozen: list[str]) -> Question:
    """All users with anything left of their history."""
    items, holdout = reduced.read(ITEMS, ["item_id"]), source.read(HOLDOUT)
    histories = from_table(reduced.read(SEQUENCES), items, holdout.column("user_id"))
    targets = harness.codes(holdout.column("item_id"), items)
    ids = items.column("item_id").to_pylist()
    cold = np.isin(np.array(ids), frozen)
    some = np.flatnonzero(histories.lengths)
    return Question(histories.select(some), targets[some], cold[targets[some]], ranking.tie_order(ids))


def work_of(reduced: WorkDir, settings: list[str], seed: int) -> Path:
    """A folder for each combination of settings and seed."""
    return reduced.path.parent / "-".join([*(s.replace("/", "_") for s in settings), f"seed-{seed}"])


def trained(
    reduced: WorkDir, data: DataSet, options: Options, question: Question, settings: list[str], *, seed: int
) -> ranking.Ranks:
    """Ranks by a model that was trained on the reduced histories, the newest event of each left to validation."""
    work = harness.with_clean_of(reduced, work_of(reduced, settings, seed))
    harness.pretrain(work, data, options, [*settings, "pretrain.refit=false"], seed=seed)
    encoder = SequenceEncoder.load(work.need(ENCODER_VALIDATION))
    return question.ranks(encoder.encode(question.histories), encoder.item_vectors)


def by_text(question: Question, vectors: np.ndarray) -> dict[str, Json]:
    """Nearest neighbours in the centred text vectors, of the whole history and of its last item alone."""
    recent = question.histories.matrix(DECAY) @ vectors
    last = vectors[question.histories.last()]
    return {
        f"text of the history, decay {DECAY}": summary(question, [question.ranks(recent, vectors)]),
        "text of the last item": summary(question, [question.ranks(last, vectors)]),
    }


def summary(question: Question, runs: list[ranking.Ranks]) -> Json:
    """Cold and warm targets apart, filtered and not: [mean, low, high] over users, of the mean over seeds."""
    return {
        how: {
            kind: ranking.intervals(ranking.over_seeds([ranking.metrics(run[how][users]) for run in runs]))
            for kind, users in (("cold", question.cold), ("warm", ~question.cold))
        }
        for how in ("filtered", "unfiltered")
    }


def difference(question: Question, found: dict[str, list[ranking.Ranks]]) -> list[float]:
    """Warm NDCG@10 with item dropout less without, over the same users: [mean, low, high]."""
    with_it, without = (
        ranking.over_seeds([ranking.metrics(run["filtered"][~question.cold]) for run in found[name]])["ndcg@10"]
        for name in (MODEL, WITHOUT)
    )
    return list(map(float, paired_bootstrap(with_it, without, ranking.RESAMPLES_SEED)))


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
        f"Against the better text neighbour, cold N@10 is {_gain(found):.2f}×.",
    ]
    if found["warm_difference"]:
        notes.append(f"Warm N@10 with item dropout less without: {_signed(found['warm_difference'])}.")
    columns = ["system", "cold R@10", "cold N@10", "warm N@10"]
    return Table(DATA_SETS[found["data"]].title, columns, rows, notes=notes)


def _gain(found: Json) -> float:
    """The model's cold NDCG@10 over that of the better of the two baselines, chosen with hindsight for the baseline."""
    cold = {name: system["filtered"]["cold"]["ndcg@10"][0] for name, system in found["systems"].items()}
    ours = cold.get(MODEL, np.nan)
    return ours / max(value for name, value in cold.items() if name.startswith("text"))


def _signed(value: list[float]) -> str:
    mean, low, high = (f"{part:+.4f}" for part in value)
    return f"{mean} [{low}, {high}]"


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--item-dropout", type=float, default=0.2, help="of the model that is compared with one at 0")
    parser.add_argument("--share", type=float, default=0.1, help="of the items that lose their events")
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
