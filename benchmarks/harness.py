"""What the benchmarks share: the command line, running `llmrec`, work directories, and the files of results."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.data_sets import DATA_SETS, HERE, REPOSITORY, SETTINGS, DataSet, data_folder
from llmrec_cli.core.arrays import offsets_of
from llmrec_cli.core.artifacts import HOLDOUT, ITEMS, PRETRAIN_CURVE, SEQUENCES, Table
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.interactions import Sequences, from_table
from llmrec_cli.data.item_codes import with_codes

Json = dict[str, Any]
Ints = np.ndarray

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


def present(names: Sequence[str]) -> list[DataSet]:
    """The data sets of these names that are there; each of the others is reported."""
    found = []
    for name in names:
        if name not in DATA_SETS:
            raise SystemExit(f"there is no data set {name!r}; there are: {', '.join(DATA_SETS)}")
        if path := DATA_SETS[name].missing():
            say(f"{name}: skipped, {path} is missing (LLMREC_TEST_DATA is the folder of the data sets)")
        else:
            found.append(DATA_SETS[name])
    return found


# --- the command line -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """The command line of a benchmark on data sets."""

    data: list[str]
    seeds: list[int]
    variant: list[str]
    """Its name, or empty."""
    settings: list[str]
    """"key=value" texts for llmrec, those of the variant first."""
    threads: int
    force: bool
    work: Path
    results: Path
    own: argparse.Namespace
    """What only this benchmark has."""


def options(
    doc: str | None,
    *,
    data: str,
    seeds: bool = False,
    variant: bool = False,
    threads: int = 0,
    extend: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> Options:
    """Read the command line; `extend` adds the options that only this benchmark has."""
    parser = argparse.ArgumentParser(
        description=(doc or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=listed, default=listed(data), help="data sets, by comma")
    if seeds:
        parser.add_argument("--seeds", type=numbers, default=[42, 43, 44], help="by comma")
    if variant:
        parser.add_argument("--variant", choices=list(_variants()), help="of settings/variants.toml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, passed to llmrec")
    parser.add_argument("--threads", type=int, default=threads, help="threads of llmrec; 0 means all cores")
    parser.add_argument("--force", action="store_true", help="train again what is up to date")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "work" / "benchmarks", help="for work directories")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON files")
    extend(parser)
    own = parser.parse_args()
    name = getattr(own, "variant", None)
    settings = [f"{key}={json.dumps(value)}" for key, value in _variants().get(name, {}).items()]
    return Options(
        data=own.data,
        seeds=getattr(own, "seeds", [42]),
        variant=[name] if name else [],
        settings=settings + own.set,
        threads=own.threads,
        force=own.force,
        work=own.work.resolve(),
        results=own.results,
        own=own,
    )


def forced(given: Options) -> Options:
    """The same options with everything trained again."""
    return replace(given, force=True)


def _variants() -> Json:
    return tomllib.loads((SETTINGS / "variants.toml").read_text(encoding="utf-8"))


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str) -> list[int]:
    return [int(part) for part in listed(text)]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- running llmrec ---------------------------------------------------------------------------------------------------


class CommandError(RuntimeError):
    """`llmrec` ended with another exit code than 0."""


def command(*arguments: str | Path) -> list[str]:
    """The command line of `llmrec` from this checkout."""
    return [sys.executable, "-m", "llmrec_cli", *map(str, arguments)]


def llmrec(work: Path, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> None:
    """Run one `llmrec` command on a work directory; CommandError with its last words where it fails."""
    done = subprocess.run(
        command(*arguments, "--work", work, "--quiet"),
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise CommandError(f"llmrec {arguments[0]} ended with exit code {done.returncode}\n{last}")


def overrides(settings: Sequence[str]) -> list[str]:
    """ "key=value" texts as `--set` options."""
    return [word for pair in settings for word in ("--set", pair)]


def clean(work: Path, data: DataSet, settings: Sequence[str] = ()) -> WorkDir:
    """Run `llmrec clean` on the raw files of a data set."""
    paths = [f"{key}={data_folder() / path}" for key, path in data.paths.items()]
    llmrec(work, "clean", "--config", data.settings, *overrides([*paths, *settings]))
    return WorkDir(work)


def stage(
    work: WorkDir,
    name: str,
    data: DataSet,
    options: Options,
    settings: Sequence[str],
    *,
    seed: int,
    environment: Mapping[str, str] | None = None,
) -> Json:
    """Run a stage of `llmrec`, or nothing where it is up to date, unless forced; its record."""
    arguments = ["--config", data.settings, "--seed", str(seed), "--threads", str(options.threads)]
    forced = ["--force"] if options.force else []
    llmrec(work.path, name, *arguments, *forced, *overrides(settings), environment=environment)
    return work.record(name) or {}


def cleaned(data: DataSet, root: Path) -> WorkDir:
    """A work directory with each user's last event withheld; SystemExit where its counts are not those of the data."""
    work = clean(root / data.name / "cleaned", data)
    withheld, known = work.read(HOLDOUT), work.read(ITEMS, ["item_id"])
    # an item that only withheld events have is not in the catalogue, but it is in the data set
    targets, items = withheld.num_rows, len(np.union1d(known.column("item_id"), withheld.column("item_id")))
    events = targets + pc.sum(pc.list_value_length(work.read(SEQUENCES, ["item_ids"]).column("item_ids"))).as_py()
    if (targets, items, events) != (data.users, data.items, data.events):
        raise SystemExit(
            f"{data.name}: {targets:,} users, {items:,} items and {events:,} events are left of "
            f"{data.users:,}, {data.items:,} and {data.events:,}: this is not the data set that others measured"
        )
    return work


