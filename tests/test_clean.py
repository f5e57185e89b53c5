from __future__ import annotations

import dataclasses
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from llmrec_cli.core.artifacts import (
    FUNNEL,
    HOLDOUT,
    INTERACTIONS,
    ITEMS,
    NEGATIVE_FEEDBACK,
    REJECTS,
    REVIEWS,
    SEQUENCES,
    USERS,
)
from llmrec_cli.core.config import load
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.stage import Context, Outcome, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.stages.clean import STAGE, CleanConfig
from tests.conftest import ROOT, SAMPLE

LOG = """user,item,time,n,kind
u1,a,2020-01-01,1,view
u1,b,2020-01-02,2,buy
u2,a,2020-01-03,-1,view
u2,b,2020-01-01,3,view
u2,b,2020-01-01,3,view
,a,2020-01-01,1,view
u3,,2020-01-01,1,view
u3,a,soon,1,view
u3,a,2020-01-01,lots,view
u3,a,2020-01-05,1,view
too,many,2020-01-05,1,view,columns
u1,c,2020-01-02 00:10:00,1,view
"""
SETTINGS = """
[interactions]
path = "log.csv"
user = "user"
item = "item"
time = "time"
value = "n"
event = "kind"
where = "n IS NULL OR n > 0"
"""


def run(
    context: Context, files: dict[str, str], settings: str = SETTINGS, work: str = "work", **top: Any
) -> tuple[WorkDir, Outcome]:
    """Write the files beside each other and clean them."""
    for name, text in files.items():
        (context.base / name).write_text(text, encoding="utf-8")
    config = CleanConfig.model_validate({**tomllib.loads(settings), **top})
    directory = WorkDir(context.base / work)
    return directory, execute(STAGE, directory, config, context)


def column(work: WorkDir, table: Any, name: str) -> list[Any]:
    return work.read(table).column(name).to_pylist()


def test_every_row_is_accounted_for(context: Context) -> None:
    work, outcome = run(context, {"log.csv": LOG})
    rejects = work.read(REJECTS)
    found = dict(zip(rejects.column("row").to_pylist(), rejects.column("reason").to_pylist(), strict=True))
    assert found == {
        3: "where",
        4: "min_user_events",
        5: "duplicate",
        6: "missing user",
        7: "missing item",
        8: "invalid time",
        9: "invalid value",
        10: "min_user_events",
        11: "unparsable",
    }
    assert set(rejects.column("source").to_pylist()) == {"log.csv"}
    bad = rejects.filter(pc.equal(rejects.column("reason"), "invalid value")).to_pylist()[0]
    assert (bad["user_id"], bad["time"], bad["value"]) == ("u3", "2020-01-01", "lots")
    events = work.read(INTERACTIONS)
    assert events.num_rows + rejects.num_rows == 12 == outcome.report.counts["rows"]
    assert column(work, FUNNEL, "left")[0] == 12 and column(work, FUNNEL, "left")[-1] == events.num_rows
    assert events.select(["user_id", "position", "item_id", "session", "source_row"]).to_pylist() == [
        {"user_id": "u1", "position": 0, "item_id": "a", "session": 0, "source_row": 1},
        {"user_id": "u1", "position": 1, "item_id": "b", "session": 1, "source_row": 2},
        {"user_id": "u1", "position": 2, "item_id": "c", "session": 1, "source_row": 12},
    ]
    assert column(work, SEQUENCES, "item_ids") == [["a", "b", "c"]]
    assert outcome.report.lines[0].startswith("rows read")


def test_event_weights_and_a_misspelt_one(context: Context) -> None:
    work, outcome = run(context, {"log.csv": LOG}, event_weights={"buy": 5, "veiw": 2})
    assert column(work, INTERACTIONS, "weight") == [1.0, 5.0, 1.0]
    assert outcome.report.warnings == ["event_weights: no event is called 'veiw'; did you mean 'view'?"]


