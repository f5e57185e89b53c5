from __future__ import annotations

import csv
from collections import Counter

import pyarrow as pa
import pytest

from llmrec_cli.data.phrases import title_words
from tests.conftest import SAMPLE
from tests.system import rawlog

BOTTLES = ["Hot Water Bottle, red", "hot-water bottle in blue", "A hot water bottle cover", "bottle green mug"]
OTHERS = [f"thing {n}" for n in range(60)]


def of(titles: list[str | None]) -> list[list[str]]:
    found: list[list[str]] = title_words(pa.array(titles, pa.string())).to_pylist()
    return found


def test_words_are_informative() -> None:
    titles = ["The RED lamp of 1995", "red chair", "Lamp & chair", "a lone wolf", None] + ["common thing"] * 15
    tags = of(titles)
    assert tags[0] == ["lamp", "red"]
    assert tags[2] == ["chair", "lamp"]
    assert tags[3] == [] and tags[4] == []  # a word of one title is no tag
    assert tags[5] == []  # a word of most titles is none either


def test_at_most_five_words_the_rarest_first() -> None:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    titles: list[str | None] = [" ".join(words), " ".join(words[::-1]), "alpha one"] + ["filler"] * 97
    assert of(titles)[0] == ["beta", "delta", "epsilon", "gamma", "zeta"]
    assert of([]) == []


def test_words_that_always_stand_together_are_a_phrase() -> None:
    tags = of([*BOTTLES, *OTHERS])
    assert [each[:1] for each in tags[:3]] == [["hot water bottle"]] * 3
    assert not any("water" in each or "bottle" in each for each in tags)


def test_words_that_meet_by_chance_or_across_a_stop_word_are_none() -> None:
    cups = [f"{colour} cup" for colour in ("red", "blue", "green") for _ in range(8)]
    assert {tag for each in of([*cups, *OTHERS]) for tag in each} <= {"red", "blue", "green", "cup"}
    knives = ["salt and pepper mill", "pepper and salt", "salt and pepper"]
    assert {tag for each in of([*knives, *OTHERS]) for tag in each} == {"salt", "pepper"}


def test_chinese_phrases_have_no_blank() -> None:
    pytest.importorskip("rjieba")
    assert of([*["红色 热水瓶子"] * 2, "热水瓶子", *[f"商品{n}" for n in range(60)]])[2] == ["热水瓶子"]


def test_an_apostrophe_is_a_part_of_a_word() -> None:
    tags = of(["Poppy's purse", "poppy’s doll", "the O'Neill bag", "O'Neill shoes", "O'Neill", *OTHERS])
    assert tags[0] == tags[1] == ["poppy's"]
    assert tags[2][:1] == ["o neill"]


def test_the_words_of_the_sample_are_those_of_an_independent_count() -> None:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        titles = {row["StockCode"]: row["Description"].strip() for row in csv.DictReader(file)}
    counted = rawlog.title_words(titles)
    assert of(list(titles.values())) == list(counted.values())
    held = Counter(tag for each in counted.values() for tag in each)
    assert held["hot water bottle"] >= 10 and held["metal sign"] >= 10
