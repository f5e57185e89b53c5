"""The stage as a whole on rings of items that users walk around: what comes next is known."""

from __future__ import annotations

from dataclasses import replace
from multiprocessing import active_children, get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from llmrec_cli.content import text
from llmrec_cli.content.preprocessing import centred, joined
from llmrec_cli.core.artifacts import (
    ENCODER,
    ENCODER_VALIDATION,
    ITEM_TEXT_VECTORS,
    ITEM_VECTORS,
    ITEMS,
    PRETRAIN_CURVE,
    SEQUENCES,
    TEXT_ENCODER,
)
from llmrec_cli.core.errors import DataError, SettingsError, UpstreamError
from llmrec_cli.core.progress import PlainProgress, sparkline
from llmrec_cli.core.stage import Context, Report, estimate, execute
from llmrec_cli.core.workdir import WorkDir, to_numpy
from llmrec_cli.data.interactions import Sequences, from_table
from llmrec_cli.sequence import background_refit, text_tuning
from llmrec_cli.sequence.background_refit import BackgroundRefit
from llmrec_cli.sequence.defaults import EPOCHS, WARM_LEARNING_RATE, tokens_per_step
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.sequence.model_config import ModelConfig, Objective
from llmrec_cli.sequence.training_plan import TrainingPlan, training_config
from llmrec_cli.stages.pretrain import STAGE, PretrainConfig
from llmrec_cli.tensors import checkpoints
from llmrec_cli.tensors.runtime import Epoch
from tests.signing import vouch

N_ITEMS, N_USERS, NEVER_BOUGHT = 20, 150, 2
QUICK: dict[str, Any] = {"text_encoder": "hashed", "dim": 16, "epochs": 4, "dropout": 0.1, "learning_rate": 0.01}
MODELS = (ENCODER, ENCODER_VALIDATION, ITEM_VECTORS, ITEM_TEXT_VECTORS)


def work_with(folder: Path, histories: list[list[int]]) -> WorkDir:
    """The parts of `clean` that the stage reads; item 20 has a text like item 3's, item 21 has none."""
    work = WorkDir(folder)
    counts = np.bincount(np.concatenate(histories), minlength=N_ITEMS + NEVER_BOUGHT)
    rows = [{"item_id": f"i{n:02d}", "title": f"thing number{n}", "n_events": int(c)} for n, c in enumerate(counts)]
    rows[20]["title"], rows[21]["title"] = "thing number3", None
    work.write(
        ITEMS, pa.Table.from_pylist([{"tags": [], "attributes": [], **row} for row in rows], schema=ITEMS.schema)
    )
    users = [
        {
            "user_id": f"u{user:03d}",
            "item_ids": [f"i{n:02d}" for n in items],
            "item_codes": [int(n) for n in items],
            "times": [None] * len(items),
            "weights": [1.0] * len(items),
        }
        for user, items in enumerate(histories)
    ]
    work.write(SEQUENCES, pa.Table.from_pylist(users, schema=SEQUENCES.schema))
    return vouch(work)


def walks() -> list[list[int]]:
    """Each user walks on from a random item, 2 to 8 steps around the ring of 20; the last 10 take one step only."""
    rng = np.random.default_rng(0)
    lengths = np.append(rng.integers(3, 9, N_USERS - 10), np.ones(10, dtype=int))
    return [
        [int((start + step) % N_ITEMS) for step in range(n)]
        for start, n in zip(rng.integers(0, 20, N_USERS), lengths, strict=True)
    ]


@pytest.fixture
def quick(context: Context) -> Context:
    return replace(context, threads=1)


def content(work: WorkDir) -> dict[str, str]:
    return {artifact.path: work.fingerprint(artifact) for artifact in MODELS}


