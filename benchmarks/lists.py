"""Lists at scale: core-seconds of `train-ranker` and `recommend` on synthetic logs, with all default retrievers.

python -m benchmarks.lists [--items 20000,100000] [--users 4000] [--only recommend] [--folder FOLDER] [--note TEXT]

A log of clusters: each user likes a few, and within a cluster an item of rank r is chosen 1 / r as often as the first.
15 events a user, titles of the cluster's words, a category and tags. Vectors are 64 (sequence), 128 (ALS) and 128
(hashed words) wide. Each stage runs as a process of its own with one thread; its core-seconds are those that the
system counts, from the start of the process to its end, and those of the stage alone by its record.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from benchmarks import harness
from benchmarks.data_sets import REPOSITORY
from benchmarks.harness import ONE_THREAD, Json, say
from benchmarks.tables import Table, show
from llmrec_cli.core.workdir import WorkDir

RESULTS = Path(__file__).parent / "results" / "lists.json"
EVENTS, CLUSTER, LIKED = 15, 100, 3
"""Events of a user, items of a cluster, clusters that a user likes."""
SETTINGS = """
[clean]
min_user_events = 1
min_item_events = 1
[clean.interactions]
path = "log.csv"
user = "user"
item = "item"
time = "ts"
[clean.items]
path = "items.csv"
item = "item"
title = "title"
category = "category"
tags = "tags"
tags_separator = "|"
[pretrain]
dim = 64
epochs = 1
text_encoder = "hashed"
content_weight = false
"""
FIRST = ("clean", "pretrain", "profile")
NO_TEXTS, WITHOUT = " without texts", ("--set", "recommend.texts=[]")
MEASURED = ("train-ranker", "recommend", "recommend" + NO_TEXTS)
"""Lists with reasons alone, and with the texts about whole lists, which cost more than the lists."""


def write_tables(folder: Path, n_users: int, n_items: int, seed: int = 1) -> None:
    """`log.csv`, `items.csv` and the settings."""
    rng = np.random.default_rng(seed)
    clusters = n_items // CLUSTER
    liked = (clusters * rng.beta(0.7, 2.0, (n_users, LIKED))).astype(np.int64)
    rank = 1 / np.arange(1, CLUSTER + 1)
    users = np.repeat(np.arange(n_users), EVENTS)
    cluster = liked[users, rng.integers(0, LIKED, len(users))]
    items = cluster * CLUSTER + rng.choice(CLUSTER, len(users), p=rank / rank.sum())
    seconds = 1_500_000_000 + np.arange(len(users)) % EVENTS * 86_400 + rng.integers(0, 80_000, len(users))
    names = [pa.array(np.char.add(kind, codes.astype("U"))) for kind, codes in (("u", users), ("i", items))]
    pc.write_csv(pa.table({"user": names[0], "item": names[1], "ts": seconds}), folder / "log.csv")
    of = np.arange(n_items) // CLUSTER
    words = [
        [f"word{of[i] * 7 + w}" for w in rng.integers(0, 12, 5)] + [f"kind{w}" for w in rng.integers(0, 500, 2)]
        for i in range(n_items)
    ]
    catalogue = {
        "item": [f"i{i}" for i in range(n_items)],
        "title": [f"{' '.join(some)} {i}" for i, some in enumerate(words)],
        "category": [f"group{c // 10} > set{c}" for c in of],
        "tags": [f"tag{c % 300}|tag{i % 97}" for i, c in enumerate(of)],
    }
    pc.write_csv(pa.table(catalogue), folder / "items.csv")
    (folder / "llmrec.toml").write_text(SETTINGS)


def cost(folder: Path, stage: str, *more: str) -> Json:
    """Core-seconds and peak memory of a stage, from outside and from its record."""
    command = harness.command(
        stage,
        "--config",
        folder / "llmrec.toml",
        "--work",
        folder / "work",
        "--threads",
        "1",
        "--force",
        "--quiet",
        *more,
    )
    process = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, **ONE_THREAD})
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{stage} ended with {status} in {folder}")
    record = WorkDir(folder / "work").record(stage) or {}
    return {
        "core_seconds": round(used.ru_utime + used.ru_stime, 2),
        "of_the_stage": round(record["core_seconds"], 2),
        "peak_gb": round(used.ru_maxrss / (1 << 20), 2),
    }


def measured(root: Path, n_users: int, n_items: int, stages: list[str]) -> Json:
    folder = root / f"{n_users}-{n_items}"
    if not (folder / "llmrec.toml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_tables(folder, n_users, n_items)
        for stage in FIRST:
            say(f"{stage} of {n_items:,} items: {cost(folder, stage)}")
    found: Json = {"users": n_users, "items": n_items, "with": harness.stamp()}
    for stage in stages:
        found[stage] = cost(folder, stage.removesuffix(NO_TEXTS), *(WITHOUT if stage.endswith(NO_TEXTS) else ()))
        say(f"{stage} of {n_items:,} items: {found[stage]}")
        if stage.startswith("recommend"):
            for name in ("core_seconds", "of_the_stage"):
                found[stage][f"users_by_{name}"] = round(n_users / found[stage][name], 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=harness.numbers, default=[20_000, 100_000])
    parser.add_argument("--users", type=int, default=4_000)
    parser.add_argument("--only", type=harness.listed, default=list(MEASURED), help="stages, by comma")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "work" / "benchmarks" / "lists")
    parser.add_argument("--note", default="now", help="under which name the figures are kept")
    given = parser.parse_args()
    rows = []
    for n_items in given.items:
        found = measured(given.folder.resolve(), given.users, n_items, given.only)
        harness.keep(RESULTS, f"{given.note}: {given.users} users, {n_items} items", found)
        for stage in given.only:
            each = found[stage]
            rate = f"{each['users_by_core_seconds']:,.0f}" if stage.startswith("recommend") else ""
            figures = [f"{each[name]:.1f}" for name in ("core_seconds", "of_the_stage", "peak_gb")]
            rows.append([f"{n_items:,}", stage, *figures, rate])
    columns = ["items", "stage", "core-seconds", "of the stage", "peak GB", "users a core-second"]
    show([Table(f"{given.users:,} users, one thread", columns, rows)])


if __name__ == "__main__":
    main()
