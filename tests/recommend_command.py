"""`llmrec recommend` as it is typed, on a work directory of the tests."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner, Result

from llmrec_cli.cli.app import app
from llmrec_cli.core.workdir import WorkDir


def llmrec(work: WorkDir, *options: str) -> Result:
    given = ["recommend", "--work", str(work.path), "--threads", "1", *options]
    return CliRunner().invoke(app, given, env={"LLMREC_CONFIG": ""})


def asked(work: WorkDir, *options: str) -> Any:
    """What a question that is answered prints with --json."""
    done = llmrec(work, *options, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)
