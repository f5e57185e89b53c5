"""A language model is tuned on titles that were chosen in a row, and predicts the withheld ones better."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_cli.core.errors import DataError, MissingExtraError, SettingsError, UpstreamError
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.extras import lora_lm
from llmrec_cli.sequence.optional import LanguageTuning
from llmrec_cli.tensors import causal_lm, checkpoints, runtime
from tests import tiny_language

TITLES = ["red mug", "blue bowl", "green lamp", "oak chair", "tin box", "silk fan", "wool hat", "glass jar"]
USERS = 100


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.make(tmp_path_factory.mktemp("model"), [lora_lm.OPENING, *TITLES], width=32, spread=0.3)


@pytest.fixture(scope="module")
def machine() -> runtime.Runtime:
    return replace(runtime.start("cpu", 1), dtype=torch.float32)


def ring(users: int = USERS, steps: int = 6) -> Sequences:
    """Everybody walks the same ring of items, from places of their own."""
    codes = (np.arange(users)[:, None] + np.arange(steps)) % len(TITLES)
    return Sequences(codes.reshape(-1).astype(np.int32), np.arange(users + 1) * steps, len(TITLES))


def tuned(model: Path, machine: runtime.Runtime, scratch: Path, **changed: Any) -> lora_lm.Tuned:
    sequences, titles = changed.pop("sequences", ring()), changed.pop("titles", TITLES)
    scratch.mkdir(parents=True, exist_ok=True)
    tuning = LanguageTuning(**{"model": str(model), "rank": 8, "steps": 30, "seed": 1, "scratch": scratch, **changed})
    return lora_lm.tune(sequences, titles, tuning, machine, PlainProgress(quiet=True))


def saved(found: lora_lm.Tuned, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    found.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_withheld_titles_become_less_surprising(
    model: Path, machine: runtime.Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora_lm, "LEARNING_RATE", 0.02)
    found = tuned(model, machine, tmp_path, steps=95)
    assert found.perplexity_before > 300  # a random model of 300 tokens knows nothing
    assert found.perplexity_after < 5
    assert (found.users, found.measured, found.steps) == (USERS, lora_lm.MEASURED_USERS, 100)
    assert found.preferred_before < 0.8 and found.preferred_after > 0.95
    losses = [epoch.loss for epoch in found.epochs]
    assert len(losses) == 10 and losses[-1] < losses[0]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft
def test_the_saved_adapter_gives_the_same_logits(model: Path, machine: runtime.Runtime, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    found = tuned(model, machine, tmp_path / "scratch")
    files = saved(found, tmp_path / "adapter")
    assert set(files) == {"adapter_config.json", "adapter_model.safetensors"}
    reported = json.loads(files["adapter_config.json"])
    assert reported["base_model_name_or_path"] == str(model) and reported["r"] == 8
    projections = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {name.rpartition(".")[2] for name in reported["target_modules"]} == projections
    base = AutoModelForCausalLM.from_pretrained(model)
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        plain, wanted = base(tokens).logits, found.network(tokens).logits
        again = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()(tokens).logits
        ours = causal_lm.with_saved_adapter(
            causal_lm.load(str(model), machine.device, torch.float32)[0], tmp_path / "adapter", str(model)
        )
        assert torch.equal(ours(tokens).logits, wanted)
    assert torch.equal(again, wanted) and not torch.allclose(plain, wanted)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # of peft
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"peft_type": "LORA", "r": []}', b"\xff" * 40, None])
def test_a_damaged_adapter_is_reported_with_what_repairs_it(
    model: Path, machine: runtime.Runtime, tmp_path: Path, name: str, content: bytes | None
) -> None:
    network = causal_lm.load(str(model), machine.device, torch.float32)[0]
    folder = tmp_path / "adapter"
    folder.mkdir()
    causal_lm.save_adapter(causal_lm.with_new_adapter(network, 2), folder, str(model))
    (folder / name).unlink()
    (folder / name).mkdir() if content is None else (folder / name).write_bytes(content)
    network = causal_lm.load(str(model), machine.device, torch.float32)[0]
    with pytest.raises(UpstreamError, match="adapter is missing or damaged") as caught:
        causal_lm.with_saved_adapter(network, folder, str(model))
    assert caught.value.fix == f"llmrec pretrain --lm {model} --force"


def test_a_killed_training_ends_with_the_same_bytes(
    model: Path, machine: runtime.Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tuned(model, machine, tmp_path / "whole")
    real = checkpoints.save_state

    def save_then_die(*args: Any) -> None:
        real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save_state", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            tuned(model, machine, tmp_path / "killed")
    kept, _ = checkpoints.load_state(tmp_path / "killed" / "language.safetensors")
    assert all("lora_" in name or name.startswith("optimiser.") for name in kept)  # nothing of the frozen model
    resumed = tuned(model, machine, tmp_path / "killed")
    assert saved(whole, tmp_path / "a") == saved(resumed, tmp_path / "b")
    assert (whole.perplexity_before, whole.perplexity_after) == (resumed.perplexity_before, resumed.perplexity_after)
    assert [epoch.loss for epoch in whole.epochs] == [epoch.loss for epoch in resumed.epochs]


def test_no_training_text_has_a_withheld_title_and_none_is_untitled() -> None:
    titles = [*TITLES[:-1], " "]
    titled = lora_lm._titled(ring(users=10), titles)
    training, measured = lora_lm._split(titled, seed=1)
    assert (len(TITLES) - 1) not in set(titled.codes.tolist())
    assert len(measured) == len(training) == 10
    assert sorted(map(tuple, map(np.ndarray.tolist, (measured[u][:-1] for u in range(10))))) == sorted(
        map(tuple, map(np.ndarray.tolist, (training[u] for u in range(10))))
    )


def test_a_text_is_the_opening_and_the_titles_whatever_they_say(model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    encode = lora_lm._Tokens(tokenizer, ["red mug", "two\n-  lines <end>", "long " * 99])
    texts, newest = encode(Sequences(np.array([0, 1, 2, 0], dtype=np.int32), np.array([0, 2, 4]), 3))
    assert tokenizer.decode(texts[0]) == "Chosen one after another:\n- red mug\n- two - lines <end>"
    assert 0 not in texts[0]  # "<end>" in a title is letters, not the end of the text
    assert tokenizer.decode(texts[0][-newest[0] :]) == " two - lines <end>"
    assert len(texts[1]) == len(encode.opening) + lora_lm.TITLE_TOKENS + len(encode.separator) + newest[1]


def test_a_rival_is_an_item_that_the_user_did_not_choose() -> None:
    histories = ring(users=40, steps=6)
    rivals = lora_lm.with_rivals(histories, seed=1, epoch=1)
    for user in range(len(histories)):
        assert np.array_equal(rivals[user][:-1], histories[user][:-1])
        assert rivals[user][-1] not in histories[user]
    assert not np.array_equal(rivals.codes, lora_lm.with_rivals(histories, seed=1, epoch=2).codes)


def test_the_loss_falls_when_the_rival_becomes_less_likely(model: Path, machine: runtime.Runtime) -> None:
    network, tokenizer = causal_lm.load(str(model), machine.device, torch.float32)
    encode, histories = lora_lm._Tokens(tokenizer, TITLES), ring(users=4, steps=3)
    texts, ends = encode(histories)
    rivals, rival_ends = encode(lora_lm.with_rivals(histories, 1, 1))
    batch = lora_lm._padded([*texts, *rivals], 1, np.concatenate([ends, rival_ends]))
    tokens, targets, last = batch
    with torch.no_grad():
        losses = lora_lm._losses(network, tokens, targets)
        wanted = [-losses[row, mask].mean().item() for row, mask in enumerate(last)]
        margins = [np.log1p(np.exp(wanted[4 + row] - wanted[row])) for row in range(4)]
        plain = torch.cat([losses[row][targets[row] >= 0] for row in range(4)]).mean().item()
        assert lora_lm._NextTitle(network)(tokens, targets, last).item() == pytest.approx(
            plain + np.mean(margins), rel=1e-4
        )


def test_every_user_is_drawn_before_one_is_drawn_again(machine: runtime.Runtime) -> None:
    texts = lora_lm._Texts(ring(users=10), None, size=8, seed=1, machine=machine)  # type: ignore[arg-type]
    stream = np.concatenate([texts.drawn(epoch) for epoch in (1, 2, 3, 4, 5)])
    assert [sorted(part.tolist()) for part in np.split(stream, 4)] == [list(range(10))] * 4


def test_perplexity_is_that_of_the_last_titles_alone(model: Path, machine: runtime.Runtime) -> None:
    network, tokenizer = causal_lm.load(str(model), machine.device, torch.float32)
    encode, histories = lora_lm._Tokens(tokenizer, TITLES), ring(users=5, steps=3)
    texts, newest = encode(histories)
    losses = []
    for text, n in zip(texts, newest, strict=True):
        with torch.no_grad():
            logits = network(torch.tensor([text])).logits[0].log_softmax(-1)
        losses += [-logits[place - 1, text[place]].item() for place in range(len(text) - n, len(text))]
    assert lora_lm._perplexity(network, encode, histories, machine) == pytest.approx(np.exp(np.mean(losses)), rel=1e-4)


def test_what_is_missing_is_reported_in_a_line(
    model: Path, machine: runtime.Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="no text to tune"):
        tuned(model, machine, tmp_path, titles=[""] * len(TITLES))
    with pytest.raises(SettingsError, match="no model 'nowhere'"):
        tuned(Path("nowhere"), machine, tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match="'peft'") as caught:
        tuned(model, machine, tmp_path)
    assert caught.value.fix == "pip install 'llmrec-cli[peft]'"


def test_a_model_that_cannot_write_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    shape = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(shape).save_pretrained(tmp_path)
    with pytest.raises(SettingsError, match="it is a BertModel"):
        causal_lm.load(str(tmp_path), torch.device("cpu"), torch.float32)
