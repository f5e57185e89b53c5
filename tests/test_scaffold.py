from __future__ import annotations

import dataclasses
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_cli.commands.scaffold import init
from llmrec_cli.core.config import load
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest import times
from llmrec_cli.ingest.column_facts import facts
from llmrec_cli.stages.clean import STAGE, CleanConfig
from tests.conftest import SAMPLE


def made(files: list[Path], folder: Path, context: Context) -> tuple[dict[str, Any], dict[str, int]]:
    """The [clean] section that `init` writes, and what `clean` counts when it runs on it."""
    written = init(files, folder)
    settings = load(folder / "llmrec.toml", environ={})
    config = settings.section("clean", CleanConfig)
    outcome = execute(STAGE, WorkDir(folder / "work"), config, dataclasses.replace(context, base=settings.base))
    assert written.written == [folder / "llmrec.toml", folder / "Makefile"]
    for section in ("interactions", "items", "users"):
        for value in settings.values["clean"].get(section, {}).values():
            assert all(str(v) in "\n".join(written.lines) for v in (value if isinstance(value, list) else [value])) or (
                "/" in str(value) or value == "sequences"
            )
    return settings.values["clean"], outcome.report.counts


def without_paths(section: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != "path"}


def test_the_sample(tmp_path: Path, context: Context) -> None:
    clean, counts = made([SAMPLE], tmp_path, context)
    assert without_paths(clean["interactions"]) == {
        "user": "Customer ID",
        "item": "StockCode",
        "time": "InvoiceDate",
        "value": "Quantity",
        "where": "Quantity > 0",
    }
    assert clean["items"] == {"title": "Description"}
    assert clean["users"] == {"region": "Country"}
    assert clean["repeats"] == "first" and counts == {"rows": 9815, "events": 6346, "users": 210, "items": 450}


def test_names_of_several_words_are_ids_where_the_columns_say_so(tmp_path: Path, context: Context) -> None:
    """As in logs of plays that know a game by its name alone."""
    rows = [f"{user},{game},{user + 1}.5" for user in range(30) for game in ("Half Life 2", "Day of Defeat: Source")]
    (tmp_path / "plays.csv").write_text("\n".join(["who_user,game,hours played", *rows]) + "\n")
    clean, counts = made([tmp_path / "plays.csv"], tmp_path, context)
    roles = without_paths(clean["interactions"])
    assert roles == {"user": "who_user", "item": "game", "value": "hours played"}
    assert (counts["users"], counts["items"]) == (30, 2)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("mine")
    with pytest.raises(SettingsError, match="Makefile is there already"):
        init([SAMPLE], tmp_path)
    assert not (tmp_path / "llmrec.toml").exists()
    assert (tmp_path / "Makefile").read_text() == "mine"


def test_paths_with_the_project_are_relative(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "log.csv").write_bytes(SAMPLE.read_bytes())
    init([tmp_path / "raw" / "log.csv"], tmp_path / "project")
    assert (
        load(tmp_path / "project" / "llmrec.toml", environ={}).values["clean"]["interactions"]["path"]
        == "../raw/log.csv"
    )


