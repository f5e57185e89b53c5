"""The whole program on the built-in sample: what it promises of reruns, seeds and the backtest."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, SAMPLE
from tests.test_app import llmrec

pytestmark = pytest.mark.slow
STAGES = ["clean", "pretrain", "profile", "train-ranker", "generate", "recommend", "report"]


class Project:
    """A folder with its own copy of the raw file and a short training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raw = folder / SAMPLE.name
        shutil.copy(SAMPLE, self.raw)

    def run(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        settings = ["--set", f"clean.interactions.path={self.raw}", "--set", "pretrain.epochs=3"]
        config = str(ROOT / "configs" / "retail.toml")
        done = llmrec(*arguments, "--config", config, "--json", "-q", *settings, cwd=self.folder)
        assert done.returncode == code, done.stderr
        reported: dict[str, Any] = json.loads(done.stdout)
        return reported

    def ran(self, *arguments: str) -> list[str]:
        """The stages that were not up to date."""
        return [stage["stage"] for stage in self.run("run", *arguments)["stages"] if stage["status"] == "done"]

    def recommendations(self, work: str = "work") -> bytes:
        return (self.folder / work / "recommend" / "recommendations.parquet").read_bytes()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("project"))
    assert made.ran() == STAGES
    return made


def test_every_user_has_a_full_list_with_reasons(project: Project) -> None:
    table = pq.read_table(project.folder / "work" / "recommend" / "recommendations.parquet")
    assert table.num_rows == 210 * 10
    assert all(table.column("reason").to_pylist())
    page = (project.folder / "work" / "report" / "report.html").read_text(encoding="utf-8")
    assert "17048" in page and "default-src &#39;none&#39;" in page


def test_the_snippet_of_the_readme_answers_from_what_the_commands_made(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (snippet,) = re.findall(r"```python\n(import llmrec_cli.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("LLMREC_CLEAN__INTERACTIONS__PATH", str(project.raw))
    monkeypatch.setenv("LLMREC_PRETRAIN__EPOCHS", "3")
    before = project.recommendations()
    names: dict[str, Any] = {}
    exec(snippet.replace("work/demo", str(project.folder / "work")), names)
    assert not names["work"].run()["ran"].any() and project.recommendations() == before
    lists = names["work"].recommend(user="17048", k=10)
    assert lists["rank"].tolist() == list(range(1, 11)) and lists["reason"].all()
    printed = capsys.readouterr().out
    assert lists["title"][0][:20] in printed and "people who chose" in printed and "13534" in printed


@pytest.mark.parametrize("command", [["pretrain"], ["train-ranker"], ["recommend"], ["run", "--force"]])
def test_a_dry_run_reports_the_cost_and_changes_nothing(project: Project, command: list[str]) -> None:
    """From a work directory that cannot be written, without its lock."""
    folder = project.folder / "work"
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    with (folder / ".lock").open() as lock:  # somebody else works there
        fcntl.flock(lock, fcntl.LOCK_EX)
        reported = project.run(*command, "--dry-run")
    for path in folders:
        path.chmod(0o755)
    assert reported["stage"] == command[0] and reported["estimate"]["lines"]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == files
    found = reported["estimate"]["metrics"]
    assert found["seconds"] > 0 and found["core_seconds"] > 0
    if command[0] != "pretrain":
        counts = reported["estimate"]["counts"]
        assert found["peak_memory_mb"] > 100 and found["artifact_mb"] > 0.05
        assert (counts["users"], counts["items"]) == (210, 450) and counts["events"] > 6000
        assert counts.get("list_rows", 2100) == 2100


def test_a_dry_run_goes_by_the_log_where_nothing_was_made_and_refuses_other_questions(project: Project) -> None:
    found = project.run("run", "--dry-run", "--work", "none")["estimate"]
    assert not (project.folder / "none").exists() and found["metrics"]["seconds"] > 0
    assert all("by the size of the log" in line for line in found["lines"][:7]) and found["counts"]["users"] == 210
    for more in (["--user", "17048"], ["--shard", "1/2"], ["--format", "csv"]):
        assert project.run("recommend", "--dry-run", *more, code=2)["error"]["code"] == 2


def test_what_each_stage_cost_is_reported(project: Project) -> None:
    stages = project.run("run", "--force", "--to", "pretrain")["stages"]
    assert [stage["stage"] for stage in stages] == ["clean", "pretrain"]
    assert all(stage["seconds"] > 0 and stage["core_seconds"] > 0 and stage["peak_memory_mb"] > 50 for stage in stages)


def test_a_second_run_does_nothing_and_only_what_changed_is_rerun(project: Project) -> None:
    assert project.ran() == []
    assert project.ran("--set", "recommend.k=5") == ["recommend", "report"]
    assert project.ran() == ["recommend", "report"]
    assert project.ran("--set", "report.users=5") == ["report"] and project.ran() == ["report"]


def test_the_same_seed_gives_the_same_bytes(project: Project) -> None:
    assert project.ran("--work", "again") == STAGES
    assert project.recommendations("again") == project.recommendations()


def test_an_artifact_changed_by_hand_is_noticed(project: Project) -> None:
    before = project.recommendations()
    path = project.folder / "work" / "profile" / "profiles.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    reran = project.ran()
    assert reran[0] == "profile" and project.recommendations() == before


def test_a_backtest_reports_whether_popularity_is_beaten(project: Project) -> None:
    reported = project.run("evaluate")
    verdict = json.loads((project.folder / "work" / "evaluate" / "last" / "evaluate" / "verdict.json").read_text())
    assert reported["stages"][0]["stage"] == "evaluate"
    assert verdict["n_users"] == 210 and verdict["metric"] == "ndcg@10"
    page = (project.folder / "work" / "report" / "report.html").read_text(encoding="utf-8")
    assert "Backtest" in page
    assert project.ran() == []


def test_the_page_has_the_verdict_also_where_a_gate_failed(project: Project) -> None:
    page = project.folder / "work" / "report" / "report.html"
    before = page.read_bytes()
    failed = project.run("evaluate", "--fail-under", "0.99", "--set", "evaluate.bootstrap=300", code=7)
    assert failed["error"]["code"] == 7 and page.read_bytes() != before
    assert "300 bootstrap resamples" in page.read_text(encoding="utf-8")
    assert project.ran() == []


@pytest.mark.system
def test_a_change_of_the_raw_file_reruns_all(project: Project) -> None:
    lines = project.raw.read_text(encoding="utf-8").splitlines(keepends=True)
    project.raw.write_text("".join(lines[:-200]), encoding="utf-8")
    assert project.ran() == STAGES
