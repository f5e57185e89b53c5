from __future__ import annotations

import pyarrow as pa

from llmrec_cli.core.columns import ATTRIBUTES
from llmrec_cli.data.attributes import by_name


def test_attributes_are_columns_again() -> None:
    rows = [
        [{"name": "price", "value": "1"}, {"name": "brand", "value": "x"}],
        None,
        [],
        [{"name": "price", "value": "2"}, {"name": "price", "value": "3"}],
    ]
    column = pa.chunked_array([pa.array(rows[:2], type=ATTRIBUTES), pa.array(rows[2:], type=ATTRIBUTES)])
    found = {name: values.to_pylist() for name, values in by_name(column).items()}
    assert found == {"brand": ["x", None, None, None], "price": ["1", None, None, "3"]}


def test_no_attributes() -> None:
    assert by_name(pa.chunked_array([pa.array([[], None], type=ATTRIBUTES)])) == {}
