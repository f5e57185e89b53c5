"""The upper layers of a text encoder on kept states of the lower ones: the part that is tuned on behaviour."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize

from llmrec_cli.content.pretrained import pooled_states
from llmrec_cli.content.text import POOLING_FILE, SentenceEncoder
from llmrec_cli.core.arrays import Floats, Ints, length_sorted, offsets_of
from llmrec_cli.core.errors import SettingsError
from llmrec_cli.tensors.runtime import fast_dtype

BATCH = 64
"""Texts of like length that go through the layers together."""


class _Given(nn.Module):
    """In the place of a network's embeddings: the states are given, nothing is looked up."""

    def forward(self, *_: object, inputs_embeds: torch.Tensor, **__: object) -> torch.Tensor:
        return inputs_embeds


@dataclass(frozen=True)
class LowerStates:
    """What the lower layers make of texts, kept as bfloat16 in a file without a name."""

    values: torch.Tensor
    """(tokens of all texts, dim), text after text."""
    offsets: Ints
    """(texts + 1,) where each text begins; an empty text has no tokens."""

    @classmethod
    def of(cls, encoder: SentenceEncoder, texts: list[str], n_layers: int, file: IO[bytes]) -> LowerStates:
        """The states below the last `n_layers` layers of (texts,) texts."""
        tokens = encoder.tokens(texts)
        offsets = offsets_of([len(ids) for ids in tokens])
        network = encoder.network
        dim = network.config.hidden_size
        kept = np.memmap(file, dtype=np.uint16, mode="w+", shape=(max(int(offsets[-1]), 1), dim))
        values = torch.from_numpy(kept).view(torch.bfloat16)
        for rows, states, _ in encoder.states(tokens, -1 - n_layers):
            for row, text in zip(rows, states.to("cpu", torch.bfloat16), strict=True):
                values[offsets[row] : offsets[row + 1]] = text[: len(tokens[row])]
        return cls(values, offsets)

    def padded(self, texts: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """(texts, length, dim) states and their (texts, length) mask."""
        lengths = np.diff(self.offsets)[texts]
        places = np.arange(lengths.max())
        at = self.offsets[texts][:, None] + np.minimum(places, lengths[:, None] - 1)
        return self.values[torch.from_numpy(at)], torch.from_numpy((places < lengths[:, None]).astype(np.int64))


class UpperLayers(nn.Module):
    """Rows of texts to (rows, dim) vectors of unit length; the layers are copies, in float32."""

    def __init__(self, encoder: SentenceEncoder, n_layers: int, states: LowerStates) -> None:
        super().__init__()
        self.network = without_lower(encoder.network, n_layers).float()
        # the backward pass of PyTorch's own attention takes half of a step on CPUs; texts are short
        self.network.set_attn_implementation("eager")
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # a few hundred steps don't overfit, and drawing masks takes a fifth of a step
        self.pooling, self.states = encoder.pooling, states

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        lengths = np.diff(self.states.offsets)[rows.numpy()]
        order = np.argsort(lengths, kind="stable")
        parts = [self._pooled(rows.numpy()[block]) for block in np.array_split(order, max(1, len(order) // BATCH))]
        return torch.cat(parts)[torch.from_numpy(np.argsort(order, kind="stable")).to(parts[0].device)]

    def _pooled(self, rows: Ints) -> torch.Tensor:
        device = next(self.parameters()).device
        states, mask = (part.to(device) for part in self.states.padded(rows))
        output = self.network(inputs_embeds=states.float(), attention_mask=mask).last_hidden_state
        return normalize(pooled_states(output.float(), mask, self.pooling), dim=1)

    @torch.inference_mode()
    def vectors(self) -> Floats:
        """(texts, dim) vectors of all texts; zero rows for those without tokens."""
        lengths = np.diff(self.states.offsets)
        some = np.flatnonzero(lengths)
        out = np.zeros((len(lengths), self.states.values.shape[1]), dtype=np.float32)
        device = next(self.parameters()).device
        dtype = fast_dtype(device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for block in length_sorted(lengths[some], BATCH * 64):
                out[some[block]] = self._pooled(some[block]).float().cpu().numpy()
        return out


def without_lower(network: Any, n_layers: int) -> Any:
    """A copy of a network that has its last layers only and reads states; SettingsError where that cannot be made."""
    path = _layers(network)
    layers = network.get_submodule(path)
    if not 0 < n_layers <= len(layers):
        raise SettingsError(
            f"the text encoder has {len(layers)} layers, {n_layers} are to be tuned",
            fix=f"set pretrain.tune_text_layers between 1 and {len(layers)}",
        )
    whole = {
        part: getattr(network, part) for part in ("embeddings", "embed_tokens", "pooler") if hasattr(network, part)
    }
    network.set_submodule(path, layers[len(layers) - n_layers :])
    for part in whole:
        setattr(network, part, _Given() if part == "embeddings" else None)
    try:
        return copy.deepcopy(network)
    finally:
        network.set_submodule(path, layers)
        for part, module in whole.items():
            setattr(network, part, module)


def save(encoder: SentenceEncoder, tuned: UpperLayers, folder: Path) -> None:
    """The whole encoder with what was tuned as a folder that transformers opens, its tokenizer and pooling too."""
    path = _layers(encoder.network)
    lower = len(encoder.network.get_submodule(path)) - len(tuned.network.get_submodule(path))
    layer = re.compile(rf"^{re.escape(path)}\.(\d+)")
    state = {
        layer.sub(lambda found: f"{path}.{int(found[1]) + lower}", name): value
        for name, value in tuned.network.state_dict().items()
    }
    encoder.network.load_state_dict(state, strict=False)
    encoder.network.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    pooling = folder / POOLING_FILE
    pooling.parent.mkdir(exist_ok=True)
    pooling.write_text(json.dumps({"pooling_mode": encoder.pooling}) + "\n", encoding="utf-8")


def _layers(network: Any) -> str:
    """Where a network has the list of its layers: as BERT and its like have it, or Llama and its like."""
    names = dict(network.named_modules())
    for path in ("encoder.layer", "layers"):
        if isinstance(names.get(path), nn.ModuleList):
            return path
    raise SettingsError(
        f"the text encoder's architecture {type(network).__name__} cannot be tuned",
        fix="leave pretrain.tune_text off, or choose an encoder like BERT or Llama",
    )
