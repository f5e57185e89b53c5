"""A language model tuned with LoRA (Hu et al. 2022) on behaviour written as text: titles that were chosen in a row.

It learns to write the titles, and to find the title that came next likelier than a rival: the title of an item that the
user did not choose, drawn by events (a pairwise logistic loss, as in Rendle et al. 2009, on the mean log-likelihood of
a title's tokens, which is what `lm_score` ranks by).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from llmrec_cli.core.arrays import Floats, Ints, length_sorted, offsets_of
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.progress import Progress
from llmrec_cli.core.text_cleaning import one_line
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.sequence.optional import LanguageTuning
from llmrec_cli.sequence.packing import NO_TARGET
from llmrec_cli.tensors import causal_lm, runtime
from llmrec_cli.tensors.runtime import Batch, Epoch, Runtime

# A text is the opening and then titles, oldest first. Nothing of it says who chose them.
OPENING, SEPARATOR = "Chosen one after another:\n-", "\n-"
TITLES, TITLE_TOKENS = 10, 24  # of a text at most, the newest; of a title
TEXTS_PER_STEP, STEPS_PER_EPOCH = 8, 10  # an epoch here is what a killed training may lose
RIVAL_DRAWS = 32  # for a text, until an item comes that the user did not choose
LEARNING_RATE = 1e-3
MEASURED_USERS, MEASURED_TOKENS = 64, 2048  # whose newest title is withheld; of a batch
WITHHOLDING, DRAWING, TRAINING, RIVALS = 0, 1, 2, 3  # what the seed is mixed with


@dataclass(frozen=True)
class Tuned:
    """A tuned language model, and how well it predicts titles that it was not trained on."""

    network: Any
    model: str
    perplexity_before: float
    """Of the tokens of the withheld titles, each given the user's titles before; by the model as it came."""
    perplexity_after: float
    preferred_before: float
    """Share of the withheld titles that the model finds likelier than a rival; .5 is chance."""
    preferred_after: float
    users: int
    """Whose titles it was trained on."""
    measured: int
    """Users whose newest title was withheld."""
    steps: int
    epochs: list[Epoch]
    """Their targets are titles."""

    def describe(self) -> str:
        """What the tuning has brought, in words."""
        before, after = self.perplexity_before, self.perplexity_after
        titles = f"perplexity of newest titles {before:.1f} before, {after:.1f} after"
        preferred = f"likelier than a rival {self.preferred_before:.0%} before, {self.preferred_after:.0%} after"
        return f"language model {self.model}: {titles}; {preferred} ({self.measured} titles)"

    def save(self, folder: Path) -> None:
        """The adapter alone, as peft reads it."""
        causal_lm.save_adapter(self.network, folder, self.model)


def tune(
    sequences: Sequences, titles: list[str], tuning: LanguageTuning, machine: Runtime, progress: Progress
) -> Tuned:
    """Tune an adapter; its steps are rounded up to whole epochs, and `titles` (items,) may be empty.

    The newest titles of a sample of users are withheld and measured before and after. Raises MissingExtraError where
    peft or the model is missing, DataError where there are no titles.
    """
    histories, measured = _split(_titled(sequences, titles), tuning.seed)
    network, tokenizer = causal_lm.load(tuning.model, machine.device, machine.dtype, tuning.base)
    runtime.seed_everything(tuning.seed, TRAINING)
    network = causal_lm.with_new_adapter(network, tuning.rank)
    encode = _Tokens(tokenizer, titles)
    job = _job(histories, encode, tuning, machine)
    rivals = with_rivals(measured, tuning.seed, 0)
    before = _perplexity(network, encode, measured, machine), _preferred(network, encode, measured, rivals, machine)
    trained = runtime.train(_NextTitle(network), job, machine, progress)
    after = _perplexity(network, encode, measured, machine), _preferred(network, encode, measured, rivals, machine)
    return Tuned(
        network=network,
        model=tuning.model,
        perplexity_before=before[0],
        perplexity_after=after[0],
        preferred_before=before[1],
        preferred_after=after[1],
        users=len(histories),
        measured=len(measured),
        steps=job.schedule.epochs * job.schedule.steps_per_epoch,
        epochs=trained,
    )


