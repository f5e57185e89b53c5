"""Whether the reasons of lists hold: rows are scored again without the event that their reason names.

python -m benchmarks.reasons [--data sample,films,cards] [--seeds 42]
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import harness
from benchmarks.data_sets import REPOSITORY, data_folder
from benchmarks.harness import Json, Options
from benchmarks.tables import Table, show
from benchmarks.untuned import ML_1M, Recipe
from llmrec_cli.core.artifacts import DELETIONS, RECOMMENDATIONS, SEQUENCES, VERDICT
from llmrec_cli.core.columns import EVIDENCE, ITEM, USER
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.metrics import Interval
from llmrec_cli.evaluation.deletion import figures
from llmrec_cli.evaluation.deletion import measure as without_events
from llmrec_cli.lists.maker import Maker, maker_of
from llmrec_cli.lists.recommend_config import RecommendConfig
from llmrec_cli.lists.without import Without

RESAMPLES = 1000
CARDS = "amazon-2018-gift-cards"
RECIPES = {
    "sample": Recipe("The sample", "retail", {}),
    "films": Recipe(
        "MovieLens 1M, users 1 to 1,000",
        "movielens-1m",
        {"interactions": f"{ML_1M}/ratings.dat", "items": f"{ML_1M}/movies.dat", "users": f"{ML_1M}/users.dat"},
        ("clean.interactions.where='user <= 1000'",),
    ),
    "cards": Recipe(
        "Amazon gift cards",
        "amazon-reviews",
        {"interactions": f"{CARDS}/Gift_Cards_5.json.gz", "items": f"{CARDS}/meta_Gift_Cards.json.gz"},
    ),
}
PROTOCOL = (
    "llmrec evaluate --explanations: rows of a backtest's lists, drawn by the seed among those that name an event. "
    "The event that leads the evidence is taken out of the history, or another one that the evidence does not name and "
    "that is as old as can be had; the models stay as they are. Loss: how far the ranker's score of the row falls (a "
    "rise is none), mean over rows; intervals resample users. Drawn: the same with an event drawn from the history in "
    "place of the named one. Against any change, which is stricter: the mean fall without the named event, rises below "
    "0, over the mean change in either direction without the other"
)


def measure(name: str, options: Options, seed: int) -> Json:
    """The verdict on the reasons of one backtest, and the same of events drawn at random."""
    recipe, work = RECIPES[name], options.work / "reasons" / f"{name}-{seed}"
    paths = [f"clean.{key}.path={data_folder() / path}" for key, path in recipe.paths.items()]
    settings = harness.overrides([*paths, *recipe.settings, *options.settings])
    config = REPOSITORY / "configs" / f"{recipe.config}.toml"
    given = ["--seed", str(seed), "--threads", str(options.threads), *(["--force"] if options.force else [])]
    harness.llmrec(work, "evaluate", "--explanations", "--config", config, *given, *settings)
    nested = WorkDir(work / "evaluate" / "last")
    verdict = json.loads(nested.need(VERDICT).read_text(encoding="utf-8"))
    return {
        "seed": seed,
        "n_users": verdict["n_users"],
        "named": verdict["explanations"],
        "against_any_change": against_any_change(nested, seed),
        "naming": naming(nested),
        "drawn": drawn(nested, seed, verdict["explanations"]["rows"]),
        "with": harness.stamp(),
    }


def against_any_change(work: WorkDir, seed: int) -> Json:
    """Mean fall without the named event over the mean change without the other, with an interval over users."""
    found = work.read(DELETIONS)
    score, named, other = (found.column(n).to_numpy() for n in ("score", "score_named", "score_other"))
    _, user = np.unique(found.column("user_id").to_numpy(), return_inverse=True)
    sums = np.stack([np.bincount(user, weights=each) for each in (score - named, np.abs(score - other))], axis=1)
    rng = np.random.default_rng([seed, 0xB007])
    times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES) @ sums
    low, high = np.percentile(times[:, 0] / times[:, 1], [2.5, 97.5])
    total = sums.sum(axis=0)
    return {"value": float(total[0] / total[1]), "low": float(low), "high": float(high)}


def naming(work: WorkDir) -> float:
    """Of the rows of users with events the share that names one."""
    lists = work.read(RECOMMENDATIONS, [USER, "evidence"])
    warm = pc.is_in(lists.column(USER), value_set=work.read(SEQUENCES, [USER]).column(USER).combine_chunks())
    named = [any(piece[ITEM] for piece in row) for row in lists.filter(warm).column("evidence").to_pylist()]
    return float(np.mean(named))


def drawn(work: WorkDir, seed: int, rows: int) -> Json:
    """The figures of the same lists with reasons that name any event of the history."""
    context = Context(seed=seed, base=Path(), progress=PlainProgress(quiet=True), device="cpu", threads=1)
    maker = maker_of(work, RecommendConfig(), context)
    lists = at_random(work.read(RECOMMENDATIONS), maker, seed)
    return figures(without_events(lists, maker, Without.of(work, maker), rows, seed), seed, RESAMPLES)


def at_random(lists: pa.Table, maker: Maker, seed: int) -> pa.Table:
    """The rows that name an event, each with one of the user's events in its place."""
    rng, histories, ids = np.random.default_rng([seed, 1]), maker.histories.sequences, maker.catalogue.item_ids
    place = {user: row for row, user in enumerate(maker.user_ids.to_pylist())}
    evidence = []
    for row in lists.select(["user_id", "evidence"]).to_pylist():
        named = any(piece[ITEM] for piece in row["evidence"])
        event = ids[int(rng.choice(histories[place[row["user_id"]]]))] if named else None
        evidence.append([{"kind": "together", ITEM: event, "tag": None, "weight": 1.0}] if named else [])
    return lists.set_column(lists.column_names.index("evidence"), "evidence", pa.array(evidence, type=EVIDENCE))


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(results: Json) -> list[Table]:
    rows = [_row(RECIPES[name].title, run) for name in RECIPES if name in results for run in results[name]]
    columns = ["data", "seed", "rows", "loss, named ÷ other", "drawn ÷ other", "against any change"]
    columns += ["left the list, named", "other", "age, named", "other", "rows of users with events that name one"]
    return [Table("Reasons", columns, rows, notes=[f"{PROTOCOL}."])]


