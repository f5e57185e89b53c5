"""Files appended to a log: the tables are those of all files at once, whatever was read before."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from llmrec_cli import pipeline
from llmrec_cli.cli.app import app
from llmrec_cli.core.artifacts import FUNNEL, INTERACTIONS, ITEMS, REJECTS, USERS, Table
from llmrec_cli.core.config import Settings
from llmrec_cli.core.errors import DataError, UpstreamError
from llmrec_cli.core.stage import Context, Outcome
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest import appended, spool
from llmrec_cli.ingest.engine import Engine
from llmrec_cli.privacy import forget
from llmrec_cli.stages.clean import STAGE
from tests.conftest import SAMPLE
from tests.test_checked_log import SETTINGS, TIMED, write_log

COMMON = {"user": "user", "item": "item"}
TABLES: list[Table] = [table for table in STAGE.writes if isinstance(table, Table)]


def settings_for(folder: Path, paths: Sequence[str], settings: dict[str, Any]) -> Settings:
    found = Settings(base=folder)
    for key, value in {"items": {"title": "title"}, **settings}.items():
        found.put(f"clean.{key}", value, "test")
    found.put("clean.interactions", {**COMMON, **settings["interactions"], "path": list(paths)}, "test")
    return found


def clean(
    context: Context,
    settings: dict[str, Any],
    paths: Sequence[str],
    append: Sequence[str] = (),
    work: str = "work",
    *,
    rebuild: bool = False,
) -> Outcome:
    """`clean` of the files of the settings, with files to append."""
    given = settings_for(context.base, paths, settings)
    directory, files = WorkDir(context.base / work), [str(context.base / each) for each in append]
    (outcome,) = pipeline.walk(directory, given, context, ["clean"], append=files, rebuild=rebuild)
    return outcome


def tables(context: Context, work: str = "work") -> dict[str, bytes]:
    directory = WorkDir(context.base / work)
    return {table.path: directory.where(table).read_bytes() for table in TABLES if directory.has(table)}


def split(lines: Sequence[str], header: str, folder: Path, rng: np.random.Generator, n: int) -> list[str]:
    """The lines in `n` files, cut anywhere."""
    cuts = [0, *sorted(rng.integers(0, len(lines) + 1, n - 1).tolist()), len(lines)]
    names = [f"part{i}.csv" for i in range(n)]
    for name, start, stop in zip(names, cuts, cuts[1:], strict=False):
        (folder / name).write_text("".join([header, *lines[start:stop]]), encoding="utf-8")
    return names


def split_log(folder: Path, seed: int, rows: int) -> list[str]:
    rng = np.random.default_rng(seed)
    write_log(folder, rng, rows)
    header, *lines = (folder / "log1.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    return split(lines, header, folder, rng, 4)


@pytest.mark.parametrize(
    "settings",
    [pytest.param(each, marks=[] if i in (1, 7, 10) else pytest.mark.slow) for i, each in enumerate(SETTINGS)],
    ids="-".join,
)
def test_an_append_gives_the_bytes_of_all_files_at_once(
    context: Context, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.setenv("LLMREC_KEY", "ab" * 32)
    names = split_log(context.base, 3, 400)
    clean(context, settings, names[:2])
    clean(context, settings, names[:2], names[2:])
    clean(context, settings, names, work="whole")
    assert tables(context) == tables(context, "whole")
    work = WorkDir(context.base / "work")
    assert work.read(INTERACTIONS).num_rows > 20
    assert not clean(context, settings, names[:2]).ran


def test_only_new_files_are_read(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    names, read = split_log(context.base, 4, 300), []
    parse = Engine.open_one
    monkeypatch.setattr(
        Engine, "open_one", lambda self, place, *a, **k: read.append(place.name) or parse(self, place, *a, **k)
    )
    settings = {"interactions": TIMED}
    for n in range(3):
        clean(context, settings, names[:1], names[n : n + 1] if n else ())
    assert read == [names[0], names[0], names[1], names[2]]  # nothing is kept before the first append
    # what is damaged counts for nothing, and other settings read other columns
    for path in (context.base / "work" / "clean" / appended.PARSED).iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    clean(context, {**settings, "min_user_events": 3}, names[:1])
    settings = {"interactions": {**TIMED, "where": "n > 0"}}
    clean(context, settings, names[:1])
    assert read[4:] == names[:3] * 2
    clean(context, settings, names[:3], work="whole")
    assert tables(context) == tables(context, "whole")


def test_what_is_in_the_log_already_is_recognised(context: Context) -> None:
    names, lines = split_log(context.base, 5, 300), []
    context = replace(context, progress=_Log(lines))
    settings = {"interactions": TIMED}
    clean(context, settings, names[:1])
    (context.base / "copy.csv").write_bytes((context.base / names[0]).read_bytes())
    with zipfile.ZipFile(context.base / "b.zip", "w") as archive:
        archive.write(context.base / names[1], "b.csv")
    assert not clean(context, settings, names[:1], ["copy.csv", names[0]]).ran
    assert [line for line in lines if "not added" in line] == [
        f"copy.csv is in the log already, as {names[0]}: not added again",
    ]
    outcome = clean(context, settings, names[:1], ["b.zip", "b.zip"])
    assert any(line.startswith("b.csv: ") and " kept; rejected: " in line for line in outcome.report.lines)
    assert appended.read(context.base / "work").files == ("b.zip#b.csv",)
    # one more day in a file of the same name
    changed = context.base / names[0]
    changed.write_text(changed.read_text(encoding="utf-8") + "u9,a,2020-01-02,1,buy,T\n", encoding="utf-8")
    assert clean(context, settings, names[:1], [names[0]]).ran
    assert f"{names[0]} is in the log already; it is read anew if it has changed" in lines
    clean(context, settings, [names[0], "b.zip#b.csv"], work="whole")
    assert tables(context) == tables(context, "whole")


class _Log:
    """Lines that a run logs."""

    def __init__(self, lines: list[str]) -> None:
        self.log = lines.append


def test_late_rows_are_counted(context: Context) -> None:
    header = "user,item,time\n"
    days = {"a.csv": ["u,a,2020-01-02", "u,b,2020-01-05"], "b.csv": ["u,c,2020-01-03", "u,d,2020-01-06"]}
    for name, rows in days.items():
        (context.base / name).write_text(header + "\n".join(rows) + "\n")
    settings = {"interactions": {"time": "time"}, "items": {}}
    clean(context, settings, ["a.csv"])
    line = clean(context, settings, ["a.csv"], ["b.csv"]).report.lines[-1]
    assert line == "b.csv: 2 rows, 2 kept; rejected: none; 1 older than the newest before"
    events = WorkDir(context.base / "work").read(INTERACTIONS)
    assert events.column("item_id").to_pylist() == ["a", "c", "b", "d"]


def test_items_that_left_the_items_file_are_told_of(context: Context) -> None:
    names = split_log(context.base, 6, 200)
    file = {"path": "items.csv", "item": "id", "title": "name"}
    (context.base / "items.csv").write_text("id,name\na,Alpha\nc,Gamma\n")
    settings = {"interactions": TIMED, "items": file}
    clean(context, settings, names[:2])
    (context.base / "items.csv").write_text("id,name\nc,Gamma\nd,Delta\n")
    outcome = clean(context, settings, names[:2], names[2:])
    assert "1 items have left the items file: their events stay, they have no title any more" in outcome.report.warnings
    items = WorkDir(context.base / "work").read(ITEMS)
    titles = dict(zip(items.column("item_id").to_pylist(), items.column("title").to_pylist(), strict=True))
    assert (titles["a"], titles["c"], titles["d"]) == (None, "Gamma", "Delta")
    clean(context, settings, names, work="whole")
    assert tables(context) == tables(context, "whole")


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_fault_leaves_the_old_log_as_it_was(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    names, settings = split_log(context.base, 7, 200), {"interactions": TIMED}
    with pytest.raises(UpstreamError, match="no log yet"):
        clean(context, settings, names[:1], names[1:2])
    clean(context, settings, names[:1])
    before = tables(context)
    (context.base / "other.csv").write_text("who,what\nu1,a\n")
    (context.base / "empty.csv").write_text("")
    for name, what in (
        ("other.csv", "there is no column"),
        ("empty.csv", "is empty"),
        ("partt1.csv", "there is no file"),
    ):
        with pytest.raises(DataError, match=what):
            clean(context, settings, names[:1], [names[1], name])
    monkeypatch.setattr(WorkDir, "take_over", _killed)
    with pytest.raises(KeyboardInterrupt):
        clean(context, settings, names[:1], names[1:])
    monkeypatch.undo()
    assert tables(context) == before and not clean(context, settings, names[:1]).ran
    # killed when the new tables are there and the list is not: the next run makes the old ones
    monkeypatch.setattr(appended, "keep", _killed)
    with pytest.raises(KeyboardInterrupt):
        clean(context, settings, names[:1], names[1:])
    monkeypatch.undo()
    assert tables(context) != before
    clean(context, settings, names[:1])
    assert tables(context) == before
    clean(context, settings, names[:1], names[1:])
    clean(context, settings, names, work="whole")
    assert tables(context) == tables(context, "whole")


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_damaged_list_is_said_and_a_rebuild_drops_it(context: Context) -> None:
    names, settings = split_log(context.base, 8, 200), {"interactions": TIMED}
    rows = clean(context, settings, names[:1]).report.counts["rows"]
    clean(context, settings, names[:1], names[1:])
    path = context.base / "work" / appended.LIST
    text = path.read_text()
    path.write_text(text.replace(names[1], "elsewhere.csv"))
    with pytest.raises(UpstreamError, match="list of appended files is damaged"):
        clean(context, settings, names[:1])
    path.write_text(text)
    clean(context, settings, names[:1], rebuild=True)
    assert not path.exists() and WorkDir(context.base / "work").read(FUNNEL).column("left")[0].as_py() == rows


def test_a_check_of_an_append_changes_nothing(context: Context) -> None:
    names, settings = split_log(context.base, 9, 200), {"interactions": TIMED, "check": {"max_rejected": 1.0}}
    clean(context, settings, names[:1])
    work, given = WorkDir(context.base / "work"), settings_for(context.base, names[:1], settings)
    before, new = tables(context), [str(context.base / names[1])]
    rows = [pipeline.estimated(work, given, context, "clean", each).counts["rows"] for each in ([], new)]
    assert rows[0] < rows[1] and tables(context) == before and not appended.read(work.path).files


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    header, *lines = SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)
    first, *days = split(lines[:3000], header, tmp_path, np.random.default_rng(1), 3)
    (tmp_path / "new").mkdir()
    for day in days:
        (tmp_path / day).rename(tmp_path / "new" / day)
    columns = 'user = "Customer ID"\nitem = "StockCode"\ntime = "InvoiceDate"\nvalue = "Quantity"\n'
    (tmp_path / "llmrec.toml").write_text(f'[clean.interactions]\npath = "{first}"\n{columns}')
    run = CliRunner().invoke
    assert run(app, ["clean", "-q"]).exit_code == 0
    assert run(app, ["clean", "-q", f"new/{days[0]}"]).exit_code == 2
    monkeypatch.chdir(tmp_path / "new")
    done = run(app, ["clean", "-c", "../llmrec.toml", "--work", "../work", "--append", *days])
    assert done.exit_code == 0, done.output
    assert appended.read(tmp_path / "work").files == tuple(f"new/{day}" for day in days)


# --- people -----------------------------------------------------------------------------------------------------------


def test_what_is_kept_of_files_has_no_forgotten_people_and_no_ids_where_there_are_pseudonyms(context: Context) -> None:
    names, log = split_log(context.base, 10, 300), {"interactions": TIMED}
    work = WorkDir(context.base / "work")
    (context.base / "llmrec.key").write_text("ab" * 32)
    kept = context.base / "work" / "clean" / appended.PARSED
    for settings in (log, {**log, "pseudonymise": True}):
        clean(context, settings, names[:1], rebuild=True)
        clean(context, settings, names[:1], names[1:3])
    users = {each for path in kept.iterdir() for b in spool.batches(path) for each in b.column("user").to_pylist()}
    assert len(users) > 5 and all(each is None or len(each.strip()) in (0, 32) for each in users)
    clean(context, log, names[:1])
    assert "007" in work.read(USERS).column("user_id").to_pylist()
    forget.forget(work, context.base, ["007"])
    assert not kept.exists()
    clean(context, log, names[:1])
    clean(context, log, names[:1], names[3:])
    for path in kept.iterdir():
        assert not any("007" in batch.column("user").to_pylist() for batch in spool.batches(path))
    reasons = work.read(REJECTS).column("reason").to_pylist()
    assert reasons.count("forgotten") > 10
    (context.base / "whole").mkdir()
    (context.base / "whole" / "forgotten.json").write_bytes((work.path / "forgotten.json").read_bytes())
    clean(context, log, names, work="whole")
    assert tables(context) == tables(context, "whole")


def test_a_backtest_reads_what_was_appended(context: Context) -> None:
    names, log = split_log(context.base, 11, 300), {"interactions": TIMED}
    clean(context, log, names[:1])
    clean(context, log, names[:1], names[1:])
    clean(context, {**log, "holdout": "last"}, names[:1], work="work/evaluate/last")
    clean(context, {**log, "holdout": "last"}, names, work="whole")
    assert tables(context, "work/evaluate/last") == tables(context, "whole")


# --- real logs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_sample_in_parts(context: Context, seed: int) -> None:
    header, *lines = SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)
    names = split(lines, header, context.base, np.random.default_rng(seed), 3)
    columns = {"user": "Customer ID", "item": "StockCode", "time": "InvoiceDate", "value": "Quantity"}
    settings = {"interactions": columns, "items": {"title": "Description"}, "users": {"region": "Country"}}
    clean(context, settings, names[:1])
    for name in names[1:]:
        clean(context, settings, names[:1], [name])
    clean(context, settings, names, work="whole")
    assert tables(context) == tables(context, "whole")


@pytest.mark.data
def test_a_part_of_movielens_in_parts(context: Context, data: Path) -> None:
    with zipfile.ZipFile(data / "ml-1m" / "ml-1m.zip") as archive:
        (member,) = [name for name in archive.namelist() if name.endswith("ratings.dat")]
        lines = archive.read(member).decode().splitlines(keepends=True)
    rng = np.random.default_rng(1)
    names = split(rng.permutation(lines[:30_000]).tolist(), "", context.base, rng, 4)
    numbers = {"user": 0, "item": 1, "value": 2, "time": 3}
    settings = {"interactions": numbers, "items": {}, "min_user_events": 2, "min_item_events": 2}
    clean(context, settings, names[:2])
    clean(context, settings, names[:2], names[2:])
    clean(context, settings, names, work="whole")
    assert tables(context) == tables(context, "whole")
