"""What RecTools' SASRec recommends: python -m benchmarks.peer.rectools_lists SEQUENCES LISTS SEED LENGTH

The newest event of each history is what early stopping looks at; the lists continue the whole history.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
import warnings

import numpy as np
import pandas as pd
import rectools
import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from rectools import Columns
from rectools.models import SASRecModel

from benchmarks.peer.rectools_sasrec import dataset, quiet_trainer

K = 10
SETTINGS = {"n_blocks": 2, "n_heads": 2, "n_factors": 64, "dropout_rate": 0.2, "lr": 1e-3, "batch_size": 128}
FEW = 4_000
"""Items up to which the softmax goes over all of them: the better loss, too slow on larger catalogues."""
EPOCHS, PATIENCE = 100, 5


def loss(items: int) -> dict[str, str | int]:
    return {"loss": "softmax"} if items <= FEW else {"loss": "sampled_softmax", "n_negatives": 256}


def newest(interactions: pd.DataFrame) -> np.ndarray:
    """Whether a row is its user's last."""
    times = interactions.groupby(Columns.User)[Columns.Datetime]
    return (times.rank(method="first", ascending=False) <= 1).to_numpy()


def main(path: str, out: str, seed: str, length: str) -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    seed_everything(int(seed), verbose=False)
    started = time.monotonic()
    log = dataset(path)
    settings = {**SETTINGS, **loss(log.item_id_map.size), "session_max_len": int(length)}
    with tempfile.TemporaryDirectory() as folder:

        def trainer() -> Trainer:
            watched = SASRecModel.val_loss_name
            stop = EarlyStopping(monitor=watched, patience=PATIENCE)
            best = ModelCheckpoint(dirpath=folder, monitor=watched, save_weights_only=True)
            return quiet_trainer(EPOCHS, [stop, best], checkpoints=True)

        model = SASRecModel(**settings, get_val_mask_func=newest, get_trainer_func=trainer)
        model.fit(log)
        epochs = model.fit_trainer.current_epoch
        model.load_weights_from_checkpoint(model.fit_trainer.checkpoint_callback.best_model_path)
    users = log.user_id_map.external_ids
    found = model.recommend(users=users, dataset=log, k=K, filter_viewed=True)
    lists = np.full((int(users.max()) + 1, K), -1, dtype=np.int64)
    lists[found[Columns.User], found[Columns.Rank] - 1] = found[Columns.Item]
    np.save(out, lists)
    told = {"epochs": epochs, "seconds": round(time.monotonic() - started, 1), "rectools": rectools.__version__}
    print(json.dumps({**told, "settings": settings}))


if __name__ == "__main__":
    main(*sys.argv[1:])
