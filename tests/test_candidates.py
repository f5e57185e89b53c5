"""The union of the sources' best items, its features, and the table that holds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_cli.core.arrays import Codes
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.metrics import MISS
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.ranking.candidate_config import CandidateConfig
from llmrec_cli.ranking.candidates import Candidates, join
from llmrec_cli.ranking.features import group_shares
from llmrec_cli.ranking.retrieval import Retrieval, load_config, save_config
from llmrec_cli.ranking.retrievers import Histories, Retriever, load_class
from llmrec_cli.ranking.retrievers.transitions import Transitions, TransitionsConfig
from tests.tiny import all_scores

ITEMS = 12
TIES = tie_order([f"item{i}" for i in range(50)])
SOURCES = ("transitions", "itemknn", "popularity")


def walks(users: int = 36, steps: int = 4) -> Sequences:
    codes = (np.arange(users)[:, None] + np.arange(steps)) % ITEMS
    return Sequences(codes.astype(np.int32).ravel(), np.arange(users + 1) * steps, ITEMS)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    names = [f"item{i}" for i in range(ITEMS)]
    none = np.zeros((ITEMS, 0), dtype=np.float32)
    kinds = ["low" if i < 6 else "" for i in range(ITEMS)]
    return Catalogue(names, names, [""] * ITEMS, kinds, [[f"tag{i % 2}"] for i in range(ITEMS)], none, none)


@pytest.fixture(scope="module")
def fitted(catalogue: Catalogue) -> dict[str, Retriever]:
    given = {"transitions": {"tau": 10.0}}
    classes = {name: load_class(name) for name in SOURCES}
    past = walks().without_last()
    return {name: cls.fit(cls.Config(**given.get(name, {})), past, catalogue, 0) for name, cls in classes.items()}


def collect(
    fitted: dict[str, Retriever],
    users: Histories,
    catalogue: Catalogue,
    config: CandidateConfig,
    *,
    targets: Codes | None = None,
    **asked: Any,
) -> Candidates:
    return Retrieval(fitted, catalogue, config, **asked).candidates(users, targets)


def histories(sequences: Sequences) -> Histories:
    return Histories(sequences, np.zeros((len(sequences), 1), dtype=np.float32))


def test_blocks_of_any_size_give_the_same_table(catalogue: Catalogue, fitted: dict[str, Retriever]) -> None:
    past, targets = walks().without_last(), walks().last()
    config = CandidateConfig(depth=3, depths={"popularity": 2})
    whole = collect(fitted, histories(past), catalogue, config, targets=targets)
    pieces = collect(fitted, histories(past), catalogue, config, targets=targets, max_memory=1)
    assert whole.names == pieces.names and len(whole.names) == len(set(whole.names))
    for name in ("offsets", "items", "features", "label"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))
    assert whole.retriever_ranks.keys() == fitted.keys()
    assert np.diff(whole.offsets).max() <= 3 + 3 + 2


def test_targets_are_marked_and_never_added(catalogue: Catalogue, fitted: dict[str, Retriever]) -> None:
    past, targets = walks().without_last(), walks().last()
    config = CandidateConfig(depth=2, depths={})
    plain = collect(fitted, histories(past), catalogue, config)
    # the last user is said to have gone where no retriever would send anybody: no ranker can learn from that
    targets[-1] = (past.last()[-1] + 6) % ITEMS
    labelled = collect(fitted, histories(past), catalogue, config, targets=targets)
    assert labelled.label is not None and plain.label is None
    assert np.diff(labelled.offsets)[-1] == 0 and labelled.n_users == plain.n_users
    kept = plain.keep(plain.rows(labelled.has_target()))
    np.testing.assert_array_equal(kept.items, labelled.items)
    np.testing.assert_array_equal(kept.features, labelled.features)
    np.testing.assert_array_equal(labelled.label, labelled.items == targets[labelled.users])
    assert labelled.has_target()[:-1].all() and not labelled.has_target()[-1]
    assert labelled.retriever_ranks["transitions"][:-1].max() == 0


def test_what_may_not_be_shown_is_no_candidate(catalogue: Catalogue, fitted: dict[str, Retriever]) -> None:
    past = walks()
    allowed = np.arange(ITEMS) % 3 != 0
    config = CandidateConfig(depth=ITEMS)
    found = collect(fitted, histories(past), catalogue, config, allowed=allowed)
    seen = np.zeros((len(past), ITEMS), dtype=bool)
    seen[past.users, past.codes] = True
    assert len(found) and allowed[found.items].all() and not seen[found.users, found.items].any()
    again = collect(fitted, histories(past), catalogue, config, exclude_seen=False)
    assert seen[again.users, again.items].any()
    hidden = collect(fitted, histories(past), catalogue, config, targets=past.last())
    assert (hidden.retriever_ranks["popularity"] == MISS).all() and not hidden.has_target().any()


def test_features_say_what_their_names_say(catalogue: Catalogue, fitted: dict[str, Retriever]) -> None:
    past = walks()
    found = collect(fitted, histories(past), catalogue, CandidateConfig())
    last = past.last()[found.users]
    np.testing.assert_array_equal(found.column("tag.last"), (last % 2 == found.items % 2).astype(np.float32))
    both_low = (last < 6) & (found.items < 6)  # no category is not a category
    np.testing.assert_array_equal(found.column("category.last"), both_low.astype(np.float32))
    np.testing.assert_allclose(found.column("popularity.raw"), np.log1p(past.without_last().counts())[found.items])
    row = all_scores(fitted["transitions"], histories(past))
    z = (row - row.mean(1, keepdims=True)) / row.std(1, keepdims=True)
    np.testing.assert_allclose(found.column("transitions.z"), z[found.users, found.items], rtol=1e-3, atol=1e-4)


def test_histories_are_described_by_kind_and_by_popularity(catalogue: Catalogue, fitted: dict[str, Retriever]) -> None:
    past = walks()
    found = collect(fitted, histories(past), catalogue, CandidateConfig())
    popularity = np.log1p(past.without_last().counts())
    described = {name: found.column(name) for name in ("history.popularity", "newest.popularity")}
    for user in (0, 3):
        of_user = found.users == user
        np.testing.assert_allclose(described["history.popularity"][of_user], popularity[past[user]].mean(), rtol=1e-5)
        np.testing.assert_allclose(described["newest.popularity"][of_user], popularity[past[user][-1]], rtol=1e-5)
        weights = 0.85 ** np.arange(len(past[user]))[::-1]
        even = weights[past[user] % 2 == 0].sum() / weights.sum()
        shares = np.where(found.items[of_user] % 2 == 0, even, 1 - even)
        np.testing.assert_allclose(found.column("tag.share")[of_user], shares, rtol=1e-5)


def test_what_has_no_group_has_no_share() -> None:
    history = Sequences(np.array([0, 1, 2], dtype=np.int32), np.array([0, 3, 3]), 4)
    groups = np.array([0, -1, 1, 1])
    rows, items = np.array([0, 0, 0, 1]), np.array([0, 1, 3, 3])
    total = 1 + 0.85 + 0.85**2
    np.testing.assert_allclose(
        group_shares(history, groups, rows, items), [0.85**2 / total, 0, 1 / total, 0], rtol=1e-6
    )
    assert not group_shares(history, np.full(4, -1), rows, items).any()


def test_nobody_and_users_without_events(catalogue: Catalogue, fitted: dict[str, Retriever]) -> None:
    cold = Sequences(np.zeros(0, dtype=np.int32), np.zeros(3, dtype=np.int64), ITEMS)
    found = collect(fitted, histories(cold), catalogue, CandidateConfig())
    assert found.n_users == 2 and np.isfinite(found.features).all()
    nobody = collect(fitted, histories(cold.select(np.arange(0))), catalogue, CandidateConfig())
    assert nobody.n_users == 0 and nobody.names == found.names


def test_depths_are_kept_with_the_sources(tmp_path: Path) -> None:
    config = CandidateConfig(depth=7, depths={"als": 3})
    save_config(tmp_path, config)
    assert load_config(tmp_path) == config and config.of("als") == 3 and config.of("other") == 7


def table(lengths: list[int], seed: int = 0) -> Candidates:
    rng = np.random.default_rng(seed)
    rows = sum(lengths)
    items = np.concatenate([np.sort(rng.permutation(50)[:n]) for n in lengths]).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    label = np.zeros(rows, dtype=bool)
    label[offsets[:-1][np.array(lengths) > 0]] = True
    ranks = {"a": np.arange(len(lengths))}
    return Candidates(offsets, items, rng.normal(size=(rows, 2)).astype(np.float32), ("a.z", "b.z"), TIES, label, ranks)


def test_a_joined_table_is_its_parts_one_after_the_other() -> None:
    first, second = table([2, 0, 3]), table([4], seed=1)
    joined = join([table([2, 0, 3]), table([4], seed=1)])
    assert joined.offsets.tolist() == [0, 2, 2, 5, 9]
    np.testing.assert_array_equal(joined.features, np.concatenate([first.features, second.features]))
    np.testing.assert_array_equal(joined.retriever_ranks["a"], [0, 1, 2, 0])
    back = joined.keep(joined.rows(np.array([False, False, False, True])))
    np.testing.assert_array_equal(back.items, second.items)
    assert back.offsets.tolist() == [0, 0, 0, 0, 4]


def test_ranks_break_ties_by_the_fixed_order() -> None:
    found = table([5, 0, 4])
    flat = found.ranks(np.zeros(len(found)))
    for user in (0, 2):
        rows = np.flatnonzero(found.users == user)
        np.testing.assert_array_equal(flat[rows], np.argsort(np.argsort(TIES[found.items[rows]])))
    scores = np.where(found.label, 2.0, 1.0)
    assert found.target_ranks(scores).tolist() == [0, MISS, 0]
    assert found.target_ranks(-scores).tolist() == [4, MISS, 3]


def test_successors_are_counted_by_distance_within_a_user() -> None:
    counts = Sequences(np.array([0, 1, 2, 0, 1], dtype=np.int32), np.array([0, 3, 5]), 3).successors((1.0, 0.5))
    np.testing.assert_allclose(counts.toarray(), [[0, 2, 0.5], [0, 0, 1], [0, 0, 0]])
    empty = replace(walks(), codes=np.zeros(0, dtype=np.int32), offsets=np.zeros(4, dtype=np.int64))
    assert empty.successors((1.0, 0.5)).nnz == 0


def test_what_the_user_had_is_a_candidate_where_repeats_are_asked_for(
    catalogue: Catalogue, fitted: dict[str, Retriever]
) -> None:
    # the second user had 5 twice and 3 in between; what came next is 3 again
    past = Sequences(np.array([0, 5, 3, 5], dtype=np.int32), np.array([0, 1, 4]), ITEMS)
    targets = np.array([1, 3], dtype=np.int32)
    config = CandidateConfig(depth=2, depths={}, repeat=True)
    found = collect(fitted, histories(past), catalogue, config, targets=targets)
    assert found.has_target().all() and found.retriever_ranks["popularity"].max() < ITEMS
    second = found.keep(found.users == 1)
    count = dict(zip(second.items.tolist(), second.column("repeat.count").tolist(), strict=True))
    recency = dict(zip(second.items.tolist(), second.column("repeat.recency").tolist(), strict=True))
    assert count[5] == pytest.approx(np.log(3)) and recency[5] == 1
    # once, one event ago: that it is the answer as well is in the label alone
    assert count[3] == pytest.approx(np.log(2)) and recency[3] == 0.5
    assert all(count[item] == recency[item] == 0 for item in count if item not in (3, 5))
    unasked = collect(fitted, histories(past), catalogue, CandidateConfig(depth=2, depths={}), targets=targets)
    assert not unasked.has_target()[1] and not any(name.startswith("repeat") for name in unasked.names)
    kept_out = collect(fitted, histories(past), catalogue, config, targets=targets, exclude_seen=True)
    assert kept_out.names == found.names and not set(kept_out.items[kept_out.users == 1].tolist()) & {3, 5}
    nobody = collect(fitted, histories(past.select(np.arange(0))), catalogue, config)
    assert nobody.names == found.names
    cold = Sequences(np.zeros(0, dtype=np.int32), np.zeros(3, dtype=np.int64), ITEMS)
    assert not collect(fitted, histories(cold), catalogue, config).column("repeat.count").any()


def test_transitions_weigh_distance_and_history_as_written(catalogue: Catalogue) -> None:
    """Users 0→1→2 and 0→1: at distance two only 0→2, once; its count is 1 / 2**power x rate."""
    seen = Sequences(np.array([0, 1, 2, 0, 1], dtype=np.int32), np.array([0, 3, 5]), 3)
    config = TransitionsConfig(distances=2, power=1.0, rate=0.5, tau=3.0, head=2, decay=0.5, popularity=0.0)
    model = Transitions.fit(config, seen, catalogue, 0)
    scores = all_scores(model, histories(Sequences(np.array([0, 1], dtype=np.int32), np.array([0, 2]), 3)))
    older, newest = 1 / 3, 2 / 3
    np.testing.assert_allclose(scores[0, 1], older * np.log(3), rtol=1e-6)
    np.testing.assert_allclose(scores[0, 2], older * np.log(1.25) + newest * np.log(2), rtol=1e-6)
