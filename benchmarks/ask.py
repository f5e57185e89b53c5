"""How much words of a wish should weigh in `recommend --ask`: words of the title of the item that was chosen next.

    python -m benchmarks.ask WORK --config configs/retail.toml --users 300

WORK is a work directory of a backtest (WORK/evaluate/last after `llmrec evaluate`), whose models have not seen the
withheld events. A query is one or two words of the title of a user's withheld item, drawn by the seed; what counts is
the NDCG@10 of that item. The weight is chosen on one half of the users and reported on the other.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from llmrec_cli import api, pipeline
from llmrec_cli.core.artifacts import HOLDOUT
from llmrec_cli.core.readonly import read_only
from llmrec_cli.data.metrics import paired_bootstrap
from llmrec_cli.extras.wish import Wish, WishMaker, embedded
from llmrec_cli.lists.maker import Maker, maker_of
from llmrec_cli.ranking.rankers import scores_of

WEIGHTS = np.round(np.arange(0, 1.05, 0.1), 2)
WORD = re.compile(r"[^\W\d_]{3,}")
K = 10


def queries(maker: Maker, holdout: dict[str, list[str]], n: int, seed: int) -> list[tuple[int, int, str]]:
    """(user's row, item code, words of its title) of at most `n` users whose withheld item is new to them."""
    rng = np.random.default_rng(seed)
    item_of = {item: code for code, item in enumerate(maker.catalogue.item_ids)}
    user_of = {user: row for row, user in enumerate(maker.user_ids.to_pylist())}
    had = maker.histories.sequences.matrix()
    found = []
    for at in rng.permutation(len(holdout["user_id"])):
        user, item = (holdout[name][at] for name in ("user_id", "item_id"))
        row, code = user_of.get(user, -1), item_of.get(item, -1)
        words = WORD.findall(maker.catalogue.titles[code]) if code >= 0 else []
        if row < 0 or not words or had[row, code]:
            continue
        chosen = np.sort(rng.choice(len(words), min(int(rng.integers(1, 3)), len(words)), replace=False))
        found.append((row, code, " ".join(words[word] for word in chosen).lower()))
        if len(found) == n:
            break
    return found


def _no_shares(rows: np.ndarray) -> np.ndarray:
    """Of lists without reasons."""
    return np.zeros((len(rows), 1), dtype=np.float32)


def ndcg(maker: Maker, wish: Wish, row: int, target: int) -> np.ndarray:
    """(weights,) NDCG@10 of the target in the list of one user."""
    maker = WishMaker.of(maker, wish)
    users = maker.histories.block(row, row + 1)
    candidates = maker.candidates(users)
    scores, known = scores_of(maker.ranker, candidates), users.sequences.lengths > 0
    at = np.flatnonzero(candidates.items == target)
    found = np.zeros(len(WEIGHTS))
    for place, weight in enumerate(WEIGHTS if len(at) else ()):
        mixed, _ = replace(wish, weight=float(weight)).mixed(candidates, scores, known, _no_shares)
        rank = int(candidates.ranks(mixed)[at[0]])
        found[place] = 1 / np.log2(rank + 2) if rank < K else 0
    return found


def measure(work: api.Work, users: int, seed: int) -> dict[str, object]:
    config = pipeline.check(work.settings, ["recommend"])["recommend"]
    with read_only(work.workdir, own_scratch=False) as reader:
        maker = maker_of(reader, config, work.context)
        asked = queries(maker, reader.read(HOLDOUT).to_pydict(), users, seed)
        vectors = embedded(reader, [words for *_, words in asked], work.context)
    items = vectors[: len(maker.catalogue)]
    found = np.stack(
        [
            ndcg(maker, Wish(words, items @ vector, 0.0), row, target)
            for (row, target, words), vector in zip(asked, vectors[len(items) :], strict=True)
        ]
    )
    half = len(found) // 2
    validation, test = found[:half], found[half:]
    best = int(validation.mean(0).argmax())
    against = {name: paired_bootstrap(test[:, best], test[:, at], seed) for name, at in (("list", 0), ("wish", -1))}
    return {
        "queries": [words for *_, words in asked[:5]],
        "users": {"validation": half, "test": len(test)},
        "validation": dict(zip(WEIGHTS.tolist(), validation.mean(0).round(4).tolist(), strict=True)),
        "weight": float(WEIGHTS[best]),
        "test": {name: round(float(test[:, at].mean()), 4) for name, at in (("list", 0), ("best", best), ("wish", -1))},
        "best less": {name: [round(float(each), 4) for each in given] for name, given in against.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--users", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    work = api.open(options.work, options.config, threads=1)
    print(json.dumps(measure(work, options.users, options.seed), ensure_ascii=False))


if __name__ == "__main__":
    main()
