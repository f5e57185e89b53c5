"""Segments lean on everyone's popularity as far as users, asked without their own events, say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.segments import Segments, segments
from llmrec_cli.profiles.segment_smoothing import Leaning, _Crowd, choose, subsets

Ints = npt.NDArray[np.int64]


def log(people: int, items: int, own: bool, seed: int = 7) -> tuple[Sequences, npt.NDArray[np.object_]]:
    """Five events each; with `own` each of four groups chooses from a quarter of the items of its own."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 4, people)
    low, width = (group * (items // 4), items // 4) if own else (np.zeros(people, dtype=np.int64), items)
    codes = np.concatenate([start + rng.permutation(width)[:5] for start in low]).astype(np.int32)
    return Sequences(codes, np.arange(people + 1) * 5, items), np.array([f"g{g}" for g in group], dtype=object)


def chosen(histories: Sequences, group: npt.NDArray[np.object_]) -> tuple[Leaning, Segments]:
    def found(kept: tuple[str, ...], rows: Ints) -> Segments:
        nobody = np.full(len(group[rows]), None)
        region = group[rows] if "region" in kept else nobody
        return segments({"age": nobody, "gender": nobody, "region": region}, histories.lengths[rows] > 0, 20)

    everyone = np.arange(len(group))
    return choose(("region",), histories, found, np.arange(histories.n_items), 3), found(("region",), everyone)


def test_groups_with_tastes_of_their_own_are_believed() -> None:
    leaning, found = chosen(*log(400, 80, own=True))
    assert leaning.attributes == ("region",) and np.isfinite(leaning.prior)
    assert leaning.ndcg > leaning.of_everyone
    weights = leaning.weights(found)
    assert len(weights) == len(found.names)
    assert all((weight > 0) == (name != "everyone") for weight, name in zip(weights, found.names, strict=True))


def test_groups_that_mean_nothing_have_what_everyone_chooses() -> None:
    leaning, found = chosen(*log(400, 80, own=False))
    assert leaning.attributes == () and np.isinf(leaning.prior)
    assert not leaning.weights(found).any()
    assert "no segment is surely better" in leaning.line()


def test_equal_scores_say_nothing_of_the_choice_that_is_asked_for() -> None:
    """Others chose all items alike: where the chosen one stands is a matter of the hash, not of how popular it is."""
    others = np.tile(np.arange(12, dtype=np.int32), 3)
    histories = Sequences(np.append(np.int32(0), others), np.array([0, 1, 13, 25, 37]), 12)
    for ties, gain in ((np.arange(12), 1.0), (np.arange(12)[::-1].copy(), 0.0)):
        (gains,) = _Crowd.of(histories, np.array([0]), ties, 1).gains(None, (np.inf,))
        assert gains.tolist() == [[gain, gain]]


def test_chance_is_believed_in_no_log() -> None:
    assert not [seed for seed in range(12) if chosen(*log(800, 80, own=False, seed=seed))[0].attributes]


def test_few_users_choose_nothing() -> None:
    leaning, _ = chosen(*log(20, 40, own=True))
    assert leaning.attributes == () and np.isinf(leaning.prior) and leaning.asked == 0


def test_each_set_of_attributes_is_tried_once() -> None:
    assert list(subsets(("a", "b"))) == [("a", "b"), ("b",), ("a",)]
    assert list(subsets(("a",))) == [("a",)]
