"""`recommend --to-users`: the users for whom an item is best, with the reasons that their lists would have."""

from __future__ import annotations

import pytest

import llmrec_cli
from llmrec_cli.core.workdir import WorkDir
from tests import tiny
from tests.recommend_command import asked, llmrec


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    return tiny.make(tmp_path_factory.mktemp("audience") / "work", negative={"u00": "i03"})


def users(work: WorkDir, *options: str) -> list[str]:
    return [row["user_id"] for row in asked(work, "--to-users", "i03", *options)["users"]]


BEFORE = [f"u{user:02d}" for user in range(tiny.WALKERS) if tiny.following(user) == 3]
"""Who comes to the item next, on the ring."""


def test_who_comes_to_it_next_is_first_and_nothing_is_written(work: WorkDir) -> None:
    before = {path: path.stat().st_mtime_ns for path in work.path.rglob("*")}
    found = users(work, "-k", "2")
    assert set(found) <= set(BEFORE) and "u00" not in found, "u00 has turned it down"
    assert {path: path.stat().st_mtime_ns for path in work.path.rglob("*")} == before


def test_whoever_had_it_or_may_not_have_it_is_not_among_them(work: WorkDir) -> None:
    found = users(work, "-k", "100")
    had = [f"u{user:02d}" for user in range(tiny.WALKERS) if 3 in tiny.walk(user)]
    assert not {*had, "u00", "z0", "z1", "z2"} & set(found)
    assert len(found) == tiny.WALKERS - len(had) - 1 == len(set(found))
    again = users(work, "-k", "100", "--set", "recommend.filter_seen=false")
    assert set(again) == {*found, *had}
    rule = "recommend.constraints.where=user.region = 'Spain' OR item.category LIKE 'Ring 1%'"
    spanish = users(work, "-k", "100", "--set", rule)
    assert spanish and all(int(user[1:]) % 2 for user in spanish)


@pytest.mark.parametrize("user", ["u16", "u01"])
def test_score_and_reason_are_those_of_the_users_list(work: WorkDir, user: str) -> None:
    own = {row["item_id"]: row for row in asked(work, "--user", user, "-k", "16")["items"]}
    (row,) = [each for each in asked(work, "--to-users", "i03", "-k", "100")["users"] if each["user_id"] == user]
    if own["i03"]["strategy"] != "popularity":  # a row of the backfill has no score of the ranker
        assert {name: row[name] for name in ("reason", "evidence", "strategy")} == {
            name: own["i03"][name] for name in ("reason", "evidence", "strategy")
        }


def test_lines_and_the_python_api(work: WorkDir) -> None:
    lines = llmrec(work, "--to-users", "i03", "-k", "2").stdout.splitlines()
    rows = asked(work, "--to-users", "i03", "-k", "2")
    assert (rows["item_id"], rows["title"]) == ("i03", "Thing 3") and lines[0] == "users for item i03: Thing 3"
    assert lines[1].split()[:2] == ["1", rows["users"][0]["user_id"]] and lines[1].endswith(rows["users"][0]["reason"])
    found = llmrec_cli.open(work.path, threads=1).to_users("i03", k=2)
    assert found.to_dict("records") == rows["users"] and found["rank"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--to-users", "i3"], 3, "there is no item 'i3'"),
        (["--to-users", "i03", "--set", "recommend.deny=['i03']"], 3, "no user may have the item 'i03'"),
        (["--to-users", "i03", "--history", "i00"], 2, "--to-users asks alone"),
        (["--to-users", "i03", "--gather"], 2, "--gather is about all lists"),
    ],
)
def test_what_cannot_be_meant_is_reported(work: WorkDir, options: list[str], code: int, said: str) -> None:
    done = llmrec(work, *options)
    assert done.exit_code == code and said in done.output, done.output
