from __future__ import annotations

import pyarrow as pa

from llmrec_cli.ingest import metadata
from llmrec_cli.ingest.tags import item_tags, title_words


def test_given_tags_then_categories_then_words_of_the_title() -> None:
    given = pa.array([["x", "x", "", "y"], None, []], pa.list_(pa.string()))
    categories = pa.array(["A > B", "A > B > A", None])
    titles = pa.array(["red lamp", "red lamp", "red lamp"])
    # a word of all three titles says nothing, but of so few titles two would already be a tenth
    assert item_tags(given, categories, titles).to_pylist() == [["x", "y"], ["A", "B"], []]


def test_words_are_informative() -> None:
    titles = ["The RED lamp of 1995", "red chair", "Lamp & chair", "a lone wolf", None] + ["common thing"] * 15
    tags = title_words(pa.array(titles, pa.string())).to_pylist()
    assert tags[0] == ["lamp", "red"]
    assert tags[2] == ["chair", "lamp"]
    assert tags[3] == [] and tags[4] == []  # a word of one title is no tag
    assert tags[5] == []  # a word of most titles is none either


def test_at_most_five_words_the_rarest_first() -> None:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    titles = [" ".join(words)] * 2 + ["alpha one"] + ["filler"] * 97
    assert title_words(pa.array(titles)).to_pylist()[0] == ["beta", "delta", "epsilon", "gamma", "zeta"]
    assert title_words(pa.array([], pa.string())).to_pylist() == []


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


def test_attributes_and_numbers() -> None:
    data = table(brand=["X", None], price=["5", "7"])
    assert metadata.attributes(data, ["brand", "price"]).to_pylist() == [
        [{"name": "brand", "value": "X"}, {"name": "price", "value": "5"}],
        [{"name": "price", "value": "7"}],
    ]
    assert metadata.attributes(data, []).to_pylist() == [[], []]
    assert metadata.numbers(pa.array(["25", "old", None, "3.5"])).to_pylist() == [25.0, None, None, 3.5]
