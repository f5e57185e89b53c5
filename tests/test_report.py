"""The page as a stage: what it is drawn from is declared, and nothing else writes it or signs for it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmrec_cli import pipeline
from llmrec_cli.core.artifacts import (
    FUNNEL,
    ITEM_IMAGES,
    ITEM_RANGES,
    ITEM_TEXTS,
    RECOMMENDATIONS,
    REPORT_PAGE,
    REVIEW_SUMMARIES,
    SLICES,
    TASTE_TEXTS,
    VERDICT,
    Artifact,
)
from llmrec_cli.core.config import load
from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.core.stage import Context, Outcome, execute, state
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.privacy import forget
from llmrec_cli.report import page
from llmrec_cli.stages import recommend
from llmrec_cli.stages.recommend import RecommendConfig
from llmrec_cli.stages.report import STAGE, ReportConfig
from tests import tiny
from tests.signing import rewrite, vouch

FIGURE = {"value": 0.2, "low": 0.1, "high": 0.3}
FOUND: dict[str, Any] = {
    "metric": "ndcg@10",
    "pipeline": FIGURE,
    "beats_popularity": True,
    "versus": [{"baseline": "popularity", "value": FIGURE, "times": 4.0}],
    "words": ["Beats popularity by a mile"],
    "warnings": [],
    "protocol": "protocol: leave-one-out",
}


@pytest.fixture
def work(tmp_path: Path, context: Context) -> WorkDir:
    """Lists of everybody, and no page yet."""
    made = tiny.make(tmp_path / "work")
    execute(recommend.STAGE, made, RecommendConfig(k=3), context)
    return made


def drawn(work: WorkDir, context: Context, **settings: Any) -> Outcome:
    return execute(STAGE, work, ReportConfig(**settings), context)


def found(work: WorkDir, name: str = "last") -> Path:
    """A backtest's verdict, written as `evaluate` does."""
    nested = WorkDir(work.path / "evaluate" / name)
    nested.write(SLICES, SLICES.schema.empty_table())
    with nested.writing(VERDICT) as path:
        path.write_text(json.dumps(FOUND))
    return nested.where(VERDICT)


def test_the_page_is_drawn_once_and_has_its_own_record(work: WorkDir, context: Context) -> None:
    before = work.record("recommend")
    outcome = drawn(work, context, users=5)
    assert outcome.ran and outcome.report.counts == {"users": 5, "backtests": 0}
    assert "What 51 people may want next" in work.where(REPORT_PAGE).read_text(encoding="utf-8")
    assert not drawn(work, context, users=5).ran and drawn(work, context, users=6).why == "users has changed"
    assert work.record("recommend") == before and list((work.record("report") or {})["outputs"]) == [
        "report/report.html"
    ]


