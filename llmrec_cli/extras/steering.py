"""More of this, less of that, never the other: what a user wishes of a list, by tags, categories, items or words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Bools, Floats, Ints
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.extras.wish import LEAST, MOST, embedded, standardised
from llmrec_cli.lists.build import Lists
from llmrec_cli.lists.maker import Maker
from llmrec_cli.lists.wording import LESS, MORE, quoted
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.retrieval import Retrieval

KINDS = ("more", "less", "never")
STEP = 2.0
"""Standard deviations of the ranker's order that `more` lifts a candidate by, and `less` lowers it."""


@dataclass(frozen=True, kw_only=True)
class SteeredMaker(Maker):
    """A maker of lists with more of some items and less of others."""

    more: dict[str, Bools]
    """Words of the user -> (items,) what they mean."""
    less: dict[str, Bools]

    @cached_property
    def shift(self) -> Floats:
        """(items,)"""
        up, down = (np.any([*given.values(), np.zeros(len(self.allowed), bool)], axis=0) for given in _both(self))
        return np.asarray(STEP * (up.astype(np.float32) - down.astype(np.float32)))

    @cached_property
    def retrieval(self) -> Retrieval:
        """Also the items most chosen of those that the user wants more of."""
        made, wanted = super().retrieval, self.backfill.order[self.shift[self.backfill.order] > 0][:MOST]
        added = np.union1d(wanted, [] if made.added is None else made.added).astype(np.int32)
        return replace(made, added=added)

    def eligible(self, candidates: Candidates, known: Bools) -> Candidates:
        """Also, for users without events, what they want more of."""
        kept = candidates.rows(known) | (self.shift[candidates.items] > 0)
        return candidates.keep(kept | (self.constraints.lifted(candidates.items) > 0))

    def scored(self, candidates: Candidates, known: Bools) -> tuple[Floats, Callable[[Ints], Floats]]:
        """The ranker's order, standardised over the user's candidates, and the wishes on top."""
        scores, shares_of = super().scored(candidates, known)
        order = standardised(-np.log1p(candidates.ranks(scores)), candidates.users, candidates.n_users)
        return (order + self.shift[candidates.items]).astype(np.float32), shares_of

    def table(self, start: int, lists: Lists) -> pa.Table:
        """The rows of a block; what a wish has moved says so."""
        rows, items = super().table(start, lists), lists.items[lists.there]
        reasons = rows.column("reason").to_pylist()
        for said, given in zip((MORE, LESS), _both(self), strict=True):
            for words, means in given.items():
                text = said.format(wish=quoted(words))
                reasons = [f"{text} {each}" if hit else each for each, hit in zip(reasons, means[items], strict=True)]
        return rows.set_column(rows.column_names.index("reason"), "reason", pa.array(reasons, pa.string()))


def steered(maker: Maker, work: WorkDir, wishes: Mapping[str, Sequence[str]]) -> SteeredMaker:
    """The same maker with wishes: words by kind of `KINDS`. What is never wanted is a rule like those of the settings.

    Words mean the items that have them as a tag, as a level of the category or as their id, and otherwise those whose
    texts are near to them. DataError where there are none, or nothing is left; SettingsError without a text encoder.
    """
    found = {kind: {each: _meant(maker, work, each, kind) for each in wishes.get(kind, ())} for kind in KINDS}
    allowed = maker.allowed & ~np.any([*found["never"].values(), np.zeros(len(maker.allowed), bool)], axis=0)
    if not allowed.any():
        raise DataError("--never leaves no item", where="--never", fix="take one of the words back")
    given = {each.name: getattr(maker, each.name) for each in fields(maker)}
    given |= {"allowed": allowed, "backfill": maker.backfill.only(allowed)}
    return SteeredMaker(**given, more=found["more"], less=found["less"])


def _both(maker: SteeredMaker) -> tuple[dict[str, Bools], dict[str, Bools]]:
    return maker.more, maker.less


def _meant(maker: Maker, work: WorkDir, words: str, kind: str) -> Bools:
    """(items,) what these words mean."""
    catalogue, wanted = maker.catalogue, words.strip().casefold()
    if not wanted:
        raise SettingsError(f"--{kind} has no words", where=f"--{kind}", fix=f"--{kind} garden")
    rows = zip(catalogue.item_ids, catalogue.tags, catalogue.categories, strict=True)
    named = [wanted in {item.casefold(), *map(str.casefold, (*tags, *path.split(" > ")))} for item, tags, path in rows]
    if any(named):
        return np.array(named)
    vectors = embedded(work, [words], maker.context)
    cosines = vectors[:-1] @ vectors[-1]
    near = (cosines >= LEAST) & (np.argsort(np.argsort(-cosines, kind="stable")) < MOST)
    if not near.any():
        fix = "a tag, a category, an item's id, or words that are nearer to the items' texts"
        raise DataError(f"no item is {words!r}, or near to it", where=f"--{kind}", fix=fix)
    return np.asarray(near)
