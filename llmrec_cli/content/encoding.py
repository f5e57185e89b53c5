"""Vectors of what items are, from their texts, images or audio files; each content is encoded once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec_cli.content import Advance, Log, image, media, preprocessing, silent, text
from llmrec_cli.content.cache import VectorCache, cache_folder, digest_array
from llmrec_cli.content.encoder_files import MULTILINGUAL, NOUNS, chosen, english, minilm_folder
from llmrec_cli.content.item_content_config import Modality
from llmrec_cli.core.arrays import Floats
from llmrec_cli.core.disk import fingerprint
from llmrec_cli.core.errors import MissingExtraError
from llmrec_cli.core.progress import Progress, Task
from llmrec_cli.core.registry import load_function

__all__ = ["Encoded", "build", "cache_folder", "encode", "encode_items"]

NONE: Floats = np.zeros((0, 1), dtype=np.float32)
FETCH = f"llmrec models fetch {MULTILINGUAL}"
# Contents between two writes of the cache: a minute or so of work that a killed run may lose.
PIECE = {"text": 16384, "image": 1024, "audio": 256}
BUILDERS: dict[Modality, Callable[..., Any] | str] = {
    "text": text.build,
    "image": image.build,
    "audio": "llmrec_cli.extras.audio:build",
}


@dataclass(frozen=True)
class Encoded:
    """The vectors of one kind of content."""

    vectors: Floats
    """(items, dim) centred rows of unit length; zero rows where there is no content. (items, 1) zeros without any."""
    encoder: str
    n_found: int
    """Items with content that could be encoded."""
    n_new: int
    """Different contents that were encoded now; the others came from the cache."""
    warnings: list[str]


@dataclass
class _Contents:
    """What can be encoded: texts, or files that are there; the place of each one's item, and its sha256."""

    rows: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    outside: int = 0
    """Paths that lead out of the folder: never opened."""
    missing: int = 0


def build(
    modality: Modality, name: str, *, base: Path, device: str, advance: Advance = silent, log: Log = silent
) -> Any:
    """The encoder of that name; SettingsError or MissingExtraError where there is none, before any work is done."""
    found = BUILDERS[modality]
    made: Callable[..., Any] = load_function(found) if isinstance(found, str) else found
    return made(name, device, advance, base, log)


def encode(
    modality: Modality,
    values: Sequence[str | None],
    encoder: str,
    *,
    base: Path,
    cache: Path | None,
    device: str,
    progress: Progress,
    keep: bool = True,
) -> Encoded:
    """The vectors of (items,) texts, or of files by their paths from `base`, by the encoder of that name.

    Equal contents are encoded once. With a `cache` folder the vectors are kept there, by the sha256 of the encoder's
    files and settings and of the content, and only new contents are encoded the next time. A vector then comes from the
    batch in which it was first encoded: those of a later run agree with those of a run from scratch to the rounding of
    the number format (bfloat16 where the hardware is fast at it). An encoder whose vectors depend on all contents
    together (`hashed`) is kept for the whole list; one that does not say what it depends on is not kept.
    With `keep` off nothing is added to what is kept.
    """
    contents = _texts(values) if modality == "text" else _files(values, base.resolve())
    distinct = digest_array(contents.digests).dictionary_encode()
    places = np.asarray(distinct.indices, dtype=np.int64)
    unique = [contents.values[i] for i in np.unique(places, return_index=True)[1]]
    warnings = _paths_warnings(modality, contents, base)
    with progress.task(f"{NOUNS[modality]} of items", total=len(unique), unit=NOUNS[modality]) as task:
        made = build(modality, encoder, base=base, device=device, advance=task.advance, log=progress.log)
        kept = _cache(made, distinct.dictionary, cache, keep=keep)
        raw, n_new = _vectors(made, modality, unique, distinct.dictionary, cache=kept, task=task, warnings=warnings)
    found = np.any(raw != 0, axis=1)
    if modality != "text":
        warnings += _unreadable(modality, [unique[i] for i in np.flatnonzero(~found)], bool(found.any()))
    rows = np.zeros((len(values), raw.shape[1]), dtype=np.float32)
    rows[contents.rows] = raw[places]
    return Encoded(preprocessing.centred(rows), made.name, int(found[places].sum()), n_new, warnings)


def ready(encoders: Mapping[Modality, str], base: Path, device: str, progress: Progress) -> None:
    """Raise what `build` raises for any of the encoders; an empty name is none."""
    for kind, name in encoders.items():
        if name:
            build(kind, name, base=base, device=device, log=progress.log)


