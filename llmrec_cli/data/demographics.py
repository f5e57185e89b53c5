"""What is known of users beside their events: age band, gender and region as columns, and the number of the segment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.columns import USER

DEMOGRAPHICS = ("age_band", "gender", "region")
"""Columns of `profile/profiles`."""


def one_hot(user_ids: pa.ChunkedArray[Any], profiles: pa.Table) -> sp.csr_matrix | None:
    """(users, values) of these users, the values in order of attribute and name: alike in all stages.

    None where the table has none of the columns, or nothing is known of anybody.
    """
    at = np.asarray(pc.index_in(user_ids, value_set=profiles.column(USER).combine_chunks()), dtype=np.int64)
    parts = []
    for name in [each for each in DEMOGRAPHICS if each in profiles.column_names]:
        values = profiles.column(name).combine_chunks()
        known = pc.unique(values.drop_null()).sort()
        codes = np.asarray(pc.fill_null(pc.index_in(values, value_set=known), -1), dtype=np.int64)[at]
        rows = np.flatnonzero(codes >= 0)
        entries = (np.ones(len(rows), dtype=np.float32), (rows, codes[rows]))
        parts.append(sp.csr_matrix(entries, shape=(len(user_ids), len(known))))
    found = sp.hstack(parts, format="csr") if parts else None
    return found if found is not None and found.shape[1] else None


def segment_numbers(user_ids: pa.ChunkedArray[Any], profiles: pa.Table) -> Ints:
    """(users,) the segment of each, numbered by name: alike in all stages."""
    names = profiles.column("segment").combine_chunks()
    coded = pc.index_in(names, value_set=names.unique().sort())
    rows = pc.index_in(user_ids, value_set=profiles.column(USER).combine_chunks())
    return np.asarray(coded.take(rows), dtype=np.int64)
