from __future__ import annotations

import pyarrow as pa
import pytest

from llmrec_cli.data import words
from llmrec_cli.ingest import oddities
from llmrec_cli.ingest.tags import title_words

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


def test_without_the_package_the_titles_stay_whole_and_a_warning_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "PACKAGE", "no_such_package")
    assert words.spaced(pa.array(["红色双肩包"])).to_pylist() == ["红色双肩包"]
    (warning,) = oddities.languages(pa.chunked_array([TITLES]))
    assert warning.startswith("34 titles are Chinese") and "llmrec[zh]" in warning
    assert oddities.languages(pa.chunked_array([["red bag"]])) == []
