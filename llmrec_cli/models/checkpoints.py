"""Models and training states on disk: `config.json` + safetensors, written atomically, never pickled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from llmrec_cli.core.errors import UpstreamError

Tensors = dict[str, torch.Tensor]
Json = dict[str, Any]

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


def save_config(folder: Path, config: Json) -> None:
    """Write `config.json` into an existing or new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_config(folder: Path) -> Json:
    """What `save_config` wrote; UpstreamError where it is missing or damaged."""
    try:
        config: Json = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise damaged(folder, error) from error
    return config


def save_model(folder: Path, config: Json, tensors: Tensors) -> None:
    """Write `config.json` and `model.safetensors` into an existing or new folder."""
    save_config(folder, config)
    save_file(_plain(tensors), folder / WEIGHTS_NAME)


def load_model(folder: Path, device: str = "cpu") -> tuple[Json, Tensors]:
    """What `save_model` wrote; UpstreamError where a file is missing or damaged."""
    try:
        return load_config(folder), load_file(folder / WEIGHTS_NAME, device=device)
    except (FileNotFoundError, SafetensorError) as error:
        raise damaged(folder, error) from error


def csr_tensors(name: str, matrix: sp.csr_matrix) -> Tensors:
    """A sparse float32 matrix as named tensors."""
    return {
        f"{name}.data": torch.from_numpy(matrix.data.astype(np.float32)),
        f"{name}.indices": torch.from_numpy(matrix.indices.astype(np.int32)),
        f"{name}.indptr": torch.from_numpy(matrix.indptr.astype(np.int64)),
        f"{name}.shape": torch.tensor(matrix.shape, dtype=torch.int64),
    }


def csr_matrix(name: str, tensors: Tensors) -> sp.csr_matrix:
    """What `csr_tensors` made."""
    data, indices, indptr, shape = (
        tensors[f"{name}.{part}"].numpy() for part in ("data", "indices", "indptr", "shape")
    )
    return sp.csr_matrix((data, indices, indptr), shape=tuple(shape))


def damaged(folder: Path, error: Exception) -> UpstreamError:
    return UpstreamError(
        f"the saved model {folder.name} is missing or damaged: {error}",
        where=str(folder),
        fix=f"llmrec {folder.parent.name} --force",
    )


def save_state(path: Path, tensors: Tensors, told: Json) -> None:
    """A resumable state in one file: tensors, plain values in its header. The old stays until the new is whole."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    save_file(_plain(tensors), temporary, metadata={"told": json.dumps(told)})
    os.replace(temporary, path)


def load_state(path: Path) -> tuple[Tensors, Json]:
    """What `save_state` wrote."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, told(path)  # noqa: SIM118


def told(path: Path) -> Json:
    """The plain values of what `save_state` wrote, without its tensors."""
    with safe_open(path, framework="pt") as file:
        values: Json = json.loads(file.metadata()["told"])
        return values


def under(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors whose name begins with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _plain(tensors: Tensors) -> Tensors:
    """Safetensors wants contiguous tensors that share no memory."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
