"""What the settings name is looked at before the first stage works: a typo must not cost the hours before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmrec_cli import pipeline
from llmrec_cli.core import config
from llmrec_cli.core.errors import DataError, LlmrecError, MissingExtraError, SettingsError, UpstreamError
from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir
from tests.conftest import ROOT


def settings(*given: str) -> config.Settings:
    return config.load(ROOT / "configs" / "retail.toml", given, {}, {})


@pytest.mark.parametrize(
    ("given", "error", "reported"),
    [
        ("pretrain.text_encoder=nofolder", SettingsError, "no text encoder is called 'nofolder'"),
        ("pretrain.image_encoder=no/such/folder", SettingsError, "folder 'no/such/folder' does not exist"),
        ("pretrain.init_from=nowhere", UpstreamError, "encoder_validation is missing"),
        ("pretrain.lm=gpt5", SettingsError, "there is no model 'gpt5'"),
        ("profile.topic_model=ldaa", SettingsError, "no topic model is called 'ldaa'"),
        ('train-ranker.rankers=["lambdarnk"]', SettingsError, "no ranker is called 'lambdarnk'"),
        ('train-ranker.retrievers=["itemkn"]', SettingsError, "no retriever is called 'itemkn'"),
        ("train-ranker.retriever.als.factrs=3", SettingsError, "unknown setting 'train-ranker.retriever.als.factrs'"),
        ("generate.writer=hff", SettingsError, "no writer is called 'hff'"),
        ("generate.image_generator=gann", SettingsError, "no image generator is called 'gann'"),
        ("generate.writer=no_such_package.writers:Mine", MissingExtraError, "needs the package 'no_such_package'"),
        ("recommend.deny=none.txt", DataError, "there is no list of item ids"),
    ],
)
def test_a_run_reports_it_before_it_reads_the_log(
    given: str, error: type[LlmrecError], reported: str, tmp_path: Path, context: Context
) -> None:
    work = WorkDir(tmp_path / "work")
    asked = settings(given)
    with pytest.raises(error, match=reported):
        pipeline.walk(work, asked, replace(context, base=asked.base))
    assert [path.name for path in work.path.rglob("*") if path.name != ".lock"] == []


@pytest.mark.parametrize(
    "given",
    ['evaluate.baselines=["itemkn"]', 'evaluate.must_beat=["userknn"]'],
)
def test_a_backtest_reports_with_what_it_cannot_compare(given: str, tmp_path: Path, context: Context) -> None:
    with pytest.raises(SettingsError, match=r"baseline '\w+' is not among train-ranker.retrievers"):
        pipeline.backtests(WorkDir(tmp_path / "work"), settings(given), context)
    assert not (tmp_path / "work" / "evaluate").exists()


def test_what_is_up_to_date_is_not_asked(tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wants a cron job without work to load models first."""
    work, asked = WorkDir(tmp_path / "work"), settings()
    here = replace(context, base=asked.base)
    calls: list[Any] = []
    clean = replace(pipeline.load("clean"), ready=lambda config, context: calls.append(config))
    monkeypatch.setattr(pipeline, "load", lambda name: clean)
    assert [pipeline.walk(work, asked, here, ["clean"])[0].ran for _ in range(2)] == [True, False]
    assert len(calls) == 1
