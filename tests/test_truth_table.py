"""`docs/truth.md` names every sentence that the code can say, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from llmrec_cli.tables import wording

TABLE = (Path(__file__).parents[1] / "docs" / "truth.md").read_text(encoding="utf-8")


def told(heading: str) -> list[str]:
    """First cells of the table under a heading."""
    (section,) = re.findall(rf"^## {re.escape(heading)}[^\n]*\n(.*?)(?=^## |\Z)", TABLE, re.MULTILINE | re.DOTALL)
    return [cell.strip() for cell in re.findall(r"^\| (.+?) \|", section, re.MULTILINE)][1:]


def test_every_reason_stands_in_the_table() -> None:
    assert told("Reasons") == list(wording.SENTENCES)
