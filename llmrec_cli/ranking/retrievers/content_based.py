"""Content-based filtering: items whose text is like that of the history, by embeddings and by words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
import torch
from pydantic import BaseModel, Field

from llmrec_cli.core.arrays import Codes, Floats, Ints, offsets_of
from llmrec_cli.data import words
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking.item_table import dots
from llmrec_cli.ranking.retrievers import Histories
from llmrec_cli.ranking.retrievers.dot_products import ProductRetriever
from llmrec_cli.ranking.retrievers.item_pairs import Neighbourhood

BLOCK = 1024


class ContentConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.content]`."""

    decay: float = Field(0.7, gt=0, le=1, description="weight of an event against the one after it")


class Content(ProductRetriever):
    """score = cosine of the item's text embedding with the decayed mean of the history's."""

    label, evidence = "Alike in meaning", "similar"
    config: ContentConfig
    vectors: torch.Tensor
    """(items, t) at unit length or zero."""

    @classmethod
    def fit(cls, config: ContentConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        return cls(config, torch.from_numpy(np.ascontiguousarray(catalogue.text_vectors)))

    def item_vectors(self) -> torch.Tensor:
        return self.vectors

    def user_vectors(self, histories: Histories) -> Floats:
        weights = histories.sequences.matrix(self.config.decay)
        taste = torch.from_numpy(np.asarray(weights @ self.vectors.numpy(), dtype=np.float32))
        return torch.nn.functional.normalize(taste, dim=1).numpy()

    def support(self, history: Codes, items: Codes) -> Floats:
        runs = np.append(True, history[1:] != history[:-1])[: len(history)]
        return dots(self.vectors[history[runs]], np.cumsum(runs) - 1, self.vectors_of_items, items).clip(0, 1)


class TfidfConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of `[train-ranker.retriever.tfidf]`."""

    decay: float = Field(0.7, gt=0, le=1, description="weight of an event against the one after it")
    neighbours: int = Field(300, ge=1, description="most alike items kept for each item")


class Tfidf(Neighbourhood):
    """TF-IDF of words, word pairs, category and tags; score = decayed sum of the similarities to the history."""

    label, evidence = "Alike in words", "similar"
    config: TfidfConfig

    @classmethod
    def fit(cls, config: TfidfConfig, sequences: Sequences, catalogue: Catalogue, seed: int) -> Self:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

        texts = words.spaced(pa.array(_texts(catalogue), pa.string())).to_pylist()
        language = words.language(pa.array(catalogue.titles, pa.string()))
        own = () if language == "English" else words.STOP_WORDS.get(language, ())
        stop = sorted(ENGLISH_STOP_WORDS.union(own))
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, stop_words=stop)
        try:
            counts = vectorizer.fit_transform(texts).astype(np.float32).tocsr()
        except ValueError:  # no word occurs twice
            return cls(config, sp.csr_matrix((len(texts), len(texts)), dtype=np.float32))
        return cls(config, nearest(lambda rows: (counts[rows] @ counts.T).toarray(), sequences, config.neighbours))


def nearest(similarities: Callable[[Ints], Floats], sequences: Sequences, n: int) -> sp.csr_matrix:
    """(items, items) the n largest positive similarities to others of each item that the histories have.

    `similarities(rows)` gives a block. No score starts from an item that nobody has chosen: its row stays empty, so
    that the work grows with what was chosen times the catalogue, not with the catalogue's square.
    """
    chosen, n_items = np.flatnonzero(np.bincount(sequences.codes, minlength=sequences.n_items)), sequences.n_items
    parts = [sp.csr_matrix((0, n_items), dtype=np.float32)]
    for start in range(0, len(chosen), BLOCK):
        rows = chosen[start : start + BLOCK]
        block = torch.from_numpy(np.ascontiguousarray(similarities(rows)))
        block[torch.arange(len(rows)), torch.from_numpy(rows)] = 0
        values, columns = block.topk(min(n, n_items), dim=1)
        indptr = np.arange(len(rows) + 1) * values.shape[1]
        parts.append(sp.csr_matrix((values.ravel(), columns.ravel(), indptr), shape=(len(rows), n_items)))
    found = sp.vstack(parts, format="csr").astype(np.float32)
    found.data[found.data < 0] = 0
    found.eliminate_zeros()
    found.sort_indices()
    lengths = np.zeros(n_items, dtype=np.int64)
    lengths[chosen] = np.diff(found.indptr)
    offsets = offsets_of(lengths)
    return sp.csr_matrix((found.data, found.indices, offsets), shape=(n_items, n_items))


def _texts(catalogue: Catalogue) -> list[str]:
    """Title and text, with the last category levels and the tags as single words of their own."""

    def word(kind: str, text: str) -> str:
        return kind + "".join(c for c in text if c.isalnum())

    return [
        " ".join(
            [title, text]
            + [word("cat_", level) for level in category.split(" > ")[-2:] if level]
            + [word("tag_", tag) for tag in tags[:3]]
        )
        for title, text, category, tags in zip(
            catalogue.titles, catalogue.texts, catalogue.categories, catalogue.tags, strict=True
        )
    ]
