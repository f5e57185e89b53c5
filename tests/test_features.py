"""The table of features: what is computed has a meaning there, and the other way around."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.ranking import rankers
from llmrec_cli.ranking.candidate_config import CandidateConfig
from llmrec_cli.ranking.features import FAMILIES, FEATURES, MEANINGS, OfRetriever, Pairs, family, meaning
from llmrec_cli.ranking.rankers.popularity_order import PopularityRanker
from llmrec_cli.ranking.retrieval import Retrieval
from llmrec_cli.ranking.retrievers import RETRIEVERS, Histories, load_class

ITEMS = 8


def no_opinion(pairs: Pairs) -> np.ndarray:
    return np.zeros(len(pairs.rows), dtype=np.float32)


def all_names() -> tuple[str, ...]:
    """Of candidates by two retrievers, a signed one and one that names its evidence, with repeats and feedback."""
    ids, none = [f"i{n}" for n in range(ITEMS)], np.zeros((ITEMS, 0), dtype=np.float32)
    catalogue = Catalogue(ids, ids, ids, ["c"] * ITEMS, [["t"]] * ITEMS, none, none)
    log = Sequences(np.arange(12, dtype=np.int32) % ITEMS, np.arange(0, 13, 3), ITEMS)
    fitted = {}
    for name in ("itemknn", "popularity"):
        cls = load_class(name)
        fitted[name] = cls.fit(cls.Config(), log, catalogue, 1)
    log = replace(log, negative=sp.csr_matrix(([1], ([0], [7])), shape=(4, ITEMS)))
    users = Histories(log, np.zeros((4, 1), dtype=np.float32))
    return Retrieval(fitted, catalogue, CandidateConfig(repeat=True), opinion=no_opinion).candidates(users).names


def test_every_feature_of_the_table_is_computed_somewhere_and_every_computed_one_is_in_the_table() -> None:
    names = all_names()
    rows = {f".{name.rpartition('.')[2]}" if family(name) in RETRIEVERS else name for name in names}
    assert rows == set(MEANINGS) and len(MEANINGS) == len(FEATURES)
    assert all(meaning(name) for name in names)


def test_a_feature_is_of_a_retriever_or_of_a_family_that_has_words() -> None:
    assert {family(f.name) for f in FEATURES if not isinstance(f, OfRetriever)} == set(FAMILIES)
    assert not set(FAMILIES) & set(RETRIEVERS)
    with pytest.raises(KeyError):
        meaning("als.unheard_of")


@pytest.mark.parametrize("name", rankers.RANKERS)
def test_a_ranker_reads_features_of_the_table_alone(name: str) -> None:
    cls = rankers.load_class(name)
    if issubclass(cls, PopularityRanker):
        assert meaning(cls.feature) and family(cls.feature) in cls.needs