def test_files_that_are_no_log_are_reported(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("some words\nand more of them, here\n")
    with pytest.raises(DataError):
        init([tmp_path / "notes.txt"], tmp_path)
    (tmp_path / "items.csv").write_text("id,name\n" + "".join(f"{n},thing {n}\n" for n in range(30)))
    with pytest.raises(DataError, match="none of the files is a log"):
        init([tmp_path / "items.csv"], tmp_path)


def made_up(rng: np.random.Generator) -> tuple[list[tuple[int, int, int, int]], list[str], list[str]]:
    """A log (user, item, rating, seconds), lines of items and lines of users, as a headerless zip might hold them."""
    log = [
        (int(u), int(i), int(r), 978300000 + int(t))
        for u, i, r, t in zip(
            rng.integers(1, 60, 900),
            rng.integers(1, 90, 900),
            rng.integers(1, 6, 900),
            rng.integers(0, 9**7, 900),
            strict=True,
        )
    ]
    genres = ["Drama", "Comedy|Drama", "War|Drama|Action", "Comedy", "Action|War"]
    items = [f"{n}::A Film Called {n} ({1950 + n % 50})::{genres[n % 5]}" for n in range(1, 90)]
    users = [f"{n}::{'FM'[n % 2]}::{(1, 18, 25, 35, 45, 56)[n % 6]}::{n % 21}" for n in range(1, 60)]
    return log, items, users


def test_a_zip_without_headers_is_reported_by_content(tmp_path: Path, context: Context) -> None:
    log, items, users = made_up(np.random.default_rng(3))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as zipped:
        zipped.writestr("x/README", "About these files:\nthey are made up, all of them.\n")
        zipped.writestr("x/b.dat", "".join("::".join(map(str, row)) + "\n" for row in log))
        zipped.writestr("x/a.dat", "\n".join(items) + "\n")
        zipped.writestr("x/c.dat", "\n".join(users) + "\n")
    clean, counts = made([tmp_path / "all.zip"], tmp_path, context)
    assert clean["interactions"] == {"path": "all.zip#x/b.dat", "user": 0, "item": 1, "time": 3, "value": 2}
    assert clean["items"] == {"path": "all.zip#x/a.dat", "item": 0, "title": 1, "tags": 2}
    assert clean["users"] == {"path": "all.zip#x/c.dat", "user": 0, "gender": 1, "age": 2, "attributes": [3]}
    assert counts["users"] == 59 and counts["items"] == 89


def test_json_lines(tmp_path: Path, context: Context) -> None:
    log, _, _ = made_up(np.random.default_rng(4))
    rows = [
        {"stars": r, "member": f"M{u}", "text": f"words {t} and more", "sku": f"S{i}", "at_time": t}
        for u, i, r, t in log
    ]
    items = [{"sku": f"S{n}", "title": f"Thing number {n}", "category": ["Home", f"Part {n % 4}"]} for n in range(90)]
    (tmp_path / "r.json.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    (tmp_path / "i.json").write_text("\n".join(map(json.dumps, items)))
    clean, _ = made([tmp_path / "r.json.gz", tmp_path / "i.json"], tmp_path, context)
    assert without_paths(clean["interactions"]) == {
        "user": "member",
        "item": "sku",
        "time": "at_time",
        "value": "stars",
        "review": "text",
    }
    assert without_paths(clean["items"]) == {"item": "sku", "title": "title", "category": "category"}


def test_sequences(tmp_path: Path, context: Context) -> None:
    (tmp_path / "log.txt").write_text(
        "".join(f"{u} " + " ".join(map(str, range(u, 2 * u + 3))) + "\n" for u in range(1, 40))
    )
    clean, counts = made([tmp_path / "log.txt"], tmp_path, context)
    assert clean["interactions"] == {"path": "log.txt", "layout": "sequences"}
    assert counts["users"] == 39


def test_only_times_are_times() -> None:
    table = pa.table({"unix": ["978300760", "978300999"], "n": ["1", "2"], "day": ["2020-01-02", "2020-01-03"]})
    found = {name: bool(times.readable_as_is(fact)) for name, fact in facts(table).items()}
    assert found == {"unix": True, "n": False, "day": True}


REAL: list[tuple[list[str], dict[str, dict[str, Any]]]] = [
    (
        ["ml-1m/ml-1m.zip"],
        {
            "interactions": {"user": 0, "item": 1, "time": 3, "value": 2},
            "items": {"item": 0, "title": 1, "tags": 2},
            "users": {"user": 0, "gender": 1, "age": 2, "attributes": [3]},
        },
    ),
    (
        ["ml-100k/u.item", "ml-100k/u.user", "ml-100k/u.data"],
        {
            "interactions": {"user": 0, "item": 1, "time": 3, "value": 2},
            "items": {"item": 0, "title": 1, "tags": list(range(5, 24))},
            "users": {"user": 0, "age": 1, "gender": 2, "attributes": [3]},
        },
    ),
    (
        ["amazon-2014-beauty-5core/Beauty.txt", "amazon-2014-beauty-5core/items.tsv"],
        {
            "interactions": {"layout": "sequences"},
            "items": {
                "item": "item_id",
                "title": "title",
                "text": "gen_text",
                "category": "categories",
                "tags": "attributes",
            },
        },
    ),
    (
        ["amazon-2018-gift-cards/Gift_Cards_5.json.gz", "amazon-2018-gift-cards/meta_Gift_Cards.json.gz"],
        {
            "interactions": {
                "user": "reviewerID",
                "item": "asin",
                "time": "unixReviewTime",
                "value": "overall",
                "review": "reviewText",
            },
            "items": {
                "item": "asin",
                "title": "title",
                "text": ["description", "feature"],
                "category": "category",
                "attributes": ["brand", "price"],
                "unseen": "drop",
            },
        },
    ),
    (
        ["steam-200k/game_purchase.dat", "steam-200k/item_info.dat"],
        {
            "interactions": {"user": "User_ID", "item": "Game_ID"},
            "items": {"item": "Game_ID", "title": "Game Name"},
        },
    ),
    (
        ["steam-200k/item_info.dat", "steam-200k/game_play.dat"],
        {
            "interactions": {"user": "User_ID", "item": "Game_ID", "value": "Hours"},
            "items": {"item": "Game_ID", "title": "Game Name"},
        },
    ),
    (
        [f"ml-latest-small/{name}.csv" for name in ("links", "movies", "ratings", "tags")],
        {
            "interactions": {"user": "userId", "item": "movieId", "time": "timestamp", "value": "rating"},
            "items": {"item": "movieId", "title": "title", "tags": "genres"},
        },
    ),
    (
        [f"steam-200k/{name}.dat" for name in ("game_play", "game_purchase", "item_info", "user_info")],
        {
            "interactions": {"user": "User_ID", "item": "Game_ID", "value": "Hours"},
            "items": {"item": "Game_ID", "title": "Game Name"},
        },
    ),
    (
        [f"ml-100k/u.{name}" for name in ("data", "genre", "info", "item", "occupation", "user")],
        {
            "interactions": {"user": 0, "item": 1, "time": 3, "value": 2},
            "items": {"item": 0, "title": 1, "tags": list(range(5, 24))},
            "users": {"user": 0, "age": 1, "gender": 2, "attributes": [3]},
        },
    ),
    (
        ["online-retail-ii-2010/online_retail.parquet"],
        {
            "interactions": {
                "user": "Customer ID",
                "item": "StockCode",
                "time": "InvoiceDate",
                "value": "Quantity",
                "where": "Quantity > 0",
            },
            "items": {"title": "Description"},
            "users": {"region": "Country"},
        },
    ),
    (["tvrec-foursquare/Foursquare.txt"], {"interactions": {"layout": "sequences"}}),
    (["tvrec-lastfm/LastFM.txt"], {"interactions": {"layout": "sequences"}}),
    (
        ["lastfm-2k/user_artists.dat", "lastfm-2k/artists.dat"],
        {
            "interactions": {"user": "userID", "item": "artistID", "value": "weight"},
            "items": {"item": "id", "title": "name"},
        },
    ),
]


@pytest.mark.data
@pytest.mark.parametrize(("files", "expected"), REAL, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_real_data(
    files: list[str], expected: dict[str, dict[str, Any]], data: Path, tmp_path: Path, context: Context
) -> None:
    clean, counts = made([data / name for name in files], tmp_path, context)
    assert {k: without_paths(v) for k, v in clean.items() if isinstance(v, dict)} == expected
    # a fifth of Online Retail II has no customer, and people buy things again
    assert counts["events"] > (0.45 if clean.get("repeats") == "first" else 0.75) * counts["rows"]


def test_a_hostile_header_runs_no_sql(tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a column with negative values goes into the row filter, which is SQL."""
    evil = (
        "user_id\" IS NOT NULL OR 'quantity' IS NULL); COPY (SELECT 42 AS a) TO 'evil.out'; "
        'SELECT (SELECT "b" FROM (SELECT 1 AS "b") WHERE "b'
    )
    monkeypatch.chdir(tmp_path)
    rows = [f"{i % 7},p{i % 5},{-1 if i % 9 == 0 else i % 4 + 1}" for i in range(200)]
    header = ",".join(("client", "item_id", '"' + evil.replace('"', '""') + '"'))
    (tmp_path / "log.csv").write_text("\n".join([header, *rows]) + "\n")
    init([tmp_path / "log.csv"], tmp_path)
    settings = load(tmp_path / "llmrec.toml", environ={})
    where = settings.values["clean"]["interactions"]["where"]
    assert where == '"' + evil.replace('"', '""') + '" > 0'
    config = settings.section("clean", CleanConfig)
    outcome = execute(STAGE, WorkDir(tmp_path / "work"), config, dataclasses.replace(context, base=tmp_path))
    assert outcome.report.counts["events"] == len({row for row in rows if not row.endswith("-1")})
    assert not (tmp_path / "evil.out").exists()


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_a_file_that_is_too_wide_is_reported_by_how_it_is_written(tmp_path: Path, kind: str) -> None:
    """Keys of JSON have no separator, and more memory would not help."""
    log, names = tmp_path / f"log.{kind}", [f"k{n}" for n in range(6000)]
    if kind == "jsonl":
        lines = [json.dumps({"user": f"u{n % 9}", "item": f"i{n % 7}", name: 1}) for n, name in enumerate(names)]
        log.write_text("\n".join(lines) + "\n")
    elif kind == "parquet":
        pq.write_table(pa.table({name: ["a", "b"] for name in ["user", "item", *names]}), log)
    else:
        log.write_text(",".join(["user", "item", *names]) + "\n" + ("," * (len(names) + 1) + "\n") * 3)
    with pytest.raises(DataError, match="5,000 are the most") as message:
        init([log], tmp_path / "project")
    assert ("separator" in message.value.fix) == (kind == "csv") and "--max-memory" not in str(message.value)
    assert message.value.fix and "\n" not in message.value.fix


def test_a_damaged_parquet_file_is_not_asked_for_its_separator(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").write_bytes(b"PAR1" + b"x" * 200 + b"PAR1")
    with pytest.raises(DataError, match="cannot be read") as message:
        init([tmp_path / "log.parquet"], tmp_path / "project")
    assert "separator" not in message.value.fix and "Parquet" in message.value.fix


def test_a_project_that_cannot_be_written_is_reported_with_the_option_for_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write") as message:
        init([SAMPLE], tmp_path / "file" / "project")
    assert "--into" in message.value.fix and "--work" not in str(message.value)
