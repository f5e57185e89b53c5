"""Broken logs: `clean`, and what `init` makes of them, end with 0, 2 or 3, and every row is accounted for."""

from __future__ import annotations

import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tests.system import child, mutations, project
from tests.system.child import Finding, Outcome, Plant, Task
from tests.system.reference import AT_ONCE, THREADS

Codes = Counter[int | None]
ALLOWED = (0, 2, 3)
MEMORY = 4 << 30
YEARS, MICROSECONDS = (1900, 2200), 365.2425 * 86400e6
OPTIONS = (
    "repeats = 'first'", "repeats = 'last'", "min_user_events = 1", "min_item_events = 2", "outlier_z = 0.5",
    "item_outlier_z = 1.0", "event_weights = { view = 0, buy = 2 }", "event_weights = { view = -1 }",
    "negative_below = 2.0", "session_gap_minutes = 1e-9", "holdout = 'last'",
    "holdout = 'time'\nholdout_after = '2024-01-10'",
)  # fmt: skip
READING = (
    "where = 'value > 2'", "where = \"event = 'buy' AND length(item) > 1\"", "time_format = '%d/%m/%Y'",
    "time_format = '%'", "separator = ';'", "separator = ' '", "separator = '\"'", "separator = '::'",
    "header = false", "header = true", "quoting = false", "quoting = true", "encoding = 'utf-16'",
    "encoding = 'latin-1'", "encoding = 'utf-8'", "format = 'json'", "format = 'csv'", "format = 'parquet'",
    "layout = 'sequences'", "separator = ','", "columns = ['user', 'item', 'time', 'value', 'event']",
)  # fmt: skip


def fuzz(
    folder: Path, numbers: Iterable[int], seed: int, plant: Plant | None = None, ended: Codes | None = None
) -> Iterator[Finding]:
    """One broken log for each number; the same seed and number make the same log. `ended` counts the exit codes."""
    codes = Counter() if ended is None else ended
    yield from child.together((_try(folder / str(n), seed, n, plant, codes) for n in numbers), AT_ONCE)


def case(folder: Path, seed: int, number: int) -> str:
    """Write a broken log and its settings; what was done to it, in words."""
    rng, folder_log = random.Random(f"fuzz {seed} {number}"), folder / "log.csv"
    folder.mkdir(parents=True)
    kind = rng.choice(mutations.KINDS)
    (folder / "llmrec.toml").write_text(_settings(rng, kind), encoding="utf-8")
    if rng.random() < 0.01:
        mutations.special(rng, folder_log)
        return "no plain file"
    rows, done = mutations.cells(rng), list[str]()
    for change in rng.sample(mutations.CELLS, rng.choice((0, 1, 1, 2))):
        rows = change(rng, rows)
        done.append(change.__name__)
    if rng.random() < 0.06:
        data = mutations.parquet(rng, rows)
        done.append("parquet")
    else:
        whole = mutations.text(rng, rows, kind)
        for edit in rng.sample(mutations.TEXT, rng.choice((0, 0, 0, 1))):
            whole = edit(rng, whole)
            done.append(edit.__name__)
        data = whole.encode("utf-8", "replace")
    for wrapped in _wrappings(rng):
        data = wrapped(rng, data)
        done.append(wrapped.__name__)
    folder_log.write_bytes(data)
    return " + ".join(done) or "sound"


def _wrappings(rng: random.Random) -> list[mutations.Callable[[random.Random, bytes], bytes]]:
    before = rng.sample(mutations.BYTES, rng.choice((0, 0, 0, 0, 1)))
    if rng.random() < 0.004:
        return [mutations.bomb]
    if rng.random() < 0.88:
        return before
    return [
        *before,
        rng.choice((mutations.gzipped, mutations.zipped, mutations.other_packing)),
        *rng.sample(mutations.BYTES[:4], rng.choice((0, 1))),
    ]


