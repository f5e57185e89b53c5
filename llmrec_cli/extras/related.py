"""Items for who looks at one of them: what people chose after it, what they chose with it, and what is like it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from llmrec_cli.core.arrays import Bools, Codes, Doubles, Ints
from llmrec_cli.core.columns import ITEM
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.ranks import falling_order
from llmrec_cli.lists.constraints import choose
from llmrec_cli.lists.evidence import LEAST, SIMILAR, rarest_shared
from llmrec_cli.lists.maker import Maker
from llmrec_cli.lists.wording import quoted
from llmrec_cli.ranking.retrievers import Excluded, Histories

KINDS = ("bought after", "bought with", "similar")
DEPTH, DAMPING = 500, 60
"""Items that each source brings; each gives an item 1 / (damping + place), from 1 (Cormack et al. 2009)."""


def related(maker: Maker, item: int) -> list[dict[str, Any]]:
    """The k items that go best with the item of this code: rank, item_id, score, kind, people, reason; best first.

    Sources are what people choose next, what they choose together and the cosine of texts; equal scores stand by the
    hash of the id. A kind is said as it is counted: "bought after" where of the people who chose both, at least as many
    as a sentence needs and more than half chose this strictly later; "bought with" where so many chose both; "similar"
    where both share a tag or their texts are near. What is none of these has no row. Of the rules of lists those hold
    that need no user; nothing is pinned.
    """
    allowed = maker.allowed & (maker.constraints.titles != maker.constraints.titles[item])
    allowed[item] = False
    scores = _fused(maker, item, allowed)
    brought = np.flatnonzero(scores > 0)
    order = falling_order(np.zeros(len(brought), dtype=np.int64), scores[brought], maker.retrieval.ties[brought])
    pool: Codes = brought[order].astype(np.int32)
    kinds, people, reasons = _said(maker, item, pool)
    known = kinds >= 0
    pool, kinds, people, reasons = pool[known], kinds[known], people[known], reasons[known]
    rules = replace(maker.constraints, pinned=None, exploration=None)
    relevance = (scores[pool] / scores.max(initial=1e-9)).astype(np.float32)
    chosen = choose(pool[None], relevance[None], maker.config.k, rules)[0]
    chosen = chosen[chosen >= 0]
    ids, found = maker.catalogue.item_ids, (pool, scores[pool], kinds, people, reasons)
    rows = zip(*(each[chosen].tolist() for each in found), strict=True)
    return [
        {"rank": rank, ITEM: ids[code], "score": score, "kind": KINDS[kind], "people": n or None, "reason": reason}
        for rank, (code, score, kind, n, reason) in enumerate(rows, start=1)
    ]


def _fused(maker: Maker, item: int, allowed: Bools) -> Doubles:
    """(items,) the sum of 1 / (damping + place) over the sources; 0 for what none brings."""
    scores = np.zeros(len(allowed))
    one = Sequences(np.array([item], dtype=np.int32), np.array([0, 1]), len(allowed))
    asked = Histories(one, np.zeros((1, maker.histories.vectors.shape[1]), dtype=np.float32))
    excluded = Excluded.of(one.excluded(seen=True), allowed, maker.retrieval.ties)
    lists = []
    for kind, giver in maker.explainer.givers.items():
        if kind != SIMILAR:
            found = giver.top(asked, min(DEPTH, len(allowed)), excluded)[0][0]  # type: ignore[attr-defined]
            found = found[found >= 0]
            support = giver.support(np.full(len(found), item, dtype=np.int32), found)
            lists.append(found[support >= LEAST[kind]])
    cosines = np.where(allowed, _cosines(maker, item), -1)
    best = falling_order(np.zeros(len(cosines), dtype=np.int64), cosines.astype(np.float32), maker.retrieval.ties)
    lists.append(best[:DEPTH][cosines[best[:DEPTH]] >= LEAST[SIMILAR]].astype(np.int32))
    for found in lists:
        scores[found] += 1 / (DAMPING + 1 + np.arange(len(found)))
    return scores


def _cosines(maker: Maker, item: int) -> Doubles:
    """(items,) of the texts; nothing is like an item without a text."""
    vectors = maker.catalogue.text_vectors
    return np.asarray(vectors @ vectors[item], dtype=np.float64)


def _said(maker: Maker, item: int, pool: Codes) -> tuple[Ints, Ints, Any]:
    """(n,) number of each one's kind (-1: nothing can be said), people who did so, and the sentence."""
    explainer, title = maker.explainer, quoted(maker.catalogue.names()[item])
    people = explainer.people
    both, later = people.of_item(item, pool)
    tags = rarest_shared(explainer.rarity, np.full(len(pool), item), pool)
    alike = (tags >= 0) | (_cosines(maker, item)[pool] >= LEAST[SIMILAR])
    after = (later >= people.fewest) & (2 * later > both)
    kinds = np.select([after, both >= people.fewest, alike], range(len(KINDS)), -1)
    counted = np.select([kinds == 0, kinds == 1], [later, both], 0)
    say, names, all_people = explainer.wording.say, explainer.wording.tags, f"{people.counts[item]:,}"
    reasons = [
        (say.bought_after, say.bought_with, say.alike if tag >= 0 else say.near_text)[kind].format(
            n=f"{n:,}", all=all_people, title=title, tags=quoted(names[tag]) if tag >= 0 else ""
        )
        for kind, n, tag in zip(kinds.tolist(), counted.tolist(), tags.tolist(), strict=True)
    ]
    return kinds, counted, np.array(reasons, dtype=object)
