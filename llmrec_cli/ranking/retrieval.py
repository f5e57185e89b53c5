"""From retrievers to rankers: every retriever's best items, with their features, as one table of candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from llmrec_cli.core.arrays import Bools, Codes, Floats, Ints, offsets_of
from llmrec_cli.core.progress import Progress
from llmrec_cli.core.registry import load_function
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.metrics import MISS
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.ranking import returned
from llmrec_cli.ranking.candidate_config import CandidateConfig, LanguageScoreConfig
from llmrec_cli.ranking.candidates import Candidates, join
from llmrec_cli.ranking.features import Groups, Pairs, computed
from llmrec_cli.ranking.retrievers import DenseRetriever, Excluded, Histories, Retriever, Statistics
from llmrec_cli.ranking.topk import blocks
from llmrec_cli.tensors import checkpoints

RANKED = 100
"""Where a target is known, each retriever brings so many items at least; a target behind them is a miss."""


@dataclass(frozen=True)
class Retrieval:
    """Retrievers with the limits on what they bring, the same for all users."""

    retrievers: Mapping[str, Retriever]
    catalogue: Catalogue
    config: CandidateConfig
    allowed: Bools | None = None
    """(items,) what may be brought to anybody; None is everything."""
    cold: Bools | None = None
    """(items,) which have no events: `config.cold` of them are brought by their content."""
    exclude_seen: bool | None = None
    """Whether items of the history are left out; None is yes, unless `config.repeat`."""
    max_memory: int = 2 << 30
    added: Codes | None = None
    """Items that are candidates of every user who may have them, whatever the retrievers bring."""
    opinion: Callable[[Pairs], Floats] | None = None
    """A language model's, of pairs; see `language_opinion`."""

    @cached_property
    def ties(self) -> Ints:
        return tie_order(self.catalogue.item_ids)

    @cached_property
    def not_allowed(self) -> Bools | None:
        """(items,) what is brought to nobody; None where everything is to somebody."""
        return None if self.allowed is None or self.allowed.all() else ~self.allowed

    @cached_property
    def not_cold(self) -> Bools | None:
        """(items,) what is not brought as an item without events; None where nothing is brought as such."""
        if not self.config.cold or self.cold is None or not self.cold.any():
            return None
        return ~(self.cold if self.allowed is None else self.cold & self.allowed)

    @cached_property
    def groups(self) -> Groups:
        return Groups.of(self.catalogue)

    def only(self, items: Bools | None) -> Retrieval:
        """The same for users who may have these items alone: (items,), None is all that are allowed."""
        if items is None:
            return self
        made = replace(self, allowed=items if self.allowed is None else items & self.allowed)
        made.__dict__.update(ties=self.ties, groups=self.groups)
        return made

    def candidates(
        self, histories: Histories, targets: Codes | None = None, progress: Progress | None = None
    ) -> Candidates:
        """Candidates of all users, block by block; rows of a user are in the order of item codes.

        A retriever brings its best `depth` items that it puts above the mean of its row; nothing with negative feedback
        of the user is among them. With repeats the newest `depth` events of the history are candidates themselves,
        whatever the retrievers think of them. `targets` (users,) marks the row of the item that came next where a
        retriever brought it; it is never added. Users whose target no retriever brought keep no rows then: no ranker
        can learn from them.
        """
        parts: list[Candidates] = []
        task: Any = progress.task("candidates", len(histories), "users") if progress else nullcontext()
        with task as bar:
            for start, stop in self._spans(histories):
                wanted = None if targets is None else targets[start:stop]
                found = self._block(histories.block(start, stop), wanted)
                parts.append(found if targets is None else found.keep(found.rows(found.has_target())))
                if bar is not None:
                    bar.advance(stop - start)
        return join(parts) if parts else self._block(histories, targets)

    def of_pairs(self, histories: Histories, items: Codes) -> Candidates:
        """One candidate for each user, whether or not a retriever brings it: `items` (users,)."""
        parts = [(histories.block(start, stop), items[start:stop]) for start, stop in self._spans(histories)]
        return join(
            [self._described(users, np.arange(len(users)), some, self._statistics(users)) for users, some in parts]
        )

    def _block(self, users: Histories, targets: Codes | None) -> Candidates:
        statistics: dict[str, Statistics] = {}
        keys, brought, ranks = self._brought(users, statistics, targets)
        rows, codes = np.divmod(keys, max(len(self.catalogue), 1))
        found = self._described(users, rows, codes.astype(np.int32), statistics)
        label = None if targets is None else found.items == targets[rows]
        return replace(found, label=label, brought=brought, retriever_ranks=ranks)

    def _statistics(self, users: Histories) -> dict[str, Statistics]:
        return {name: _statistics(retriever, users) for name, retriever in self.retrievers.items()}

    def _described(
        self, users: Histories, rows: Ints, items: Codes, statistics: Mapping[str, Statistics]
    ) -> Candidates:
        """The features of pairs of users (row numbers, ascending) and items."""
        names, features = computed(
            Pairs(users, rows, items, self.retrievers, statistics, self.groups, self.config.repeat, self.opinion)
        )
        offsets = offsets_of(np.bincount(rows, minlength=len(users)))
        return Candidates(offsets, items, features, names, self.ties)

    def _spans(self, histories: Histories) -> Iterator[tuple[int, int]]:
        """(start, stop) of blocks of users; small ones where dense retrievers hold scores of all items."""
        dense = sum(isinstance(each, DenseRetriever) for each in self.retrievers.values())
        return blocks(len(histories), len(self.catalogue), self.max_memory // 2, 3 * dense)

    def _brought(
        self, users: Histories, statistics: dict[str, Statistics], targets: Codes | None
    ) -> tuple[Ints, Ints, dict[str, Ints]]:
        """user x items + item of all candidates, ascending; who brought them, as bits; and the rank of each target in
        each retriever's list. Fills `statistics`, which some retrievers have from their search.
        """
        sequences, n_items = users.sequences, len(self.catalogue)
        hide = not self.config.repeat if self.exclude_seen is None else self.exclude_seen
        excluded = Excluded(*sequences.excluded(seen=hide), self.not_allowed, self.ties)
        of_cold = None if self.not_cold is None else replace(excluded, items=self.not_cold)
        keys: list[Ints] = []
        ranks: dict[str, Ints] = {}
        for name, retriever in self.retrievers.items():
            depth = self.config.of(name)
            codes, scores = _top(retriever, users, depth if targets is None else max(depth, RANKED), excluded)
            statistics[name] = _statistics(retriever, users)
            mean = statistics[name].mean
            keys.append(_above(codes[:, :depth], scores[:, :depth], mean, n_items))
            if of_cold is not None and retriever.evidence == "similar":
                keys[-1] = np.append(
                    keys[-1], _above(*_top(retriever, users, self.config.cold, of_cold), mean, n_items)
                )
            if targets is not None:
                same = (codes == targets[:, None]) & (codes >= 0)
                ranks[name] = np.where(same.any(axis=1), same.argmax(axis=1), MISS)
        if self.config.repeat:
            own = sequences.tail(self.config.depth)
            free = ~excluded.holds(own.users, own.codes, n_items)
            keys.append((own.users * n_items + own.codes)[free])
        if self.added is not None:
            rows, codes = np.repeat(np.arange(len(users)), len(self.added)), np.tile(self.added, len(users))
            keys.append((rows * n_items + codes)[~excluded.holds(rows, codes, n_items)])
        if sequences.wanted is not None:
            rows, codes = (each.astype(np.int64) for each in sequences.wanted.nonzero())
            keys.append((rows * n_items + codes)[~excluded.holds(rows, codes, n_items)])
        return *_united(keys), ranks


def language_opinion(work: WorkDir, stage: str, config: LanguageScoreConfig, *given: Any, n_users: int) -> Any:
    """The `Pairs.opinion` of candidates of so many users, see `extras.lm_score.opinion`; None without a model."""
    if not config.model:
        return None
    return load_function("llmrec_cli.extras.lm_score:opinion")(work, stage, config, *given, n_users=n_users)


def _united(keys: list[Ints]) -> tuple[Ints, Ints]:
    """The distinct keys of all lists, ascending, and the lists that each is in, as bits."""
    bits = np.repeat(np.arange(len(keys)), [len(each) for each in keys])
    both = np.sort(np.concatenate(keys) << 6 | bits)  # a sort of plain integers takes a fiftieth of np.unique's time
    starts = np.flatnonzero(np.append(True, both[1:] >> 6 != both[:-1] >> 6)[: len(both)])
    if not len(starts):
        return starts, starts
    return both[starts] >> 6, np.bitwise_or.reduceat(1 << (both & 63), starts)


def _statistics(retriever: Retriever, users: Histories) -> Statistics:
    found = retriever.statistics(users)
    for name in ("mean", "std") if retriever.signed else ("mean", "std", "top"):
        returned.finite(retriever, "statistics", getattr(found, name, None), (len(users),))
    return found


def _above(codes: Codes, scores: Floats, mean: Floats, n_items: int) -> Ints:
    """user x items + item of scores above the user's mean: the rest of a sparse retriever's is a tie at nothing."""
    rows, columns = np.nonzero((codes >= 0) & (scores > mean[:, None]))
    return np.asarray(rows * n_items + codes[rows, columns])


def _top(retriever: Retriever, users: Histories, n: int, excluded: Excluded) -> tuple[Codes, Floats]:
    codes, scores = retriever.top(users, n, excluded)
    shape = (len(users), n)
    returned.codes(retriever, "top", codes, shape, users.sequences.n_items)
    returned.array(retriever, "top", scores, shape)
    return codes, scores


def best_items(
    retriever: Retriever,
    histories: Histories,
    k: int,
    *,
    ties: Ints | None = None,
    exclude_seen: bool = True,
    max_memory: int = 1 << 30,
) -> tuple[Codes, Floats]:
    """The lists of one retriever alone for any number of users: (users, k) codes and scores as `topk` gives them."""
    n_items = histories.sequences.n_items
    codes = np.full((len(histories), k), -1, dtype=np.int32)
    scores = np.full((len(histories), k), -np.inf, dtype=np.float32)
    for start, stop in blocks(len(histories), n_items, max_memory):
        users = histories.block(start, stop)
        seen = users.sequences.matrix().nonzero() if exclude_seen else users.sequences.excluded(seen=False)
        codes[start:stop], scores[start:stop] = retriever.top(users, k, Excluded.of(seen, ties=ties))
    return codes, scores


def save_config(folder: Path, config: CandidateConfig) -> None:
    """Keep in the folder of the retrievers how many items each of them brings."""
    checkpoints.save_config(folder / "candidates", config.model_dump(mode="json"))


def load_config(folder: Path) -> CandidateConfig:
    """What `save_config` wrote; UpstreamError where it is missing or damaged."""
    with checkpoints.reading(folder):
        return CandidateConfig(**checkpoints.load_config(folder / "candidates"))
