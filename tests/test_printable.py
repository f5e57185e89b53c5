"""What the data hold never commands a terminal: escapes, C1, writing direction and newlines are written out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llmrec_cli.cli.app import app
from llmrec_cli.cli.console import Console
from llmrec_cli.core.artifacts import ITEMS, RECOMMENDATIONS
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.printable import printable, printable_json
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.workdir import WorkDir
from tests import tiny

# colour, title of the window, C1's own "[", right-to-left override, isolate, a line of its own, a bell
HOSTILE = "\x1b[31mred\x1b]0;pwned\x07 \x9b2J \u202egnirts\u2066 \u2028\nerror: fake\ttab\x7f"
ACTIVE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    folder = tmp_path_factory.mktemp("printable") / "work"
    made = tiny.make(folder, {code: f"{HOSTILE} {code}" for code in range(tiny.N_ITEMS)})
    assert llmrec(made, "recommend", "-q").exit_code == 0
    return made


def llmrec(work: WorkDir, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--work", str(work.path)])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show", "item", "i03"], 0),
        (["show", "user", "u00"], 0),
        (["recommend", "--user", "u00"], 0),
        (["recommend", "--user", HOSTILE, "-k", "2"], 0),
        (["show", "item", "pwned"], 3),
        (["show", "user", HOSTILE], 3),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_that_is_printed_commands_the_terminal(
    work: WorkDir, words: list[str], code: int, as_json: bool
) -> None:
    done = llmrec(work, *words, *(["--json"] if as_json else []))
    assert done.exit_code == code, done.output
    assert not ACTIVE.findall(done.output)
    assert not any(line.startswith("error: fake") for line in done.output.splitlines())
    if as_json:
        json.loads(done.stdout)


def test_the_data_are_reported_as_they_are_with_json(work: WorkDir) -> None:
    reported = json.loads(llmrec(work, "show", "item", "i03", "--json").stdout)
    assert reported["title"] == f"{HOSTILE} 3"
    line = json.loads(llmrec(work, "recommend", "--user", "u00", "--format", "jsonl", "-k", "1").stdout)
    assert line["items"][0]["title"] == f"{HOSTILE} 3"


def test_messages_progress_and_tables_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.error(DataError(HOSTILE, where=HOSTILE, fix=HOSTILE, table=["rows 3", HOSTILE]))
    console.bug(ValueError(HOSTILE))
    console.log(HOSTILE)
    PlainProgress().log(HOSTILE)
    with PlainProgress(every=-1).task(HOSTILE, 2, HOSTILE) as task:
        task.advance(1, HOSTILE)
    reported = capsys.readouterr().err
    assert not ACTIVE.findall(reported) and len(reported.splitlines()) == 10
    console.table([HOSTILE, "b"], [["x", HOSTILE], ["y", ""]])
    table = capsys.readouterr().out
    assert not ACTIVE.findall(table) and len(table.splitlines()) == 3


def test_letters_of_every_script_stay_and_json_stays_the_same_document() -> None:
    plain = "Crème brûlée — “Ünïcode” 日本語 עברית می‌خواهم 👩‍👩‍👧 \\x1b"
    assert printable(plain) == plain and printable_json(plain) == plain
    assert printable("\x1b[0m\x9b\u202e\n\udcff") == r"\x1b[0m\x9b\u202e\n\udcff"
    document = json.dumps({HOSTILE: [HOSTILE]}, ensure_ascii=False)
    assert not ACTIVE.findall(printable_json(document)) and json.loads(printable_json(document)) == {HOSTILE: [HOSTILE]}


def test_bytes_that_are_no_text_and_a_terminal_of_ascii_are_no_bug(work: WorkDir, tmp_path: Path) -> None:
    def run(*words: Any) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "llmrec_cli", *words, "--work", str(work.path)]
        env = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, capture_output=True, env=env, cwd=tmp_path, check=False)

    for words in (["show", "user", b"\xff"], ["recommend", "--user", b"\xff"], ["show", "item", b"\xff"]):
        assert run(*words).returncode == 2
    shown = run("show", "user", "u00")
    assert shown.returncode == 0 and b"\\u201c" in shown.stdout and work.has(RECOMMENDATIONS) and work.has(ITEMS)
