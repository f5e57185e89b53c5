"""One set of laws, run over every retriever and every ranker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking import rankers, retrievers
from llmrec_cli.ranking.candidate_config import CandidateConfig
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.retrieval import Retrieval
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.tensors import checkpoints
from tests.tiny import all_scores

USERS, ITEMS = 60, 20


def ring(users: int = USERS) -> Sequences:
    """Even users walk around the even items, odd users around the odd ones; the next item is known."""
    starts = np.arange(users)
    codes = (starts[:, None] + 2 * np.arange(5)) % ITEMS
    return Sequences(codes.astype(np.int32).ravel(), np.arange(users + 1) * 5, ITEMS)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    rng = np.random.default_rng(0)
    sides = np.zeros((ITEMS, 4), dtype=np.float32)
    sides[np.arange(ITEMS), np.arange(ITEMS) % 2] = 1
    titles = [f"{'even red square' if i % 2 == 0 else 'odd blue circle'} number{i}" for i in range(ITEMS)]
    kinds = [titles[i].split()[0] for i in range(ITEMS)]
    vectors = rng.normal(size=(ITEMS, 8)).astype(np.float32)
    ids = [f"{i:02d}" for i in range(ITEMS)]
    return Catalogue(ids, titles, [""] * ITEMS, kinds, [[kind] for kind in kinds], sides, vectors)


@pytest.fixture(scope="module")
def histories() -> Histories:
    """The last user has no events."""
    whole = ring()
    offsets = np.append(whole.offsets, whole.offsets[-1])
    vectors = np.random.default_rng(1).normal(size=(USERS + 1, 8)).astype(np.float32)
    return Histories(Sequences(whole.codes, offsets, ITEMS), vectors)


@pytest.fixture(scope="module")
def candidates(catalogue: Catalogue) -> Candidates:
    past, targets = ring().without_last(), ring().last()
    vectors = np.random.default_rng(1).normal(size=(USERS, 8)).astype(np.float32)
    names = ("popularity", "itemknn", "als", "transitions", "content", "lda")
    fitted = {}
    for name in names:
        cls = retrievers.load_class(name)
        fitted[name] = cls.fit(cls.Config(), past, catalogue, 0)
    return Retrieval(fitted, catalogue, CandidateConfig()).candidates(Histories(past, vectors), targets)


@pytest.mark.parametrize("name", retrievers.RETRIEVERS)
def test_a_retriever_keeps_the_laws(name: str, catalogue: Catalogue, histories: Histories, tmp_path: Path) -> None:
    cls = retrievers.load_class(name)
    fitted = cls.fit(cls.Config(), ring(), catalogue, 3)
    scores = all_scores(fitted, histories)
    assert scores.shape == (USERS + 1, ITEMS) and np.isfinite(scores).all()
    assert np.array_equal(scores, all_scores(cls.fit(cls.Config(), ring(), catalogue, 3), histories))
    retrievers.save_retrievers(tmp_path, {name: fitted})
    back = retrievers.load_retrievers(tmp_path)[name]
    assert back.config == fitted.config
    assert np.array_equal(all_scores(back, histories), scores)
    if isinstance(fitted, retrievers.GivesEvidence):
        support = fitted.support(np.array([0, 0], dtype=np.int32), np.array([2, 3], dtype=np.int32))
        assert (support >= 0).all() and (support <= 1 + 1e-6).all() and support[0] > support[1]


@pytest.mark.parametrize("name", retrievers.RETRIEVERS)
def test_the_best_the_pairs_and_the_statistics_of_a_retriever_fit_together(
    name: str, catalogue: Catalogue, histories: Histories
) -> None:
    cls = retrievers.load_class(name)
    fitted = cls.fit(cls.Config(), ring(), catalogue, 3)
    users, items = (each.ravel() for each in np.divmod(np.arange((USERS + 1) * ITEMS), ITEMS))
    whole = fitted.pairs(histories, users, items.astype(np.int32)).reshape(USERS + 1, ITEMS)
    found = fitted.statistics(histories)
    np.testing.assert_allclose(found.mean, whole.mean(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.std, whole.std(1), rtol=1e-3, atol=1e-4)
    if not fitted.signed:
        np.testing.assert_allclose(found.top, np.maximum(whole.max(1), 1e-6), rtol=1e-6)
    past = histories.sequences
    excluded = retrievers.Excluded.of(past.excluded(seen=True), np.arange(ITEMS) != 7, np.arange(ITEMS)[::-1].copy())
    codes, scores = fitted.top(histories, ITEMS, excluded)
    for user, row in enumerate(whole):
        gone = {7, *past.codes[past.offsets[user] : past.offsets[user + 1]].tolist()}
        order = [i for i in np.lexsort((-np.arange(ITEMS), -row)).tolist() if i not in gone]
        assert codes[user].tolist() == order + [-1] * len(gone)
        np.testing.assert_array_equal(scores[user, : len(order)], row[order])
        assert np.isneginf(scores[user, len(order) :]).all()
    few, _ = fitted.top(histories, 3, excluded)
    np.testing.assert_array_equal(few, codes[:, :3])
    mask = excluded.mask((USERS + 1, ITEMS))
    np.testing.assert_array_equal(excluded.holds(users, items, ITEMS).reshape(mask.shape), mask)


@pytest.mark.parametrize("name", ["itemknn", "userknn", "als", "ease", "bpr", "lda", "content", "tfidf"])
def test_the_side_of_a_user_is_found(name: str, catalogue: Catalogue, histories: Histories) -> None:
    cls = retrievers.load_class(name)
    scores = all_scores(cls.fit(cls.Config(), ring(), catalogue, 3), histories)[:USERS]
    same = (np.arange(USERS)[:, None] % 2) == (np.arange(ITEMS)[None] % 2)
    assert (np.where(same, scores, np.nan) >= -1e9).any()
    assert (np.nanmean(np.where(same, scores, np.nan), 1) > np.nanmean(np.where(same, np.nan, scores), 1)).all()


@pytest.mark.parametrize("name", ["tfidf", "content-transitions"])
def test_what_nobody_has_chosen_costs_no_neighbours_and_can_still_be_found(name: str, catalogue: Catalogue) -> None:
    """Twenty times the catalogue: as many rows of similarity are worked out as there are items with events."""
    times = 20
    long = Catalogue(
        [f"{n:04d}" for n in range(times * ITEMS)],
        [f"{title} copy{n % 7}" for n, title in enumerate(catalogue.titles * times)],
        catalogue.texts * times,
        catalogue.categories * times,
        catalogue.tags * times,
        np.tile(catalogue.text_vectors, (times, 1)),
        np.tile(catalogue.vectors, (times, 1)),
    )
    past = replace(ring(), n_items=len(long))
    cls = retrievers.load_class(name)
    fitted: Any = cls.fit(cls.Config(neighbours=40), past, long, 0)
    similarity = fitted.similarity if name == "tfidf" else fitted.alike
    assert (np.diff(similarity.indptr) > 0).sum() == ITEMS and not np.ptp(similarity.indptr[ITEMS:])
    if name == "tfidf":  # the successors of what nobody has chosen are not known
        scores = all_scores(fitted, Histories(past, np.zeros((USERS, 8), dtype=np.float32)))
        assert (scores[:, ITEMS:] > 0).any(axis=1).all()


@pytest.mark.parametrize("name", rankers.RANKERS)
def test_a_ranker_keeps_the_laws(name: str, candidates: Candidates, tmp_path: Path) -> None:
    cls = rankers.load_class(name)
    fitted = cls.fit(cls.Config(), candidates, 3)
    scores = fitted.score(candidates)
    assert scores.shape == (len(candidates),) and np.isfinite(scores).all()
    assert np.array_equal(scores, cls.fit(cls.Config(), candidates, 3).score(candidates))
    assert fitted.importance().shape == (len(candidates.names),)
    assert isinstance(fitted, rankers.Explains)
    parts = fitted.parts(candidates, np.array([0, 2]))
    assert parts.shape == (2, len(candidates.names)) and np.isfinite(parts).all()
    rankers.save_ranker(tmp_path, name, fitted)
    assert np.array_equal(rankers.load_ranker(tmp_path).score(candidates), scores)


@pytest.mark.parametrize("name", rankers.RANKERS)
def test_a_ranker_keeps_nobody(name: str, candidates: Candidates) -> None:
    """Its tensors are of features and layers, and trees are splits of features: none is as long as the users."""
    kind = rankers.load_class(name)
    tensors = kind.fit(kind.Config(), candidates, 1).tensors()
    assert not [key for key, tensor in tensors.items() if key != "trees" and candidates.n_users in tensor.shape]


def test_a_ranker_of_an_older_version_is_reported_and_not_guessed(candidates: Candidates, tmp_path: Path) -> None:
    cls = rankers.load_class("lambdarank")
    rankers.save_ranker(tmp_path, "lambdarank", cls.fit(cls.Config(), candidates, 3))
    config, tensors = checkpoints.load_model(tmp_path)
    checkpoints.save_model(tmp_path, config, {name: value for name, value in tensors.items() if name != "counts"})
    with pytest.raises(UpstreamError):
        rankers.load_ranker(tmp_path)


@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("name", rankers.RANKERS)
def test_a_ranker_takes_what_little_there_is_to_learn_from(name: str, rows: int, candidates: Candidates) -> None:
    """The lesson is one user with the item that came next and, of two rows, one other."""
    first = candidates.users == 0
    few = np.flatnonzero(first & candidates.label) if rows else np.zeros(0, dtype=np.int64)
    others = np.flatnonzero(first & ~candidates.label)[: max(0, rows - 1)]
    lesson = candidates.keep(np.isin(np.arange(len(candidates)), np.concatenate([few, others])))
    assert len(lesson) == rows
    cls = rankers.load_class(name)
    scores = cls.fit(cls.Config(), lesson, 3).score(candidates)
    assert scores.shape == (len(candidates),) and np.isfinite(scores).all()


@pytest.mark.parametrize("name", ["fusion", "wide-deep", "logistic"])
def test_a_ranker_that_learns_finds_the_next_item(name: str, candidates: Candidates) -> None:
    cls = rankers.load_class(name)
    ranks = candidates.target_ranks(cls.fit(cls.Config(), candidates, 3).score(candidates))
    assert candidates.has_target().mean() > 0.9
    assert (ranks < 3).mean() > 0.8


def test_candidates_are_never_seen_and_never_invented(candidates: Candidates) -> None:
    past = ring().without_last()
    seen = set(zip(past.users.tolist(), past.codes.tolist(), strict=True))
    rows = set(zip(candidates.users.tolist(), candidates.items.tolist(), strict=True))
    assert rows and not rows & seen
    assert len(rows) == len(candidates) and np.isfinite(candidates.features).all()


def test_popularity_within_segments_leans_on_everyone_where_little_is_known(catalogue: Catalogue) -> None:
    """Segment 0 chose item 0 three times and item 1 once, segment 1 item 1 four times."""
    codes, offsets = np.array([0, 0, 0, 1, 1, 1, 1, 1], dtype=np.int32), np.array([0, 2, 4, 8])
    past = Sequences(codes, offsets, ITEMS, segments=np.array([0, 0, 1]))
    cls = retrievers.load_class("segments")

    def share(prior: float, segments: list[int] | None) -> np.ndarray:
        asked = Sequences(codes[:0], np.zeros(3, dtype=np.int64), ITEMS)
        asked = replace(asked, segments=None if segments is None else np.array(segments))
        model = cls.fit(cls.Config(prior=prior), past, catalogue, 0)
        return np.expm1(all_scores(model, Histories(asked, np.zeros((2, 0), dtype=np.float32)))) / 8

    np.testing.assert_allclose(share(0, [0, 1])[:, :2], [[3 / 4, 1 / 4], [0, 1]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(share(4, [0, 1])[0, :2], [(3 + 4 * 3 / 8) / 8, (1 + 4 * 5 / 8) / 8], rtol=1e-5)
    np.testing.assert_allclose(share(4, [7, -1])[:, :2], [[3 / 8, 5 / 8]] * 2, rtol=1e-5)
    np.testing.assert_allclose(share(4, None)[:, :2], [[3 / 8, 5 / 8]] * 2, rtol=1e-5)


def test_stop_words_of_the_language_make_no_items_alike(catalogue: Catalogue) -> None:
    titles = [f"{thing} für die {place}" for thing in ("Tasche", "Hülle") for place in ("Reise", "Stadt")] * (
        ITEMS // 4
    )
    german = replace(catalogue, titles=titles, categories=[""] * ITEMS, tags=[[]] * ITEMS)
    cls = retrievers.load_class("tfidf")
    fitted: Any = cls.fit(cls.Config(), ring(), german, 0)
    assert fitted.similarity[0, 4] > 0.9 and fitted.similarity[0, 2] > 0 and fitted.similarity[0, 3] == 0
