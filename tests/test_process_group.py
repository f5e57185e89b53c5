"""The command line under torchrun: one training, one set of outputs, one message when it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llmrec_cli.core.artifacts import PRETRAIN_CURVE
from llmrec_cli.stages.pretrain import STAGE
from tests.test_pretrain import walks, work_with

pytestmark = pytest.mark.slow
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
SETTINGS = {"text_encoder": "hashed", "dim": 16, "epochs": 4, "dropout": 0, "learning_rate": 0.01, "patience": 0}
COMMON = ["--device", "cpu", "--threads", "1"]


def start(processes: int, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith("LLMREC_") or name == "LLMREC_CACHE"
    }
    how = LAUNCH if processes > 1 else []
    return subprocess.Popen(
        [sys.executable, *how, "-m", "llmrec_cli", *arguments, *COMMON],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env={**env, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def llmrec(processes: int, *arguments: str, cwd: Path) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    with start(processes, *arguments, cwd=cwd) as process:
        out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def pretrain(processes: int, folder: Path, *more: str, **settings: object) -> tuple[int, str, str]:
    sets = [part for key, value in {**SETTINGS, **settings}.items() for part in ("--set", f"pretrain.{key}={value}")]
    return llmrec(processes, "pretrain", "--work", ".", *sets, *more, cwd=folder)


def losses(folder: Path) -> list[float]:
    curve: list[float] = pq.read_table(folder / PRETRAIN_CURVE.path).column("loss").to_pylist()
    return curve


def test_two_processes_train_as_one_and_report_it_once(tmp_path: Path) -> None:
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        work = work_with(folder, walks())
        code, out, err = pretrain(processes, folder, "--json", refit=False)
        assert code == 0, err
        (reported,) = json.loads(out)["stages"]
        assert reported["status"] == "done" and err.count("epoch 1:") == 1
        assert all(work.has(artifact) for artifact in STAGE.writes if not artifact.optional)
        assert not (folder / "pretrain" / ".scratch").exists()
    assert len(losses(tmp_path / "1")) == 4
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), rel=1e-2)

    code, out, err = pretrain(2, tmp_path / "2", "--json", refit=False)
    assert code == 0 and json.loads(out)["stages"][0]["status"] == "up to date", err


def test_a_failure_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()  # a work directory that was begun, else the missing settings file is reported
    code, out, err = pretrain(2, tmp_path, "--json")
    assert code != 0 and err.count("error: clean/") == 1 and err.count("llmrec clean ") == 1
    assert json.loads(out)["error"]["code"] == 4
    code, _, err = pretrain(2, tmp_path, heads=3)
    assert code != 0 and err.count("does not divide") == 1


@pytest.mark.system
def test_a_lost_process_ends_the_others_and_the_next_run_continues(tmp_path: Path) -> None:
    work_with(tmp_path, walks())
    sets = [
        part
        for key, value in {**SETTINGS, "epochs": 5000, "refit": False}.items()
        for part in ("--set", f"pretrain.{key}={value}")
    ]
    with start(2, "pretrain", "--work", ".", *sets, cwd=tmp_path) as process:
        assert process.stderr
        for line in process.stderr:
            if "epoch 3:" in line:
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), 9)
        began = time.monotonic()
        err = process.communicate(timeout=120)[1]
    assert process.returncode != 0 and time.monotonic() - began < 60
    assert err.count("error: another process of this training has ended") <= 1 and "a bug in llmrec" not in err
    assert not (tmp_path / "pretrain" / "record.json").exists()

    code, _, err = pretrain(2, tmp_path, "--finish", epochs=5000, refit=False)
    assert code == 0, err
    assert 3 <= len(losses(tmp_path)) < 5000


@pytest.mark.parametrize("command", [["run"], ["clean"], ["status"], ["pretrain", "--dry-run"]])
def test_other_commands_refuse_in_one_line(command: list[str], tmp_path: Path) -> None:
    code, out, err = llmrec(2, *command, "--json", cwd=tmp_path)
    assert code != 0 and json.loads(out)["error"]["code"] == 2
    assert err.count("runs in one process, and 2 were started") == 1
    assert not list(tmp_path.iterdir())
