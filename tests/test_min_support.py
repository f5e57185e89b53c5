"""Nothing of fewer people than `clean.min_support` is shown: counted again from the events."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_cli import pipeline
from llmrec_cli.core import artifacts, min_support
from llmrec_cli.core.config import Settings
from llmrec_cli.core.errors import DataError, MissingExtraError
from llmrec_cli.core.pseudonyms import Key
from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.segments import EVERYONE, segments
from llmrec_cli.evaluation.slices import Slicing
from llmrec_cli.privacy import held
from llmrec_cli.profiles.topics import Topics
from llmrec_cli.profiles.topics.coherence import Chosen
from llmrec_cli.profiles.user_topics import LEAST_TOPIC, common
from llmrec_cli.report import views
from llmrec_cli.writing.claims import FEWEST, People
from tests.conftest import SAMPLE
from tests.test_clean import column, run

LOG = """user,item,time
u1,a,2020-01-01
u1,b,2020-01-02
u2,a,2020-01-01
u2,b,2020-01-02
u3,a,2020-01-01
u3,b,2020-01-02
u1,rare,2020-01-03
u1,rare,2020-01-04
u1,rare,2020-01-05
u2,odd,2020-01-03
"""
ITEMS = "item,tags\na,common\nb,common\nrare,telling\nodd,telling\nnew,fresh\n"
SETTINGS = """
[interactions]
path = "log.csv"
user = "user"
item = "item"
time = "time"

