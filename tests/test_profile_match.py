"""A profile finds items by what both are: by demographics without a history, by the price of the items with one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from llmrec_cli.core.columns import ATTRIBUTES
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.demographics import one_hot
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.extras.profile_match import BANDS, ProfileMatch, ProfileMatchConfig, item_features
from llmrec_cli.ranking.retrievers import Histories

ITEMS, USERS, EVENTS = 120, 200, 8
PRICE = np.arange(ITEMS) / 2 + 1


def catalogue() -> Catalogue:
    """Even items are of one brand, odd ones of another; the price rises with the number."""
    ids = [f"i{code}" for code in range(ITEMS)]
    given = [
        [{"name": "brand", "value": "even" if code % 2 == 0 else "odd"}, {"name": "price", "value": f"${PRICE[code]}"}]
        for code in range(ITEMS)
    ]
    nothing = np.zeros((ITEMS, 0), dtype=np.float32)
    column = pa.chunked_array([pa.array(given, type=ATTRIBUTES)])
    return Catalogue(ids, ids, [""] * ITEMS, [""] * ITEMS, [[] for _ in ids], nothing, nothing, column)


def behaviour(rng: np.random.Generator) -> Sequences:
    """The first half of the users (trait 0) chooses even items, the others odd ones; each keeps to a price."""
    codes = []
    for user in range(USERS):
        middle = rng.integers(10, ITEMS - 10)
        near = (middle + rng.integers(-8, 9, size=EVENTS)) // 2 * 2 + (user >= USERS // 2)
        codes.append(np.clip(near, 0, ITEMS - 1))
    half = (np.arange(USERS) >= USERS // 2).astype(int)
    traits = sp.csr_matrix((np.ones(USERS, dtype=np.float32), (np.arange(USERS), half)), shape=(USERS, 2))
    offsets = np.arange(USERS + 1) * EVENTS
    return Sequences(np.concatenate(codes).astype(np.int32), offsets, ITEMS, traits=traits)


@pytest.fixture(scope="module")
def fitted() -> tuple[ProfileMatch, Sequences]:
    sequences = behaviour(np.random.default_rng(3))
    return ProfileMatch.fit(ProfileMatchConfig(epochs=10), sequences, catalogue(), 42), sequences


def scores(model: ProfileMatch, sequences: Sequences) -> np.ndarray:
    return model.score(Histories(sequences, np.zeros((len(sequences), 0), dtype=np.float32)))


def test_demographics_alone_tell_the_brand(fitted: tuple[ProfileMatch, Sequences]) -> None:
    model, sequences = fitted
    found = scores(model, sequences.head(0))
    even, odd = found[:, ::2].mean(1), found[:, 1::2].mean(1)
    half = USERS // 2
    assert (even[:half] > odd[:half]).all() and (even[half:] < odd[half:]).all()
    nobody = scores(model, replace(sequences.head(0), traits=None))
    assert np.allclose(nobody, nobody[:1])


def test_the_history_tells_the_price(fitted: tuple[ProfileMatch, Sequences]) -> None:
    model, _ = fitted
    cheap, dear = (
        Sequences(np.array(codes, dtype=np.int32), np.array([0, 3]), ITEMS) for codes in ([0, 2, 4], [118, 114, 116])
    )
    few, many = np.arange(0, 20, 2), np.arange(100, 120, 2)
    assert scores(model, cheap)[0, few].mean() > scores(model, cheap)[0, many].mean()
    assert scores(model, dear)[0, few].mean() < scores(model, dear)[0, many].mean()


def test_numbers_become_levels_and_what_is_rare_is_no_feature() -> None:
    features = item_features(catalogue(), 1000, 3)
    assert features.shape == (ITEMS, 2 + BANDS)
    assert item_features(catalogue(), 2, 3).shape[1] == 2
    assert item_features(catalogue(), 1000, ITEMS).shape[1] == 0
    assert np.allclose(np.asarray(features.multiply(features).sum(axis=1)), 1, atol=1e-5)


def test_demographics_are_coded_alike_whoever_is_asked() -> None:
    profiles = pa.table({"user_id": ["a", "b", "c"], "gender": ["f", None, "m"], "region": ["X", "Y", None]})
    everyone = one_hot(profiles.column("user_id"), profiles)
    assert everyone is not None and everyone.toarray().tolist() == [[1, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0]]
    one = one_hot(pa.chunked_array([["c"]]), profiles)
    assert one is not None and one.toarray().tolist() == [[0, 1, 0, 0]]
    unknown = pa.table({"user_id": ["a"], "gender": pa.nulls(1, pa.string())})
    assert one_hot(unknown.column("user_id"), unknown) is None
