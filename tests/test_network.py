"""The transformer, its batches and the encoder that later stages load."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_cli.core import arrays
from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.sequence import cold_items, packing, training, validation
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.sequence.llama import Llama
from llmrec_cli.sequence.model_config import ModelConfig, Objective
from llmrec_cli.sequence.network import Transformer, distance_buckets, dropout, llama_config, toeplitz
from llmrec_cli.tensors import runtime

N_ITEMS = 12


def histories(*lists: list[int], n_items: int = N_ITEMS) -> Sequences:
    codes = np.array([code for items in lists for code in items], dtype=np.int32)
    return Sequences(codes, np.cumsum([0, *map(len, lists)]), n_items)


def encoder(architecture: str = "gpt", max_length: int = 6, **more: Any) -> SequenceEncoder:
    runtime.seed_everything(1)
    shape = ModelConfig(architecture=architecture, dim=8, max_length=max_length, **more)
    network = Transformer(shape)
    for weights in network.parameters():  # as large as trained ones, so that everything has an effect
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.5)
    return SequenceEncoder(shape, network, torch.randn(N_ITEMS + 1, 8))


def data_of(sequences: Sequences, withheld: int = 0, **more: Any) -> training.TrainingData:
    return training.TrainingData(sequences, ModelConfig(dim=8, max_length=6), Objective(**more), withheld)


def packed(tokens: packing.Tokens, length: int, rows: int = 1000, seed: int = 0) -> list[tuple[np.ndarray, ...]]:
    return list(packing.steps(iter([tokens]), length, rows, np.random.default_rng(seed)))


# --- packing ----------------------------------------------------------------------------------------------------------


def pairs(steps: list[tuple[np.ndarray, ...]]) -> list[tuple[int, int]]:
    found = []
    for items, targets, *_ in steps:
        asked = targets != packing.NO_TARGET
        found += zip(items[asked].tolist(), targets[asked].tolist(), strict=True)
    return sorted(found)


LOG = histories([1, 2, 3], [4], [], [5, 6], [7, 8, 9, 10, 11, 7, 8, 9])
FOLLOWING = [(1, 2), (2, 3), (5, 6), (7, 8), (7, 8), (8, 9), (8, 9), (9, 10), (10, 11), (11, 7)]


def test_every_target_is_packed_once_after_its_own_predecessor() -> None:
    steps = packed(packing.next_item_tokens(LOG), 4)
    assert pairs(steps) == FOLLOWING
    assert sum(len(items) for items, *_ in steps) == packing.row_count(len(FOLLOWING), 4) == 3


@pytest.mark.parametrize("part", [1, 3, 5, 1 << 20])
@pytest.mark.parametrize("objective", ["all", "prefixes"])
def test_an_epoch_in_parts_teaches_the_same_in_the_steps_it_promised(
    part: int, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "PART", part)
    found = data_of(histories(*[[user % N_ITEMS, (user + 1) % N_ITEMS, 3, 4][: 1 + user % 4] for user in range(300)]))
    found.objective.__dict__["targets"] = objective
    found = training.TrainingData(found.log, found.shape, found.objective)
    steps = [tuple(part.numpy() for part in step) for step in found.epoch(2, (7,))]
    whole = sorted((int(found.vocabulary[a]), int(found.vocabulary[b])) for a, b in pairs(steps))
    assert len(whole) == found.targets
    assert len(steps) == found.steps(2)
    code = {user: found.log[user] for user in range(300)}
    assert whole == sorted((int(a), int(b)) for items in code.values() for a, b in pairwise(items))


def test_segments_part_users() -> None:
    ((items, targets, segments),) = packed(packing.next_item_tokens(histories([1, 2, 3], [5, 6, 7], [9, 10, 11])), 64)
    assert len(items) == 1
    for start in (1, 5, 9):
        assert len({int(s) for s in segments[np.isin(items, [start, start + 1]) & (targets >= 0)]}) == 1
    assert len(set(segments[targets >= 0].tolist())) == 3


def test_rows_depend_on_the_generator_alone() -> None:
    tokens = packing.next_item_tokens(histories(*[[user % N_ITEMS, (user + 1) % N_ITEMS, 3] for user in range(50)]))
    a, b, c = (packed(tokens, 8, seed=seed)[0][0] for seed in (1, 1, 2))
    assert (a == b).all() and (a != c).any()


def test_prefixes_ask_once_each_at_the_end_of_the_newest_events() -> None:
    tokens = packing.prefix_tokens(histories([1, 2, 3, 4], [5], [6, 7]), 2)
    asked = tokens.targets != packing.NO_TARGET
    assert tokens.items.tolist() == [1, 1, 2, 2, 3, 6]
    assert tokens.targets[asked].tolist() == [2, 3, 4, 7]
    assert tokens.segments.tolist() == [0, 1, 1, 2, 2, 3]
    assert asked.tolist() == [True, False, True, False, True, True]


def test_times_say_when_the_next_item_is_asked_for() -> None:
    log = Sequences(np.array([1, 2, 3], dtype=np.int32), np.array([0, 3]), N_ITEMS, np.array([10, 20, 40]))
    assert packing.next_item_tokens(log).times.tolist() == [[10, 20], [10, 20]]  # type: ignore[union-attr]
    assert packing.next_item_tokens(log, target_time=True).times.tolist() == [[20, 40], [10, 20]]  # type: ignore[union-attr]
    prefixes = packing.prefix_tokens(log, 5, target_time=True).times
    assert prefixes.tolist() == [[20, 10, 40], [10, 10, 20]]  # type: ignore[union-attr]


def test_masked_rows_hide_what_they_ask_for() -> None:
    sequences = histories(*[list(range(10)) for _ in range(200)])
    tokens = packing.masked_item_tokens(sequences, N_ITEMS, 0.3, np.random.default_rng(0))
    asked = tokens.targets != packing.NO_TARGET
    assert (tokens.items[asked] == N_ITEMS).all()
    assert not (tokens.items[~asked] == N_ITEMS).any()
    assert len(tokens) == 2000
    assert 0.28 < asked.sum() / 2000 < 0.36


def test_processes_share_the_rows_of_each_step() -> None:
    found = data_of(histories(*[[user % N_ITEMS, 1, 2, 3, 4] for user in range(300)]))

    def tokens(share: tuple[int, int]) -> list[torch.Tensor]:
        return [batch[0] for batch in found.epoch(4, (7,), share)]

    whole, first, second = tokens((0, 1)), tokens((0, 2)), tokens((1, 2))
    assert len(whole) == len(first) == len(second) == 5  # 19 rows
    for step, (a, b) in enumerate(zip(first, second, strict=True)):
        assert sorted(torch.cat([a, b]).tolist()) == sorted(whole[step].tolist()), step


def test_what_is_withheld_is_not_learnt_and_not_counted() -> None:
    found = data_of(LOG, withheld=1)
    assert found.targets == 7 and found.vocabulary.tolist() == [1, 2, 5, 7, 8, 9, 10, 11]
    assert found.all_counts()[[3, 7, 9]].tolist() == [0, 2, 1]


def test_blocks_of_like_length_hold_every_user_and_keep_to_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 500)
    blocks = list(arrays.length_sorted(lengths, 100))
    assert sorted(np.concatenate(blocks)) == list(range(500))
    assert all(len(block) * lengths[block].max() <= 100 for block in blocks)
    assert [len(b) for b in arrays.length_sorted(np.array([500, 2]), 100)] == [1, 1]


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


@pytest.mark.parametrize("item_dropout", [0.0, 0.5])
def test_items_that_were_never_trained_are_placed_by_their_content(item_dropout: float) -> None:
    text = torch.nn.functional.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    found = data_of(histories([0, 3, 4], [4, 0], n_items=5), item_dropout=item_dropout)
    assert found.vocabulary.tolist() == [0, 3, 4] and found.counts.tolist() == [2, 1, 2]
    counts = torch.from_numpy(found.counts).float()
    model = training.NextItemModel(found.shape, found.objective, text[found.vocabulary], counts, torch.float32).eval()
    around = cold_items.find(text, found.vocabulary)
    vectors = torch.from_numpy(model.encoder(found.vocabulary, text, around).item_vectors)
    trained = model.table().detach()[:3]
    torch.testing.assert_close(vectors[[0, 3, 4]], trained)
    mean, own = model.ids.weight[:3].mean(0), text @ model.projection.weight.T  # type: ignore[union-attr]
    unit, length = torch.nn.functional.normalize, trained.norm(dim=1).mean()
    for item in (1, 2):
        alike = (text[item] @ text[found.vocabulary].T).clamp(min=0) ** 2
        reported = unit(own[item] + (0 if item_dropout else mean), dim=0)
        neighbours = unit((alike.unsqueeze(1) * unit(trained, dim=1)).sum(0), dim=0)
        torch.testing.assert_close(vectors[item], length * unit(reported + neighbours, dim=0).detach())


def test_an_item_without_content_is_no_new_item_and_neighbours_are_the_most_alike() -> None:
    angles = torch.tensor([0.0, 0.1, 0.2, 0.3, 3.0, 0.05])
    content = torch.stack([angles.cos(), angles.sin()], dim=1)
    around = cold_items.find(torch.cat([content, torch.zeros(1, 2)]), np.array([0, 1, 2, 3, 4]))
    assert around.rows.tolist() == [5]
    assert sorted(around.nearest[0].tolist()) == [0, 1, 2]
    assert around.weights.sum().item() == pytest.approx(1)
    assert not len(cold_items.find(torch.zeros(7, 0), np.array([0, 1])).rows)


def test_content_similarity_adds_what_the_history_and_its_newest_item_are_about(tmp_path: Path) -> None:
    plain, asked = encoder(), histories([1, 2, 3], [], [4])
    content = torch.nn.functional.normalize(torch.randn(N_ITEMS, 5, generator=torch.Generator().manual_seed(3)), dim=1)
    model = SequenceEncoder(plain.shape, plain.network, plain.table, content, 2.0)
    added = model.encode(asked) @ model.item_vectors.T - plain.encode(asked) @ plain.item_vectors.T
    past = torch.nn.functional.normalize(0.49 * content[1] + 0.7 * content[2] + content[3], dim=0)
    np.testing.assert_allclose(added[0], 2 * ((past + content[3]) @ content.T).numpy(), atol=1e-4)
    np.testing.assert_array_equal(added[1], 0)
    np.testing.assert_allclose(added[2], 4 * (content[4] @ content.T).numpy(), atol=1e-4)
    model.save(tmp_path)
    again = SequenceEncoder.load(tmp_path)
    np.testing.assert_array_equal(again.encode(asked), model.encode(asked))
    np.testing.assert_array_equal(again.item_vectors, model.item_vectors)


@pytest.mark.parametrize("reported", [True, False])
def test_validation_weighs_content_similarity(reported: bool) -> None:
    """Every next item has the content of the one before it, or content says nothing."""
    plain, twin = encoder(), np.arange(N_ITEMS) // 2
    content = torch.eye(N_ITEMS)[twin if reported else np.arange(N_ITEMS)]
    asked = validation.Validation(
        histories(*([i] for i in range(0, N_ITEMS, 2))), np.arange(1, N_ITEMS, 2), np.arange(N_ITEMS)
    )
    model, reached = asked.weigh_content(SequenceEncoder(plain.shape, plain.network, plain.table, content))
    assert reached == asked.measure(model)["ndcg@10"] >= asked.measure(plain)["ndcg@10"]
    assert (model.content_weight > 0) == reported


def test_the_blocks_begin_and_compute_as_those_of_transformers() -> None:
    from transformers import LlamaConfig, LlamaModel

    shape = ModelConfig(dim=32, heads=2, layers=2, max_length=8)
    torch.manual_seed(5)
    original = LlamaModel(LlamaConfig(**llama_config(shape, 1) | {"attn_implementation": "eager"}))
    after = torch.rand(3)
    torch.manual_seed(5)
    ours = Llama(shape)
    torch.testing.assert_close(torch.rand(3), after, rtol=0, atol=0)  # as many numbers were drawn
    theirs = original.state_dict()
    del theirs["embed_tokens.weight"]
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs), rtol=0, atol=0)
    x, mask = torch.randn(3, 6, 32), torch.zeros(6, 6).masked_fill(torch.ones(6, 6).triu(1) > 0, -1e9)[None, None]
    expected = original(inputs_embeds=x, attention_mask=mask.expand(3, 1, 6, 6)).last_hidden_state
    torch.testing.assert_close(ours(x, mask, lambda added: added), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("architecture", ["gpt", "bert"])
@pytest.mark.parametrize("positions", ["rotary", "none"])
def test_plain_transformers_opens_the_folder_and_gives_the_same_states(
    architecture: str, positions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModel, LlamaModel

    model = encoder(architecture, positions=positions)
    monkeypatch.setattr("llmrec_cli.sequence.encoder.fast_dtype", lambda device: torch.float32)
    model.save(tmp_path)
    plain = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(plain, LlamaModel)
    asked = [3, 1, 4, 1, 5] + ([N_ITEMS] if architecture == "bert" else [])
    with torch.no_grad():
        states = plain(input_ids=torch.tensor([asked])).last_hidden_state[0, -1]
    np.testing.assert_allclose(model.encode(histories([3, 1, 4, 1, 5]))[0], states.numpy(), atol=1e-5)


@pytest.mark.parametrize("positions", ["rotary", "relative", "learned"])
def test_order_matters_but_for_none(positions: str) -> None:
    one, other = histories([1, 2, 3, 4]), histories([2, 1, 3, 4])
    assert not np.allclose(
        encoder(positions=positions).encode(one), encoder(positions=positions).encode(other), atol=1e-3
    )
    still = encoder(positions="none", layers=1)
    np.testing.assert_allclose(still.encode(one), still.encode(other), atol=0.02)


def test_the_time_between_events_matters_where_it_is_looked_at() -> None:
    codes, offsets = np.array([1, 2, 3], dtype=np.int32), np.array([0, 3])
    soon, late = (Sequences(codes, offsets, N_ITEMS, np.array([0, 10, gap])) for gap in (20, 10_000_000))
    blind, looking = encoder(), encoder(time_bias=True)
    np.testing.assert_array_equal(blind.encode(soon), blind.encode(late))
    assert not np.allclose(looking.encode(soon), looking.encode(late), atol=1e-3)
    asking = encoder(time_bias=True, target_time=True)
    now, later = np.array([20]), np.array([20_000_000])
    assert not np.allclose(asking.encode(soon, now), asking.encode(soon, later), atol=1e-3)
    np.testing.assert_array_equal(looking.encode(soon, now), looking.encode(soon, later))


def test_cosine_scores_are_cosines_over_the_temperature() -> None:
    model = encoder(similarity="cosine", temperature=0.1)
    scores = model.encode(histories([1, 2, 3])) @ model.item_vectors.T
    assert np.abs(scores).max() <= 10.001
    np.testing.assert_allclose(np.linalg.norm(model.item_vectors, axis=1), 1, atol=1e-5)


def test_recall_and_ndcg_with_one_relevant_item() -> None:
    found = validation.recall_and_ndcg(np.array([0, 1, 10]))
    assert found["recall@10"] == pytest.approx(2 / 3)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / np.log2(3)) / 3)
