"""The best items by products of vectors: ours against implicit, faiss and RecTools, users a core-second, one thread.

python -m benchmarks.search [--items 20000,100000,1000000] [--users 1024]
pip install faiss-cpu rectools     for the peers; one that is missing is left out

Each gives 1,024 users their best 80 of vectors 128 wide, without 15 items that the user had. Vectors are drawn around
cluster centres with log-normal lengths, as trained ones are. "exact" is the share of lists that hold the very items of
a product in float64. faiss leaves nothing out by user: it is asked for 95, and the rest is done behind it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch

from benchmarks import harness
from benchmarks.harness import Json, say
from benchmarks.tables import Table, show
from llmrec_cli.ranking.item_table import ItemTable
from llmrec_cli.ranking.retrievers import Excluded

RESULTS = Path(__file__).parent / "results" / "search.json"
BEST, WIDTH, HAD, CHECKED = 80, 128, 15, 64
"""Items of a list, dimensions, items that a user had, and users whose lists are compared with float64."""
Search = Callable[[np.ndarray], np.ndarray]
"""Of (users, d) vectors, whose rows of `had` are the first ones, to (users, BEST) item codes."""


def vectors(n_users: int, n_items: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, sp.csr_matrix]:
    """Users', items' vectors, and what users had."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(n_items // 100, 2), WIDTH), dtype=np.float32)
    items = centres[rng.integers(0, len(centres), n_items)]
    items += 0.5 * rng.standard_normal(items.shape, dtype=np.float32)
    items *= rng.lognormal(0, 0.5, (n_items, 1)).astype(np.float32)
    users = centres[rng.integers(0, len(centres), n_users)]
    users += rng.standard_normal(users.shape, dtype=np.float32)
    had = np.array([rng.choice(n_items, HAD, replace=False) for _ in range(n_users)])
    cells = (np.ones(had.size, dtype=np.float32), (np.repeat(np.arange(n_users), HAD), had.ravel()))
    return users, items, sp.csr_matrix(cells, shape=(n_users, n_items))


def ours(items: np.ndarray, had: sp.csr_matrix) -> Search:
    table = ItemTable(torch.from_numpy(items))

    def search(users: np.ndarray) -> np.ndarray:
        rows, codes = had[: len(users)].nonzero()
        return table.top(torch.from_numpy(users), BEST, Excluded(rows, codes))[0]

    return search


def implicit(items: np.ndarray, had: sp.csr_matrix) -> Search:
    from implicit.cpu.topk import topk

    return lambda users: topk(items, users, BEST, filter_query_items=had[: len(users)], num_threads=1)[0]


def faiss(items: np.ndarray, had: sp.csr_matrix) -> Search:
    import faiss as library

    library.omp_set_num_threads(1)
    index = library.IndexFlatIP(WIDTH)
    index.add(items)

    def search(users: np.ndarray) -> np.ndarray:
        found = index.search(users, BEST + HAD)[1]
        rows, codes = had[: len(users)].nonzero()
        gone = np.isin(np.arange(len(users))[:, None] * len(items) + found, rows * np.int64(len(items)) + codes)
        kept = np.argsort(gone, axis=1, kind="stable")[:, :BEST]
        return np.take_along_axis(found, kept, axis=1)

    return search


def rectools(items: np.ndarray, had: sp.csr_matrix) -> Search:
    from rectools.models.rank import Distance, TorchRanker

    def search(users: np.ndarray) -> np.ndarray:
        ranker = TorchRanker(Distance.DOT, "cpu", torch.from_numpy(users), torch.from_numpy(items))
        some = had[: len(users)]
        return np.asarray(ranker.rank(np.arange(len(users)), k=BEST, filter_pairs_csr=some)[1]).reshape(-1, BEST)

    return search


def measured(n_users: int, n_items: int) -> Iterator[tuple[str, Json]]:
    users, items, had = vectors(n_users, n_items)
    truth = users[:CHECKED].astype(np.float64) @ items.astype(np.float64).T
    truth[had[:CHECKED].nonzero()] = -np.inf
    best = np.sort(np.argpartition(-truth, BEST, axis=1)[:, :BEST], axis=1)
    for make in (ours, implicit, faiss, rectools):
        try:
            search = make(items, had)
        except ImportError as error:
            say(f"{make.__name__} is left out: {error}")
            continue
        search(users[:64])
        started = time.process_time()
        found = search(users)
        seconds = time.process_time() - started
        same = (np.sort(found[:CHECKED], axis=1) == best).all(axis=1).mean()
        yield make.__name__, {"users_by_core_second": round(n_users / seconds, 1), "exact": round(float(same), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=harness.numbers, default=[20_000, 100_000, 1_000_000])
    parser.add_argument("--users", type=int, default=1_024)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for n_items in given.items:
        found = dict(measured(given.users, n_items))
        harness.keep(RESULTS, f"{given.users} users, {n_items} items", found | {"with": harness.stamp()})
        rows += [
            [f"{n_items:,}", name, f"{each['users_by_core_second']:,.0f}", f"{each['exact']:.1%}"]
            for name, each in found.items()
        ]
    show(
        [Table(f"Best {BEST} by products {WIDTH} wide", ["items", "by", "users a core-second", "exact"], rows, left=2)]
    )


if __name__ == "__main__":
    main()
