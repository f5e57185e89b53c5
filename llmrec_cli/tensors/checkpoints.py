"""Models and training states on disk: `config.json` + safetensors, written atomically, never pickled."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from llmrec_cli.core.disk import move_into_place
from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.core.progress import Progress

Tensors = dict[str, torch.Tensor]
Json = dict[str, Any]

# How files of another content than was saved come out of what reads them; pydantic's errors are ValueErrors.
WRONG = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, RecursionError, SafetensorError)
CONFIG_NAME = "config.json"
ITEMS_KEY = "items_sha256"
"""Where the `config.json` of a model says which items its rows stand for."""
WEIGHTS_NAME = "model.safetensors"


def save_config(folder: Path, config: Json) -> None:
    """Write `config.json` into an existing or new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_config(folder: Path) -> Json:
    """What `save_config` wrote; UpstreamError where it is missing or damaged."""
    with reading(folder):
        config = json.loads(_file(folder / CONFIG_NAME).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError(f"{CONFIG_NAME} holds no settings")
    return config


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Around whatever is made from the files of a saved model: UpstreamError where they do not fit what reads them."""
    try:
        yield
    except WRONG as error:
        raise damaged(folder, error) from error


def bind(folder: Path, item_ids: list[str]) -> None:
    """Note in the `config.json` of a saved model which items its rows stand for, in which order."""
    note(folder, ITEMS_KEY, _sha256(item_ids))


def note(folder: Path, name: str, what: Any) -> None:
    """Note something in the `config.json` of a saved model."""
    save_config(folder, {**load_config(folder), name: what})


def fits(folder: Path, item_ids: list[str]) -> Path:
    """The folder, whose rows stand for these items in this order; UpstreamError where they do not."""
    if load_config(folder).get(ITEMS_KEY) != _sha256(item_ids):
        raise UpstreamError(
            f"the saved model {folder.name} is of other items than clean/items",
            where=str(folder),
            fix=f"llmrec {folder.parent.name} --force",
        )
    return folder


def _sha256(item_ids: list[str]) -> str:
    return hashlib.sha256(json.dumps(item_ids).encode()).hexdigest()


def _file(path: Path) -> Path:
    """The path of a file; a named pipe in its place would be waited for without end."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.name}")
    return path


def save_model(folder: Path, config: Json, tensors: Tensors) -> None:
    """Write `config.json` and `model.safetensors` into an existing or new folder."""
    save_config(folder, config)
    save_file(_plain(tensors), folder / WEIGHTS_NAME)


def load_model(folder: Path, device: str = "cpu") -> tuple[Json, Tensors]:
    """What `save_model` wrote; UpstreamError where a file is missing or damaged."""
    config = load_config(folder)
    with reading(folder):
        return config, load_file(_file(folder / WEIGHTS_NAME), device=device)


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
        f"the saved model {folder.name} is missing or damaged: {first_line(error)}",
        where=str(folder),
        fix=f"llmrec {folder.parent.name} --force",
    )


def first_line(error: Exception) -> str:
    """The first line of an error; the name of a key alone would say nothing."""
    text = str(error).strip().splitlines() or [type(error).__name__]
    return f"no {text[0]}" if isinstance(error, KeyError) else text[0]


def save_state(path: Path, tensors: Tensors, facts: Json) -> None:
    """A resumable state in one file: tensors, plain values in its header, and the sha256 of both.

    The old stays until the new is whole and on the disk.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    plain, header = _plain(tensors), json.dumps(facts)
    save_file(plain, temporary, metadata={"facts": header, "sha256": _content(plain, header)})
    move_into_place(temporary, path)


def load_state(path: Path) -> tuple[Tensors, Json]:
    """What `save_state` wrote; UpstreamError where it is damaged, be it by a single bit."""
    try:
        with safe_open(_file(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        if metadata["sha256"] != _content(tensors, metadata["facts"]):
            raise ValueError("its content is not what was saved")
        return tensors, json.loads(metadata["facts"])
    except WRONG as error:
        raise UpstreamError(
            f"the saved state {path.name} is damaged: {first_line(error)}", where=str(path), fix="remove this file"
        ) from error


def describe(path: Path) -> Json:
    """The plain values of what `save_state` wrote, without its tensors."""
    with safe_open(_file(path), framework="pt") as file:
        values: Json = json.loads(file.metadata()["facts"])
        return values


def _content(tensors: Tensors, header: str) -> str:
    """sha256 of the names, kinds, shapes and bytes of tensors, and of the values with them."""
    digest = hashlib.sha256(header.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def under(prefix: str, tensors: Tensors) -> Tensors:
    """The tensors whose name begins with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _plain(tensors: Tensors) -> Tensors:
    """Safetensors wants contiguous tensors that share no memory."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def kept_state(
    checkpoint: Path | None, learning: Tensors, name: str, progress: Progress
) -> tuple[Tensors, Json] | None:
    """What a checkpoint of the weights `learning` holds; None where there is none or it is damaged, which is logged."""
    if checkpoint is None or not os.path.lexists(checkpoint):
        return None
    try:
        tensors, facts = load_state(checkpoint)
    except UpstreamError as error:
        why = error.what
    else:
        kept = {key: value.shape for key, value in under("model.", tensors).items()}
        if kept == {key: value.shape for key, value in learning.items()}:
            return tensors, facts
        why = f"the saved state {checkpoint.name} is of another model"
    progress.log(f"pretrain {name}: {why}; this training begins anew")
    return None