def test_a_negative_weight_turns_an_item_down(context: Context) -> None:
    """A row for what is turned down, none of the history; before a cut-off nobody knows of it."""
    log = "user,item,time,n,kind\n" + "".join(f"u1,{item},2020-01-0{day},1,view\n" for day, item in enumerate("abc", 1))
    log += "u1,d,2020-01-02 12:00,1,hide\nu1,e,2020-01-04,1,hide\nu2,a,2020-01-01,1,hide\nu1,a,2020-01-05,0,view\n"
    settings = SETTINGS.replace('where = "n IS NULL OR n > 0"', "")
    weights = {"event_weights": {"hide": -1}, "negative_below": 0.5}
    work, outcome = run(context, {"log.csv": log}, settings, **weights)
    reported = {"position": [3, 2, 3], "item_id": ["a", "d", "e"], "user_id": ["u1"] * 3}
    assert work.read(NEGATIVE_FEEDBACK).to_pydict() == reported
    assert column(work, SEQUENCES, "item_ids") == [["a", "b", "c"]]
    assert column(work, REJECTS, "reason") == ["negative feedback"] * 4
    assert any(line.startswith("negative feedback") for line in outcome.report.lines)
    with pytest.raises(ValueError, match=r"negative_below needs the column clean\.interactions\.value"):
        run(context, {}, settings.replace('value = "n"', ""), "none", **weights)
    last, _ = run(context, {}, settings, "last", holdout="last", **weights)
    assert column(last, NEGATIVE_FEEDBACK, "item_id") == ["d"]
    early, _ = run(context, {}, settings, "early", holdout="time", holdout_after="2020-01-02 10:00", **weights)
    assert column(early, NEGATIVE_FEEDBACK, "item_id") == []


ITEMS_FILE = "id\tname\tkind\nb\tB &amp; b\tx\na\t  A   a \t\nz\tZed\ty\nb\tagain\tx\n\tnone\tx\n"
USERS_FILE = "id;years;sex\nu9;30;f\nu1;unknown;m\n"
DESCRIBED = (
    SETTINGS
    + """
[items]
path = "items.csv"
item = "id"
title = "name"
category = "kind"
[users]
path = "users.csv"
user = "id"
age = "years"
gender = "sex"
"""
)


def test_items_and_users_of_files_and_log_are_one_catalogue(context: Context) -> None:
    files = {"log.csv": LOG, "items.csv": ITEMS_FILE, "users.csv": USERS_FILE}
    work, outcome = run(context, files, DESCRIBED)
    assert work.read(ITEMS).select(["item_id", "title", "category", "n_events"]).to_pylist() == [
        {"item_id": "a", "title": "A a", "category": None, "n_events": 1},
        {"item_id": "b", "title": "B & b", "category": "x", "n_events": 1},
        {"item_id": "c", "title": None, "category": None, "n_events": 1},
        {"item_id": "z", "title": "Zed", "category": "y", "n_events": 0},
    ]
    assert work.read(USERS).select(["user_id", "age", "gender", "n_events"]).to_pylist() == [
        {"user_id": "u1", "age": None, "gender": "m", "n_events": 3},
        {"user_id": "u9", "age": 30.0, "gender": "f", "n_events": 0},
    ]
    # rows of the catalogue, in which "aa" comes before them
    more, _ = run(context, {**files, "items.csv": ITEMS_FILE + "aa\tAa\tx\n"}, DESCRIBED, "more")
    assert column(work, SEQUENCES, "item_codes") == [[0, 1, 2]] and column(more, SEQUENCES, "item_codes") == [[0, 2, 3]]
    repeated, unread = outcome.report.warnings
    assert repeated == "items.csv: 1 rows repeat the id of an earlier row, which counts"
    assert unread.startswith("clean.users.age: 1 of 2 values of 'years' are no numbers (most often 'unknown')")


@pytest.mark.parametrize("cut", [{"holdout": "last"}, {"holdout": "time", "holdout_after": "2020-01-02T00:05:00Z"}])
def test_the_items_of_a_backtest_are_those_with_events_before_it_and_those_of_the_file(
    context: Context, cut: dict[str, str]
) -> None:
    """An item without events that is in no file could only be one that is withheld."""
    files = {"log.csv": LOG, "items.csv": ITEMS_FILE + "c\tCee\tx\n", "users.csv": USERS_FILE}
    kept, _ = run(context, files, DESCRIBED, "kept", **cut)
    assert column(kept, ITEMS, "item_id") == ["a", "b", "c", "z"] and column(kept, ITEMS, "n_events") == [1, 1, 0, 0]
    dropped, _ = run(context, files, DESCRIBED.replace("[users]", 'unseen = "drop"\n[users]'), "dropped", **cut)
    assert column(dropped, ITEMS, "item_id") == ["a", "b"]
    unlisted, _ = run(context, {**files, "items.csv": ITEMS_FILE}, DESCRIBED, "unlisted", **cut)
    assert column(unlisted, ITEMS, "item_id") == ["a", "b", "z"]


