"""Pretrained encoders of the Hugging Face hub, from a folder or by name: found, identified, opened and pooled."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec_cli.content import Log
from llmrec_cli.content.encoder_files import HUB_NAME, cached
from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.core.disk import fingerprint
from llmrec_cli.core.errors import DataError, LlmrecError, MissingExtraError, SettingsError
from llmrec_cli.tensors import model_store
from llmrec_cli.tensors.model_store import CONFIG, FILES
from llmrec_cli.tensors.runtime import choose_device, fast_dtype

OTHER_FORMATS = "*/*.safetensors"
PATIENCE = 5.0  # seconds for the hub to answer
UNUSED = re.compile(r"pooler|masked_spec_embed|position_ids|lm_head|classifier")
"""Weights that checkpoints may leave out: they are for training, for another task, or the pooler, then passed over."""


@dataclass(frozen=True)
class Checkpoint:
    """A model as it lies on disk."""

    folder: Path
    label: str
    """What a reader knows it by: its hub name, or its folder's."""

    def identity(self, *settings: object) -> str:
        """sha256 of the settings and of every file that the model is read from.

        Weights are read to the last byte, not sampled: it takes under a second a gigabyte, and a fine-tuned copy that
        shares most of its weights is never taken for its origin.
        """
        files = model_store.files(self.folder)
        parts = [f"{file.relative_to(self.folder).as_posix()} {fingerprint(file)}" for file in files]
        return hashlib.sha256("\n".join([*map(str, settings), *parts]).encode()).hexdigest()

    def config(self) -> dict[str, Any]:
        """Its `config.json`; DataError where that cannot be read."""
        try:
            config: dict[str, Any] = json.loads((self.folder / CONFIG).read_text(encoding="utf-8"))
            return config
        except (OSError, ValueError) as error:
            raise self._damaged(_line(error)) from error

    def load(self, loader: Any, **settings: Any) -> Any:
        """`loader.from_pretrained`, without network, code of the model's own or pickles; faults in one line."""
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        try:
            return loader.from_pretrained(
                str(self.folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, **settings
            )
        except ImportError as error:
            raise MissingExtraError(
                f"the model {self.label!r} needs a package: {_line(error)}", where=str(self.folder)
            ) from error
        except Exception as error:  # damaged files surface as nearly anything, from half a dozen libraries
            raise self._damaged(_line(error)) from error

    def open(self, device: str, dtype: torch.dtype | None = None) -> Opened:
        """The network on its device, in `dtype` or the fast number format of the device."""
        from transformers import AutoModel

        where = torch.device(choose_device(device))
        network, info = self.load(AutoModel, dtype=dtype or fast_dtype(where), output_loading_info=True)
        lacking = sorted(info["missing_keys"])
        needed = [name for name in lacking if not UNUSED.search(name)]
        if needed:  # they were filled with random numbers
            raise self._damaged(f"{len(needed)} of its weights are missing, such as {needed[0]}")
        if getattr(network.config, "is_encoder_decoder", False):
            network = network.get_encoder()
        return Opened(network.to(where).eval(), where, any("pooler" in name for name in lacking))

    def _damaged(self, why: str) -> LlmrecError:
        return DataError(
            f"the model {self.label!r} cannot be read: {why}",
            where=str(self.folder),
            fix="check the folder, which needs a config.json and whole *.safetensors, or fetch the model again",
        )


@dataclass(frozen=True)
class Opened:
    """A network ready to encode."""

    network: Any
    device: torch.device
    without_pooler: bool
    """The checkpoint has no weights for the model's own pooling."""

    def forward(
        self, features: Mapping[str, torch.Tensor], method: str = "", **options: bool
    ) -> tuple[Any, torch.Tensor | None]:
        """What the network, or its `method` where it has one, makes of a batch, and the batch's attention mask."""
        batch = {name: self._placed(value) for name, value in features.items()}
        mask = batch.get("attention_mask")
        if mask is not None and not self._takes_mask:
            del batch["attention_mask"]
        with torch.inference_mode():
            return getattr(self.network, method, self.network)(**batch, **options), mask

    def pooled(self, features: Mapping[str, torch.Tensor], method: str) -> Floats:
        """(batch, dim): what `method` gives where the network has it, else its pooler, else the mean of its states.

        The attention mask marks what is content; it may be finer than the states.
        """
        output, mask = self.forward(features, method)
        if not isinstance(output, torch.Tensor):
            pooler = None if self.without_pooler else getattr(output, "pooler_output", None)
            output = mean_state(output.last_hidden_state.float(), mask) if pooler is None else pooler
        return output.flatten(1).float().cpu().numpy()

    @cached_property
    def _takes_mask(self) -> bool:
        return "attention_mask" in inspect.signature(self.network.forward).parameters

    def _placed(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.device, dtype=self.network.dtype if value.is_floating_point() else None)


def mean_state(states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(batch, dim) means over places of (batch, places, dim) states, or over both sides of (batch, dim, y, x) ones."""
    if states.dim() == 4:
        return states.mean((2, 3))
    if mask is None:
        return states.mean(1)
    places = torch.arange(states.shape[1], device=mask.device) * mask.shape[1] // states.shape[1]
    weights = mask[:, places, None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def pooled_states(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """(batch, dim) of (batch, places, dim) states, padded on the right: the first (cls), the last, or their mean."""
    if pooling == "cls":
        return states[:, 0]
    if pooling == "lasttoken":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    return mean_state(states, mask)


def assembled(n: int, parts: Sequence[tuple[Ints, Floats]]) -> Floats:
    """(n, dim) rows put in their places; zero rows elsewhere; (n, 1) zeros without parts."""
    out = np.zeros((n, parts[0][1].shape[1] if parts else 1), dtype=np.float32)
    for rows, vectors in parts:
        out[rows] = vectors
    return out


def locate(name: str, kind: str, base: Path, log: Log) -> Checkpoint:
    """The model in the folder `name` (from `base`), or of that name in the hub's local cache, or fetched from the hub.

    SettingsError where there cannot be such a model, MissingExtraError where it is neither here nor to be had now.
    """
    folder = base / Path(name).expanduser()
    if folder.is_dir():
        if not (folder / CONFIG).is_file():
            raise SettingsError(
                f"the {kind} encoder's folder {name!r} has no {CONFIG}",
                where=str(folder),
                fix="give the folder that transformers saved the model into",
            )
        return Checkpoint(folder, folder.resolve().name)
    if not HUB_NAME.fullmatch(name) or folder.parent.is_dir():
        raise SettingsError(
            f"the {kind} encoder's folder {name!r} does not exist",
            where=str(folder),
            fix=f"check pretrain.{kind}_encoder: a folder, or a model's name on the Hugging Face hub (owner/name)",
        )
    return Checkpoint(cached(name) or _fetched(name, kind, log), name)


def _fetched(name: str, kind: str, log: Log) -> Path:
    """Asks the hub once, briefly, before the download, whose own retries would take minutes without a network."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: of whatever client it uses
        GatedRepoError,
        HTTPError,
        RepositoryNotFoundError,
    )
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    try:
        found = HfApi().model_info(name, timeout=PATIENCE)
        if not any(file.rfilename.endswith(".safetensors") for file in found.siblings or []):
            raise SettingsError(
                f"the {kind} encoder {name!r} has no weights in safetensors", fix="choose a model that has them"
            )
        log(f"{kind} encoder: fetching {name} from the Hugging Face hub")
        disable_progress_bars()
        return Path(snapshot_download(name, allow_patterns=list(FILES), ignore_patterns=OTHER_FORMATS))
    except GatedRepoError as error:
        raise MissingExtraError(
            f"the {kind} encoder {name!r} is given only to those who accept its licence",
            fix="accept it on the model's page, then: hf auth login",
        ) from error
    except RepositoryNotFoundError as error:
        raise SettingsError(
            f"the {kind} encoder {name!r} is neither a folder nor a model on the Hugging Face hub",
            fix=f"check pretrain.{kind}_encoder",
        ) from error
    except (HTTPError, OSError) as error:
        raise MissingExtraError(
            f"the {kind} encoder {name!r} is not on this machine, and the Hugging Face hub cannot be reached",
            where=_line(error),
            fix=f"on a machine with network: hf download {name} --local-dir FOLDER; copy FOLDER here and set "
            f"pretrain.{kind}_encoder to it",
        ) from error


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
