"""The transformer, its batches and the encoder that later stages load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.models import runtime
from llmrec_cli.models.encoders import batches, training, validation
from llmrec_cli.models.encoders.sequence import SequenceEncoder, Shape
from llmrec_cli.models.encoders.transformer import distance_buckets, dropout, toeplitz
from llmrec_cli.tables.sequences import Sequences

N_ITEMS = 12


def histories(*lists: list[int], n_items: int = N_ITEMS) -> Sequences:
    codes = np.array([code for items in lists for code in items], dtype=np.int32)
    return Sequences(codes, np.cumsum([0, *map(len, lists)]), n_items)


def encoder(architecture: str = "gpt", max_length: int = 6) -> SequenceEncoder:
    runtime.seed_everything(1)
    shape = Shape(architecture=architecture, dim=8, max_length=max_length)
    table = torch.randn(N_ITEMS + 1, 8)
    network = shape.network()
    torch.nn.init.normal_(network.bias)
    return SequenceEncoder(shape, network, table)


# --- packing ----------------------------------------------------------------------------------------------------------


def test_every_target_is_packed_once_after_its_own_predecessor() -> None:
    sequences = histories([1, 2, 3], [4], [], [5, 6], [7, 8, 9, 10, 11, 7, 8, 9])
    rows = batches.next_item_rows(sequences, 4, np.random.default_rng(0))
    packed = rows.targets != batches.NO_TARGET
    pairs = sorted(zip(rows.tokens[packed].tolist(), rows.targets[packed].tolist(), strict=True))
    wanted = [(1, 2), (2, 3), (5, 6), (7, 8), (7, 8), (8, 9), (8, 9), (9, 10), (10, 11), (11, 7)]
    assert pairs == wanted
    assert len(rows) == batches.row_count(len(wanted), 4) == 3


def test_segments_part_users() -> None:
    rows = batches.next_item_rows(histories([1, 2, 3], [5, 6, 7], [9, 10, 11]), 64, np.random.default_rng(0))
    assert len(rows) == 1
    for start in (1, 5, 9):
        (users,) = ({int(s) for s in rows.segments[np.isin(rows.tokens, [start, start + 1]) & (rows.targets >= 0)]},)
        assert len(users) == 1
    assert len(set(rows.segments[rows.targets >= 0].tolist())) == 3


def test_rows_depend_on_the_generator_alone() -> None:
    sequences = histories(*[[user % N_ITEMS, (user + 1) % N_ITEMS, 3] for user in range(50)])
    a, b, c = (batches.next_item_rows(sequences, 8, np.random.default_rng(seed)).tokens for seed in (1, 1, 2))
    assert (a == b).all() and (a != c).any()


def test_masked_rows_hide_what_they_ask_for() -> None:
    sequences = histories(*[list(range(10)) for _ in range(200)])
    rows = batches.masked_item_rows(sequences, 64, N_ITEMS, 0.3, np.random.default_rng(0))
    asked = rows.targets != batches.NO_TARGET
    assert (rows.tokens[asked] == N_ITEMS).all()
    assert not (rows.tokens[~asked] == N_ITEMS).any()
    filled = rows.segments >= 0
    assert filled.sum() == 2000
    assert 0.28 < asked.sum() / 2000 < 0.36


def test_processes_share_the_rows_of_each_step() -> None:
    sequences = histories(*[[user % N_ITEMS, 1, 2, 3, 4] for user in range(300)])
    shape = Shape(dim=8)

    def tokens(share: tuple[int, int]) -> list[torch.Tensor]:
        return [batch[0] for batch in training.epoch_batches(sequences, shape, 4, (7,), share)]

    whole, first, second = tokens((0, 1)), tokens((0, 2)), tokens((1, 2))
    assert len(whole) == len(first) == len(second) == 5  # 19 rows
    for step, (a, b) in enumerate(zip(first, second, strict=True)):
        assert sorted(torch.cat([a, b]).tolist()) == sorted(whole[step].tolist()), step


def test_blocks_of_like_length_hold_every_user_and_keep_to_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 500)
    blocks = list(batches.length_sorted(lengths, 100))
    assert sorted(np.concatenate(blocks)) == list(range(500))
    assert all(len(block) * lengths[block].max() <= 100 for block in blocks)
    assert [len(b) for b in batches.length_sorted(np.array([500, 2]), 100)] == [1, 1]


# --- network ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 7, 100])
@pytest.mark.parametrize("causal", [True, False])
def test_toeplitz_is_the_look_up_of_each_pair(length: int, causal: bool) -> None:
    bias = torch.randn(3, 80)
    found = toeplitz(bias[:, distance_buckets(length, causal)])
    query, key = torch.meshgrid(torch.arange(length), torch.arange(length), indexing="ij")
    wanted = bias[:, distance_buckets(length, causal)[length - 1 - query + key]]
    assert found.shape == (3, length, length)
    assert torch.equal(found, wanted)


def test_distances_are_exact_when_near_and_past_differs_from_future() -> None:
    length = 1000
    buckets = distance_buckets(length, causal=False)
    past, future = buckets[:length].flip(0), buckets[length - 1 :]
    assert past[:32].tolist() == list(range(32))
    assert (past.diff() >= 0).all() and past.max() == 36
    assert not set(past.tolist()) & set(future[1:].tolist())


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.999])
def test_dropout_drops_its_share_and_keeps_the_mean(p: float) -> None:
    runtime.seed_everything(1)
    x = torch.ones(400_000)
    kept = dropout(x, p, training=True)
    assert torch.isfinite(kept).all()
    assert abs(float((kept == 0).float().mean()) - p) < 0.005
    assert abs(float(kept.mean()) - 1) < 0.05
    assert torch.equal(dropout(x, p, training=False), x)


def test_packed_users_never_see_each_other() -> None:
    model = encoder()
    together = torch.tensor([[1, 2, 3, 7, 8, 9]])
    segments = torch.tensor([[0, 0, 0, 1, 1, 1]])
    packed = model.network(model.table[together], segments)
    alone = model.network(model.table[together[:, 3:]], torch.zeros(1, 3, dtype=torch.long))
    torch.testing.assert_close(packed[:, 3:], alone, rtol=1e-4, atol=1e-5)


def test_gpt_never_sees_the_future_and_bert_does() -> None:
    tokens, segments = torch.tensor([[1, 2, 3, 4]]), torch.zeros(1, 4, dtype=torch.long)
    for architecture, sees in (("gpt", False), ("bert", True)):
        model = encoder(architecture)
        before = model.network(model.table[tokens], segments)
        after = model.network(model.table[torch.tensor([[1, 2, 3, 9]])], segments)
        assert torch.allclose(before[:, :3], after[:, :3], atol=1e-5) != sees


# --- encoder ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["gpt", "bert"])
def test_encode_restores_the_order_and_does_not_mix_users(architecture: str) -> None:
    model = encoder(architecture)
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, N_ITEMS, n).tolist() for n in (3, 0, 1, 6, 2, 9, 0, 4)]
    many = model.encode(histories(*lists), batch_tokens=16)
    for user, items in enumerate(lists):
        np.testing.assert_allclose(many[user], model.encode(histories(items))[0], atol=0.05)
    assert not many[[1, 6]].any()
    assert many.dtype == np.float32 and np.isfinite(many).all()


@pytest.mark.parametrize("architecture", ["gpt", "bert"])
def test_encode_looks_at_the_newest_events_only(architecture: str) -> None:
    model = encoder(architecture, max_length=4)
    long, short = model.encode(histories([9, 9, 1, 2, 3, 4], [1, 2, 3, 4]))
    np.testing.assert_allclose(long, short, rtol=0, atol=1e-5)
    assert not np.allclose(long, model.encode(histories([1, 2, 4, 3]))[0], rtol=0, atol=1e-4)


def test_no_users_and_no_events() -> None:
    assert encoder().encode(histories()).shape == (0, 8)
    assert not encoder().encode(histories([], [])).any()


def test_saved_encoder_gives_the_same_scores_from_its_folder_alone(tmp_path: Path) -> None:
    model, asked = encoder(), histories([1, 2, 3], [4])
    model.save(tmp_path / "encoder")
    again = SequenceEncoder.load(tmp_path / "encoder")
    assert again.shape == model.shape
    np.testing.assert_array_equal(again.encode(asked), model.encode(asked))
    np.testing.assert_array_equal(again.item_vectors, model.item_vectors)
    assert again.item_vectors.shape == (N_ITEMS, 8)
    assert {path.suffix for path in (tmp_path / "encoder").iterdir()} == {".json", ".safetensors"}
    with pytest.raises(UpstreamError):
        SequenceEncoder.load(tmp_path / "elsewhere")


def test_items_that_were_never_trained_get_the_mean_id_and_their_own_text() -> None:
    text = torch.nn.functional.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    sequences, vocabulary = training.compact(histories([0, 3, 4], [4, 0], n_items=5))
    assert vocabulary.tolist() == [0, 3, 4]
    assert sequences.codes.tolist() == [0, 1, 2, 2, 0]
    model = training.NextItemModel(Shape(dim=8), text[vocabulary], torch.float32)
    found = torch.from_numpy(model.encoder(vocabulary, text).item_vectors)
    table = model.table().detach()
    torch.testing.assert_close(found[[0, 3, 4]], table[:3])
    mean, own = model.ids.weight[:3].mean(0), text @ model.projection.weight.T  # type: ignore[union-attr]
    torch.testing.assert_close(found[[1, 2]], (mean + own[[1, 2]]).detach())


def test_ranks_leave_out_what_was_seen_and_are_pessimistic_in_ties() -> None:
    scores = np.array([[5, 4, 3, 3, 1], [1, 1, 1, 1, 1]], dtype=np.float32)
    seen = histories([0, 1], [2], n_items=5)
    ranks = validation.target_ranks(lambda start, stop: scores[start:stop], seen, np.array([2, 0]))
    assert ranks.tolist() == [1, 3]
    found = validation.recall_and_ndcg(np.array([0, 1, 10]))
    assert found["recall@10"] == pytest.approx(2 / 3)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / np.log2(3)) / 3)
