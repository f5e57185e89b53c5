"""The harness finds what it is there to find: faults that are planted in the program are reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.system import damage, fuzz, kills
from tests.system.child import Finding, Plant
from tests.system.reference import Reference

pytestmark = pytest.mark.system


def skips_the_check() -> None:
    """`profile` declares no inputs, so nothing looks at them."""
    from llmrec_cli.stages import profile

    vars(profile)["STAGE"] = replace(profile.STAGE, reads=())


def swallows_errors() -> None:
    """A stage that cannot work says nothing."""
    from llmrec_cli import pipeline
    from llmrec_cli.core.errors import LlmrecError

    walk = pipeline.walk

    def quiet(*given: Any, **named: Any) -> Any:
        try:
            return walk(*given, **named)
        except LlmrecError:
            return []

    vars(pipeline)["walk"] = quiet


def writes_half(name: str) -> Plant:
    """A table is written without its first rows."""

    def plant() -> None:
        from llmrec_cli.core.workdir import WorkDir

        writer = WorkDir.writer

        @contextmanager
        def half(self: WorkDir, table: Any) -> Iterator[Any]:
            with writer(self, table) as append:
                yield lambda piece: append(_half(piece) if table.name == name else piece)

        WorkDir.writer = half  # type: ignore[method-assign,assignment]

    return plant


def _half(piece: pa.Table) -> pa.Table:
    return piece.slice(piece.num_rows // 2 + piece.num_rows % 2)


def hurt(small: Reference, foreign: Reference, folder: Path, what: tuple[str, str], plant: Plant) -> list[Finding]:
    every = damage.damages(small, foreign, 1)
    (one,) = [each for each in every if (each.place, each.kind.split()[0]) == what][:1]
    return list(damage.damage(small, [one], folder, plant))


def kinds(found: list[Finding], command: str) -> set[str]:
    return {each.kind for each in found if f"llmrec {command} " in each.how + " "}


def test_a_stage_that_skips_the_check_is_found(small: Reference, foreign: Reference, tmp_path: Path) -> None:
    found = hurt(small, foreign, tmp_path, ("clean/users.parquet", "foreign"), skips_the_check)
    assert "silent use" in kinds(found, "profile")


def test_a_swallowed_error_is_found(small: Reference, foreign: Reference, tmp_path: Path) -> None:
    found = hurt(small, foreign, tmp_path, ("clean/items.parquet", "delete"), swallows_errors)
    assert "silent use" in kinds(found, "pretrain")


def test_a_half_written_artifact_is_found(small: Reference, foreign: Reference, tmp_path: Path) -> None:
    half = writes_half("taste_texts")
    found = hurt(small, foreign, tmp_path / "damage", ("generate/taste_texts.parquet", "delete"), half)
    assert kinds(found, "generate") and "other bytes" in kinds(found, "run")
    assert "other bytes" in {each.kind for each in kills.kill(small, tmp_path / "kills", 2, 1, half)}


def test_rows_that_are_lost_are_found(finished: None, tmp_path: Path) -> None:
    found = list(fuzz.fuzz(tmp_path, range(30), 1, writes_half("rejects")))
    assert "account" in {each.kind for each in found}


def test_what_is_killed_without_a_word_is_found(small: Reference, tmp_path: Path) -> None:
    def dies() -> None:
        import os

        from llmrec_cli.core.workdir import WorkDir

        vars(WorkDir)  # the class is there before it is broken
        WorkDir.sign = lambda *given: os._exit(1)  # type: ignore[method-assign,assignment]

    assert {"bug"} <= {each.kind for each in kills.kill(small, tmp_path, 2, 1, dies)}
