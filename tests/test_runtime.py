"""The training loop, its schedule and its devices; two processes on one machine train as one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import accelerate
import pytest
import torch
from threadpoolctl import threadpool_info
from torch import nn

from llmrec_cli.core.errors import SettingsError
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.tensors import checkpoints, runtime
from llmrec_cli.tensors.runtime import Epoch, Schedule

TWO_PROCESSES = """
import json, sys
import torch
from torch import nn
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.tensors import process_group, runtime

class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
    def forward(self, x, y):
        return (self.layer(x)[:, 0] - y).square().mean()

def train():
    machine = runtime.start("cpu", 1)
    rank, size = machine.accelerator.process_index, machine.accelerator.num_processes
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    y = x @ torch.tensor([1.0, -2.0, 3.0])
    torch.manual_seed(1)
    model = Line()
    epochs = runtime.train(model, runtime.Job(
        "test", (1,), runtime.Schedule(20, 4, 0.1),
        lambda epoch: [(x[i : i + 16][rank::size], y[i : i + 16][rank::size]) for i in range(0, 64, 16)], 64,
        evaluate=lambda: {"rank": rank + 0.5}, watch="rank", patience=6,
    ), machine, PlainProgress(quiet=True))
    weights = [float(value) for value in model.state_dict().values() for value in value.flatten()]
    with open(f"{sys.argv[1]}/{rank}-of-{size}.json", "w") as file:
        told = [(epoch.loss, epoch.metrics) for epoch in epochs]
        json.dump({"epochs": told, "weights": weights, "threads": torch.get_num_threads()}, file)

train()
process_group._dissolve()  # as `pretrain` does: the group's threads may abort a process that ends without it
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


def test_a_device_that_is_not_there_is_reported() -> None:
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


class HalfFrozen(nn.Module):
    """Two layers; only the second learns."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.learning = nn.Linear(3, 3), nn.Linear(3, 1)
        self.frozen.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.learning(self.frozen(x)).square().mean()


def test_frozen_parameters_stay_and_are_not_in_the_checkpoint(tmp_path: Path) -> None:
    def trained(epochs: int, checkpoint: Path) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = HalfFrozen()
        job = runtime.Job(
            "test", (1,), Schedule(2, 3, 0.1), lambda epoch: [(torch.randn(4, 3),) for _ in range(3)], 12,
            stop_after=epochs, checkpoint=checkpoint,
        )  # fmt: skip
        runtime.train(model, job, runtime.start("cpu", 1), PlainProgress(quiet=True))
        return model.state_dict()

    first, whole = trained(1, tmp_path / "killed"), trained(2, tmp_path / "whole")
    resumed = trained(2, tmp_path / "killed")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert torch.equal(first["frozen.weight"], whole["frozen.weight"])
    assert not torch.equal(first["learning.weight"], whole["learning.weight"])
    assert not any("frozen" in name for name in checkpoints.load_state(tmp_path / "killed")[0])


def shaky(checkpoint: Path, *, interrupted: bool = False, finish: bool = False, lines: list[str] | None = None) -> int:
    """A training whose second epoch is its best; interrupted in the fourth. The number of epochs it ends with."""
    torch.manual_seed(0)
    model = HalfFrozen()
    watched = iter([0.1, 0.3, 0.2, 0.1, 0.1, 0.1])

    def batches(epoch: int) -> list[tuple[torch.Tensor, ...]]:
        if interrupted and epoch == 4:
            raise KeyboardInterrupt
        return [(torch.randn(4, 3),) for _ in range(3)]

    job = runtime.Job(
        "search", (1,), Schedule(6, 3, 0.1), batches, 12, lambda: {"ndcg": next(watched)}, "ndcg",
        checkpoint=checkpoint, finish=finish,
    )  # fmt: skip
    progress = PlainProgress(quiet=True)
    progress.log = (lines if lines is not None else []).append  # type: ignore[method-assign]
    return len(runtime.train(model, job, runtime.start("cpu", 1), progress))


def test_an_interrupted_training_can_be_settled_for(tmp_path: Path) -> None:
    kept, lines = tmp_path / "search.safetensors", []
    with pytest.raises(SettingsError, match="no epoch is finished"):
        shaky(kept, finish=True)
    with pytest.raises(KeyboardInterrupt):
        shaky(kept, interrupted=True, lines=lines)
    assert "--finish settles" in lines[-1]
    state = kept.read_bytes()
    assert shaky(kept, finish=True) == 3
    assert kept.read_bytes() == state  # nothing was trained
    assert shaky(kept) == 6


@pytest.mark.parametrize("damage", ["cut", "flip", "other model"])
def test_a_damaged_checkpoint_is_reported_and_the_training_begins_anew(tmp_path: Path, damage: str) -> None:
    kept, lines = tmp_path / "search.safetensors", list[str]()
    with pytest.raises(KeyboardInterrupt):
        shaky(kept, interrupted=True)
    content = bytearray(kept.read_bytes())
    if damage == "other model":
        checkpoints.save_state(kept, {"model.weight": torch.ones(2)}, {"history": []})
    else:
        content[-1] ^= 1
        kept.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    assert shaky(kept, lines=lines) == 6
    assert lines[0].startswith("pretrain search: the saved state search.safetensors is")
    assert lines[0].endswith("this training begins anew") and "epoch 1:" in lines[1]


def test_sharded_training_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sharding:
        distributed_type = accelerate.utils.DistributedType.FSDP

    monkeypatch.setattr(accelerate, "Accelerator", lambda **settings: Sharding())
    with pytest.raises(SettingsError, match="FSDP"):
        runtime.start("cpu", 1)


def test_processes_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        runtime.set_threads(0)
        cores = torch.get_num_threads()
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
        runtime.set_threads(0)
        assert torch.get_num_threads() == max(1, cores // 2)
        for wanted in (1, 3):
            runtime.set_threads(wanted)
            blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
            assert torch.get_num_threads() == wanted
            assert blas and set(blas) == {wanted}  # numpy's too
    finally:
        monkeypatch.undo()
        runtime.set_threads(before)


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
    assert first["epochs"] == second["epochs"] and first["weights"] == second["weights"]
    assert {metrics["rank"] for _, metrics in second["epochs"]} == {0.5}  # measured by the first, known to both
    assert len(first["epochs"]) == 7
    assert [loss for loss, _ in first["epochs"]] == pytest.approx([loss for loss, _ in alone["epochs"]], rel=1e-2)
    assert first["weights"] == pytest.approx(alone["weights"], rel=1e-2)


def test_auto_is_the_device_that_the_command_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_preferred", "auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runtime.choose_device("auto") == "cuda"
    runtime.prefer("cpu")  # as train-ranker does, so that no retriever goes where nobody wanted it
    assert runtime.choose_device("auto") == "cpu" and runtime.choose_device("cuda") == "cuda"
