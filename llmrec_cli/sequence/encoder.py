"""The trained sequence model as later stages use it: histories in, vectors out; transformers opens its folder too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from llmrec_cli.core.arrays import Floats, Ints, length_sorted, unit
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.sequence import packing
from llmrec_cli.sequence.model_config import ModelConfig
from llmrec_cli.sequence.network import Transformer, llama_config
from llmrec_cli.tensors import checkpoints
from llmrec_cli.tensors.runtime import choose_device, fast_dtype

DECAY = 0.7
"""Of an event's weight in a taste, by each newer event."""
FORMAT = "llmrec.sequence-encoder/3"


class SequenceEncoder:
    """score = encode(histories) @ item_vectors.T is the logit of each item being next.

    With a content weight it is the logit of the network plus that weight times how similar the item's content is to
    the content of the history, so both vectors are d + t wide.
    """

    def __init__(
        self,
        shape: ModelConfig,
        network: Transformer,
        table: torch.Tensor,
        content: torch.Tensor | None = None,
        content_weight: float = 0.0,
    ) -> None:
        """`table` is (items + 1, d); its last row is the mask token, which only "bert" uses. `content` (items, t)."""
        self.shape, self.network, self.table = shape, network.eval(), table.detach()
        self.content = table.new_zeros(len(table) - 1, 0) if content is None else content
        self.content_weight = content_weight

    def with_content_weight(self, weight: float) -> SequenceEncoder:
        """The same encoder with this content weight."""
        return SequenceEncoder(self.shape, self.network, self.table, self.content, weight)

    @property
    def item_vectors(self) -> Floats:
        """(items, d or d + t) in the order of `clean/items`."""
        vectors: Floats = self.shape.compared(self.table[:-1]).float().cpu().numpy()
        return np.concatenate([vectors, self.content.cpu().numpy()], axis=1) if self.content_weight else vectors

    @torch.inference_mode()
    def encode(self, sequences: Sequences, target_times: Ints | None = None, batch_tokens: int = 8192) -> Floats:
        """(users, d or d + t) states after the newest of the last `max_length` events; zeros for empty histories.

        `asked` (users,) is when the next item is asked for, in seconds, for models with `target_time`; where it is not
        given, the newest time of all histories, which is the present of a log.
        """
        recent = sequences.tail(self.shape.max_length)
        if self.shape.time_bias and recent.times is None:
            recent = Sequences(
                recent.codes, recent.offsets, recent.n_items, np.zeros(len(recent.codes), dtype=np.int64)
            )
        if target_times is None and recent.times is not None:
            target_times = np.full(len(recent), recent.times.max(initial=0))
        out = np.zeros((len(recent), self.shape.dim), dtype=np.float32)
        some = np.flatnonzero(recent.lengths)
        for block in length_sorted(recent.lengths[some], batch_tokens):
            users = some[block]
            states = self._states(recent.select(users), None if target_times is None else target_times[users])
            out[users] = self.shape.scaled(states).float().cpu().numpy()
        return np.concatenate([out, self.content_weight * self.tastes(recent)], axis=1) if self.content_weight else out

    def tastes(self, sequences: Sequences) -> Floats:
        """(users, t) what histories are about: the mean content, newer events counting more, at unit length, plus the
        newest event's; zeros for empty histories.
        """
        recent, content = sequences.tail(self.shape.max_length), self.content.cpu().numpy()
        newest = np.where(recent.lengths[:, None] > 0, content[recent.last()], np.float32(0))
        return unit(recent.matrix(DECAY) @ content) + newest

    def _states(self, sequences: Sequences, target_times: Ints | None) -> torch.Tensor:
        """(users, d) states at the newest event ("gpt") or at a mask token after it ("bert")."""
        masked = self.shape.architecture == "bert"
        mask_token = len(self.table) - 1
        length = int(sequences.lengths.max()) + masked
        tokens, segments = packing.padded(sequences, length, mask_token)
        at = sequences.lengths - 1 + masked
        rows = np.arange(len(sequences))
        segments[rows, at] = 0
        device = self.table.device
        times = self._times(sequences, length, rows, at, target_times)
        dtype = fast_dtype(device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            x = torch.nn.functional.embedding(torch.from_numpy(tokens).to(device), self.table)
            states = self.network(x, torch.from_numpy(segments).to(device), times)
        return states[torch.from_numpy(rows).to(device), torch.from_numpy(at).to(device)]

    def _times(
        self, sequences: Sequences, length: int, rows: Ints, at: Ints, target_times: Ints | None
    ) -> torch.Tensor | None:
        """(2, users, length) seconds of each token as a query and as an event, where the network looks at them."""
        if not self.shape.time_bias or sequences.times is None:
            return None
        own, _ = packing.padded(Sequences(sequences.times, sequences.offsets, 0), length, 0)  # type: ignore[arg-type]
        newest = own[rows, sequences.lengths - 1]
        if self.shape.architecture == "bert":
            own[rows, at] = newest
        queries = own.copy()
        if self.shape.target_time and target_times is not None:
            queries[rows, at] = np.maximum(target_times, newest)
        return torch.from_numpy(np.stack([queries, own])).to(self.table.device)

    def save(self, folder: Path) -> None:
        """`config.json` and `model.safetensors`, which `transformers.AutoModel.from_pretrained` opens as a LlamaModel.

        Its rows of tokens are the items in the order of `clean/items`, then the mask token. Shapes with learned
        positions or attention biases have more tensors than LlamaModel, as the items' content is; it leaves them out.
        """
        config = llama_config(self.shape, len(self.table)) | {"format": FORMAT, "shape": self.shape.model_dump()}
        config["content_weight"] = self.content_weight
        weights = {name.removeprefix("llama."): value for name, value in self.network.state_dict().items()}
        rows = {
            "embed_tokens.weight": self.table.float(),
            "content": self.content.float() if self.content_weight else self.content[:, :0],
        }
        checkpoints.save_model(folder, config, {**rows, **weights})

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> SequenceEncoder:
        """What `save` wrote; UpstreamError where it is missing or damaged."""
        where = choose_device(device)
        config, tensors = checkpoints.load_model(folder, device=where)
        with checkpoints.reading(folder):
            shape = ModelConfig(**config["shape"])
            table, content = tensors.pop("embed_tokens.weight"), tensors.pop("content")
            content_weight = float(config["content_weight"])
            network = Transformer(shape).to(where)
            own = {name for name in network.state_dict() if not name.startswith("llama.")}
            network.load_state_dict(
                {name if name in own else f"llama.{name}": value for name, value in tensors.items()}
            )
        return cls(shape, network, table, content, content_weight)
