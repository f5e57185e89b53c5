"""What is left out is worth what it brings: a source that alone knows the answer, features that say nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from pydantic import BaseModel

from llmrec_cli.core.artifacts import ABLATION, EVALUATION, HOLDOUT, VERDICT
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.stage import Context, Report, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.evaluation.ablation import FEATURES, SOURCE, WHOLE, _left, _order, _steps
from llmrec_cli.evaluation.backtest_config import BacktestConfig
from llmrec_cli.lists.recommend_config import RecommendConfig
from llmrec_cli.ranking.candidates import Candidates, join
from llmrec_cli.ranking.rankers.conditional_logit import Fusion, FusionConfig
from llmrec_cli.stages import evaluate, recommend
from tests import tiny
from tests.signing import vouch


class Evaluated(BaseModel):
    work: WorkDir
    report: Report
    model_config = {"arbitrary_types_allowed": True}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("ablation")
    work = tiny.make(folder / "work")
    context = Context(seed=1, base=folder, progress=PlainProgress(quiet=True), device="cpu", threads=1)
    execute(recommend.STAGE, work, RecommendConfig(k=5), context)
    rows = [
        {"user_id": f"u{user:02d}", "position": 9, "item_id": tiny.item_id(tiny.following(user)), "time": None}
        for user in range(tiny.WALKERS)
    ]
    work.write(HOLDOUT, pa.Table.from_pylist(rows, schema=HOLDOUT.schema))
    config = BacktestConfig(ks=[1, 5], bootstrap=200, ablation=True, lists=RecommendConfig(k=5))
    return Evaluated(work=work, report=execute(evaluate.STAGE, vouch(work), config, context, force=True).report)


def candidates(n: int = 300) -> Candidates:
    """One right item a user: `good` brings it first and scores it highest; `noise` brings the rest and says nothing."""
    rng = np.random.default_rng(0)
    size = 4
    label = np.tile([True, False, False, False], n)
    features = np.stack([np.where(label, 2.0, 0.0) + rng.normal(size=len(label)) / 4, rng.normal(size=len(label))], 1)
    brought = np.where(label, 0b01, 0b10)
    items = np.tile(np.arange(size, dtype=np.int32), n)
    table = Candidates(np.arange(n + 1) * size, items, features.astype(np.float32), ("good.z", "noise.z"), np.arange(4))
    return replace(table, label=label, brought=brought.astype(np.int64))


def hits(table: Candidates, kind: str, name: str) -> float:
    """How often the right item (0) is first after the step of this kind and name."""
    ranker = Fusion(FusionConfig(), *np.zeros((4, 2), dtype=np.float32))
    columns, bits = next((c, b) for k, n, c, b in _steps(table, ["good", "noise"], ()) if (k, n) == (kind, name))
    left = _left(table, columns, bits)
    return float((_order(ranker, left, left, 1, 0)[:, 0] == 0).mean())


def test_a_source_is_worth_its_features_and_what_it_brings() -> None:
    table = candidates()
    assert hits(table, FEATURES, "noise") > 0.95 and hits(table, SOURCE, "noise") > 0.95
    assert 0.1 < hits(table, FEATURES, "good") < 0.4  # the right one is still there, and nobody knows which it is
    assert hits(table, SOURCE, "good") == 0


def test_what_a_ranker_needs_stays() -> None:
    assert {name for _, name, _, _ in _steps(candidates(), ["good", "noise"], ("good",))} == {"noise"}


def test_who_brought_a_row_goes_with_it() -> None:
    table = candidates(4)
    kept = join([table.keep(table.label), table.keep(~table.label)])
    assert kept.brought is not None and kept.brought.tolist() == [0b01] * 4 + [0b10] * 12


def test_with_everything_the_order_is_that_of_the_lists(made: Evaluated) -> None:
    rows = {(row["kind"], row["name"]): row for row in made.work.read(ABLATION).to_pylist()}
    whole = rows[WHOLE, ""]
    assert whole["difference"] == 0 and whole["n_users"] == tiny.WALKERS and whole["metric"] == "ndcg@5"
    lists = {(row["system"], row["metric"]): row["value"] for row in made.work.read(EVALUATION).to_pylist()}
    assert whole["value"] == pytest.approx(lists["pipeline", "ndcg@5"], abs=0.05)
    assert {name for kind, name in rows if kind == SOURCE} <= set(tiny.SOURCES)
    assert ("features", "category") in rows and ("source", "transitions") in rows
    for row in rows.values():
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["value"] - row["difference"] == pytest.approx(whole["value"])


def test_the_verdict_and_the_lines_tell_it(made: Evaluated) -> None:
    reported = json.loads(made.work.where(VERDICT).read_text())["ablation"]
    assert reported[0]["kind"] == WHOLE and len(reported) > 5
    lines = [line for line in made.report.lines if line.startswith("without ")]
    assert "48" in lines[0] and any(line.startswith("without source transitions ") for line in lines)
    assert any(line.startswith("without features same category ") for line in lines)
