from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from pydantic import ValidationError

from llmrec_cli import pipeline
from llmrec_cli.core import config
from llmrec_cli.core.artifacts import EVALUATION, HOLDOUT, ITEMS, SLICES, VERDICT
from llmrec_cli.core.errors import DataError, SettingsError, ThresholdError, UpstreamError
from llmrec_cli.core.stage import Context, Outcome, Report, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.evaluation.backtest_config import METRICS, BacktestConfig, EvaluateConfig
from llmrec_cli.evaluation.comparison import PIPELINE, Comparison, Traits, history_mean, measured
from llmrec_cli.evaluation.eval_users import EvalUsers
from llmrec_cli.ingest.holdout import before
from llmrec_cli.stages import recommend
from llmrec_cli.stages.evaluate import STAGE, best_source
from tests import tiny
from tests.signing import vouch

Next = dict[str, list[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    from llmrec_cli.core.progress import PlainProgress

    folder = tmp_path_factory.mktemp("tiny")
    work = tiny.make(folder / "work")
    context = Context(seed=1, base=folder, progress=PlainProgress(quiet=True), device="cpu", threads=1)
    execute(recommend.STAGE, work, recommend.RecommendConfig(k=5), context)
    return work


def came_next() -> Next:
    return {f"u{user:02d}": [tiny.item_id(tiny.following(user))] for user in range(tiny.WALKERS)}


def evaluated(work: WorkDir, context: Context, happened: Next, **settings: Any) -> Report:
    rows = [
        {"user_id": user, "position": 90 + place, "item_id": item, "time": None}
        for user, items in happened.items()
        for place, item in enumerate(items)
    ]
    work.write(HOLDOUT, pa.Table.from_pylist(rows, schema=HOLDOUT.schema))
    lists = recommend.RecommendConfig(k=5, filter_seen=settings.pop("filter_seen", True))
    given = {"ks": [1, 5], "baselines": ["itemknn"], "bootstrap": 200, "lists": lists, **settings}
    config = BacktestConfig(**given)
    return execute(STAGE, vouch(work), config, context, force=True).report


def values(work: WorkDir) -> dict[tuple[str, str], float]:
    return {(row["system"], row["metric"]): row["value"] for row in work.read(EVALUATION).to_pylist()}


def test_lists_that_foresee_everything_beat_popularity(made: WorkDir, context: Context) -> None:
    report = evaluated(made, context, came_next())
    found = values(made)
    for metric in ("recall@1", "ndcg@5", "mrr@5", "map@5"):
        assert found["pipeline", metric] == 1.0
    # 16 items equally popular, 3 of them seen: a list of 5 by popularity can rarely be right
    assert found["popularity", "recall@5"] < 0.7
    assert {"hit@1", "gini@5", "arp@5", "poplift@5", "diversity@5", "calibration@5"} <= {metric for _, metric in found}
    assert {system for system, _ in found} == {"pipeline", "popularity", "itemknn"}
    verdict = json.loads(made.where(VERDICT).read_text())
    assert verdict["beats_popularity"] and verdict["metric"] == "ndcg@5" and verdict["n_users"] == tiny.WALKERS
    assert report.metrics["ndcg@5"] == 1.0
    assert "NDCG@5 1.0000 (95 % 1.0000–1.0000) over 48 users" in report.lines
    assert any(line.startswith("Beats popularity: NDCG@5 1.0000 against 0.") for line in report.lines)
    assert report.lines[-1] == (
        "protocol: leave-one-out (each user's last event withheld), full ranking over 16 items, seen items filtered, "
        "200 bootstrap resamples of users, seed 42"
    )


def test_what_does_not_beat_popularity_is_reported_so(made: WorkDir, context: Context) -> None:
    # what nobody's list has: items that the users have had before
    happened = {f"u{user:02d}": [tiny.item_id(tiny.walk(user)[0])] for user in range(tiny.WALKERS)}
    report = evaluated(made, context, happened)
    assert values(made)["pipeline", "recall@5"] == 0
    assert any(line.startswith("Does not beat popularity") for line in report.lines)
    assert not json.loads(made.where(VERDICT).read_text())["beats_popularity"]
    assert report.warnings == ["48 users chose only items again that they had before: no list can be right for them"]


def test_what_is_out_of_reach_counts_as_a_miss(made: WorkDir, context: Context) -> None:
    happened = came_next() | {"u00": ["brand new"], "u01": ["brand new", "newer"]}
    report = evaluated(made, context, happened | {"stranger": ["i01"]})
    assert report.counts["users"] == tiny.WALKERS
    assert values(made)["pipeline", "recall@5"] == pytest.approx(46 / 48)
    assert "2 users chose only items that nobody had before: no list can be right for them" in report.warnings
    assert "1 users came after the cut-off: they have no list and are left out" in report.warnings


def test_several_withheld_events_of_a_user(made: WorkDir, context: Context) -> None:
    happened = {user: [*items, "brand new"] for user, items in came_next().items()}
    report = evaluated(made, context, happened, holdout="last-n", holdout_n=2)
    assert values(made)["pipeline", "recall@5"] == 0.5
    assert not report.warnings and "last 2 events withheld" in report.lines[-1]


def test_items_outside_of_the_catalogue_are_targets_of_their_own(made: WorkDir, context: Context) -> None:
    evaluated(made, context, {user: [*items, "brand new", "newer", "newer"] for user, items in came_next().items()})
    assert values(made)["pipeline", "recall@5"] == pytest.approx(1 / 3)
    rows = {(r["slice"], r["system"], r["metric"]): r["value"] for r in made.read(SLICES).to_pylist()}
    assert rows["new", PIPELINE, "recall@5"] == 0 and rows["head", PIPELINE, "recall@5"] == 1


def test_the_filter_is_reported_both_ways(made: WorkDir, context: Context, tmp_path: Path) -> None:
    # everyone comes back to the first item of the walk
    again = {f"u{user:02d}": [tiny.item_id(tiny.walk(user)[0])] for user in range(tiny.WALKERS)}
    report = evaluated(made, context, again, ks=[5])
    other = json.loads(made.where(VERDICT).read_text())["other_filter"]
    assert values(made)["itemknn", "ndcg@5"] == 0 and other["itemknn"] > 0.3
    assert any(line.startswith("ndcg@5 with seen items left in: popularity 0.") for line in report.lines)
    unfiltered = WorkDir(tmp_path / "unfiltered")
    shutil.copytree(made.path, unfiltered.path)
    execute(recommend.STAGE, unfiltered, recommend.RecommendConfig(k=5, filter_seen=False), context)
    report = evaluated(unfiltered, context, again, ks=[5], filter_seen=False)
    assert values(unfiltered)["itemknn", "ndcg@5"] == other["itemknn"]
    assert json.loads(unfiltered.where(VERDICT).read_text())["other_filter"]["itemknn"] == 0
    assert "seen items not filtered" in report.lines[-1] and not report.warnings
    assert any(line.startswith("ndcg@5 with seen items filtered: popularity 0.0000") for line in report.lines)


def test_users_without_history_are_asked_too(made: WorkDir, context: Context) -> None:
    report = evaluated(made, context, {"z0": ["i00"], "u00": ["i03"]})
    assert report.counts["users"] == 2


def test_the_gate_fails_after_everything_is_written(made: WorkDir, context: Context) -> None:
    happened = came_next() | {f"u{user:02d}": ["brand new"] for user in range(10)}
    made.remove(EVALUATION)
    made.remove(VERDICT)
    with pytest.raises(ThresholdError, match=r"NDCG@5 0\.79\d* is below the threshold 0\.9") as raised:
        evaluated(made, context, happened, fail_under=0.9)
    assert raised.value.exit_code == 7
    assert made.has(EVALUATION) and made.has(VERDICT)
    evaluated(made, context, happened, fail_under=0.5)


def test_any_metric_and_any_baseline_can_be_a_gate(made: WorkDir, context: Context) -> None:
    evaluated(made, context, came_next(), thresholds={"recall@1": 0.99, "coverage@5": 0.1}, must_beat=["popularity"])
    nobody = {f"u{user:02d}": [tiny.item_id(tiny.walk(user)[0])] for user in range(tiny.WALKERS)}
    with pytest.raises(ThresholdError, match=r"RECALL@1 0\.0000 is below the threshold 0\.2") as raised:
        evaluated(made, context, nobody, thresholds={"recall@1": 0.2}, must_beat=["best", "popularity"])
    for reported in ("the pipeline does not beat transitions", "the pipeline does not beat popularity"):
        assert reported in str(raised.value)
    evaluated(made, context, came_next(), upper_bounds={"gini@5": 1.0})
    with pytest.raises(ThresholdError, match=r"COVERAGE@5 \d\.\d+ is above the upper bound 0\.01"):
        evaluated(made, context, came_next(), upper_bounds={"coverage@5": 0.01})
    with pytest.raises(ValidationError, match=r"no metric 'recal@1'.*recall@1"):
        EvaluateConfig(ks=[1], thresholds={"recal@1": 0.2})
    with pytest.raises(ValidationError, match="no metric 'recall@10'"):
        EvaluateConfig(ks=[5], thresholds={"recall@10": 0.2})
    assert {metric.split("@")[0] for _, metric in values(made)} == set(METRICS)


def test_the_best_source_is_that_of_validation(made: WorkDir, context: Context) -> None:
    report = evaluated(made, context, came_next(), baselines=["best"])
    assert {system for system, _ in values(made)} == {"pipeline", "popularity", "transitions"}
    assert json.loads(made.where(VERDICT).read_text())["best_source"] == "transitions"
    assert "best source alone, by validation: transitions" in report.lines
    rows = {"metric": ["ndcg@10", "ndcg@10", "recall@10", "ndcg@10"], "value": [0.2, 0.3, 0.9, 0.8]}
    rows |= {"name": ["a", "b", "a", "c"], "kind": ["retriever", "retriever", "retriever", "ranker"]}
    assert best_source(pa.table(rows)) == "b"
    with pytest.raises(DataError, match="no NDCG of a candidate source"):
        best_source(pa.table(rows).slice(2))


def test_a_source_that_was_not_fitted_is_not_compared_with(made: WorkDir, context: Context) -> None:
    report = evaluated(made, context, came_next(), baselines=["itemknn", "ease"])
    assert {system for system, _ in values(made)} == {"pipeline", "popularity", "itemknn"}
    assert "ease is not compared with: train-ranker does not fit it" in report.lines


def test_popularity_is_counted_where_no_retriever_of_it_was_fitted(
    made: WorkDir, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As beside an encoder that was trained with differential privacy."""
    from llmrec_cli.stages import evaluate

    evaluated(made, context, came_next())
    before, fitted = values(made), evaluate.sources_of
    monkeypatch.setattr(
        evaluate, "sources_of", lambda *given: {n: each for n, each in fitted(*given).items() if n != "popularity"}
    )
    evaluated(made, context, came_next())
    assert values(made) == before and any(system == "popularity" for system, _ in before)


def test_no_slice_of_too_few_people_is_shown(made: WorkDir, context: Context) -> None:
    evaluated(made, context, came_next() | {"z0": ["i00"]})
    assert min(row["n_users"] for row in made.read(SLICES).to_pylist() if row["slice"] != "gap") == 1
    evaluated(made, context, came_next() | {"z0": ["i00"]}, min_support=2)
    assert min(row["n_users"] for row in made.read(SLICES).to_pylist() if row["slice"] != "gap") >= 2


def test_a_backtest_is_given_the_settings_of_other_stages(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[BacktestConfig] = []

    def execute(stage: Any, work: WorkDir, config: BacktestConfig, context: Context, **given: Any) -> Outcome:
        seen.append(config)
        return Outcome("evaluate", True, "", Report())

    monkeypatch.setattr(pipeline, "walk", lambda *given, **more: [])
    monkeypatch.setattr(pipeline, "execute", execute)
    names = [f"clean.interactions.{name}=x" for name in ("path", "user", "item")]
    given = ["clean.min_support=4", "recommend.filter_seen=false", "train-ranker.candidates.repeat=true"]
    pipeline.backtests(WorkDir(tmp_path), config.load(None, [*names, *given], {}, {}), context)
    assert [(each.lists.filter_seen, each.lists.k, each.min_support) for each in seen] == [(False, 10, 4)]


def test_no_record_of_another_stage_is_read(made: WorkDir, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether seen items were filtered, and how many people a slice must have, are settings that it is given."""
    from llmrec_cli.stages import evaluate

    evaluated(made, context, came_next())
    read, record = set[str](), WorkDir.record
    monkeypatch.setattr(WorkDir, "record", lambda self, name: read.add(name) or record(self, name))
    evaluate.run(made, BacktestConfig(ks=[1, 5], bootstrap=200, lists=recommend.RecommendConfig(k=5)), context)
    assert not read


def test_cold_users_and_items_are_counted(made: WorkDir, context: Context) -> None:
    report = evaluated(made, context, came_next() | {"z0": ["i00"], "z1": ["brand new"], "u00": ["brand new", "i01"]})
    cold = json.loads(made.where(VERDICT).read_text())["cold"]
    assert cold == {"users": 2, "targets": 2, "of_targets": 51}
    assert "cold: 2 users without events; 2 of 51 withheld events are of items that nobody had before" in report.lines
    rows = {(row["kind"], row["slice"]): row["n_users"] for row in made.read(SLICES).to_pylist()}
    assert rows["activity", "no events"] == 2 and rows["target popularity", "new"] == 2


def test_slices_by_what_is_known_of_users(made: WorkDir, context: Context) -> None:
    # users of Spain (the odd ones) chose what nobody had: the lists are right for France alone
    happened = {user: items if int(user[1:]) % 2 == 0 else ["brand new"] for user, items in came_next().items()}
    report = evaluated(made, context, happened)
    rows = {(r["slice"], r["metric"]): r for r in made.read(SLICES).to_pylist() if r["system"] == PIPELINE}
    assert rows["France", "recall@5"]["value"] == 1 and rows["Spain", "recall@5"]["value"] == 0
    gap = json.loads(made.where(VERDICT).read_text())["gaps"]
    assert [(each["kind"], each["value"]) for each in gap] == [("region", 1.0)]
    line = "ndcg@5 by region: France 1.0000 (24), Spain 0.0000 (24); gap 1.0000 (95 % 1.0000 to 1.0000)"
    assert line in report.lines


def test_a_cut_off_without_quotes_is_a_time_too() -> None:
    settings = config.load(None, ["evaluate.holdout_after=2010-11-15"], {}, {})
    assert settings.section("evaluate", EvaluateConfig).holdout_after == "2010-11-15"
    settings = config.load(None, ["evaluate.holdout_after=2010-11-15T08:30:00"], {}, {})
    assert settings.section("evaluate", EvaluateConfig).holdout_after == "2010-11-15T08:30:00"


def test_each_of_several_cut_offs_asks_up_to_the_next() -> None:
    given = ["evaluate.holdout=time", "evaluate.holdout_after=[2010-11-01, 2010-12-01]"]
    found = config.load(None, given, {}, {}).section("evaluate", EvaluateConfig).backtests(recommend.RecommendConfig())
    assert [(name, each.holdout_after, each.holdout_until) for name, each in found] == [
        ("2010-11-01", "2010-11-01", "2010-12-01"),
        ("2010-12-01", "2010-12-01", ""),
    ]
    with pytest.raises(ValidationError, match="oldest first"):
        EvaluateConfig(holdout_after=["2010-12-01", "2010-11-01"])
    times = [datetime(2010, 11, 30, tzinfo=UTC), datetime(2010, 12, 1, tzinfo=UTC)]
    holdout = pa.table({"time": pa.array(times, HOLDOUT.schema.field("time").type)})
    assert before(holdout, "2010-12-01").num_rows == 1
    assert before(holdout, "").num_rows == 2
    with pytest.raises(SettingsError, match="no ISO time"):
        before(holdout, "soon")


def test_what_cannot_be_compared_is_reported(made: WorkDir, context: Context, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="too few for ks") as raised:
        evaluated(made, context, came_next(), ks=[20])
    assert "recommend.k=20" in raised.value.fix
    with pytest.raises(SettingsError, match="baseline 'itemkn'") as raised:
        evaluated(made, context, came_next(), baselines=["itemkn"])
    assert "itemknn" in raised.value.fix
    with pytest.raises(SettingsError, match="baseline 'ease'"):
        evaluated(made, context, came_next(), must_beat=["ease"])
    with pytest.raises(DataError, match="nothing was withheld"):
        evaluated(made, context, {"stranger": ["i01"]})
    with pytest.raises(UpstreamError):
        execute(STAGE, WorkDir(tmp_path), BacktestConfig(lists=recommend.RecommendConfig()), context)


def test_the_same_seed_gives_the_same_bytes(made: WorkDir, context: Context) -> None:
    evaluated(made, context, came_next())
    before = made.fingerprint(EVALUATION), made.fingerprint(VERDICT)
    evaluated(made, context, came_next())
    assert (made.fingerprint(EVALUATION), made.fingerprint(VERDICT)) == before


def compared(ours: list[list[int]], theirs: list[list[int]]) -> Comparison:
    n = len(ours)
    log = Sequences(np.zeros(0, dtype=np.int32), np.zeros(n + 1, dtype=np.int64), 4)
    targets = np.arange(n + 1, dtype=np.int64), np.zeros(n, dtype=np.int32)
    eval_users = EvalUsers(np.arange(n), targets, log, 0, True)
    lists = {PIPELINE: np.array(ours, dtype=np.int32), "popularity": np.array(theirs, dtype=np.int32)}
    return Comparison.of(eval_users, lists, log, [2], seed=1, resamples=200)


def test_known_values_of_one_target() -> None:
    found = compared([[0, 1], [1, 0], [1, 2], [0, -1]], [[1, 2]] * 4)
    assert found.values[PIPELINE]["ndcg@2"].tolist() == pytest.approx([1, 1 / np.log2(3), 0, 1])
    assert found.values[PIPELINE]["mrr@2"].tolist() == [1, 0.5, 0, 1]
    assert found.values[PIPELINE]["coverage@2"].tolist() == [0.75]
    assert found.against("popularity")["times"] is None


def test_known_values_of_what_lists_are_like() -> None:
    # item 0 has 3 events, item 1 one, items 2 and 3 none; the third user has no history
    log = Sequences(np.array([0, 0, 0, 1], dtype=np.int32), np.array([0, 1, 4, 4]), 4)
    eval_users = EvalUsers(np.arange(3), (np.arange(4), np.array([2, 2, 2], dtype=np.int32)), log, 0, False)
    np.testing.assert_array_equal(history_mean(log, log.counts()), [3, (3 + 3 + 1) / 3, np.nan])
    lists = np.array([[0, 1], [1, 2], [0, 3]], dtype=np.int32)
    traits = Traits(np.eye(4, dtype=np.float32), sp.csr_matrix(np.repeat(np.eye(2), 2, axis=0)))
    found = measured(lists, eval_users, log, [2], traits)
    np.testing.assert_allclose(found["arp@2"], [2, 0.5, 1.5])
    np.testing.assert_allclose(found["poplift@2"], [2 / 3 - 1, 0.5 / (7 / 3) - 1, np.nan])
    np.testing.assert_allclose(found["diversity@2"], [1, 1, 1])
    # both users have only the first tag; the first list is all of it, the second half
    np.testing.assert_allclose(found["calibration@2"], [0, -np.log(0.99 * 0.5 + 0.01), np.nan], atol=1e-12)
    assert found["hit@2"].tolist() == [0, 1, 0]
    assert not {"diversity@2", "calibration@2"} & set(measured(lists, eval_users, log, [2]))


def test_worse_equal_and_better_are_three_outcomes() -> None:
    hit, miss = [[0, 1]] * 20, [[1, 2]] * 20
    assert compared(hit, miss).summary()["versus"][0]["outcome"] == "beats"
    assert compared(hit, hit).summary()["versus"][0]["outcome"] == "does not beat"
    worse = compared(miss, hit).summary()
    assert worse["versus"][0]["outcome"] == "is worse than" and "Is worse than popularity" in worse["words"][1]


def test_tags_are_those_of_the_catalogue_and_are_not_made_again(tmp_path: Path) -> None:
    """An item without tags stays without, also where its title has words that would do."""
    work = tiny.make(tmp_path)
    items = work.read(ITEMS)
    tags = pa.array([["red"], *([[]] * (items.num_rows - 1))], type=pa.list_(pa.string()))
    titles = pa.array(["lamp post"] * 2 + [f"title {n}" for n in range(items.num_rows - 2)])
    for name, column in (("tags", tags), ("title", titles)):
        items = items.set_column(items.column_names.index(name), name, column)
    work.write(ITEMS, items)
    found = Traits.of(work.read(ITEMS).column("tags"), np.zeros((items.num_rows, 1), dtype=np.float32)).tags
    assert found is not None and found.shape == (items.num_rows, 1) and found.nnz == 1
