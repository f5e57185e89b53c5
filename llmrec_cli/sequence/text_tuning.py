"""Tune a text encoder on behaviour: the texts of items that people choose within a few steps come close to each other.

Contrastive, with the other items of a batch as negatives, corrected for how often they are drawn (Yi et al. 2019,
"Sampling-bias-corrected neural modeling"). Only the upper layers learn, on kept states of the lower ones. A tenth of
the items is in no pair: what the tuning does for items that nobody has chosen yet is measured on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from llmrec_cli.content import encoding, upper_layers
from llmrec_cli.content.cache import cache_folder
from llmrec_cli.content.preprocessing import centred, joined
from llmrec_cli.content.text import SentenceEncoder, item_texts
from llmrec_cli.content.upper_layers import LowerStates, UpperLayers
from llmrec_cli.core.arrays import Bools, Floats, Ints
from llmrec_cli.core.progress import Progress
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.sequence.validation import WATCH, Validation
from llmrec_cli.tensors import runtime
from llmrec_cli.tensors.runtime import Batch, Epoch, Job, Runtime

WINDOW = 3
"""Steps of a history within which two items are a pair."""
PAIRS = 192
STEPS_PER_EPOCH = 50
TEMPERATURE = 0.05
LEARNING_RATE = 2e-4
PATIENCE = 2
HELD_OUT = 10
"""One item of so many is in no pair."""
MOST_USERS = 20_000
"""Users that the pairs are from; more would cost states of more items."""
FEWEST_PAIRS = 1_000
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
class Pairs:
    """(pairs, 2) items that follow each other within WINDOW steps, none of them held out."""

    items: Ints
    log_counts: torch.Tensor
    """(items,) log of how often each is the second of a pair, plus 1."""

    @classmethod
    def of(cls, log: Sequences, held_out: Bools) -> Pairs:
        """Those of histories, in the order of the log without the held-out items."""
        kept = ~held_out[log.codes]
        codes, users = log.codes[kept].astype(np.int64), log.users[kept]
        parts = []
        for step in range(1, WINDOW + 1):
            pair = np.stack([codes[:-step], codes[step:]], axis=1)
            parts.append(pair[(users[:-step] == users[step:]) & (pair[:, 0] != pair[:, 1])])
        items = np.concatenate(parts)
        counts = np.bincount(items[:, 1], minlength=log.n_items) + 1
        return cls(items, torch.from_numpy(np.log(counts)).float())

    def batches(self, seeds: tuple[int, ...]) -> Iterator[Batch]:
        """(pairs of a step, 2), drawn with replacement; the seeds decide."""
        rng = np.random.default_rng(seeds)
        for _ in range(STEPS_PER_EPOCH):
            yield (torch.from_numpy(self.items[rng.integers(0, len(self.items), PAIRS)]),)


class PairModel(nn.Module):
    """Cross-entropy of the second item of each pair among all second items of the batch."""

    def __init__(self, layers: UpperLayers, log_counts: torch.Tensor) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("log_counts", log_counts, persistent=False)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        items, places = torch.unique(pairs.cpu(), return_inverse=True)
        candidates, targets = torch.unique(places[:, 1], return_inverse=True)
        vectors = self.layers(items)
        logits = vectors[places[:, 0]] @ vectors[candidates].T / TEMPERATURE
        logits = logits.float() - self.get_buffer("log_counts")[items[candidates].to(pairs.device)]
        return nn.functional.cross_entropy(logits, targets.to(pairs.device))


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
        """Rows of the catalogue of the items that the drawn users have; the pairs are in terms of them."""
        codes = np.searchsorted(self.items, drawn.codes).astype(np.int32)
        self.log = Sequences(codes, drawn.offsets, len(self.items))
        order = np.random.default_rng([tuning.seed, DRAWING, 1]).permutation(len(self.items))
        self.held_out = (order % HELD_OUT == 0) | ~np.array([bool(texts[item].strip()) for item in self.items])
        self.pairs = Pairs.of(self.log.without_last(), self.held_out)

    def choose(self, frozen: Floats, machine: Runtime, progress: Progress) -> Choice:
        """The vectors of later stages: `frozen` (catalogue, t), or with the tuned ones where those foretell better.

        By content alone, on the newest events of validation's users.
        """
        if len(self.pairs.items) < FEWEST_PAIRS:
            return Choice(
                frozen,
                None,
                f"text encoder not tuned: {len(self.pairs.items):,} pairs of items, {FEWEST_PAIRS:,} needed",
            )
        layers, epochs = self._tuned(frozen, machine, progress)
        best = epochs[runtime.best_epoch(epochs, WATCH) - 1]
        folder = self.tuning.scratch / "text_encoder"
        upper_layers.save(self.encoder, layers, folder)
        tuned = encoding.encode(
            "text",
            self.texts,
            str(folder.resolve()),
            base=folder,
            cache=cache_folder(),
            device=machine.device.type,
            progress=progress,
        )
        both = joined(frozen, tuned.vectors)
        before, after = (float(self.validation.content_ndcg(vectors).mean()) for vectors in (frozen, both))
        line = f"{best.epoch * STEPS_PER_EPOCH} steps; NDCG@10 of content alone {before:.4f} → {after:.4f}"
        if after <= before:
            return Choice(frozen, None, f"text encoder tuned on behaviour: {line}: not better, left out")
        return Choice(both, folder, f"text encoder tuned on behaviour: {line}, which is used")

    def _tuned(self, frozen: Floats, machine: Runtime, progress: Progress) -> tuple[UpperLayers, list[Epoch]]:
        """The layers after the epoch that is best on the newest events; half of what is watched is held-out items."""
        texts, own = [self.texts[item] for item in self.items], frozen[self.items]
        validation = Validation.sample(self.log, self.validation.ties[self.items], MOST_USERS // 2, self.tuning.seed)
        with TemporaryFile(dir=self.tuning.scratch) as file:
            layers, model = self._model(texts, file, progress)

            def measured() -> dict[str, float]:
                found = validation.content_ndcg(joined(own, centred(layers.vectors())))
                new = self.held_out[validation.targets]
                known, held = (float(found[of].mean()) if of.any() else 0.0 for of in (~new, new))
                return {WATCH: (known + held) / 2, "known": known, "held-out": held}

            return layers, runtime.train(model, self._job(machine, measured), machine, progress)

    def _model(self, texts: list[str], file: IO[bytes], progress: Progress) -> tuple[UpperLayers, PairModel]:
        with progress.task("states of texts", total=len(texts), unit="texts") as task:
            self.encoder.advance = task.advance
            states = LowerStates.of(self.encoder, texts, self.tuning.n_layers, file)
        layers = UpperLayers(self.encoder, self.tuning.n_layers, states)
        return layers, PairModel(layers, self.pairs.log_counts)

    def _job(self, machine: Runtime, measured: Callable[[], dict[str, float]]) -> Job:
        seeds, process = (self.tuning.seed, DRAWING), machine.accelerator.process_index
        epochs = max(1, round(self.tuning.steps / STEPS_PER_EPOCH))
        return Job(
            name="text encoder",
            seeds=seeds,
            schedule=runtime.Schedule(epochs, STEPS_PER_EPOCH, LEARNING_RATE, warmup=30),
            batches=lambda epoch: self.pairs.batches((*seeds, epoch, process)),
            targets=PAIRS * STEPS_PER_EPOCH,
            evaluate=measured,
            watch=WATCH,
            patience=PATIENCE,
            checkpoint=self.tuning.scratch / "text-encoder.safetensors",
        )
