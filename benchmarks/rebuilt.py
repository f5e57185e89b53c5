"""Models of others in the harness of our own rows: count models built from their papers, and SASRec as RecTools has it.

python -m benchmarks.rebuilt [--data beauty,sports,toys] [--sasrec]     # SASRec trains for minutes to hours a set
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from benchmarks import harness, peers, ranking
from benchmarks.data_sets import DATA_SETS, REPOSITORY, DataSet
from benchmarks.harness import ONE_THREAD, CommandError, Json, Options
from benchmarks.speed import MALLOCS, write_sequences
from benchmarks.tables import Table, interval, score, show
from llmrec_cli.core.artifacts import ITEMS
from llmrec_cli.data.catalogue import from_tables
from llmrec_cli.data.metrics import MISS
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.ranking.retrievers import Retriever
from llmrec_cli.ranking.retrievers.ease import Ease, EaseConfig
from llmrec_cli.ranking.retrievers.transitions import Transitions, TransitionsConfig

TAIL = {"head": 7, "mass": 0.8, "decay": 0.6}
EVEN = {"head": 50, "mass": 1.0, "decay": 0.6}
"""Weights that fall geometrically over the whole history."""
PUBLISHED = {
    "beauty": {"distances": 10, "power": 0.5, "tau": 11250, **EVEN, "popularity": -0.04},
    "sports": {"distances": 10, "power": 0.5, "tau": 15000, "head": 10, "mass": 0.8, "decay": 0.7, "popularity": 0},
    "toys": {"distances": 20, "power": 0, "rate": 0.7, "tau": 15000, **TAIL, "popularity": 0},
    "ml-1m": {"distances": 20, "power": 1.0, "tau": 150, **TAIL, "popularity": -0.4},
}
"""The configurations of spotify-research/sequential-capacity-probes (Petrov et al., RecSys 2026)."""
PRINTED = {"beauty": 0.0635, "sports": 0.0368, "toys": 0.0738, "ml-1m": 0.1815}
"""NDCG@10 there: val-in, warm targets, seen items filtered. MovieLens there has another order of equal times."""
SASREC = ", SASRec"
PCTM, EASE = "PCTM, published settings", "EASE, ridge 100, an older event counts 0.8 of the next"
MARKOV = {"distances": 1, "history": 1, "popularity": 0}
PROTOCOL = (
    "val-in: counted on all but each user's last event; val-out: all but the last two. Asked for the last event with "
    "all before it as history; all items ranked, seen ones filtered, equal scores by the sha256 of the id. Warm: only "
    "users whose target occurs in what was counted"
)


def models(data: str) -> dict[str, tuple[type[Retriever], BaseModel]]:
    """The count models that are built for a data set; PCTM only where its authors published settings."""
    found = {"first-order Markov chain": (Transitions, TransitionsConfig(**MARKOV)), EASE: (Ease, EaseConfig(l2=100))}
    return found | ({PCTM: (Transitions, TransitionsConfig(**PUBLISHED[data]))} if data in PUBLISHED else {})


def measure(data: DataSet, options: Options) -> Json:
    work = harness.cleaned(data, options.work)
    histories, targets = harness.asked(work)
    items = work.read(ITEMS)
    ties = tie_order(items.column("item_id").to_pylist())
    nothing = np.zeros((items.num_rows, 0), dtype=np.float32)
    catalogue = from_tables(items, nothing, nothing)
    rows = []
    for system, (kind, settings) in models(data.name).items():
        for protocol, known in (("val-out", histories.without_last()), ("val-in", histories)):
            model = kind.fit(settings, known, catalogue, 0)

            def scores(start: int, stop: int, model: Retriever = model) -> np.ndarray:
                return ranking.scores_of_all(model, histories.select(np.arange(start, stop)))

            found = ranking.metrics(ranking.target_ranks(scores, histories, targets, ties)["filtered"])
            warm = (targets >= 0) & (known.counts()[targets] > 0)
            rows.append(
                {
                    "system": system,
                    "protocol": protocol,
                    "all": ranking.intervals(found),
                    "warm": ranking.intervals({name: values[warm] for name, values in found.items()}),
                    "warm_users": int(warm.sum()),
                    "printed": PRINTED[data.name] if system == PCTM and protocol == "val-in" else None,
                }
            )
            harness.say(f"{data.name} {system} {protocol}: {rows[-1]['warm']['ndcg@10'][0]:.4f} on warm targets")
    return {"data": data.name, "users": len(targets), "systems": rows, "with": harness.stamp()}


def sasrec(data: DataSet, options: Options) -> Json:
    """RecTools' SASRec, trained in its own environment on all but the last two events, stopped early on the first.

    Its settings are plain ones, not tuned.
    """
    histories, targets = harness.asked(harness.cleaned(data, options.work))
    if (histories.lengths < 2).any():
        raise ValueError("users without two events have no line in the peer's file")
    length = min(200, int(np.percentile(histories.lengths, 90)) // 50 * 50 + 50)
    with tempfile.TemporaryDirectory() as folder:
        log, out = Path(folder) / "log.txt", Path(folder) / "lists.npy"
        write_sequences(histories, log)
        script = [str(peers.ready(options.own.venv.resolve())), "-m", "benchmarks.peer.rectools_lists"]
        done = subprocess.run(
            [*script, str(log), str(out), str(options.seeds[0]), str(length)],
            cwd=REPOSITORY,
            env={**os.environ, **ONE_THREAD, **MALLOCS["tuned"]},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CommandError("\n".join(done.stderr.strip().splitlines()[-5:]))
        lists = np.load(out)
    hits = (lists == targets[:, None]) & (targets[:, None] >= 0)
    found = ranking.metrics(np.where(hits.any(axis=1), hits.argmax(axis=1), MISS))
    warm = (targets >= 0) & (histories.without_last().counts()[targets] > 0)
    harness.say(f"{data.name} SASRec val-out: {found['ndcg@10'].mean():.4f}")
    training = json.loads(done.stdout.splitlines()[-1])
    row = {
        "system": f"SASRec, {training['settings']['loss'].replace('_', ' ')} (RecTools)",
        "protocol": "val-out",
        "all": ranking.intervals(found),
        "warm": ranking.intervals({name: values[warm] for name, values in found.items()}),
        "warm_users": int(warm.sum()),
        "printed": None,
        "training": training,
    }
    return {"data": data.name, "users": len(targets), "systems": [row], "with": harness.stamp()}


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(results: Json) -> list[Table]:
    rows = [
        [
            DATA_SETS[data].title,
            row["system"],
            row["protocol"],
            interval(row["all"]["recall@10"]),
            interval(row["all"]["ndcg@10"]),
            score(row["warm"]["ndcg@10"][0]),
            score(row["printed"]),
        ]
        for data in DATA_SETS
        for key in (data, data + SASREC)
        if key in results
        for row in results[key]["systems"]
    ]
    columns = ["data", "system", "protocol", "R@10", "N@10", "N@10, warm", "as printed"]
    return [Table("Rebuilt", columns, rows, left=3, notes=[f"{PROTOCOL}."])]


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sasrec", action="store_true", help="SASRec of RecTools alone: from minutes to hours")
    parser.add_argument("--venv", type=Path, default=peers.VENV, help="the peers' environment, made where missing")


def main() -> None:
    options = harness.options(__doc__, data=",".join(PUBLISHED), extend=_extend)
    results = {}
    for data in harness.present(options.data):
        key = data.name + (SASREC if options.own.sasrec else "")
        results[key] = (sasrec if options.own.sasrec else measure)(data, options)
        harness.keep(options.results / "rebuilt.json", key, results[key])
    if results:
        show(tables(results))


if __name__ == "__main__":
    main()
