"""The trained sequence model as later stages use it: histories in, vectors out; a folder on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, Field

from llmrec_cli.models import checkpoints
from llmrec_cli.models.encoders import batches
from llmrec_cli.models.encoders.transformer import Transformer
from llmrec_cli.models.runtime import choose_device, fast_dtype
from llmrec_cli.tables.sequences import Sequences

Floats = npt.NDArray[np.float32]
FORMAT = "llmrec.sequence-encoder/1"


class Shape(BaseModel, frozen=True, extra="forbid"):
    """What must be known to build the network before its weights are read."""

    architecture: Literal["gpt", "bert"] = "gpt"
    dim: int = Field(64, ge=4)
    layers: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    max_length: int = Field(50, ge=2)

    def network(self) -> Transformer:
        return Transformer(self.dim, self.layers, self.heads, self.dropout, causal=self.architecture == "gpt")


class SequenceEncoder:
    """score = encode(histories) @ item_vectors.T is the logit of each item being next."""

    def __init__(self, shape: Shape, network: Transformer, table: torch.Tensor) -> None:
        """`table` is (items + 1, d); its last row is the mask token, which only "bert" uses."""
        self.shape, self.network, self.table = shape, network.eval(), table.detach()

    @property
    def item_vectors(self) -> Floats:
        """(items, d) in the order of `clean/items`."""
        vectors: Floats = self.table[:-1].float().cpu().numpy()
        return vectors

    @torch.inference_mode()
    def encode(self, sequences: Sequences, batch_tokens: int = 8192) -> Floats:
        """(users, d) states after the newest event, from the last `max_length` events; zeros for empty histories."""
        recent = sequences.tail(self.shape.max_length)
        out = np.zeros((len(recent), self.shape.dim), dtype=np.float32)
        some = np.flatnonzero(recent.lengths)
        for block in batches.length_sorted(recent.lengths[some], batch_tokens):
            users = some[block]
            out[users] = self._states(recent.select(users)).float().cpu().numpy()
        return out

    def _states(self, sequences: Sequences) -> torch.Tensor:
        """(users, d) states at the newest event ("gpt") or at a mask token after it ("bert")."""
        masked = self.shape.architecture == "bert"
        mask_token = len(self.table) - 1
        length = int(sequences.lengths.max()) + masked
        tokens, segments = batches.padded(sequences, length, mask_token)
        at = sequences.lengths - 1 + masked
        rows = np.arange(len(sequences))
        segments[rows, at] = 0
        device = self.table.device
        dtype = fast_dtype(device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            x = torch.nn.functional.embedding(torch.from_numpy(tokens).to(device), self.table)
            states = self.network(x, torch.from_numpy(segments).to(device))
        return states[torch.from_numpy(rows).to(device), torch.from_numpy(at).to(device)]

    def save(self, folder: Path) -> None:
        """`config.json` and `model.safetensors`; nothing else is needed to load it."""
        config: dict[str, Any] = {"format": FORMAT, **self.shape.model_dump()}
        checkpoints.save_model(folder, config, {"table": self.table, **self.network.state_dict(prefix="network.")})

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> SequenceEncoder:
        """What `save` wrote; UpstreamError where it is missing or damaged."""
        where = choose_device(device)
        config, tensors = checkpoints.load_model(folder, device=where)
        shape = Shape(**{name: config[name] for name in Shape.model_fields})
        network = shape.network().to(where)
        network.load_state_dict(checkpoints.under("network.", tensors))
        return cls(shape, network, tensors["table"])
