"""Where a training starts from, if not from nothing: the encoder of another work directory, or of a shorter log."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.artifacts import ENCODER, ENCODER_VALIDATION, ITEM_VECTORS, SEQUENCES, WARM_START, Artifact
from llmrec_cli.core.columns import ITEM
from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.core.lineage import verified_inputs
from llmrec_cli.core.records import Json
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest import appended
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.sequence.encoder_config import EncoderConfig
from llmrec_cli.tensors import checkpoints

READ = (ENCODER_VALIDATION, ENCODER, ITEM_VECTORS)
FULL_FIT = "full_fit"
"""In the `config.json` of an encoder, see `Before`."""


@dataclass(frozen=True)
class Start:
    """An encoder to begin from."""

    encoder: SequenceEncoder
    rows: Ints
    """(items,) where each item of the catalogue is in its table, -1 where it is not."""


@dataclass(frozen=True)
class Before:
    """The encoders of a `pretrain` before this: where the search and the refit start."""

    search: Start
    """From a model that has not seen the newest events."""
    refit: Start
    full_fit: Json
    """What the last training from nothing was: `ndcg`@10 on validation without content similarity, and `events`."""


def load(folder: Path, item_ids: pa.ChunkedArray) -> Before:
    """What a `pretrain` folder holds, for a catalogue (items,) of ids; UpstreamError where it holds no such model."""
    known = pq.read_table(folder / Path(ITEM_VECTORS.path).name, columns=[ITEM]).column(ITEM).combine_chunks()
    rows = pc.fill_null(pc.index_in(item_ids.combine_chunks(), value_set=known), -1)
    places = np.asarray(rows, dtype=np.int64)
    search, refit = (Start(SequenceEncoder.load(folder / each.name), places) for each in (ENCODER_VALIDATION, ENCODER))
    return Before(search, refit, checkpoints.load_config(folder / ENCODER_VALIDATION.name)[FULL_FIT])


def earlier(work: WorkDir, config: EncoderConfig) -> Path | None:
    """The folder that holds what a training after an append starts from; None where it starts from nothing.

    That is `pretrain` itself, trained by the same settings on the log before the append; where the training has been
    done, it is what was kept of that. A model that has learnt from people who were forgotten since is none.
    """
    record = work.record("pretrain")
    if record is None or record.get("forgot") or config.warm == "never" or config.init_from or config.dp_epsilon:
        return None
    if {**record["parts"]["settings"], "warm": ""} != {**config.model_dump(mode="json"), "warm": ""}:
        return None
    now, then = work.fingerprint(SEQUENCES), record["parts"]["inputs"].get(SEQUENCES.path)
    logs = appended.read(work.path).logs
    if now != then and (now not in logs[-1:] or then not in logs):
        return None
    kept: tuple[Artifact, ...] = (WARM_START,) if now == then else READ
    signed = [record["outputs"].get(each.path, {}).get("sha256") for each in kept]
    if not all(map(work.has, kept)) or signed != [*map(work.fingerprint, kept)]:
        return None
    return work.where(WARM_START) if now == then else work.path / "pretrain"


def files(folder: Path) -> list[Path]:
    """What of a `pretrain` folder a training starts from."""
    return [folder / Path(each.path).name for each in READ]


def keep(work: WorkDir, folder: Path) -> None:
    """Keep what a training started from: it is an input of what comes to lie there."""
    with work.writing(WARM_START) as kept:
        for each in files(folder):
            (shutil.copytree if each.is_dir() else shutil.copy)(each, kept / each.name)


def needed(init_from: str, base: Path) -> list[Path]:
    """The files of that work directory that `load` reads; UpstreamError where its records do not vouch for them."""
    other = WorkDir(named(init_from, base).parent)
    try:
        verified_inputs(other, READ)
    except UpstreamError as error:
        raise UpstreamError(
            f"pretrain.init_from: {error.what}",
            where=error.where,
            fix=f"llmrec run --to pretrain --work {other.path}   (with its own settings), or name another init_from",
        ) from error
    return files(named(init_from, base))


def named(init_from: str, base: Path) -> Path:
    """The `pretrain` folder of that work directory."""
    return base / Path(init_from).expanduser() / "pretrain"
