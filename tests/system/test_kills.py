from __future__ import annotations

from pathlib import Path

import pytest

from tests.system import kills, reference
from tests.system.reference import Reference

pytestmark = pytest.mark.system


def test_a_killed_run_leaves_no_trace_after_the_next(small: Reference, tmp_path: Path) -> None:
    count = reference.size("KILLS", 200)
    found = reference.reported(kills.kill(small, tmp_path, count, reference.seed()), f"{count} kills")
    assert not found, reference.shown(found)


def test_two_undisturbed_runs_give_the_same_bytes(small: Reference) -> None:
    assert not small.unsteady
