"""Accuracy of the sequence model alone, next item, full ranking, val-out: beside the best that others published.

python -m benchmarks.accuracy [--data beauty,toys] [--seeds 42,43,44] [--variant time] [--set pretrain.epochs=8]
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np

from benchmarks import harness, ranking
from benchmarks.data_sets import DATA_SETS, DataSet
from benchmarks.harness import Json
from benchmarks.tables import Table, interval, score, show, thousands
from llmrec_cli.core.artifacts import ENCODER_VALIDATION, HOLDOUT, ITEMS
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.sequence.encoder import SequenceEncoder

PUBLISHED = Path(__file__).parent / "published.toml"
PROTOCOL = (
    "val-out: trained on all but each user's last two events, chosen on the last but one, asked for the last with all "
    "before it as history; all users, all items ranked, equal scores by the sha256 of the id"
)


def measure(data: DataSet, seeds: list[int], settings: list[str], options: harness.Options) -> Json:
    """Train with each seed and rank; a trained work directory that is up to date is used again."""
    source = harness.cleaned(data, options.work)
    runs, found = [], {"filtered": [], "unfiltered": []}
    for seed in seeds:
        work = harness.with_clean_of(source, options.work / data.name / "-".join([*options.variant, f"seed-{seed}"]))
        harness.stage(work, "pretrain", data, options, [*settings, "pretrain.refit=false"], seed=seed)
        ranks = test_ranks(work, target_time=harness.settings_of(work).get("target_time", False))
        measured = {how: ranking.metrics(places) for how, places in ranks.items()}
        for how, values in measured.items():
            found[how].append(values)
        runs.append({"seed": seed, **{how: ranking.means(v) for how, v in measured.items()}, **harness.trained(work)})
        harness.say(ranking.named(f"{data.name} seed {seed}: ", runs[-1]["filtered"]))
    return {
        "data": data.name,
        "variant": "".join(options.variant),
        "protocol": PROTOCOL,
        "users": data.users,
        "items": data.items,
        "log_sha256": harness.sha256(data.log),
        "settings": harness.settings_of(work),
        "threads": options.threads,
        "seeds": runs,
        **{how: ranking.intervals(ranking.over_seeds(values)) for how, values in found.items()},
        "with": harness.stamp(),
    }


def test_ranks(work: WorkDir, *, target_time: bool) -> ranking.Ranks:
    """Where each user's withheld event stands for the encoder that saw neither it nor the one before."""
    encoder = SequenceEncoder.load(work.need(ENCODER_VALIDATION))
    histories, targets = harness.asked(work)
    given = {"asked": seconds_of(work)} if target_time else {}
    scores = ranking.by_vectors(encoder.encode(histories, **given), encoder.item_vectors)
    ties = tie_order(work.read(ITEMS, ["item_id"]).column("item_id").to_pylist())
    return ranking.target_ranks(scores, histories, targets, ties)


def seconds_of(work: WorkDir) -> np.ndarray:
    """(users,) when each withheld event happened, in seconds since 1970."""
    return work.read(HOLDOUT, ["time"]).column("time").to_numpy().astype("datetime64[s]").astype(np.int64)


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(results: Json) -> list[Table]:
    published = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))
    order = [name for data in DATA_SETS for name in sorted(results) if results[name]["data"] == data]
    made = [_against_others(results[name], published.get(results[name]["data"], [])) for name in order]
    return [*made, _by_seed([results[name] for name in order])]


def summary(results: Json) -> Table:
    """The row of each data set, seen items filtered, beside the best that others published for one model, val-out."""
    published = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))
    rows = []
    for data in (name for name in DATA_SETS if name in results):
        others = [row for row in published[data] if row["model"] != "several" and not _knows_more(row["protocol"])]
        best = max(others, key=lambda row: float(row["ndcg"]))
        ours = interval(results[data]["filtered"]["ndcg@10"])
        seeds = str(len(results[data]["seeds"]))
        by = f"{best['system']}, {best['source']}"
        rows.append([DATA_SETS[data].title, ours, seeds, score(best["ndcg"]), by, best["protocol"]])
    return Table("The sequence model alone", ["data", "llmrec", "seeds", "published", "by", "their protocol"], rows)


def _knows_more(protocol: str) -> bool:
    return "val-in" in protocol or "target time" in protocol


def _title(run: Json) -> str:
    return DATA_SETS[run["data"]].title + (f", variant {run['variant']}" if run["variant"] else "")


def _against_others(run: Json, published: list[Json]) -> Table:
    seeds = f"llmrec, mean of {len(run['seeds'])} seeds"
    ours = [
        [seeds, "one", f"val-out, {how}", interval(run[how]["recall@10"]), interval(run[how]["ndcg@10"]), "here"]
        for how in ("filtered", "unfiltered")
    ]
    others = [
        [row["system"], row["model"], row["protocol"], score(row["recall"]), score(row["ndcg"]), row["source"]]
        for row in published
    ]
    columns = ["system", "model", "protocol", "R@10", "N@10", "source"]
    note = f"{run['users']:,} users, {run['items']:,} items; in brackets the 95 % bootstrap interval over users."
    return Table(_title(run), columns, [*ours, *others], left=6, notes=[note])


def _by_seed(runs: list[Json]) -> Table:
    rows = [
        [
            _title(run),
            str(each["seed"]),
            score(each["validation_ndcg@10"]),
            score(each["filtered"]["recall@10"]),
            score(each["filtered"]["ndcg@10"]),
            score(each["unfiltered"]["ndcg@10"]),
            f"{each['best_epoch']} of {each['epochs']}",
            thousands(each["seconds"]),
            thousands(each["peak_memory_mb"]),
            run["with"]["commit"],
        ]
        for run in runs
        for each in run["seeds"]
    ]
    columns = [
        "data",
        "seed",
        "val N@10",
        "R@10",
        "N@10",
        "N@10 unfiltered",
        "best epoch",
        "seconds",
        "peak MB",
        "commit",
    ]
    where = sorted({f"{run['with']['processor']}, {run['threads'] or run['with']['cores']} threads" for run in runs})
    return Table("By seed", columns, rows, notes=[f"Seconds are those of the whole training ({'; '.join(where)})."])


def main() -> None:
    options = harness.options(__doc__, data=",".join(DATA_SETS), seeds=True, variant=True)
    file = options.results / "accuracy.json"
    results = {}
    for data in harness.present(options.data):
        key = "+".join([data.name, *options.variant])
        results[key] = measure(data, options.seeds, options.settings, options)
        harness.keep(file, key, results[key])
        harness.say(f"{key}: written to {file}")
    if results:
        show(tables(results))


if __name__ == "__main__":
    main()
