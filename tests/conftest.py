"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

# threads that spin while they wait starve each other where several processes share the cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest

from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.stage import Context

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "data" / "sample" / "online_retail_sample.csv"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of content are kept for one test session, away from the user's own."""
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path_factory.getbasetemp() / "vectors"))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(
        seed=42, base=tmp_path, progress=PlainProgress(quiet=True), device="cpu", threads=1, max_memory=1 << 30
    )


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of data sets that cannot be shipped; tests that need it are skipped without it."""
    folder = os.environ.get("LLMREC_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("LLMREC_TEST_DATA does not name the folder of the data sets that cannot be shipped")
    return Path(folder)
