from __future__ import annotations

import itertools
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from llmrec_cli.core.artifacts import ENCODER, ENCODER_VALIDATION, ITEMS, PROFILES, SEQUENCES, TOPICS, USERS
from llmrec_cli.core.errors import SettingsError
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir, to_numpy
from llmrec_cli.data.interactions import from_table
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.sequence.model_config import ModelConfig
from llmrec_cli.sequence.network import Transformer
from llmrec_cli.stages.profile import STAGE, ProfileConfig
from llmrec_cli.tensors.checkpoints import bind
from tests.signing import vouch

TAGS = ["kitchen", "garden", "office"]
N_USERS, N_ITEMS, DIM = 30, 12, 8


def clean(work: WorkDir) -> None:
    """Users u00..u29; each third likes one tag; u00, u10 and u20 have no events; all but u01 have a gender."""
    rng = np.random.default_rng(0)
    ids = [f"i{i:02d}" for i in range(N_ITEMS)]
    items = [
        {"item_id": ids[i], "title": f"Thing {i}", "tags": [TAGS[i % 3]], "n_events": 1, "category": None}
        for i in range(N_ITEMS)
    ]
    work.write(ITEMS, pa.Table.from_pylist(items, schema=ITEMS.schema))
    users, sequences = [], []
    for u in range(N_USERS):
        n = 0 if u % 10 == 0 else 1 + u % 7
        gender = None if u == 1 else "F" if u % 3 == 0 else "M"
        users.append({"user_id": f"u{u:02d}", "age": 20.0 + u, "gender": gender, "region": "N", "n_events": n})
        if n:
            chosen = rng.integers(0, N_ITEMS // 3, n) * 3 + u % 3
            times = [datetime(2024, 1, 1 + k, tzinfo=UTC) for k in range(n)]
            sequences.append(
                {
                    "user_id": f"u{u:02d}",
                    "item_ids": [ids[i] for i in chosen],
                    "item_codes": chosen.tolist(),
                    "times": times,
                    "weights": [1.0] * n,
                }
            )
    work.write(USERS, pa.Table.from_pylist(users, schema=USERS.schema))
    work.write(SEQUENCES, pa.Table.from_pylist(sequences, schema=SEQUENCES.schema))


@pytest.fixture
def work(tmp_path: Path) -> WorkDir:
    made = WorkDir(tmp_path / "work")
    clean(made)
    torch.manual_seed(0)
    shape = ModelConfig(dim=DIM, layers=1, heads=1, max_length=10)
    encoder = SequenceEncoder(shape, Transformer(shape), torch.randn(N_ITEMS + 1, DIM))
    for artifact in (ENCODER, ENCODER_VALIDATION):
        with made.writing(artifact) as folder:
            encoder.save(folder)
            bind(folder, [f"i{i:02d}" for i in range(N_ITEMS)])
    return made


def profiled(work: WorkDir, context: Context, **settings: Any) -> list[dict[str, Any]]:
    execute(STAGE, vouch(work), ProfileConfig(**settings), context, force=True)
    rows: list[dict[str, Any]] = work.read(PROFILES).to_pylist()
    return rows


def test_every_user_has_a_profile_in_the_order_of_users(work: WorkDir, context: Context) -> None:
    rows = profiled(work, context)
    assert [row["user_id"] for row in rows] == work.read(USERS).column("user_id").to_pylist()
    assert np.isfinite(to_numpy(work.read(PROFILES).column("vector"))).all()
    assert [row["user_id"] for row in rows if row["cold"]] == ["u00", "u10", "u20"]
    assert rows[4]["n_events"] == 5 and rows[4]["last_time"] == datetime(2024, 1, 5, tzinfo=UTC)
    assert rows[0]["last_time"] is None and rows[0]["age_band"] == "18-24"


def test_interests_are_those_of_the_history_and_sum_to_one(work: WorkDir, context: Context) -> None:
    for u, row in enumerate(profiled(work, context)):
        if not row["cold"]:
            assert [each["tag"] for each in row["interests"]] == [TAGS[u % 3]]
        for column in ("interests", "recent_interests"):
            assert sum(each["weight"] for each in row[column]) == pytest.approx(1, abs=1e-5)


def test_users_without_events_have_the_profile_of_their_segment(work: WorkDir, context: Context) -> None:
    rows = profiled(work, context, min_segment_users=1000, full_weight_events=5)
    block = to_numpy(work.read(PROFILES).column("vector"))
    assert {row["segment"] for row in rows} == {"everyone"}
    assert len(rows[0]["interests"]) == 3 and rows[0]["interests"] == rows[10]["interests"]
    assert block[0] == pytest.approx(block[20])
    states = SequenceEncoder.load(work.where(ENCODER)).encode(
        from_table(work.read(SEQUENCES), work.read(ITEMS), work.read(USERS).column("user_id"))
    )
    some = np.array([not row["cold"] for row in rows])
    assert block[0] == pytest.approx(states[some].mean(axis=0), abs=1e-5)
    assert block[6] == pytest.approx(states[6], abs=1e-5)  # seven events: the own vector
    assert block[1] == pytest.approx(0.4 * states[1] + 0.6 * block[0], abs=1e-5)  # two events of five


def test_segments_back_off_where_few_share_all_attributes(work: WorkDir, context: Context) -> None:
    rows = profiled(work, context, min_segment_users=3)
    assert rows[5]["segment"] == "25-34 · M · N"
    assert rows[4]["segment"] == "18-24 · N"  # two men of that age have events, four users of it have
    assert rows[1]["segment"] == "18-24 · N"  # no gender


def titled(work: WorkDir) -> WorkDir:
    """Titles of four words each, every word in two of the four titles of one tag."""
    items = work.read(ITEMS)
    pairs = [*itertools.combinations("abcd", 2), ("b", "a"), ("d", "c")]
    titles = [" ".join(TAGS[i % 3] + "".join(pair) for pair in pairs if "abcd"[i // 3] in pair) for i in range(N_ITEMS)]
    work.write(ITEMS, items.set_column(items.column_names.index("title"), "title", pa.array(titles)))
    return work


@pytest.mark.parametrize("name", ["lda", "nmf"])
def test_topics_of_titles_where_tags_are_few(work: WorkDir, context: Context, name: str) -> None:
    rows = profiled(titled(work), context, topic_model=name, n_topics=3)
    topics = work.read(TOPICS).to_pylist()
    before = [work.fingerprint(table) for table in (PROFILES, TOPICS)]
    profiled(work, context, topic_model=name, n_topics=3)
    assert [work.fingerprint(table) for table in (PROFILES, TOPICS)] == before
    assert len(topics) == 3 and all(len({word[:-2] for word in topic["words"]}) == 1 for topic in topics)
    assert all(topic["coherence"] > 0.1 for topic in topics)
    labels = {topic["topic"]: topic["words"][0][:-2] for topic in topics}
    for u, row in enumerate(rows):
        assert sum(each["weight"] for each in row["topics"]) == pytest.approx(1, abs=1e-5)
        if not row["cold"]:
            assert labels[row["topics"][0]["tag"]] == TAGS[u % 3]


def test_topics_at_chance_are_not_shown(work: WorkDir, context: Context) -> None:
    """Every user has one tag only, so no two go together: each pair of words has -1."""
    report = execute(STAGE, vouch(work), ProfileConfig(n_topics=2), context).report
    assert work.read(TOPICS).num_rows == 0 and report.counts["topics"] == 0
    assert all(row["topics"] == [] for row in work.read(PROFILES).to_pylist())
    assert "no topics are shown, they are no more than chance" in "\n".join(report.lines)


def test_report_reports_cold_users_topics_and_segments(work: WorkDir, context: Context) -> None:
    report = execute(STAGE, vouch(titled(work)), ProfileConfig(n_topics=3), context).report
    assert report.counts["users"] == N_USERS and report.counts["cold"] == 3
    reported = "\n".join(report.lines)
    assert "3 of them without events" in reported and "kitchen" in reported and "segments, the largest" in reported


def test_items_without_tags_give_empty_interests_and_a_warning(work: WorkDir, context: Context) -> None:
    items = work.read(ITEMS)
    bare = items.set_column(items.schema.get_field_index("tags"), "tags", pa.nulls(N_ITEMS, pa.list_(pa.string())))
    work.write(ITEMS, bare)
    outcome = execute(STAGE, vouch(work), ProfileConfig(), context)
    assert outcome.report.warnings == ["items have no tags: there are no interests and no topics"]
    assert work.read(TOPICS).num_rows == 0
    assert all(row["interests"] == [] and row["topics"] == [] for row in work.read(PROFILES).to_pylist())


def test_a_mistyped_topic_model_fails_before_anything_is_read(tmp_path: Path, context: Context) -> None:
    with pytest.raises(SettingsError, match="did you mean 'lda'"):
        STAGE.run(WorkDir(tmp_path / "empty"), ProfileConfig(topic_model="ldaa"), replace(context, ticket="t"))


def test_how_far_to_lean_on_segments_is_chosen_and_reported(work: WorkDir, context: Context) -> None:
    from llmrec_cli.profiles.shrinkage import FULL_WEIGHTS

    report = execute(STAGE, vouch(work), ProfileConfig(), context).report
    chosen = int(report.metrics["full_weight_events"])
    assert chosen in FULL_WEIGHTS and any(f"full weight from {chosen} event" in line for line in report.lines)
    before = to_numpy(work.read(PROFILES).column("vector"))
    profiled(work, context, full_weight_events=chosen)
    assert (to_numpy(work.read(PROFILES).column("vector")) == before).all()


def test_affinities_are_reported_where_items_say_a_price_and_a_brand(work: WorkDir, context: Context) -> None:
    assert all(row["brands"] is None and row["price"] is None for row in profiled(work, context))
    rows = work.read(ITEMS).to_pylist()
    for code, row in enumerate(rows):
        row["attributes"] = [{"name": "price", "value": f"{code}.50"}, {"name": "maker", "value": TAGS[code % 3]}]
    work.write(ITEMS, pa.Table.from_pylist(rows, schema=ITEMS.schema))
    outcome = execute(STAGE, vouch(work), ProfileConfig(brand="maker"), context)
    assert "affinities: prices from the attribute 'price', brands from the attribute 'maker'" in outcome.report.lines
    user, cold = (work.read(PROFILES).to_pylist()[u] for u in (4, 0))
    chosen = work.read(SEQUENCES).to_pylist()[3]["item_ids"]
    assert [each["tag"] for each in user["brands"]] == [TAGS[1]] and user["brands"][0]["support"] == 5
    assert user["price"]["typical"] == np.median([int(item[1:]) + 0.5 for item in chosen])
    assert cold["brands"] == [] and cold["price"] is None


def test_interests_report_their_events_and_what_changed(work: WorkDir, context: Context) -> None:
    """User u04 turns from four garden things to four office things."""
    rows = work.read(SEQUENCES).to_pylist()
    assert rows[3]["user_id"] == "u04"
    rows[3]["item_ids"] = ["i01", "i04", "i07", "i10", "i02", "i05", "i08", "i11"]
    codes = [int(item[1:]) for item in rows[3]["item_ids"]]
    rows[3] |= {"item_codes": codes, "times": [None] * 8, "weights": [1.0] * 8}
    work.write(SEQUENCES, pa.Table.from_pylist(rows, schema=SEQUENCES.schema))
    user = profiled(work, context, recent_events=4)[4]
    assert {each["tag"]: each["support"] for each in user["interests"]} == {"garden": 4, "office": 4}
    assert [(each["tag"], each["support"]) for each in user["recent_interests"]] == [("office", 4)]
    assert user["changes"] == [
        {"tag": "office", "before": 0.0, "lately": 1.0},
        {"tag": "garden", "before": 1.0, "lately": 0.0},
    ]


def test_further_attributes_of_users_make_segments(work: WorkDir, context: Context) -> None:
    rows = work.read(USERS).to_pylist()
    for u, row in enumerate(rows):
        row |= {"age": None, "gender": None, "region": None}
        row["attributes"] = [{"name": "job", "value": "cook" if u < 20 else "artist"}]
    work.write(USERS, pa.Table.from_pylist(rows, schema=USERS.schema))
    found = profiled(work, context, min_segment_users=10)
    assert {row["segment"] for row in found[:20]} == {"job: cook"}
    assert {row["segment"] for row in found[20:]} == {"everyone"}  # nine artists have events


def test_every_column_is_explained() -> None:
    meanings = tomllib.loads((Path(__file__).parents[1] / "docs" / "columns.toml").read_text("utf-8"))
    for table in (PROFILES, TOPICS):
        assert list(meanings[table.path]) == table.schema.names
