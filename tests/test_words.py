from __future__ import annotations

import pyarrow as pa
import pytest

from llmrec_cli.data import words
from llmrec_cli.data.phrases import title_words
from llmrec_cli.ingest import oddities

TITLES = ["适合徒步的双肩包", "红色双肩包 POLO", "徒步鞋", "红色徒步鞋", None, "red bag"] + [
    f"其他商品{n}" for n in range(30)
]


def test_chinese_is_cut_into_words_and_the_rest_stays_as_it_is() -> None:
    found = words.spaced(pa.array(["适合徒步的双肩包", "red bag", None])).to_pylist()
    assert found == ["适合 徒步 的 双肩包", "red bag", None]


def test_chinese_titles_have_tags() -> None:
    tags = title_words(pa.array(TITLES, pa.string())).to_pylist()
    assert tags[0] == ["双肩包", "徒步"] and "红色" in tags[1]
    assert all(len(tag) > 1 for each in tags for tag in each)


LANGUAGES = {
    "English": ["RED SPOTTY CUP", "SET OF 6 T-LIGHTS", "Café for two"],
    "German": ["Rucksack mit Regenhülle", "Zelt", "Kochtopf für unterwegs", "Schuhe"],
    "French": ["Sac à dos", "Chaussures de marche pour femme"],
    "Spanish": ["Mochila con bolsillos", "Zapatos para la lluvia"],
    "Italian": ["Zaino per la pioggia", "Scarpe da donna"],
    "Dutch": ["Tas voor het strand", "Schoenen met een veter"],
    "Chinese": ["红色双肩包", "热水瓶", "POLO"],
    "Japanese": ["赤いカバン", "水筒の蓋"],
    words.NOT_ENGLISH: ["Красная сумка", "Синяя сумка"],
    words.UNKNOWN: ["bag", "cup", ""],
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_language_of_titles(language: str) -> None:
    assert words.language(pa.array([*LANGUAGES[language], None], pa.string())) == language
    assert words.language(pa.array([], pa.string())) == words.UNKNOWN


def test_stop_words_are_those_of_the_language_and_words_those_of_unicode() -> None:
    titles = ["Tasche für die Reise", "Tasche für den Strand", "Hülle für die Reise", *[f"Ding {n}" for n in range(40)]]
    assert title_words(pa.array(titles)).to_pylist()[:3] == [["reise", "tasche"], ["tasche"], ["reise"]]
    found, of_text = words.of_texts(pa.array(["ＭＰ3-Player für’s Café", None, "हिन्दी"]))
    assert found.to_pylist() == ["mp3", "player", "für's", "café", "हिन्दी"] and of_text.to_pylist() == [0] * 4 + [2]


def test_without_the_package_the_titles_stay_whole_and_a_warning_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "PACKAGE", "no_such_package")
    assert words.spaced(pa.array(["红色双肩包"])).to_pylist() == ["红色双肩包"]
    (warning,) = oddities.languages(pa.chunked_array([TITLES]))
    assert warning.startswith("34 titles are Chinese") and "llmrec-cli[zh]" in warning
    assert oddities.languages(pa.chunked_array([["red bag"]])) == []


def test_clean_prints_the_language() -> None:
    assert oddities.language(pa.chunked_array([["the red bag", None]])) == ["language of the titles: English"]
    assert oddities.language(pa.chunked_array([pa.nulls(3, pa.string())])) == []
