"""Times in raw files: what is read as it stands, which formats fit, and that the engine reads what fits."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from llmrec_cli.commands.scaffold import init
from llmrec_cli.core.config import load
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest import sql, times
from llmrec_cli.ingest.column_facts import Facts, facts
from llmrec_cli.stages.clean import STAGE, CleanConfig

DAYS = [dt.datetime(2024, 1, 3, 9, 30, 17) + dt.timedelta(days=11 * n, hours=n, seconds=7 * n) for n in range(60)]
EARLY = [day for day in DAYS if day.day <= 12]
EVERY = [
    *times._DATES,
    *(f"{date}{between}{clock}" for date in times._DATES[::5] for between in " T" for clock in times._CLOCKS),
    *times._COMPACTS,
    *times._REST,
]


def column(values: Sequence[str], name: str = "date") -> Facts:
    return facts(pa.table({name: list(values)}))[name]


def written(time_format: str, days: Sequence[dt.datetime] = DAYS) -> list[str]:
    return [day.replace(tzinfo=dt.UTC).strftime(time_format) for day in days]


def log(folder: Path, values: Sequence[str], name: str = "timestamp") -> Path:
    """A log of 6 users and 10 items with these times, one after the other, shuffled by user."""
    rows = [f'u{n % 6},i{n % 10},"{value}"' for n, value in enumerate(values)]
    (folder / "log.csv").write_text("\n".join([f"user,item,{name}", *rows]) + "\n")
    return folder / "log.csv"


def cleaned(folder: Path, context: Context) -> tuple[dict[str, Any], dict[str, int], list[Any]]:
    """The settings of the log, the counts of `clean`, and the times it read."""
    import pyarrow.parquet as pq

    settings = load(folder / "llmrec.toml", environ={})
    config = settings.section("clean", CleanConfig)
    outcome = execute(STAGE, WorkDir(folder / "work"), config, dataclasses.replace(context, base=settings.base))
    (path,) = (folder / "work" / "clean").glob("interactions*")
    read = pq.read_table(path).column("time").to_pylist()
    return settings.values["clean"]["interactions"], outcome.report.counts, read


def test_the_engine_reads_what_fits() -> None:
    """Every format that `init` may write means the same to strptime of Python and of DuckDB."""
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    for time_format, day in itertools.product(EVERY, (DAYS[0], DAYS[31])):
        (text,) = written(time_format, [day])
        read = dt.datetime.strptime(text, time_format).replace(tzinfo=dt.UTC)
        query = f"SELECT {sql.microseconds(sql.literal(text), time_format)}"
        row = engine.execute(query).fetchone()
        assert row == (round(read.timestamp() * 1e6),), (time_format, text)
        assert times.share_that_fits(column([text]), time_format) == 1, (time_format, text)


def test_what_stands_as_it_is_is_read_as_it_stands() -> None:
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    for text in (
        "2024-03-05",
        "2024/3/5 10:30",
        "2024-03-05T10:30:00Z",
        "2024-03-05 10:30:00+01:00",
        "2024-03-05 10:30:00 UTC",
        "2024-03-05 10:30:00.123456+00",
        "1709634600",
        "1709634600123",
        "1709634600123456789",
    ):
        assert times.readable_as_is(column([text])), text
        assert engine.execute(f"SELECT {sql.microseconds(sql.literal(text), '')}").fetchone() != (None,), text
    for text in (
        "2024-13-05",
        "2024.03.05",
        "20240305",
        "05/03/2024",
        "2024030510",
        "2024-03-05 10:30 AM",
        "17",
        "noon",
    ):
        assert not times.readable_as_is(column([text])), text


@pytest.mark.parametrize(
    "time_format",
    [
        "%d/%m/%Y",
        "%m/%d/%Y",
        "%Y%m%d",
        "%b %d %Y %I:%M%p",
        "%Y.%m.%d",
        "%d.%m.%Y %H:%M",
        "%d-%b-%y",
        "%Y%m%d%H%M%S",
        "%a %b %d %H:%M:%S %Y",
        "%d/%b/%Y:%H:%M:%S %z",
        "%Y-%d-%m",
    ],
)
def test_the_only_format_that_fits_is_written(time_format: str, tmp_path: Path, context: Context) -> None:
    message = init([log(tmp_path, written(time_format))], tmp_path).lines
    settings, counts, read = cleaned(tmp_path, context)
    assert settings["time"] == "timestamp" and settings["time_format"] == time_format
    assert any(time_format in line for line in message)
    assert counts["events"] == len(DAYS)
    meant = [dt.datetime.strptime(v, time_format).replace(tzinfo=dt.UTC) for v in written(time_format)]
    assert sorted(read) == sorted(meant)


@pytest.mark.parametrize(("one", "other"), [("%d/%m/%Y", "%m/%d/%Y"), ("%m-%d-%Y %H:%M", "%d-%m-%Y %H:%M")])
def test_of_several_formats_a_person_chooses(one: str, other: str, tmp_path: Path, context: Context) -> None:
    """The commands of the message work as they are, and give the times of their format."""
    path = log(tmp_path, written(one, EARLY * 4), "fecha")
    with pytest.raises(DataError, match="2 ways") as message:
        init([path], tmp_path)
    assert not (tmp_path / "llmrec.toml").exists()
    commands = [shlex.split(line) for line in message.value.lines if "llmrec init" in line]
    assert [command[-1].partition("=")[2] for command in commands] == sorted([one, other])
    chosen = next(command for command in commands if command[-1].endswith(one))
    assert chosen[:3] == ["llmrec", "init", str(path)] and chosen[3::2] == ["--set", "--set"]
    init([path], tmp_path, chosen[4::2])
    settings, _, read = cleaned(tmp_path, context)
    assert settings["time_format"] == one
    day = "%d/%m/%Y" if "/" in one else "%d-%m-%Y %H:%M"
    assert {r.strftime(day) for r in read} == {d.strftime(day) for d in EARLY}


@pytest.mark.parametrize("values", [["noon", "dusk", "dawn"], ["1", "2", "3"], ["45000.5", "45001.25", "45002"]])
def test_a_column_named_as_a_time_that_is_none_is_not_dropped_in_silence(values: list[str], tmp_path: Path) -> None:
    path = log(tmp_path, values * 20)
    with pytest.raises(DataError, match="named as a time and cannot be read") as message:
        init([path], tmp_path)
    without = next(line for line in message.value.lines if "no times" in line)
    init([path], tmp_path, [shlex.split(without)[4]])
    text = (tmp_path / "llmrec.toml").read_text()
    assert not {"time", "time_format"} & tomllib.loads(text)["clean"]["interactions"].keys()


def test_without_times_the_order_of_rows_is_said_to_count(tmp_path: Path) -> None:
    lines = init([log(tmp_path, ["x y z"] * 60, "note")], tmp_path).lines
    assert any("order of the rows is taken as their order in time" in line for line in lines)


def test_days_in_one_number_are_no_seconds() -> None:
    """20100101 seconds after 1970 are in August of that year."""
    days = column(written("%Y%m%d"))
    assert not times.readable_as_is(days) and times.formats(days) == ("%Y%m%d",)
    assert times.formats(column(written("%Y%m%d"), "item_code")) == ()


def test_a_format_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    path = log(tmp_path, written("%d.%m.%Y"))
    with pytest.raises(DataError, match="has the format"):
        init([path], tmp_path, ["clean.interactions.time_format=%d/%m/%Y"])


def test_lengths_of_time_are_no_times() -> None:
    for name in ("play_time", "time_spent", "candidate", "update", "timezone", "watchTime", "DwellTime", "valid"):
        assert not times.named_as_time(column(["1"], name)), name
    for name in ("timestamp", "Order Date", "InvoiceDate", "datum", "fecha", "zeit", "ts", "eventtime", "created_date"):
        assert times.named_as_time(column(["1"], name)), name


def test_the_commands_to_choose_from_stand_on_lines_of_their_own() -> None:
    message = DataError("what", where="here", fix="say which:", ways=["llmrec init a", "llmrec init b"])
    assert message.lines == [
        "what",
        "  where: here",
        "  fix:   say which:",
        "         llmrec init a",
        "         llmrec init b",
    ]
