"""From retrievers to rankers: every source's best items, with what each source says of them as features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmrec_cli.core.arrays import Bools, Codes, Floats, Ints, offsets_of
from llmrec_cli.core.progress import Progress
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.metrics import MISS
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.ranking.candidate_config import CandidateConfig
from llmrec_cli.ranking.features import Candidates, group_shares, join, repeat_features
from llmrec_cli.ranking.retrievers import Excluded, Histories, Retriever, Statistics, Supports
from llmrec_cli.ranking.topk import blocks
from llmrec_cli.tensors import checkpoints

RANKED = 100
"""Where a target is known, each source is asked for so many items at least; a target behind them is a miss."""


def collect(
    retrievers: Mapping[str, Retriever],
    histories: Histories,
    catalogue: Catalogue,
    config: CandidateConfig,
    *,
    targets: Codes | None = None,
    allowed: Bools | None = None,
    exclude_seen: bool | None = None,
    found_only: bool = False,
    max_memory: int = 2 << 30,
    progress: Progress | None = None,
) -> Candidates:
    """Candidates of all users, block by block; rows of a user are in the order of item codes.

    A source brings its best `depth` items that it puts above the mean of its row. `allowed` (items,) takes items out,
    `exclude_seen` those of the history: without a word of it, unless repeats are asked for. What a user turned down is
    never a candidate. With repeats the newest `depth` events of the history are candidates themselves, whatever the
    sources think of them. `targets` (users,) marks the row of the item that came next where a source brought it; it is
    never added. With `found_only`, users whose target no source brought keep no rows: no ranker can mend that, and none
    learns from it.

    Features are `source.kind`: z is standardised over the user's row; signed sources give raw, others ratio (log of
    the share of the row's maximum) and level (log). category.share and tag.share say how much of the history is of the
    item's kind, category.negative and tag.negative how much of what was turned down, history.popularity and
    newest.popularity how popular the history's items are. With repeats, repeat.count is log(1 + how often the user had
    the item) and repeat.recency 1 / (1 + events since then), 0 for never; both know the history alone, not the target.
    """
    hide = not config.repeat if exclude_seen is None else exclude_seen
    rules = _Rules(config, _Items.of(catalogue), allowed, hide)
    parts: list[Candidates] = []
    task: Any = progress.task("candidates", len(histories), "users") if progress else nullcontext()
    with task as told:
        for start, stop in blocks(len(histories), len(catalogue), max_memory // 2, 3 * len(retrievers)):
            wanted = None if targets is None else targets[start:stop]
            found = _block(retrievers, histories.block(start, stop), rules, wanted)
            parts.append(found.keep(found.rows(found.has_target())) if found_only else found)
            if told is not None:
                told.advance(stop - start)
    return join(parts) if parts else _block(retrievers, histories, rules, targets)


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
    """Keep beside the retrievers how many items each of them brings."""
    checkpoints.save_config(folder / "candidates", config.model_dump(mode="json"))


def load_config(folder: Path) -> CandidateConfig:
    """What `save_config` wrote; UpstreamError where it is missing or damaged."""
    with checkpoints.reading(folder):
        return CandidateConfig(**checkpoints.load_config(folder / "candidates"))


@dataclass(frozen=True)
class _Items:
    """What features need of the items: groups to compare, the fixed order of ties."""

    categories: Ints
    tags: Ints
    ties: Ints

    @classmethod
    def of(cls, catalogue: Catalogue) -> _Items:
        first = [tags[0] if tags else "" for tags in catalogue.tags]
        return cls(_groups(catalogue.categories), _groups(first), tie_order(catalogue.item_ids))


@dataclass(frozen=True)
class _Rules:
    """What is the same for every block."""

    config: CandidateConfig
    items: _Items
    allowed: Bools | None
    exclude_seen: bool

    def excluded(self, sequences: Sequences) -> Excluded:
        """What may not be brought."""
        return Excluded.of(sequences.excluded(seen=self.exclude_seen), self.allowed, self.items.ties)


def _groups(names: list[str]) -> Ints:
    """A number for each distinct name; -1 for no name."""
    known, codes = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
    return np.where(known[codes] == "", -1, codes)


def _block(retrievers: Mapping[str, Retriever], users: Histories, rules: _Rules, targets: Codes | None) -> Candidates:
    sequences, excluded = users.sequences, rules.excluded(users.sequences)
    columns = [_Column(name, source, users, source.statistics(users)) for name, source in retrievers.items()]
    brought: list[Ints] = []
    ranks: dict[str, Ints] = {}
    for column in columns:
        depth = rules.config.of(column.name)
        codes, scores = column.retriever.top(users, depth if targets is None else max(depth, RANKED), excluded)
        brought.append(column.brought(codes[:, :depth], scores[:, :depth]))
        if targets is not None:
            ranks[column.name] = _target_ranks(codes, targets)
    if rules.config.repeat:
        own = sequences.tail(rules.config.depth)
        free = ~excluded.holds(own.users, own.codes, sequences.n_items)
        brought.append((own.users * sequences.n_items + own.codes)[free])
    rows, codes = np.divmod(np.unique(np.concatenate(brought)), max(sequences.n_items, 1))
    named = [pair for column in columns for pair in column.features(rows, codes.astype(np.int32))]
    named += _pair_features(retrievers, sequences, rules.items, rows, codes.astype(np.int32))
    named += [pair for column in columns if column.name == "popularity" for pair in column.of_history(rows)]
    if rules.config.repeat:
        named += repeat_features(sequences, rows, codes)
    offsets = offsets_of(np.bincount(rows, minlength=len(users)))
    label = None if targets is None else codes == targets[rows]
    features = np.stack([values for _, values in named], axis=1).astype(np.float32)
    names = tuple(name for name, _ in named)
    return Candidates(offsets, codes.astype(np.int32), features, names, rules.items.ties, label, ranks)


@dataclass(frozen=True)
class _Column:
    """One source and a block of users, with what is needed to compare its scores within a user."""

    name: str
    retriever: Retriever
    users: Histories
    of_user: Statistics

    def brought(self, codes: Codes, scores: Floats) -> Ints:
        """(n,) user x items + code of the best that lie above the user's mean: in a sparse source the rest is a tie at
        nothing. `codes` and `scores` are those of `top`.
        """
        rows, places = np.nonzero((codes >= 0) & (scores > self.of_user.mean[:, None]))
        return rows * self.users.sequences.n_items + codes[rows, places]

    def features(self, rows: Ints, codes: Codes) -> Iterator[tuple[str, Floats]]:
        values = self.retriever.pairs(self.users, rows, codes)
        yield f"{self.name}.z", np.clip((values - self.of_user.mean[rows]) / self.of_user.std[rows], -1e4, 1e4)
        if self.retriever.signed:
            yield f"{self.name}.raw", values
        else:
            positive = np.clip(values, 0, None)
            yield f"{self.name}.ratio", np.log(1e-3 + positive / self.of_user.top[rows])
            yield f"{self.name}.level", np.log(1e-4 + positive)

    def of_history(self, rows: Ints) -> Iterator[tuple[str, Floats]]:
        """What the source thinks of the history itself: of all its events on average, and of the newest; 0 for none."""
        sequences = self.users.sequences
        events = self.retriever.pairs(self.users, sequences.users, sequences.codes)
        total = np.bincount(sequences.users, weights=events, minlength=len(sequences))
        newest = np.zeros(len(sequences))
        some = np.flatnonzero(sequences.lengths)
        newest[some] = events[sequences.offsets[1:][some] - 1]
        yield f"history.{self.name}", (total / np.maximum(sequences.lengths, 1)).astype(np.float32)[rows]
        yield f"newest.{self.name}", newest.astype(np.float32)[rows]


def _target_ranks(codes: Codes, targets: Codes) -> Ints:
    """(users,) the place of each target among the (users, n) best; MISS where it is not."""
    same = (codes == targets[:, None]) & (codes >= 0)
    return np.where(same.any(axis=1), same.argmax(axis=1), MISS)


def _pair_features(
    retrievers: Mapping[str, Retriever], sequences: Sequences, items: _Items, rows: Ints, codes: Codes
) -> Iterator[tuple[str, Floats]]:
    """How a candidate relates to the history, its two newest events and what was turned down; the history's length."""
    yield "history.length", np.log1p(sequences.lengths).astype(np.float32)[rows]
    for kind, groups in (("category", items.categories), ("tag", items.tags)):
        yield f"{kind}.share", group_shares(sequences, groups, rows, codes)
    if sequences.negative is not None:
        negative = sequences.negative_items()
        yield "category.negative", group_shares(negative, items.categories, rows, codes)
        yield "tag.negative", group_shares(negative, items.tags, rows, codes)
    for name, newest in (("last", sequences.last()), ("previous", sequences.without_last().last())):
        event = newest[rows]
        there = event >= 0
        for kind, groups in (("category", items.categories), ("tag", items.tags)):
            yield f"{kind}.{name}", (there & (groups[event] == groups[codes]) & (groups[codes] >= 0)).astype(np.float32)
        for source, retriever in retrievers.items():
            if isinstance(retriever, Supports):
                strength = np.zeros(len(rows), dtype=np.float32)
                strength[there] = retriever.support(event[there], codes[there])
                yield f"{source}.{name}", np.log(1e-3 + strength)
