"""A text encoder tuned on behaviour against the frozen one: the content retriever alone, and the whole pipeline.

python -m benchmarks.text_tuning [--data sample,beauty,toys,sports] [--seeds 42] [--alone] [--set KEY=VALUE]
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc

from benchmarks import harness, ranking
from benchmarks.data_sets import DATA_SETS
from benchmarks.harness import Json, Options
from benchmarks.regression import Case, ranks_of
from benchmarks.tables import Table, score, show, thousands
from llmrec_cli.core.artifacts import HOLDOUT, ITEM_TEXT_VECTORS, ITEMS, RECOMMENDATIONS
from llmrec_cli.core.workdir import WorkDir, to_numpy
from llmrec_cli.data.metrics import paired_bootstrap
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.ranking.retrievers.content_based import Content, ContentConfig
from llmrec_cli.tensors.runtime import tensor

VARIANTS = {"frozen": (), "tuned": ("pretrain.tune_text=true",)}
ALONE = ("clean.holdout=last", "pretrain.epochs=1", "pretrain.refit=false")
"""For the content retriever alone: what it reads does not depend on the training of the sequence model."""
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
    found: dict[str, dict[str, list[ranking.Metrics]]] = {}
    seeds = []
    for seed in options.seeds:
        works = {variant: made(name, variant, options, seed) for variant in VARIANTS}
        of_seed = {variant: measured(work) for variant, work in works.items()}
        for what in of_seed["frozen"]:
            for variant in VARIANTS:
                found.setdefault(what, {}).setdefault(variant, []).append(of_seed[variant][what])
        last = {what: {v: runs[-1:] for v, runs in each.items()} for what, each in found.items()}
        seeds.append({"seed": seed, **described(works), "compared": compared(last)})
        harness.say(f"{name}: {seeds[-1]}")
    users = len(found[CONTENT]["frozen"][0][NDCG])
    given = {"given": options.settings, "threads": options.threads}
    return {"users": users, "seeds": seeds, "compared": compared(found), **given, "with": harness.stamp()}


def made(name: str, variant: str, options: Options, seed: int) -> WorkDir:
    """The finished backtest of one variant, or its first two stages; what is up to date is not made again."""
    work = options.work / "text_tuning" / name / f"{variant}-{seed}"
    given = [*Case(name).arguments, "--seed", str(seed), "--threads", str(options.threads)]
    given += ["--force"] if options.force else []
    settings = [*options.settings, *VARIANTS[variant]]
    if not options.own.alone:
        harness.llmrec(work, "evaluate", *given, *harness.overrides(settings))
        return WorkDir(work / "evaluate" / "last")
    for stage in ("clean", "pretrain"):
        harness.llmrec(work / "alone", stage, *given, *harness.overrides([*settings, *ALONE]))
    return WorkDir(work / "alone")


def measured(work: WorkDir) -> dict[str, ranking.Metrics]:
    """Each user's metrics of the withheld event, in the order of the users' ids; without lists of the content alone."""
    histories, targets = harness.asked(work)
    vectors = to_numpy(work.read(ITEM_TEXT_VECTORS, ["vector"]).column("vector")).reshape(histories.n_items, -1)
    content = Content(ContentConfig(), tensor(np.ascontiguousarray(vectors)))

    def scores(start: int, stop: int) -> np.ndarray:
        return ranking.scores_of_all(content, histories.select(np.arange(start, stop)))

    ties = tie_order(work.read(ITEMS, ["item_id"]).column("item_id").to_pylist())
    alone = ranking.target_ranks(scores, histories, targets, ties)["filtered"]
    by_id = pc.sort_indices(work.read(HOLDOUT, ["user_id"]).column("user_id")).to_numpy()
    found = {CONTENT: ranking.metrics(alone[by_id])}
    if work.has(RECOMMENDATIONS):
        listed = ranks_of(work).column("rank").to_numpy().astype(np.int64)
        found[PIPELINE] = ranking.metrics(listed)
    return found


def described(works: Mapping[str, WorkDir]) -> Json:
    """What validation says of both variants, which vectors it kept, and the CPU time of the tuning."""
    reports = {v: (work.record("train-ranker") or {}).get("report") for v, work in works.items()}
    lines = (works["tuned"].record("pretrain") or {})["report"]["lines"]
    chosen = next(line for line in lines if line.startswith("text encoder"))
    cost = re.search(r"([\d,]+) core-seconds", chosen)
    return {
        "validation": {v: each["metrics"][NDCG] for v, each in reports.items() if each},
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
    chosen = [_chosen(TITLES[name], run) for name in TITLES if name in results for run in results[name]["seeds"]]
    return [Table("Text that is tuned", columns, rows, left=4, notes=[f"{PROTOCOL}.", *chosen])]


def _chosen(title: str, run: Json) -> str:
    best = ", ".join(f"{variant} {score(value)}" for variant, value in run["validation"].items())
    return f"{title}, seed {run['seed']}: {run['chosen']}{f'; best ranker on validation: {best}' if best else ''}."


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


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--alone", action="store_true", help="the content retriever only, without the pipeline")


def main() -> None:
    options = harness.options(__doc__, data=",".join(TITLES), seeds=True, threads=1, extend=_extend)
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