def _job(histories: Sequences, encode: _Tokens, tuning: LanguageTuning, machine: Runtime) -> runtime.Job:
    """The training on these histories: its texts, and its steps rounded up to whole epochs."""
    epochs = math.ceil(tuning.steps / STEPS_PER_EPOCH)
    schedule = runtime.Schedule(epochs, math.ceil(tuning.steps / epochs), LEARNING_RATE)
    texts = _Texts(histories, encode, TEXTS_PER_STEP * schedule.steps_per_epoch, tuning.seed, machine)
    return runtime.Job(
        name="language",
        seeds=(tuning.seed, TRAINING),
        schedule=schedule,
        batches=texts.batches,
        targets=round(float(histories.lengths.mean()) * texts.size),
        checkpoint=tuning.scratch / "language.safetensors",
    )


class _NextTitle(nn.Module):
    """The mean cross-entropy of the texts' tokens, and how often a rival is found likelier than the last title."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Of (2 n, L): n texts and the same with a rival at the end; `last` marks the targets of the last title."""
        losses = _losses(self.network, tokens, targets)
        n = len(tokens) // 2
        surprise = _per_title(losses, last)
        ranking = nn.functional.softplus(surprise[:n] - surprise[n:]).mean()
        return losses[:n].sum() / (targets[:n] != NO_TARGET).sum() + ranking


