"""The training loop, its schedule and its devices; two processes on one machine train as one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llmrec_cli.core.errors import SettingsError
from llmrec_cli.models import runtime
from llmrec_cli.models.runtime import Epoch, Schedule

TWO_PROCESSES = """
import json, sys
import numpy as np, torch
from llmrec_cli.core.progress import Lines
from llmrec_cli.models import runtime
from llmrec_cli.models.encoders import batches, training
from llmrec_cli.models.encoders.sequence import Shape
from llmrec_cli.tables.sequences import Sequences

machine = runtime.start("cpu", 1)
process, processes = machine.accelerator.process_index, machine.accelerator.num_processes
lengths, starts = np.random.default_rng(0).integers(3, 9, 400), np.random.default_rng(1).integers(0, 20, 400)
codes = np.concatenate([(start + np.arange(n)) % 20 for start, n in zip(starts, lengths)]).astype(np.int32)
sequences = Sequences(codes, np.concatenate([[0], np.cumsum(lengths)]), 20)
shape, rows = Shape(dim=16, dropout=0.0), 4
targets = training.count_targets(sequences, shape)
steps = -(-batches.row_count(targets, training.row_length(shape)) // rows)
runtime.seed_everything(1)
model = training.NextItemModel(shape, torch.zeros(20, 0), torch.float32)
share = (process, processes)
epochs = runtime.train(model, runtime.Job(
    "test", (1,), runtime.Schedule(2, steps, 0.01),
    lambda epoch: training.epoch_batches(sequences, shape, rows, (1, epoch), share), targets,
), machine, Lines(quiet=True))
weights = [float(p.detach().double().sum()) for p in model.parameters()]
with open(f"{sys.argv[1]}/{process}-of-{processes}.json", "w") as file:
    json.dump({"loss": [epoch.loss for epoch in epochs], "weights": weights}, file)
# Threads of torch's process group abort one process in ten while it is torn down, after all is written and outside of
# Python: leave without that teardown. What is tested is the training.
import os
os._exit(0)
"""


def test_rate_warms_up_and_falls_to_nothing() -> None:
    schedule = Schedule(epochs=10, steps_per_epoch=400, learning_rate=0.002)
    rates = [schedule.rate(step) for step in range(4001)]
    assert rates[0] == pytest.approx(0.002 / 200)
    assert rates[200] == pytest.approx(0.002 * (1 - 200 / 4000))
    assert rates[:150] == sorted(rates[:150]) and rates[200:] == sorted(rates[200:], reverse=True)
    assert rates[4000] == 0 and all(rate > 0 for rate in rates[:4000])


def test_short_trainings_warm_up_shortly() -> None:
    assert Schedule(epochs=2, steps_per_epoch=10, learning_rate=1.0).rate(1) == pytest.approx(0.95)


def test_best_epoch_is_the_first_of_the_highest() -> None:
    history = [Epoch(n + 1, 1.0, 1.0, {"ndcg": value}) for n, value in enumerate([0.1, 0.3, 0.2, 0.3])]
    assert runtime.best_epoch(history, "ndcg") == 2
    assert runtime.best_epoch(history, "") == 4


def test_a_device_that_is_not_there_is_told() -> None:
    with pytest.raises(SettingsError, match="'gpu'"):
        runtime.choose_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="not there"):
            runtime.choose_device("cuda")
    assert runtime.choose_device("cpu") == "cpu"


def test_seeds_differ_by_every_part() -> None:
    def drawn(*parts: int) -> float:
        runtime.seed_everything(*parts)
        return float(torch.rand(1))

    values = [drawn(42, 1, 1), drawn(42, 1, 2), drawn(42, 2, 1), drawn(43, 1, 1)]
    assert len(set(values)) == 4 and values[0] == drawn(42, 1, 1)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(TWO_PROCESSES)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for how in ([], launch):
        done = subprocess.run(
            [sys.executable, *how, str(script), str(tmp_path)], capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
    alone, first, second = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("0-of-1", "0-of-2", "1-of-2")
    )
    assert first == second
    assert first["loss"] == pytest.approx(alone["loss"], rel=0.01)
