"""A rule that takes out every right item costs all; one that takes out nothing costs nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from llmrec_cli.core.artifacts import ABLATION, HOLDOUT, VERDICT
from llmrec_cli.core.stage import Context, Report, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.evaluation.backtest_config import BacktestConfig
from llmrec_cli.evaluation.rule_costs import without_each
from llmrec_cli.lists.recommend_config import ConstraintsConfig, RecommendConfig
from llmrec_cli.stages import evaluate, recommend
from tests import tiny
from tests.signing import vouch


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    made = tiny.make(tmp_path_factory.mktemp("rules") / "work")
    rows = [
        {"user_id": f"u{user:02d}", "position": 9, "item_id": tiny.item_id(tiny.following(user)), "time": None}
        for user in range(tiny.WALKERS)
    ]
    made.write(HOLDOUT, pa.Table.from_pylist(rows, schema=HOLDOUT.schema))
    return vouch(made)


def evaluated(work: WorkDir, context: Context, lists: RecommendConfig) -> Report:
    execute(recommend.STAGE, work, lists, context, force=True)
    config = BacktestConfig(ks=[1, 5], bootstrap=200, lists=lists)
    return execute(evaluate.STAGE, work, config, context, force=True).report


def test_a_rule_against_right_items_costs_and_one_that_does_nothing_does_not(work: WorkDir, context: Context) -> None:
    right = [tiny.item_id(code) for code in range(tiny.RING)]  # of every second walker
    rules = ConstraintsConfig(max_per={"category": 5})
    report = evaluated(work, context, RecommendConfig(k=5, deny=right, constraints=rules))
    deny, cap = work.read(ABLATION).to_pylist()
    assert (deny["kind"], deny["name"], cap["name"]) == ("rule", "deny", "max_per")
    assert deny["low"] > 0.2 and deny["n_users"] == tiny.WALKERS and deny["metric"] == "ndcg@5"
    assert cap["difference"] == cap["low"] == cap["high"] == 0
    assert any(line.startswith(f"deny costs {deny['difference']:.4f} of NDCG@5, 95 % +0.") for line in report.lines)
    assert any(line.startswith("max_per costs 0.0000 of NDCG@5") for line in report.lines)
    assert json.loads(work.where(VERDICT).read_text())["ablation"][0] == deny


def test_lists_without_rules_are_not_made_again(work: WorkDir, context: Context, tmp_path: Path) -> None:
    report = evaluated(work, context, RecommendConfig(k=5))
    assert not work.has(ABLATION) and not any(" costs " in line for line in report.lines)


def test_each_setting_is_taken_back_alone() -> None:
    rules = ConstraintsConfig(where="item.price < 5", explore=0.2, explore_days=9, pinned=["a"], log_exclusions=True)
    config = RecommendConfig(diversity=0.3, max_per_category=2, constraints=rules)
    found = dict(without_each(config))
    assert list(found) == ["diversity", "max_per_category", "where", "pinned", "explore"]
    assert found["diversity"] == config.model_copy(update={"diversity": 0.0})
    assert found["where"].constraints == rules.model_copy(update={"where": ""})
    assert not list(without_each(RecommendConfig(constraints=ConstraintsConfig(explore_days=9))))
