"""The commands of the examples' READMEs run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
READMES = sorted((ROOT / "data").glob("*/README.md"))


def commands(readme: Path) -> list[list[str]]:
    """The lines of its console blocks that begin with a dollar, as words."""
    blocks = re.findall(r"```console\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    return [line[2:].split() for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_every_command_of_an_example_ends_well(readme: Path, tmp_path: Path) -> None:
    program = {"llmrec": [sys.executable, "-m", "llmrec_cli"], "python": [sys.executable]}
    given = commands(readme)
    assert len(given) >= 2
    for name, *words in given:
        own = [str(tmp_path / word) if word.startswith("work/") else word for word in words]
        done = subprocess.run([*program[name], *own], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
