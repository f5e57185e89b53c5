"""The chunked softmax against the plain one."""

from __future__ import annotations

import pytest
import torch

from llmrec_cli.sequence import losses
from llmrec_cli.sequence.losses import softmax_cross_entropy


def problem(n: int = 37, n_items: int = 53, dim: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    states = torch.randn(n, dim, generator=generator, requires_grad=True)
    table = torch.randn(n_items, dim, generator=generator, requires_grad=True)
    return states, table, torch.randint(n_items, (n,), generator=generator)


def loss_and_gradients(loss: torch.Tensor, *leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (loss.detach(), *torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("longer", [1, 3])  # with logits that exp takes as they are, and some it would not
@pytest.mark.parametrize("elements", [1, 53 * 20, 1 << 22])
def test_loss_and_gradients_are_those_of_the_plain_softmax(
    elements: int, longer: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", elements)  # several chunks, a ragged last one, and all at once
    states, table, targets = problem()
    states = (longer * states).detach().requires_grad_()
    plain = loss_and_gradients(torch.nn.functional.cross_entropy(states @ table.T, targets), states, table)
    chunked = loss_and_gradients(softmax_cross_entropy(states, table, targets), states, table)
    for found, wanted in zip(chunked, plain, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_an_item_that_is_the_target_several_times_gets_every_share() -> None:
    states, table, _ = problem()
    targets = torch.full((len(states),), 7)
    plain = torch.autograd.grad(torch.nn.functional.cross_entropy(states @ table.T, targets), table)[0]
    chunked = torch.autograd.grad(softmax_cross_entropy(states, table, targets), table)[0]
    torch.testing.assert_close(chunked, plain, rtol=1e-5, atol=1e-6)


def test_bfloat16_products_are_close() -> None:
    states, table, targets = problem(dim=64)
    small = (table * 0.1).detach().requires_grad_()
    plain = loss_and_gradients(torch.nn.functional.cross_entropy(states @ small.T, targets), states, small)
    halved = loss_and_gradients(softmax_cross_entropy(states, small, targets, torch.bfloat16), states, small)
    for found, wanted in zip(halved, plain, strict=True):
        assert (found - wanted).norm() <= 0.02 * wanted.norm()


def test_gradients_scale_with_what_comes_from_above() -> None:
    states, table, targets = problem()
    once = torch.autograd.grad(softmax_cross_entropy(states, table, targets), states)[0]
    thrice = torch.autograd.grad(3 * softmax_cross_entropy(states, table, targets), states)[0]
    torch.testing.assert_close(thrice, 3 * once)


def test_a_hopeless_target_gives_a_finite_loss() -> None:
    states, table = torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0]])
    assert torch.isfinite(softmax_cross_entropy(states, table, torch.tensor([1])))


def test_sampled_softmax_is_the_full_one_on_average() -> None:
    """With logQ the sum over sampled items is unbiased: many draws come near the loss over all items."""
    states, table, targets = problem(n=16, n_items=200)
    counts = torch.bincount(targets, minlength=200).float()
    full = float(softmax_cross_entropy(states, table * 0.3, targets).detach())
    torch.manual_seed(0)
    drawn = [
        float(
            losses.sampled_softmax(
                states, table * 0.3, targets, negatives=100, frequency=counts / counts.sum()
            ).detach()
        )
        for _ in range(200)
    ]
    assert sum(drawn) / len(drawn) == pytest.approx(full, rel=0.02)


def test_sampling_more_than_the_catalogue_is_the_full_softmax_nearly() -> None:
    states, table, targets = problem()
    torch.manual_seed(0)
    frequency = torch.full((len(table),), 1 / len(table))
    sampled = losses.sampled_softmax(states, table, targets, negatives=5000, frequency=frequency)
    torch.testing.assert_close(sampled, softmax_cross_entropy(states, table, targets), rtol=1e-4, atol=1e-4)


def test_a_correction_spares_the_target() -> None:
    states, table, targets = problem()
    correction = torch.randn(len(table))
    logits = states @ table.T + correction
    logits[torch.arange(len(targets)), targets] -= correction[targets]
    plain = loss_and_gradients(torch.nn.functional.cross_entropy(logits, targets), states, table)
    chunked = loss_and_gradients(
        softmax_cross_entropy(states, table, targets, torch.float32, correction), states, table
    )
    for found, wanted in zip(chunked, plain, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_gbce_is_binary_cross_entropy_with_a_weakened_positive() -> None:
    """t = 0 leaves beta = 1 (plain BCE); t = 1 gives beta = the sampled share (Petrov and Macdonald 2023)."""
    states, table, targets = problem(n=1, n_items=2, dim=3)
    positive = (states * table[targets]).sum()
    torch.manual_seed(0)
    drawn = torch.randint(2, (1,))
    torch.manual_seed(0)
    found = losses.generalised_bce(states, table, targets, negatives=1, calibration=0.0)
    wrong = torch.nn.functional.softplus(states @ table[drawn].T).sum() * (drawn != targets)
    torch.testing.assert_close(found, ((wrong - torch.nn.functional.logsigmoid(positive)) / 2).squeeze())
