"""Columns of a log as arrays: texts as codes in the order of the texts, numbers as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Codes
from llmrec_cli.ingest.sql import BLANKS


def codes(texts: pa.ChunkedArray) -> tuple[Codes, pa.Array]:
    """(rows,) codes in the order of the ids, −1 where there is none, and the ids without the blanks around them."""
    chunks = texts.dictionary_encode().chunks
    # the dictionary of all chunks is one
    found = pc.utf8_trim(chunks[-1].dictionary if chunks else pa.array([], pa.string()), BLANKS)
    ids = pc.unique(found.filter(pc.not_equal(found, ""))).cast(pa.string())
    ids = ids.take(pc.sort_indices(ids))
    code = pc.fill_null(pc.index_in(found, value_set=ids), -1).to_numpy()
    # a row without a text has the code −1, and with it the last place
    code = np.append(code, np.int32(-1)).astype(np.int32)
    codes = np.empty(len(texts), dtype=np.int32)
    start = 0
    for chunk in chunks:
        codes[start : start + len(chunk)] = code[pc.fill_null(chunk.indices, -1).to_numpy()]
        start += len(chunk)
    return codes, ids


def numbers(column: pa.ChunkedArray, missing: float) -> npt.NDArray[Any]:
    """(rows,) the values as a flat array."""
    flat = np.empty(len(column), dtype=column.type.to_pandas_dtype())
    start = 0
    for chunk in column.chunks:
        flat[start : start + len(chunk)] = pc.fill_null(chunk, missing).to_numpy()
        start += len(chunk)
    return flat
