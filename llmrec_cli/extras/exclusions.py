"""The log of what rules took out: every candidate that a user would have had, and the rule that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from llmrec_cli.core import min_support
from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.lists.conditions import Rules
from llmrec_cli.lists.maker import Maker, allowed_items


def log_of(maker: Maker, work: WorkDir) -> Callable[[Ints], pa.Table]:
    """What makes the rows of `recommend/exclusions` of users by row number.

    Candidates are those that the retrievers bring where there are no rules: it costs about as much as the lists, and
    there are as many rows as candidates at most. Users without events have no candidates; theirs are the items of
    the list that popularity would have given them.
    """
    ids, people, backfill = maker.catalogue.item_ids, maker.histories.sequences.people(), maker.backfill
    allowed = allowed_items(maker.config, maker.context, ids, people, min_support.least_people(work))
    order = np.lexsort((tie_order(ids), -backfill.counts[-1].toarray().ravel()))
    backfill = replace(backfill, order=order[allowed[order]])
    free = replace(maker, rules=Rules(), allowed=allowed, backfill=backfill)
    rules = list({rule.text: rule for rule in maker.rules.rules}.values())

    def table(rows: Ints) -> pa.Table:
        users = free.asked(rows)
        known = users.sequences.lengths > 0
        candidates = free.candidates(users)
        candidates = candidates.keep(candidates.rows(known))
        scores, _ = free.scored(candidates, known, rows)
        cold = np.flatnonzero(~known)
        lists = free.lists(users.select(cold), rows[cold], None)
        at, places = np.nonzero(lists.there)
        pairs = np.append(candidates.users, cold[at]), np.append(candidates.items, lists.items[at, places])
        ranks = np.append(candidates.ranks(scores), places) + 1
        scores = np.append(scores, lists.scores[at, places])
        out = [~rule.holds(free.of_all(rows[pairs[0]]), pairs[1].astype(np.int64)) for rule in rules]
        n, which = np.nonzero(np.reshape(out, (len(rules), len(ranks))).T)
        n, which = (each[np.lexsort((which, ranks[n], pairs[0][n]))] for each in (n, which))
        return pa.table(
            {
                USER: maker.user_ids.take(pa.array(rows[pairs[0][n]])),
                ITEM: pa.array(ids, pa.string()).take(pa.array(pairs[1][n])),
                "rule": pa.array([rule.text for rule in rules], pa.string()).take(pa.array(which)),
                "rank": ranks[n].astype(np.int32),
                "score": scores[n].astype(np.float32),
            }
        )

    return table
