"""Content-based filtering: items whose text is like that of the history, by embeddings and by words."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
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
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.ranking.entries import strongest
from llmrec_cli.ranking.item_table import ItemTable, dots
from llmrec_cli.ranking.retrievers import Excluded, Histories
from llmrec_cli.ranking.retrievers.dot_products import ProductRetriever
from llmrec_cli.ranking.retrievers.item_pairs import Neighbourhood

BLOCK = 256
"""Items whose neighbours are looked for together; more leave the processor's cache."""


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
        columns = catalogue.titles, catalogue.texts, catalogue.categories, catalogue.tags
        counts, transposed = catalogue.once("words", columns, lambda: weighed_words(catalogue))

        ties = tie_order(catalogue.item_ids)

        def alike(rows: Ints) -> sp.csr_matrix:
            found = counts[rows] @ transposed
            found.data[found.indices == np.repeat(rows, np.diff(found.indptr))] = 0  # not the item itself
            return strongest(found, config.neighbours, ties)

        return cls(config, nearest(alike, ("words", config.neighbours), columns, sequences, catalogue))


def weighed_words(catalogue: Catalogue) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """(items, words) TF-IDF at unit length, and the same transposed."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

    texts = words.spaced(pa.array(_texts(catalogue), pa.string())).to_pylist()
    language = words.language(pa.array(catalogue.titles, pa.string()))
    own = () if language == "English" else words.STOP_WORDS.get(language, ())
    stop = sorted(ENGLISH_STOP_WORDS.union(own))
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, stop_words=stop)
    try:
        counts = vectorizer.fit_transform(texts).astype(np.float32).tocsr()
    except ValueError:  # no word occurs twice
        counts = sp.csr_matrix((len(texts), 0), dtype=np.float32)
    return counts, counts.T.tocsr()


def nearest_meanings(sequences: Sequences, catalogue: Catalogue, n: int) -> sp.csr_matrix:
    """`nearest` by the products of text vectors."""
    vectors = torch.from_numpy(np.ascontiguousarray(catalogue.text_vectors))
    table = ItemTable(vectors)

    def alike(rows: Ints) -> sp.csr_matrix:
        codes, values = table.top(vectors[rows], n, Excluded(np.arange(len(rows)), rows.astype(np.int32)))
        values = np.where(codes >= 0, values, np.float32(0))
        offsets = np.arange(len(rows) + 1) * n
        found = sp.csr_matrix((values.ravel(), np.maximum(codes, 0).ravel(), offsets), (len(rows), len(vectors)))
        return found.sorted_indices()

    return nearest(alike, ("meanings", n), (catalogue.text_vectors,), sequences, catalogue)


def nearest(
    alike: Callable[[Ints], sp.csr_matrix],
    key: object,
    columns: tuple[object, ...],
    sequences: Sequences,
    catalogue: Catalogue,
) -> sp.csr_matrix:
    """(items, items) the positive ones of `alike(rows)` for each item that the histories have.

    No score starts from an item that nobody has chosen: its row stays empty, so that the work goes with what was
    chosen. What the `columns` of the catalogue say is worked out once, under `key`; a row that was asked for before is
    there again.
    """
    n_items = sequences.n_items
    known = catalogue.once(key, columns, lambda: [sp.csr_matrix((n_items, n_items), dtype=np.float32)])
    missing = np.flatnonzero((sequences.counts() > 0) & (np.diff(known[0].indptr) == 0))
    parts = [alike(missing[start : start + BLOCK]) for start in range(0, len(missing), BLOCK)]
    if parts:
        found = sp.vstack(parts, format="csr")
        found.data[found.data < 0] = 0
        found.eliminate_zeros()
        lengths = np.zeros(n_items, dtype=np.int64)
        lengths[missing] = np.diff(found.indptr)
        shape = n_items, n_items
        known[0] = known[0] + sp.csr_matrix((found.data, found.indices, offsets_of(lengths)), shape=shape)
    return known[0].copy()


def _texts(catalogue: Catalogue) -> list[str]:
    """Title and text, with the last category levels and the tags as single words of their own."""

    @lru_cache(1 << 16)
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
