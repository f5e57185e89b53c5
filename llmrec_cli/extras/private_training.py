"""Training of the sequence model with differential privacy: how much one user can change it is bounded and known.

DP-SGD (Abadi et al. 2016) with the user as the unit: adding or removing one user's whole history changes the chance of
any outcome by a factor of at most e^epsilon, but for a chance of delta. Each step draws users independently
(Poisson), takes each one's gradient of the softmax cross-entropy over the last `max_length` next items, clips it, adds
Gaussian noise to the sum, and gives that to AdamW.

From opacus: the drawing of users, clipping and noise (`DPOptimizer`), the amount of noise, and the account of what was
spent (Rényi). Ours: the gradient of each user (`user_gradients`; opacus' own hooks see neither an item table that is
input and output at once nor biases that are bare parameters) and the checkpoints.

Noise and drawn users come from the operating system's entropy, since who knows the seed could subtract the noise:
two private trainings differ, by intent. `Privacy.seeded` makes them repeatable for tests, and voids the guarantee. The
generator is torch's, which is not a cryptographic one. What the guarantee does not cover is in `CAVEATS`.
"""

from __future__ import annotations

import logging
import secrets
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.errors import MissingExtraError, SettingsError
from llmrec_cli.core.progress import Progress
from llmrec_cli.extras.user_gradients import UserGradients, user_rows
from llmrec_cli.sequence import packing
from llmrec_cli.sequence.model_config import ModelConfig, Objective
from llmrec_cli.sequence.privacy_budget import Privacy, Spent
from llmrec_cli.sequence.training import NextItemModel, TrainingData
from llmrec_cli.tensors import checkpoints, runtime

ORDERS = (*(1 + x / 10 for x in range(1, 30)), *range(4, 64), 80, 96, 128, 192, 256, 384, 512)
"""Rényi orders of the account: any give a bound, more a tighter one. Those above 63 allow an epsilon below 0.2."""


def check(network: ModelConfig, objective: Objective) -> None:
    """MissingExtraError without opacus, SettingsError for a training that has no private form."""
    _opacus()
    chosen = (network.architecture, objective.loss, objective.targets)
    if chosen != ("gpt", "softmax", "all"):
        raise SettingsError(
            f"private training knows only architecture=gpt, loss=softmax, targets=all, not {', '.join(chosen)}",
            fix="set these, or dp_epsilon=0",
        )


def train(
    model: NextItemModel,
    data: TrainingData,
    privacy: Privacy,
    job: runtime.Job,
    *,
    machine: runtime.Runtime,
    progress: Progress,
) -> tuple[list[runtime.Epoch], Spent]:
    """Train in place for all epochs of the job; the weights are those of the last one, whatever its `evaluate` finds.

    An epoch has users / users_per_step steps, whatever the schedule says. Dropout is left out; products are float32. A
    killed training continues after its last whole epoch: of the lost epoch nothing was published, and what is done
    again has noise of its own. Where its settings changed it begins anew, and says so. The model must not start from
    weights that were learnt from the same users without privacy. `job.seeds` draw what does not depend on users (item
    dropout). Errors as `check`; SettingsError where several processes train or no noise is enough.
    """
    check(data.shape, data.objective)
    if machine.accelerator.num_processes > 1:
        raise SettingsError(
            "private training runs in one process", fix="start it without torchrun, or set dp_epsilon=0"
        )
    training, epochs = _Training(model, data, privacy, job, machine.device), job.schedule.epochs
    history = training.resume(job.checkpoint, progress, job.name)
    while len(history) < epochs:
        epoch = len(history) + 1
        with progress.task(f"pretrain {job.name} {epoch}/{epochs}", training.users_in_epoch, "users") as task:
            started = time.monotonic()
            loss, targets = training.epoch(epoch, task.advance)
            speed = targets / max(time.monotonic() - started, 1e-9)
        history.append(runtime.Epoch(epoch, loss, speed, job.evaluate() if job.evaluate else {}))
        if job.checkpoint is not None:
            training.save(job.checkpoint, history)
        progress.log(
            f"pretrain {job.name} epoch {epoch}: loss {loss:.4f}, epsilon {training.spent().epsilon:.3f} spent"
        )
    return history, training.spent()


