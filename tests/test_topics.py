from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from llmrec_cli.core.registry import load_variant
from llmrec_cli.profiles.topics import TOPIC_MODELS, TopicModel, Topics
from llmrec_cli.profiles.topics.coherence import coherent, npmi, shuffled
from llmrec_cli.profiles.topics.naming import leading_words

WORDS = ["cake", "cup", "mug", "nail", "saw", "wrench"]


def two_camps() -> sp.csr_matrix:
    """60 users of kitchen words, 60 of workshop words, one who has none."""
    rng = np.random.default_rng(0)
    kitchen = np.hstack([rng.poisson(5, (60, 3)), np.zeros((60, 3))])
    workshop = np.hstack([np.zeros((60, 3)), rng.poisson(5, (60, 3))])
    return sp.csr_matrix(np.vstack([kitchen, workshop, np.zeros((1, 6))]).astype(np.float32))


@pytest.fixture(params=sorted(TOPIC_MODELS))
def topics(request: pytest.FixtureRequest) -> Topics:
    kind = load_variant("topic model", TOPIC_MODELS, request.param, TopicModel)
    model = kind(kind.Config(n_topics=2, n_words=3))
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


@pytest.mark.parametrize("name", sorted(TOPIC_MODELS))
def test_topics_have_distinct_labels(name: str) -> None:
    kind = load_variant("topic model", TOPIC_MODELS, name, TopicModel)
    labels = kind(kind.Config(n_topics=5)).find(two_camps()[:, :2].tocsr(), WORDS[:2], seed=1).labels
    assert len(set(labels)) == 5


@pytest.mark.parametrize("name", sorted(TOPIC_MODELS))
def test_no_words_no_topics(name: str) -> None:
    kind = load_variant("topic model", TOPIC_MODELS, name, TopicModel)
    found = kind(kind.Config()).find(sp.csr_matrix((3, 0), dtype=np.float32), [], seed=1)
    assert (found.labels, found.of_users.shape, found.shares.shape) == ([], (3, 0), (0,))


def test_nmf_gives_equal_shares_to_a_user_that_no_topic_explains() -> None:
    from llmrec_cli.profiles.topics.nmf import Nmf, NmfConfig

    counts = sp.block_diag([two_camps()[:120], np.ones((3, 1))]).tocsr()  # three who know one word that no other knows
    seeds = (s for s in range(99) if (np.random.default_rng([s, 1]).permutation(123)[:40] < 120).all())
    found = Nmf(NmfConfig(n_topics=2, fit_users=40)).find(counts, [*WORDS, "yacht"], seed=next(seeds))
    assert found.of_users[120:].tolist() == [[0.5, 0.5]] * 3 and found.of_users[:120].max(axis=1).min() > 0.9


def test_words_are_ordered_by_relevance() -> None:
    """Of the first topic "common" has 0.6 ln 0.6 + 0.4 ln(0.6 / 0.8) = -0.42, "rare" 0.6 ln 0.4 + 0.4 ln 2 = -0.27."""
    ordered = leading_words(np.array([[6.0, 4.0], [9.0, 1.0]]), np.array([80.0, 20.0]), ["common", "rare"])
    assert ordered == [["rare", "common"], ["common", "rare"]]


def test_npmi_of_pairs_by_hand() -> None:
    """Four rows with words: a and b in 2 of 4 each, together in 1; c with a in both of its rows; d never with a."""
    rows = [[1, 2, 5, 0], [9, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    found = npmi(
        sp.csr_matrix(np.array(rows, dtype=np.float32)), list("abcd"), [["a", "b"], ["a", "c"], ["a", "d"], ["a"], []]
    )
    # p(a,b) = 1/4 = p(a) p(b): as by chance; p(a,c) = 1/2 = p(a) = p(c): always together
    assert found[:3] == pytest.approx([0.0, 1.0, -1.0])
    assert np.isnan(found[3:]).all()


def test_npmi_is_the_mean_over_pairs_and_takes_words_of_every_row() -> None:
    rows = sp.csr_matrix(np.array([[1, 1, 1], [1, 1, 0], [1, 0, 1], [1, 0, 0]], dtype=np.float32))
    # a is everywhere: log(p(b) / p(b)) = 0 with both others; b and c: p = 1/4 = 1/2 * 1/2
    assert npmi(rows, list("abc"), [["a", "b", "c"]]) == pytest.approx([0.0])
    assert npmi(rows[:, [0, 0]].tocsr(), ["a", "x"], [["a", "x"]]) == pytest.approx([1.0])


def camps(n: int, seed: int = 0, *, noise: bool = False) -> tuple[sp.csr_matrix, list[str]]:
    """200 users of `n` camps with 8 words each, or the same with words that are chance."""
    rng = np.random.default_rng(seed)
    own = np.repeat(np.eye(n), 8, axis=1)[np.arange(200) % n]
    counts = sp.csr_matrix(rng.poisson(0.15 + 0.85 * own).astype(np.float32))
    return shuffled(counts, 1) if noise else counts, [f"w{n:02d}" for n in range(8 * n)]


@pytest.mark.parametrize("name", sorted(TOPIC_MODELS))
def test_topics_at_chance_are_not_shown(name: str) -> None:
    kind = load_variant("topic model", TOPIC_MODELS, name, TopicModel)
    real, none = (coherent(kind, 4, *camps(4, noise=noise), seed=1) for noise in (False, True))
    assert len(real.topics.labels) == 4 and (real.coherence > 0.1).all() and "4 of 4 topics" in real.line
    assert none.topics.labels == [] and none.topics.of_users.shape == (200, 0) and "no more than chance" in none.line
    few = coherent(kind, 0, *(each[:, :2] if sp.issparse(each) else each[:2] for each in camps(4)), seed=1)
    assert few.topics.labels == [] and "too few" in few.line


def test_as_many_topics_as_cohere_best_on_other_users() -> None:
    from llmrec_cli.profiles.topics.nmf import Nmf

    chosen = [coherent(Nmf, 0, *camps(n), seed=1) for n in (4, 8)]
    assert [len(each.topics.labels) for each in chosen] == [4, 8]
    again = coherent(Nmf, 0, *camps(8), seed=1)
    assert again.line == chosen[1].line and (again.topics.of_users == chosen[1].topics.of_users).all()


def test_a_log_by_chance_has_the_same_users_and_words() -> None:
    counts, _ = camps(4)
    other = shuffled(counts, 1)
    assert (other.sum(axis=0) == counts.sum(axis=0)).all() and (other.sum(axis=1) == counts.sum(axis=1)).all()
    assert (other != counts).nnz > 100
