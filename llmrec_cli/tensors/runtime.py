"""Where and how models train: device, threads, number format, seeds, and the one training loop, on accelerate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from llmrec_cli.core import launch
from llmrec_cli.core.errors import SettingsError, did_you_mean
from llmrec_cli.core.progress import Progress
from llmrec_cli.tensors import checkpoints

if TYPE_CHECKING:
    from accelerate import Accelerator

Batch = tuple[torch.Tensor, ...]
_preferred = "auto"
SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM")  # accelerate's ways to spread a model over processes


@dataclass(frozen=True)
class Runtime:
    """The device of this process and the number format of its large matrix products."""

    accelerator: Accelerator
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def autocast(self) -> AbstractContextManager[None]:
        """bf16 for matrix products where the device is fast at it, float32 elsewhere."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def start(device: str = "auto", threads: int = 0) -> Runtime:
    """Set the threads (0 = all cores) and choose the device: auto, cpu, cuda or mps."""
    from accelerate import Accelerator, InitProcessGroupKwargs

    where = choose_device(device)
    set_threads(threads)
    # the first process may do hours of work of its own while the others wait for it
    patience = InitProcessGroupKwargs(timeout=timedelta(days=2))
    accelerator = Accelerator(cpu=where == "cpu", mixed_precision="no", kwargs_handlers=[patience])
    if accelerator.distributed_type.value in SHARDED:
        what = "every process trains the whole model; sharding it (FSDP, DeepSpeed) is not supported"
        fix = "use torchrun, or `accelerate launch --multi_gpu`"
        raise SettingsError(what, where="the configuration of accelerate", fix=fix)
    return Runtime(accelerator, fast_dtype(accelerator.device))


def set_threads(threads: int) -> None:
    """For PyTorch and for the BLAS of numpy and scipy, which are loaded by now; 0 means what `launch.threads` says."""
    from threadpoolctl import threadpool_limits

    wanted = launch.threads(threads)
    torch.set_num_threads(wanted)
    threadpool_limits(wanted, user_api="blas")


def prefer(device: str) -> None:
    """What "auto" means from now on in this process: the device that the command was given."""
    global _preferred  # noqa: PLW0603 -- like torch's own default device
    _preferred = device


def choose_device(device: str) -> str:
    """The name of a device that is there; SettingsError where one was asked for by name and is not."""
    device = _preferred if device == "auto" else device
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    kind, _, number = device.partition(":")
    if kind not in there:
        raise SettingsError(f"there is no device {device!r}", fix=did_you_mean(device, ["auto", *there]))
    if not there[kind] or (kind == "cuda" and number and int(number) >= torch.cuda.device_count()):
        raise SettingsError(f"the device {device!r} is not there", fix="use --device auto, or install torch for it")
    return device


def tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    """The array as a tensor that shares its memory."""
    return torch.from_numpy(array)


def describe(device: str) -> str:
    """The device that would be used, its number format and the threads, in words."""
    where = choose_device(device)
    name = torch.cuda.get_device_name() if where == "cuda" else where
    dtype = str(fast_dtype(torch.device(where))).removeprefix("torch.")
    return f"{name}, {dtype} products, {torch.get_num_threads()} threads"


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it (CUDA from Ampere on, CPUs with AVX512-BF16 or AMX), else float32.

    Decided by what the hardware says of itself, not by a timing, so that a machine always gives the same result. On
    CPUs with AVX512-BF16 the products of the softmax are 4 to 5 times faster than in float32; without it, slower.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return torch.bfloat16
    return torch.float32


def seed_everything(*parts: int) -> None:
    """Seed torch (parameters, dropout) from a tuple such as (seed, phase, epoch)."""
    torch.manual_seed(int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1))


