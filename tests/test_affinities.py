from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.core.errors import DataError
from llmrec_cli.data.attributes import amounts
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.profiles.affinities import BRANDS, PEERS, PRICES, attribute, brands, prices


def log(n_items: int, *histories: list[int]) -> Sequences:
    offsets = np.cumsum([0, *map(len, histories)])
    return Sequences(np.array([i for h in histories for i in h], dtype=np.int32), offsets, n_items)


def test_amounts_of_texts() -> None:
    texts = ["4.95", "$1,299.00", "12,50 EUR", "1.299,00", "1,299", "free", "", None, "from 5 to 9", "3."]
    found = amounts(pa.array(texts))
    assert found[[0, 1, 2, 3, 4, 8, 9]].tolist() == [4.95, 1299.0, 12.5, 1299.0, 1299.0, 5.0, 3.0]
    assert np.isnan(found[5:8]).all()


def test_attributes_are_found_by_name() -> None:
    names = {"Artist": 0, "Brand name": 0, "UnitPrice": 0}
    assert attribute(names, "", BRANDS, "profile.brand") == "Brand name"
    assert attribute(names, "Artist", BRANDS, "profile.brand") == "Artist"
    assert attribute(names, "", PRICES, "profile.price") == "UnitPrice"
    assert attribute({"colour": 0}, "", PRICES, "profile.price") is None
    with pytest.raises(DataError, match="no attribute 'unitprise'") as raised:
        attribute(names, "unitprise", PRICES, "profile.price")
    assert "UnitPrice" in raised.value.fix


def test_brands_by_hand() -> None:
    """Items 0 and 1 are of acme, 2 of bolt, 3 of none. Of all seven branded events acme has five and bolt two."""
    values = pa.array(["acme", "acme", "bolt", None])
    column = brands(log(4, [0, 1, 0, 2, 3], [2, 0, 3], [], [1]), values).to_pylist()
    assert [row["tag"] for row in column[0]] == ["acme"]  # bolt once is no habit
    assert column[0][0] == pytest.approx({"tag": "acme", "share": 3 / 4, "lift": 6 / (4 * 5 / 7 + 3), "support": 3})
    assert column[1:] == [[], [], []]


def test_brands_in_order_and_at_most_three() -> None:
    values = pa.array(["a", "b", "c", "d"])
    column = brands(log(4, [0] * 2 + [1] * 3 + [2] * 2 + [3] * 5, [0] * 20), values).to_pylist()
    assert [row["tag"] for row in column[0]] == ["d", "b", "c"]  # a is what others choose


def test_prices_by_hand() -> None:
    """Prices 1, 2, 2, 4: below each are 0, 1, 1 and 3 of four, and half of the equal ones, itself among them."""
    price = np.array([1.0, 2.0, 2.0, 4.0, np.nan])
    column = prices(log(5, [3, 1, 4], [0, 3, 3], [4], []), price, pa.nulls(5, pa.string())).to_pylist()
    levels = [0.125, 0.5, 0.5, 0.875]
    assert column[0] == pytest.approx({"typical": 3.0, "level": (levels[3] + levels[1] + 1.5) / 5, "support": 2})
    assert column[1] == pytest.approx({"typical": 4.0, "level": (levels[0] + 2 * levels[3] + 1.5) / 6, "support": 3})
    assert column[2:] == [None, None]


def test_prices_are_compared_within_categories_of_some_size() -> None:
    """The cheapest lamp is dearer than every pen; among lamps it is the cheapest."""
    price = np.concatenate([np.arange(PEERS) + 1.0, np.arange(PEERS) + 1000.0, [5.0]])
    categories = pa.array(["pen"] * PEERS + ["lamp"] * PEERS + ["rare"])
    lamp, rare = PEERS, 2 * PEERS
    column = prices(log(len(price), [lamp], [rare]), price, categories).to_pylist()
    assert column[0]["level"] == pytest.approx((0.5 / PEERS + 1.5) / 4)
    assert column[1]["level"] == pytest.approx(((4 + 1) / (2 * PEERS + 1) + 1.5) / 4)  # 4 below, 2 equal, of all


def test_nobody_and_nothing() -> None:
    assert prices(log(2, [], []), np.full(2, np.nan), pa.nulls(2, pa.string())).to_pylist() == [None, None]
    assert brands(log(2, [], [1]), pa.nulls(2, pa.string())).to_pylist() == [[], []]
