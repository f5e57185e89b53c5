"""Training speed on one core: real next-item targets a second of llmrec, RecTools and RecBole, on the same histories.

python -m benchmarks.speed [--data beauty,ml-100k] [--venv benchmarks/.venv-peers] [--seconds 60] [--repeats 1]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import harness, peers
from benchmarks.data_sets import DATA_SETS, REPOSITORY, DataSet
from benchmarks.harness import ONE_THREAD, CommandError, Json, Options, say
from benchmarks.tables import Table, show, thousands
from llmrec_cli.core.artifacts import ITEMS, SEQUENCES
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.interactions import Sequences, from_table

PROTOCOL = (
    "SASRec-like: d 64, 2 layers, 2 heads, length 50, on all but each user's last two events, one thread; each target "
    "that is no padding counts once; batch sizes, dropout and number formats are each program's own"
)
SHAPE = ["dim=64", "layers=2", "heads=2", "max_length=50"]
TRAINING = ["targets=all", "epochs=3", "patience=0", "refit=false"]
LARGE = 4096
OURS = {
    "full softmax": ["loss=softmax"],
    "sampled softmax": ["loss=sampled"],
    f"full softmax, {LARGE:,} events a step": ["loss=softmax", f"tokens_per_step={LARGE}"],
    f"sampled softmax, {LARGE:,} events a step": ["loss=sampled", f"tokens_per_step={LARGE}"],
}
"""Settings of `pretrain`. Steps are smaller unless told; those of the peers have up to 128 x 50 events."""
NEGATIVES = 128
PEERS = {
    "RecTools, full softmax": ("rectools_sasrec", "softmax"),
    f"RecTools, sampled softmax, {NEGATIVES} negatives": ("rectools_sasrec", "sampled_softmax"),
    f"RecTools, gBCE, {NEGATIVES} negatives": ("rectools_sasrec", "gBCE"),
    "RecBole, full softmax": ("recbole_sasrec",),
}
# glibc gives large blocks back to the system after each step and has them zeroed page by page in the next. So told, it
# keeps them: what a peer's user can do without touching the code.
TUNED = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(1 << 30),
}
MALLOCS = {"stock": {}, "tuned": TUNED}


def measure(data: DataSet, options: Options) -> Json:
    """All systems on one data set; a system that cannot run is reported with its reason."""
    source = harness.cleaned(data, options.work)
    histories = from_table(source.read(SEQUENCES, ["item_codes"]), source.read(ITEMS, ["item_id"])).without_last()
    rows = [] if options.own.peers_only else [ours(data, source, name, options) for name in OURS]
    if not options.own.ours_only:
        python = peers.ready(options.own.venv.resolve())
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "histories.txt"
            write_sequences(histories, file)
            rows += [peer(name, python, file, malloc, options) for name in PEERS for malloc in MALLOCS]
    targets = int((histories.lengths[histories.lengths >= 2] - 1).sum())
    counts = {"items": histories.n_items, "targets": targets}
    return {"data": data.name, "protocol": PROTOCOL, **counts, "systems": rows, "with": harness.stamp()}


def ours(data: DataSet, source: WorkDir, name: str, options: Options) -> Json:
    """`llmrec pretrain` of three epochs: the median epoch."""
    work = harness.with_clean_of(
        source, options.work / data.name / f"speed-{name.replace(', ', '-').replace(' ', '-')}"
    )
    settings = [*options.settings, *(f"pretrain.{each}" for each in (*SHAPE, *TRAINING, *OURS[name]))]
    row: Json = {"system": f"llmrec, {name}", "malloc": "stock", "runs": []}
    for _ in range(options.own.repeats):
        load = os.getloadavg()[0]
        try:
            harness.stage(work, "pretrain", data, options, settings, seed=42, environment=ONE_THREAD)
        except CommandError as error:
            return _failed(row, str(error))
        row["runs"].append({**harness.trained(work), "load_before": round(load, 1)})
    return _summed(row)


def peer(name: str, python: Path, file: Path, malloc: str, options: Options) -> Json:
    """A peer's own training, timed in its own environment after a warm-up."""
    script, *loss = PEERS[name]
    arguments = ["-m", f"benchmarks.peer.{script}", str(file), *loss, str(options.own.seconds)]
    row: Json = {"system": name, "malloc": malloc, "runs": []}
    for _ in range(options.own.repeats):
        load = os.getloadavg()[0]
        done = subprocess.run(
            [str(python), *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **ONE_THREAD, **MALLOCS[malloc]},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return _failed(row, "\n".join(done.stderr.strip().splitlines()[-3:]))
        row["runs"].append({**json.loads(done.stdout.splitlines()[-1]), "load_before": round(load, 1)})
    return _summed(row)


def write_sequences(histories: Sequences, file: Path) -> None:
    """One user a line, "item item ...", for the peers; users without a target are left out."""
    long_enough = np.flatnonzero(histories.lengths >= 2)
    lines = (" ".join(map(str, histories[user])) for user in long_enough)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _summed(row: Json) -> Json:
    row["targets_per_s"] = median(run["targets_per_s"] for run in row["runs"])
    say(f"{row['system']}, {row['malloc']} malloc: {row['targets_per_s']:,.0f} targets/s")
    return row


def _failed(row: Json, why: str) -> Json:
    say(f"{row['system']}, {row['malloc']} malloc: not measured\n{why}")
    return {**row, "targets_per_s": None, "failed": why}


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(results: Json) -> list[Table]:
    return [_one(results[name]) for name in DATA_SETS if name in results]


def _one(found: Json) -> Table:
    systems = found["systems"]
    ours = {row["system"]: row["targets_per_s"] for row in systems if row["system"].startswith("llmrec")}

    def times(fast: float | None, slow: float | None) -> str:
        return f"{fast / slow:.1f}×" if fast and slow else "–"

    rows = [
        [
            row["system"],
            row["malloc"],
            thousands(row["targets_per_s"]),
            *(times(speed, row["targets_per_s"]) for speed in ours.values()),
            thousands(max((run["peak_memory_mb"] for run in row["runs"]), default=None)),
        ]
        for row in systems
    ]
    columns = ["system", "malloc", "targets/s", *(f"{name} ÷ it" for name in ours), "peak MB"]
    notes = [
        f"{found['targets']:,} targets an epoch; one core of {found['with']['processor']}, "
        f"torch {found['with']['torch']}, load before {max(_loads(systems), default=0):.1f}.",
        f"{found['protocol'][0].upper()}{found['protocol'][1:]}.",
    ]
    return Table(DATA_SETS[found["data"]].title, columns, rows, left=2, notes=notes)


def _loads(systems: list[Json]) -> list[float]:
    return [run["load_before"] for row in systems for run in row["runs"]]


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--venv", type=Path, default=peers.VENV, help="the peers' environment, made where missing")
    parser.add_argument("--seconds", type=float, default=60, help="measured training of each peer after its warm-up")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each system; the median counts")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--ours-only", action="store_true", help="leave the peers out; nothing is written")
    only.add_argument("--peers-only", action="store_true", help="leave llmrec out; nothing is written")


def main() -> None:
    options = harness.options(__doc__, data="beauty,ml-100k", threads=1, extend=_extend)
    options = harness.forced(options)  # a speed that was measured before says nothing of now
    results = {}
    for data in harness.present(options.data):
        results[data.name] = measure(data, options)
        if not (options.own.ours_only or options.own.peers_only):  # ratios need both from one machine and day
            harness.keep(options.results / "speed.json", data.name, results[data.name])
    if results:
        show(tables(results))


if __name__ == "__main__":
    main()
