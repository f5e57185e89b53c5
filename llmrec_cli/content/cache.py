"""Vectors of contents kept between runs, so that only new contents are ever encoded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors import SafetensorError

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.tensors import checkpoints, model_store

DIGEST = pa.binary(32)
DAMAGED = (UpstreamError, KeyError, ValueError)


def cache_folder() -> Path:
    """`LLMREC_CACHE`, else `vectors` next to the folder of fetched models: shared by all work directories of a user."""
    given = os.environ.get("LLMREC_CACHE")
    return Path(given).expanduser() if given else model_store.models_folder().with_name("vectors")


class VectorCache:
    """What one encoder made of contents, by the sha256 of each: `FOLDER/<sha256 of the encoder>/*.safetensors`.

    Each call of `keep` adds a file and changes none, so that runs at the same time do no harm to each other and a
    killed run leaves what it had. A damaged file is removed; its contents are encoded again.
    """

    def __init__(self, folder: Path, identity: str, *, read_only: bool = False) -> None:
        """`read_only`: what is known is found, nothing is added."""
        self.folder = folder / hashlib.sha256(identity.encode()).hexdigest()[:32]
        self.read_only = read_only

    def find(self, digests: pa.Array) -> tuple[Ints, Floats]:
        """The places of those known in (n,) digests, ascending, and their (known, dim) vectors."""
        rows: list[Ints] = []
        vectors: list[Floats] = []
        wanted = np.arange(len(digests))
        for file in sorted(self.folder.glob("[0-9a-f]*.safetensors")):
            known, kept = _read(file)
            if known is None or (vectors and kept.shape[1] != vectors[0].shape[1]):
                continue
            places = pc.index_in(digests.take(pa.array(wanted)), value_set=known)
            here = np.asarray(pc.is_valid(places))
            rows.append(wanted[here])
            vectors.append(kept[np.asarray(places.drop_null(), dtype=np.int64)])
            wanted = wanted[~here]
        if not rows:
            return np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=np.float32)
        order = np.argsort(np.concatenate(rows))
        return np.concatenate(rows)[order], np.concatenate(vectors)[order]

    def keep(self, digests: pa.Array, vectors: Floats) -> None:
        """Add (n,) digests and their (n, dim) vectors; OSError where they cannot be written."""
        if self.read_only:
            return
        block = np.frombuffer(b"".join(digests.to_pylist()), dtype=np.uint8).reshape(-1, DIGEST.byte_width)
        name = hashlib.sha256(block.tobytes()).hexdigest()[:32]
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {"hashes": torch.from_numpy(block.copy()), "vectors": torch.from_numpy(vectors)}
        try:
            checkpoints.save_state(self.folder / f"{name}.safetensors", tensors, {})
        except SafetensorError as error:  # how a full disk comes out of safetensors
            raise OSError(str(error)) from error


def digest_array(digests: Sequence[bytes]) -> pa.Array:
    """Sha256 sums as an Arrow array."""
    return pa.array(digests, DIGEST)


def _read(file: Path) -> tuple[pa.Array | None, Floats]:
    """The digests and vectors of a file; no digests where it is damaged, which it then no longer is: it is removed."""
    nothing = np.zeros((0, 1), dtype=np.float32)
    try:
        tensors, _ = checkpoints.load_state(file)
        hashes, vectors = tensors["hashes"].numpy(), tensors["vectors"].numpy()
        if hashes.dtype != np.uint8 or hashes.shape != (len(vectors), DIGEST.byte_width) or vectors.ndim != 2:
            raise ValueError("other tensors than were written")
    except DAMAGED:
        with suppress(OSError):
            file.unlink()
        return None, nothing
    return pa.Array.from_buffers(DIGEST, len(hashes), [None, pa.py_buffer(hashes.tobytes())]), vectors
