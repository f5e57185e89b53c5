"""Users without events, on MovieLens 1M: the lists of their segments against what everyone chooses.

python -m benchmarks.cold_users [--seeds 42,43,44]
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks import harness, ranking
from benchmarks.data_sets import DATA_SETS, data_folder
from benchmarks.harness import Json
from benchmarks.tables import Table, show
from llmrec_cli.core.arrays import offsets_of
from llmrec_cli.core.artifacts import ITEMS, SEQUENCES, USERS
from llmrec_cli.data.interactions import Sequences, from_table
from llmrec_cli.data.metrics import paired_bootstrap, rank_metrics
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.lists.build import Backfill
from llmrec_cli.stages.profile import attributes_of, segmented

SHARE, SMALLEST = 0.3, 20
"""Users who are new, and users that a segment needs (the default of `profile.min_segment_users`)."""
METRIC = f"ndcg@{ranking.K}"
USER_FILE = (
    'clean.users={path = "%s", columns = ["user", "gender", "age", "occupation", "zip"], user = "user", age = "age", '
    'gender = "gender", attributes = ["occupation", "zip"]}'
)


def measure(options: harness.Options) -> list[Json]:
    data = DATA_SETS["ml-1m"]
    path = data_folder() / "ml-1m" / "ml-1m.zip#ml-1m"
    work = harness.clean(options.work / "cold-users", data, [USER_FILE % f"{path}/users.dat", "clean.holdout=none"])
    items, users = work.read(ITEMS), work.read(USERS)
    log = from_table(work.read(SEQUENCES), items, users.column("user_id"))
    columns = attributes_of(users, 0)
    ties = tie_order(items.column("item_id").to_pylist())
    kinds = {"with zip codes": columns, "without": {name: each for name, each in columns.items() if name != "zip"}}
    return [
        {"attributes": kind, "seed": seed, **one(log, given, ties, seed)}
        for kind, given in kinds.items()
        for seed in options.seeds
    ]


def one(log: Sequences, columns: dict[str, np.ndarray], ties: np.ndarray, seed: int) -> Json:
    """The new users' first event, and all of theirs, by the segments' lists and by everyone's."""
    new = np.sort(np.random.default_rng(seed).choice(len(log), round(SHARE * len(log)), replace=False))
    is_new = np.isin(np.arange(len(log)), new)
    kept = ~is_new[log.users]
    lengths = np.where(is_new, 0, log.lengths)
    past = replace(log, codes=log.codes[kept], offsets=offsets_of(lengths), times=None)
    leaning, found = segmented(columns, past, ties, SMALLEST, seed)
    popular = Backfill.of(past, found.of_user, leaning.weights(found), np.ones(log.n_items, dtype=bool), ties)
    ours, everyone = (
        popular.leading(segment, ranking.K)[0] for segment in (found.of_user[new], np.full(len(new), len(found.names)))
    )
    asked = log.select(new)
    result: Json = {"users": len(new), "by": list(leaning.attributes), "prior": leaning.prior}
    for name, targets in {
        "first": (np.arange(len(new) + 1), asked.codes[asked.offsets[:-1]]),
        "all": (asked.offsets, asked.codes),
    }.items():
        mine, theirs = (rank_metrics(lists, targets, ranking.K)[METRIC] for lists in (ours, everyone))
        gain = list(map(float, paired_bootstrap(mine, theirs, ranking.RESAMPLES_SEED)))
        result[name] = {"segments": float(mine.mean()), "everyone": float(theirs.mean()), "gain": gain}
    return result


def main() -> None:
    options = harness.options(__doc__, data="ml-1m", seeds=True)
    harness.present(options.data)
    rows = measure(options)
    harness.keep(options.results / "cold_users.json", "ml-1m", {"rows": rows, "with": harness.stamp()})
    lines = [
        [
            row["attributes"],
            str(row["seed"]),
            ", ".join(row["by"]) or "–",
            *(
                text
                for asked in ("first", "all")
                for text in (
                    f"{row[asked]['segments']:.4f}",
                    f"{row[asked]['everyone']:.4f}",
                    "{:+.4f} [{:+.4f}, {:+.4f}]".format(*row[asked]["gain"]),
                )
            ),
        ]
        for row in rows
    ]
    columns = [
        "attributes",
        "seed",
        "chosen",
        "first: segments",
        "everyone",
        "gain",
        "all: segments",
        "everyone",
        "gain",
    ]
    show([Table("Users without events, MovieLens 1M, 30 % new, N@10", columns, lines)])


if __name__ == "__main__":
    main()
