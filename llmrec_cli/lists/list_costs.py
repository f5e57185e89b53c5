"""What the lists of all users would cost, by those of some, made as they would be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.artifacts import EXCLUSIONS, LIST_TEXTS, RECOMMENDATIONS
from llmrec_cli.core.cost import Cost
from llmrec_cli.core.forecast import Part, line, measured, once
from llmrec_cli.core.readonly import ReadOnly
from llmrec_cli.core.records import Report
from llmrec_cli.lists.list_texts import ListTexts
from llmrec_cli.lists.maker import Maker

Excluded = Callable[[Ints], pa.Table]
"""The rows of `exclusions` of users by row number."""
FEW, SHARE = 64, 8
"""Users of the smaller measurement, and which part of all the larger one has, up to a block."""
KEPT = 16
"""Bytes of each row that stay until all lists are made, for the report."""


def forecast(
    work: ReadOnly, maker: Maker, texts: ListTexts | None, excluded: Excluded | None, begun: Cost, *, block: int
) -> Report:
    """`begun` is what `maker`, `texts` and `excluded` cost; what the lists write is counted and discarded."""
    n_users, made = len(maker.histories), 0

    def lists(start: int, stop: int) -> float:
        nonlocal made
        before, made = work.discarded, 0
        for first, found in maker.blocks([(start, stop)]):
            rows = maker.table(first, found)
            work.write(RECOMMENDATIONS, rows)
            if texts:
                work.write(LIST_TEXTS, texts.table(rows))
            if excluded:
                work.write(EXCLUSIONS, excluded(np.arange(first, first + len(found.items))))
            made += rows.num_rows
        return work.discarded - before

    few, more = min(FEW, n_users), min(block, max(n_users // SHARE, 4 * FEW), n_users)
    start = (n_users - more) // 2
    first, again, sample = (measured(n, lambda n=n: lists(start, start + n)) for n in (few, few, more))  # type: ignore[misc]
    of_one = min(n_users, block)
    whole = Part(0, begun).then(once(first, again)).then(line(again, sample, of_one).times(n_users / of_one))
    n_rows = round(n_users * made / more)
    sequences = maker.histories.sequences
    counts = {"users": n_users, "items": len(maker.catalogue), "events": len(sequences.codes), "list_rows": n_rows}
    in_block = max(0, sample.cost.peak_memory - again.cost.peak_memory) * (of_one - more) / max(1, more - few)
    return whole.holding(in_block + KEPT * (n_rows - made)).report(counts)
