"""Whether `recommend --to-users` finds who chooses an item next.

    python -m benchmarks.audiences WORK

WORK is a work directory of a backtest (WORK/evaluate/last after `llmrec evaluate`), whose models have not seen each
user's last event. Of the items that most users chose with it, at least 4 each, the share of those users is told who are
among the first 20 for the item: by the ranker, by the source that says whom the ranker is asked about, and at random.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from llmrec_cli import api, pipeline
from llmrec_cli.core.artifacts import HOLDOUT
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.readonly import read_only
from llmrec_cli.extras import audience
from llmrec_cli.lists.maker import maker_of

FIRST, LEAST, ITEMS = 20, 4, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    opened = api.open(parser.parse_args().work, settings={"recommend.k": FIRST}, threads=1)
    config = pipeline.check(opened.settings, ["recommend"])["recommend"]
    with read_only(opened.workdir, own_scratch=False) as work:
        maker, withheld = maker_of(work, config, opened.context), work.read(HOLDOUT).to_pandas()
    row_of = {user: row for row, user in enumerate(maker.user_ids.to_pylist())}
    code_of = {item: code for code, item in enumerate(maker.catalogue.item_ids)}
    withheld = withheld[withheld[USER].isin(row_of) & withheld[ITEM].isin(code_of)]
    counts = withheld[ITEM].value_counts()
    found: dict[str, list[float]] = {"ranker": [], "source": [], "random": []}
    for item in counts[counts >= LEAST].index[:ITEMS]:
        users, chances = (np.concatenate(each) for each in zip(*audience._likely(maker, code_of[item]), strict=True))
        chose = {row_of[user] for user in withheld[withheld[ITEM] == item][USER]} & set(users.tolist())
        if not chose:
            continue
        told = audience.audience(maker, code_of[item]).column(USER).to_pylist()
        first = {
            "ranker": [row_of[user] for user in told],
            "source": users[np.argsort(-chances, kind="stable")[:FIRST]].tolist(),
            "random": np.random.default_rng(0).choice(users, min(FIRST, len(users)), replace=False).tolist(),
        }
        for name, rows in first.items():
            found[name].append(len(chose & set(rows)) / min(FIRST, len(chose)))
    print(f"{len(row_of):,} users, {len(found['ranker'])} items")
    for name, shares in found.items():
        print(f"{name:8} {np.mean(shares):.3f} of those who chose it next are among the first {FIRST}")


if __name__ == "__main__":
    main()
