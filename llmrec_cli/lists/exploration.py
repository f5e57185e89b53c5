"""New items in lists: which items are new, and which places of whose list they are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from llmrec_cli.core.arrays import Bools, Codes, Doubles, Floats, Ints

STRATEGY = "explore"


@dataclass(frozen=True)
class Exploration:
    """The places of lists that new items are given, whatever else there is."""

    new: Bools
    """(items,)"""
    share: float
    """Of all places; what is left of a whole place is one more for some of the users."""
    seed: int
    pinned: int = 0
    """Places at the head of every list that belong to others."""

    def places(self, users: Ints, k: int) -> Bools:
        """(users, k) places for new items, drawn for each user (row number) by the seed; never the first of several."""
        head = max(self.pinned, 1 if k > 1 else 0)
        drawn = self.drawn(users, k + 1)
        wanted = np.floor(self.share * k + drawn[:, -1])
        ranks = drawn[:, head:k].argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        out = np.zeros((len(users), k), dtype=bool)
        out[:, head:] = ranks < wanted[:, None]
        return out

    def drawn(self, users: Ints, n: int) -> Doubles:
        """(users, n) numbers from 0 to 1 that depend on the seed and the row number of the user alone."""
        mixed = pd.util.hash_array(users.astype(np.uint64) + (np.uint64(self.seed) << np.uint64(32)))
        cells = (mixed[:, None] + np.arange(n, dtype=np.uint64)).ravel()
        return (pd.util.hash_array(cells) / 2.0**64).reshape(len(users), n)

    def explored(self, users: Ints, lists: Codes) -> Bools:
        """(users, k) whether the item has its place for being new; `lists` are -1 where they are short."""
        return self.places(users, lists.shape[1]) & (lists >= 0) & self.new[np.maximum(lists, 0)]

    def lacking(self, users: Ints, lists: Codes) -> Bools:
        """(users,) whether a place for a new item has none."""
        return np.asarray((self.places(users, lists.shape[1]) & ~self.explored(users, lists)).any(axis=1))

    def choice(self, users: Ints, k: int, items: Codes, relevance: Floats) -> tuple[Bools, Floats]:
        """What `choose` takes new items by: (users, k) places, and (users, width) relevance, -inf for other items."""
        new = (items >= 0) & self.new[np.maximum(items, 0)]
        return self.places(users, k), np.where(new, relevance, -np.inf)

    def account(self, lists: Codes, allowed: Bools) -> str:
        """What is reported of the lists of all users."""
        users = np.arange(len(lists))
        places, filled = int(self.places(users, lists.shape[1]).sum()), int(self.explored(users, lists).sum())
        of_all = f"{filled / max(int((lists >= 0).sum()), 1):.1%} of all rows"
        new = f"{int((self.new & allowed).sum()):,} of {int(allowed.sum()):,} allowed items are new"
        return f"explore: {filled:,} of {places:,} places drawn for new items have one, {of_all}; {new}"
