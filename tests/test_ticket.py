"""What files outside of the work directory say in a ticket, and what is reported of a difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmrec_cli.api import open as open_work
from llmrec_cli.core import ticket
from llmrec_cli.core.ticket import Source, contents, difference
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.stages.clean import CleanConfig, sources

SAME: dict[str, Any] = {
    "settings": {"k": 1, "deep": {"dim": 2}},
    "seed": 1,
    "inputs": {"clean/items.parquet": "a"},
    "sources": {"pictures of items": {"img/a.jpg": "a", "img/b.jpg": "b"}},
    "code": "1",
    "facts": {"min_support": "3"},
    "threads": 2,
}


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"settings": {"k": 1, "deep": {"dim": 3}}}, "deep.dim has changed"),
        (
            {"sources": {"pictures of items": {"img/a.jpg": "x", "img/b.jpg": "b"}}},
            "pictures of items changed: img/a.jpg",
        ),
        ({"sources": {"pictures of items": {"img/b.jpg": "y"}}}, "pictures of items changed: img/a.jpg and 1 more"),
        ({"sources": {}}, "pictures of items changed: img/a.jpg and 1 more"),
        ({"inputs": {"clean/items.parquet": "b"}}, "clean/items.parquet is new"),
        ({"facts": {}}, "min_support has changed"),
        ({"threads": 3}, "it was made with 2 threads, these are 3"),
        ({"seed": 2}, "the seed has changed"),
        ({"code": "2"}, "llmrec itself is newer"),
    ],
)
def test_a_difference_is_reported_in_words(change: dict[str, Any], reported: str) -> None:
    assert difference(SAME, SAME | change) == reported


def test_a_folder_that_is_moved_as_a_whole_is_what_it_was(tmp_path: Path) -> None:
    def of(folder: Path) -> dict[str, dict[str, str]]:
        return contents([Source("raw files", folder, [folder / "data" / "log.csv"])])

    (tmp_path / "here" / "data").mkdir(parents=True)
    (tmp_path / "here" / "data" / "log.csv").write_text("a,b\n")
    before = of(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert of(tmp_path / "there") == before and list(before["raw files"]) == ["data/log.csv"]
    (tmp_path / "there" / "data" / "log.csv").write_text("a,c\n")
    assert of(tmp_path / "there") != before


def test_a_file_elsewhere_goes_by_its_whole_path(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("a")
    found = Source("raw files", tmp_path / "project", [tmp_path / "log.csv"]).contents()
    assert list(found) == [(tmp_path / "log.csv").as_posix()]


def test_of_very_many_files_there_is_one_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticket, "NAMED", 2)
    files = [tmp_path / f"{n}.jpg" for n in range(3)]
    for file in files:
        file.write_text("a")
    before = contents([Source("pictures of items", tmp_path, files)])
    files[1].write_text("b")
    after = contents([Source("pictures of items", tmp_path, files)])
    assert list(before["pictures of items"]) == [""]
    assert difference(SAME | {"sources": before}, SAME | {"sources": after}) == "pictures of items changed"


def test_a_project_that_was_moved_is_up_to_date(tmp_path: Path) -> None:
    """The whole folder: settings, raw file in a folder beside them, work directory."""
    here, there = tmp_path / "here", tmp_path / "elsewhere" / "there"
    (here / "data").mkdir(parents=True)
    rows = [f"u{n % 7},i{n % 5},2026-01-{n % 28 + 1:02d}" for n in range(60)]
    (here / "data" / "log.csv").write_text("\n".join(["user,item,time", *rows]))
    names = 'path = "data/log.csv"\nuser = "user"\nitem = "item"\ntime = "time"\n'
    (here / "llmrec.toml").write_text(f"[clean]\nrepeats = 'keep'\n[clean.interactions]\n{names}")
    assert open_work(here / "work", here / "llmrec.toml").run("clean")["ran"].all()
    there.parent.mkdir()
    here.rename(there)
    assert not open_work(there / "work", there / "llmrec.toml").run("clean")["ran"].any()
    (there / "data" / "log.csv").write_text("\n".join(["user,item,time", *rows, "u1,i1,2026-02-01"]))
    again = open_work(there / "work", there / "llmrec.toml").run("clean")
    assert again["why"].tolist() == ["raw files changed: data/log.csv"]


def test_raw_files_go_by_the_name_that_is_given(tmp_path: Path) -> None:
    """A copy of the settings that names the same file by its whole path is as fresh as the original."""
    (tmp_path / "log.csv").write_text("user,item\n")
    work = WorkDir(tmp_path / "work")
    for path, name in (("log.csv", "log.csv"), (str(tmp_path / "log.csv"), str(tmp_path / "log.csv"))):
        config = CleanConfig.model_validate({"interactions": {"path": path, "user": "user", "item": "item"}})
        (raw,) = sources(work, config, tmp_path)
        assert list(raw.contents()) == [name]