def test_everything_that_the_page_reads_is_declared(
    work: WorkDir, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that is optional there, so that it is read: of nested work directories the verdict and the slices."""
    for table in (ITEM_TEXTS, TASTE_TEXTS, REVIEW_SUMMARIES, ITEM_RANGES, ITEM_IMAGES):
        work.write(table, table.schema.empty_table())
    found(vouch(work))
    touched: set[str] = set()
    records: set[str] = set()
    where, record = WorkDir.where, WorkDir.record

    def seen(self: WorkDir, artifact: Artifact) -> Path:
        touched.add(artifact.path)
        return where(self, artifact)

    monkeypatch.setattr(WorkDir, "where", seen)
    monkeypatch.setattr(WorkDir, "record", lambda self, name: records.add(name) or record(self, name))
    html = page.render(work, 40)
    declared = {artifact.path for artifact in STAGE.reads}
    assert "by a mile" in html and touched - {SLICES.path} == declared - {"generate/images"}
    assert records == {"train-ranker"}  # what it told of privacy, which the ticket has


@pytest.mark.parametrize("name", [VERDICT.path, SLICES.path])
def test_a_verdict_of_a_backtest_makes_the_page_stale(work: WorkDir, context: Context, name: str) -> None:
    drawn(work, context)
    verdict = found(work)
    again = drawn(work, context)
    assert again.why == "verdicts of backtests changed: last/evaluate/slices.parquet and 1 more"
    assert again.report.counts["backtests"] == 1
    assert "by a mile" in work.where(REPORT_PAGE).read_text(encoding="utf-8") and not drawn(work, context).ran
    (verdict.parents[1] / name).write_bytes((verdict.parents[1] / name).read_bytes() + b"\n")
    now = state(STAGE, work, ReportConfig(), context)
    assert now.why == f"verdicts of backtests changed: last/{name}"


def test_what_train_ranker_reported_of_privacy_makes_it_stale(work: WorkDir, context: Context) -> None:
    drawn(work, context)
    record = work.record("train-ranker") or {}
    part = "language model: none had a part in the lists"
    said = {"warnings": ["not private: the rest"], "lines": ["48 users", part]}
    work.sign("train-ranker", record | {"report": record["report"] | said})
    assert drawn(work, context).why == "what train-ranker says of privacy has changed"
    page = work.where(REPORT_PAGE).read_text(encoding="utf-8")
    assert "not private: the rest" in page and part in page


def test_a_new_funnel_makes_the_page_stale_and_not_the_lists(work: WorkDir, context: Context) -> None:
    drawn(work, context)
    funnel = work.read(FUNNEL)
    rewrite(work, FUNNEL, funnel.slice(0, funnel.num_rows - 1))
    assert state(recommend.STAGE, work, RecommendConfig(k=3), context).fresh
    assert drawn(work, context).why == "clean/funnel.parquet is new"


def test_without_lists_there_is_no_page_and_without_texts_there_is(work: WorkDir, context: Context) -> None:
    assert not work.has(ITEM_TEXTS) and drawn(work, context).ran
    work.remove(RECOMMENDATIONS)
    with pytest.raises(UpstreamError, match="llmrec recommend"):
        drawn(work, context)


def test_a_page_that_is_not_wanted_goes(work: WorkDir, context: Context) -> None:
    drawn(work, context)
    assert drawn(work, context, draw=False).report.lines == ["no page: report.draw = false"]
    assert not work.has(REPORT_PAGE) and not drawn(work, context, draw=False).ran


def test_drawing_is_for_those_who_have_lists_and_reports_what_stands_in_the_way(
    work: WorkDir, context: Context, tmp_path: Path
) -> None:
    reported: list[str] = []
    heard = replace(context, progress=Fixed(reported))
    settings, outcomes = load(None, [], {}, {}), list[Outcome]()
    pipeline.draw(WorkDir(tmp_path / "nothing"), settings, heard, outcomes.append)
    assert outcomes == [] and reported == []
    pipeline.draw(work, settings, heard, outcomes.append)
    assert [(each.stage, each.ran) for each in outcomes] == [("report", True)]
    shutil.rmtree(work.path / "train-ranker")
    pipeline.draw(work, settings, heard, outcomes.append)
    assert len(outcomes) == 1 and reported[-1].startswith("report: not drawn, train-ranker/")


class Fixed:
    """A progress that keeps what is logged."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def log(self, text: str) -> None:
        self.lines.append(text)


def test_forgetting_removes_the_page_and_the_stage_draws_it_without_the_person(
    work: WorkDir, context: Context, tmp_path: Path
) -> None:
    drawn(work, context)
    assert "u00" in work.where(REPORT_PAGE).read_text(encoding="utf-8")
    receipt = forget.forget(work, tmp_path, ["u00"])
    assert receipt.data["removed"][forget.HERE] == ["report/report.html"] and not work.has(REPORT_PAGE)
    assert drawn(work, context).ran
    assert '"u00"' not in work.where(REPORT_PAGE).read_text(encoding="utf-8")
