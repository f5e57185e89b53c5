"""Where a training starts from, if not from nothing: the encoder of another work directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.artifacts import ENCODER, ENCODER_VALIDATION, ITEM_VECTORS
from llmrec_cli.core.columns import ITEM
from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.core.lineage import verified_inputs
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.sequence.encoder import SequenceEncoder

READ = (ENCODER_VALIDATION, ENCODER, ITEM_VECTORS)


@dataclass(frozen=True)
class Start:
    """An encoder to begin from."""

    encoder: SequenceEncoder
    rows: Ints
    """(items,) where each item of the catalogue is in its table, -1 where it is not."""


def starts(init_from: str, base: Path, item_ids: pa.ChunkedArray) -> tuple[Start | None, Start | None]:
    """Where the search and the refit start, for a catalogue (items,) of ids: the search from a model that has not seen
    the newest events. None where `init_from`, a work directory, is empty; UpstreamError where it has no such model.
    """
    if not init_from:
        return None, None
    other = _other(init_from, base)
    known = other.read(ITEM_VECTORS, [ITEM]).column(ITEM).combine_chunks()
    rows = pc.fill_null(pc.index_in(item_ids.combine_chunks(), value_set=known), -1)
    places = np.asarray(rows, dtype=np.int64)
    search, refit = (SequenceEncoder.load(other.need(artifact)) for artifact in (ENCODER_VALIDATION, ENCODER))
    return Start(search, places), Start(refit, places)


def needed(init_from: str, base: Path) -> list[Path]:
    """The files of that work directory that `starts` reads; UpstreamError where its records do not vouch for them."""
    other = _other(init_from, base)
    try:
        verified_inputs(other, READ)
    except UpstreamError as error:
        raise UpstreamError(
            f"pretrain.init_from: {error.what}",
            where=error.where,
            fix=f"llmrec run --to pretrain --work {other.path}   (with its own settings), or name another init_from",
        ) from error
    return [other.where(artifact) for artifact in READ]


def _other(init_from: str, base: Path) -> WorkDir:
    return WorkDir(base / Path(init_from).expanduser())
