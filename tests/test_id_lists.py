"""Files of item ids: one a line, or the column of a table."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from llmrec_cli.core.errors import DataError
from llmrec_cli.lists.id_lists import ids_of, notes
from llmrec_cli.lists.recommend_config import RecommendConfig


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "# sold out, for now\ni02\n\n i03 \r\n"),
        ("a.txt", "\ufeffi02\ni03"),
        ("a.csv", "i02\ni03\n"),
        ("a.csv", "item_id\ni02\ni03\n"),
        ("a.csv", 'Title,StockCode,Product\n"Mug, red",i02,x\nCup,i03,y\nCup,i02,y\nPen,,z\n'),
        ("a.tsv", "user_id\titem_id\n1\ti02\n2\t i03\n"),
        ("a.txt", "movieId;n\ni02;1\ni03;2\n"),
    ],
)
def test_ids_of_a_text_or_of_a_table(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert ids_of(name, tmp_path) == ["i02", "i03"]


def test_ids_that_look_like_a_header_or_a_table_stay_ids(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("item_17\nitem_18\n")
    (tmp_path / "a.txt").write_text("red,large\nblue\n")
    assert ids_of("a.csv", tmp_path) == ["item_17", "item_18"]
    assert ids_of("a.txt", tmp_path) == ["red,large", "blue"]
    assert ids_of("", tmp_path) == [] and ids_of(["x"], tmp_path) == ["x"]


def test_ids_of_parquet_are_texts(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"price": [1.0, 2.0], "product_id": [17, 18]}), tmp_path / "a.parquet")
    assert ids_of("a.parquet", tmp_path) == ["17", "18"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"user,price\n1,2\n", "there are user, price"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read"),
        ("a.csv", b"item_id,n\n1,2\n3\n", "cannot be read"),
        ("a.parquet", b"PAR1 no", "cannot be read"),
    ],
)
def test_what_has_no_ids_is_an_error(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as raised:
        ids_of(name, tmp_path)
    assert said in str(raised.value)


def test_unknown_ids_are_counted_and_an_empty_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("# nothing\n")
    (tmp_path / "some.txt").write_text("i01\nzz\nyy\nzz\n")
    said = notes(RecommendConfig(deny="none.txt", exclude="some.txt"), tmp_path, ["i01", "i02"])
    assert said == [
        "recommend.deny: none.txt has no item ids",
        "recommend.exclude: 2 of 3 ids are not in the catalogue, such as 'zz'",
    ]
    assert notes(RecommendConfig(allow=["i01"]), tmp_path, ["i01"]) == []
