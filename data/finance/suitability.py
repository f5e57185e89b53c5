"""Two axes of lists of funds: how many rows suit their customer, and how often the next order is among them.

    python data/finance/suitability.py WORK

For the lists of the work directory and, where there is one, those of its backtest.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

K = 10
HERE = Path(__file__).parent


def suitable_share(lists: pd.DataFrame) -> float:
    """The share of rows whose fund is no riskier than its customer wants."""
    risk = pd.read_csv(HERE / "funds.csv").set_index("fund")["risk"]
    tolerance = pd.read_csv(HERE / "customers.csv").set_index("customer")["risk_tolerance"]
    return float((lists["item_id"].map(risk) <= lists["user_id"].map(tolerance)).mean())


def main(work: Path) -> None:
    """Print both axes."""
    for name, folder in (("lists", work), ("backtest", work / "evaluate" / "last")):
        path = folder / "recommend" / "recommendations.parquet"
        if not path.exists():
            continue
        lists = pd.read_parquet(path, columns=["user_id", "item_id", "rank"])
        print(f"{name}: {suitable_share(lists):.1%} of {len(lists):,} rows are suitable", end="")
        if folder != work:
            withheld = pd.read_parquet(folder / "clean" / "holdout.parquet", columns=["user_id", "item_id"])
            ranks = withheld.merge(lists, how="left", on=["user_id", "item_id"])["rank"].fillna(K + 1).to_numpy()
            ndcg = np.where(ranks <= K, 1 / np.log2(ranks + 1), 0).mean()
            print(f"; NDCG@{K} {ndcg:.4f} over {len(ranks):,} orders", end="")
            print(f", {suitable_share(withheld.assign(rank=1)):.1%} of which are suitable", end="")
        print()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
