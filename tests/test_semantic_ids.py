"""Semantic ids: unique, reproducible, alike for what is alike; the trie knows them and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec_cli.extras.semantic_ids import Trie, learn


def blobs(items: int, groups: int, spread: float = 0.02, dim: int = 8) -> np.ndarray:
    """Items around a few centres, group by group."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(groups, dim))
    return (centres[np.arange(items) * groups // items] + spread * rng.normal(size=(items, dim))).astype(np.float32)


def unique(ids: np.ndarray) -> bool:
    return len(np.unique(ids, axis=0)) == len(ids)


@pytest.mark.parametrize(
    "vectors",
    [
        blobs(400, 10),
        blobs(5, 5),
        blobs(1, 1),
        np.zeros((30, 4), dtype=np.float32),
        np.zeros((30, 0), dtype=np.float32),
        np.ones((300, 3), dtype=np.float32),
        np.vstack([blobs(40, 4), np.zeros((20, 8), dtype=np.float32)]),
        np.repeat(blobs(4, 4), 50, axis=0),
    ],
    ids=["many", "few", "one", "no content", "no vectors", "all equal", "some without content", "copies"],
)
def test_every_item_has_an_id_of_its_own(vectors: np.ndarray) -> None:
    ids = learn(vectors, levels=3, codes=8, seed=1)
    assert ids.shape == (len(vectors), 4) and ids.dtype == np.int32
    assert unique(ids) and (ids >= 0).all() and (ids[:, :3] < 8).all()


def test_no_items_have_no_ids() -> None:
    assert learn(np.zeros((0, 4), dtype=np.float32), levels=2).shape == (0, 3)


def test_more_items_than_codes_collide_and_are_counted_in_the_order_of_items() -> None:
    ids = learn(np.ones((300, 3), dtype=np.float32), levels=2, codes=4)
    assert (ids[:, :2] == ids[0, :2]).all()
    assert ids[:, 2].tolist() == list(range(300))
    assert sorted(ids[:, -1].tolist()) == list(range(300))


def test_items_of_a_kind_share_the_first_digit() -> None:
    ids = learn(blobs(400, 10), levels=2, codes=10, seed=3)
    first = ids[:, 0].reshape(10, 40)
    assert (first == first[:, :1]).all() and len(set(first[:, 0])) == 10
    assert len(np.unique(ids[:, :2], axis=0)) > 50


def test_copies_differ_in_the_last_digit_only() -> None:
    ids = learn(np.repeat(blobs(4, 4), 3, axis=0), levels=3, codes=8).reshape(4, 3, 4)
    assert (ids[:, :, :3] == ids[:, :1, :3]).all()
    assert (ids[:, :, 3] == [0, 1, 2]).all()


def test_a_digit_says_less_the_later_it_comes() -> None:
    """The mean of the items with equal first digits comes closer to them with each digit."""
    vectors = np.random.default_rng(2).normal(size=(600, 8)).astype(np.float32)
    ids = learn(vectors, levels=3, codes=16)
    errors = []
    for levels in range(4):
        _, group = np.unique(ids[:, :levels], axis=0, return_inverse=True)
        sums = np.zeros((group.max() + 1, 8))
        np.add.at(sums, group, vectors)
        errors.append(float(((vectors - (sums / np.bincount(group)[:, None])[group]) ** 2).mean()))
    steps = -np.diff(errors)
    assert (steps > 0).all() and (np.diff(steps) < 0).all()


def test_the_same_seed_gives_the_same_ids_and_leaves_the_vectors_alone() -> None:
    vectors = np.random.default_rng(2).normal(size=(600, 8)).astype(np.float32)
    before = vectors.copy()
    assert np.array_equal(learn(vectors, seed=7), learn(vectors, seed=7))
    assert np.array_equal(vectors, before)
    assert not np.array_equal(learn(vectors, seed=7), learn(vectors, seed=8))


def test_the_trie_leads_to_every_item_once_and_nowhere_else() -> None:
    ids = learn(blobs(90, 9), levels=2, codes=6)
    trie = Trie(ids)
    paths: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for depth, digits in enumerate(trie.digits):
        nodes = torch.tensor([node for node, _ in paths])
        children, exist = trie.children(depth, nodes)
        paths = [
            (int(child), (*path, int(digits[child])))
            for (_, path), row, there in zip(paths, children, exist, strict=True)
            for child in row[there]
        ]
    assert len(paths) == len(ids)
    for leaf, path in paths:
        assert path == tuple(ids[trie.items[leaf]])
