"""Excel files and records as Python prints them."""

from __future__ import annotations

import sys
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llmrec_cli.commands.scaffold import init
from llmrec_cli.core.config import load
from llmrec_cli.core.errors import DataError, MissingExtraError
from llmrec_cli.extras.conversions import write_literals
from tests.public_layouts import events, title


def test_records_of_python_become_json(tmp_path: Path) -> None:
    lines = [
        "{u'user': u'O\\'Brien', 'n': 1.50, 'paid': True, 'none': None, 'tags': ('a', 'b')}",
        "{broken",
        '{"a": 1}',
    ]
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n")
    write_literals(tmp_path / "in.txt", tmp_path / "out.json")
    assert (tmp_path / "out.json").read_text().splitlines() == [
        '{"user": "O\'Brien", "n": 1.5, "paid": true, "none": null, "tags": ["a", "b"]}',
        "{broken",
        '{"a": 1}',
    ]


def test_code_in_a_record_is_not_run(tmp_path: Path) -> None:
    evil = f"{{'user': __import__('pathlib').Path('{tmp_path}/evil').touch()}}\n"
    (tmp_path / "in.txt").write_text("{'user': 'u'}\n" + evil)
    write_literals(tmp_path / "in.txt", tmp_path / "out.json")
    assert (tmp_path / "out.json").read_text() == '{"user": "u"}\n' + evil and not (tmp_path / "evil").exists()


def test_without_the_package_an_excel_file_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "log.xlsx", "w") as zipped:
        zipped.writestr("xl/workbook.xml", "<workbook/>")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingExtraError, match="a package that is not installed") as reported:
        init([tmp_path / "log.xlsx"], tmp_path / "p")
    assert "pip install 'llmrec-cli[xlsx]'" in reported.value.fix


def workbook(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    openpyxl = pytest.importorskip("openpyxl", reason="needs llmrec[xlsx]")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def sales(start: int, stop: int) -> list[list[Any]]:
    day = datetime(2024, 3, 1, 9, 30)
    rows = [[float(100 + e.user), f"i{e.item}", day + timedelta(hours=e.n), e.stars] for e in events()[start:stop]]
    return [["Customer ID", "StockCode", "InvoiceDate", "Quantity"], *rows, [None] * 4]


def test_a_sheet_for_each_year_is_one_log_and_another_describes_items(tmp_path: Path) -> None:
    items = [["StockCode", "Description"], *([f"i{n}", title(n)] for n in range(30))]
    notes = [["Some words about the file"]]
    sheets = {"Year 2023": sales(0, 120), "Year 2024": sales(120, 240), "Products": items, "Notes": notes}
    said = "\n".join(init([workbook(tmp_path / "shop.xlsx", sheets)], tmp_path).lines)
    clean = load(tmp_path / "llmrec.toml", environ={}).values["clean"]
    assert clean["interactions"] == {
        "path": ["shop.xlsx#Year 2023", "shop.xlsx#Year 2024"],
        "user": "Customer ID",
        "item": "StockCode",
        "time": "InvoiceDate",
        "value": "Quantity",
    }
    assert clean["items"] == {"path": "shop.xlsx#Products", "item": "StockCode", "title": "Description"}
    assert "Notes: not used" in said and "2024-03-01 09:30:00" not in said


def test_a_damaged_excel_file_and_a_wrong_sheet_are_reported(tmp_path: Path) -> None:
    from llmrec_cli.ingest.locations import locate

    path = workbook(tmp_path / "log.xlsx", {"A": sales(0, 9), "B": sales(9, 20)})
    with pytest.raises(DataError, match="holds 2") as reported:
        locate("log.xlsx", tmp_path)
    assert '"log.xlsx#A"' in reported.value.fix
    with pytest.raises(DataError, match="no member 'a'"):
        locate("log.xlsx#a", tmp_path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "cut.xlsx", "w") as cut:
        cut.writestr("xl/workbook.xml", whole.read("xl/workbook.xml")[:100])
    with pytest.raises(DataError, match="cannot be read"):
        locate("cut.xlsx", tmp_path)
