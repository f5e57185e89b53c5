"""One training of the sequence model: the model, its warm start, its epochs, what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.progress import Progress
from llmrec_cli.sequence import cold_items, optional
from llmrec_cli.sequence.defaults import tokens_per_step
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.sequence.privacy_budget import CAVEATS, Spent
from llmrec_cli.sequence.training import NextItemModel, TrainingData
from llmrec_cli.sequence.training_plan import TrainingPlan
from llmrec_cli.sequence.validation import WATCH, Validation
from llmrec_cli.sequence.warm_start import Start
from llmrec_cli.tensors import runtime

COPIES = 6
"""Arrays as large as the item table that training holds: table, gradient, two moments, best epoch, fused table."""


class Trainer:
    """One training of a plan, from seeds of its own: the model before its first step, then trained in place."""

    def __init__(self, plan: TrainingPlan, machine: runtime.Runtime, name: str, withheld: int) -> None:
        """For the log without the `withheld` newest events of each user.

        DataError where the item table with its optimiser is larger than the plan's `max_memory`.
        """
        self.plan, self.config, self.machine = plan, plan.config, machine
        self.name, self.seeds = name, (plan.seed, 1 - withheld)
        self.spent: Spent | None = None
        """Of the privacy budget."""
        self.content = runtime.tensor(plan.content)
        self.data = TrainingData(plan.log, self.config.network, self.config.objective, withheld)
        self._check_memory()
        tokens = self.config.tokens_per_step or tokens_per_step(self.data.targets)
        self.rows = max(1, tokens // self.data.row_length)
        self.steps = self.data.steps(self.rows)
        runtime.seed_everything(*self.seeds)
        known = runtime.tensor(self.data.vocabulary)
        counts = runtime.tensor(self.data.counts).float()
        self.model = NextItemModel(
            self.config.network, self.config.objective, self.content[known], counts, machine.dtype
        )
        self.cold = cold_items.find(self.content, self.data.vocabulary)

    def encoder(self) -> SequenceEncoder:
        """The encoder as the model is now."""
        return self.model.encoder(self.data.vocabulary, self.content, self.cold)

    def begin_from(self, start: Start, progress: Progress) -> None:
        """Take over the network and the items of another encoder; SettingsError where it is of another shape.

        Its item table is explained by the content as far as a ridge regression can: that becomes the projection, so
        that items it never had start where their content puts them, and the rest becomes the id embeddings.
        """
        if start.encoder.shape.model_copy(update={"dropout": self.config.network.dropout}) != self.config.network:
            raise SettingsError(
                "the model to start from has another shape",
                fix=f"set the same architecture, dim, layers, heads, … as it has: {start.encoder.shape}",
            )
        old = start.rows[self.data.vocabulary]
        known = np.flatnonzero(old >= 0)
        table = start.encoder.table[torch.from_numpy(old[known])].float().cpu()
        with torch.no_grad():
            self.model.network.load_state_dict(start.encoder.network.state_dict())
            ids = self.model.ids.weight
            ids.zero_()
            ids[-1] = start.encoder.table[-1]
            if self.model.projection is not None and len(known):
                content = self.model.get_buffer("content")[known].cpu()
                weights = cold_items.explained(content, table)
                self.model.projection.weight.copy_(weights.T)
                table = table - content @ weights
            ids[known] = table.to(ids.device)
        progress.log(f"pretrain {self.name}: {len(known):,} of {len(old):,} items start where they were")

    def train(
        self,
        progress: Progress,
        *,
        validation: Validation | None = None,
        stop_after: int | None = None,
        after: Callable[[int], object] = lambda epoch: None,
    ) -> list[runtime.Epoch]:
        """Train, watching a validation set where there is one, or for `stop_after` epochs; see `runtime.train`.

        `after` is called with each epoch whose checkpoint has been saved. With a privacy budget all epochs are made,
        whatever they measure: to choose among them would spend what no account has.
        """
        accelerator = self.machine.accelerator
        share = (accelerator.process_index, accelerator.num_processes)
        job = runtime.Job(
            name=self.name,
            seeds=self.seeds,
            schedule=runtime.Schedule(self.config.epochs, self.steps, self.config.learning_rate),
            batches=lambda epoch: self.data.epoch(self.rows, (*self.seeds, epoch), share),
            targets=self.data.targets,
            evaluate=(lambda: validation.measure(self.encoder())) if validation else None,
            watch=WATCH if validation else "",
            patience=self.config.patience,
            stop_after=stop_after,
            checkpoint=self.plan.checkpoint(self.name),
            after=after,
            finish=self.plan.finish and validation is not None,
        )
        if self.config.privacy is None:
            return runtime.train(self.model, job, self.machine, progress)
        job = replace(job, checkpoint=self.plan.checkpoint(f"{self.name}-private"))
        history, self.spent = optional.train_privately()(
            self.model, self.data, self.config.privacy, job, machine=self.machine, progress=progress
        )
        return history

    def describe_privacy(self) -> list[str]:
        """What this training spent of its privacy budget, in words; nothing where it has none."""
        if self.spent is None:
            return []
        epsilon, delta = self.spent.epsilon, self.spent.delta
        spent = f"privacy spent by {self.name}: epsilon {epsilon:.3f}, delta {delta:.1e}; what phases spend adds up"
        return [spent, *(CAVEATS if self.seeds[1] == 0 else ())]

    def cost(self, device: str, *, refit: bool) -> tuple[list[str], dict[str, float]]:
        """What all epochs of the search, and as many of the refit, would take on this machine, in words and figures."""
        (step, core_step), most = self._seconds_per_step(), self.config.epochs
        epochs = most * (1 + refit)
        planned = f"at most {most} epochs" + (f", then up to {most} more on all events" if refit else "")
        seconds = step * self.steps * epochs
        parameters = sum(p.numel() for p in self.model.parameters())
        figures = {
            "items": float(len(self.data.vocabulary)),
            "users": float(len(self.plan.log)),
            "targets_per_epoch": float(self.data.targets),
            "parameters": float(parameters),
            "table_mb": self._table_bytes / 1e6,
            "training_mb": self._table_bytes * COPIES / 1e6,
            "epochs": float(most),
            "refit_epochs": float(most * refit),
            "seconds": seconds,
            "core_seconds": core_step * self.steps * epochs,
        }
        return [
            f"{figures['users']:,.0f} users, {figures['items']:,.0f} items, {self.data.targets:,} targets an epoch",
            f"{parameters:,} parameters; item table {figures['table_mb']:,.1f} MB, with its gradient, optimiser and "
            f"copies {figures['training_mb']:,.1f} MB",
            f"on {device}: {1000 * step:.1f} ms a step, {self.data.targets / self.steps / step:,.0f} targets/s",
            f"{planned}: {seconds / 60:,.1f} minutes, {figures['core_seconds']:,.0f} core-seconds, "
            "without the encoding of new content and the measurements",
        ], figures

    def _check_memory(self) -> None:
        if self._table_bytes * COPIES > self.plan.max_memory:
            raise DataError(
                f"{len(self.data.vocabulary):,} items × {self.config.network.dim} dimensions need "
                f"{self._table_bytes * COPIES / 1e9:.2g} GB in training, --max-memory allows "
                f"{self.plan.max_memory / 1e9:.2g} GB",
                where="pretrain",
                fix="raise --max-memory or clean.min_item_events, or lower pretrain.dim",
            )

    @property
    def _table_bytes(self) -> int:
        return 4 * (len(self.data.vocabulary) + 1) * self.config.network.dim

    def _seconds_per_step(self, budget: float = 5.0) -> tuple[float, float]:
        """Seconds and core-seconds of real steps, until the budget is used; the first, which warm up, are left out."""
        device = self.machine.device
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-6, fused=True)
        self.model.to(device).train()
        times: list[float] = []
        worked: list[float] = []
        for batch in self.data.epoch(self.rows, self.seeds):
            started, begun = time.monotonic(), time.process_time()
            with self.machine.autocast():
                loss = self.model(*(part.to(device) for part in batch))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            float(loss.detach())  # waits for the device
            times.append(time.monotonic() - started)
            worked.append(time.process_time() - begun)
            if sum(times) > budget:
                break
        return float(np.median(times[2:] or times)), float(np.median(worked[2:] or worked))
