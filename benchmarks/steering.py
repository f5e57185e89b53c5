"""How far wishes move lists, and what that costs: `recommend --more` and `--less` by `recommend.wish_strength`.

    python -m benchmarks.steering WORK --name sample --config configs/retail.toml --users 300

WORK is a work directory of a backtest (WORK/evaluate/last after `llmrec evaluate`), whose models have not seen the
withheld events. A kind is a tag, or a word of titles where items have none, of 2 to 25 % of the items. Each user wishes
more of one kind, drawn by the seed, and in another run less of one that is in the list. The strength is chosen on one
half of the users and reported on the other: the smallest with which 19 of 20 lists of `more` have a row of the kind.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from benchmarks import harness
from benchmarks.harness import Ints, Json
from benchmarks.tables import Table, score, show
from llmrec_cli import api, pipeline
from llmrec_cli.core.artifacts import HOLDOUT, ITEMS, USERS
from llmrec_cli.core.readonly import read_only
from llmrec_cli.data.metrics import paired_bootstrap, rank_metrics
from llmrec_cli.evaluation.eval_users import EvalUsers, ask
from llmrec_cli.extras.steering import KINDS, SteeredMaker, Wishes
from llmrec_cli.lists.maker import Maker, maker_of

RESULTS = Path(__file__).parent / "results" / "steering.json"
STRENGTHS = (0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 8.0)
WORD = re.compile(r"[^\W\d_]{4,}")
LEAST, MOST, K, ENOUGH = 0.02, 0.25, 10, 0.95


def kinds_of(maker: Maker) -> tuple[list[str], sp.csr_matrix]:
    """Names of kinds, and (kinds, items) which items are of them."""
    catalogue = maker.catalogue
    tags = [list(each) for each in catalogue.tags]
    own = tags if any(tags) else [sorted({*WORD.findall((title or "").lower())}) for title in catalogue.titles]
    counts = Counter(each for its in own for each in its)
    names = sorted(each for each, n in counts.items() if LEAST <= n / len(own) <= MOST)
    number = {name: at for at, name in enumerate(names)}
    cells = np.array([(number[each], item) for item, its in enumerate(own) for each in its if each in number]).T
    return names, sp.csr_matrix((np.ones(cells.shape[1], dtype=np.float32), cells), shape=(len(names), len(own)))


def drawn(maker: Maker, lists: np.ndarray, means: sp.csr_matrix, rng: np.random.Generator) -> dict[str, Ints]:
    """Kind of wish -> (users,) the number of what each user wishes: anything, or what is in the list."""
    there = np.where(lists >= 0, lists, 0)
    inside = [np.flatnonzero(np.asarray(means[:, items].sum(axis=1)).ravel()) for items in there]
    anything = rng.integers(0, means.shape[0], len(lists))
    return {"more": anything, "less": np.array([rng.choice(its) if len(its) else -1 for its in inside])}


def measured(maker: Maker, asked: EvalUsers, seed: int) -> Json:
    """Kind of wish -> strength -> shares of the kind and NDCG of both halves of the users."""
    names, means = kinds_of(maker)
    rng = np.random.default_rng(seed)
    rows = asked.users
    plain = maker.made(rows).items
    base = rank_metrics(plain, asked.targets, K)[f"ndcg@{K}"]
    half = rng.permutation(len(rows)) % 2 == 0
    found: Json = {"kinds": len(names), "users": [int(half.sum()), int((~half).sum())]}
    for kind, wished in drawn(maker, plain, means, rng).items():
        able = wished >= 0
        cells = rows[able], np.full(able.sum(), KINDS.index(kind)), wished[able]
        steered = SteeredMaker.of(maker, Wishes.of(names, means, cells, len(maker.user_ids)))
        found[kind] = {}
        for strength in (None, *STRENGTHS):
            config = maker.config.model_copy(update={"wish_strength": strength or 0.0})
            lists = plain if strength is None else replace(steered, config=config).made(rows).items
            hit = np.asarray(means[np.maximum(wished, 0)[:, None], np.maximum(lists, 0)].todense()) * (lists >= 0)
            ndcg = rank_metrics(lists, asked.targets, K)[f"ndcg@{K}"]
            sides = {"chosen_on": half, "on": ~half}
            part = {name: one(hit, ndcg, base, able & side, seed) for name, side in sides.items()}
            found[kind]["no wish" if strength is None else str(strength)] = part
    good = [s for s in STRENGTHS if found["more"][str(s)]["chosen_on"]["reached"] >= ENOUGH]
    found["chosen"] = min(good, default=STRENGTHS[-1])
    return found


def one(hit: np.ndarray, ndcg: np.ndarray, base: np.ndarray, users: np.ndarray, seed: int) -> Json:
    """Of some users: the share of the kind, how many lists have it, and the change of NDCG, relative to no wish."""
    kept = paired_bootstrap(ndcg[users], base[users], seed)
    mean = max(float(base[users].mean()), 1e-9)
    return {
        "share": round(float(hit[users].mean()), 4),
        "reached": round(float(hit[users].any(axis=1).mean()), 4),
        "ndcg": round(float(ndcg[users].mean()), 4),
        "change": [round(float(each) / mean, 4) for each in kept],
    }


def measure(work: api.Work, n_users: int, seed: int) -> Json:
    config = pipeline.check(work.settings, ["recommend"])["recommend"]
    with read_only(work.workdir, own_scratch=False) as reader:
        maker = maker_of(reader, config, work.context)
        holdout, users, items = (reader.read(table) for table in (HOLDOUT, USERS, ITEMS))
    everybody = np.zeros((len(users), 1), dtype=np.int32)
    asked = ask(holdout, users, items, maker.histories.sequences, everybody, filter_seen=config.filter_seen)
    return measured(maker, asked.some(n_users, seed), seed)


def table(name: str, found: Json) -> Table:
    columns = [
        "strength",
        "more: share",
        "lists with a row",
        "NDCG@10",
        "change of it",
        "less: share",
        "NDCG@10",
        "change of it",
    ]
    rows = []
    for strength in found["more"]:
        cells = [strength]
        for kind in ("more", "less"):
            each = found[kind][strength]["on"]
            mean, low, high = (f"{100 * value:+.0f}" for value in each["change"])
            reached = [f"{each['reached']:.0%}"] if kind == "more" else []
            cells += [f"{each['share']:.0%}", *reached, score(each["ndcg"]), f"{mean} % [{low}, {high}]"]
        rows.append(cells)
    note = (
        f"{found['kinds']} kinds; chosen on {found['users'][0]} users, {found['chosen']}; shown of {found['users'][1]}"
    )
    return Table(name, columns, rows, notes=[note])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--name", default="sample")
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = measure(api.open(given.work, given.config, threads=1), given.users, given.seed)
    harness.keep(RESULTS, given.name, found | {"with": harness.stamp()})
    show([table(given.name, found)])


if __name__ == "__main__":
    main()
