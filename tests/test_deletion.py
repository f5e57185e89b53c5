"""Whether reasons hold is measured: a reason that carries the row is told from one that was drawn at random."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import BaseModel, ValidationError

from llmrec_cli.core.artifacts import DELETIONS, HOLDOUT, RECOMMENDATIONS, VERDICT
from llmrec_cli.core.columns import EVIDENCE
from llmrec_cli.core.errors import ThresholdError
from llmrec_cli.core.stage import Context, Report, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.evaluation.backtest_config import BacktestConfig, EvaluateConfig
from llmrec_cli.evaluation.deletion import CAP, figures, measure, sentence
from llmrec_cli.lists.maker import Maker, maker_of
from llmrec_cli.lists.recommend_config import RecommendConfig
from llmrec_cli.lists.without import Without
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.retrievers import DenseRetriever, Histories
from llmrec_cli.stages import evaluate, recommend
from tests import tiny
from tests.signing import vouch

USERS, EVENTS = 60, 8


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    from llmrec_cli.core.progress import PlainProgress

    folder = tmp_path_factory.mktemp("deletion")
    made = tiny.make(folder / "work")
    context = Context(seed=1, base=folder, progress=PlainProgress(quiet=True), device="cpu", threads=1)
    execute(recommend.STAGE, made, RecommendConfig(k=5), context)
    next_event = {"position": 9, "item_id": "i00", "time": None}
    withheld = [{"user_id": f"u{user:02d}", **next_event} for user in range(tiny.WALKERS)]
    made.write(HOLDOUT, pa.Table.from_pylist(withheld, schema=HOLDOUT.schema))
    return vouch(made)


class NothingSet(BaseModel):
    """No settings."""


class Pull(DenseRetriever):
    """score = the sum of `pull[event, item]` over the history."""

    signed = True
    config: NothingSet
    pull: np.ndarray

    @classmethod
    def fit(cls, config: Any, sequences: Sequences, catalogue: Any, seed: int) -> Pull:
        raise NotImplementedError

    def score(self, histories: Histories) -> np.ndarray:
        return np.asarray(histories.sequences.matrix() @ self.pull, dtype=np.float32)


class ByPull:
    """A ranker that goes by that score alone."""

    def score(self, candidates: Candidates) -> np.ndarray:
        return candidates.column("pull.raw")


def planted(work: WorkDir, context: Context, pull: np.ndarray) -> tuple[Maker, Without]:
    """Users with random histories over the catalogue, scored by `pull` (items, items)."""
    maker = maker_of(work, RecommendConfig(k=5), context)
    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.permutation(tiny.N_ITEMS)[:EVENTS] for _ in range(USERS)]).astype(np.int32)
    changed = replace(
        maker,
        histories=Histories(
            Sequences(codes, np.arange(USERS + 1, dtype=np.int64) * EVENTS, tiny.N_ITEMS),
            np.zeros((USERS, 4), dtype=np.float32),
        ),
        user_ids=pa.array([f"p{user:02d}" for user in range(USERS)]),
        segment=np.full(USERS, maker.segment.max()),
        own_weight=np.ones(USERS, dtype=np.float32),
        retrievers={"pull": Pull(NothingSet(), pull.astype(np.float32))},
        ranker=ByPull(),
        credited=["pull"],
    )
    return changed, Without.of(work, maker)


def lists_naming(maker: Maker, named: list[int], items: list[int]) -> pa.Table:
    """One row for each user, whose reason names an event."""
    ids, log = maker.catalogue.item_ids, maker.histories.sequences
    evidence = [[{"kind": "together", "item_id": ids[code], "tag": None, "weight": 1.0}] for code in named]
    return pa.table(
        {
            "user_id": maker.user_ids,
            "rank": pa.array(np.ones(len(log), dtype=np.int32)),
            "item_id": [ids[code] for code in items],
            "evidence": pa.array(evidence, type=EVIDENCE),
        }
    )


def measured(maker: Maker, without: Without, named: list[int], items: list[int]) -> dict[str, Any]:
    return figures(measure(lists_naming(maker, named, items), maker, without, 300, 1), 1, 500)


def test_an_event_that_carries_all_of_the_score_has_a_large_ratio(work: WorkDir, context: Context) -> None:
    """Each item is pulled by the one after it in the catalogue, and the reason names that one."""
    pull = np.full((tiny.N_ITEMS, tiny.N_ITEMS), 0.05)
    after = (np.arange(tiny.N_ITEMS) + 1) % tiny.N_ITEMS
    pull[after, np.arange(tiny.N_ITEMS)] = 1.0
    log = planted(work, context, pull)[0].histories.sequences
    histories = [set(log[user].tolist()) for user in range(USERS)]
    items = [next(c for c in range(tiny.N_ITEMS) if c not in had and after[c] in had) for had in histories]
    named = [int(after[code]) for code in items]
    found = measured(*planted(work, context, pull), named, items)
    assert found["ratio"]["value"] == pytest.approx(20) and found["ratio"]["low"] > 4
    assert found["left"]["named"] > 2 * found["left"]["other"]
    assert sentence(found).startswith("Reasons hold")
    alone = measured(*planted(work, context, np.where(pull == 1, 1, 0)), named, items)
    assert alone["ratio"]["value"] == pytest.approx(CAP)


def test_a_reason_that_was_drawn_at_random_has_a_ratio_of_about_one(work: WorkDir, context: Context) -> None:
    rng = np.random.default_rng(3)
    pull = rng.normal(size=(tiny.N_ITEMS, tiny.N_ITEMS))
    maker, without = planted(work, context, pull)
    log = maker.histories.sequences
    items = [next(code for code in range(tiny.N_ITEMS) if code not in log[user]) for user in range(USERS)]
    ratios = []
    for _ in range(8):
        named = [int(rng.choice(log[user])) for user in range(USERS)]
        ratio = measured(maker, without, named, items)["ratio"]
        ratios.append(ratio["value"])
        assert ratio["low"] < 1.6
    assert 0.8 < np.mean(ratios) < 1.25
    best = [int(log[user][pull[log[user], item].argmax()]) for user, item in enumerate(items)]
    assert measured(maker, without, best, items)["ratio"]["low"] > 2
    worst = [int(log[user][pull[log[user], item].argmin()]) for user, item in enumerate(items)]
    against = measured(maker, without, worst, items)
    assert against["ratio"]["high"] < 0.5 and sentence(against).startswith("Reasons do not hold")


def test_the_other_event_is_as_old_as_can_be_had_and_not_named(work: WorkDir, context: Context) -> None:
    maker, without = planted(work, context, np.zeros((tiny.N_ITEMS, tiny.N_ITEMS)))
    log = maker.histories.sequences
    named = [int(log[user][user % EVENTS]) for user in range(USERS)]
    items = [next(code for code in range(tiny.N_ITEMS) if code not in log[user]) for user in range(USERS)]
    lists = lists_naming(maker, named, items)
    found = measure(lists, maker, without, 40, 1)
    assert found.num_rows == 40 and len(set(found.column("user_id").to_pylist())) == 40
    sides = []
    for row in found.to_pylist():
        user = int(row["user_id"][1:])
        newest = [tiny.item_id(code) for code in log[user][::-1].tolist()]
        assert newest[row["age_named"]] == row["item_named"] == tiny.item_id(named[user])
        assert newest[row["age_other"]] == row["item_other"] and abs(row["age_other"] - row["age_named"]) == 1
        if 0 < row["age_named"] < EVENTS - 1:
            sides.append(row["age_other"] - row["age_named"])
    assert {-1, 1} == set(sides)  # neither side is preferred
    assert measure(lists, maker, without, 40, 1).equals(found)


def evaluated(work: WorkDir, context: Context, **settings: Any) -> Report:
    given = {"ks": [5], "baselines": [], "bootstrap": 200, "lists": RecommendConfig(k=5), "explanations": True}
    return execute(evaluate.STAGE, work, BacktestConfig(**given | settings), context, force=True).report


def test_the_whole_history_scores_as_the_lists_say(work: WorkDir, context: Context) -> None:
    report = evaluated(work, context)
    rows = {(row["user_id"], row["rank"]): row for row in work.read(RECOMMENDATIONS).to_pylist()}
    found = work.read(DELETIONS).to_pylist()
    assert len(found) >= 48 and report.metrics["deletion_ratio_low"] <= report.metrics["deletion_ratio"]
    for each in found:
        row = rows[each["user_id"], each["rank"]]
        assert each["score"] == pytest.approx(row["score"], abs=1e-5) and each["item_id"] == row["item_id"]
        assert each["item_named"] == next(piece["item_id"] for piece in row["evidence"] if piece["item_id"])
        assert each["item_other"] not in {piece["item_id"] for piece in row["evidence"]}
    verdict = json.loads(work.where(VERDICT).read_text())
    assert verdict["explanations"]["ratio"]["low"] == report.metrics["deletion_ratio_low"]
    assert verdict["explanations"]["left"]["named"] == np.mean([each["left_named"] for each in found])
    assert verdict["words"][-1] in report.lines and verdict["words"][-1].startswith("Reasons ")


def test_without_being_asked_nothing_is_measured_and_an_old_table_goes(work: WorkDir, context: Context) -> None:
    evaluated(work, context)
    assert work.has(DELETIONS)
    report = evaluated(work, context, explanations=False)
    assert not work.has(DELETIONS) and "deletion_ratio" not in report.metrics
    assert "explanations" not in json.loads(work.where(VERDICT).read_text())


def test_reasons_can_be_a_threshold(work: WorkDir, context: Context) -> None:
    low = evaluated(work, context).metrics["deletion_ratio_low"]
    evaluated(work, context, thresholds={"deletion_ratio_low": low - 0.01})
    with pytest.raises(ThresholdError, match=r"DELETION_RATIO_LOW .* is below the threshold"):
        evaluated(work, context, thresholds={"deletion_ratio_low": low + 0.01})
    with pytest.raises(ValidationError, match=r"evaluate\.explanations = true"):
        EvaluateConfig(thresholds={"deletion_ratio_low": 4})


def test_reasons_that_name_no_event_are_told(work: WorkDir, context: Context) -> None:
    lists = work.read(RECOMMENDATIONS)
    bare = pa.array([[]] * lists.num_rows, type=EVIDENCE)
    work.write(RECOMMENDATIONS, lists.set_column(lists.column_names.index("evidence"), "evidence", bare))
    report = evaluated(vouch(work), context)
    assert "No reason names an event, so there is none to be left out" in report.lines
    assert "deletion_ratio" not in report.metrics and not work.has(DELETIONS)
