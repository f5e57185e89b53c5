"""Accuracy of the whole pipeline, next item, full ranking, strict and val-in: beside its own sources and others.

python -m benchmarks.pipeline [--data beauty,toys] [--seeds 42,43,44,45,46] [--protocols strict,val-in] [--wordless]
"""

from __future__ import annotations

import argparse
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from benchmarks import harness, places, ranking
from benchmarks.accuracy import PUBLISHED
from benchmarks.data_sets import DATA_SETS, DataSet
from benchmarks.harness import Json, Options
from benchmarks.tables import Table, interval, score, show, thousands
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
from llmrec_cli.core.progress import Lines
from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir, to_numpy
from llmrec_cli.models.candidates import CandidateConfig, collect, load_config
from llmrec_cli.models.encoders.sequence import SequenceEncoder
from llmrec_cli.models.rankers import Ranker, load_ranker
from llmrec_cli.models.retrievers import Histories, Retriever, load_retrievers
from llmrec_cli.models.runtime import set_threads
from llmrec_cli.stages import pretrain, profile, train_ranker
from llmrec_cli.stages.train_ranker import TrainRankerConfig
from llmrec_cli.tables import catalogue
from llmrec_cli.tables.features import Candidates, target_ranks
from llmrec_cli.tables.metrics import paired_bootstrap
from llmrec_cli.tables.sequences import Sequences, from_table

PIPELINE = "pipeline"
MAX_MEMORY = 4 << 30
WORDLESS = ", without words"
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


def measure(data: DataSet, protocol: str, options: Options) -> Json:
    """Train with each seed and rank all users' last events; the row of these seeds and of those measured before."""
    withheld, told = PROTOCOLS[protocol]
    source = harness.cleaned(data, options.work)
    reduced = source
    if withheld > 1:
        settings = ["clean.holdout=last-n", f"clean.holdout_n={withheld}"]
        reduced = harness.clean(options.work / data.name / protocol / "cleaned", data, settings)
    variant = protocol + (WORDLESS if options.own.wordless else "")
    row, folder = f"{data.name}, {variant}", options.results / "places"
    like = alike(data, variant, options)
    for seed in options.seeds:
        work = harness.with_clean_of(reduced, options.work / data.name / variant / f"seed-{seed}")
        if options.own.wordless:
            work.write(ITEMS, without_words(work.read(ITEMS)))
        trained = (as_strict if withheld > 1 else as_told)(work, source, data, options, seed)
        ranks = test_ranks(work, source, trained)
        mine = ranking.means(ranking.metrics(ranks["filtered"][PIPELINE]))
        run = {"seed": seed, **mine, "ranker": trained.chosen, "seconds": round(trained.seconds, 1)}
        places.keep(folder, row, {**run, "like": like, "threads": options.threads, "with": harness.stamp()}, ranks)
        harness.say(ranking.named(f"{row}, seed {seed} ({trained.chosen}): ", mine))
    described = {"data": data.name, "protocol": variant, "means": told, "users": data.users, "items": data.items}
    described |= {"log_sha256": harness.sha256(data.log), "given": options.settings}
    return described | over(places.kept(folder, row, like))


def alike(data: DataSet, variant: str, options: Options) -> str:
    """Seeds make one row when data, protocol, settings and the revisions of the stages are the same."""
    settings = load(data.settings, options.settings)
    stages = [
        [f"{stage.name}/{stage.revision}", settings.section(stage.name, stage.config).model_dump(mode="json")]
        for stage in (pretrain.STAGE, profile.STAGE, train_ranker.STAGE)
    ]
    return places.likeness(harness.sha256(data.log), variant, stages)


def over(seeds: Sequence[places.Seed]) -> Json:
    """The mean over the seeds of each user's metrics, of every system, with intervals over the users."""
    systems = {
        how: {name: ranking.over_seeds([ranking.metrics(seed.places[how][name]) for seed in seeds]) for name in systems}
        for how, systems in seeds[0].places.items()
    }
    return {
        "seeds": [seed.told for seed in seeds],
        "systems": {
            how: {name: ranking.intervals(values) for name, values in each.items()} for how, each in systems.items()
        },
        "gain": gains(systems["filtered"]),
    }


