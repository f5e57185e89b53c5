from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from llmrec_cli.core.variants import load_variant
from llmrec_cli.models.topics import TOPIC_MODELS, Topics
from llmrec_cli.models.topics.lda import LdaConfig

WORDS = ["cake", "cup", "mug", "nail", "saw", "wrench"]


def two_camps() -> sp.csr_matrix:
    """60 users of kitchen words, 60 of workshop words, one who has none."""
    rng = np.random.default_rng(0)
    kitchen = np.hstack([rng.poisson(5, (60, 3)), np.zeros((60, 3))])
    workshop = np.hstack([np.zeros((60, 3)), rng.poisson(5, (60, 3))])
    return sp.csr_matrix(np.vstack([kitchen, workshop, np.zeros((1, 6))]).astype(np.float32))


@pytest.fixture(params=sorted(TOPIC_MODELS))
def topics(request: pytest.FixtureRequest) -> Topics:
    model = load_variant("topic model", TOPIC_MODELS, request.param)(LdaConfig(n_topics=2, n_words=3))
    found = model.find(two_camps(), WORDS, seed=1)
    again = model.find(two_camps(), WORDS, seed=1)
    assert (found.of_users == again.of_users).all() and found.labels == again.labels
    return found


def test_topics_separate_two_camps(topics: Topics) -> None:
    assert sorted(sorted(words) for words in topics.words) == [["cake", "cup", "mug"], ["nail", "saw", "wrench"]]
    first, second = topics.of_users[:60].argmax(axis=1), topics.of_users[60:120].argmax(axis=1)
    assert set(first) != set(second) and len(set(first)) == len(set(second)) == 1


def test_topics_shares_sum_to_one_and_a_user_without_words_has_none(topics: Topics) -> None:
    assert topics.of_users[:120].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert topics.of_users[120].sum() == 0
    assert topics.shares.sum() == pytest.approx(1, abs=1e-5)


def test_topics_have_distinct_labels() -> None:
    model = load_variant("topic model", TOPIC_MODELS, "lda")(LdaConfig(n_topics=5))
    labels = model.find(two_camps()[:, :2].tocsr(), WORDS[:2], seed=1).labels
    assert len(set(labels)) == 5


def test_no_words_no_topics() -> None:
    model = load_variant("topic model", TOPIC_MODELS, "lda")(LdaConfig())
    found = model.find(sp.csr_matrix((3, 0), dtype=np.float32), [], seed=1)
    assert (found.labels, found.of_users.shape, found.shares.shape) == ([], (3, 0), (0,))