def _settings(rng: random.Random, kind: str) -> str:
    """Mostly the columns as they are; sometimes more, and other ways to read and to clean."""
    named = ["time", "value", "event"]
    columns = [f"{name} = '{name}'" for name in ["user", "item", *rng.sample(named, rng.choice((0, 1, 3, 3)))]]
    if rng.random() < 0.1:
        columns = ["user = 0", "item = 1", "time = 2"]
    reading = rng.sample(READING, rng.choice((0, 0, 0, 0, 1, 2)))
    if kind == "sequences" and rng.random() < 0.9:
        columns, reading = ["layout = 'sequences'"], []
    titles = ["[clean.items]", "title = 'event'"] if rng.random() < 0.3 and kind != "sequences" else []
    options = rng.sample(OPTIONS, rng.choice((0, 0, 0, 1, 2)))
    lines = ["[clean]", *options, "[clean.interactions]", "path = 'log.csv'", *columns, *reading, *titles]
    return "\n".join(lines) + "\n"


def _try(folder: Path, seed: int, number: int, plant: Plant | None, codes: Codes) -> Task:
    what = f"fuzz {seed} {number} ({case(folder, seed, number)})"
    found, lines = list[Finding](), folder / "output"
    outcome = yield child.start(["clean", *THREADS, "--max-memory", "1GB"], folder, lines, memory=MEMORY, plant=plant)
    found += _judge(outcome, what, folder / "work")
    codes[outcome.code] += 1
    if number % 4 == 0:
        outcome = yield child.start(["init", "log.csv", "--into", "made"], folder, lines, memory=MEMORY, plant=plant)
        found += _judge(outcome, what, None)
        if outcome.code == 0:
            again = ["clean", "-c", "made/llmrec.toml", "-w", "other", *THREADS, "--max-memory", "1GB"]
            outcome = yield child.start(again, folder, lines, memory=MEMORY, plant=plant)
            found += _judge(outcome, what, folder / "other")
            if outcome.code == 2:
                found.append(Finding("useless init", f"{what}: {outcome.command}", outcome.tail))
    if not found:
        shutil.rmtree(folder)
    return found


def _judge(outcome: Outcome, what: str, work: Path | None) -> list[Finding]:
    how = f"{what}: {outcome.command}"
    if outcome.fault or outcome.code not in ALLOWED:
        return [Finding(outcome.fault or "wrong exit", how, outcome.tail)]
    if work is None:
        return []
    found = [Finding("leftover", how, f"exit {outcome.code}: {name}") for name in project.leftovers(work)]
    return found + [Finding("account", how, line) for line in (account(work) if outcome.code == 0 else ())]


def account(work: Path) -> list[str]:
    """What does not add up in what `clean` wrote."""

    def read(name: str) -> pa.Table:
        return pq.read_table(work / "clean" / f"{name}.parquet", use_threads=False)

    funnel, kept, rejects, sequences = map(read, ("funnel", "interactions", "rejects", "sequences"))
    total, removed = funnel.column("left")[0].as_py(), pc.sum(funnel.column("removed")).as_py()
    left = funnel.column("left")[-1].as_py()
    withheld = read("holdout").num_rows if (work / "clean" / "holdout.parquet").exists() else 0
    wrong = []
    if not total - removed == left == kept.num_rows:
        wrong.append(f"{total} rows less {removed} are {left}, {kept.num_rows} are kept")
    if rejects.num_rows + withheld != removed:
        wrong.append(f"{removed} rows removed, {rejects.num_rows} told, {withheld} withheld")
    rows = kept.column("source_row").to_pylist()
    if len(set(rows)) != len(rows) or (rows and not 1 <= min(rows) <= max(rows) <= total):
        wrong.append("kept rows are not rows of the log, or come twice")
    if (pc.sum(pc.list_value_length(sequences.column("item_ids"))).as_py() or 0) != kept.num_rows:
        wrong.append("sequences have other events than interactions")
    ids, codes = (pc.list_flatten(sequences.column(name)).combine_chunks() for name in ("item_ids", "item_codes"))
    if not read("items").column("item_id").combine_chunks().take(codes).equals(ids):
        wrong.append("item codes are not rows of items")
    for name, column in (("users", "user_id"), ("items", "item_id")):
        if not set(kept.column(column).to_pylist()) <= set(read(name).column(column).to_pylist()):
            wrong.append(f"{name} lacks ids of the events")
    times = [time for time in kept.column("time").cast(pa.int64()).to_pylist() if time is not None]
    if any(not YEARS[0] <= 1970 + time / MICROSECONDS <= YEARS[1] + 1 for time in times):
        wrong.append("times outside of 1900 to 2200")
    return wrong


if __name__ == "__main__":
    target, chosen, which = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    print(case(target, chosen, which))
