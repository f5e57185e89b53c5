from __future__ import annotations

import pyarrow as pa

from llmrec_cli.core.artifacts import INTERACTIONS, ITEMS, USERS
from llmrec_cli.core.stage import Context
from llmrec_cli.ingest import oddities
from tests.test_clean import column, run

SETTINGS = """
[interactions]
path = "log.csv"
user = "user"
item = "item"
[users]
path = "users.csv"
user = "user"
age = "age band"
"""


def log(*rows: str) -> str:
    return "user,item\n" + "\n".join(rows) + "\n"


def users(*ages: str) -> str:
    return "user,age band\n" + "\n".join(f"u{n},{age}" for n, age in enumerate(ages)) + "\n"


def test_ids_that_say_none_and_ids_alike_but_for_case_are_kept_and_counted(context: Context) -> None:
    rows = ("NA,abc", "NA,ABC", "null,abc", "null,nan", "Ann,abc", "Ann,x", "ANN,ABC", "ANN,x")
    work, outcome = run(context, {"log.csv": log(*rows), "users.csv": users("20")}, SETTINGS)
    assert set(column(work, INTERACTIONS, "user_id")) == {"NA", "null", "Ann", "ANN"}
    assert set(column(work, ITEMS, "item_id")) == {"abc", "ABC", "nan", "x"}
    reported = "\n".join(outcome.report.warnings)
    assert "2 user ids say that there is none ('NA', 'null'; 4 events)" in reported
    assert "1 item ids say that there is none ('nan'; 1 events)" in reported
    assert "1 item ids are there in upper and in lower case ('ABC', 'abc')" in reported
    assert "1 user ids are there in upper and in lower case: kept apart" in reported
    assert "Ann" not in reported, "warnings are stored, and forgetting does not look into sentences"


def test_an_ordinary_log_has_no_such_warning(context: Context) -> None:
    files = {"log.csv": log("u0,a", "u0,b", "u1,a", "u1,b"), "users.csv": users("20", "35")}
    assert run(context, files, SETTINGS)[1].report.warnings == []


def test_ages_in_words_are_not_lost_in_silence(context: Context) -> None:
    files = {"log.csv": log("u0,a", "u0,b", "u1,a", "u1,b"), "users.csv": users("young", "young", "25-34", "", "40")}
    work, outcome = run(context, files, SETTINGS)
    assert column(work, USERS, "age") == [None, None, 25, None, 40]
    (reported,) = outcome.report.warnings
    assert reported.startswith("clean.users.age: 2 of 4 values of 'age band' are no numbers (most often 'young')")
    assert "clean.users.attributes" in reported


def test_ages_that_nobody_reaches_are_kept_and_reported(context: Context) -> None:
    files = {"log.csv": log("u0,a", "u0,b", "u1,a", "u1,b"), "users.csv": users("1985", "-3", "44", "120")}
    work, outcome = run(context, files, SETTINGS)
    assert column(work, USERS, "age") == [1985, -3, 44, 120]
    assert outcome.report.warnings == [
        "clean.users.age: 2 values of 'age band' are below 0 or above 120: kept; are they ages?"
    ]


def test_the_account_counts_users_with_rows(context: Context) -> None:
    rows = [f"u{n},i{k}" for n in range(30) for k in range(3)] + [f"bot,b{k}" for k in range(900)] + ["one,i1"]
    _, outcome = run(context, {"log.csv": log(*rows), "users.csv": users("20")}, SETTINGS, outlier_z=3.0)
    lines = {line.split("  ")[0]: line.split() for line in outcome.report.lines}
    assert lines["outlier user"][2:] == ["-900", "91", "1", "user"]
    assert lines["min_user_events"][1:] == ["-1", "90", "1", "user"]


def test_the_account_says_that_rows_are_taken_as_order(context: Context) -> None:
    files = {"log.csv": log("u0,a", "u0,b", "u1,a", "u1,b"), "users.csv": users("20")}
    assert run(context, files, SETTINGS)[1].report.lines[-1].startswith("there are no times: the order of rows")
    text = 'path = "seq.txt"\nlayout = "sequences"'
    lines = run(context, {"seq.txt": "u a b\nv b c d\nw a\n"}, f"[interactions]\n{text}", "other")[1].report.lines
    assert lines[-1].startswith("there are no times: the order of the items in a line")


def test_a_catalogue_far_longer_than_what_was_chosen_is_reported() -> None:
    (reported,) = oddities.catalogue(pa.chunked_array([[3, 1, *[0] * 38]]))
    assert reported.startswith("38 of 40 items have no event") and "20 times the work of the 2" in reported
    assert not oddities.catalogue(pa.chunked_array([[3, 1, 0, 0, 0]]))


def test_the_cleaning_reports_it(context: Context) -> None:
    settings = SETTINGS + '[items]\npath = "items.csv"\nitem = "item"\n'
    items = "item,name\n" + "\n".join(f"i{n},thing {n}" for n in range(60)) + "\n"
    files = {"log.csv": log("u0,i0", "u0,i1", "u1,i0", "u1,i2"), "users.csv": users("20", "30"), "items.csv": items}
    _, outcome = run(context, files, settings)
    assert [w for w in outcome.report.warnings if w.startswith("57 of 60 items have no event")]
