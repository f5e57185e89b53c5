"""What reviews say as a part of the items' texts: Amazon's gift cards with them and without.

python -m benchmarks.reviews [--seeds 42,43,44] [--set KEY=VALUE]

A review counts where it was written before its author's last day in the log, so no text knows a withheld event. Each
item gets the newest reviews that fit into `LETTERS`, beside its description.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd

from benchmarks import harness, ranking
from benchmarks.data_sets import REPOSITORY, data_folder
from benchmarks.harness import Json, Options
from benchmarks.tables import Table, score, show
from benchmarks.text_tuning import CONTENT, PIPELINE, compared, measured
from llmrec_cli.core.workdir import WorkDir

CARDS = "amazon-2018-gift-cards"
LOG, META = "Gift_Cards_5.json.gz", "meta_Gift_Cards.json.gz"
LETTERS = 2000
VARIANTS = {"frozen": "description", "tuned": "reviews"}
"""The names under which `text_tuning` compares: before and after."""
CONFIG = REPOSITORY / "configs" / "amazon-reviews.toml"


def rows(path: Path) -> list[Json]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def reviews() -> dict[str, str]:
    """Item -> its newest reviews, without those of anybody's last day."""
    log = pd.DataFrame(
        rows(data_folder() / CARDS / LOG), columns=["reviewerID", "asin", "unixReviewTime", "reviewText"]
    )
    last = log.groupby("reviewerID")["unixReviewTime"].transform("max")
    known = log[(log["unixReviewTime"] < last) & log["reviewText"].notna()].sort_values("unixReviewTime", kind="stable")
    newest = known[::-1].groupby("asin", sort=True)["reviewText"].agg(" ".join)
    return {str(item): str(text)[:LETTERS] for item, text in newest.items()}


def catalogue(path: Path) -> None:
    """The items file with a field `reviews`."""
    said = reviews()
    with path.open("w", encoding="utf-8") as file:
        for row in rows(data_folder() / CARDS / META):
            file.write(json.dumps({**row, "reviews": said.get(row["asin"], "")}) + "\n")


def measure(options: Options) -> Json:
    """Both variants with each seed, paired over the users."""
    folder = options.work / "reviews"
    folder.mkdir(parents=True, exist_ok=True)
    catalogue(folder / "items.json")
    found: dict[str, dict[str, list[ranking.Metrics]]] = {}
    for seed in options.seeds:
        for variant, text in VARIANTS.items():
            for what, values in measured(made(folder, text, options, seed)).items():
                found.setdefault(what, {}).setdefault(variant, []).append(values)
        harness.say(f"seed {seed}: {compared(found)}")
    users = len(next(iter(found[CONTENT].values()))[0]["ndcg@10"])
    given = {"given": options.settings, "seeds": options.seeds, "reviewed": len(reviews())}
    return {"users": users, "compared": compared(found), **given, "with": harness.stamp()}


def made(folder: Path, text: str, options: Options, seed: int) -> WorkDir:
    """The finished backtest of one variant."""
    columns = ["description", "feature"] + (["reviews"] if text == "reviews" else [])
    log, items = data_folder() / CARDS / LOG, folder / "items.json"
    settings = [
        f"clean.interactions.path={log}",
        f"clean.items.path={items}",
        f"clean.items.text={json.dumps(columns)}",
    ]
    work = folder / f"{text}-{seed}"
    given = ["--config", CONFIG, "--seed", str(seed), "--threads", str(options.threads)]
    harness.llmrec(work, "evaluate", *given, *harness.overrides([*settings, *options.settings]))
    return WorkDir(work / "evaluate" / "last")


def tables(everything: Json) -> list[Table]:
    results, lines = everything[CARDS], []
    for what in (CONTENT, PIPELINE):
        each = results["compared"][what]
        low, high = each["gain"][1:]
        gain = f"{each['gain'][0]:+.4f} [{low:+.4f}, {high:+.4f}]"
        lines.append([what, score(each["frozen"]), score(each["tuned"]), gain])
    seeds = ", ".join(map(str, results["seeds"]))
    note = (
        f"Amazon gift cards, llmrec evaluate, seeds {seeds}, {results['users']} users: each user's last event "
        "withheld, all items ranked, seen items filtered; NDCG@10, difference paired over the users with a 95 % "
        f"bootstrap interval. Reviews of {results['reviewed']} items, none written on its author's last day."
    )
    return [Table("Reviews as text", ["", "descriptions", "with reviews", "difference"], lines, left=1, notes=[note])]


def main() -> None:
    options = harness.options(__doc__, data=CARDS, seeds=True, threads=1)
    results = harness.keep(options.results / "reviews.json", CARDS, measure(options))
    show(tables(results))


if __name__ == "__main__":
    main()