def _row(title: str, run: Json) -> list[str]:
    named, left, age = run["named"], run["named"]["left"], run["named"]["age"]
    ratios = [_ratio(each) for each in (named["ratio"], run["drawn"]["ratio"], run["against_any_change"])]
    shares = [f"{left['named']:.0%}", f"{left['other']:.0%}", f"{age['named']:.1f}", f"{age['other']:.1f}"]
    return [title, str(run["seed"]), str(named["rows"]), *ratios, *shares, f"{run['naming']:.0%}"]


def _ratio(interval: Json) -> str:
    mean, low, high = Interval(interval["value"], interval["low"], interval["high"])
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def main() -> None:
    options = harness.options(__doc__, data=",".join(RECIPES), seeds=True, threads=1)
    results = {}
    for name in options.data:
        if name not in RECIPES:
            raise SystemExit(f"there is no recipe {name!r}; there are: {', '.join(RECIPES)}")
        paths = [data_folder() / path.partition("#")[0] for path in RECIPES[name].paths.values()]
        if missing := [str(path) for path in paths if not path.is_file()]:
            harness.say(f"{name}: skipped, {missing[0]} is missing (LLMREC_TEST_DATA is the folder of the data sets)")
            continue
        results[name] = [measure(name, options, seed) for seed in options.seeds]
        harness.keep(options.results / "reasons.json", name, results[name])
    if results:
        show(tables(results))


if __name__ == "__main__":
    main()
