"""Accuracy of the whole pipeline, next item, full ranking, strict and val-in: beside its own sources and others.

python -m benchmarks.pipeline [--data beauty,toys] [--seeds 42,43,44,45,46] [--protocols strict,val-in] [--wordless]
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence

import pyarrow as pa

from benchmarks import harness, places, ranking
from benchmarks.accuracy import PUBLISHED
from benchmarks.data_sets import DATA_SETS, DataSet
from benchmarks.harness import Json, Options
from benchmarks.protocols import PIPELINE, PROTOCOLS, as_chosen, as_strict, test_ranks
from benchmarks.tables import Table, interval, score, show, thousands
from llmrec_cli.core.artifacts import ITEMS
from llmrec_cli.core.config import load
from llmrec_cli.data.metrics import paired_bootstrap
from llmrec_cli.stages import pretrain, profile, train_ranker

WORDLESS = ", without words"


def measure(data: DataSet, protocol: str, options: Options) -> Json:
    """Train with each seed and rank all users' last events; the row of these seeds and of those measured before."""
    withheld, meaning = PROTOCOLS[protocol]
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
            harness.rewrite(work, ITEMS, without_words(work.read(ITEMS)))
        trained = (as_strict if withheld > 1 else as_chosen)(work, source, data, options, seed)
        ranks = test_ranks(work, source, trained)
        mine = ranking.means(ranking.metrics(ranks["filtered"][PIPELINE]))
        run = {"seed": seed, **mine, "ranker": trained.chosen, "seconds": round(trained.seconds, 1)}
        places.keep(folder, row, {**run, "like": like, "threads": options.threads, "with": harness.stamp()}, ranks)
        harness.say(ranking.named(f"{row}, seed {seed} ({trained.chosen}): ", mine))
    described = {"data": data.name, "protocol": variant, "means": meaning, "users": data.users, "items": data.items}
    described |= {"log_sha256": harness.sha256(data.log), "given": options.settings}
    return described | over(places.kept(folder, row, like))


def alike(data: DataSet, variant: str, options: Options) -> str:
    """Seeds make one row when data, protocol, settings and the revisions of the stages are the same."""
    settings = load(data.settings, options.settings)
    stages = [
        [f"{stage.name}/{stage.revision}", settings.section(stage.name, stage.config).model_dump(mode="json")]
        for stage in (pretrain.STAGE, profile.STAGE, train_ranker.STAGE)
    ]
    return places.settings_digest(harness.sha256(data.log), variant, stages)


def over(seeds: Sequence[places.Seed]) -> Json:
    """The mean over the seeds of each user's metrics, of every system, with intervals over the users."""
    systems = {
        how: {name: ranking.over_seeds([ranking.metrics(seed.places[how][name]) for seed in seeds]) for name in systems}
        for how, systems in seeds[0].places.items()
    }
    return {
        "seeds": [seed.record for seed in seeds],
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
