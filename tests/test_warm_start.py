"""A training after `clean --append` starts from the encoder of before, where validation finds it as good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmrec_cli.core.artifacts import ENCODER, ENCODER_VALIDATION, ITEM_VECTORS, SEQUENCES, WARM_START
from llmrec_cli.core.stage import Context, Outcome, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ingest import appended
from llmrec_cli.sequence import fitting, warm_start
from llmrec_cli.sequence.warm_start import FULL_FIT
from llmrec_cli.stages.pretrain import STAGE, PretrainConfig
from llmrec_cli.tensors import checkpoints
from tests.test_pretrain import QUICK, quick, walks, work_with

__all__ = ["quick"]
SETTINGS: dict[str, Any] = {**QUICK, "epochs": 4, "max_length": 50}
OUTPUTS = (ENCODER, ENCODER_VALIDATION, ITEM_VECTORS, WARM_START)


def pretrain(work: WorkDir, context: Context, **settings: Any) -> Outcome:
    return execute(STAGE, work, PretrainConfig(**{**SETTINGS, **settings}), context)


def log(n: int) -> list[list[int]]:
    return walks()[:n]


def trained(work: WorkDir) -> dict[str, str]:
    return {each.path: work.fingerprint(each) for each in OUTPUTS if work.has(each)}


def append(work: WorkDir, histories: list[list[int]]) -> None:
    """The log of the work directory becomes this one, as `clean --append` notes it."""
    before = work.fingerprint(SEQUENCES)
    work_with(work.path, histories)
    logs = appended.read(work.path).logs or (before,)
    appended.keep(work, appended.Appended(files=("new.csv",), logs=logs))


@pytest.fixture
def grown(tmp_path: Path, quick: Context) -> WorkDir:
    """A work directory that was trained, and to whose log five people were appended then."""
    work = work_with(tmp_path / "work", log(75))
    assert pretrain(work, quick).report.metrics["warm"] == 0
    append(work, log(80))
    return work


def test_a_warm_start_is_an_input_by_content(grown: WorkDir, quick: Context) -> None:
    outcome = pretrain(grown, quick)
    assert outcome.report.metrics["warm"] == 1 and any(line.endswith("a warm start") for line in outcome.report.lines)
    assert outcome.report.metrics["best_epoch"] <= fitting.WARM_EPOCHS
    first = trained(grown)
    assert len(first) == len(OUTPUTS) and not pretrain(grown, quick).ran
    execute(STAGE, grown, PretrainConfig(**SETTINGS), quick, force=True)
    assert trained(grown) == first
    # a second append starts from the encoder of the first
    append(grown, log(81))
    assert pretrain(grown, quick).report.metrics["warm"] == 1 and trained(grown) != first
    assert grown.fingerprint(WARM_START) != first[WARM_START.path]


def test_never_and_always(grown: WorkDir, quick: Context) -> None:
    assert pretrain(grown, quick, warm="never").report.metrics["warm"] == 0 and not grown.has(WARM_START)
    fresh = work_with(grown.path.parent / "fresh", log(80))
    pretrain(fresh, quick, warm="never")
    assert trained(grown) == trained(fresh)
    append(grown, log(80) * 2)  # twice as long: only if it must be
    assert pretrain(grown, quick, warm="always").report.metrics["warm"] == 1


@pytest.mark.parametrize("why", ["worse", "grown", "shape"])
def test_what_is_not_as_good_is_fitted_anew(
    grown: WorkDir, quick: Context, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "worse":
        monkeypatch.setattr(fitting, "WARM_LEARNING_RATE", 10.0)
    elif why == "grown":
        append(grown, log(80) * 2)
    else:
        monkeypatch.setattr("llmrec_cli.sequence.defaults.TEMPERATURE", {"cosine": 0.2, "dot": 0.5})
    report = pretrain(grown, quick).report
    reason = {"worse": "the last full fit had", "grown": "has grown by", "shape": "another shape"}[why]
    assert any(reason in line and line.endswith("fitted anew") for line in report.lines)
    full = checkpoints.load_config(grown.where(ENCODER_VALIDATION))[FULL_FIT]
    assert report.metrics["warm"] == 0 and full["events"] == sum(map(len, log(80))) * (2 if why == "grown" else 1)


@pytest.mark.parametrize("harm", ["another log", "other settings", "forgotten", "damaged"])
def test_only_what_the_append_came_from_is_a_start(grown: WorkDir, harm: str) -> None:
    config = PretrainConfig(**SETTINGS)
    assert warm_start.earlier(grown, config) == grown.path / "pretrain"
    if harm == "another log":
        work_with(grown.path, log(83))
    elif harm == "other settings":
        config = PretrainConfig(**{**SETTINGS, "learning_rate": 0.02})
    elif harm == "forgotten":
        record = grown.record("pretrain")
        assert record is not None
        grown.sign("pretrain", {**record, "forgot": 1})
    else:
        weights = grown.where(ENCODER) / checkpoints.WEIGHTS_NAME
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert warm_start.earlier(grown, config) is None
