"""What lists are made of."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from llmrec_cli.core.artifacts import ITEMS, SEQUENCES
from llmrec_cli.core.stage import Context
from llmrec_cli.lists.maker import maker_of
from llmrec_cli.lists.recommend_config import RecommendConfig
from tests import tiny


def test_items_that_nobody_chose_are_those_that_retrievers_bring_as_new(tmp_path: Path, context: Context) -> None:
    work = tiny.make(tmp_path / "work")
    log = work.read(SEQUENCES)
    without = [tiny.item_id(0) not in items for items in log.column("item_ids").to_pylist()]
    work.write(SEQUENCES, log.filter(pa.array(without)))
    maker = maker_of(work, RecommendConfig(k=3), context)
    chosen = {item for items in work.read(SEQUENCES).column("item_ids").to_pylist() for item in items}
    new = [item not in chosen for item in work.read(ITEMS).column("item_id").to_pylist()]
    assert any(new) and not all(new)
    assert maker.retrieval.cold is not None and maker.retrieval.cold.tolist() == new
