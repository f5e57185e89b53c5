"""Items by their row in the catalogue, written next to their ids so that no later stage looks them up again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import offsets_of
from llmrec_cli.core.columns import ITEM
from llmrec_cli.core.errors import UpstreamError


def with_codes(sequences: pa.Table, items: pa.Table) -> pa.Table:
    """Add `item_codes` to sequences with `item_ids`: row numbers of `items`. UpstreamError for an unknown item."""
    lists = sequences.column("item_ids").combine_chunks()
    codes = pc.index_in(lists.flatten(), value_set=items.column(ITEM).combine_chunks())
    if codes.null_count:
        raise UpstreamError("a sequence has an item that is not in clean/items", fix="llmrec clean --force")
    offsets = offsets_of(np.asarray(pc.list_value_length(lists)))
    return sequences.append_column("item_codes", pa.ListArray.from_arrays(offsets.astype(np.int32), codes))
