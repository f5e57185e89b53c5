"""One training of the sequence model from the settings of `pretrain`: a phase of it, its estimate, its warm start."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec_cli.core.arrays import Floats
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.progress import Progress
from llmrec_cli.core.registry import load_function
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.sequence import PRIVATE_CHECK, PRIVATE_TRAINING, cold_items
from llmrec_cli.sequence.defaults import mean_length, resolve_auto, tokens_per_step
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.sequence.model_config import ModelConfig
from llmrec_cli.sequence.privacy_budget import CAVEATS, Privacy, Spent
from llmrec_cli.sequence.training import NextItemModel, Objective, TrainingData
from llmrec_cli.sequence.validation import WATCH, Validation
from llmrec_cli.sequence.warm_start import Start
from llmrec_cli.tensors import runtime

RIDGE = 1e-3
COPIES = 6
"""Arrays as large as the item table that training holds: table, gradient, two moments, best epoch, fused table."""


@dataclass(frozen=True)
class TrainingPlan:
    """What both phases of a training share."""

    shape: ModelConfig
    objective: Objective
    epochs: int
    learning_rate: float
    patience: int
    tokens_per_step: int
    """0 chooses by the size of the data."""
    log: Sequences
    content: Floats
    """(items, t) of the whole catalogue."""
    machine: runtime.Runtime
    seed: int
    max_memory: int
    scratch: Path
    warm: bool = False
    """It goes on from another model."""
    finish: bool = False
    """Settle for what an interrupted search has reached."""
    privacy: Privacy | None = None
    """The share of one training in the privacy budget."""

    @classmethod
    def of(cls, settings: Mapping[str, Any], trainings: int, log: Sequences, **given: Any) -> TrainingPlan:
        """From the settings of `pretrain` by their names; `trainings` share its privacy budget where it has one."""
        settings = resolve_auto(settings, log)
        shape = ModelConfig(**{name: settings[name] for name in ModelConfig.model_fields})
        objective = Objective(**{name: settings[name] for name in Objective.model_fields})
        plain = {name: settings[name] for name in ("epochs", "learning_rate", "patience", "tokens_per_step")}
        privacy, warm = None, bool(settings["init_from"])
        if settings["dp_epsilon"]:
            load_function(PRIVATE_CHECK)(shape, objective)
            whole = Privacy(epsilon=settings["dp_epsilon"], delta=settings["dp_delta"])
            privacy = whole.shared_by(trainings, len(log))
        return cls(shape=shape, objective=objective, log=log, privacy=privacy, warm=warm, **plain, **given)

    def describe(self) -> str:
        """The network in words, with what was chosen for the length of the histories."""
        shape = self.shape
        similarity = f"{shape.similarity} / {shape.temperature:g}" if shape.temperature != 1 else shape.similarity
        return (
            f"{shape.architecture}, {shape.layers} layers, {shape.dim} wide, {similarity}, dropout {shape.dropout:g}, "
            f"the newest {shape.max_length} events; histories have {mean_length(self.log):.0f} on average; "
            f"at most {self.epochs} epochs, learning rate {self.learning_rate:g}"
            f"{' (a warm start)' if self.warm else ''}"
        )

    def warnings(self, best: int) -> list[str]:
        """What to change, where a search that measured `best` as its best epoch was not done when it had to end."""
        if self.privacy is not None or best < self.epochs:
            return []
        return [f"the best epoch is the last of the {self.epochs} allowed: more may be better, raise pretrain.epochs"]

    def checkpoint(self, name: str) -> Path:
        """Where the training of this name keeps its state."""
        return self.scratch / f"{name}.safetensors"

    def phase(self, name: str, withheld: int) -> Trainer:
        """The model before its first step, for the log without the `withheld` newest events of each user."""
        return Trainer(self, name, withheld)

    def train(
        self,
        name: str,
        withheld: int,
        progress: Progress,
        *,
        start: Start | None = None,
        asked: Validation | None = None,
        stop_after: int | None = None,
        after: Callable[[int], object] = lambda epoch: None,
    ) -> tuple[Trainer, list[runtime.Epoch]]:
        """One training, from `start` where it is given; it watches `asked`, or goes on for `stop_after` epochs.

        `after` is called with each epoch whose checkpoint has been saved.
        """
        phase = self.phase(name, withheld)
        if start is not None:
            known = phase.begin_from(start)
            progress.log(f"pretrain {name}: {known:,} of {len(phase.lessons.vocabulary):,} items start where they were")
        return phase, phase.train(progress, asked, stop_after, after)


class Trainer:
    """One training of a plan, from seeds of its own."""

    def __init__(self, plan: TrainingPlan, name: str, withheld: int) -> None:
        """DataError where the item table with its optimiser is larger than the plan's `max_memory`."""
        self.plan, self.name, self.seeds = plan, name, (plan.seed, 1 - withheld)
        self.spent: Spent | None = None
        """Of the privacy budget."""
        self.content = runtime.tensor(plan.content)
        self.lessons = TrainingData(plan.log, plan.shape, plan.objective, withheld)
        self._check_memory()
        tokens = plan.tokens_per_step or tokens_per_step(self.lessons.targets)
        self.rows = max(1, tokens // self.lessons.row_length)
        self.steps = self.lessons.steps(self.rows)
        runtime.seed_everything(*self.seeds)
        known = runtime.tensor(self.lessons.vocabulary)
        counts = runtime.tensor(self.lessons.counts).float()
        self.model = NextItemModel(plan.shape, plan.objective, self.content[known], counts, plan.machine.dtype)
        self.newcomers = cold_items.find(self.content, self.lessons.vocabulary)

    def encoder(self) -> SequenceEncoder:
        """The encoder as the model is now."""
        return self.model.encoder(self.lessons.vocabulary, self.content, self.newcomers)

    def begin_from(self, start: Start) -> int:
        """Take over the network and the items of another encoder; the number of items taken over.

        Its item table is explained by the content as far as a ridge regression can: that becomes the projection, so
        that items it never had start where their content puts them, and the rest becomes the id embeddings.
        """
        if start.encoder.shape.model_copy(update={"dropout": self.plan.shape.dropout}) != self.plan.shape:
            raise SettingsError(
                "the model to start from has another shape",
                fix=f"set the same architecture, dim, layers, heads, … as it has: {start.encoder.shape}",
            )
        old = start.rows[self.lessons.vocabulary]
        known = np.flatnonzero(old >= 0)
        table = start.encoder.table[torch.from_numpy(old[known])].float().cpu()
        with torch.no_grad():
            self.model.network.load_state_dict(start.encoder.network.state_dict())
            ids = self.model.ids.weight
            ids.zero_()
            ids[-1] = start.encoder.table[-1]
            if self.model.projection is not None and len(known):
                content = self.model.get_buffer("content")[known].cpu()
                square = content.T @ content + RIDGE * len(known) * torch.eye(content.shape[1])
                weights = torch.linalg.solve(square, content.T @ table)
                self.model.projection.weight.copy_(weights.T)
                table = table - content @ weights
            ids[known] = table.to(ids.device)
        return len(known)

    def train(
        self,
        progress: Progress,
        asked: Validation | None,
        stop_after: int | None,
        after: Callable[[int], object],
    ) -> list[runtime.Epoch]:
        """Train, watching a validation set where there is one; see `runtime.train`."""
        if self.plan.privacy is not None:
            return self._train_privately(progress, asked)
        accelerator = self.plan.machine.accelerator
        share = (accelerator.process_index, accelerator.num_processes)
        job = runtime.Job(
            name=self.name,
            seeds=self.seeds,
            schedule=runtime.Schedule(self.plan.epochs, self.steps, self.plan.learning_rate),
            batches=lambda epoch: self.lessons.epoch(self.rows, (*self.seeds, epoch), share),
            targets=self.lessons.targets,
            evaluate=(lambda: asked.measure(self.encoder())) if asked else None,
            watch=WATCH if asked else "",
            patience=self.plan.patience,
            stop_after=stop_after,
            checkpoint=self.plan.checkpoint(self.name),
            after=after,
            finish=self.plan.finish and asked is not None,
        )
        return runtime.train(self.model, job, self.plan.machine, progress)

    def _train_privately(self, progress: Progress, asked: Validation | None) -> list[runtime.Epoch]:
        """All epochs, whatever they measure: to choose among them would spend what no account has."""
        assert self.plan.privacy is not None
        history, self.spent = load_function(PRIVATE_TRAINING)(
            self.model,
            self.lessons,
            runtime.Schedule(self.plan.epochs, self.steps, self.plan.learning_rate),
            self.plan.privacy,
            seeds=self.seeds,
            machine=self.plan.machine,
            progress=progress,
            name=self.name,
            checkpoint=self.plan.scratch / f"{self.name}-private.safetensors",
            evaluate=(lambda: asked.measure(self.encoder())) if asked else None,
        )
        return history

    def privacy_told(self) -> list[str]:
        """What this training spent of its privacy budget, in words; nothing where it has none."""
        if self.spent is None:
            return []
        epsilon, delta = self.spent.epsilon, self.spent.delta
        told = f"privacy spent by {self.name}: epsilon {epsilon:.3f}, delta {delta:.1e}; what phases spend adds up"
        return [told, *(CAVEATS if self.seeds[1] == 0 else ())]

    def cost(self, device: str, *, refit: bool) -> tuple[list[str], dict[str, float]]:
        """What all epochs of the search, and as many of the refit, would take on this machine, in words and figures."""
        step, most = self._seconds_per_step(), self.plan.epochs
        epochs = most * (1 + refit)
        told = f"at most {most} epochs" + (f", then up to {most} more on all events" if refit else "")
        seconds = step * self.steps * epochs
        parameters = sum(p.numel() for p in self.model.parameters())
        figures = {
            "items": float(len(self.lessons.vocabulary)),
            "users": float(len(self.plan.log)),
            "targets_per_epoch": float(self.lessons.targets),
            "parameters": float(parameters),
            "table_mb": self._table_bytes / 1e6,
            "training_mb": self._table_bytes * COPIES / 1e6,
            "epochs": float(most),
            "refit_epochs": float(most * refit),
            "seconds": seconds,
            "core_seconds": seconds * torch.get_num_threads(),
        }
        return [
            f"{figures['users']:,.0f} users, {figures['items']:,.0f} items, {self.lessons.targets:,} targets an epoch",
            f"{parameters:,} parameters; item table {figures['table_mb']:,.1f} MB, with its gradient, optimiser and "
            f"copies {figures['training_mb']:,.1f} MB",
            f"on {device}: {1000 * step:.1f} ms a step, {self.lessons.targets / self.steps / step:,.0f} targets/s",
            f"{told}: {seconds / 60:,.1f} minutes, {figures['core_seconds']:,.0f} core-seconds, "
            "without the encoding of new content and the measurements",
        ], figures

    def _check_memory(self) -> None:
        if self._table_bytes * COPIES > self.plan.max_memory:
            raise DataError(
                f"{len(self.lessons.vocabulary):,} items × {self.plan.shape.dim} dimensions need "
                f"{self._table_bytes * COPIES / 1e9:.2g} GB in training, --max-memory allows "
                f"{self.plan.max_memory / 1e9:.2g} GB",
                where="pretrain",
                fix="raise --max-memory or clean.min_item_events, or lower pretrain.dim",
            )

    @property
    def _table_bytes(self) -> int:
        return 4 * (len(self.lessons.vocabulary) + 1) * self.plan.shape.dim

    def _seconds_per_step(self, budget: float = 5.0) -> float:
        """Timed on real steps until the budget of seconds is used; the first ones, which warm up, are left out."""
        device = self.plan.machine.device
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-6, fused=True)
        self.model.to(device).train()
        times: list[float] = []
        for batch in self.lessons.epoch(self.rows, self.seeds):
            started = time.monotonic()
            with self.plan.machine.autocast():
                loss = self.model(*(part.to(device) for part in batch))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            float(loss.detach())  # waits for the device
            times.append(time.monotonic() - started)
            if sum(times) > budget:
                break
        return float(np.median(times[2:] or times))
