"""Users for an item: those for whom the ranker puts it foremost among what else they could have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.core.artifacts import RECOMMENDATIONS
from llmrec_cli.core.errors import DataError
from llmrec_cli.data.ranks import falling_order, tie_order
from llmrec_cli.lists.build import Lists
from llmrec_cli.lists.maker import Maker

BLOCK, SHORTLIST = 2048, 500
"""Users who are looked at together, and how many of all the ranker is asked about at least."""


def audience(maker: Maker, item: int) -> pa.Table:
    """Rows of `recommendations`, one for each of the k users for whom the item of this code scores best.

    `rank` is among these users. They have events, may have the item by the rules and, with `filter_seen`, have not had
    it. The ranker is asked about those whom the sequence model (or the first source) finds likeliest. Equal scores
    stand by the hash of the user's id. DataError where nobody may have the item.
    """
    rules = replace(maker.constraints, pinned=None, exploration=None)
    maker, k = replace(maker, constraints=rules), maker.config.k
    found = [*_likely(maker, item)] if maker.allowed[item] else []
    users: Ints = np.concatenate([np.zeros(0, dtype=np.int64), *(each[0] for each in found)])
    if not len(users):
        what = f"no user may have the item {maker.catalogue.item_ids[item]!r}, or all have had it"
        raise DataError(what, fix="allow, deny, exclude, constraints and filter_seen under [recommend] say who may")
    chances = np.concatenate([each[1] for each in found])
    users = np.sort(users[_best(maker, users, chances)[: max(SHORTLIST, 5 * k)]])
    parts = [_ranked(maker, item, users[start : start + BLOCK]) for start in range(0, len(users), BLOCK)]
    scores, shares = (np.concatenate([each[n] for each in parts]) for n in (0, 1))
    best = _best(maker, users, scores)[:k]
    lists = [
        (
            users[at],
            Lists(np.array([[item]], dtype=np.int32), scores[[[at]]], shares[[[at]]].argmax(-1), shares[[[at]]]),
        )
        for at in best.tolist()
    ]
    table = pa.concat_tables([maker.table(int(user), each) for user, each in lists], promote_options="permissive")
    ranks = pa.array(np.arange(1, len(best) + 1, dtype=np.int32))
    return table.set_column(table.column_names.index("rank"), "rank", ranks).cast(RECOMMENDATIONS.schema)


def _best(maker: Maker, users: Ints, scores: Floats) -> Ints:
    """Places of these users by falling score."""
    ties = tie_order(maker.user_ids.take(pa.array(users)).to_pylist())
    return falling_order(np.zeros(len(users), dtype=np.int64), scores.astype(np.float32), ties)


def _likely(maker: Maker, item: int) -> Iterator[tuple[Ints, Floats]]:
    """Users who may have the item (row numbers), and how likely it is to the source, block by block."""
    source = maker.retrievers.get("sequence") or next(iter(maker.retrievers.values()))
    for start in range(0, len(maker.histories), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(maker.histories)))
        users, everyone, items = maker.asked(rows), maker.of_all(rows), np.full(len(rows), item, dtype=np.int32)
        free = (users.sequences.lengths > 0) & maker.rules.hold(everyone, items)
        kept, codes = users.sequences.excluded(seen=maker.config.filter_seen)
        free[kept[codes == item]] = False
        for at, only in maker.rules.groups(everyone):
            free[at] &= only is None or bool(only[item])
        yield rows[free], source.pairs(users, np.arange(len(rows)), items)[free]


def _ranked(maker: Maker, item: int, rows: Ints) -> tuple[Floats, Floats]:
    """(users,) what the ranker says of the item among each one's candidates, and (users, sources) the shares in it."""
    users = maker.asked(rows)
    cells = np.ones(len(rows), dtype=np.float32), (np.arange(len(rows)), np.full(len(rows), item))
    wanted = sp.csr_matrix(cells, shape=(len(rows), users.sequences.n_items))
    if users.sequences.wanted is not None:
        wanted = (wanted + users.sequences.wanted).tocsr()
    users = replace(users, sequences=replace(users.sequences, wanted=wanted))
    candidates = maker.candidates(users)
    known = np.ones(len(rows), dtype=bool)
    scores, shares_of = Maker.scored(maker, candidates, known, rows)  # wishes would put users on scales of their own
    own = np.flatnonzero(candidates.items == item)
    return scores[own], shares_of(own)
