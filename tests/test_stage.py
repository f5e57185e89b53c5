from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from llmrec_cli.core.artifacts import (
    ENCODER,
    ITEM_TEXT_VECTORS,
    ITEM_VECTORS,
    TOPICS,
    Table,
)
from llmrec_cli.core.errors import SettingsError, UpstreamError
from llmrec_cli.core.launch import threads
from llmrec_cli.core.stage import Context, Report, Stage, estimate, execute, state
from llmrec_cli.core.ticket import Source
from llmrec_cli.core.workdir import WorkDir, to_numpy, vectors

HINTS = replace(ITEM_TEXT_VECTORS, name="hints", optional=True)
"""An artifact that need not be there."""


class Config(BaseModel, frozen=True, extra="forbid"):
    value: float = 1.0
    images: bool = True


def _table(value: float) -> pa.Table:
    return pa.table({"item_id": ["a"], "vector": vectors(np.full((1, 2), value))})


def _first(work: WorkDir, config: Config, context: Context) -> Report:
    work.write(ITEM_TEXT_VECTORS, _table(config.value))
    if config.images:
        work.write(HINTS, _table(0))
    return Report(counts={"items": 1}, lines=["one item"])


def _second(work: WorkDir, config: Config, context: Context) -> Report:
    value = to_numpy(work.read(ITEM_TEXT_VECTORS).column("vector"))[0, 0]
    work.write(TOPICS, pa.Table.from_pylist([{"topic": f"{value:g}"}], schema=TOPICS.schema))
    return Report()


def _source(work: WorkDir, config: Config, base: Path) -> list[Source]:
    return [Source("raw files", base, [base / "raw.csv"])]


def by_hand(work: WorkDir, table: Table) -> None:
    """A whole table of another content, in the place of what the program wrote or where it wrote nothing."""
    pq.write_table(_table(9), work.where(table))


MAYBE = replace(ITEM_VECTORS, optional=True)
FIRST = Stage("pretrain", Config, (), (ITEM_TEXT_VECTORS, HINTS, MAYBE), _first, sources=_source)
SECOND = Stage("profile", Config, (ITEM_TEXT_VECTORS,), (TOPICS,), _second)


@pytest.fixture
def work(tmp_path: Path) -> WorkDir:
    (tmp_path / "raw.csv").write_text("1")
    return WorkDir(tmp_path / "work")


def test_a_second_run_does_nothing_and_reports_the_same(work: WorkDir, context: Context) -> None:
    assert execute(FIRST, work, Config(), context).ran
    again = execute(FIRST, work, Config(), context)
    assert not again.ran and again.report.lines == ["one item"]
    assert execute(FIRST, work, Config(), context, force=True).ran


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda work, context: (Config(value=2), context), "value has changed"),
        (lambda work, context: (Config(), replace(context, seed=1)), "the seed has changed"),
        (
            lambda work, context: ((context.base / "raw.csv").write_text("2"), (Config(), context))[1],
            "raw files changed: raw.csv",
        ),
        (lambda work, context: (work.where(ITEM_TEXT_VECTORS).unlink(), (Config(), context))[1], "is gone"),
        (lambda work, context: (by_hand(work, ITEM_TEXT_VECTORS), (Config(), context))[1], "changed by hand"),
        (lambda work, context: (by_hand(work, ITEM_VECTORS), (Config(), context))[1], "was put there by hand"),
    ],
)
def test_what_makes_a_stage_stale_is_said(work: WorkDir, context: Context, change: object, why: str) -> None:
    execute(FIRST, work, Config(), context)
    config, changed = change(work, context)  # type: ignore[operator]
    now = state(FIRST, work, config, changed)
    assert not now.fresh and why in now.why


def test_threads_and_memory_do_not_make_a_stage_stale(work: WorkDir, context: Context) -> None:
    execute(FIRST, work, Config(), context)
    assert state(FIRST, work, Config(), replace(context, threads=7, max_memory=1, device="cuda")).fresh


def test_threads_make_a_stage_stale_whose_bytes_depend_on_them(work: WorkDir, context: Context) -> None:
    stage = replace(FIRST, threaded=True)
    execute(stage, work, Config(), replace(context, threads=2))
    assert state(stage, work, Config(), replace(context, threads=2)).fresh
    now = state(stage, work, Config(), replace(context, threads=3))
    assert not now.fresh and now.why == "it was made with 2 threads, these are 3"
    cores = threads(0)
    execute(stage, work, Config(), replace(context, threads=0))
    assert state(stage, work, Config(), replace(context, threads=cores)).fresh


