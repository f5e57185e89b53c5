"""A backtest of the whole program on raw logs, with the recipes that come with it and no other setting.

python -m benchmarks.untuned [--data retail,films,games,beauty] [--seeds 42]
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks import harness
from benchmarks.data_sets import HERE, REPOSITORY, data_folder
from benchmarks.harness import Json, Options
from benchmarks.protocols import PIPELINE
from benchmarks.tables import Table, score, show, thousands
from llmrec_cli.core.artifacts import VERDICT
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.pipeline import REPLAYED


@dataclass(frozen=True)
class Recipe:
    """A settings file of `configs/` and where its raw files lie below the folder of the data sets."""

    title: str
    config: str
    paths: Mapping[str, str]
    settings: tuple[str, ...] = ()
    """What the file's own comments tell to set."""
    tuned: str = ""
    """The data set of `benchmarks.pipeline` that has these users and items, with settings of its own."""


PIPELINE_RESULTS = HERE / "results" / "pipeline.json"
ML_1M = "ml-1m/ml-1m.zip#ml-1m"
RETAIL = {"interactions": "online-retail-ii-2010/online_retail.parquet"}
RECIPES = {
    "retail": Recipe("Online Retail II, what is new to the customer", "retail", RETAIL),
    "repeats": Recipe(
        "Online Retail II, repeated purchases too",
        "retail",
        RETAIL,
        ("clean.repeats=keep", "train-ranker.candidates.repeat=true", "recommend.filter_seen=false"),
    ),
    "films": Recipe(
        "MovieLens 1M with demographics",
        "movielens-1m",
        {"interactions": f"{ML_1M}/ratings.dat", "items": f"{ML_1M}/movies.dat", "users": f"{ML_1M}/users.dat"},
        tuned="ml-1m",
    ),
    "games": Recipe(
        "Steam, names only, no times",
        "steam",
        {"interactions": "steam-200k/game_purchase.dat", "items": "steam-200k/item_info.dat"},
    ),
    "beauty": Recipe(
        "Amazon Beauty 5-core",
        "amazon-sequences",
        {"interactions": "amazon-2014-beauty-5core/Beauty.txt", "items": "amazon-2014-beauty-5core/items.tsv"},
        tuned="beauty",
    ),
}
PROTOCOL = (
    "llmrec evaluate on the raw log: each user's last event withheld (llmrec chooses on the one before it, then trains "
    "with that one too), all items ranked; in brackets the paired 95 % bootstrap interval over users"
)


def measure(name: str, options: Options, seed: int) -> Json:
    """One run from nothing; its verdict, its time and its memory."""
    recipe, work = RECIPES[name], options.work / "untuned" / f"{name}-{seed}"
    shutil.rmtree(work, ignore_errors=True)
    paths = [f"clean.{key}.path={data_folder() / path}" for key, path in recipe.paths.items()]
    settings = harness.overrides([*paths, *recipe.settings, *options.settings])
    config = REPOSITORY / "configs" / f"{recipe.config}.toml"
    started = time.monotonic()
    harness.llmrec(
        work, "evaluate", "--config", config, "--seed", str(seed), "--threads", str(options.threads), *settings
    )
    seconds = time.monotonic() - started
    nested = WorkDir(work / "evaluate" / "last")
    records = {stage: nested.record(stage) or {} for stage in (*REPLAYED, "evaluate")}
    return {
        "seed": seed,
        "verdict": json.loads(nested.need(VERDICT).read_text(encoding="utf-8")),
        "seconds": seconds,
        "stages": {stage: record["seconds"] for stage, record in records.items()},
        "peak_memory_mb": max(record["peak_memory_mb"] for record in records.values()),
        "threads": options.threads,
        "with": harness.stamp(),
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(results: Json) -> list[Table]:
    rows = [row for name in RECIPES if name in results for run in results[name] for row in _rows(name, run)]
    columns = ["data", "users", "seed", "llmrec N@10", "against", "N@10", "llmrec less it", "seconds", "peak MB"]
    return [Table("Untuned", columns, rows, notes=[f"{PROTOCOL}.", *_machines(results)])]


def _rows(name: str, run: Json) -> list[list[str]]:
    verdict = run["verdict"]
    ours = score(verdict["pipeline"]["value"])
    cost = [thousands(run["seconds"]), thousands(run["peak_memory_mb"])]
    whole = [RECIPES[name].title, thousands(verdict["n_users"]), str(run["seed"]), ours]
    rest = [""] * len(whole)
    rows = []
    for place, each in enumerate(verdict["versus"]):
        gain = each["gain"]
        less = f"{gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"
        theirs = score(each["value"]["value"])
        rows.append([*(rest if place else whole), each["baseline"], theirs, less, *(["", ""] if place else cost)])
    if tuned := harness.read_results(PIPELINE_RESULTS).get(f"{RECIPES[name].tuned}, val-in"):
        best = tuned["systems"]["filtered"][PIPELINE]["ndcg@10"][0]
        share = f"{verdict['pipeline']['value'] / best:.1%} of it"
        rows.append([*rest, f"tuned, {len(tuned['seeds'])} seeds, val-in", score(best), share, "", ""])
    return rows


def _machines(results: Json) -> list[str]:
    runs = [run for each in results.values() for run in each]
    found = sorted({f"{run['threads'] or run['with']['cores']} threads of {run['with']['processor']}" for run in runs})
    return [f"Seconds from the raw file to the verdict, on {'; '.join(found)}."]


def main() -> None:
    options = harness.options(__doc__, data=",".join(RECIPES), seeds=True)
    results = {}
    for name in options.data:
        recipe = RECIPES.get(name)
        if recipe is None:
            raise SystemExit(f"there is no recipe {name!r}; there are: {', '.join(RECIPES)}")
        missing = [path for path in recipe.paths.values() if not (data_folder() / path.partition("#")[0]).is_file()]
        if missing:
            harness.say(f"{name}: skipped, {missing[0]} is missing in {data_folder()}")
            continue
        results[name] = [measure(name, options, seed) for seed in options.seeds]
        harness.keep(options.results / "untuned.json", name, results[name])
        harness.say(f"{name}: {'; '.join(results[name][-1]['verdict']['words'])}")
    if results:
        show(tables(results))


if __name__ == "__main__":
    main()
