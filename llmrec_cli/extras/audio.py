"""Audio encoders: any audio model of transformers (CLAP, AST, wav2vec 2, Whisper, ...), by folder or hub name."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec_cli.content import AUDIO_ENCODERS, Advance, FileEncoder, Log, pretrained, silent
from llmrec_cli.content.media import read_audio
from llmrec_cli.core.arrays import Floats, Ints, unit
from llmrec_cli.core.registry import load_variant

Features = dict[str, torch.Tensor]


def build(name: str, device: str, advance: Advance, base: Path = Path(), log: Log = silent) -> FileEncoder:
    """The encoder in a folder (from `base`), on the hub, or "module:Class"."""
    if ":" in name:
        encoder: FileEncoder = load_variant("audio encoder", AUDIO_ENCODERS, name, FileEncoder)(device, advance)
        return encoder
    return AudioEncoder(device, advance, pretrained.locate(name, "audio", base, log))


class AudioEncoder:
    """Audio features of a dual encoder (Wu et al. 2023), the pooler, or the mean of the states over time.

    In float32: bfloat16 would leave eight bits of a waveform.
    """

    seconds = 10.0
    """From the beginning of an audio file; what CLAP and AST look at."""
    batch_size = 8
    at_once = 64
    """Audio files held in memory to find those of like length."""
    itemwise = True

    def __init__(self, device: str, advance: Advance, checkpoint: pretrained.Checkpoint) -> None:
        self.device, self.advance, self.checkpoint = device, advance, checkpoint
        self.name = checkpoint.label

    @cached_property
    def identity(self) -> str:
        """See `Cacheable`."""
        return self.checkpoint.identity("audio", self.seconds)

    def encode(self, files: list[Path]) -> Floats:
        """(files, dim) unit-length rows; a zero row for a file without readable sound."""
        parts: list[tuple[Ints, Floats]] = []
        for start in range(0, len(files), self.at_once):
            block = files[start : start + self.at_once]
            read = {start + n: found for n, file in enumerate(block) if (found := self._features(file))}
            for rows in alike(read, self.batch_size):
                batch = {name: torch.cat([read[row][name] for row in rows]) for name in read[rows[0]]}
                parts.append((np.array(rows), self._opened[1].pooled(batch, "get_audio_features")))
                self.advance(len(rows))
            self.advance(len(block) - len(read))
        return unit(pretrained.assembled(len(files), parts))

    def _features(self, file: Path) -> Features | None:
        """What the model's extractor makes of one file alone: some extractors draw lots among those of a batch."""
        extractor, _ = self._opened
        samples = read_audio(file, extractor.sampling_rate, self.seconds)
        if samples is None:
            return None
        made = extractor(
            samples, sampling_rate=extractor.sampling_rate, return_attention_mask=True, return_tensors="pt"
        )
        return dict(made)

    @cached_property
    def _opened(self) -> tuple[Any, pretrained.Opened]:
        from transformers import AutoFeatureExtractor

        return self.checkpoint.load(AutoFeatureExtractor), self.checkpoint.open(self.device, torch.float32)


def alike(features: dict[int, Features], batch_size: int) -> list[list[int]]:
    """Batches of audio files whose features have the same shapes, shortest first.

    Nothing is padded: models without an attention mask (the first wav2vec 2 among them) would hear the padding.
    """
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for row, found in features.items():
        groups.setdefault(tuple(tuple(value.shape) for value in found.values()), []).append(row)
    same = [groups[shapes] for shapes in sorted(groups)]
    return [rows[start : start + batch_size] for rows in same for start in range(0, len(rows), batch_size)]
