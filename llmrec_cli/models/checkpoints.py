"""Models and training states on disk: `config.json` + safetensors, written atomically, never pickled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from llmrec_cli.core.errors import UpstreamError

Tensors = dict[str, torch.Tensor]
Json = dict[str, Any]

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


def save_model(folder: Path, config: Json, tensors: Tensors) -> None:
    """Write `config.json` and `model.safetensors` into an existing or new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    save_file(_plain(tensors), folder / WEIGHTS_NAME)


def load_model(folder: Path, device: str = "cpu") -> tuple[Json, Tensors]:
    """What `save_model` wrote; UpstreamError where a file is missing or damaged."""
    try:
        config: Json = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        return config, load_file(folder / WEIGHTS_NAME, device=device)
    except (FileNotFoundError, json.JSONDecodeError, SafetensorError) as error:
        raise UpstreamError(
            f"the saved model {folder.name} is missing or damaged: {error}",
            where=str(folder),
            fix=f"llmrec {folder.parent.name} --force",
        ) from error


def save_state(path: Path, tensors: Tensors, told: Json) -> None:
    """A resumable state in one file: tensors, and plain values in its header. The old file stays until the new is whole."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    save_file(_plain(tensors), temporary, metadata={"told": json.dumps(told)})
    os.replace(temporary, path)


def load_state(path: Path) -> tuple[Tensors, Json]:
    """What `save_state` wrote."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["told"])  # noqa: SIM118


def under(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors whose name begins with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _plain(tensors: Tensors) -> Tensors:
    """Safetensors wants contiguous tensors that share no memory."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
