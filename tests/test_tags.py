from __future__ import annotations

import pyarrow as pa

from llmrec_cli.ingest import metadata
from llmrec_cli.ingest.tags import item_tags


def test_given_tags_then_categories_then_words_of_the_title() -> None:
    given = pa.array([["x", "x", "", "y"], None, []], pa.list_(pa.string()))
    categories = pa.array(["A > B", "A > B > A", None])
    titles = pa.array(["red lamp", "red lamp", "red lamp"])
    # a word of all three titles says nothing, but of so few titles two would already be a tenth
    assert item_tags(given, categories, titles).to_pylist() == [["x", "y"], ["A", "B"], []]


def table(**columns: list[str | None]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def test_flags_give_their_names_and_lists_are_split() -> None:
    data = table(Action=["1", "0", None], Drama=["1", "1", "0"], genres=["a | b", '["c", "d &amp; e"]', None])
    assert metadata.tags(data, ["Action", "Drama"], "|").to_pylist() == [["Action", "Drama"], ["Drama"], None]
    assert metadata.tags(data, ["genres"], "|").to_pylist() == [["a", "b"], ["c", "d & e"], None]
    assert metadata.tags(data, [], "|").to_pylist() == [None] * 3


def test_lists_objects_and_entities_of_raw_metadata() -> None:
    data = table(
        category=['["Toys", "Cars"]', "[Deluxe] Car", "[]", "A&amp;B"],
        text=['{"a": ["x", null, " y "], "b": 1}', None, "", "plain"],
        image=['["http://one", "http://two"]', "file.png", "[]", None],
    )
    assert metadata.categories(data, ["category"], "").to_pylist() == ["Toys > Cars", "[Deluxe] Car", None, "A&B"]
    assert metadata.text(data, ["text"]).to_pylist() == ["x y 1", None, None, "plain"]
    assert metadata.text(data, ["image"], first=True).to_pylist() == ["http://one", "file.png", None, None]
    assert metadata.categories(table(c=["a|b | c"]), ["c"], "|").to_pylist() == ["a > b > c"]


def test_attributes() -> None:
    data = table(brand=["X", None], price=["5", "7"])
    assert metadata.attributes(data, ["brand", "price"]).to_pylist() == [
        [{"name": "brand", "value": "X"}, {"name": "price", "value": "5"}],
        [{"name": "price", "value": "7"}],
    ]
    assert metadata.attributes(data, []).to_pylist() == [[], []]
