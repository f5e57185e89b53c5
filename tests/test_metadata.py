from __future__ import annotations

import pyarrow as pa

from llmrec_cli.ingest.metadata import ages, ranges


def test_the_lowest_and_the_highest_number_as_they_stand_in_the_log() -> None:
    pairs = [
        ("a", "1.25"),
        ("a", "2,10"),
        ("a", "n/a"),
        ("b", "3"),
        ("b", "3.00"),
        ("c", "$9"),
        ("c", "$10"),
        ("d", "7"),
    ]
    prices = pa.table({"#id": [item for item, _ in pairs], "#value": [value for _, value in pairs]})
    colours = pa.table({"#id": ["a", "a"], "#value": ["red", "blue"]})
    found = ranges({"price": prices, "colour": colours}, pa.chunked_array([["a", "b", "c"]]))
    assert found.to_pylist() == [
        {"item_id": "a", "name": "price", "low": "1.25", "high": "2,10"},
        {"item_id": "c", "name": "price", "low": "$9", "high": "$10"},
    ]
    assert ranges({}, pa.chunked_array([["a"]])).num_rows == 0


def test_ages_in_years_and_in_bands() -> None:
    texts = ["42", "27.5", "25-34", "25 – 34", "55+", "60 and over", "over 65", "under 18", "18 or younger", "<18"]
    texts += ["18岁以下", "30至39岁", "unknown", "born 1980", None]
    expected = [42, 27.5, 25, 25, 55, 60, 65, 0, 0, 0, 0, 30, None, None, None]
    assert ages(pa.array(texts)).to_pylist() == expected
