"""Training speed of RecBole's SASRec with cross-entropy: python -m benchmarks.peer.recbole_sasrec SEQUENCES SECONDS

Its loader makes one row of each prefix of a history, so that a row of 50 positions has one target.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import recbole
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataloader import TrainDataLoader
from recbole.model.sequential_recommender import SASRec

from benchmarks.peer.stopwatch import Stopwatch, read_sequences

NAME = "log"


def write_log(sequences: list[list[int]], folder: Path) -> None:
    """The histories as RecBole's atomic file; the place of an event is its time."""
    (folder / NAME).mkdir()
    with (folder / NAME / f"{NAME}.inter").open("w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user, items in enumerate(sequences):
            file.writelines(f"{user}\t{item}\t{time}\n" for time, item in enumerate(items))


def main(path: str, seconds: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_log(read_sequences(path), Path(folder))
        settings = {
            "data_path": folder,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "train_neg_sample_args": None,
            # all events are for training: the last two of each user were taken away before
            "eval_args": {"split": {"RS": [1, 0, 0]}, "group_by": "user", "order": "TO", "mode": "full"},
            "MAX_ITEM_LIST_LENGTH": 50,
            "use_gpu": False,
            "state": "ERROR",
        }
        sys.argv = sys.argv[:1]  # RecBole reads the command line
        config = Config(model="SASRec", dataset=NAME, config_dict=settings)
        dataset = create_dataset(config)
        training = dataset.build()[0]
    loader = TrainDataLoader(config, training, None, shuffle=True)
    model = SASRec(config, training)
    optimiser = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
    print(
        measure(model, optimiser, loader, float(seconds)).report(recbole=recbole.__version__, torch=torch.__version__)
    )


def measure(model, optimiser, loader, seconds: float) -> Stopwatch:
    """The steps of RecBole's Trainer without its bookkeeping."""
    watch = Stopwatch(seconds)
    model.train()
    while True:
        watch.start()
        for batch in loader:
            optimiser.zero_grad()
            model.calculate_loss(batch).backward()
            optimiser.step()
            if watch.step(len(batch)):
                return watch


if __name__ == "__main__":
    main(*sys.argv[1:])