@pytest.mark.parametrize("cut", [{"holdout": "last"}, {"holdout": "time", "holdout_after": "2020-01-03"}])
def test_a_backtest_hears_nothing_of_the_rows_that_came_later(context: Context, cut: dict[str, str]) -> None:
    """Neither a withheld row, nor a copy of it, nor what was rejected after it, names an item or a user."""
    log = "user,item,time,title,land,n\nu,a,2020-01-01,old,,1\nu,b,2020-01-02,b,,1\nu,a,2020-01-03,new,X,1\n"
    log += "u,a,2020-01-03,new,X,1\nu,b,2020-01-04,new,X,-1\nv,b,2020-01-01,b,Y,1\nv,a,2020-01-01,,Y,-1\n"
    log += "v,c,2020-01-05,c,Y,1\n"
    settings = SETTINGS.replace('event = "kind"\n', "") + '[items]\ntitle = "title"\n[users]\nregion = "land"\n'
    work, _ = run(context, {"log.csv": log}, settings, **cut)
    assert column(work, ITEMS, "item_id") == ["a", "b"] and column(work, ITEMS, "title") == ["old", "b"]
    assert column(work, USERS, "region") == [None, "Y"]
    whole, _ = run(context, {}, settings, "whole")
    assert column(whole, ITEMS, "title") == ["new", "b", "c"] and column(whole, USERS, "region") == ["X", "Y"]


def test_the_title_is_the_most_frequent_one_and_may_stand_in_rejected_rows(context: Context) -> None:
    log = "user,item,title\nu,1,\nu,2,b\nu,2,a\nv,1,x\nv,2,a\n,1,y\n,1,y\n,2,b\n"
    settings = '[interactions]\npath = "log.csv"\nuser = "user"\nitem = "item"\n[items]\ntitle = "title"\n'
    work, _ = run(context, {"log.csv": log}, settings)
    assert column(work, ITEMS, "title") == ["y", "b"]


def test_a_backtest_withholds_the_last_event_after_cleaning(context: Context) -> None:
    work, _ = run(context, {"log.csv": LOG}, holdout="last")
    assert work.read(HOLDOUT).select(["user_id", "position", "item_id"]).to_pylist() == [
        {"user_id": "u1", "position": 2, "item_id": "c"}
    ]
    assert column(work, SEQUENCES, "item_ids") == [["a", "b"]]
    assert column(work, ITEMS, "item_id") == ["a", "b"] and column(work, ITEMS, "n_events") == [1, 1]
    assert column(work, USERS, "n_events") == [2]
    rows = work.read(INTERACTIONS).num_rows + work.read(HOLDOUT).num_rows + work.read(REJECTS).num_rows
    assert rows == 12
    assert column(work, FUNNEL, "rule")[-1] == "withheld by the backtest"
    _, _ = run(context, {"log.csv": LOG})
    assert not work.has(HOLDOUT)


def test_reviews_of_kept_events_are_kept_and_a_backtest_knows_those_before_it(context: Context) -> None:
    log = "user,item,time,n,said\nu,a,1,5,Good  tea.\nu,b,2,4,\nu,c,3,1,Too late\nu,a,3,9,Doubled\nv,a,4,9,Alone\n"
    settings = '[interactions]\npath = "log.csv"\nuser = "user"\nitem = "item"\ntime = "time"\nvalue = "n"\n'
    work, _ = run(context, {"log.csv": log}, settings + 'review = "said"\n', repeats="first")
    names = ("position", "item_id", "value", "source_row", "text")
    assert list(zip(*(column(work, REVIEWS, name) for name in names), strict=True)) == [
        (0, "a", 5.0, 1, "Good tea."),
        (2, "c", 1.0, 3, "Too late"),
    ]
    work, _ = run(context, {"log.csv": log}, settings + 'review = "said"\n', repeats="first", holdout="last")
    assert column(work, REVIEWS, "text") == ["Good tea."]
    work, _ = run(context, {"log.csv": log}, settings)
    assert not work.has(REVIEWS)