class _Training:
    """The model, its private optimiser and the account of what they spent."""

    def __init__(
        self, model: NextItemModel, data: TrainingData, privacy: Privacy, job: runtime.Job, device: torch.device
    ) -> None:
        self.model, self.data, self.privacy, self.seeds, self.device = model, data, privacy, job.seeds, device
        schedule = job.schedule
        model.to(device).eval()
        self.users: Ints = np.flatnonzero(data.log.lengths - data.withheld >= 2)
        self.rate = min(1.0, privacy.users_per_step / len(self.users))
        self.delta = privacy.delta_for(len(self.users))
        self.schedule = replace(schedule, steps_per_epoch=round(1 / self.rate))
        self.noise = noise_multiplier(privacy.epsilon, self.delta, self.rate, schedule.epochs * round(1 / self.rate))
        self.gradients = UserGradients(model)
        learning = list(self.gradients.parameters.values())
        adam = torch.optim.AdamW(learning, lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        opacus = _opacus()
        self.sampler = opacus.utils.uniform_sampler.UniformWithReplacementSampler
        self.optimiser = opacus.optimizers.DPOptimizer(
            adam,
            noise_multiplier=self.noise,
            max_grad_norm=privacy.clip,
            expected_batch_size=max(1.0, self.rate * len(self.users)),
            secure_mode=True,  # against what the digits of floating point noise betray
        )
        self.account = opacus.accountants.RDPAccountant()
        self.optimiser.attach_step_hook(self.account.get_optimizer_hook_fn(self.rate))

    @property
    def users_in_epoch(self) -> int:
        """Expected."""
        return round(self.rate * len(self.users) * self.schedule.steps_per_epoch)

    def epoch(self, epoch: int, advance: Callable[[int], None]) -> tuple[float, int]:
        """(mean loss of the users drawn, targets learnt) of one pass; `advance` takes the users."""
        entropy = np.random.SeedSequence((*self.seeds, epoch) if self.privacy.seeded else secrets.randbits(128))
        for_users, for_noise = (int(word >> 1) for word in entropy.generate_state(2, np.uint64))
        self.optimiser.generator = torch.Generator(self.device).manual_seed(for_noise)
        drawn = self.sampler(
            num_samples=len(self.users),
            sample_rate=self.rate,
            generator=torch.Generator().manual_seed(for_users),
            steps=self.schedule.steps_per_epoch,
        )
        runtime.seed_everything(*self.seeds, epoch)
        total, users, targets = 0.0, 0, 0
        for step, chosen in enumerate(drawn, start=(epoch - 1) * self.schedule.steps_per_epoch):
            for group in self.optimiser.param_groups:
                group["lr"] = self.schedule.rate(step)
            loss, learnt = self._step(self.users[np.asarray(chosen, dtype=np.int64)])
            total, users, targets = total + loss, users + len(chosen), targets + learnt
            advance(len(chosen))
        return total / max(users, 1), targets

    def _step(self, users: Ints) -> tuple[float, int]:
        """One step of the optimiser on these users, of whom there may be none; (sum of their losses, their targets)."""
        dropped = None
        if share := self.model.objective.item_dropout:
            dropped = (torch.rand(len(self.model.ids.weight), 1, device=self.device) < share).float()
        total, targets = 0.0, 0
        self.optimiser.zero_grad(set_to_none=True)
        for rows in user_rows(self.data, users, self.gradients.users_at_a_time):
            losses = self.gradients.set(tuple(part.to(self.device) for part in rows), dropped)
            self.optimiser.signal_skip_step(True)  # clipped and summed; the step is for all of them
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            total += float(losses.sum())
            targets += int((rows[1] != packing.NO_TARGET).sum())
        self.gradients.set_none()
        self.optimiser.signal_skip_step(False)
        self.optimiser.step()  # the noise is added whether or not anyone was drawn
        return total, targets

    def spent(self) -> Spent:
        steps = sum(count for _, _, count in self.account.history)
        return Spent(_epsilon(self.account, self.delta), self.delta, self.noise, steps)

    def save(self, path: Path, history: list[runtime.Epoch]) -> None:
        tensors: checkpoints.Tensors = {f"model.{name}": value for name, value in self.gradients.parameters.items()}
        for index, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{slot}": value for slot, value in slots.items()}
        facts = {"history": [vars(epoch) for epoch in history], "account": self.account.history, **self._settings()}
        checkpoints.save_state(path, tensors, facts)

    def resume(self, path: Path | None, progress: Progress, name: str) -> list[runtime.Epoch]:
        """The epochs of a checkpoint of these settings, after its weights and account are taken over; else none."""
        state = checkpoints.kept_state(path, dict(self.gradients.parameters), name, progress)
        if state is None:
            return []
        tensors, facts = state
        if any(facts.get(key) != value for key, value in self._settings().items()):
            progress.log(f"pretrain {name}: the settings of privacy changed, private training begins anew")
            return []
        with torch.no_grad():
            for key, value in checkpoints.under("model.", tensors).items():
                self.gradients.parameters[key].copy_(value)
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in checkpoints.under("optimiser.", tensors).items():
            index, _, slot = key.partition(".")
            slots.setdefault(int(index), {})[slot] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": slots})
        self.account.history = [tuple(entry) for entry in facts["account"]]
        return [runtime.Epoch(**epoch) for epoch in facts["history"]]

    def _settings(self) -> checkpoints.Json:
        return {"privacy": self.privacy.model_dump(), "noise": self.noise, "rate": self.rate}


def noise_multiplier(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Standard deviation of the noise, in clip norms, with which `steps` at this sampling rate spend at most `epsilon`.

    SettingsError where no noise is enough.
    """
    search = _opacus().accountants.utils.get_noise_multiplier
    try:
        with warnings.catch_warnings(action="ignore"):
            noise: float = search(
                target_epsilon=epsilon, target_delta=delta, sample_rate=rate, steps=steps, accountant="rdp",
                epsilon_tolerance=epsilon / 1000, alphas=list(ORDERS),
            )  # fmt: skip
    except ValueError as error:
        raise SettingsError(
            f"no noise keeps {steps:,} steps within epsilon {epsilon:g} at delta {delta:.1g}",
            where="pretrain.dp_epsilon",
            fix="raise dp_epsilon or delta",
        ) from error
    return noise


def _epsilon(account: Any, delta: float) -> float:
    with warnings.catch_warnings(action="ignore"):  # of the order at the end of the list: the bound holds all the same
        spent: float = account.get_epsilon(delta=delta, alphas=list(ORDERS))
    return spent


def _opacus() -> Any:
    try:
        import opacus
        import opacus.accountants.utils
        import opacus.optimizers
        import opacus.utils.uniform_sampler
    except ImportError as error:
        raise MissingExtraError(
            "private training needs the package 'opacus'", fix="pip install 'llmrec-cli[privacy]'"
        ) from error
    logging.getLogger("opacus").setLevel(logging.ERROR)
    return opacus
