"""A text encoder learns from behaviour what its words did not tell: which nouns go together."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from llmrec_cli.content import text
from llmrec_cli.content.preprocessing import centred
from llmrec_cli.core.artifacts import ITEMS
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.sequence import text_tuning
from llmrec_cli.sequence.text_tuning import NextTextModel, TextTuner, TextTuning, Windows
from llmrec_cli.sequence.validation import Validation
from llmrec_cli.tensors import runtime
from llmrec_cli.tensors.runtime import Epoch, Job, Runtime

GROUPS, ADJECTIVES = 6, 8
QUIET = PlainProgress(quiet=True)


def log_of(histories: list[list[int]], n_items: int) -> Sequences:
    offsets = np.cumsum([0, *map(len, histories)])
    return Sequences(np.concatenate(histories).astype(np.int32), offsets.astype(np.int64), n_items)


@dataclass(frozen=True)
class Case:
    """Items are an adjective and a noun; people stay with two nouns that share no letter."""

    items: pa.Table
    log: Sequences
    validation: Validation
    folder: Path

    def tuner(self, scratch: Path, steps: int = 150) -> TextTuner:
        scratch.mkdir(exist_ok=True)
        encoder = text.tunable(str(self.folder), "cpu", self.folder)
        return TextTuner(encoder, self.items, self.log, self.validation, TextTuning(2, steps, 1, scratch))

    def frozen(self) -> np.ndarray:
        return centred(text.tunable(str(self.folder), "cpu", self.folder).encode(text.item_texts(self.items)))


@pytest.fixture(scope="module")
def machine() -> Runtime:
    return runtime.start("cpu", 1)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("bert")
    nouns, adjectives = [f"noun{n}" for n in range(2 * GROUPS)], [f"kind{n}" for n in range(ADJECTIVES)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *nouns, *adjectives]
    BertTokenizerFast(vocab={word: n for n, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(words), initializer_range=0.3, **shape)).save_pretrained(folder)
    titles = [f"{adjective} {noun}" for noun in nouns for adjective in adjectives]
    rows = [{"item_id": f"i{n}", "title": title, "tags": [], "attributes": []} for n, title in enumerate(titles)]
    rng = np.random.default_rng(0)
    of_group = [[n for n in range(len(titles)) if n // ADJECTIVES % GROUPS == group] for group in range(GROUPS)]
    histories = [rng.permutation(of_group[user % GROUPS])[:8].tolist() for user in range(240)]
    log = log_of(histories, len(titles))
    ties = tie_order([row["item_id"] for row in rows])
    return Case(pa.Table.from_pylist(rows, schema=ITEMS.schema), log, Validation.sample(log, ties, 500, 1), folder)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(text_tuning, "LEARNING_RATE", 3e-3)
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))


def test_what_goes_together_is_learnt_also_for_items_that_no_step_had(
    case: Case, machine: Runtime, tmp_path: Path
) -> None:
    frozen, tuner = case.frozen(), case.tuner(tmp_path / "scratch")
    choice = tuner.choose(frozen, machine, QUIET)
    before, after = case.validation.content_ndcg(frozen), case.validation.content_ndcg(choice.vectors)
    assert choice.folder is not None and "kept: " in choice.line
    assert re.search(r"tuned on behaviour, \d+ steps, \d+ core-seconds; NDCG", choice.line)
    assert after.mean() > before.mean() + 0.1
    new = tuner.held_out[np.searchsorted(tuner.items, case.validation.targets)]
    assert 10 < new.sum() < 60 and after[new].mean() > before[new].mean() + 0.1
    again = case.tuner(tmp_path / "scratch").choose(frozen, machine, QUIET)  # continues after its last epoch
    np.testing.assert_array_equal(again.vectors, choice.vectors)


def test_every_user_counts_once_in_what_is_watched(
    case: Case, machine: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuner, found = case.tuner(tmp_path / "scratch"), {}

    def measured_once(model: object, job: Job, *_: object) -> list[Epoch]:
        assert job.evaluate is not None
        found.update(job.evaluate())
        return [Epoch(1, 0.0, 0.0, found)]

    monkeypatch.setattr(runtime, "train", measured_once)
    tuner.choose(case.frozen(), machine, QUIET)
    share = tuner.held_out[np.searchsorted(tuner.items, case.validation.targets)].mean()
    assert 0 < share < 0.25 and found["known"] != pytest.approx(found["held-out"], abs=0.01)
    assert found["ndcg@10"] == pytest.approx(share * found["held-out"] + (1 - share) * found["known"])


def test_what_is_no_better_is_left_out(
    case: Case, machine: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_tuning, "LEARNING_RATE", 0.0)
    rng = np.random.default_rng(1)
    titles = case.items.column("title").to_pylist()
    frozen = centred(rng.normal(size=(len(titles), 4)).astype(np.float32))
    good = np.eye(GROUPS, dtype=np.float32)[np.arange(len(titles)) // ADJECTIVES % GROUPS]
    choice = case.tuner(tmp_path / "scratch", steps=50).choose(good, machine, QUIET)
    assert choice.folder is None and choice.vectors is good and "kept: frozen" in choice.line
    assert case.tuner(tmp_path / "other", steps=50).choose(frozen, machine, QUIET).folder is not None


def test_too_few_users_are_reported_and_nothing_is_trained(case: Case, machine: Runtime, tmp_path: Path) -> None:
    few = replace(case, log=case.log.select(np.arange(text_tuning.FEWEST_USERS - 1)))
    frozen = case.frozen()
    choice = few.tuner(tmp_path / "scratch").choose(frozen, machine, QUIET)
    assert choice.vectors is frozen and "100 users" in choice.line and not list((tmp_path / "scratch").iterdir())


def test_the_newest_event_of_nobody_is_learnt(case: Case, tmp_path: Path) -> None:
    """What validation and the ranker ask for must not be in the vectors already."""
    tuner = case.tuner(tmp_path / "scratch")
    newest = dict(zip(range(len(case.log)), case.log.last().tolist(), strict=True))
    assert all(code not in history for (_, code), history in zip(newest.items(), split(tuner), strict=True))


def split(tuner: TextTuner) -> list[list[int]]:
    log = tuner.windows.log
    return [
        tuner.items[log.codes[start:stop]].tolist()
        for start, stop in zip(log.offsets[:-1], log.offsets[1:], strict=True)
    ]


def test_windows_are_successive_items_without_those_held_out() -> None:
    log = log_of([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 1], [2], [5, 6, 7]], 10)
    windows = Windows.of(log, np.arange(10) == 1)
    long = [0, 2, 3, 4, 5, 6, 7, 8, 9]
    assert windows.log.codes.tolist() == [*long, 5, 6, 7] and windows.log.offsets.tolist() == [0, 9, 12]
    steps = [batch[0].tolist() for batch in windows.batches((1, 2))]
    assert len(steps) == text_tuning.STEPS_PER_EPOCH
    rows = {tuple(row) for step in steps for row in step}
    short = (5, 6, 7, -1, -1, -1, -1)
    assert rows == {short, *(tuple(long[at : at + 7]) for at in range(3))}
    assert (
        steps
        == [batch[0].tolist() for batch in windows.batches((1, 2))]
        != [b[0].tolist() for b in windows.batches((1, 3))]
    )


def test_the_loss_is_that_of_prefixes_against_the_others_of_the_step() -> None:
    """By hand: the user's own items are no negatives, a repeat is no target, frequent negatives count less."""

    class Known(torch.nn.Module):
        table = torch.nn.functional.normalize(torch.tensor(np.random.default_rng(0).normal(size=(6, 4))).float(), dim=1)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.table[rows]

    log_counts = torch.log(torch.arange(1.0, 7.0))
    windows = torch.tensor([[0, 1, 0, -1], [4, 5, 3, 2]])
    loss = NextTextModel(Known(), log_counts)(windows)  # type: ignore[arg-type]
    unit = torch.nn.functional.normalize
    table, losses = Known.table, []
    for history, target, others in (
        ([0], 1, [2, 3, 4, 5]),
        ([4], 5, [0, 1]),
        ([4, 5], 3, [0, 1]),
        ([4, 5, 3], 2, [0, 1]),
    ):
        taste = sum(0.7 ** (len(history) - 1 - place) * table[item] for place, item in enumerate(history))
        able = [target, *others]
        logits = unit(taste, dim=0) @ table[able].T / text_tuning.TEMPERATURE - log_counts[able]  # type: ignore[arg-type, union-attr]
        losses.append(-torch.log_softmax(logits, dim=0)[0])
    torch.testing.assert_close(loss, torch.stack(losses).mean())
