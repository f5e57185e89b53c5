"""From retrievers to rankers: every source's best items, with what each source says of them as features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec_cli.core.arrays import Bools, Codes, Floats, Ints, offsets_of
from llmrec_cli.core.progress import Progress
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.data.ranks import target_ranks, tie_order
from llmrec_cli.ranking.candidate_config import CandidateConfig
from llmrec_cli.ranking.features import Candidates, group_shares, join, repeat_features
from llmrec_cli.ranking.retrievers import Histories, Retriever, Supports
from llmrec_cli.ranking.topk import blocks, topk
from llmrec_cli.tensors import checkpoints


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
    item's kind, category.refused and tag.refused how much of what was turned down, history.popularity and
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

    def hidden(self, sequences: Sequences) -> Bools:
        """(users, items) what may not be shown."""
        hidden = np.zeros((len(sequences), sequences.n_items), dtype=bool)
        if self.allowed is not None:
            hidden[:, ~self.allowed] = True
        hidden[sequences.excluded(seen=self.exclude_seen)] = True
        return hidden


def _groups(names: list[str]) -> Ints:
    """A number for each distinct name; -1 for no name."""
    known, codes = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
    return np.where(known[codes] == "", -1, codes)


def _block(retrievers: Mapping[str, Retriever], users: Histories, rules: _Rules, targets: Codes | None) -> Candidates:
    hidden = rules.hidden(users.sequences)
    chosen = np.zeros_like(hidden)
    columns: list[_Column] = []
    ranks: dict[str, Ints] = {}
    for name, retriever in retrievers.items():
        column = _Column.of(name, retriever.score(users), retriever.signed)
        columns.append(column)
        masked = np.where(hidden, np.float32(-np.inf), column.scores)
        _choose(chosen, masked, column.mean, rules.config.of(name), rules.items.ties)
        if targets is not None:
            ranks[name] = target_ranks(masked, targets, rules.items.ties)
    if rules.config.repeat:
        own = users.sequences.tail(rules.config.depth)
        chosen[own.users, own.codes] = ~hidden[own.users, own.codes]
    rows, codes = np.nonzero(chosen)
    named = [pair for column in columns for pair in column.features(rows, codes)]
    named += _pair_features(retrievers, users.sequences, rules.items, rows, codes.astype(np.int32))
    named += [
        pair for column in columns if column.name == "popularity" for pair in column.of_history(users.sequences, rows)
    ]
    if rules.config.repeat:
        named += repeat_features(users.sequences, rows, codes)
    offsets = offsets_of(np.bincount(rows, minlength=len(users)))
    label = None if targets is None else codes == targets[rows]
    features = np.stack([values for _, values in named], axis=1).astype(np.float32)
    names = tuple(name for name, _ in named)
    return Candidates(offsets, codes.astype(np.int32), features, names, rules.items.ties, label, ranks)


@dataclass(frozen=True)
class _Column:
    """The scores of one source for a block of users, with what is needed to compare them within a row."""

    name: str
    scores: Floats
    signed: bool
    mean: Floats
    std: Floats
    top: Floats

    @classmethod
    def of(cls, name: str, scores: Floats, signed: bool) -> _Column:
        block = torch.from_numpy(scores)
        mean = block.mean(dim=1)
        # several times faster than torch.std, to the same digits
        std = torch.linalg.vector_norm(block - mean[:, None], dim=1) / block.shape[1] ** 0.5
        top = block.max(dim=1).values
        return cls(name, scores, signed, mean.numpy(), (std + 1e-9).numpy(), top.clamp_min(1e-6).numpy())

    def features(self, rows: Ints, codes: Ints) -> Iterator[tuple[str, Floats]]:
        values = self.scores[rows, codes]
        yield f"{self.name}.z", np.clip((values - self.mean[rows]) / self.std[rows], -1e4, 1e4)
        if self.signed:
            yield f"{self.name}.raw", values
        else:
            positive = np.clip(values, 0, None)
            yield f"{self.name}.ratio", np.log(1e-3 + positive / self.top[rows])
            yield f"{self.name}.level", np.log(1e-4 + positive)

    def of_history(self, sequences: Sequences, rows: Ints) -> Iterator[tuple[str, Floats]]:
        """What the source thinks of the history itself: of all its events on average, and of the newest; 0 for none."""
        events = self.scores[sequences.users, sequences.codes]
        total = np.bincount(sequences.users, weights=events, minlength=len(sequences))
        newest = np.zeros(len(sequences))
        some = np.flatnonzero(sequences.lengths)
        newest[some] = events[sequences.offsets[1:][some] - 1]
        yield f"history.{self.name}", (total / np.maximum(sequences.lengths, 1)).astype(np.float32)[rows]
        yield f"newest.{self.name}", newest.astype(np.float32)[rows]


def _choose(chosen: Bools, scores: Floats, mean: Floats, depth: int, ties: Ints) -> None:
    """Mark each row's best `depth` items that lie above its mean: in a sparse source the rest is a tie at nothing."""
    codes, _ = topk(np.where(scores > mean[:, None], scores, np.float32(-np.inf)), depth, ties=ties)
    rows, places = np.nonzero(codes >= 0)
    chosen[rows, codes[rows, places]] = True


def _pair_features(
    retrievers: Mapping[str, Retriever], sequences: Sequences, items: _Items, rows: Ints, codes: Codes
) -> Iterator[tuple[str, Floats]]:
    """How a candidate relates to the history, its two newest events and what was turned down; the history's length."""
    yield "history.length", np.log1p(sequences.lengths).astype(np.float32)[rows]
    for kind, groups in (("category", items.categories), ("tag", items.tags)):
        yield f"{kind}.share", group_shares(sequences, groups, rows, codes)
    if sequences.negative is not None:
        negative = sequences.negative_items()
        yield "category.refused", group_shares(negative, items.categories, rows, codes)
        yield "tag.refused", group_shares(negative, items.tags, rows, codes)
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
