"""New users with their first 0, 1 and 3 events: the lists of the pipeline against what everyone chooses.

python -m benchmarks.new_users [--seeds 42,43,44]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from benchmarks import harness, ranking
from benchmarks.data_sets import REPOSITORY, data_folder
from benchmarks.harness import Json, Options
from benchmarks.tables import Table, interval, show
from llmrec_cli.core.artifacts import ITEMS, RECOMMENDATIONS, SEQUENCES, USERS
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.interactions import from_table
from llmrec_cli.data.metrics import MISS, paired_bootstrap
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.evaluation.eval_users import lists_of

CONFIG = REPOSITORY / "configs" / "movielens-100k.toml"
FILES = {"items": "ml-100k/u.item", "users": "ml-100k/u.user"}
LOG = "ml-100k/u.data"
COLUMNS = ["user", "movie", "rating", "time"]
SHARE = 0.3
"""Of the users, those who are new."""
STAGES = ("clean", "pretrain", "profile", "train-ranker", "recommend")
EVENTS = (0, 1, 3)
METRIC = f"ndcg@{ranking.K}"
PROTOCOL = (
    f"MovieLens 100K with age, gender, occupation and zip code; of {SHARE:.0%} of the users the log has only the first "
    "events. The whole pipeline runs on each of these logs, as its users would run it when such people have come: is "
    "their next event among the ten? Seen items are filtered from both lists. The other list is what most of the other "
    "users chose; paired 95 % bootstrap intervals over the users of all seeds"
)


def measure(options: Options) -> list[Json]:
    """One row for each number of events."""
    log = pacsv.read_csv(
        data_folder() / LOG,
        read_options=pacsv.ReadOptions(column_names=COLUMNS),
        parse_options=pacsv.ParseOptions(delimiter="\t"),
    )
    log = log.take(pc.sort_indices(log, sort_keys=[("user", "ascending"), ("time", "ascending")]))
    found: dict[int, list[tuple[ranking.Metrics, ranking.Metrics]]] = {n: [] for n in EVENTS}
    for seed in options.seeds:
        for n, pair in one_seed(log, options, seed).items():
            found[n].append(pair)
    rows = []
    for n, pairs in found.items():
        ours, theirs = (
            {name: np.concatenate([pair[i][name] for pair in pairs]) for name in pairs[0][i]} for i in (0, 1)
        )
        gain = paired_bootstrap(ours[METRIC], theirs[METRIC], ranking.RESAMPLES_SEED)
        rows.append(
            {
                "events": n,
                "users": len(ours[METRIC]),
                "pipeline": ranking.intervals(ours),
                "everyone": ranking.intervals(theirs),
                "gain": list(map(float, gain)),
            }
        )
    return rows


def one_seed(log: pa.Table, options: Options, seed: int) -> dict[int, tuple[ranking.Metrics, ranking.Metrics]]:
    """Events -> metrics of each new user by the pipeline, and by everyone's popularity."""
    users = log.column("user").to_numpy()
    everyone = np.unique(users)
    new = np.sort(np.random.default_rng(seed).choice(everyone, round(SHARE * len(everyone)), replace=False))
    is_new, place = np.isin(users, new), np.arange(len(users)) - np.searchsorted(users, users)
    work = WorkDir(options.work / "new_users" / f"seed-{seed}")
    found = {}
    for n in EVENTS:
        stages(work, log.filter(pa.array(~is_new | (place < n))), STAGES, options, seed)
        asked = is_new & (place == n)
        pair = compared(
            work, users[asked].astype(str), log.column("movie").to_numpy()[asked].astype(str), new.astype(str)
        )
        found[n] = pair
        ours, theirs = (float(each[METRIC].mean()) for each in pair)
        harness.say(f"seed {seed}, {n} events: {ours:.4f}, everyone {theirs:.4f}")
    return found


def stages(work: WorkDir, log: pa.Table, names: tuple[str, ...], options: Options, seed: int) -> None:
    """Write the log as it is known then, and run the stages on it."""
    work.path.mkdir(parents=True, exist_ok=True)
    file = work.path / "log.tsv"
    write = pacsv.WriteOptions(include_header=False, delimiter="\t")
    pacsv.write_csv(log, file, write)
    paths = [f"clean.{key}.path={data_folder() / path}" for key, path in FILES.items()]
    settings = [*paths, f"clean.interactions.path={file}", "clean.min_user_events=1"]
    settings += options.settings
    for name in names:
        threads = ["--threads", str(options.threads)]
        harness.llmrec(work.path, name, "--config", CONFIG, "--seed", str(seed), *threads, *harness.overrides(settings))


def compared(work: WorkDir, asked: np.ndarray, wanted: np.ndarray, new: np.ndarray) -> tuple[ranking.Metrics, ...]:
    """The lists of the pipeline and those of everyone's popularity, for users and the items they chose next."""
    items, users = work.read(ITEMS), work.read(USERS)
    histories = from_table(work.read(SEQUENCES), items, users.column("user_id"))
    rows = pc.index_in(pa.array(asked), value_set=users.column("user_id").combine_chunks()).to_numpy()
    targets = pc.index_in(pa.array(wanted), value_set=items.column("item_id").combine_chunks()).to_numpy()
    given = lists_of(work.read(RECOMMENDATIONS, ["user_id", "rank", "item_id"]), users, items)[rows]
    known = np.flatnonzero(~np.isin(users.column("user_id").to_numpy(), new))
    counts = histories.select(known).counts()
    order = np.lexsort((tie_order(items.column("item_id").to_pylist()), -counts))
    leading = order[: ranking.K + int(histories.lengths[rows].max(initial=0))]
    theirs = [leading[~np.isin(leading, histories[row])] for row in rows]
    others = np.array([line[: ranking.K] for line in theirs])
    return tuple(ranking.metrics(_places(lists, targets)) for lists in (given, others))


def _places(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(users,) where each target stands in the list; MISS where it does not."""
    hit = lists == targets[:, None]
    return np.where(hit.any(1), hit.argmax(1), MISS)


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(results: Json) -> list[Table]:
    found = results["ml-100k"]
    rows = []
    for row in found["rows"]:
        mean, low, high = (f"{part:+.4f}" for part in row["gain"])
        both = (interval(row[system][METRIC]) for system in ("pipeline", "everyone"))
        rows.append([str(row["events"]), f"{row['users']:,}", *both, f"{mean} [{low}, {high}]"])
    seeds = ", ".join(map(str, found["seeds"]))
    columns = ["events", "users", "llmrec N@10", "everyone's popularity", "llmrec less it"]
    return [Table("New users", columns, rows, notes=[f"{PROTOCOL}; seeds {seeds}; {found['settings']}."])]


def main() -> None:
    options = harness.options(__doc__, data="ml-100k", seeds=True)
    missing = [path for path in (LOG, *FILES.values()) if not Path(data_folder() / path).is_file()]
    if missing:
        raise SystemExit(f"{missing[0]} is missing in {data_folder()} (LLMREC_TEST_DATA)")
    shown = ", ".join(options.settings) or "default settings"
    found = {"rows": measure(options), "seeds": options.seeds, "settings": shown, "with": harness.stamp()}
    results = {"ml-100k": found}
    harness.keep(options.results / "new_users.json", "ml-100k", results["ml-100k"])
    show(tables(results))


if __name__ == "__main__":
    main()
