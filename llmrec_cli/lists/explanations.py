"""Why the rows of lists are there: asks the retrievers which events speak for them, and puts it into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from llmrec_cli.core.arrays import Codes, Floats, Ints
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.lists import evidence
from llmrec_cli.lists.wording import Wording, sentences_in
from llmrec_cli.profiles.interests import population_shares, tagged
from llmrec_cli.ranking.retrievers import GivesEvidence, Retriever
from llmrec_cli.writing import claims


@dataclass(frozen=True)
class Rows:
    """The rows of the lists of a block of users. Arrays are (rows,) but for `shares`."""

    users: Ints
    """Row numbers in the block."""
    items: Codes
    carriers: Ints
    """As in `Lists`."""
    strategies: Sequence[str]
    segments: Ints
    """The user's segment, its number in the explainer's `segments`."""
    scores: Floats
    shares: Floats
    """(rows, retrievers) what each retriever adds to the row's score."""

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Explainer:
    """Everything that explanations are made of, for the whole data set."""

    givers: dict[int, GivesEvidence]
    """Kind of evidence -> the retriever that gives it."""
    kinds: Mapping[str, str]
    """Retriever -> its kind of evidence."""
    interests: sp.csr_matrix
    """(users, tags) what their profiles say, where the users choose it more than others do."""
    item_tags: sp.csr_matrix
    rarity: sp.csr_matrix
    """(items, tags) the more the rarer the tag; nothing for one that is too common."""
    vectors: Floats
    """(items, t) of content, at unit length or zero: what a new item is like goes by them."""
    people: claims.People
    wording: Wording
    item_ids: pa.Array[Any]
    tag_names: pa.Array[Any]
    """What the evidence calls tags: the items' tags, then the segments."""

    @classmethod
    def of(
        cls,
        retrievers: Mapping[str, Retriever],
        catalogue: Catalogue,
        histories: Sequences,
        *,
        interests: pa.ChunkedArray[Any],
        segments: Sequence[str],
        least: int = 0,
        language: str = "en",
    ) -> Explainer:
        """`interests` is the column of profiles; evidence is of at least so many people; the code of a language."""
        tags = tagged(catalogue.tags)
        weights = evidence.interest_matrix(interests, pa.array(tags.names, type=pa.string()))
        events = replace(histories, weights=None).matrix()  # claims are of events, whatever they weigh
        people = claims.People.of(histories, least)
        kinds = {name: each.evidence for name, each in retrievers.items()}
        said_of = kinds, catalogue.names(), tags.names, people.counts, people.foremost(), people.timed
        share = population_shares(histories.counts(), tags)
        distinctive = (share <= claims.TOO_COMMON) & tags.common(events, least)
        rarity = np.where(distinctive, -np.log(np.maximum(share, 1e-9)), 0).astype(np.float32)
        return cls(
            givers=_givers(retrievers),
            kinds=kinds,
            interests=weights.multiply(claims.leanings(events, tags.matrix)).tocsr(),
            item_tags=tags.matrix,
            rarity=tags.matrix.multiply(rarity[None]).tocsr(),
            vectors=catalogue.text_vectors,
            people=people,
            wording=Wording(*said_of, sentences_in(language)),
            item_ids=pa.array(catalogue.item_ids, type=pa.string()),
            tag_names=pa.array([*tags.names, *segments], type=pa.string()),
        )

    def explain(self, rows: Rows, histories: Sequences, first_user: int) -> tuple[list[str], pa.Array[Any]]:
        """A sentence for each row, and the column of what speaks for it. What cannot be counted is not said.

        `histories` are those of the block, whose first user is row `first_user` of all users.
        """
        users = rows.users + first_user
        pairs, events = evidence.event_pairs(histories, rows.users, rows.items)
        support = {kind: giver.support(events, rows.items[pairs]) for kind, giver in self.givers.items()}
        worths = evidence.worths(rows.shares, rows.strategies, self.kinds)
        new = self.people.counts[rows.items] == 0  # known by its content alone
        worths[new, evidence.SIMILAR] = 1
        of_new, alike = new[pairs], np.array(support.get(evidence.SIMILAR, np.zeros(len(pairs))), dtype=np.float32)
        vectors = self.vectors[events[of_new]], self.vectors[rows.items[pairs[of_new]]]
        alike[of_new] = np.einsum("nd,nd->n", *vectors)
        support[evidence.SIMILAR] = alike
        events_found = evidence.event_evidence(pairs, events, support, worths)
        chosen = self.people.counts[rows.items] / max(self.people.chose.shape[1], 1)
        found = evidence.together(
            evidence.popularity(
                rows.carriers,
                rows.strategies,
                rows.segments + self.item_tags.shape[1],
                np.where(rows.carriers < 0, rows.scores, chosen).astype(np.float32),
            ),
            evidence.verified(events_found, users, rows.items, self.people, self.rarity),
            evidence.shared_interests(self.interests, self.item_tags, users, rows.items),
        )
        sentences = self.wording.sentences(found, rows.strategies, rows.items.tolist())
        return sentences, found.column(len(rows), self.item_ids, self.tag_names)


def _givers(retrievers: Mapping[str, Retriever]) -> dict[int, GivesEvidence]:
    """Kind of evidence -> the first retriever of that kind that can say which events speak for an item."""
    found: dict[int, GivesEvidence] = {}
    for each in retrievers.values():
        if each.evidence and isinstance(each, GivesEvidence):
            found.setdefault(evidence.KINDS.index(each.evidence), each)
    return dict(sorted(found.items()))