def test_a_backtest_by_time(context: Context) -> None:
    work, _ = run(context, {"log.csv": LOG}, holdout="time", holdout_after="2020-01-02T00:05:00+00:00")
    assert column(work, HOLDOUT, "item_id") == ["c"]
    with pytest.raises(SettingsError, match="no ISO time"):
        run(context, {}, holdout="time", holdout_after="yesterday")
    with pytest.raises(SettingsError, match="cannot be cut by time"):
        run(context, {}, SETTINGS.replace('time = "time"', ""), holdout="time", holdout_after="2020-01-02")
    with pytest.raises(DataError, match="after the rule 'withheld by the backtest'"):
        run(context, {}, holdout="time", holdout_after="1999-01-01")


def test_a_backtest_by_time_does_not_know_what_items_came_later(context: Context) -> None:
    log = "user,item,time\nu,a,2020-01-01\nu,b,2020-01-02\nv,a,2020-01-03\nw,new,2020-01-03\n"
    settings = '[interactions]\npath = "log.csv"\nuser = "user"\nitem = "item"\ntime = "time"\n'
    cut = {"holdout": "time", "holdout_after": tomllib.loads("at = 2020-01-03")["at"], "min_user_events": 1}
    work, _ = run(context, {"log.csv": log}, settings, **cut)
    assert column(work, ITEMS, "item_id") == ["a", "b"]
    assert column(work, USERS, "user_id") == ["u", "v", "w"] and column(work, USERS, "n_events") == [2, 0, 0]


def test_sequences_keep_repeats_and_their_order(context: Context) -> None:
    settings = '[interactions]\npath = "log.txt"\nlayout = "sequences"\n'
    work, outcome = run(context, {"log.txt": "u2 b a b\nu1 007 NA\n\nu3\n"}, settings)
    assert column(work, SEQUENCES, "user_id") == ["u1", "u2"]
    assert column(work, SEQUENCES, "item_ids") == [["007", "NA"], ["b", "a", "b"]]
    assert column(work, INTERACTIONS, "time") == [None] * 5
    assert column(work, REJECTS, "reason") == ["unparsable"]
    assert outcome.report.counts["rows"] == 6


def test_what_leaves_nothing_is_named_with_the_setting_to_relax(context: Context) -> None:
    with pytest.raises(DataError, match="after the rule 'min_user_events'") as empty:
        run(context, {"log.csv": LOG}, min_user_events=9)
    assert empty.value.fix == "lower clean.min_user_events"
    assert "rows read" in str(empty.value)
    with pytest.raises(DataError, match="after the rule 'where'"):
        run(context, {}, SETTINGS.replace("n > 0", "n > 99").replace("n IS NULL OR ", ""))
    with pytest.raises(DataError, match="no row is left"):
        run(context, {"log.csv": "user,item,time,n,kind\n"}, SETTINGS.replace('path = "log.csv"', HEADER))


HEADER = 'path = "log.csv"\nheader = true'


def test_faults_of_the_settings(context: Context) -> None:
    with pytest.raises(DataError, match="no column 'itm'") as missing:
        run(context, {"log.csv": LOG}, SETTINGS.replace('"item"', '"itm"'))
    assert "did you mean 'item'?" in missing.value.fix
    with pytest.raises(DataError, match=r"there is no file 'lgo\.csv'") as missing:
        run(context, {}, SETTINGS.replace("log.csv", "lgo.csv"))
    assert "log.csv" in missing.value.fix
    path = context.base / "llmrec.toml"
    path.write_text('[clean.interactions]\npath = "log.csv"\nuser = "user"\n')
    with pytest.raises(SettingsError, match="needs the columns `user` and `item`"):
        load(path, environ={}).section("clean", CleanConfig)


def test_up_to_date_until_a_raw_file_changes(context: Context) -> None:
    _, outcome = run(context, {"log.csv": LOG})
    assert outcome.ran
    _, outcome = run(context, {})
    assert not outcome.ran and outcome.report.counts["rows"] == 12
    _, outcome = run(context, {"log.csv": LOG + "u1,d,2020-02-02,1,view\n"})
    assert outcome.ran and outcome.why == "raw files changed: log.csv"


