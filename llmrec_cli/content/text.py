"""Text encoders: any sentence transformer, from a folder or the hub, and hashed TF-IDF that needs no model at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from llmrec_cli.content import TEXT_ENCODERS, Advance, Log, TextEncoder, pretrained, silent
from llmrec_cli.content.encoder_files import MULTILINGUAL, minilm_folder
from llmrec_cli.core.arrays import Floats, Ints, length_sorted, unit
from llmrec_cli.core.errors import DataError, MissingExtraError, SettingsError
from llmrec_cli.core.registry import load_variant
from llmrec_cli.data import words
from llmrec_cli.tensors import model_store
from llmrec_cli.tensors.runtime import choose_device, fast_dtype

INSTALL = "pip install 'llmrec-cli[models]'"
CATEGORY_LEVELS = 3
FLAG = "pooling_mode_"
POOLING_FILE = "1_Pooling/config.json"
POOLINGS = {"mean": "mean", "mean_tokens": "mean", "cls": "cls", "cls_token": "cls", "lasttoken": "lasttoken"}


def item_texts(items: pa.Table) -> list[str]:
    """ "title. last 3 category levels. text" of each row of `clean/items`; tags stand in where there is no category."""
    columns = [items.column(name).to_pylist() for name in ("title", "category", "tags", "text")]
    return [_item_text(*row) for row in zip(*columns, strict=True)]


def _item_text(title: str | None, category: str | None, tags: list[str] | None, text: str | None) -> str:
    levels = category.split(" > ")[-CATEGORY_LEVELS:] if category else tags or []
    return ". ".join(part for part in ((title or "").strip(), ", ".join(levels), (text or "").strip()) if part)


def build(name: str, device: str, advance: Advance, base: Path = Path(), log: Log = silent) -> TextEncoder:
    """The encoder called "auto", "minilm", "hashed", "module:Class", or in a folder (from `base`), or on the hub."""
    if name == "auto":
        name = "minilm" if minilm_folder() else "hashed"
    is_folder = (base / Path(name).expanduser()).is_dir()
    if name not in TEXT_ENCODERS and (is_folder or ("/" in name and ":" not in name)):
        return SentenceEncoder(device, advance, pretrained.locate(name, "text", base, log))
    encoder: TextEncoder = load_variant("text encoder", TEXT_ENCODERS, name, TextEncoder)(device, advance)
    return encoder


def tunable(name: str, device: str, base: Path, log: Log = silent) -> SentenceEncoder:
    """The encoder of that name, which learns from behaviour; SettingsError for one that is no transformer."""
    encoder = build(name, device, silent, base, log)
    if not isinstance(encoder, SentenceEncoder):
        raise SettingsError(
            f"the text encoder {encoder.name} cannot be tuned: it is no transformer",
            where="pretrain.tune_text",
            fix=f"{INSTALL}; or set pretrain.text_encoder to a transformers folder, or pretrain.tune_text = false",
        )
    return encoder


class SentenceEncoder:
    """Pooled, normalised last states of a transformers encoder (Reimers and Gurevych 2019)."""

    batch_tokens = 2048
    max_tokens = 64
    itemwise = True

    def __init__(self, device: str, advance: Advance, checkpoint: pretrained.Checkpoint | None = None) -> None:
        """Without a checkpoint: MiniLM from its package; MissingExtraError where that is not installed."""
        packaged = minilm_folder()
        if checkpoint is None and packaged is None:
            raise MissingExtraError("the text encoder 'minilm' is not installed", fix=INSTALL)
        self.name = f"sentence transformer {checkpoint.label}" if checkpoint else "MiniLM (all-MiniLM-L6-v2)"
        self.checkpoint = checkpoint or pretrained.Checkpoint(packaged or Path(), "MiniLM")
        self.device, self.advance = device, advance
        self.pooling = _pooling(self.checkpoint)

    @cached_property
    def identity(self) -> str:
        """See `Cacheable`."""
        dtype = fast_dtype(torch.device(choose_device(self.device)))
        return self.checkpoint.identity("text", self.pooling, self.max_tokens, dtype)

    def encode(self, texts: list[str]) -> Floats:
        """(texts, dim) unit-length rows; a zero row for an empty text."""
        parts = [
            (rows, pretrained.pooled_states(states.float(), mask, self.pooling).cpu().numpy())
            for rows, states, mask in self.states(self.tokens(texts))
        ]
        return unit(pretrained.assembled(len(texts), parts))

    def tokens(self, texts: list[str]) -> list[list[int]]:
        """The tokens of each text, at most `max_tokens`; none for an empty text."""
        some = [text for text in texts if text.strip()]
        known = iter(self.tokenizer(some, truncation=True, max_length=self.max_tokens)["input_ids"] if some else [])
        return [next(known) if text.strip() else [] for text in texts]

    def states(
        self, tokens: list[list[int]], layer: int | None = None
    ) -> Iterator[tuple[Ints, torch.Tensor, torch.Tensor]]:
        """(rows, their (rows, length, dim) states, the (rows, length) mask) block by block, shortest texts first.

        The states are the last ones, or those of a `layer` as transformers counts them: 0 is below the first.
        """
        lengths = np.array([len(ids) for ids in tokens], dtype=np.int64)
        some = np.flatnonzero(lengths)
        for block in length_sorted(lengths[some], self.batch_tokens):
            rows = some[block]
            batch = self.tokenizer.pad({"input_ids": [tokens[row] for row in rows]}, return_tensors="pt")
            output, _ = self._opened.forward(batch, output_hidden_states=layer is not None)
            states = output.last_hidden_state if layer is None else output.hidden_states[layer]
            yield rows, states, batch["attention_mask"].to(states.device)
            self.advance(len(rows))

    @property
    def network(self) -> Any:
        """The whole network, as it was loaded."""
        return self._opened.network

    @cached_property
    def tokenizer(self) -> Any:
        """Pads on the right, whatever the model was trained with: places are counted from the first token."""
        from transformers import AutoTokenizer

        tokenizer = self.checkpoint.load(AutoTokenizer)
        tokenizer.padding_side = "right"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @cached_property
    def _opened(self) -> pretrained.Opened:
        return self.checkpoint.open(self.device)


class MultilingualEncoder(SentenceEncoder):
    """multilingual-e5-small (Wang et al. 2024); its tokenizer puts "query: " before every text."""

    def __init__(self, device: str, advance: Advance) -> None:
        """MissingExtraError, with how to get it, where the model is not here."""
        super().__init__(device, advance, pretrained.Checkpoint(model_store.locate(MULTILINGUAL), MULTILINGUAL))


def _pooling(checkpoint: pretrained.Checkpoint) -> str:
    """How a sentence transformer was trained to be pooled, by the old or the new form of its file.

    Without that file: the last token of a decoder, which alone has seen the whole text; else the mean.
    """
    path = checkpoint.folder / POOLING_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise DataError(f"the pooling of {checkpoint.label!r} cannot be read: {error}", where=str(path)) from error
    flags = [name.removeprefix(FLAG) for name, on in config.items() if name.startswith(FLAG) and on is True]
    given = config.get("pooling_mode") or (flags[0] if flags else _own_pooling(checkpoint))
    if given not in POOLINGS:
        raise SettingsError(
            f"the model {checkpoint.label!r} is pooled by {given!r}, which is not supported",
            where=str(path),
            fix="choose a model that is pooled by mean, cls or lasttoken",
        )
    return POOLINGS[given]


def _own_pooling(checkpoint: pretrained.Checkpoint) -> str:
    architectures = checkpoint.config().get("architectures") or [""]
    return "lasttoken" if str(architectures[0]).endswith("ForCausalLM") else "mean"


class HashedEncoder:
    """TF-IDF of hashed words and word pairs, reduced by a truncated SVD (latent semantic analysis)."""

    name = "hashed TF-IDF"
    features = 1 << 18
    dim = 128
    itemwise = False

    def __init__(self, device: str, advance: Advance) -> None:
        self.advance = advance

    @property
    def identity(self) -> str:
        """See `Cacheable`."""
        made = f"hashed TF-IDF, {self.features} features, {self.dim} directions, scikit-learn {version('scikit-learn')}"
        return made + (", Chinese cut into words" if words.can_cut() else "")

    def encode(self, texts: list[str]) -> Floats:
        """(texts, at most 128) unit-length rows; a zero row for a text without words."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

        if not texts:
            return np.zeros((0, 1), dtype=np.float32)
        texts = words.spaced(pa.array(texts)).to_pylist()
        counts = HashingVectorizer(n_features=self.features, ngram_range=(1, 2), norm=None, alternate_sign=False)
        found = counts.transform(texts)
        used = np.flatnonzero(found.getnnz(axis=0))
        dim = min(self.dim, len(used) - 1, len(texts) - 1)
        if dim < 1:
            return np.zeros((len(texts), 1), dtype=np.float32)
        weighted = TfidfTransformer(sublinear_tf=True).fit_transform(found[:, used])
        vectors = TruncatedSVD(dim, random_state=0).fit_transform(weighted)
        self.advance(len(texts))
        return unit(vectors.astype(np.float32))
