"""The plugins of CONTRIBUTING.md run as they stand there, by the commands that a user types."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmrec_cli.cli.app import app
from llmrec_cli.core.artifacts import RANKER_REPORT, RECOMMENDATIONS, RETRIEVERS
from llmrec_cli.core.workdir import WorkDir
from tests import tiny
from tests.conftest import ROOT
from tests.signing import vouch
from tests.test_train_ranker import ready


def snippets() -> dict[str, str]:
    """File name -> text of the blocks of CONTRIBUTING.md that begin with the name of a file."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", text, re.DOTALL))


def llmrec(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Not from the folder of the settings, as the console script would find nothing of it either."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    given = ["--config", str(folder / "llmrec.toml"), "--work", str(folder / "work"), *arguments]
    command = [sys.executable, "-P", "-m", "llmrec_cli", *given[4:5], *given[:4], *given[5:]]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder.parent, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of CONTRIBUTING.md beside a work directory that `train-ranker` can read."""
    folder = tmp_path / "project"
    vouch(ready(folder / "work"))
    for name, text in snippets().items():
        (folder / name).write_text(text)
    return folder


def test_the_plugins_are_fitted_and_make_lists_with_their_own_label(project: Path) -> None:
    fitted = llmrec(project, "train-ranker")
    assert fitted.returncode == 0, fitted.stderr
    work = WorkDir(project / "work")
    names = {row["name"] for row in work.read(RANKER_REPORT).to_pylist()}
    assert {"my_models:Next", "my_models:Votes"} <= names
    saved = json.loads((work.need(RETRIEVERS) / "my_models-Next" / "config.json").read_text())
    assert saved["settings"] == {"power": 1.0}
    vouch(work)
    listed = llmrec(project, "recommend")
    assert listed.returncode == 0, listed.stderr
    rows = work.read(RECOMMENDATIONS).to_pylist()
    first = {row["user_id"]: row["item_id"] for row in rows if row["rank"] == 1}
    assert sum(first[f"u{user:02d}"] == tiny.item_id(tiny.following(user)) for user in range(8)) == 8
    assert any(row["strategy"] == "my_models:Next" for row in rows)
    drawn = llmrec(project, "report")
    assert drawn.returncode == 0, drawn.stderr
    assert "What came right after" in (project / "work" / "report" / "report.html").read_text()
    again = llmrec(project, "train-ranker")
    assert "up to date" in again.stderr
    module = project / "my_models.py"
    module.write_text(module.read_text() + "# changed\n")
    changed = llmrec(project, "train-ranker")
    assert "the code of my_models has changed" in changed.stderr and changed.returncode == 0


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (("def score(self, candidates)", "def scores(self, candidates)"), "it has no 'score'"),
        (("popularity: float", "popular: float"), "unknown setting"),
        (("class Votes(", "class Votez("), "my_models has no 'Votes'"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_reported_before_anything_is_fitted(
    change: tuple[str, str], lines: str, project: Path
) -> None:
    module = project / "my_models.py"
    module.write_text(module.read_text().replace(*change))
    refused = llmrec(project, "train-ranker")
    assert refused.returncode == 2 and lines in refused.stderr and "fitting" not in refused.stderr


RETRIEVER, RANKER = (
    "(histories.sequences.matrix(limit=1) @ self.counts).toarray()",
    "candidates.features @ self.weights",
)


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            ("counts = sequences", "raise ValueError('no'); counts = sequences"),
            "fails in 'fit': ValueError: no",
        ),
        (("return cls(config, counts)", "return None"), "'fit' returned a NoneType in place of a Next"),
        (("return cls(config, counts)", "return cls(config, counts.tocsc())"), "'fit' put a csc_matrix into 'counts'"),
        ((RETRIEVER, f"{RETRIEVER}.T"), "'score' returned float32 of shape (16, 48)"),
        ((RETRIEVER, f"{RETRIEVER} * np.float32(np.nan)"), "'score' returned NaN"),
        ((RETRIEVER, "histories.nothing"), "fails in 'score': AttributeError"),
        ((RANKER, f"({RANKER})[:3]"), "'score' returned float32 of shape (3,)"),
        ((RANKER, f"{RANKER} * np.float32(np.inf)"), "'score' returned infinite numbers"),
        ((RANKER, "None"), "'score' returned a NoneType"),
        (('evidence = "followed"', 'evidence = "because"'), "its 'evidence' is wrong"),
    ],
)
def test_what_a_plugin_does_wrong_is_reported_with_its_name_and_is_no_bug_of_the_program(
    change: tuple[str, str], lines: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # in this process: ten starts of the program would take minutes
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_models", raising=False)
    module = project / "my_models.py"
    assert change[0] in module.read_text()
    module.write_text(module.read_text().replace(*change))
    given = ["train-ranker", "--config", str(project / "llmrec.toml"), "--work", str(project / "work")]
    refused = CliRunner().invoke(app, given)
    assert refused.exit_code == 2 and lines in refused.stderr and "my_models" in refused.stderr


def test_settings_of_a_plugin_are_given_from_the_command_line_too(project: Path) -> None:
    lines = llmrec(project, "config", "train-ranker", "--set", 'train-ranker.ranker."my_models:Votes".popularity=0.3')
    line = next(line for line in lines.stdout.splitlines() if "my_models:Votes" in line and "popularity " in line)
    assert "0.3" in line and "--set" in line
    wrong = llmrec(project, "train-ranker", "--set", 'train-ranker.ranker."my_models:Votes".popularity=-1')
    assert wrong.returncode == 2 and "popularity = -1" in wrong.stderr
