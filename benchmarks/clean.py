"""`llmrec clean` against scripts on pandas and polars that give the same events: core-seconds and peak memory.

python -m benchmarks.clean [--rows 2e6] [--repeats 3] [--programs llmrec,pandas,polars] [--max-memory 4GB]
polars must be installed: pip install polars

One thread, turn by turn, best of the repeats; a CSV file with text ids, 3 % duplicates, k-core 5 of users and items.
The scripts drop rows without ids or times and duplicates, find the k-core, sort by user and time, number the events and
write them as Parquet. `clean` also writes the account, rejects, users, items and sequences, and checks what it wrote.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from benchmarks.tables import Table, show

PIECE = 2_000_000
"""Rows that are made at a time."""
RESULTS = Path(__file__).parent / "results" / "clean.json"
K_CORE = 5
SETTINGS = f"""
[clean]
min_user_events = {K_CORE}
min_item_events = {K_CORE}
outlier_z = 0
value_outlier_z = 0
[clean.interactions]
path = "log.csv"
user = "user"
item = "item"
time = "ts"
value = "rating"
"""
PANDAS = f"""
import numpy as np, pandas as pd
log = pd.read_csv("log.csv", dtype={{"user": "string", "item": "string"}}).dropna(subset=["user", "item", "ts"])
log["ts"] = pd.to_datetime(log["ts"], unit="s", utc=True)
log["source_row"] = np.arange(1, len(log) + 1)
log = log.drop_duplicates(["user", "item", "ts"])
before = None
while before != len(log):
    before = len(log)
    log = log[log.groupby("user")["item"].transform("size") >= {K_CORE}]
    log = log[log.groupby("item")["user"].transform("size") >= {K_CORE}]
log = log.sort_values(["user", "ts", "source_row"])
log["position"] = log.groupby("user").cumcount()
log.to_parquet("pandas.parquet", compression="zstd", index=False)
"""
POLARS = f"""
import polars as pl
log = pl.read_csv("log.csv", schema_overrides={{"user": pl.String, "item": pl.String}}, row_index_name="source_row")
log = log.drop_nulls(["user", "item", "ts"]).with_columns(pl.from_epoch("ts", "s"))
log = log.unique(["user", "item", "ts"], keep="first", maintain_order=True)
before = None
while before != len(log):
    before = len(log)
    log = log.filter(pl.len().over("user") >= {K_CORE})
    log = log.filter(pl.len().over("item") >= {K_CORE})
log = log.sort("user", "ts", "source_row").with_columns(position=pl.int_range(pl.len()).over("user"))
log.write_parquet("polars.parquet", compression="zstd")
"""
COMMANDS = {
    "llmrec": ["-m", "llmrec_cli", "clean", "-q", "-c", "llmrec.toml", "--work", "work", "--threads", "1", "--force"],
    "pandas": ["-c", PANDAS],
    "polars": ["-c", POLARS],
}
OUT = ("interactions", "rejects")
EVENTS = {"llmrec": "work/clean/interactions.parquet", "pandas": "pandas.parquet", "polars": "polars.parquet"}


def write_log(path: Path, rows: int) -> None:
    """A twentieth as many users as rows, a hundredth as many items, some of them far more popular than others."""
    rng, options = np.random.default_rng(1), pc.WriteOptions(quoting_style="none")
    schema = pa.schema({"user": pa.string(), "item": pa.string(), "ts": pa.int64(), "rating": pa.int64()})
    with pc.CSVWriter(path, schema, write_options=options) as out:
        for start in range(0, rows, PIECE):
            n = min(PIECE, rows - start)
            users, items = rng.integers(0, rows // 20, n), (rows // 100 * rng.beta(0.6, 2.5, n)).astype(np.int64)
            seconds, ratings = 1_500_000_000 + rng.integers(0, 100_000_000, n), rng.integers(1, 6, n)
            copies, originals = rng.choice(n, int(n * 0.03), replace=False), rng.integers(0, n, int(n * 0.03))
            for column in (users, items, seconds):
                column[copies] = column[originals]
            names = [pa.array(np.char.add(kind, codes.astype("U"))) for kind, codes in (("u", users), ("item-", items))]
            out.write_table(pa.table([*names, pa.array(seconds), pa.array(ratings)], schema=schema))


def cost(command: list[str], folder: Path) -> dict[str, float]:
    """Core-seconds and peak GB of a program, as the system counts them."""
    threads = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS")
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, **dict.fromkeys(threads, "1"), "PYTHONPATH": paths}
    process = subprocess.Popen([sys.executable, *command], cwd=folder, env=env)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"it ended with {status}: {command[:3]}")
    return {"core_seconds": used.ru_utime + used.ru_stime, "peak_gb": used.ru_maxrss / (1 << 20)}


def events_of(path: Path) -> pa.Table:
    """user, item and position of the events that a program kept."""
    with pq.ParquetFile(path) as file:
        names = {"user_id": "user", "item_id": "item"}
        have = [name for name in file.schema_arrow.names if name in {*names, *names.values(), "position"}]
        table = file.read(have)
    columns = {names.get(name, name): table.column(name) for name in have}
    return pa.table({name: columns[name].cast(pa.string()) for name in ("user", "item", "position")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=2_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--programs", default=",".join(COMMANDS), help="by comma; llmrec is one of them")
    parser.add_argument("--max-memory", help="of llmrec")
    given = parser.parse_args()
    commands = {name: COMMANDS[name] for name in given.programs.split(",")}
    commands["llmrec"] = commands["llmrec"] + (["--max-memory", given.max_memory] if given.max_memory else [])
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # elsewhere: what this process has held counts as the peak of those that it starts
        writer = multiprocessing.get_context("spawn").Process(target=write_log, args=(folder / "log.csv", given.rows))
        writer.start()
        writer.join()
        (folder / "llmrec.toml").write_text(SETTINGS)
        for _ in range(given.repeats):
            for name, command in commands.items():
                each = cost(command, folder)
                best = found.setdefault(name, each)
                found[name] = {key: min(best[key], value) for key, value in each.items()}
        counts = {name: pq.read_metadata(folder / f"work/clean/{name}.parquet").num_rows for name in OUT}
        assert sum(counts.values()) == given.rows, f"{counts} are not the {given.rows:,} rows that came in"
        tables = {name: events_of(folder / EVENTS[name]) for name in commands if len(commands) > 1}
    rows = {name: table.num_rows for name, table in tables.items()}
    same = {name: table.equals(tables["llmrec"]) for name, table in tables.items()}
    assert all(same.values()), f"the events differ: {same}, {rows}"
    ours = found["llmrec"]["core_seconds"]
    cells = [
        [name, f"{each['core_seconds']:.2f}", f"{each['peak_gb']:.2f}", f"{each['core_seconds'] / ours:.2f}"]
        for name, each in found.items()
    ]
    title = f"{given.rows:,} rows, one thread, {counts['interactions']:,} events kept by all"
    show([Table(title, ["program", "core-seconds", "peak GB", "of llmrec's"], cells)])
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    kept[str(given.rows)] = {"events": counts["interactions"], "max_memory": given.max_memory, **found}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
