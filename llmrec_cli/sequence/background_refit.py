"""The training on all events in a process of its own while the search for the number of epochs goes on.

On a CPU two trainings with half of the threads each take little longer than one with all: much of a step is too small
to be shared out.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from llmrec_cli.core.disk import move_into_place
from llmrec_cli.core.progress import PlainProgress, Progress
from llmrec_cli.sequence.trainer import COPIES, Trainer
from llmrec_cli.sequence.training_plan import TrainingPlan
from llmrec_cli.sequence.validation import WATCH
from llmrec_cli.sequence.warm_start import Start
from llmrec_cli.tensors import checkpoints, runtime

WORTH = 1_000_000
"""Targets of a training; one that sees fewer is over before another process has begun."""
POLL = 0.1


@dataclass(frozen=True)
class BackgroundRefit:
    """A training that may be under way in another process."""

    checkpoint: Path
    process: SpawnProcess | None = None
    """None where nothing runs in the background."""

    def wait_for(self, epochs: int, progress: Progress) -> None:
        """Wait until it has made so many epochs, and put its checkpoint where `Trainer.train` goes on from.

        Where it ended before, or never began, the checkpoint stays at what it reached.
        """
        wanted, done = _kept(self.checkpoint, epochs), 0
        with progress.task("pretrain refit, begun in the background", epochs, "epochs") as task:
            while not wanted.exists() and self.process is not None and self.process.is_alive():
                now = len(_history(self.checkpoint))
                task.advance(now - done)
                done = now
                time.sleep(POLL)
        self.stop()
        if wanted.exists():
            move_into_place(wanted, self.checkpoint)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.join()


@contextmanager
def background_refit(
    plan: TrainingPlan, machine: runtime.Runtime, name: str, search: str, start: Start | None
) -> Iterator[BackgroundRefit]:
    """Inside, a training of this name on all events goes on in the background, where that is a gain.

    How many epochs will be wanted is not known yet: the checkpoint of each is kept until the search's tells that it
    cannot be the one.
    """
    checkpoint, threads = plan.checkpoint(name), torch.get_num_threads()
    if not _pays(plan, machine, threads):
        yield BackgroundRefit(checkpoint)
        return
    context = get_context("spawn")  # a forked process would wait for threads that it does not have
    here, there = context.Pipe()
    given = (there, plan, (name, search), start, threads // 2)
    process = context.Process(target=_train, args=given, daemon=True)
    process.start()
    there.close()
    torch.set_num_threads(threads - threads // 2)
    refit = BackgroundRefit(checkpoint, process)
    try:
        yield refit
    finally:
        refit.stop()
        here.close()
        torch.set_num_threads(threads)


def _pays(plan: TrainingPlan, machine: runtime.Runtime, threads: int) -> bool:
    if plan.config.privacy is not None or plan.finish or machine.device.type != "cpu" or threads < 2:
        return False
    alone = machine.accelerator.num_processes == 1
    tables = 2 * COPIES * plan.log.n_items * plan.config.network.dim * 4
    memory = tables + plan.log.codes.nbytes + plan.content.nbytes
    return alone and len(plan.log.codes) * plan.config.epochs >= WORTH and memory <= plan.max_memory


def _train(parent: Connection, plan: TrainingPlan, names: tuple[str, str], start: Start | None, threads: int) -> None:
    """What the other process does, until it is done or its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both; the parent decides
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    name, search = names
    checkpoint, watched = plan.checkpoint(name), plan.checkpoint(search)

    def keep(epoch: int) -> None:
        temporary = checkpoint.with_stem(f".tmp-{checkpoint.stem}-{epoch}")
        shutil.copyfile(checkpoint, temporary)
        move_into_place(temporary, _kept(checkpoint, epoch))  # the parent must not see half of it
        if history := _history(watched):
            best = runtime.best_epoch(history, WATCH)
            for earlier in range(1, len(history)):
                if earlier != best:
                    _kept(checkpoint, earlier).unlink(missing_ok=True)

    if done := len(_history(checkpoint)):
        keep(done)  # it may have been killed between the two
    progress = PlainProgress(quiet=True)
    trainer = Trainer(plan, runtime.start("cpu", threads), name, withheld=0)
    if start is not None:
        trainer.begin_from(start, progress)
    trainer.train(progress, after=keep)


def end_with(parent: Connection) -> None:
    """End this process when its parent has ended, however that happened."""
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _kept(checkpoint: Path, epoch: int) -> Path:
    return checkpoint.with_stem(f"{checkpoint.stem}-{epoch}")


def _history(checkpoint: Path) -> list[runtime.Epoch]:
    """The epochs that a checkpoint has behind it; none where there is no checkpoint, or a damaged one."""
    if not checkpoint.exists():
        return []
    try:
        return [runtime.Epoch(**epoch) for epoch in checkpoints.describe(checkpoint)["history"]]
    except checkpoints.WRONG:  # the training itself tells of it, and begins anew
        return []
