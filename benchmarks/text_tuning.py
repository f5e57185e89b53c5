"""A text encoder tuned on behaviour against the frozen one: the content retriever alone, and the whole pipeline.

python -m benchmarks.text_tuning [--data sample,beauty,toys,sports] [--seeds 42] [--set pretrain.tune_text_steps=200]
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc

from benchmarks import harness, ranking
from benchmarks.data_sets import DATA_SETS
from benchmarks.harness import Json, Options
from benchmarks.regression import Case, ranks_of
from benchmarks.tables import Table, score, show, thousands
from llmrec_cli.core.artifacts import HOLDOUT, ITEMS, RETRIEVERS
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.metrics import paired_bootstrap
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.ranking.retrievers import Histories, load_retrievers

VARIANTS = {"frozen": (), "tuned": ("pretrain.tune_text=true",)}
CONTENT, PIPELINE = "content retriever alone", "whole pipeline"
NDCG = f"ndcg@{ranking.K}"
TITLES = {"sample": "The sample", **{data.name: data.title for data in DATA_SETS.values()}}
PROTOCOL = (
    "llmrec evaluate without and with pretrain.tune_text, nothing else differs: each user's last event withheld, all "
    "items ranked, seen items filtered. Frozen and tuned: NDCG@10 of that event, mean over the seeds; difference: "
    "paired over the users, 95 % bootstrap interval, also in per cent of frozen. Chosen: on validation, by the event "
    "before"
)


def measure(name: str, options: Options) -> Json:
    """Both variants with each seed, paired over the users."""
    found: dict[str, dict[str, list[ranking.Metrics]]] = {
        what: {v: [] for v in VARIANTS} for what in (CONTENT, PIPELINE)
    }
    seeds = []
    for seed in options.seeds:
        works = {variant: backtest(name, variant, options, seed) for variant in VARIANTS}
        for variant, work in works.items():
            for what, metrics in measured(work).items():
                found[what][variant].append(metrics)
        seeds.append({"seed": seed, **described(works)})
        seeds[-1]["compared"] = compared({what: {v: runs[-1:] for v, runs in f.items()} for what, f in found.items()})
        harness.say(f"{name}: {seeds[-1]}")
    users = len(found[PIPELINE]["frozen"][0][NDCG])
    given = {"given": options.settings, "threads": options.threads}
    return {"users": users, "seeds": seeds, "compared": compared(found), **given, "with": harness.stamp()}


def backtest(name: str, variant: str, options: Options, seed: int) -> WorkDir:
    """The finished backtest of one variant; what is up to date is not made again."""
    work = options.work / "text_tuning" / name / f"{variant}-{seed}"
    given = ["--seed", str(seed), "--threads", str(options.threads), *(["--force"] if options.force else [])]
    settings = harness.overrides([*options.settings, *VARIANTS[variant]])
    harness.llmrec(work, "evaluate", *Case(name).arguments, *given, *settings)
    return WorkDir(work / "evaluate" / "last")


def measured(work: WorkDir) -> dict[str, ranking.Metrics]:
    """Each user's metrics of the withheld event, in the order of the users' ids."""
    content = load_retrievers(work.need(RETRIEVERS))["content"]
    histories, targets = harness.asked(work)

    def scores(start: int, stop: int) -> np.ndarray:
        block = histories.select(np.arange(start, stop))
        return content.score(Histories(block, np.zeros((len(block), 0), dtype=np.float32)))

    ties = tie_order(work.read(ITEMS, ["item_id"]).column("item_id").to_pylist())
    alone = ranking.target_ranks(scores, histories, targets, ties)["filtered"]
    by_id = pc.sort_indices(work.read(HOLDOUT, ["user_id"]).column("user_id")).to_numpy()
    listed = ranks_of(work).column("rank").to_numpy().astype(np.int64)
    return {CONTENT: ranking.metrics(alone[by_id]), PIPELINE: ranking.metrics(listed)}


def described(works: Mapping[str, WorkDir]) -> Json:
    """What validation says of both variants, which vectors it kept, and the CPU time of the tuning."""
    reports = {
        v: {s: (work.record(s) or {})["report"] for s in ("pretrain", "train-ranker")} for v, work in works.items()
    }
    lines = reports["tuned"]["pretrain"]["lines"]
    chosen = next(line for line in lines if line.startswith("text encoder"))
    cost = re.search(r"([\d,]+) core-seconds", chosen)
    return {
        "validation": {v: each["train-ranker"]["metrics"][NDCG] for v, each in reports.items()},
        "chosen": chosen,
        "core_seconds": int(cost[1].replace(",", "")) if cost else None,
    }


def compared(found: Mapping[str, Mapping[str, list[ranking.Metrics]]]) -> Json:
    """Of each way to recommend the NDCG of both variants, and the paired difference as [mean, low, high]."""
    made = {}
    for what, variants in found.items():
        frozen, tuned = (ranking.over_seeds(variants[v])[NDCG] for v in VARIANTS)
        gain = list(map(float, paired_bootstrap(tuned, frozen, ranking.RESAMPLES_SEED)))
        made[what] = {"frozen": float(frozen.mean()), "tuned": float(tuned.mean()), "gain": gain}
    return made


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(results: Json) -> list[Table]:
    rows = [row for name in TITLES if name in results for row in _rows(TITLES[name], results[name])]
    columns = ["data", "users", "seeds", "", "frozen", "tuned", "difference", "in per cent", "core-seconds"]
    chosen = [
        f"{TITLES[name]}, seed {run['seed']}: {run['chosen']}; best ranker on validation: frozen "
        f"{score(run['validation']['frozen'])}, tuned {score(run['validation']['tuned'])}."
        for name in TITLES
        for run in results.get(name, {"seeds": []})["seeds"]
    ]
    return [Table("Text that is tuned", columns, rows, left=4, notes=[f"{PROTOCOL}.", *chosen])]


def _rows(title: str, result: Json) -> list[list[str]]:
    seeds = ", ".join(str(run["seed"]) for run in result["seeds"])
    cost = [run["core_seconds"] for run in result["seeds"] if run["core_seconds"] is not None]
    rows = []
    for what, each in result["compared"].items():
        gain = [f"{part:+.4f}" for part in each["gain"]]
        share = [f"{part / each['frozen']:+.1%}" for part in each["gain"]]
        means = [score(each["frozen"]), score(each["tuned"])]
        differences = [f"{mean} [{low}, {high}]" for mean, low, high in (gain, share)]
        rows.append([title, thousands(result["users"]), seeds, what, *means, *differences, ""])
    rows[0][-1] = thousands(float(np.mean(cost))) if cost else "–"
    return rows


def main() -> None:
    options = harness.options(__doc__, data=",".join(TITLES), seeds=True, threads=1)
    results = {}
    for name in options.data:
        if name not in TITLES:
            raise SystemExit(f"there is no data set {name!r}; there are: {', '.join(TITLES)}")
        if name in DATA_SETS and not harness.present([name]):
            continue
        results[name] = measure(name, options)
        harness.keep(options.results / "text_tuning.json", name, results[name])
    if results:
        show(tables(results))


if __name__ == "__main__":
    main()