[items]
path = "items.csv"
item = "item"
tags = ["tags"]
"""


def test_none_or_enough_may_be_shown() -> None:
    assert min_support.enough([0, 1, 2, 3, 9], 3).tolist() == [True, False, False, True, True]
    assert min_support.enough([0, 1, 2], 0).all() and min_support.enough([0, 1, 2], 1).all()
    values = np.array(["x", "x", "y", None], dtype=object)
    assert min_support.hide_rare(values, 2).tolist() == ["x", "x", None, None]
    assert min_support.hide_rare(values, 1).tolist() == values.tolist()


def test_items_of_too_few_people_leave_the_catalogue(context: Context) -> None:
    files = {"log.csv": LOG, "items.csv": ITEMS}
    work, found = run(context, files, SETTINGS, min_support=3)
    assert column(work, artifacts.ITEMS, "item_id") == ["a", "b", "new"]  # nobody had the new one
    assert set(column(work, artifacts.INTERACTIONS, "item_id")) == {"a", "b"}
    assert column(work, artifacts.REJECTS, "reason") == ["min_support"] * 4
    assert any(line.startswith("min_support") and line.endswith("2 items") for line in found.report.lines)
    assert min_support.least_people(work) == 3
    work, _ = run(context, files, SETTINGS, work="all")
    assert len(column(work, artifacts.ITEMS, "item_id")) == 5 and not column(work, artifacts.REJECTS, "reason")
    assert min_support.ticket_part(work, artifacts, context) == {}  # type: ignore[arg-type]
    with pytest.raises(DataError, match="min_support"):
        run(context, files, SETTINGS, work="none", min_support=4)


def test_small_segments_go_into_coarser_ones() -> None:
    age = np.array(["25-34"] * 8 + [None] * 2, dtype=object)
    gender = np.array(["F"] * 6 + [None] * 2 + ["F"] * 2, dtype=object)
    region = np.full(10, None, dtype=object)
    has = np.ones(10, dtype=bool)
    assert set(segments({"age": age, "gender": gender, "region": region}, has, 3).names) == {
        "25-34 · F",
        "25-34",
        "F",
        EVERYONE,
    }
    found = segments({"age": age, "gender": gender, "region": region}, has, 3, least=3)
    assert found.names == ["25-34 · F", EVERYONE] and found.sizes().tolist() == [6, 4]


def test_topics_and_slices_of_too_few_people_are_not_reported() -> None:
    shares = np.array([[0.9, 0.1, 0.0]] * 4 + [[0.0, 0.0, 1.0]], dtype=np.float32)
    topics = Topics(["one", "two", "three"], [["a"], ["b"], ["c"]], shares)
    chosen = Chosen(topics, np.array([0.3, 0.2, 0.1]), "")
    assert common(chosen, 1) is chosen and LEAST_TOPIC > 0.1
    assert common(chosen, 2).topics.labels == ["one"] and common(chosen, 2).coherence.tolist() == [0.3]
    assert common(chosen, 5).topics.labels == []
    slicing = Slicing("kind", ["x", "y"], np.array([0, 0, 0, 1, -1]))
    assert slicing.of_at_least(2).of_user.tolist() == [0, 0, 0, -1, -1]
    assert slicing.of_at_least(0).of_user.tolist() == slicing.of_user.tolist()


def test_sentences_on_others_need_as_many_people() -> None:
    histories = Sequences(np.array([0, 0, 1]), np.array([0, 1, 3]), 2)
    assert histories.people().tolist() == [2, 1]
    assert People.of(histories).fewest == FEWEST and People.of(histories, 5).fewest == 5


def test_real_ids_need_the_key(tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "a key for this test alone"
    monkeypatch.setenv("LLMREC_KEY", secret)
    work, _ = run(context, {"log.csv": LOG, "items.csv": ITEMS}, SETTINGS, pseudonymise=True)
    settings = Settings({"clean": {"pseudonymise": True}}, base=tmp_path)
    pseudonym = Key(secret.encode()).hash("u1")
    assert held.as_written(work, settings, ["u1", pseudonym]) == [pseudonym] * 2
    monkeypatch.delenv("LLMREC_KEY")
    assert held.as_written(work, settings, [pseudonym]) == [pseudonym]
    with pytest.raises(MissingExtraError, match="key"):
        held.as_written(work, settings, ["u1"])


# --- the whole program ------------------------------------------------------------------------------------------------

LEAST = 10


@pytest.mark.slow
def test_nothing_of_too_few_people_is_shown(tmp_path: Path, context: Context) -> None:
    settings = Settings(base=tmp_path)
    columns = {"user": "Customer ID", "item": "StockCode", "time": "InvoiceDate", "value": "Quantity"}
    for key, value in {
        "clean.interactions": {"path": str(SAMPLE), **columns, "where": "Quantity > 0"},
        "clean.items": {"title": "Description", "attributes": ["Price"]},
        "clean.users": {"region": "Country"},
        "clean.min_support": LEAST,
        "pretrain": {"epochs": 1, "dim": 16, "layers": 1},
        "profile": {"min_segment_users": 2},
        "train-ranker": {"retrievers": ["sequence", "itemknn", "popularity"], "rankers": ["popularity", "fusion"]},
    }.items():
        settings.put(key, value, "test")
    work = WorkDir(tmp_path / "work")
    pipeline.walk(work, settings, context)
    people, tags = _people(work)
    assert len(people) > 50 and min(people.values()) >= LEAST

    def fine(items: Any, of: Counter[str] = people) -> None:
        assert not [item for item in items if 0 < of[item] < LEAST]

    fine(work.read(artifacts.ITEMS).column("item_id").to_pylist())
    profiles = work.read(artifacts.PROFILES).drop_columns(["vector"]).to_pylist()
    for name in ("interests", "recent_interests", "changes"):
        fine({each["tag"] for row in profiles for each in row[name]}, tags)
    shown = Counter(each["tag"] for row in profiles for each in row["topics"])
    assert all(n >= LEAST for n in shown.values())
    assert set(work.read(artifacts.TOPICS).column("topic").to_pylist()) <= set(shown)
    for name in ("segment", "region"):
        sizes = Counter(row[name] for row in profiles)
        assert all(n >= LEAST for value, n in sizes.items() if value not in (None, EVERYONE))
    lists = work.read(artifacts.RECOMMENDATIONS).to_pylist()
    fine({row["item_id"] for row in lists})
    evidence = [each for row in lists for each in row["evidence"]]
    fine({each["item_id"] for each in evidence if each["item_id"]})
    fine({each["tag"] for each in evidence if each["tag"] and each["kind"] != "segment"}, tags)
    reported = views.item(work, min(people, key=lambda item: people[item]))
    assert reported["people"] >= LEAST and "1 person" not in json.dumps(reported)


def _people(work: WorkDir) -> tuple[Counter[str], Counter[str]]:
    """Distinct users of each item and of each tag, one by one from the events."""
    events = work.read(artifacts.INTERACTIONS, ["user_id", "item_id"]).to_pylist()
    of_item = {row["item_id"]: row["tags"] or [] for row in work.read(artifacts.ITEMS).to_pylist()}
    pairs = {(each["user_id"], each["item_id"]) for each in events}
    tags = {(user, tag) for user, item in pairs for tag in of_item[item]}
    return Counter(item for _, item in pairs), Counter(tag for _, tag in tags)
