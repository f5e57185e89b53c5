"""Lists as if something had not been chosen: the models stay, the histories and what follows from them change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists.maker import Maker, maker_of
from llmrec_cli.lists.recommend_config import RecommendConfig
from llmrec_cli.lists.without import Without
from tests import tiny


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> WorkDir:
    return tiny.make(tmp_path_factory.mktemp("without") / "work")


@pytest.fixture
def made(work: WorkDir, context: Context) -> tuple[Maker, Without]:
    maker = maker_of(work, RecommendConfig(k=5), context)
    return maker, Without.of(work, maker)


def items(maker: Maker, user: int) -> list[int]:
    ((_, lists),) = maker.blocks([(user, user + 1)])
    return [code for code in lists.items[0].tolist() if code >= 0]


def test_what_was_taken_out_speaks_for_nothing_and_does_not_come_back(made: tuple[Maker, Without]) -> None:
    maker, without = made
    before = items(maker, 0)
    assert before[0] == 3  # 0, 1, 2 were chosen
    changed = without.maker(maker, np.array([0]), np.array([2], dtype=np.int32))
    assert changed.histories.sequences[0].tolist() == [0, 1]
    after = items(changed, 0)
    assert after != before and not {0, 1, 2} & set(after)
    evidence = changed.table(0, next(lists for _, lists in changed.blocks([(0, 1)]))).column("evidence").to_pylist()
    named = {piece["item_id"] for pieces in evidence for piece in pieces}
    assert named & {"i00", "i01"} and "i02" not in named


def test_other_users_and_every_model_stay(made: tuple[Maker, Without]) -> None:
    maker, without = made
    changed = without.maker(maker, np.array([0, 0]), np.array([0, 1], dtype=np.int32))
    assert changed.retrievers is maker.retrievers and changed.ranker is maker.ranker
    assert changed.histories.sequences[0].tolist() == [2]
    assert [items(changed, user) for user in range(1, 6)] == [items(maker, user) for user in range(1, 6)]
    assert maker.histories.sequences[0].tolist() == [0, 1, 2]


def test_a_vector_moves_with_the_state_by_its_own_weight(made: tuple[Maker, Without]) -> None:
    maker, without = made
    weights = maker.own_weight.copy()
    weights[1] = 0.25
    maker = replace(maker, own_weight=weights)
    changed = without.maker(maker, np.array([0, 1]), np.array([2, 10], dtype=np.int32))
    then, now = (without.encoder.encode(each.histories.sequences) for each in (maker, changed))
    moved = changed.histories.vectors - maker.histories.vectors
    assert np.abs(moved[0]).max() > 0
    np.testing.assert_allclose(moved[0], (now - then)[0], atol=1e-6)
    np.testing.assert_allclose(moved[1], 0.25 * (now - then)[1], atol=1e-6)
    assert not moved[2:].any()


def test_without_any_event_the_list_is_what_is_popular(made: tuple[Maker, Without]) -> None:
    maker, without = made
    changed = without.maker(maker, np.array([0, 0, 0]), np.array([0, 1, 2], dtype=np.int32))
    ((_, lists),) = changed.blocks([(0, 1)])
    assert (lists.carriers[0] < 0).all() and not {0, 1, 2} & set(lists.items[0].tolist())


def test_an_encoder_of_other_items_is_refused(tmp_path: Path, context: Context) -> None:
    from llmrec_cli.core.artifacts import ENCODER
    from llmrec_cli.core.errors import UpstreamError
    from llmrec_cli.tensors.checkpoints import bind

    work = tiny.make(tmp_path / "work")
    bind(work.where(ENCODER), ["other"] * tiny.N_ITEMS)
    with pytest.raises(UpstreamError):
        Without.of(work, maker_of(work, RecommendConfig(k=5), context))
