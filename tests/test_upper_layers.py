"""The upper layers on kept states give what the whole encoder gives, and are saved as a whole encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch

from llmrec_cli.content import text, upper_layers
from llmrec_cli.content.text import SentenceEncoder
from llmrec_cli.content.upper_layers import LowerStates, UpperLayers
from llmrec_cli.core.errors import SettingsError
from tests import tiny_language

TEXTS = ["red scarf", "", "long long blue spade of steel", "steel", "blue scarf red spade"]
KINDS = ("bert", "llama")


def folder(path: Path, kind: str, n_layers: int = 3) -> Path:
    """A tiny encoder with random weights."""
    if kind == "llama":
        return tiny_language.make(path, TEXTS * 3, n_layers=n_layers)
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for text in TEXTS for word in text.split()})]
    BertTokenizerFast(vocab={word: n for n, word in enumerate(words)}).save_pretrained(path)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": n_layers, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), initializer_range=0.3, **shape)).save_pretrained(path)
    return path


def tunable(path: Path) -> SentenceEncoder:
    return text.tunable(str(path), "cpu", path.parent)


@pytest.fixture
def states_file(tmp_path: Path) -> Any:
    with (tmp_path / "states").open("w+b") as file:
        yield file


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_they_are_the_whole_encoder_s_vectors(tmp_path: Path, kind: str, n_layers: int, states_file: BinaryIO) -> None:
    encoder = tunable(folder(tmp_path / kind, kind))
    states = LowerStates.of(encoder, TEXTS, n_layers, states_file)
    found, whole = UpperLayers(encoder, n_layers, states).vectors(), encoder.encode(TEXTS)
    np.testing.assert_allclose(found, whole, atol=0.03)  # states and products are in bfloat16
    assert not found[1].any() and np.abs(found[0] - found[3]).max() > 0.1
    together = UpperLayers(encoder, n_layers, states)(torch.tensor([4, 0, 2])).detach().numpy()
    np.testing.assert_allclose(together, found[[4, 0, 2]], atol=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_tuned_is_saved_as_a_whole_encoder(tmp_path: Path, kind: str, states_file: BinaryIO) -> None:
    encoder = tunable(folder(tmp_path / kind, kind))
    before = encoder.encode(TEXTS)
    layers = UpperLayers(encoder, 2, LowerStates.of(encoder, TEXTS, 2, states_file))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    upper_layers.save(encoder, layers, tmp_path / "tuned")
    saved = tunable(tmp_path / "tuned")
    assert saved.pooling == encoder.pooling == ("lasttoken" if kind == "llama" else "mean")
    np.testing.assert_allclose(saved.encode(TEXTS), layers.vectors(), atol=0.03)
    assert np.abs(saved.encode(TEXTS) - before).max() > 0.1


def test_more_layers_than_there_are_and_networks_of_another_build_are_refused(tmp_path: Path) -> None:
    encoder = tunable(folder(tmp_path / "bert", "bert"))
    with pytest.raises(SettingsError, match="3 layers, 4 are to be tuned") as caught:
        upper_layers.without_lower(encoder.network, 4)
    assert "between 1 and 3" in caught.value.fix
    with pytest.raises(SettingsError, match="Linear cannot be tuned"):
        upper_layers.without_lower(torch.nn.Linear(2, 2), 1)
    assert len(encoder.network.encoder.layer) == 3


def test_an_encoder_that_learns_nothing_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"hashed TF-IDF cannot be tuned") as caught:
        text.tunable("hashed", "cpu", tmp_path)
    assert "tune_text = false" in caught.value.fix
