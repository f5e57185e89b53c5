"""The two halves of neural matrix factorisation: what is trained is what is scored, and it finds who likes what."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.extras import neural_mf
from llmrec_cli.extras.neural_mf import NeuralMF, NeuralMFConfig, _means
from llmrec_cli.ranking.retrievers import Histories

ITEMS, USERS, EVENTS = 30, 90, 6
IDS = [f"i{code}" for code in range(ITEMS)]
NOTHING = np.zeros((ITEMS, 0), dtype=np.float32)
CATALOGUE = Catalogue(IDS, IDS, [""] * ITEMS, [""] * ITEMS, [[] for _ in IDS], NOTHING, NOTHING)


def behaviour() -> Sequences:
    """Three groups of users, each with ten items of its own."""
    rng = np.random.default_rng(5)
    codes = np.concatenate([10 * (user % 3) + rng.permutation(10)[:EVENTS] for user in range(USERS)])
    return Sequences(codes.astype(np.int32), np.arange(USERS + 1) * EVENTS, ITEMS)


@pytest.fixture(scope="module")
def fitted() -> NeuralMF:
    config = NeuralMFConfig(factors=16, hidden=8, newest=4, epochs=20, batch=32, weight_decay=0.01)
    return NeuralMF.fit(config, behaviour(), CATALOGUE, 42)


def scores(model: NeuralMF, sequences: Sequences) -> np.ndarray:
    return model.score(Histories(sequences, np.zeros((len(sequences), 0), dtype=np.float32)))


def test_a_new_history_finds_the_items_of_its_group(fitted: NeuralMF) -> None:
    history = Sequences(np.array([11, 14, 22], dtype=np.int32), np.array([0, 2, 3, 3]), ITEMS)
    found = scores(fitted, history)
    means = found.reshape(3, 3, 10).mean(axis=2)
    assert means[0].argmax() == 1 and means[1].argmax() == 2
    assert np.isfinite(found[2]).all()  # nobody has chosen anything there


def test_blocks_score_as_the_network_does(fitted: NeuralMF, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = behaviour().select(np.arange(7))
    monkeypatch.setattr(neural_mf, "BLOCK", 2 * ITEMS * fitted.config.hidden)
    items = torch.arange(ITEMS).expand(7, ITEMS)
    with torch.inference_mode():
        expected = fitted.network(_means(sequences, fitted.config.decay), items).numpy()
    assert np.allclose(scores(fitted, sequences), expected, atol=1e-4)


def test_both_halves_count(fitted: NeuralMF) -> None:
    sequences, whole = behaviour().select([0]), scores(fitted, behaviour().select([0]))
    for part in ("weight", "rest.3.weight"):
        tensors = {name: value.clone() for name, value in fitted.tensors().items()}
        tensors[part].zero_()
        assert np.abs(scores(NeuralMF.restore(fitted.config, tensors), sequences) - whole).max() > 0.1
    assert np.array_equal(scores(NeuralMF.restore(fitted.config, fitted.tensors()), sequences), whole)


def test_histories_of_one_event_teach_nothing() -> None:
    single = Sequences(np.array([1, 2], dtype=np.int32), np.array([0, 1, 2]), ITEMS)
    model = NeuralMF.fit(NeuralMFConfig(factors=4, hidden=4), single, CATALOGUE, 42)
    assert np.isfinite(scores(model, single)).all()