def test_the_next_item_on_the_ring_is_learnt(tmp_path: Path, quick: Context) -> None:
    work = work_with(tmp_path, walks())
    outcome = execute(STAGE, work, PretrainConfig(**{**QUICK, "epochs": 12}), quick)
    assert outcome.report.metrics["ndcg@10"] > 0.8 > 2 * outcome.report.metrics["popularity_ndcg@10"]
    encoder = SequenceEncoder.load(work.where(ENCODER))
    items = work.read(ITEMS)
    sequences = from_table(work.read(SEQUENCES), items)
    scores = encoder.encode(sequences) @ encoder.item_vectors.T
    walkers = sequences.lengths >= 3
    following = (sequences.last() + 1) % N_ITEMS
    assert (scores.argmax(1) == following)[walkers].mean() > 0.9
    assert np.isfinite(scores).all()
    assert scores[~walkers].any(axis=1).all()  # one event is enough to be encoded


def test_vectors_are_in_the_order_of_the_items(tmp_path: Path, quick: Context) -> None:
    work = work_with(tmp_path, walks())
    execute(STAGE, work, PretrainConfig(**QUICK), quick)
    ids = work.read(ITEMS).column("item_id")
    fused, text = work.read(ITEM_VECTORS), work.read(ITEM_TEXT_VECTORS)
    assert fused.column("item_id").equals(ids) and text.column("item_id").equals(ids)
    np.testing.assert_array_equal(
        to_numpy(fused.column("vector")), SequenceEncoder.load(work.where(ENCODER)).item_vectors
    )
    vectors = to_numpy(text.column("vector"))
    assert not vectors[21].any()
    np.testing.assert_allclose(np.linalg.norm(vectors[:21], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[20], vectors[3], atol=1e-6)


def test_curve_reports_both_phases(tmp_path: Path, quick: Context) -> None:
    work = work_with(tmp_path, walks())
    outcome = execute(STAGE, work, PretrainConfig(**QUICK), quick)
    curve = work.read(PRETRAIN_CURVE).to_pylist()
    search = [row for row in curve if row["phase"] == "search"]
    refit = [row for row in curve if row["phase"] == "refit"]
    assert [row["epoch"] for row in search] == [1, 2, 3, 4]
    assert search[-1]["loss"] < search[0]["loss"] and all(0 <= row["ndcg"] <= 1 for row in search)
    assert len(refit) == outcome.report.metrics["best_epoch"]
    assert all(row["ndcg"] is None for row in refit)


def test_without_refit_both_encoders_are_the_same(tmp_path: Path, quick: Context) -> None:
    work = work_with(tmp_path, walks())
    execute(STAGE, work, PretrainConfig(**QUICK, refit=False), quick)
    assert work.fingerprint(ENCODER) == work.fingerprint(ENCODER_VALIDATION)
    execute(STAGE, work, PretrainConfig(**QUICK), quick)
    assert work.fingerprint(ENCODER) != work.fingerprint(ENCODER_VALIDATION)


def test_search_never_sees_the_newest_event(tmp_path: Path, quick: Context) -> None:
    """Two logs that differ in nothing but the newest events are the same lesson."""
    histories = walks()
    other = [[*items[:-1], (items[-1] + 7) % N_ITEMS] if len(items) > 1 else items for items in histories]
    losses = []
    for name, lists in (("a", histories), ("b", other)):
        work = work_with(tmp_path / name, lists)
        execute(STAGE, work, PretrainConfig(**{**QUICK, "epochs": 2, "patience": 0, "refit": False}), quick)
        losses.append(work.read(PRETRAIN_CURVE).column("loss").to_pylist())
    assert losses[0] == losses[1]


def test_same_seed_same_bytes_other_seed_other_model(tmp_path: Path, quick: Context) -> None:
    one, two, three = (work_with(tmp_path / name, walks()) for name in "abc")
    execute(STAGE, one, PretrainConfig(**QUICK), quick)
    execute(STAGE, two, PretrainConfig(**QUICK), quick)
    execute(STAGE, three, PretrainConfig(**QUICK), replace(quick, seed=43))
    assert content(one) == content(two)
    assert content(one)[ENCODER.path] != content(three)[ENCODER.path]


@pytest.mark.parametrize("killed_after", [1, 3, 5])
def test_a_killed_training_ends_with_the_same_bytes(
    tmp_path: Path, quick: Context, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    """Killed in the search (1, 3) or in the refit (5), and started again."""
    config = PretrainConfig(**QUICK, patience=0)
    whole, killed = work_with(tmp_path / "whole", walks()), work_with(tmp_path / "killed", walks())
    execute(STAGE, whole, config, quick)
    real, saved = checkpoints.save_state, []

    def save_then_die(*args: Any) -> None:
        real(*args)
        saved.append(args[0].stem)
        if len(saved) == killed_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save_state", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            execute(STAGE, killed, config, quick)
        assert killed.record("pretrain") is None
        patched.setattr(checkpoints, "save_state", lambda *args: (saved.append(args[0].stem), real(*args)))
        execute(STAGE, killed, config, quick)
    best = len([row for row in whole.read(PRETRAIN_CURVE).to_pylist() if row["phase"] == "refit"])
    assert saved == ["search"] * 4 + ["refit"] * best  # nothing was done twice
    assert content(killed) == content(whole)
    assert not (killed.path / "pretrain" / ".scratch").exists()


@pytest.mark.parametrize("patience", [0, 1])
def test_a_refit_in_the_background_ends_with_the_same_bytes(
    tmp_path: Path, quick: Context, monkeypatch: pytest.MonkeyPatch, patience: int
) -> None:
    config = PretrainConfig(**QUICK, patience=patience)
    alone, shared = work_with(tmp_path / "alone", walks()), work_with(tmp_path / "shared", walks())
    execute(STAGE, alone, config, quick)
    monkeypatch.setattr(background_refit, "WORTH", 0)
    real, saved = checkpoints.save_state, []
    monkeypatch.setattr(checkpoints, "save_state", lambda *args: (saved.append(args[0].stem), real(*args)))
    execute(STAGE, shared, config, replace(quick, threads=2))  # one thread for each of the two
    assert saved == ["search"] * len(saved)  # the refit was saved by another process
    assert content(shared) == content(alone)
    assert not active_children() and not (shared.path / "pretrain" / ".scratch").exists()


def test_a_refit_that_was_ahead_of_the_best_epoch_goes_back_to_it(tmp_path: Path) -> None:
    ahead, wanted = tmp_path / "refit.safetensors", tmp_path / "refit-3.safetensors"
    for path, epochs in ((ahead, 5), (wanted, 3)):
        checkpoints.save_state(path, {}, {"history": [{"epoch": n + 1} for n in range(epochs)]})
    BackgroundRefit(ahead).wait_for(3, PlainProgress(quiet=True))
    assert len(checkpoints.describe(ahead)["history"]) == 3 and not wanted.exists()
    BackgroundRefit(ahead).wait_for(4, PlainProgress(quiet=True))  # not made yet: `train` goes on from where it stands
    assert len(checkpoints.describe(ahead)["history"]) == 3


def test_the_background_process_ends_with_its_parent() -> None:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=background_refit.end_with, args=(there,))
    process.start()
    there.close()
    assert process.is_alive()
    here.close()  # what the system does when a process is killed
    process.join(60)
    assert process.exitcode == 1


def test_bert_learns_the_ring_too(tmp_path: Path, quick: Context) -> None:
    work = work_with(tmp_path, walks())
    config = PretrainConfig(**{**QUICK, "epochs": 25, "patience": 0}, architecture="bert", refit=False)
    report = execute(STAGE, work, config, quick).report
    assert report.metrics["ndcg@10"] > 0.6 > 2 * report.metrics["popularity_ndcg@10"]


def test_private_training_reports_what_it_spent_and_runs_all_epochs(tmp_path: Path, quick: Context) -> None:
    config = PretrainConfig(**{**QUICK, "epochs": 2, "patience": 1}, dp_epsilon=8.0)
    report = execute(STAGE, work_with(tmp_path, walks()), config, quick).report
    spent = [
        float(line.split("epsilon ")[1].split(",")[0]) for line in report.lines if line.startswith("privacy spent")
    ]
    assert len(spent) == 2 and 0 < sum(spent) <= 8.0
    assert report.metrics["best_epoch"] == 2
    with pytest.raises(ValueError, match="protects nothing"):
        PretrainConfig(dp_epsilon=1.0, init_from="elsewhere")


def test_a_warm_start_keeps_what_was_learnt_and_places_new_items(tmp_path: Path, quick: Context) -> None:
    """The ring learnt once is known after a single, tiny step; in another log most items are the same."""
    old = work_with(tmp_path / "old", walks())
    execute(STAGE, old, PretrainConfig(**{**QUICK, "epochs": 12}), quick)
    slow = {**QUICK, "epochs": 1, "learning_rate": 1e-5, "refit": False}
    new = work_with(tmp_path / "new", walks()[20:])
    cold = execute(STAGE, new, PretrainConfig(**slow), quick).report.metrics["ndcg@10"]
    warm = execute(STAGE, new, PretrainConfig(**slow, init_from=str(tmp_path / "old")), quick).report.metrics["ndcg@10"]
    assert warm > 0.7 > 1.5 * cold
    with pytest.raises(SettingsError, match="another shape"):
        execute(STAGE, new, PretrainConfig(**{**slow, "dim": 32}, init_from=str(tmp_path / "old")), quick)
    with pytest.raises(UpstreamError):
        execute(STAGE, new, PretrainConfig(**slow, init_from=str(tmp_path / "nowhere")), quick)


@pytest.mark.parametrize("harm", ["flipped", "unsigned", "of another log"])
def test_a_warm_start_trusts_only_what_the_other_folder_vouches_for(tmp_path: Path, quick: Context, harm: str) -> None:
    old = work_with(tmp_path / "old", walks())
    execute(STAGE, old, PretrainConfig(**{**QUICK, "epochs": 1}), quick)
    if harm == "flipped":
        weights = old.where(ENCODER) / checkpoints.WEIGHTS_NAME
        weights.write_bytes(weights.read_bytes()[:-1] + bytes([weights.read_bytes()[-1] ^ 1]))
    elif harm == "unsigned":
        old.unsign("pretrain")
    else:
        work_with(tmp_path / "old", walks()[20:])
    new = work_with(tmp_path / "new", walks())
    with pytest.raises(UpstreamError, match=r"pretrain\.init_from: ") as caught:
        execute(STAGE, new, PretrainConfig(**QUICK, init_from=str(tmp_path / "old")), quick)
    assert f"--work {old.path}" in caught.value.fix and not new.has(ENCODER)


def test_the_defaults_go_by_the_architecture_and_the_start() -> None:
    log = Sequences(np.zeros(2, dtype=np.int32), np.array([0, 2]), 1)

    def found(**given: Any) -> tuple[int, float]:
        chosen = training_config(PretrainConfig(**given), log)
        return chosen.epochs, chosen.learning_rate

    assert found() == (16, 2e-3)
    assert found(architecture="bert") == (EPOCHS["bert"], 2e-3) and EPOCHS["bert"] > 16
    assert found(init_from="elsewhere") == (16, WARM_LEARNING_RATE) and WARM_LEARNING_RATE < 2e-3
    assert found(architecture="bert", init_from="elsewhere", epochs=3, learning_rate=0.5) == (3, 0.5)


def test_a_search_that_was_not_done_says_so(tmp_path: Path, quick: Context) -> None:
    work = work_with(tmp_path, walks())
    short = execute(
        STAGE, work, PretrainConfig(**{**QUICK, "epochs": 2, "learning_rate": 0.003}, refit=False), quick
    ).report
    assert short.metrics["best_epoch"] == 2
    assert [w for w in short.warnings if "raise pretrain.epochs" in w]
    rate = {**QUICK, "epochs": 12, "learning_rate": 0.1}
    long = execute(STAGE, work, PretrainConfig(**rate, refit=False), quick).report
    assert long.metrics["best_epoch"] < 12 and not [w for w in long.warnings if "pretrain.epochs" in w]


def test_a_tuned_text_encoder_is_kept_where_its_vectors_are(
    tmp_path: Path, quick: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(text_tuning, "LEARNING_RATE", 3e-3)
    folder = number_encoder(tmp_path / "bert")
    settings = {**QUICK, "text_encoder": str(folder), "epochs": 2, "tune_text": True, "tune_text_steps": 100}
    work, config = work_with(tmp_path / "work", walks()), PretrainConfig(**settings)
    before = estimate(STAGE, work, config, quick)
    assert before.metrics["tune_text_seconds"] > 0 and any("at most 100 steps" in line for line in before.lines)
    report = execute(STAGE, work, config, quick).report
    line = next(line for line in report.lines if line.startswith("text encoder tuned"))
    assert "kept: tuned" in line or "kept: frozen and tuned" in line
    frozen, kept = (text.tunable(str(path), "cpu", tmp_path) for path in (folder, work.need(TEXT_ENCODER)))
    texts = text.item_texts(work.read(ITEMS))
    vectors = [centred(encoder.encode(texts)) for encoder in (frozen, kept)]
    expected = vectors[1] if "kept: tuned" in line else joined(*vectors)
    np.testing.assert_allclose(to_numpy(work.read(ITEM_TEXT_VECTORS).column("vector")), expected, atol=0.02)
    execute(STAGE, work, PretrainConfig(**{**settings, "tune_text": False}), quick)
    assert not (work.path / TEXT_ENCODER.path).exists()


def number_encoder(folder: Path) -> Path:
    """A tiny encoder with random weights that knows the words of `work_with`."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "thing", *(f"number{n}" for n in range(N_ITEMS))]
    BertTokenizerFast(vocab={word: n for n, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), initializer_range=0.3, **shape)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("refit", [True, False])
def test_an_estimate_reports_search_and_refit_apart(tmp_path: Path, quick: Context, refit: bool) -> None:
    work = work_with(tmp_path, walks())
    report = estimate(STAGE, work, PretrainConfig(text_encoder="hashed", dim=16, refit=refit), quick)
    reported = "at most 16 epochs" + (", then up to 16 more on all events:" if refit else ":")
    assert [line for line in report.lines if reported in line] and not [
        line for line in report.lines if "32 epochs" in line
    ]
    assert (report.metrics["epochs"], report.metrics["refit_epochs"]) == (16, 16 * refit)


@pytest.mark.parametrize(("kept", "line"), [(2, "best 0.3000 after 2"), (3, "whatever was measured: 0.1000 after 3")])
def test_the_figure_of_the_epoch_that_is_kept_is_reported(kept: int, line: str) -> None:
    """A private training keeps the last epoch, also where one before it was better."""
    from llmrec_cli.stages.pretrain import _describe

    search = [Epoch(n + 1, 1.0, 1.0, {"ndcg@10": ndcg}) for n, ndcg in enumerate((0.2, 0.3, 0.1))]
    report = Report(metrics={"content_weight": 0.0, "ndcg@10": 0.1, "popularity_ndcg@10": 0.1})
    log = Sequences(np.zeros(2, dtype=np.int32), np.array([0, 2]), 1)
    plan = TrainingPlan(training_config(PretrainConfig(), log), log, np.zeros((1, 0), np.float32), 1, 1, Path())
    fitted: Any = SimpleNamespace(plan=plan, best=kept, curves={"search": search}, warm=False)
    assert f"{line} epochs" in _describe(report, fitted).lines[0]


def test_more_items_than_memory_are_reported(tmp_path: Path, quick: Context) -> None:
    with pytest.raises(DataError, match="--max-memory"):
        execute(STAGE, work_with(tmp_path, walks()), PretrainConfig(**QUICK), replace(quick, max_memory=1000))


@pytest.mark.parametrize("histories", [[[1], [2]], [[1, 2], [3, 4]]])
def test_too_little_to_learn_from_is_reported(tmp_path: Path, quick: Context, histories: list[list[int]]) -> None:
    with pytest.raises(DataError) as caught:
        execute(STAGE, work_with(tmp_path, histories), PretrainConfig(**QUICK), quick)
    assert caught.value.fix


def test_a_mistyped_text_encoder_fails_before_any_training(tmp_path: Path, quick: Context) -> None:
    with pytest.raises(SettingsError):
        execute(STAGE, work_with(tmp_path, walks()), PretrainConfig(text_encoder="minlm"), quick)
    assert not (tmp_path / "pretrain" / "encoder").exists()


def test_a_privacy_budget_and_text_that_is_tuned_without_one_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="dp_epsilon does not cover tune_text"):
        PretrainConfig(dp_epsilon=8.0, tune_text=True)


def test_heads_must_divide_dim() -> None:
    with pytest.raises(ValueError, match="divide"):
        PretrainConfig(dim=10, heads=4)


@pytest.mark.parametrize(
    ("events", "given", "expected"),
    [
        (8, {}, ("cosine", 0.07, 0.5, 50)),
        (60, {}, ("dot", 1.0, 0.2, 100)),
        (400, {}, ("dot", 1.0, 0.2, 200)),
        (8, {"similarity": "dot"}, ("dot", 1.0, 0.5, 50)),
        (60, {"dropout": 0.0, "max_length": 30, "similarity": "cosine"}, ("cosine", 0.07, 0.0, 30)),
    ],
)
def test_auto_goes_by_the_length_of_the_histories_and_what_was_set_stays(
    events: int, given: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    log = Sequences(np.zeros(2 * events, dtype=np.int32), np.array([0, events, 2 * events]), 1)
    found = training_config(PretrainConfig(**given), log).network
    assert (found.similarity, found.temperature, found.dropout, found.max_length) == expected


def test_every_setting_of_the_network_and_the_objective_reaches_them() -> None:
    """What is typed is what is built: each field away from its default, and none of the model is forgotten."""
    typed: dict[str, Any] = {
        "architecture": "bert", "dim": 36, "layers": 5, "heads": 3, "dropout": 0.11, "max_length": 77,
        "positions": "learned", "time_bias": True, "target_time": True, "similarity": "cosine", "temperature": 0.3,
        "loss": "gbce", "negatives": 7, "targets": "prefixes", "item_dropout": 0.2,
        "epochs": 9, "learning_rate": 0.01, "patience": 8, "tokens_per_step": 333,
    }  # fmt: skip
    found = training_config(PretrainConfig(**typed), Sequences(np.zeros(2, dtype=np.int32), np.array([0, 2]), 1))
    built = found.network.model_dump() | found.objective.model_dump()
    assert set(built) == set(ModelConfig.model_fields) | set(Objective.model_fields)
    assert built == {name: typed[name] for name in built}
    assert (found.epochs, found.learning_rate, found.patience, found.tokens_per_step) == (9, 0.01, 8, 333)


def test_steps_grow_with_the_data() -> None:
    sizes = [tokens_per_step(targets) for targets in (100, 10_000, 100_000, 1_000_000, 100_000_000)]
    assert sizes == sorted(sizes) and sizes[0] >= 64


def test_sparkline_rises_with_the_values() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▄█"
    assert sparkline([0.3, 0.3]) == "▁▁"