def encode_items(
    items: pa.Table, encoders: Mapping[Modality, str], base: Path, device: str, progress: Progress
) -> tuple[dict[Modality, Encoded], list[str], list[str]]:
    """Each kind of content of `clean/items` that has an encoder, a line about each kind that is there, and warnings."""
    values = {"text": text.item_texts(items), **{kind: items.column(kind).to_pylist() for kind in ("image", "audio")}}
    found, lines, warnings = {}, [], []
    taken = chosen(encoders, items)
    if taken["text"] != encoders["text"]:
        lines.append(f"most titles are not English: text_encoder = auto takes {taken['text']}")
    elif encoders["text"] == "auto" and not english(items):
        warnings.append(f"most titles are not English; to get an encoder that reads them: {FETCH}")
    for kind, encoder in taken.items():
        present = sum(map(bool, values[kind]))
        if encoder:
            made = found[kind] = encode(
                kind, values[kind], encoder, base=base, cache=cache_folder(), device=device, progress=progress
            )
            found_here = f"{made.n_found:,} of {items.num_rows:,} by {made.encoder}, {made.vectors.shape[1]} wide"
            lines.append(f"item {NOUNS[kind]}: {found_here}; {made.n_new:,} encoded now")
        elif present:
            lines.append(f"item {NOUNS[kind]}: {present:,} not looked at, pretrain.{kind}_encoder is empty")
    warnings += [warning for encoded in found.values() for warning in encoded.warnings]
    if taken["text"] == "auto" and minilm_folder() is None:
        warnings.append(f"texts are encoded by hashed TF-IDF; a sentence encoder is better: {text.INSTALL}")
    return found, lines, warnings


def _texts(values: Sequence[str | None]) -> _Contents:
    rows = [row for row, value in enumerate(values) if value and value.strip()]
    texts = [str(values[row]) for row in rows]
    return _Contents(rows, texts, [hashlib.sha256(value.encode()).digest() for value in texts])


def _files(values: Sequence[str | None], root: Path) -> _Contents:
    """Every path is looked at once, however many items share it."""
    contents = _Contents()
    seen: dict[str, tuple[Path, bytes] | None] = {}
    for row, path in enumerate(values):
        if not path:
            continue
        file = media.inside(path, root)
        if file is None:
            contents.outside += 1
            continue
        if path not in seen:
            seen[path] = _digest(file)
        there = seen[path]
        if there is None:
            contents.missing += 1
            continue
        contents.rows.append(row)
        contents.values.append(there[0])
        contents.digests.append(there[1])
    return contents


def _digest(file: Path) -> tuple[Path, bytes] | None:
    try:
        return (file, bytes.fromhex(fingerprint(file))) if file.is_file() else None  # a pipe would be waited for
    except OSError:
        return None


def _cache(encoder: Any, digests: pa.Array, folder: Path | None, *, keep: bool) -> VectorCache | None:
    identity: str = getattr(encoder, "identity", "") if folder and len(digests) else ""
    if folder is None or not identity:
        return None
    if not encoder.itemwise:
        identity += hashlib.sha256(b"".join(digests.to_pylist())).hexdigest()
    return VectorCache(folder, identity, read_only=not keep)


def _vectors(
    encoder: Any,
    modality: Modality,
    values: list[Any],
    digests: pa.Array,
    *,
    cache: VectorCache | None,
    task: Task,
    warnings: list[str],
) -> tuple[Floats, int]:
    """(contents, dim) raw vectors of different contents, and how many are new; these are kept piece by piece."""
    kept, vectors = cache.find(digests) if cache else (np.zeros(0, dtype=np.int64), NONE)
    size = PIECE[modality]
    if not getattr(encoder, "itemwise", False):  # all or nothing, in one call
        size = max(1, len(values))
        kept, vectors = (kept, vectors) if len(kept) == len(values) else (kept[:0], NONE)
    if len(kept):
        task.advance(len(kept), "from the cache")
    parts = [(kept, vectors)]
    new = np.setdiff1d(np.arange(len(values)), kept)
    for start in range(0, len(new), size):
        block = new[start : start + size]
        made: Floats = encoder.encode([values[i] for i in block])
        # a file that could not be read may be readable the next time; a text without a vector stays one
        worth = np.any(made != 0, axis=1) | (modality == "text")
        parts.append((block[worth], made[worth]))
        if cache and worth.any():
            try:
                cache.keep(digests.take(pa.array(block[worth])), made[worth])
            except OSError as error:
                warnings.append(f"the vectors of {NOUNS[modality]} could not be kept for the next run: {error}")
                cache = None
    out = np.zeros((len(values), max(made.shape[1] for _, made in parts)), dtype=np.float32)
    for rows, made in parts:
        out[rows] = made
    return out, len(new)


def _paths_warnings(modality: Modality, contents: _Contents, base: Path) -> list[str]:
    one = NOUNS[modality].removesuffix("s")
    found_here = []
    if contents.outside:
        found_here.append(f"{contents.outside:,} {one} paths lead out of {base}: they were not opened")
    if contents.missing:
        found_here.append(f"{contents.missing:,} {one} paths name no file in {base}")
    return found_here


def _unreadable(modality: Modality, failed: list[Path], some: bool) -> list[str]:
    """A warning of the files that hold nothing readable; MissingExtraError where only a package may be lacking."""
    if not failed:
        return []
    without = modality == "audio" and not media.other_formats()
    fix = f"pip install {media.SOUNDFILE}"
    if without and not some:
        raise MissingExtraError(
            "no audio file can be read: formats other than WAV need the package soundfile",
            where=str(failed[0]),
            fix=fix,
        )
    hint = f"; formats other than WAV need: {fix}" if without else ""
    return [f"{len(failed):,} {NOUNS[modality]} could not be read, such as {failed[0].name}{hint}"]
