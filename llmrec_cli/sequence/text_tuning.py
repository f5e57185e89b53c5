"""Tune a text encoder on behaviour: the text of what people choose next comes close to the texts of what they had.

Contrastive, with the other items of a batch as negatives, corrected for how often they are drawn (Yi et al. 2019,
"Sampling-bias-corrected neural modeling"). Only the upper layers learn, on kept states of the lower ones. A tenth of
the items is in no step: what the tuning does for items that nobody has chosen yet is measured on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import pyarrow as pa
import torch
from torch import nn
from torch.nn.functional import normalize

from llmrec_cli.content import encoding, upper_layers
from llmrec_cli.content.cache import cache_folder
from llmrec_cli.content.preprocessing import centred, joined
from llmrec_cli.content.text import SentenceEncoder, item_texts
from llmrec_cli.content.upper_layers import LowerStates, UpperLayers
from llmrec_cli.core.arrays import Bools, Floats, Ints, offsets_of
from llmrec_cli.core.progress import PlainProgress, Progress
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.sequence.encoder import DECAY
from llmrec_cli.sequence.validation import WATCH, Validation
from llmrec_cli.tensors import runtime
from llmrec_cli.tensors.runtime import Batch, Epoch, Job, Runtime

WINDOW = 7
"""Successive events of a history that a step sees of each user: prefixes of them, and what came next."""
USERS = 64
STEPS_PER_EPOCH = 50
TEMPERATURE = 0.05
LEARNING_RATE = 2e-4
PATIENCE = 2
HELD_OUT = 10
"""One item of so many is in no training step."""
MOST_USERS = 20_000
"""Users that are learnt from; more would cost states of more items."""
FEWEST_USERS = 100
DRAWING = 3
"""What the seed is mixed with."""


@dataclass(frozen=True)
class TextTuning:
    """How an encoder is tuned; a killed tuning continues from `scratch`."""

    n_layers: int
    steps: int
    seed: int
    scratch: Path


@dataclass(frozen=True)
class Choice:
    """What content the later stages see, and why."""

    vectors: Floats
    """(catalogue, t) of the frozen encoder alone, or with those of the tuned one."""
    folder: Path | None
    """The tuned encoder as transformers opens it; None where it is not used."""
    line: str


@dataclass(frozen=True)
class Windows:
    """Histories of two events or more, without items that are held out."""

    log: Sequences

    @classmethod
    def of(cls, log: Sequences, held_out: Bools) -> Windows:
        kept = ~held_out[log.codes]
        lengths = np.bincount(log.users[kept], minlength=len(log))
        return cls(Sequences(log.codes[kept], offsets_of(lengths), log.n_items).select(lengths >= 2))

    def batches(self, seeds: tuple[int, ...]) -> Iterator[Batch]:
        """((users, WINDOW) successive items, -1 after the last) of each step of an epoch; the seeds decide."""
        rng, log = np.random.default_rng(seeds), self.log
        for _ in range(STEPS_PER_EPOCH):
            users = rng.choice(len(log), min(USERS, len(log)), replace=False)
            starts = rng.integers(0, np.maximum(log.lengths[users] - WINDOW, 0) + 1)
            places = starts[:, None] + np.arange(WINDOW)
            at = np.minimum(log.offsets[users][:, None] + places, len(log.codes) - 1)
            yield (torch.from_numpy(np.where(places < log.lengths[users][:, None], log.codes[at], np.int64(-1))),)


class NextTextModel(nn.Module):
    """Cross-entropy of each next item of the windows among all items of the step.

    A prefix of a history is the decayed mean of its items' vectors, as the content retriever has it.
    """

    def __init__(self, layers: UpperLayers, log_counts: torch.Tensor) -> None:
        """`log_counts` (items,): how often each is drawn as a negative."""
        super().__init__()
        self.layers = layers
        self.register_buffer("log_counts", log_counts, persistent=False)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        items, places = torch.unique(torch.cat([windows.new_full((1,), -1), windows.flatten()]), return_inverse=True)
        places = places[1:].view(windows.shape)
        known = self.layers(items[1:].cpu())
        vectors = torch.cat([known.new_zeros(1, known.shape[1]), known])  # the first is of no item
        tastes = [vectors[places[:, 0]]]
        for place in range(1, windows.shape[1] - 1):
            tastes.append(DECAY * tastes[-1] + vectors[places[:, place]])
        wanted, own = _wanted(windows), (windows[:, :, None] == items).any(1)
        users, targets = wanted.nonzero()[:, 0], places[:, 1:][wanted]
        logits = normalize(torch.stack(tastes, dim=1)[wanted], dim=1) @ vectors.T / TEMPERATURE
        logits = logits.float() - self.get_buffer("log_counts")[items]
        # what the user had or is to have in this window is no negative
        left_out = (own[users] | (items < 0)).scatter(1, targets[:, None], value=False)
        return nn.functional.cross_entropy(logits.masked_fill(left_out, -torch.inf), targets)


def _wanted(windows: torch.Tensor) -> torch.Tensor:
    """(users, WINDOW - 1) next items that are there and were not in the window before."""
    following = windows[:, 1:]
    before = torch.ones(following.shape[1], windows.shape[1], dtype=torch.bool, device=windows.device).tril()
    seen = ((windows[:, None, :] == following[:, :, None]) & before).any(2)
    return (following >= 0) & ~seen


class TextTuner:
    """The tuning of one encoder on one log, of which each user's newest event is withheld."""

    def __init__(
        self, encoder: SentenceEncoder, items: pa.Table, log: Sequences, validation: Validation, tuning: TextTuning
    ) -> None:
        """`items` is `clean/items`; `validation`, of the whole log, decides between the frozen and the tuned."""
        self.encoder, self.validation, self.tuning = encoder, validation, tuning
        self.texts = texts = item_texts(items)
        users = np.sort(np.random.default_rng([tuning.seed, DRAWING]).permutation(len(log))[:MOST_USERS])
        drawn = log.select(users)
        self.items: Ints = np.unique(drawn.codes).astype(np.int64)
        """Rows of the catalogue of the items that the drawn users have; `log` is in terms of them."""
        codes = np.searchsorted(self.items, drawn.codes).astype(np.int32)
        self.log = Sequences(codes, drawn.offsets, len(self.items))
        order = np.random.default_rng([tuning.seed, DRAWING, 1]).permutation(len(self.items))
        self.held_out = (order % HELD_OUT == 0) | ~np.array([bool(texts[item].strip()) for item in self.items])
        self.windows = Windows.of(self.log.without_last(), self.held_out)

    def choose(self, frozen: Floats, machine: Runtime, progress: Progress) -> Choice:
        """The vectors of later stages: `frozen` (catalogue, t), or with the tuned ones where those predict better.

        By content alone, on the newest events of validation's users.
        """
        if len(self.windows.log) < FEWEST_USERS:
            line = f"text encoder not tuned: {FEWEST_USERS} users with three events or more are needed"
            return Choice(frozen, None, line)
        started = time.process_time()
        layers, epochs = self._tuned(frozen, machine, progress)
        folder = self.tuning.scratch / "text_encoder"
        with machine.accelerator.main_process_first():  # the others find the vectors in the cache
            if machine.accelerator.is_main_process:
                upper_layers.save(self.encoder, layers, folder)
            tuned = self._encoded(folder, machine, progress)
        able = {"frozen": frozen, "tuned": tuned, "frozen and tuned": joined(frozen, tuned)}
        found = {name: float(self.validation.content_ndcg(vectors).mean()) for name, vectors in able.items()}
        chosen = max(found, key=lambda name: found[name])
        steps = epochs[runtime.best_epoch(epochs, WATCH) - 1].epoch * STEPS_PER_EPOCH
        ndcg = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        cost = f"{steps} steps, {time.process_time() - started:,.0f} core-seconds"
        line = f"text encoder tuned on behaviour, {cost}; NDCG@10 of content alone: {ndcg}; kept: {chosen}"
        return Choice(able[chosen], None if chosen == "frozen" else folder, line)

    def cost(self, machine: Runtime, n_timed: int = 3) -> tuple[str, float]:
        """What all steps would take on this machine, in words and in seconds: timed on real ones."""
        batches = [next(self.windows.batches((self.tuning.seed, number))) for number in range(n_timed + 1)]
        drawn = np.unique(torch.cat([batch[0].flatten() for batch in batches]).numpy())
        texts = [self.texts[item] if code in drawn else "" for code, item in enumerate(self.items)]
        times = []
        with TemporaryFile(dir=self.tuning.scratch) as file:
            _, model = self._model(texts, file, PlainProgress(quiet=True))
            model.to(machine.device)
            for (windows,) in batches:
                started = time.monotonic()
                with machine.autocast():
                    loss = model(windows.to(machine.device))
                loss.backward()
                float(loss.detach())  # waits for the device
                times.append(time.monotonic() - started)
        seconds = float(np.median(times[1:])) * self.tuning.steps  # the first one warms up
        how = f"at most {self.tuning.steps} steps, {seconds / 60:,.1f} minutes with {len(self.items):,} texts"
        return f"text encoder: {how}", seconds

    def _encoded(self, folder: Path, machine: Runtime, progress: Progress) -> Floats:
        """(catalogue, t) vectors by the tuned encoder."""
        return encoding.encode(
            "text",
            self.texts,
            str(folder.resolve()),
            base=folder,
            cache=cache_folder(),
            device=machine.device.type,
            progress=progress,
        ).vectors

    def _tuned(self, frozen: Floats, machine: Runtime, progress: Progress) -> tuple[UpperLayers, list[Epoch]]:
        """The layers after the epoch that is best on the newest events.

        Every user counts once: the few whose newest event is of a held-out item would decide by chance.
        """
        texts, own = [self.texts[item] for item in self.items], frozen[self.items]
        validation = Validation.sample(self.log, self.validation.ties[self.items], MOST_USERS // 2, self.tuning.seed)
        with TemporaryFile(dir=self.tuning.scratch) as file:
            layers, model = self._model(texts, file, progress)

            def measured() -> dict[str, float]:
                new, tuned = self.held_out[validation.targets], centred(layers.vectors())
                both = (validation.content_ndcg(vectors) for vectors in (tuned, joined(own, tuned)))
                ndcg = max(both, key=np.mean)
                parts = {name: float(ndcg[of].mean()) for name, of in (("known", ~new), ("held-out", new)) if of.any()}
                return {WATCH: float(ndcg.mean()), **parts}

            return layers, runtime.train(model, self._job(machine, measured), machine, progress)

    def _model(self, texts: list[str], file: IO[bytes], progress: Progress) -> tuple[UpperLayers, NextTextModel]:
        with progress.task("states of texts", total=len(texts), unit="texts") as task:
            self.encoder.advance = task.advance
            states = LowerStates.of(self.encoder, texts, self.tuning.n_layers, file)
        layers = UpperLayers(self.encoder, self.tuning.n_layers, states)
        counts = np.bincount(self.windows.log.codes, minlength=len(self.items)) + 1
        return layers, NextTextModel(layers, torch.from_numpy(np.log(counts)).float())

    def _job(self, machine: Runtime, measured: Callable[[], dict[str, float]]) -> Job:
        seeds, process = (self.tuning.seed, DRAWING), machine.accelerator.process_index
        epochs = max(1, round(self.tuning.steps / STEPS_PER_EPOCH))
        return Job(
            name="text encoder",
            seeds=seeds,
            schedule=runtime.Schedule(epochs, STEPS_PER_EPOCH, LEARNING_RATE, warmup=30),
            batches=lambda epoch: self.windows.batches((*seeds, epoch, process)),
            targets=USERS * (WINDOW - 1) * STEPS_PER_EPOCH,
            evaluate=measured,
            watch=WATCH,
            patience=PATIENCE,
            checkpoint=self.tuning.scratch / "text-encoder.safetensors",
        )
