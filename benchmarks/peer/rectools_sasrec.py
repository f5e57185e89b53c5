"""Training speed of RecTools' SASRec: python -m benchmarks.peer.rectools_sasrec SEQUENCES LOSS SECONDS"""

from __future__ import annotations

import logging
import sys
import warnings

import numpy as np
import pandas as pd
import rectools
import torch
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from benchmarks.peer.stopwatch import Stopwatch, read_sequences


class Clock(Callback):
    """Times each step and ends the training when enough was measured."""

    def __init__(self, limit: float) -> None:
        self.watch = Stopwatch(limit)

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        self.watch.start()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        trainer.should_stop = self.watch.step(int((batch["y"] != 0).sum()))


def dataset(path: str) -> Dataset:
    sequences = read_sequences(path)
    lengths = [len(each) for each in sequences]
    order = np.concatenate([np.arange(n) for n in lengths])
    events = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(sequences)), lengths),
            Columns.Item: np.concatenate(sequences),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2020-01-01") + pd.to_timedelta(order, unit="s"),
        }
    )
    return Dataset.construct(events)


def quiet_trainer(epochs: int, callbacks: list[Callback], *, checkpoints: bool) -> Trainer:
    """As the library makes its own, but for the callbacks and the end."""
    return Trainer(
        max_epochs=epochs,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=checkpoints,
        devices=1,
        accelerator="cpu",
        callbacks=callbacks,
    )


def main(path: str, loss: str, seconds: str) -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)

    def trainer() -> Trainer:
        return quiet_trainer(1_000_000, [Clock(float(seconds))], checkpoints=False)

    model = SASRecModel(
        n_blocks=2,
        n_heads=2,
        n_factors=64,
        session_max_len=50,
        loss=loss,
        n_negatives=128,
        get_trainer_func=trainer,
    )
    model.fit(dataset(path))
    (clock,) = (each for each in model.fit_trainer.callbacks if isinstance(each, Clock))
    print(clock.watch.report(rectools=rectools.__version__, torch=torch.__version__))


if __name__ == "__main__":
    main(*sys.argv[1:])
