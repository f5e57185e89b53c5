"""What a stage takes from the others: whole, signed, and made from what lies in the same work directory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import BaseModel

from llmrec_cli.core import records
from llmrec_cli.core.artifacts import ENCODER, ITEM_TEXT_VECTORS, ITEM_VECTORS, ITEMS, TOPICS, Artifact
from llmrec_cli.core.errors import LlmrecError, UpstreamError
from llmrec_cli.core.lineage import verified_inputs
from llmrec_cli.core.stage import Context, Report, Stage, execute, state
from llmrec_cli.core.workdir import WorkDir, vectors

HINTS = replace(ITEM_TEXT_VECTORS, name="hints", optional=True)
"""An artifact that need not be there."""


class Config(BaseModel, frozen=True):
    items: list[str] = ["a", "b"]


def _clean(work: WorkDir, config: Config, context: Context) -> Report:
    rows = [{"item_id": item, "n_events": 1} for item in config.items]
    work.write(ITEMS, pa.Table.from_pylist(rows, schema=ITEMS.schema))
    return Report()


def _pretrain(work: WorkDir, config: Config, context: Context) -> Report:
    ids = work.read(ITEMS, ["item_id"]).column("item_id")
    rows = pa.table({"item_id": ids, "vector": vectors(np.ones((len(ids), 2)))})
    work.write(ITEM_VECTORS, rows)
    work.write(HINTS, rows)
    with work.writing(ENCODER) as folder:
        (folder / "config.json").write_text(str(ids))
    return Report()


def _profile(work: WorkDir, config: Config, context: Context) -> Report:
    work.write(TOPICS, pa.Table.from_pylist([{"topic": str(work.read(ITEM_VECTORS).num_rows)}], schema=TOPICS.schema))
    return Report()


CLEAN = Stage("clean", Config, (), (ITEMS,), _clean)
PRETRAIN = Stage("pretrain", Config, (ITEMS,), (ITEM_VECTORS, HINTS, ENCODER), _pretrain)
PROFILE = Stage("profile", Config, (ITEM_VECTORS, HINTS, ENCODER), (TOPICS,), _profile)
LAST = Stage("train-ranker", Config, (ITEMS, TOPICS), (), lambda work, config, context: Report())


@pytest.fixture
def work(tmp_path: Path, context: Context) -> WorkDir:
    made = WorkDir(tmp_path / "work")
    for stage in (CLEAN, PRETRAIN, PROFILE, LAST):
        execute(stage, made, Config(), context)
    return made


def refusal(stage: Stage, work: WorkDir, context: Context) -> str:
    """What the stage says, by itself and when forced, before it touches anything."""
    for force in (False, True):
        with pytest.raises(UpstreamError) as reported:
            execute(stage, work, Config(), context, force=force)
    return str(reported.value)


def test_what_was_made_from_another_log_is_not_used(work: WorkDir, context: Context) -> None:
    execute(CLEAN, work, Config(items=["a", "c"]), context)
    for stage in (PROFILE, LAST):
        reported = refusal(stage, work, context)
        assert "pretrain was made from another clean/items" in reported and "fix:   llmrec pretrain" in reported
    execute(PRETRAIN, work, Config(), context)
    assert "profile was made from another pretrain/" in refusal(LAST, work, context)
    execute(PROFILE, work, Config(), context)
    assert execute(LAST, work, Config(), context).ran


def test_the_first_stale_stage_of_the_chain_is_named(work: WorkDir, context: Context) -> None:
    """Also where a later stage reads from the log itself, and its paths come first in the alphabet."""
    both = replace(PROFILE, reads=(ITEMS, *PROFILE.reads))
    execute(both, work, Config(), context, force=True)
    execute(CLEAN, work, Config(items=["a", "c"]), context)
    assert "pretrain was made from another clean/items" in refusal(LAST, work, context)


def test_the_same_content_made_again_stays_usable(work: WorkDir, context: Context) -> None:
    execute(CLEAN, work, Config(), context, force=True)
    assert state(PROFILE, work, Config(), context).fresh


@pytest.mark.parametrize("artifact", [ITEM_VECTORS, HINTS])
def test_a_flipped_bit_is_found(work: WorkDir, context: Context, artifact: Artifact) -> None:
    path = work.where(artifact)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(bytes(body))
    reported = refusal(PROFILE, work, context)
    assert f"{artifact.path} is damaged or was changed by hand" in reported and "llmrec pretrain" in reported
    assert execute(PRETRAIN, work, Config(), context).ran and state(PROFILE, work, Config(), context).fresh


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_to_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("damage", [Path.unlink, _empty, _folder, _pipe, _link_to_device])
@pytest.mark.parametrize("name", ["item_vectors.parquet", "hints.parquet", "encoder/config.json"])
def test_whatever_stands_in_the_place_of_an_artifact_is_found_and_repaired(
    work: WorkDir, context: Context, damage: Callable[[Path], None], name: str
) -> None:
    damage(work.path / "pretrain" / name)
    assert "llmrec pretrain" in refusal(PROFILE, work, context)
    assert execute(PRETRAIN, work, Config(), context).ran and state(PROFILE, work, Config(), context).fresh


def test_a_file_in_the_place_of_a_folder_is_found_and_repaired(work: WorkDir, context: Context) -> None:
    shutil.rmtree(work.where(ENCODER))
    work.where(ENCODER).write_text("")
    assert "pretrain/encoder is no folder" in refusal(PROFILE, work, context)
    assert execute(PRETRAIN, work, Config(), context).ran and state(PROFILE, work, Config(), context).fresh


def test_an_optional_artifact_that_nobody_made_may_be_absent_but_not_be_slipped_in(
    work: WorkDir, context: Context
) -> None:
    without = replace(PRETRAIN, run=lambda work, config, context: (_pretrain(work, config, context), _drop(work))[0])
    execute(without, work, Config(), context, force=True)
    assert execute(PROFILE, work, Config(), context).ran
    shutil.copy(work.where(ITEM_VECTORS), work.where(HINTS))
    assert "hints.parquet has no record" in refusal(PROFILE, work, context)
    assert execute(without, work, Config(), context).ran and not work.has(HINTS)


def _drop(work: WorkDir) -> None:
    work.remove(HINTS)


@pytest.mark.parametrize(
    "body", ["null", "[]", "{}", "{", "[" * 5000, '{"format": "llmrec.record/1"}', '"llmrec.record/2"', "\x00"]
)
def test_a_record_that_is_none_vouches_for_nothing(work: WorkDir, context: Context, body: str) -> None:
    (work.path / "pretrain" / "record.json").write_text(body)
    assert "pretrain/item_vectors.parquet has no record that vouches for it: its rec" in refusal(PROFILE, work, context)
    now = state(PRETRAIN, work, Config(), context)
    assert not now.fresh and now.why.startswith("its record")
    assert execute(PRETRAIN, work, Config(), context, force=True).ran
    assert state(PROFILE, work, Config(), context).fresh


@pytest.mark.parametrize("damage", [_folder, _pipe])
def test_what_stands_in_the_place_of_a_record_is_found_and_repaired(
    work: WorkDir, context: Context, damage: Callable[[Path], None]
) -> None:
    damage(work.path / "pretrain" / "record.json")
    assert "no record that vouches" in refusal(PROFILE, work, context)
    assert execute(PRETRAIN, work, Config(), context).ran and state(PROFILE, work, Config(), context).fresh


def test_a_signed_record_of_another_shape_is_not_believed(work: WorkDir) -> None:
    path = work.path / "pretrain" / "record.json"
    record = json.loads(path.read_text())
    del record["signature"], record["ticket"]
    path.write_text(records.signed(record))
    assert work.record("pretrain") is None and work.record_problem("pretrain") == "its record is damaged"


def test_no_error_is_a_bug(work: WorkDir, context: Context) -> None:
    (work.path / "clean" / "items.parquet").unlink()
    with pytest.raises(LlmrecError):
        state(LAST, work, Config(), context)


def test_of_records_that_are_not_believed_the_first_stage_is_named(work: WorkDir) -> None:
    """As those of another version: they do not say what they were made from."""
    for stage in ("pretrain", "profile"):
        (work.path / stage / "record.json").write_text("{}")
    with pytest.raises(UpstreamError) as caught:
        verified_inputs(work, [TOPICS, ITEM_VECTORS])
    assert "llmrec pretrain" in str(caught.value) and "pretrain/item_vectors.parquet has no record" in str(caught.value)