def test_the_sources_are_files_on_disk(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("log.csv", LOG)
    (tmp_path / "p1.csv").write_text("x")
    (tmp_path / "p2.csv").write_text("x")
    interactions = {"path": "a.zip#log.csv", "user": "user", "item": "item"}
    config = CleanConfig.model_validate({"interactions": interactions, "items": {"path": "p*.csv", "item": "x"}})
    (raw,) = STAGE.sources(WorkDir(tmp_path / "work"), config, tmp_path)
    assert raw.what == "raw files" and list(raw.contents()) == ["a.zip", "p1.csv", "p2.csv"]


def test_the_same_input_gives_the_same_bytes_on_any_number_of_threads(context: Context) -> None:
    settings = load(ROOT / "configs" / "retail.toml", environ={})
    prints = []
    for threads in (1, 2):
        work = WorkDir(context.base / str(threads))
        there = dataclasses.replace(context, base=settings.base, threads=threads)
        execute(STAGE, work, settings.section("clean", CleanConfig), there)
        prints.append([work.fingerprint(t) for t in (INTERACTIONS, ITEMS, USERS, SEQUENCES, REJECTS, FUNNEL)])
    assert prints[0] == prints[1]


def test_the_sample(context: Context) -> None:
    settings = load(ROOT / "configs" / "retail.toml", environ={})
    work = WorkDir(context.base / "work")
    execute(STAGE, work, settings.section("clean", CleanConfig), dataclasses.replace(context, base=settings.base))
    taken = dict(zip(column(work, FUNNEL, "rule"), column(work, FUNNEL, "removed"), strict=True))
    # counted with another program: pandas, from the same file
    assert SAMPLE.exists()
    assert (taken["where"], taken["missing user"], taken["duplicate"]) == (263, 98, 154)
    events = work.read(INTERACTIONS)
    assert events.num_rows == 6346
    assert events.group_by(["user_id", "item_id"]).aggregate([]).num_rows == 6346
    times = events.column("time")
    same = pc.equal(events.column("user_id").slice(1), events.column("user_id").slice(0, 6345))
    later = pc.greater_equal(times.slice(1), times.slice(0, 6345))
    assert pc.all(pc.or_(pc.invert(same), later)).as_py()
    items = work.read(ITEMS)
    assert items.num_rows == 450 and items.column("title").null_count == 0
    assert column(work, ITEMS, "item_id") == sorted(column(work, ITEMS, "item_id"))
    assert isinstance(items, pa.Table) and pc.sum(items.column("n_events")).as_py() == 6346


CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.toml"))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("movielens-1m.toml", (1_000_209, 1_000_209, 6_040, 3_883)),
        ("movielens-100k.toml", (100_000, 100_000, 943, 1_682)),
        ("amazon-sequences.toml", (198_502, 198_502, 22_363, 12_101)),
        ("amazon-reviews.toml", (2_972, 2_969, 458, 148)),
        ("steam.toml", (129_511, 122_036, 6_692, 5_155)),
        ("lastfm.toml", (92_834, 92_826, 1_884, 17_632)),
    ],
)
def test_real_data(context: Context, data: Path, name: str, counts: tuple[int, int, int, int]) -> None:
    settings = load(ROOT / "configs" / name, environ={})
    for part in settings.values["clean"].values():
        if isinstance(part, dict) and "path" in part:
            part["path"] = part["path"].replace("../data", str(data))
    work = WorkDir(context.base / "work")
    outcome = execute(STAGE, work, settings.section("clean", CleanConfig), context)
    assert tuple(outcome.report.counts[key] for key in ("rows", "events", "users", "items")) == counts
    assert work.read(REJECTS).num_rows == counts[0] - counts[1]


def test_every_config_is_checked() -> None:
    assert len(CONFIGS) >= 7
    for name in CONFIGS:
        load(ROOT / "configs" / name, environ={}).section("clean", CleanConfig)


def test_a_title_with_an_unquoted_separator_stays_whole(context: Context) -> None:
    items = "sku,name,section\na,A cup,Kitchen\nb,Salt, pepper, and more,Table\nc,Short\nd,A plate,Kitchen\n"
    files = {"log.csv": "user,item\nu,a\nu,b\nv,b\nv,d\nu,c\nv,c\n", "items.csv": items}
    settings = """
[interactions]
path = "log.csv"
user = "user"
item = "item"
[items]
path = "items.csv"
item = "sku"
title = "name"
category = "section"
"""
    work, outcome = run(context, files, settings)
    found = work.read(ITEMS).select(["item_id", "title", "category"]).to_pylist()
    assert [list(each.values()) for each in found] == [
        ["a", "A cup", "Kitchen"],
        ["b", "Salt, pepper, and more", "Table"],
        ["c", "Short", None],
        ["d", "A plate", "Kitchen"],
    ]
    (warning,) = outcome.report.warnings
    assert warning == (
        "items.csv: 2 rows have a wrong number of columns: what is too much was taken for part of 'name', "
        "what is missing is empty"
    )