def test_a_touched_output_is_noticed_and_not_made_again(work: WorkDir, context: Context) -> None:
    execute(FIRST, work, Config(), context)
    os.utime(work.where(ITEM_TEXT_VECTORS), (1, 1))
    outcome = execute(FIRST, work, Config(), context)
    assert not outcome.ran and "touched" in outcome.why


def test_new_inputs_make_the_next_stage_stale(work: WorkDir, context: Context) -> None:
    execute(FIRST, work, Config(), context)
    execute(SECOND, work, Config(), context)
    execute(FIRST, work, Config(value=3), context)
    outcome = execute(SECOND, work, Config(), context)
    assert outcome.ran and outcome.why == "pretrain/item_text_vectors.parquet is new"


def test_a_missing_input_names_the_stage_that_makes_it(work: WorkDir, context: Context) -> None:
    with pytest.raises(UpstreamError, match="`pretrain` has not been run"):
        execute(SECOND, work, Config(), context)


def test_an_optional_output_of_an_earlier_run_is_cleared(work: WorkDir, context: Context) -> None:
    execute(FIRST, work, Config(), context)
    assert work.has(HINTS)
    execute(FIRST, work, Config(images=False), context)
    assert not work.has(HINTS)


def test_a_stage_that_fails_is_not_signed(work: WorkDir, context: Context) -> None:
    execute(FIRST, work, Config(), context)

    def broken(work: WorkDir, config: Config, context: Context) -> Report:
        work.write(ITEM_TEXT_VECTORS, _table(config.value))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        execute(replace(FIRST, run=broken), work, Config(value=2), context)
    assert work.record("pretrain") is None


def test_a_stage_that_fails_before_it_writes_leaves_what_was_there(work: WorkDir, context: Context) -> None:
    execute(FIRST, work, Config(), context)
    before = everything_in(work.path)

    def typo(work: WorkDir, config: Config, context: Context) -> Report:
        with work.writing(ITEM_TEXT_VECTORS) as path:
            path.write_text("half")
            raise SettingsError("no device is called foo")

    with pytest.raises(SettingsError):
        execute(replace(FIRST, run=typo), work, Config(value=2), context, force=True)
    assert everything_in(work.path) == before and state(FIRST, work, Config(), context).fresh


def test_a_stage_that_forgets_an_output_is_caught(work: WorkDir, context: Context) -> None:
    with pytest.raises(UpstreamError, match="encoder"):
        execute(replace(FIRST, writes=(*FIRST.writes, ENCODER)), work, Config(), context)


def test_what_a_stage_cost_is_in_its_record(work: WorkDir, context: Context) -> None:
    outcome = execute(FIRST, work, Config(), context)
    record = work.record("pretrain")
    assert record is not None and outcome.cost.describe().items() <= record.items()
    assert record["seconds"] > 0 and record["core_seconds"] >= 0 and record["peak_memory_mb"] > 10
    assert execute(FIRST, work, Config(), context).cost.seconds == 0


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _estimate(work: WorkDir, config: Config, context: Context) -> Report:
    (work.scratch("profile", context.ticket) / "codes").write_bytes(b"x")
    work.write(ITEM_VECTORS, work.read(ITEM_TEXT_VECTORS))
    return Report(counts={"items": work.read(ITEM_TEXT_VECTORS).num_rows})


def test_an_estimate_reads_everything_and_changes_nothing(work: WorkDir, context: Context) -> None:
    stage = replace(SECOND, estimate=_estimate)
    with pytest.raises(UpstreamError, match="`pretrain` has not been run"):
        estimate(stage, work, Config(), context)
    execute(FIRST, work, Config(), context)
    before = everything_in(work.path)
    reported = estimate(stage, work, Config(), context)
    assert reported.counts == {"items": 1} and reported.lines == ["not up to date: not run yet"]
    assert everything_in(work.path) == before
    execute(stage, work, Config(), context)
    assert estimate(stage, work, Config(), context).lines == ["up to date"]


def test_a_stage_without_an_estimate_says_so(work: WorkDir, context: Context) -> None:
    with pytest.raises(SettingsError, match="`pretrain` cannot estimate"):
        estimate(FIRST, work, Config(), context)


def test_every_table_has_its_key_among_its_columns() -> None:
    from llmrec_cli.core import artifacts

    tables = [value for value in vars(artifacts).values() if isinstance(value, Table)]
    assert len(tables) > 15
    for table in tables:
        assert set(table.key) <= set(table.schema.names), table.name
        assert table.about.endswith("."), table.name


def test_what_a_kill_after_the_signature_left_goes_with_the_next_run(work: WorkDir, context: Context) -> None:
    execute(FIRST, work, Config(), context)
    (work.scratch(FIRST.name, "0" * 16) / "half").write_text("")
    assert not execute(FIRST, work, Config(), context).ran
    assert not (work.path / FIRST.name / ".scratch").exists()
