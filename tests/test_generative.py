"""The generative retriever: beams spell existing ids only, and agree with spelling out every item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.extras.generative import Generative, GenerativeConfig
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.ranking.topk import topk

ITEMS, USERS, LENGTH = 24, 96, 6
SMALL = GenerativeConfig(levels=2, codes=4, dim=16, layers=1, heads=2, dropout=0.0, epochs=2)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads only get in each other's way where matrices are this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def walks() -> Sequences:
    """Every user walks around the ring of all items from a place of their own."""
    codes = (np.arange(USERS)[:, None] + np.arange(LENGTH)) % ITEMS
    return Sequences(codes.astype(np.int32).ravel(), np.arange(USERS + 1) * LENGTH, ITEMS)


def uneven() -> Sequences:
    """Histories of 0 to 5 events."""
    rng = np.random.default_rng(4)
    lengths = np.arange(12) % 6
    codes = rng.integers(0, ITEMS, lengths.sum()).astype(np.int32)
    return Sequences(codes, np.concatenate([[0], np.cumsum(lengths)]), ITEMS)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    """Items in six groups of like text, one of them without any."""
    rng = np.random.default_rng(0)
    texts = (rng.normal(size=(6, 8))[np.arange(ITEMS) % 6] + 0.1 * rng.normal(size=(ITEMS, 8))).astype(np.float32)
    texts[5] = 0
    names = [f"{i:02d}" for i in range(ITEMS)]
    empty = np.zeros((ITEMS, 0), dtype=np.float32)
    return Catalogue(names, names, [""] * ITEMS, [""] * ITEMS, [[]] * ITEMS, texts, empty)


@pytest.fixture(scope="module")
def model(catalogue: Catalogue) -> Generative:
    return Generative.fit(SMALL, walks(), catalogue, 1)


def asked(sequences: Sequences) -> Histories:
    return Histories(sequences, np.zeros((len(sequences), 1), dtype=np.float32))


def with_beams(model: Generative, beams: int) -> Generative:
    return Generative(model.config.model_copy(update={"beams": beams}), model.ids, model.counts, model.speller)


@torch.no_grad()
def spelled_out(model: Generative, history: np.ndarray) -> np.ndarray:
    """(items,) log-probability of each item's id after the history, every id read whole and without a cache."""
    follow_ups = np.column_stack([np.tile(history, (ITEMS, 1)), np.arange(ITEMS)]).astype(np.int64)
    ids = torch.from_numpy(model.ids[follow_ups].astype(np.int64))
    digits = ids.shape[2]
    states = model.speller._states(model.speller._tokens(ids))[:, -digits - 1 : -1]
    steps = [
        model.speller.logits(states[:, d], d).log_softmax(-1).gather(1, ids[:, -1, d, None]) for d in range(digits)
    ]
    return torch.cat(steps, 1).sum(1).numpy()


def test_beams_as_wide_as_the_catalogue_are_exact(model: Generative) -> None:
    histories = uneven()
    scores = with_beams(model, ITEMS).score(asked(histories))
    exact = np.stack([spelled_out(model, histories[user]) for user in range(len(histories))])
    assert exact.std(axis=1).min() > 0.01
    np.testing.assert_allclose(scores, exact, atol=2e-4)
    ranked = np.take_along_axis(exact, (-scores).argsort(1), axis=1)
    assert (np.diff(ranked) < 4e-4).all()  # the same order, up to rounding


@pytest.mark.parametrize("beams", [1, 3, 7])
def test_narrow_beams_spell_existing_items_and_what_they_say_is_true(model: Generative, beams: int) -> None:
    histories = uneven()
    for user in range(len(histories)):
        items, found = with_beams(model, beams).spell(histories.select([user]))
        assert items.shape == (1, beams) and len(set(items[0])) == beams
        assert (np.diff(found[0]) <= 0).all()
        np.testing.assert_allclose(found[0], spelled_out(model, histories[user])[items[0]], atol=2e-4)


def test_what_no_beam_reaches_follows_in_the_order_of_popularity(catalogue: Catalogue) -> None:
    counts = np.arange(ITEMS) + 1
    popular = Sequences(np.repeat(np.arange(ITEMS, dtype=np.int32), counts), np.array([0, counts.sum()]), ITEMS)
    model = Generative.fit(SMALL.model_copy(update={"beams": 4}), popular, catalogue, 1)
    histories = uneven()
    scores = model.score(asked(histories))
    order, _ = topk(scores, ITEMS)
    assert np.isfinite(scores).all()
    for user in range(len(histories)):
        items, found = model.spell(histories.select([user]))
        assert order[user, :4].tolist() == items[0].tolist()
        assert (np.diff(order[user, 4:]) < 0).all()  # the last items are the most frequent ones
        assert scores[user, order[user, 4]] < found.min()


def test_a_block_of_users_says_what_each_says_alone(model: Generative) -> None:
    histories = uneven()
    together = model.score(asked(histories))
    alone = np.concatenate([model.score(asked(histories.select([user]))) for user in range(len(histories))])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_next_step_of_a_walk_is_learned(catalogue: Catalogue) -> None:
    config = SMALL.model_copy(update={"dim": 32, "epochs": 30, "learning_rate": 5e-3, "beams": 5, "history": 4})
    walked = walks()
    model = Generative.fit(config, walked.without_last(), catalogue, 1)
    best = model.score(asked(walked.without_last())).argmax(1)
    assert (best == walked.last()).mean() > 0.9


def test_the_same_seed_gives_the_same_bytes(catalogue: Catalogue, model: Generative) -> None:
    again, other = (Generative.fit(SMALL, walks(), catalogue, seed) for seed in (1, 2))
    assert all(torch.equal(value, again.tensors()[name]) for name, value in model.tensors().items())
    assert not np.array_equal(model.score(asked(uneven())), other.score(asked(uneven())))


def test_without_texts_the_sequence_model_gives_the_content(catalogue: Catalogue) -> None:
    texts, none = catalogue.text_vectors, np.zeros((ITEMS, 0), dtype=np.float32)
    swapped = Generative.fit(SMALL, walks(), replace(catalogue, text_vectors=none, vectors=texts), 1)
    assert np.array_equal(swapped.ids, Generative.fit(SMALL, walks(), catalogue, 1).ids)
    bare = Generative.fit(SMALL, walks(), replace(catalogue, text_vectors=none), 1)
    assert np.isfinite(bare.score(asked(uneven()))).all()


def test_nothing_to_learn_from_is_no_fault(catalogue: Catalogue) -> None:
    empty = Sequences(np.zeros(0, dtype=np.int32), np.zeros(4, dtype=np.int64), ITEMS)
    assert np.isfinite(Generative.fit(SMALL, empty, catalogue, 1).score(asked(empty))).all()


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="heads = 3"):
        GenerativeConfig(dim=32, heads=3)
