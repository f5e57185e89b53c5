from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.system import damage, reference
from tests.system.reference import Reference

pytestmark = pytest.mark.system


def test_a_damaged_artifact_is_refused_and_repaired(small: Reference, foreign: Reference, tmp_path: Path) -> None:
    chosen = damage.damages(small, foreign, reference.seed())
    random.Random(reference.seed()).shuffle(chosen)
    chosen = chosen[: reference.size("DAMAGES", len(chosen))]
    found = reference.reported(damage.damage(small, chosen, tmp_path), f"{len(chosen)} damaged artifacts")
    assert not found, reference.shown(found)


def test_inputs_that_do_not_belong_together_are_refused(small: Reference, foreign: Reference, tmp_path: Path) -> None:
    found = reference.reported(damage.stale(small, foreign, tmp_path), "stale inputs")
    assert not found, reference.shown(found)