def without_words(items: pa.Table) -> pa.Table:
    """The catalogue with nothing in it but ids: the fair row for others who read no content."""
    kept = ("item_id", "n_events")
    empty = [pa.nulls(items.num_rows, each.type) for each in items.schema if each.name not in kept]
    names = [name for name in items.column_names if name not in kept]
    for name, column in zip(names, empty, strict=True):
        items = items.set_column(items.column_names.index(name), name, column)
    return items


@dataclass(frozen=True)
class Trained:
    """What ranks the items, and what it took to train."""

    retrievers: Mapping[str, Retriever]
    limits: CandidateConfig
    ranker: Ranker
    chosen: str
    """The name of the ranker."""
    seconds: float


def as_told(work: WorkDir, source: WorkDir, data: DataSet, options: Options, seed: int) -> Trained:
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
    context = Context(seed, data.settings.parent, Lines(quiet=True), "cpu", options.threads, MAX_MEMORY)
    set_threads(options.threads)
    sources, rankers, limits = train_ranker.build(config)
    items, sequences = train_ranker.read(work)
    sources, _ = train_ranker.affordable(sources, len(items))
    known, fitted, _ = train_ranker.validation(
        work, config, context, sources=sources, limits=limits, catalogue=items, sequences=sequences
    )
    encoder = SequenceEncoder.load(work.need(ENCODER_VALIDATION), context.device)
    longer = from_table(source.read(SEQUENCES), work.read(ITEMS))
    before = replace(items, vectors=encoder.item_vectors)
    check = candidates_for(fitted, encoder, longer.without_last(), before, limits, targets=longer.last())
    results = {}
    for name, variant in rankers.items():
        ranker = train_ranker.fit_ranker(variant, known, seed)
        found = target_ranks(check, ranker.score(check))
        results[name] = (ranking.means(ranking.metrics(found))[f"ndcg@{ranking.K}"], ranker)
        harness.say(f"{data.name} seed {seed}, last event but one: {name} {results[name][0]:.4f}")
    chosen = max(results, key=lambda name: results[name][0])
    refitted = {
        name: train_ranker.fit_source(train_ranker.Variant(type(r), r.config), sequences, items, context)
        for name, r in fitted.items()
    }
    return Trained(refitted, limits, results[chosen][1], chosen, seconds + time.monotonic() - started)


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
    return collect(
        retrievers,
        Histories(histories, encoder.encode(histories)),
        items,
        limits,
        targets=targets,
        exclude_seen=exclude_seen,
        found_only=True,
        max_memory=MAX_MEMORY,
    )


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
        ranks = target_ranks(candidates, trained.ranker.score(candidates))
        found[how] = {PIPELINE: ranks, **candidates.source_ranks}
    return found


def asked(work: WorkDir, source: WorkDir) -> tuple[Sequences, np.ndarray, catalogue.Catalogue]:
    """(histories without the last event, (users,) codes of the last, catalogue) by the codes of `work`."""
    items, holdout = work.read(ITEMS), source.read(HOLDOUT)
    texts, vectors = (to_numpy(work.read(t, ["vector"]).column("vector")) for t in (ITEM_TEXT_VECTORS, ITEM_VECTORS))
    histories = from_table(source.read(SEQUENCES), items, holdout.column("user_id"))
    targets = harness.codes(holdout.column("item_id"), items).astype(np.int32)
    return histories, targets, catalogue.from_tables(items, texts.reshape(items.num_rows, -1), vectors)


def gains(systems: Mapping[str, ranking.Metrics]) -> Json:
    """NDCG@10 of the pipeline less that of each source, over the same users: [mean, low, high]."""
    metric = f"ndcg@{ranking.K}"
    return {
        name: list(map(float, paired_bootstrap(systems[PIPELINE][metric], values[metric], ranking.RESAMPLES_SEED)))
        for name, values in systems.items()
        if name != PIPELINE
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(results: Json) -> list[Table]:
    kinds = [f"{protocol}{words}" for words in ("", WORDLESS) for protocol in PROTOCOLS]
    order = [f"{data}, {kind}" for data in DATA_SETS for kind in kinds]
    published = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))
    return [_one(results[key], published.get(results[key]["data"], [])) for key in order if key in results]


