"""Whether the lists of today are as good as those that are kept: the same backtest, paired over the users.

python -m benchmarks.regression run FOLDER [--data sample,ml-100k,beauty]   trains in FOLDER, seed 42, one thread
python -m benchmarks.regression keep FOLDER                                 stores what FOLDER has as the "before"
python -m benchmarks.regression compare FOLDER                              compares FOLDER with the "before"
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import harness, places
from benchmarks.data_sets import DATA_SETS, HERE, REPOSITORY, data_folder
from benchmarks.ranking import RESAMPLES_SEED, K, metrics
from benchmarks.tables import Table, show
from llmrec_cli.core.artifacts import HOLDOUT, RECOMMENDATIONS
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.metrics import paired_bootstrap

BEFORE = HERE / "results" / "before"
SEED = 42
LEAST = -0.015
"""The lower bound of the paired difference, relative to "before", that is still no loss."""
WITH_LISTS = ("sample", "ml-100k")
"""Data sets whose lists of the main work directory are kept too."""


@dataclass(frozen=True)
class Case:
    """How `llmrec` is run on one data set."""

    name: str

    @property
    def arguments(self) -> list[str]:
        """The settings file and what is laid over it; everything but the log's own last events is trained on."""
        if self.name == "sample":
            return ["--config", str(REPOSITORY / "configs" / "retail.toml")]
        data = DATA_SETS[self.name]
        paths = [f"{key}={data_folder() / path}" for key, path in data.paths.items()]
        return ["--config", str(data.settings), *harness.overrides([*paths, "clean.holdout=none"])]

    def run(self, folder: Path) -> None:
        work = folder / self.name
        common = [*self.arguments, "--seed", str(SEED), "--threads", "1"]
        if self.name in WITH_LISTS:
            harness.llmrec(work, "run", *common)
        harness.llmrec(work, "evaluate", *common)


def ranks_of(work: WorkDir) -> pa.Table:
    """Each user with a withheld event, by id, and the place of that event in the user's list from 0; K for none."""
    lists = work.read(RECOMMENDATIONS, ["user_id", "item_id", "rank"])
    joined = work.read(HOLDOUT, ["user_id", "item_id"]).join(lists, ["user_id", "item_id"], join_type="left outer")
    ranks = joined.column("rank").fill_null(K + 1).to_numpy() - 1
    return pa.table({"user_id": joined.column("user_id"), "rank": ranks.astype(np.uint8)}).sort_by("user_id")


def keep(folder: Path, names: list[str]) -> None:
    """Store places and lists; what is there already is written over."""
    BEFORE.mkdir(parents=True, exist_ok=True)
    for name in names:
        table = ranks_of(WorkDir(folder / name / "evaluate" / "last"))
        table = table.replace_schema_metadata({places.RECORD: json.dumps(harness.stamp() | {"seed": SEED})})
        pq.write_table(table, BEFORE / f"{name}-places.parquet", compression="zstd", compression_level=19)
        if name in WITH_LISTS:
            shutil.copy(WorkDir(folder / name).need(RECOMMENDATIONS), BEFORE / f"{name}-recommendations.parquet")


def lists_compared(folder: Path, name: str) -> str:
    """How today's lists of the main work directory differ from those before: what a rebuild must not change."""
    columns = ["user_id", "rank", "item_id", "score"]
    before = pq.read_table(BEFORE / f"{name}-recommendations.parquet", columns=columns)
    now = pq.read_table(WorkDir(folder / name).need(RECOMMENDATIONS), columns=columns)
    same = before.select(columns[:3]).equals(now.select(columns[:3]))
    if not same:
        return f"{name}: the lists are not the same, {before.num_rows:,} rows before, {now.num_rows:,} now"
    apart = np.abs(before.column("score").to_numpy() - now.column("score").to_numpy()).max(initial=0)
    return f"{name}: the same {now.num_rows:,} rows of users, ranks and items; scores differ by at most {apart:.1e}"


def compare(folder: Path, names: list[str]) -> bool:
    """Print NDCG@10 before and now, and whether no data set has lost more than LEAST."""
    rows, good = [], True
    for name in names:
        before = pq.read_table(BEFORE / f"{name}-places.parquet")
        now = ranks_of(WorkDir(folder / name / "evaluate" / "last"))
        both = before.join(now, "user_id", join_type="inner", right_suffix="_now").sort_by("user_id")
        old, new = (metrics(both.column(c).to_numpy().astype(np.int64))[f"ndcg@{K}"] for c in ("rank", "rank_now"))
        mean, low, high = (float(each) for each in paired_bootstrap(new, old, RESAMPLES_SEED))
        held = low / float(old.mean()) >= LEAST
        good &= held
        difference = f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"
        relative = f"{mean / old.mean():+.1%} [{low / old.mean():+.1%}, {high / old.mean():+.1%}]"
        users = f"{both.num_rows:,} of {before.num_rows:,}"
        rows.append(
            [name, users, f"{old.mean():.4f}", f"{new.mean():.4f}", difference, relative, "yes" if held else "NO"]
        )
    columns = ["data", "users", "before", "now", "difference", "relative", f"low >= {LEAST:.1%}"]
    show([Table("NDCG@10 of the last event, seed 42, one thread, paired over users", columns, rows)])
    for name in names:
        if name in WITH_LISTS:
            print(lists_compared(folder, name))
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=["run", "keep", "compare"])
    parser.add_argument("folder", type=Path, help="of the work directories")
    parser.add_argument("--data", type=harness.listed, default=["sample", "ml-100k", "beauty"], help="by comma")
    asked = parser.parse_args()
    if asked.action == "run":
        for name in asked.data:
            Case(name).run(asked.folder.resolve())
    elif asked.action == "keep":
        keep(asked.folder, asked.data)
    elif not compare(asked.folder, asked.data):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