@dataclass(frozen=True)
class Schedule:
    """Learning rate by step: linear warm-up, then linear to 0 at the last step of the last epoch."""

    epochs: int
    steps_per_epoch: int
    learning_rate: float
    warmup: int = 200

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        total = self.epochs * self.steps_per_epoch
        warmup = max(1, min(self.warmup, total // 10))
        return self.learning_rate * min((step + 1) / warmup, max(0.0, 1 - step / total))


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training data gave. `metrics` is empty where nothing was measured."""

    epoch: int
    loss: float
    targets_per_s: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One training: what to learn from, for how long, and how to tell when it is enough.

    `model(*batch)` returns the mean loss of a batch. `batches(epoch)` gives this process's share of an epoch, and must
    depend on nothing but the epoch. `evaluate()` returns metrics; `watch` names the one that decides.
    """

    name: str
    seeds: tuple[int, ...]
    schedule: Schedule
    batches: Callable[[int], Iterable[Batch]]
    targets: int
    """Targets in an epoch, for progress and speed."""
    evaluate: Callable[[], dict[str, float]] | None = None
    watch: str = ""
    patience: int = 0
    stop_after: int | None = None
    """Train this many epochs of the schedule only."""
    checkpoint: Path | None = None
    after: Callable[[int], object] = lambda epoch: None
    """Called with each epoch whose checkpoint has been saved."""
    finish: bool = False
    """Train no further: the best of the epochs in the checkpoint is the result."""


def train(model: nn.Module, job: Job, runtime: Runtime, progress: Progress) -> list[Epoch]:
    """Train in place; the model ends with the weights of its best epoch (the last one where nothing is measured).

    Frozen parameters stay as they are; all other state goes to `job.checkpoint` after each epoch. A killed training,
    started again, continues there and ends with the same weights as an uninterrupted one. Returns the epochs, those
    before the interruption included. Of several processes the first measures and saves; all end with the same weights.
    SettingsError where `job.finish` finds no epoch.
    """
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(
        learning, lr=job.schedule.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    trained, stepper = runtime.accelerator.prepare(model, optimiser)
    history, best = _resume(job, model, optimiser, progress)
    try:
        while not _enough(history, job):
            epoch = len(history) + 1
            seed_everything(*job.seeds, epoch)
            loss, speed = _one_epoch(trained, stepper, job, epoch=epoch, runtime=runtime, progress=progress)
            model.eval()
            history.append(Epoch(epoch, loss, speed, _measured(job, runtime)))
            if best_epoch(history, job.watch) == epoch:
                best = {name: value.detach().clone() for name, value in _changing(model).items()}
            if runtime.accelerator.is_main_process and job.checkpoint is not None:
                _save(job.checkpoint, model, optimiser, history, best)
                job.after(epoch)
            progress.log(_describe(history[-1], job))
    except (KeyboardInterrupt, SystemExit):
        if job.watch and job.checkpoint is not None and job.checkpoint.exists():
            progress.log(f"pretrain {job.name}: finished epochs are kept; --finish settles for the best of them")
        raise
    _restore(model, best)
    model.eval()
    return history


def best_epoch(history: list[Epoch], watch: str) -> int:
    """The first epoch with the highest watched metric; the last one where nothing is watched."""
    if not watch:
        return history[-1].epoch
    return max(history, key=lambda e: (e.metrics[watch], -e.epoch)).epoch


def _enough(history: list[Epoch], job: Job) -> bool:
    if job.finish and not history:
        raise SettingsError("no epoch is finished yet: there is nothing to settle for", fix="leave out --finish")
    waited = bool(job.watch and history) and history[-1].epoch - best_epoch(history, job.watch)
    impatient = bool(job.patience and waited >= job.patience)
    return job.finish or impatient or len(history) >= (job.stop_after or job.schedule.epochs)


def _measured(job: Job, runtime: Runtime) -> dict[str, float]:
    """The metrics of the first process, for all: were they to differ in a digit, one might stop and the others not."""
    from accelerate.utils import broadcast_object_list

    found = [job.evaluate() if job.evaluate and runtime.accelerator.is_main_process else {}]
    metrics: dict[str, float] = broadcast_object_list(found)[0]
    return metrics


def _one_epoch(
    model: nn.Module, optimiser: Any, job: Job, *, epoch: int, runtime: Runtime, progress: Progress
) -> tuple[float, float]:
    """(mean loss, targets a second of all processes) of one pass."""
    model.train()
    step = (epoch - 1) * job.schedule.steps_per_epoch
    share = job.targets / job.schedule.steps_per_epoch
    total, steps, started = torch.zeros((), device=runtime.device), 0, time.monotonic()
    last = job.stop_after or job.schedule.epochs
    with progress.task(f"pretrain {job.name} {epoch}/{last}", total=job.targets, unit="targets") as task:
        for batch in job.batches(epoch):
            for group in optimiser.param_groups:
                group["lr"] = job.schedule.rate(step)
            with runtime.autocast():
                loss = model(*(part.to(runtime.device, non_blocking=True) for part in batch))
            optimiser.zero_grad()
            runtime.accelerator.backward(loss)
            optimiser.step()
            total += loss.detach()
            step, steps = step + 1, steps + 1
            task.advance(int(steps * share) - int((steps - 1) * share))
    mean = runtime.accelerator.reduce(total / max(steps, 1), reduction="mean").item()
    return mean, job.targets / max(time.monotonic() - started, 1e-9)


def _describe(epoch: Epoch, job: Job) -> str:
    measured = "".join(f", {name} {value:.4f}" for name, value in epoch.metrics.items())
    speed = f"{epoch.targets_per_s:,.0f} targets/s"
    return f"pretrain {job.name} epoch {epoch.epoch}: loss {epoch.loss:.4f}{measured}, {speed}"


def _changing(model: nn.Module) -> checkpoints.Tensors:
    """The model's state without its frozen parameters."""
    frozen = {name for name, value in model.named_parameters(remove_duplicate=False) if not value.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def _restore(model: nn.Module, changed: checkpoints.Tensors) -> None:
    model.load_state_dict({**model.state_dict(), **changed})


def _save(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, history: list[Epoch], best: checkpoints.Tensors
) -> None:
    tensors = {f"model.{name}": value for name, value in _changing(model).items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{slot}": value for slot, value in slots.items()}
    checkpoints.save_state(path, tensors, {"history": [vars(epoch) for epoch in history]})


def _resume(
    job: Job, model: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress
) -> tuple[list[Epoch], checkpoints.Tensors]:
    """Put the checkpoint's state into model and optimiser; (epochs done, best weights), empty where there is none."""
    state = checkpoints.kept_state(job.checkpoint, _changing(model), job.name, progress)
    if state is None:
        return [], {}
    tensors, facts = state
    _restore(model, checkpoints.under("model.", tensors))
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in checkpoints.under("optimiser.", tensors).items():
        index, _, slot = name.partition(".")
        slots.setdefault(int(index), {})[slot] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
    return [Epoch(**epoch) for epoch in facts["history"]], checkpoints.under("best.", tensors)