def summary(results: Json) -> Table:
    """The row of each data set by both protocols, beside the best that others published without the target's time."""
    published = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))
    rows = []
    for data in DATA_SETS:
        runs = [results.get(f"{data}, {protocol}") for protocol in PROTOCOLS]
        if any(runs):
            others = [row for row in published[data] if "target time" not in row["protocol"]]
            best = max(others, key=lambda row: float(row["ndcg"]))
            by = f"{best['system']} ({best['protocol']})"
            rows.append([DATA_SETS[data].title, *map(_with_seeds, runs), score(best["ndcg"]), by])
    return Table("The whole pipeline", ["data", *PROTOCOLS, "published", "by"], rows)


def _with_seeds(run: Json | None) -> str:
    if run is None:
        return "–"
    n = len(run["seeds"])
    return f"{interval(run['systems']['filtered'][PIPELINE]['ndcg@10'])}, {n} seed{'s' * (n > 1)}"


def _one(run: Json, published: list[Json]) -> Table:
    metrics = ("recall@10", "ndcg@10")
    filtered = run["systems"]["filtered"]
    names = sorted(filtered, key=lambda name: -filtered[name]["ndcg@10"][0])
    rows = [
        [name, "here", *(interval(filtered[name][metric]) for metric in metrics), _signed(run["gain"].get(name))]
        for name in names
    ]
    unfiltered = run["systems"]["unfiltered"][PIPELINE]
    rows.append([f"{PIPELINE}, seen not filtered", "here", *(interval(unfiltered[m]) for m in metrics), "–"])
    rows += [
        [f"{row['system']} ({row['protocol']})", row["source"], score(row["recall"]), score(row["ndcg"]), "–"]
        for row in published
    ]
    by_seed = ", ".join(f"{score(each['ndcg@10'])} ({each['ranker']})" for each in run["seeds"])
    notes = [
        f"{run['protocol']}: {run['means']}.",
        f"{run['users']:,} users, {run['items']:,} items; mean of {len(run['seeds'])} seeds, in brackets the 95 % "
        f"bootstrap interval over users. N@10 by seed: {by_seed}; {_cost(run['seeds'])}.",
    ]
    columns = ["system", "source", "R@10", "N@10", "pipeline less it"]
    return Table(f"{DATA_SETS[run['data']].title}, {run['protocol']}", columns, rows, left=2, notes=notes)


def _cost(seeds: Sequence[Json]) -> str:
    """The usual seconds of a seed, on what, with which code."""
    usual = sorted(seeds, key=lambda seed: seed["seconds"])[len(seeds) // 2]
    machine, commits = usual["with"], sorted({seed["with"]["commit"] for seed in seeds})
    threads = usual["threads"] or machine["cores"]
    on = f"{threads} thread{'s' * (threads > 1)} of {machine['processor']}"
    return f"{thousands(usual['seconds'])} s a seed on {on}; commit{'s' * (len(commits) > 1)} {', '.join(commits)}"


def _signed(value: list[float] | None) -> str:
    if value is None:
        return "–"
    mean, low, high = (f"{part:+.4f}" for part in value)
    return f"{mean} [{low}, {high}]"


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--protocols", type=harness.listed, default=list(PROTOCOLS), help="by comma")
    parser.add_argument("--wordless", action="store_true", help="without titles, categories and tags of the items")


def main() -> None:
    options = harness.options(__doc__, data=",".join(DATA_SETS), seeds=True, extend=_extend)
    file = options.results / "pipeline.json"
    results = {}
    for data in harness.present(options.data):
        for protocol in options.own.protocols:
            found = measure(data, protocol, options)
            key = f"{data.name}, {found['protocol']}"
            results[key] = found
            harness.keep(file, key, found)
    if results:
        show(tables(results))


if __name__ == "__main__":
    main()