def with_clean_of(source: WorkDir, path: Path) -> WorkDir:
    """A work directory of its own with a copy of the other's clean/."""
    shutil.rmtree(path / "clean", ignore_errors=True)
    shutil.copytree(source.path / "clean", path / "clean", ignore=shutil.ignore_patterns(".*"))
    return WorkDir(path)


def rewrite(work: WorkDir, table: Table, data: pa.Table) -> None:
    """Give a finished table another content, and have the record of its maker vouch for that."""
    record = work.record(table.stage) or {}
    work.write(table, data)
    output = {"sha256": work.fingerprint(table), "mtime_ns": work.where(table).stat().st_mtime_ns}
    work.sign(table.stage, {**record, "outputs": record["outputs"] | {table.path: output}})


def asked(work: WorkDir) -> tuple[Sequences, Ints]:
    """(histories, target codes) of the users with a withheld event, in the order of the holdout."""
    items, holdout = work.read(ITEMS, ["item_id"]), work.read(HOLDOUT)
    histories = from_table(work.read(SEQUENCES), items, holdout.column("user_id"))
    return histories, codes(holdout.column("item_id"), items)


def known(sequences: pa.Table, items: pa.Table) -> pa.Table:
    """The histories (user_id, item_ids) without the events of items that are not in the catalogue."""
    lists = sequences.column("item_ids").combine_chunks()
    there = pc.is_in(lists.flatten(), value_set=items.column("item_id").combine_chunks())
    users = pc.list_parent_indices(lists).filter(there).to_numpy()
    offsets = offsets_of(np.bincount(users, minlength=len(lists))).astype(np.int32)
    kept = pa.ListArray.from_arrays(pa.array(offsets), lists.flatten().filter(there))
    return with_codes(pa.table({"user_id": sequences.column("user_id"), "item_ids": kept}), items)


def codes(ids: pa.ChunkedArray, items: pa.Table) -> Ints:
    """Rows of the catalogue; -1 for an item that is not in it."""
    rows = pc.index_in(ids, value_set=items.column("item_id").combine_chunks())
    return pc.fill_null(rows, -1).to_numpy().astype(np.int64)


def trained(work: WorkDir) -> Json:
    """What a finished `pretrain` tells: validation NDCG, also without similarity, epochs, time, memory, speed."""
    record = work.record("pretrain") or {}
    metrics, curve = record["report"]["metrics"], work.read(PRETRAIN_CURVE)
    search = curve.filter(pc.equal(curve.column("phase"), "search"))
    ndcg = search.column("ndcg").to_numpy()
    return {
        "validation_ndcg@10": metrics["ndcg@10"],
        "validation_ndcg@10_without_content": float(ndcg.max()),
        "content_weight": metrics["content_weight"],
        "best_epoch": int(ndcg.argmax()) + 1,
        "epochs": search.num_rows,
        "seconds": record["seconds"],
        "peak_memory_mb": record["peak_memory_mb"],
        "targets_per_s": record["report"]["timings"]["targets_per_s"],
    }


def settings_of(work: WorkDir) -> Json:
    """All settings that `pretrain` was run with."""
    return (work.record("pretrain") or {})["parts"]["settings"]


# --- results ----------------------------------------------------------------------------------------------------------


def stamp() -> Json:
    """When, on what and with which code something was measured."""
    import torch

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
        ).stdout.strip()

    commit, changed = git("rev-parse", "--short=10", "HEAD"), git("status", "--porcelain", "--", "llmrec_cli")
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": f"{commit} and changes" if changed else commit,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_results(path: Path) -> Json:
    """The JSON of an earlier run; empty where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep(path: Path, key: str, value: Json) -> Json:
    """Put one measurement beside those that the file already has; the whole content."""
    everything = {**read_results(path), key: value}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)
    return everything
