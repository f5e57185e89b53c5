"""Topics of users: what they are made of, which are shown, and those of each user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.phrases import title_words
from llmrec_cli.profiles.interests import Tagged, leading, tagged
from llmrec_cli.profiles.topics.coherence import Chosen

FEW_TAGS = 32
"""With fewer than four topics of eight words need, topics come from titles."""
LEAST_TOPIC, TOPICS_OF_USER = 0.15, 3
"""A topic that holds less of a user is not named; how many are."""


def find(
    choose: Callable[[sp.csr_matrix, Sequence[str]], Chosen],
    histories: Sequences,
    tags: Tagged,
    titles: pa.ChunkedArray,
    least: int,
) -> Chosen:
    """What `choose` finds in the tags of histories, or in the words of titles, of at least so many people."""
    found = units(tags, titles, histories, least)
    chosen = common(choose((histories.matrix() @ found.matrix).tocsr(), found.names), least)
    return chosen if found is tags else replace(chosen, line=f"{chosen.line}; tags are few, so they are of titles")


def units(tags: Tagged, titles: pa.ChunkedArray, histories: Sequences, least: int) -> Tagged:
    """What topics are made of: the tags, or the words and phrases of (items,) titles where tags are few.

    Those that fewer than `least` people have events of are left out.
    """
    if len(tags.names) >= FEW_TAGS:
        return tags
    words = tagged(title_words(titles.combine_chunks()).to_pylist())
    words = words.keep(words.common(histories.matrix(), least))
    return words if len(words.names) > len(tags.names) else tags


def common(chosen: Chosen, least: int) -> Chosen:
    """The topics of at least so many users with events."""
    while least > 1 and chosen.topics.labels:
        labels = chosen.topics.labels
        found = pc.list_flatten(of_users(sp.csr_matrix(chosen.topics.of_users), labels)).field("tag")
        kept = np.bincount(pc.index_in(found, value_set=pa.array(labels)), minlength=len(labels)) >= least
        if kept.all():
            break
        chosen = replace(chosen, topics=chosen.topics.keep(kept), coherence=chosen.coherence[kept])
    return chosen


def of_users(shares: sp.csr_matrix, labels: list[str]) -> pa.Array[Any]:
    """(users,) the leading topics of each, from (users, topics) shares."""
    return leading(shares, labels, TOPICS_OF_USER, LEAST_TOPIC)
