"""Items hidden while rankers learn: which, from whom, and what the sequence model then knows of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from llmrec_cli.core.columns import INTERESTS
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.lists.explanations import Explainer, Rows
from llmrec_cli.ranking import hidden_items
from llmrec_cli.ranking.candidate_config import CandidateConfig
from llmrec_cli.ranking.hidden_items import Learning
from llmrec_cli.ranking.retrieval import Retrieval
from llmrec_cli.ranking.retrievers import load_class
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.sequence.model_config import ModelConfig
from llmrec_cli.sequence.network import Transformer

N, DIM = 60, 8
CHOSEN = 50
"""Items with events; the others are cold."""


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden_items, "LEAST_USERS", 100)


@pytest.fixture
def log() -> Sequences:
    codes = (np.arange(100)[:, None] * 3 + np.arange(5)) % CHOSEN
    return Sequences(codes.astype(np.int32).reshape(-1), np.arange(101) * 5, N)


@pytest.fixture
def catalogue() -> Catalogue:
    names = [f"item{n}" for n in range(N)]
    angle = 2 * np.pi * np.arange(N) / CHOSEN
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    return Catalogue(names, names, [""] * N, [""] * N, [[] for _ in names], vectors, vectors[:, :0])


@pytest.fixture
def encoder() -> SequenceEncoder:
    torch.manual_seed(0)
    shape = ModelConfig(dim=DIM, layers=1, heads=1, max_length=8)
    return SequenceEncoder(shape, Transformer(shape), torch.randn(N + 1, DIM))


def test_no_more_are_hidden_than_are_cold(log: Sequences, catalogue: Catalogue, encoder: SequenceEncoder) -> None:
    found = Learning.of(log, catalogue, encoder, 0.5)
    hidden = found.cold[:CHOSEN]
    assert found.cold[CHOSEN:].all() and 0 < hidden.sum() < 20  # about a sixth of 50
    assert not np.isin(found.past.codes, np.flatnonzero(found.cold)).any()
    assert len(found.past.codes) == (~found.cold[log.without_last().codes]).sum()
    few = Learning.of(log, catalogue, encoder, 0.05)
    assert (few.cold <= found.cold).all() and few.cold.sum() < found.cold.sum()
    none = Learning.of(log, catalogue, encoder, 0)
    assert none.encoder is encoder and (none.past.codes == log.without_last().codes).all()


def test_nothing_is_hidden_without_cold_items_or_content_or_with_few_users(
    log: Sequences, catalogue: Catalogue, encoder: SequenceEncoder
) -> None:
    whole = replace(log, codes=np.arange(500, dtype=np.int32) % N)
    assert Learning.of(whole, catalogue, encoder, 0.5).encoder is encoder
    empty = replace(catalogue, text_vectors=np.zeros_like(catalogue.text_vectors))
    assert Learning.of(log, empty, encoder, 0.5).encoder is encoder
    assert Learning.of(log.select(np.arange(99)), catalogue, encoder, 0.5).encoder is encoder


def test_the_sequence_model_knows_hidden_items_by_their_content_alone(
    log: Sequences, catalogue: Catalogue, encoder: SequenceEncoder
) -> None:
    found = Learning.of(log, catalogue, encoder, 0.5)
    other = encoder.table.clone()
    other[:-1][torch.from_numpy(found.cold)] = 99.0
    blind = Learning.of(
        log, catalogue, SequenceEncoder(encoder.shape, encoder.network, other), 0.5
    )  # whatever stood there before
    assert torch.allclose(found.encoder.table, blind.encoder.table, atol=1e-5)
    trained = ~found.cold
    assert (found.encoder.table[:-1][trained] == encoder.table[:-1][trained]).all()
    assert (found.catalogue.vectors == found.encoder.item_vectors).all()
    assert (encoder.table == other).all(dim=1)[:-1][torch.from_numpy(trained)].all()  # the given one is as it was


def test_rankers_see_cold_targets_that_content_brings(
    log: Sequences, catalogue: Catalogue, encoder: SequenceEncoder
) -> None:
    found = Learning.of(log, catalogue, encoder, 0.5)
    fitted = {}
    for name in ("content", "itemknn", "popularity"):
        kind = load_class(name)
        fitted[name] = kind.fit(kind.Config(), found.past, found.catalogue, 1)
    limits = CandidateConfig(depth=3, depths={}, cold=4)
    progress = PlainProgress(quiet=True)
    seen = found.candidates(Retrieval(fitted, found.catalogue, limits, cold=found.cold), 100, 1, progress)
    assert seen.label is not None and found.cold[seen.items[seen.label]].any() and not found.cold[seen.items].all()
    brought = np.bincount(seen.users[found.cold[seen.items]], minlength=seen.n_users)[np.diff(seen.offsets) > 0]
    assert (brought >= 3).all() and brought.max() == 4  # a user may have had some
    without = found.candidates(Retrieval(fitted, found.catalogue, limits), 100, 1, progress)
    assert found.cold[without.items].sum() < found.cold[seen.items].sum()
    assert not found.cold[without.items[without.label]].all()


def test_a_new_item_is_like_the_nearest_by_content_whatever_carries_the_row(
    log: Sequences, catalogue: Catalogue
) -> None:
    interests = pa.chunked_array([pa.array([[]] * len(log), INTERESTS)])
    explainer = Explainer.of({}, catalogue, log, interests=interests, segments=["all"])
    none = np.zeros(1, dtype=np.int64)
    rows = Rows(none, np.array([51]), none, ["sequence"], none, np.ones(1, np.float32), np.zeros((1, 0), np.float32))
    sentences, evidence = explainer.explain(rows, log.select([0]), 0)
    nearest = log[0][np.argmax(catalogue.text_vectors[log[0]] @ catalogue.text_vectors[51])]
    assert sentences == [f"New, like “item{nearest}”, which you chose."]
    assert evidence[0][0]["item_id"].as_py() == f"item{nearest}"