def _losses(network: Any, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(texts, L) cross-entropy of each target, 0 where there is none."""
    logits = network(input_ids=tokens, use_cache=False).logits
    wanted = targets != NO_TARGET
    losses = torch.zeros(targets.shape, device=targets.device)
    return losses.masked_scatter(
        wanted, nn.functional.cross_entropy(logits[wanted].float(), targets[wanted], reduction="none")
    )


def _per_title(losses: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """(texts,) the mean loss of the tokens of the last title."""
    return (losses * last).sum(1) / last.sum(1)


class _Tokens:
    """Histories as tokens of a text. A title is tokens of its own: it can neither end its line nor be a command."""

    def __init__(self, tokenizer: Any, titles: list[str]) -> None:
        self._tokenizer, self._titles = tokenizer, titles
        self.opening: list[int] = tokenizer(OPENING)["input_ids"]
        self.separator: list[int] = tokenizer(SEPARATOR, add_special_tokens=False)["input_ids"]

    def __call__(self, histories: Sequences) -> tuple[list[list[int]], Ints]:
        """(the tokens of each history's text, how many of them are its last title)."""
        lines = [" " + one_line(self._titles[code]) for code in histories.codes]
        tokens = self._tokenizer(
            lines, add_special_tokens=False, split_special_tokens=True, truncation=True, max_length=TITLE_TOKENS
        )["input_ids"]
        texts = []
        for start, stop in zip(histories.offsets[:-1], histories.offsets[1:], strict=True):
            text = self.opening + tokens[start]
            for title in tokens[start + 1 : stop]:
                text = text + self.separator + title
            texts.append(text)
        return texts, np.array([len(tokens[stop - 1]) for stop in histories.offsets[1:]], dtype=np.int64)


@dataclass(frozen=True)
class _Texts:
    """The training texts, `size` of them an epoch."""

    histories: Sequences
    encode: _Tokens
    size: int
    seed: int
    machine: Runtime

    def batches(self, epoch: int) -> Iterator[Batch]:
        """(tokens, targets, last) of each step, texts of like length together, in random order; this process's part."""
        histories = self.histories.select(self.drawn(epoch))
        texts, ends = self.encode(histories)
        rivals, rival_ends = self.encode(with_rivals(histories, self.seed, epoch))
        steps = np.argsort([len(text) for text in texts], kind="stable").reshape(-1, TEXTS_PER_STEP)
        process, processes = self.machine.accelerator.process_index, self.machine.accelerator.num_processes
        for rows in np.random.default_rng([self.seed, TRAINING, epoch]).permutation(steps):
            mine = rows[process % TEXTS_PER_STEP :: processes]
            both = [texts[row] for row in mine] + [rivals[row] for row in mine]
            yield _padded(both, len(self.encode.opening), np.concatenate([ends[mine], rival_ends[mine]]))

    def drawn(self, epoch: int) -> Ints:
        """The users of an epoch (from 1): the next `size` of one random order of all of them after another."""
        n, start, stop = len(self.histories), (epoch - 1) * self.size, epoch * self.size
        orders = range(start // n, -(-stop // n))
        stream = [np.random.default_rng([self.seed, DRAWING, order]).permutation(n) for order in orders]
        return np.concatenate(stream)[start - orders.start * n : stop - orders.start * n]


def _titled(sequences: Sequences, titles: list[str]) -> Sequences:
    """The events of items that have a title; DataError where nobody has two of them."""
    has_title = np.array([bool(title.strip()) for title in titles], dtype=bool)[sequences.codes]
    lengths = np.bincount(sequences.users[has_title], minlength=len(sequences))
    titled = Sequences(sequences.codes[has_title], offsets_of(lengths), sequences.n_items)
    if not (lengths >= 2).any():
        raise DataError(
            "no user has two events of items with titles: there is no text to tune a language model on",
            where="clean/items",
            fix="name the column of titles with clean.items.title, or leave out --lm",
        )
    return titled.select(lengths >= 1)


def _split(titled: Sequences, seed: int) -> tuple[Sequences, Sequences]:
    """(histories to train on, histories of the measured users): nobody's last title is in a training text, since the
    rankers' validation asks about it.
    """
    able = np.flatnonzero(titled.lengths >= 2)
    rng = np.random.default_rng([seed, WITHHOLDING])
    chosen = np.sort(rng.choice(able, min(MEASURED_USERS, len(able)), replace=False))
    return titled.select(able).without_last().tail(TITLES), titled.select(chosen).tail(TITLES)


def with_rivals(histories: Sequences, seed: int, epoch: int) -> Sequences:
    """The histories with another last item: of a random event, and not of the user where `RIVAL_DRAWS` find one."""
    rng = np.random.default_rng([seed, RIVALS, epoch])
    n = len(histories)
    drawn = rng.choice(histories.codes, (n, RIVAL_DRAWS)).astype(np.int64)
    keys = np.arange(n)[:, None] * histories.n_items + drawn
    others = ~np.isin(keys, histories.users * histories.n_items + histories.codes)
    codes = histories.codes.copy()
    codes[histories.offsets[1:] - 1] = drawn[np.arange(n), others.argmax(axis=1)]
    return Sequences(codes, histories.offsets, histories.n_items)


def _padded(texts: list[list[int]], first: int, ends: Ints) -> Batch:
    """(tokens, targets, last), each (texts, L - 1): the token after each, from the `first` on, NO_TARGET elsewhere, and
    which of them are the last title, of `ends` (texts,) tokens.

    Filled up on the right, where a causal model does not look from the left: it needs no mask.
    """
    length = max(map(len, texts))
    filled = torch.tensor([text + [NO_TARGET] * (length - len(text)) for text in texts])
    tokens, targets = filled[:, :-1].clamp_min(0), filled[:, 1:].clone()
    targets[:, : first - 1] = NO_TARGET
    places, stop = torch.arange(length - 1), torch.tensor([len(text) - 1 for text in texts])[:, None]
    last = (places < stop) & (places >= stop - torch.from_numpy(ends)[:, None])
    return tokens, targets, last


@torch.no_grad()
def _surprise(network: Any, encode: _Tokens, histories: Sequences, machine: Runtime) -> tuple[Floats, Ints]:
    """(users,) the mean loss of the tokens of each history's last title, given the text before, and their number."""
    network.eval()
    texts, ends = encode(histories)
    found = np.zeros(len(texts), dtype=np.float32)
    for rows in length_sorted(np.array([len(text) for text in texts]), MEASURED_TOKENS):
        batch = _padded([texts[row] for row in rows], 1, ends[rows])
        tokens, targets, last = (each.to(machine.device) for each in batch)
        with machine.autocast():
            losses = _losses(network, tokens, targets)
        found[rows] = _per_title(losses, last).cpu().numpy()
    return found, ends


def _perplexity(network: Any, encode: _Tokens, histories: Sequences, machine: Runtime) -> float:
    """exp of the mean loss of the tokens of each history's last title, given the text before."""
    losses, ends = _surprise(network, encode, histories, machine)
    return math.exp(float(losses @ ends) / max(int(ends.sum()), 1))


def _preferred(network: Any, encode: _Tokens, histories: Sequences, rivals: Sequences, machine: Runtime) -> float:
    """The share of histories whose last title is likelier than the rival's."""
    mine, other = (_surprise(network, encode, each, machine)[0] for each in (histories, rivals))
    return float(np.mean(mine < other))
