"""Seven nights of a shop: `clean --append` and a warm start each night, against a full fit of the same log.

python -m benchmarks.nights [--nights 7] [--since 2009-12-01] [--set KEY=VALUE]

The last days with events of Online Retail II (2010) are appended one by one. After each, `pretrain` runs in two work
directories, with `pretrain.warm` as it is and with "never". Both encoders rank for the customers of the next day what
they had not bought before. Costs are those that the stages report, one thread.
"""

from __future__ import annotations

import argparse
import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.data_sets import HERE, REPOSITORY, data_folder
from benchmarks.harness import Json, llmrec, overrides, say, stamp
from benchmarks.tables import Table, score, show
from llmrec_cli.core.arrays import Doubles
from llmrec_cli.core.artifacts import ENCODER, ITEMS, SEQUENCES
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.interactions import from_table
from llmrec_cli.data.metrics import rank_metrics
from llmrec_cli.sequence.encoder import SequenceEncoder

LOG = "online-retail-ii-2010/online_retail.parquet"
RESULTS = HERE / "results" / "nights.json"
SYSTEMS = {"warm": "auto", "full": "never"}
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nights", type=int, default=7)
    parser.add_argument("--since", default="2009-12-01", help="first day of the log")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, passed to llmrec")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "work" / "benchmarks" / "nights")
    given = parser.parse_args()
    days = write_days(given.work.resolve(), given.since, given.nights)
    settings = ["--threads", "1", "--config", given.work.resolve() / "llmrec.toml", *overrides(given.set)]
    for name in SYSTEMS:
        shutil.rmtree(given.work / name, ignore_errors=True)
    first = given.work.resolve() / "warm"
    llmrec(first, "run", "--to", "pretrain", *settings)
    shutil.copytree(first, given.work / "full")
    found: Json = {"since": given.since, "settings": given.set, **stamp(), "nights": []}
    found["first"] = measured(WorkDir(first))
    for day, following in pairwise(days):
        found["nights"].append(night(given.work.resolve(), day, following, settings))
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        show_results(found)


def write_days(folder: Path, since: str, nights: int) -> list[Path]:
    """The log before the nights, a file for each of their days and the one after, and settings for all."""
    folder.mkdir(parents=True, exist_ok=True)
    log = pq.read_table(data_folder() / LOG)
    day = pc.utf8_slice_codeunits(log.column("InvoiceDate").cast(pa.string()), 0, 10)
    sold = day.filter(pc.and_(pc.is_valid(log.column("Customer ID")), pc.greater(log.column("Quantity"), 0)))
    days = sorted(pc.unique(sold).to_pylist())[-nights - 1 :]
    pq.write_table(log.filter(pc.and_(pc.less(day, days[0]), pc.greater_equal(day, since))), folder / "before.parquet")
    for each in days:
        pq.write_table(log.filter(pc.equal(day, each)), folder / f"{each}.parquet")
    text = (REPOSITORY / "configs" / "retail.toml").read_text(encoding="utf-8")
    text = text.replace("../data/sample/online_retail_sample.csv", "before.parquet")
    (folder / "llmrec.toml").write_text(text, encoding="utf-8")
    return [folder / f"{each}.parquet" for each in days]


def night(root: Path, day: Path, following: Path, settings: list[str | Path]) -> Json:
    """Append a day to both logs, train both, and ask both for the next day."""
    found: Json = {"day": day.stem, "next": following.stem}
    ndcg = {}
    for name, warm in SYSTEMS.items():
        work = WorkDir(root / name)
        llmrec(work.path, "clean", *settings, "--append", day)
        llmrec(work.path, "pretrain", *settings, "--set", f"pretrain.warm={warm}")
        ndcg[name] = next_day(work, following)
        found[name] = {**measured(work), "next_day_ndcg": float(ndcg[name].mean())}
        say(f"{day.stem} {name}: {found[name]}")
    difference = ndcg["warm"] - ndcg["full"]
    error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    return found | {"users": len(difference), "difference": float(difference.mean()), "difference_error": error}


def measured(work: WorkDir) -> Json:
    """What the stages of a work directory report: cost, quality on validation, whether the start was warm."""
    clean, pretrain = (work.record(name) or {} for name in ("clean", "pretrain"))
    report = pretrain["report"]
    return {
        "validation_ndcg": report["metrics"]["ndcg@10"],
        "warm": bool(report["metrics"]["warm"]),
        "why": [line for line in report["lines"] if line.endswith(("a warm start", "fitted anew"))],
        "seconds": pretrain["seconds"],
        "core_seconds": pretrain["core_seconds"],
        "clean_core_seconds": clean["core_seconds"],
    }


def next_day(work: WorkDir, day: Path) -> Doubles:
    """(users,) NDCG@10 of what known customers bought on a day for the first time, by the encoder alone."""
    items, log = work.read(ITEMS), work.read(SEQUENCES)
    bought = pq.read_table(day).filter(pc.greater(pq.read_table(day).column("Quantity"), 0))
    customer = pc.cast(bought.column("Customer ID"), pa.int64()).cast(pa.string())
    users = np.asarray(pc.fill_null(pc.index_in(customer, value_set=log.column("user_id").combine_chunks()), -1))
    codes = pc.index_in(bought.column("StockCode"), value_set=items.column("item_id").combine_chunks())
    pairs = np.unique(np.stack([users, np.asarray(pc.fill_null(codes, -1))])[:, users >= 0], axis=1)
    sequences = from_table(log, items)
    asked = np.unique(pairs[0])
    histories = sequences.select(asked)
    encoder = SequenceEncoder.load(work.where(ENCODER))
    scores = encoder.encode(histories) @ encoder.item_vectors.T
    rows = np.repeat(np.arange(len(asked)), histories.lengths)
    scores[rows, histories.codes] = -np.inf
    had = np.zeros(scores.shape, dtype=bool)
    had[rows, histories.codes] = True
    row = np.searchsorted(asked, pairs[0])
    new = (pairs[1] >= 0) & ~had[row, pairs[1]]
    lists = np.argsort(-scores, axis=1, kind="stable")[:, :K].astype(np.int32)
    some = np.unique(row[new])
    offsets = np.append(0, np.cumsum(np.bincount(np.searchsorted(some, row[new]), minlength=len(some))))
    return rank_metrics(lists[some], (offsets, pairs[1][new].astype(np.int32)), K)[f"ndcg@{K}"]


def show_results(found: Json) -> None:
    """The nights as a table."""
    columns = [
        "night",
        "start",
        *(f"{what}, {name}" for what in ("core-s", "validation", "next day") for name in SYSTEMS),
    ]
    rows = []
    for each in found["nights"]:
        both = [each[name] for name in SYSTEMS]
        figures = [f"{side['core_seconds']:,.0f}" for side in both]
        figures += [score(side[key]) for key in ("validation_ndcg", "next_day_ndcg") for side in both]
        rows.append([each["day"], "warm" if each["warm"]["warm"] else "anew", *figures, str(each["users"])])
    show([Table(f"NDCG@{K} of the encoder, and what pretrain cost", [*columns, "users"], rows, left=2)])


if __name__ == "__main__":
    main()
