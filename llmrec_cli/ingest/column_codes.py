"""Columns of a log as numbers: ids as codes in the order of the ids, and columns that may be larger than memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Codes, Doubles
from llmrec_cli.ingest.sql import BLANKS

HELD = 16 << 20
"""Bytes of a column that stay in memory."""


class Flat:
    """A column of numbers that grows at its end: in memory while it is small, else in a file, of which parts are read.

    The file has no name and goes with the column. Nothing is mapped: mapped pages count as memory in use.
    """

    def __init__(self, folder: Path, dtype: npt.DTypeLike) -> None:
        self._folder, self.dtype, self._size = folder, np.dtype(dtype), 0
        self._held: list[npt.NDArray[Any]] = []
        self._file: Any = None

    def __len__(self) -> int:
        return self._size

    def append(self, values: npt.NDArray[Any]) -> None:
        self._size += len(values)
        self._held.append(np.ascontiguousarray(values, self.dtype))
        if self._file is None and self._size * self.dtype.itemsize > HELD:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        if self._file is not None:
            self._file.seek(0, 2)
            for held in self._held:
                self._file.write(held.data)
            self._held = []

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Some of the values; not to be changed."""
        if self._file is not None:
            values = np.empty(stop - start, self.dtype)
            self._file.seek(start * self.dtype.itemsize)
            self._file.readinto(values.data)
            return values
        if len(self._held) != 1:
            self._held = [np.concatenate([np.zeros(0, self.dtype), *self._held])]
        return self._held[0][start:stop]


class Coded:
    """A column of ids as codes: `ids` are sorted and without the blanks around them; −1 stands where there is none."""

    def __init__(self, pieces: Iterable[pa.ChunkedArray], folder: Path) -> None:
        self._codes, ids = Flat(folder, np.int32), pa.array([], pa.string())
        for texts in pieces:
            chunks = texts.dictionary_encode().chunks
            # blanks are taken from the different texts only, which are far fewer than the rows
            found = pc.utf8_trim(chunks[-1].dictionary if chunks else ids[:0], BLANKS)
            code = pc.index_in(found, value_set=ids)
            new = pc.unique(found.filter(pc.and_(pc.is_null(code), pc.not_equal(found, ""))))
            code = pc.coalesce(code, pc.add(pc.index_in(found, value_set=new), len(ids))).cast(pa.int32())
            ids = pa.concat_arrays([ids, new])
            # a row without a text has the code −1, and with it the last place
            of_text = np.append(pc.fill_null(code, -1).to_numpy(), np.int32(-1))
            for chunk in chunks:
                self._codes.append(of_text[pc.fill_null(chunk.indices, -1).to_numpy()])
        order = pc.sort_indices(ids)
        self.ids = ids.take(order)
        self._rank = np.full(len(ids) + 1, -1, dtype=np.int32)
        self._rank[order.to_numpy()] = np.arange(len(ids), dtype=np.int32)

    def read(self, start: int, stop: int) -> Codes:
        """Some of the codes; −1 for all where there is no such column."""
        if not len(self._codes):
            return np.full(stop - start, -1, dtype=np.int32)
        return self._rank[self._codes.read(start, stop)]


class Tally:
    """The different numbers above 0 of a column, and `n`, how often each occurs."""

    def __init__(self) -> None:
        self.values, self.n = np.zeros(0), np.zeros(0, dtype=np.int64)

    def add(self, values: Doubles) -> None:
        counted = pc.value_counts(pa.array(values[values > 0]))
        both = [np.concatenate(each) for each in ((self.values, counted.field(0)), (self.n, counted.field(1)))]
        self.values, where = np.unique(both[0], return_inverse=True)
        self.n = np.bincount(where, both[1]).astype(np.int64)


def numbers(column: pa.ChunkedArray, missing: float) -> npt.NDArray[Any]:
    """(rows,) the values as a flat array."""
    flat = np.empty(len(column), dtype=column.type.to_pandas_dtype())
    start = 0
    for chunk in column.chunks:
        flat[start : start + len(chunk)] = pc.fill_null(chunk, missing).to_numpy(zero_copy_only=False)
        start += len(chunk)
    return flat
