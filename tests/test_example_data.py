"""The examples of other domains: their logs come from the seed, and their settings fit them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import example_data
from llmrec_cli.core.artifacts import ITEMS, SEQUENCES
from llmrec_cli.core.config import load
from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.stages import clean

DATA = Path(__file__).parents[1] / "data"
USERS = {"news": 300, "finance": 350, "social": 320}


def test_the_logs_are_those_that_the_seed_makes(tmp_path: Path) -> None:
    for make in (example_data.news, example_data.finance, example_data.social):
        make(tmp_path / make.__name__)
        for made in sorted((tmp_path / make.__name__).glob("*.csv")):
            assert made.read_bytes() == (DATA / make.__name__ / made.name).read_bytes(), made.name


@pytest.mark.parametrize("name", sorted(USERS))
def test_the_settings_fit_the_log(name: str, tmp_path: Path, context: Context) -> None:
    settings = load(DATA / name / "llmrec.toml", [])
    work = WorkDir(tmp_path / "work")
    clean.STAGE.run(work, settings.section("clean", clean.STAGE.config), replace(context, base=DATA / name))
    assert work.read(SEQUENCES).num_rows == USERS[name]
    assert work.read(ITEMS).num_rows > 100
