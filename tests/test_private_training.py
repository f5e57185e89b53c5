"""Private training: what a user can do is bounded, the budget is kept, and without noise it learns as the plain one."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_cli.core.errors import MissingExtraError, SettingsError
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.extras import private_training, user_gradients
from llmrec_cli.extras.private_training import Privacy, Spent
from llmrec_cli.sequence.model_config import ModelConfig, Objective
from llmrec_cli.sequence.training import NextItemModel, TrainingData
from llmrec_cli.tensors import checkpoints, runtime

pytest.importorskip("opacus", reason="needs the extra 'privacy'")

N_ITEMS, N_USERS = 20, 200
SCHEDULE = runtime.Schedule(epochs=2, steps_per_epoch=1, learning_rate=0.01)
NO_PRIVACY = {"epsilon": 1e12, "clip": 100.0, "users_per_step": 20, "seeded": True}


def ring(timed: bool = False) -> Sequences:
    """Users who walk on from a random item, 1 to 8 steps around a ring of 20."""
    rng = np.random.default_rng(0)
    lengths, starts = rng.integers(1, 9, N_USERS), rng.integers(0, N_ITEMS, N_USERS)
    codes = np.concatenate([(start + np.arange(n)) % N_ITEMS for start, n in zip(starts, lengths, strict=True)])
    times = np.sort(rng.integers(0, 10**6, len(codes))) if timed else None
    return Sequences(codes.astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]), N_ITEMS, times)


def model_of(data: TrainingData) -> NextItemModel:
    runtime.seed_everything(1)
    counts = torch.from_numpy(data.counts).float()
    content = torch.randn(len(data.vocabulary), 4)
    return NextItemModel(data.shape, data.objective, content, counts, torch.float32)


def data_of(log: Sequences, **settings: Any) -> TrainingData:
    objective = Objective(item_dropout=settings.pop("item_dropout", 0.0))
    return TrainingData(log, ModelConfig(dim=16, **settings), objective)


def job_of(epochs: int = 2, **others: Any) -> runtime.Job:
    """A job of which private training draws its users itself."""
    return runtime.Job("test", (1,), replace(SCHEDULE, epochs=epochs), batches=lambda epoch: [], targets=0, **others)


def trained(
    data: TrainingData, privacy: dict[str, Any], epochs: int = 2, checkpoint: Path | None = None, **others: Any
) -> tuple[NextItemModel, list[runtime.Epoch], Spent]:
    model = model_of(data)
    job = job_of(epochs, checkpoint=checkpoint, **others)
    history, spent = private_training.train(
        model, data, Privacy(**privacy), job, machine=runtime.start("cpu", 1), progress=PlainProgress(quiet=True)
    )
    return model, history, spent


def same(one: NextItemModel, other: NextItemModel) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    "settings",
    [
        {"positions": "rotary"},
        {"positions": "learned", "similarity": "cosine", "temperature": 0.1},
        {"positions": "relative", "time_bias": True, "target_time": True, "max_length": 4},
    ],
)
def test_the_gradient_of_each_user_is_that_of_training_on_it_alone(settings: dict[str, Any]) -> None:
    data = data_of(ring(timed="time_bias" in settings), **settings)
    model = model_of(data).eval()
    users = np.flatnonzero(data.log.lengths >= 2)[:7]
    gradients = user_gradients.UserGradients(model)
    for rows in user_gradients.user_rows(data, users, at_a_time=4):
        losses = gradients.set(rows)
        together = {name: p.grad_sample for name, p in gradients.parameters.items()}
        for user in range(len(rows[0])):
            alone = [part[user : user + 1] for part in rows]
            if len(alone) == 4:
                alone[3] = alone[3].transpose(0, 1)
            model.zero_grad()
            loss = model(*alone)
            loss.backward()
            torch.testing.assert_close(losses[user], loss.detach())
            for name, parameter in model.named_parameters():
                torch.testing.assert_close(together[name][user], parameter.grad, rtol=1e-3, atol=1e-5)


def test_no_user_moves_the_sum_by_more_than_the_clip_norm() -> None:
    data = data_of(ring())
    users = np.flatnonzero(data.log.lengths >= 2)[:5]
    model = model_of(data)
    clip = 0.05
    training = private_training._Training(model, data, Privacy(epsilon=1.0, clip=clip), job_of(), torch.device("cpu"))
    plain, sums = [], []
    for user in users:
        (rows,) = user_gradients.user_rows(data, np.array([user]), 1)
        training.gradients.set(rows)
        plain.append({name: p.grad_sample[0].clone() for name, p in training.gradients.parameters.items()})
        training.optimiser.clip_and_accumulate()
        sums.append([p.summed_grad.clone() for p in training.gradients.parameters.values()])
        training.optimiser.zero_grad()
    for gradient, clipped in zip(plain, sums, strict=True):
        norm = torch.cat([part.flatten() for part in gradient.values()]).norm()
        assert norm > clip >= torch.cat([part.flatten() for part in clipped]).norm() > 0.99 * clip
        for part, whole in zip(clipped, gradient.values(), strict=True):
            torch.testing.assert_close(part, whole * clip / norm, rtol=1e-3, atol=1e-6)


def test_rows_are_the_newest_events_without_what_is_withheld() -> None:
    log = Sequences(np.array([9, 5, 6, 7, 8, 1, 2, 3], dtype=np.int32), np.array([0, 5, 8]), 10)
    data = TrainingData(log, ModelConfig(max_length=2), Objective(), withheld=1)
    (rows,) = user_gradients.user_rows(data, np.array([0, 1]), 8)
    names = np.append(data.vocabulary, -1)  # NO_TARGET is the last
    items, targets, segments = (part.numpy() for part in rows)
    assert names[targets].tolist() == [[2, -1], [6, 7]]
    assert names[items].tolist() == [[1, names[0]], [5, 6]]
    assert segments.tolist() == [[0, -1], [0, 0]]


def test_memory_decides_how_many_users_are_worked_on_and_not_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(ring())
    one, _, _ = trained(data, NO_PRIVACY)
    monkeypatch.setattr(user_gradients, "BYTES", 1 << 20)
    assert user_gradients.UserGradients(one).users_at_a_time < 10
    other, _, _ = trained(data, NO_PRIVACY)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("item_dropout", [0.0, 0.2])
def test_with_a_budget_without_bounds_it_learns_the_ring_as_the_plain_one_does(item_dropout: float) -> None:
    data = data_of(ring(), dropout=0.0, item_dropout=item_dropout)
    model, history, _ = trained(data, NO_PRIVACY, epochs=15)
    plain = model_of(data)
    job = runtime.Job(
        "plain", (1,), runtime.Schedule(15, data.steps(1), 0.01), lambda e: data.epoch(1, (1, e)), data.targets
    )
    runtime.train(plain, job, runtime.start("cpu", 1), PlainProgress(quiet=True))
    with torch.no_grad():
        (rows,) = user_gradients.user_rows(data, np.flatnonzero(data.log.lengths >= 2), N_USERS)
        ours, theirs = float(model.eval()(*rows)), float(plain(*rows))
    assert history[-1].loss < 0.5 * history[0].loss
    assert ours < 0.05 * np.log(N_ITEMS) and ours < theirs + 0.1


def test_with_a_small_budget_little_is_learnt() -> None:
    _, history, spent = trained(data_of(ring()), {"epsilon": 0.5, "users_per_step": 20, "seeded": True}, epochs=5)
    assert history[-1].loss > 0.8 * history[0].loss and spent.epsilon <= 0.5


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0, 1000.0])
def test_what_is_spent_is_what_was_asked(epsilon: float) -> None:
    _, _, spent = trained(data_of(ring()), {"epsilon": epsilon, "users_per_step": 20})
    users = int((ring().lengths >= 2).sum())
    assert 0.99 * epsilon < spent.epsilon <= epsilon
    assert spent.delta == pytest.approx(1 / users**1.1) and spent.steps == 2 * round(users / 20)


def test_more_steps_need_more_noise_and_spend_more() -> None:
    noises = [private_training.noise_multiplier(2.0, 1e-5, 0.01, steps) for steps in (10, 100, 1000)]
    assert noises == sorted(noises) and noises[0] < noises[-1]
    data = data_of(ring())
    training = private_training._Training(
        model_of(data), data, Privacy(epsilon=2.0, users_per_step=20), job_of(epochs=3), torch.device("cpu")
    )
    spent = [training.spent().epsilon]
    for epoch in (1, 2, 3):
        training.epoch(epoch, lambda n: None)
        spent.append(training.spent().epsilon)
    assert spent[0] == 0 and spent == sorted(set(spent)) and spent[-1] <= 2.0


def test_noise_is_added_where_nobody_is_drawn() -> None:
    data = data_of(ring())
    model = model_of(data)
    before = model.ids.weight.detach().clone()
    training = private_training._Training(model, data, Privacy(epsilon=1.0), job_of(), torch.device("cpu"))
    assert training._step(np.empty(0, dtype=np.int64)) == (0.0, 0)
    assert (model.ids.weight != before).all() and training.spent().steps == 1


def test_a_budget_is_shared_by_trainings() -> None:
    half = Privacy(epsilon=3.0).shared_by(2, users=1000)
    assert half.epsilon == 1.5 and half.delta == pytest.approx(0.5 * 1000**-1.1)


def test_noise_is_new_each_time_unless_a_seed_is_asked_for() -> None:
    data = data_of(ring())
    budget = {"epsilon": 3.0, "users_per_step": 50}
    assert not same(trained(data, budget)[0], trained(data, budget)[0])
    assert same(trained(data, {**budget, "seeded": True})[0], trained(data, {**budget, "seeded": True})[0])


def test_a_killed_training_spends_no_more_than_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, path = data_of(ring()), tmp_path / "state"
    budget = {"epsilon": 3.0, "users_per_step": 50, "seeded": True}
    whole, _, spent = trained(data, budget, epochs=3)
    real = checkpoints.save_state

    def save_then_die(*args: Any) -> None:
        real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save_state", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            trained(data, budget, epochs=3, checkpoint=path)
    resumed, history, spent_again = trained(data, budget, epochs=3, checkpoint=path)
    assert same(resumed, whole) and spent_again == spent and [epoch.epoch for epoch in history] == [1, 2, 3]
    _, history, other = trained(data, {**budget, "epsilon": 1.0}, epochs=3, checkpoint=path)
    assert len(history) == 3 and other.epsilon <= 1.0 and other.steps == spent.steps  # begun anew


def test_metrics_are_reported_and_decide_nothing() -> None:
    values = iter([0.9, 0.1])
    data = data_of(ring())
    model, history, _ = trained(data, NO_PRIVACY, evaluate=lambda: {"ndcg@10": next(values)})
    assert [epoch.metrics["ndcg@10"] for epoch in history] == [0.9, 0.1]
    assert same(model, trained(data, NO_PRIVACY)[0])


def test_what_cannot_be_private_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="bert"):
        private_training.check(ModelConfig(architecture="bert"), Objective())
    with pytest.raises(SettingsError, match="sampled"):
        private_training.check(ModelConfig(), Objective(loss="sampled"))
    with pytest.raises(SettingsError, match="no noise"):
        private_training.noise_multiplier(1e-4, 1e-9, 1.0, 1000)
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(MissingExtraError) as caught:
        private_training.check(ModelConfig(), Objective())
    assert "llmrec-cli[privacy]" in caught.value.fix
