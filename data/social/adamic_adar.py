"""The lists of `llmrec evaluate` against Adamic–Adar (Adamic & Adar, 2003), on the same withheld edges.

    python data/social/adamic_adar.py work/evaluate/last

Adamic–Adar scores somebody by the people in between: each of those whom I follow and who follows them counts one over
the logarithm of how many edges they have.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

K = 10


def adamic_adar(edges: pd.DataFrame, people: pd.Index) -> np.ndarray:
    """(people, people) scores; -inf for oneself and whom one follows already. Small graphs only."""
    rows, columns = people.get_indexer(edges["who"]), people.get_indexer(edges["whom"])
    follows = sp.csr_matrix((np.ones(len(edges)), (rows, columns)), shape=(len(people), len(people)))
    degree = np.asarray(follows.sum(axis=0)).ravel() + np.asarray(follows.sum(axis=1)).ravel()
    scores = (follows @ sp.diags(1 / np.log(np.maximum(degree, 2))) @ follows).toarray()
    scores[follows.nonzero()] = -np.inf
    np.fill_diagonal(scores, -np.inf)
    return scores


def ndcg(ranks: np.ndarray) -> float:
    """Mean over the users of 1 / log2(rank + 1), for ranks from 1 up to K; one withheld edge each."""
    return float(np.where(ranks <= K, 1 / np.log2(ranks + 1), 0).mean())


def main(work: Path) -> None:
    """Print what the lists and what Adamic–Adar make of the withheld edges."""
    sequences = pd.read_parquet(work / "clean" / "sequences.parquet", columns=["user_id", "item_ids"])
    edges = sequences.explode("item_ids").dropna().set_axis(["who", "whom"], axis=1)
    withheld = pd.read_parquet(work / "clean" / "holdout.parquet", columns=["user_id", "item_id"])
    people = pd.Index(sorted({*edges["who"], *edges["whom"], *withheld["item_id"]}))
    scores = adamic_adar(edges, people)[people.get_indexer(withheld["user_id"])]
    wanted = people.get_indexer(withheld["item_id"])
    own = scores[np.arange(len(wanted)), wanted][:, None]
    by_graph = 1 + (scores > own).sum(axis=1) + (scores == own).sum(axis=1) // 2  # the middle of a tie
    lists = pd.read_parquet(work / "recommend" / "recommendations.parquet", columns=["user_id", "item_id", "rank"])
    by_llmrec = withheld.merge(lists, how="left", on=["user_id", "item_id"])["rank"].fillna(K + 1).to_numpy()
    print(f"NDCG@{K} of {len(wanted)} withheld edges: llmrec {ndcg(by_llmrec):.4f}, Adamic–Adar {ndcg(by_graph):.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
