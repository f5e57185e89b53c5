"""Make the top-k list of every user, each row with a reason and its evidence, and the page to look at.

Reads: clean/items, clean/users, clean/sequences, clean/funnel, pretrain/item_vectors, pretrain/item_text_vectors,
profile/profiles, train-ranker/retrievers, train-ranker/ranker, train-ranker/ranker_report, generate/item_texts, taste_texts.
Writes: recommend/recommendations, recommend/report.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field

from llmrec_cli.core.artifacts import (
    FUNNEL,
    ITEM_TEXT_VECTORS,
    ITEM_TEXTS,
    ITEM_VECTORS,
    ITEMS,
    PROFILES,
    RANKER,
    RANKER_REPORT,
    RECOMMENDATIONS,
    REPORT_PAGE,
    RETRIEVERS,
    SEQUENCES,
    TASTE_TEXTS,
    USERS,
)
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.workdir import WorkDir, to_numpy

if TYPE_CHECKING:
    import scipy.sparse as sp

    from llmrec_cli.models.candidates import CandidateConfig
    from llmrec_cli.models.rankers import Ranker
    from llmrec_cli.models.retrievers import Histories, Retriever
    from llmrec_cli.tables.catalogue import Catalogue
    from llmrec_cli.tables.lists import Lists, Popular
    from llmrec_cli.tables.reasons import Wording
    from llmrec_cli.tables.rules import Rules

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BLOCK = 2048  # users whose candidates, lists and reasons are in memory at a time
TOO_ALIKE = 0.8


class RecommendConfig(BaseModel, frozen=True, extra="forbid"):
    k: int = Field(10, ge=1, le=1000, description="items for each user")
    filter_seen: bool = Field(True, description="leave out what the user has chosen before")
    allow: list[str] | str = Field([], description="only these items: ids, or a text file with one id a line; [] is all")
    deny: list[str] | str = Field([], description="never these items: ids, or a text file with one id a line")
    max_per_category: int = Field(0, ge=0, description="cap for one category in a list; 0 is none")
    diversity: float = Field(0.0, ge=0, le=1, description="0 accuracy only … 1 variety only")
    report: bool = Field(True, description="draw report.html")
    report_users: int = Field(200, ge=1, le=5000, description="users that the page can show")


def run(work: WorkDir, config: RecommendConfig, context: Context) -> Report:
    from llmrec_cli.models.runtime import set_threads

    set_threads(context.threads)
    allow, deny = (ids_of(given, context.base) for given in (config.allow, config.deny))
    maker = _maker(work, config, context, allow, deny)
    parts: list[npt.NDArray[np.int32]] = []
    sources: list[Ints] = []
    with (
        work.writer(RECOMMENDATIONS) as append,
        context.progress.task("recommend", len(maker.histories), "users") as task,
    ):
        for start, lists in maker.blocks():
            append(maker.table(start, lists))
            parts.append(lists.items)
            sources.append(lists.sources[lists.there])
            task.advance(len(lists.items))
    report = _report(maker, np.concatenate(parts), np.concatenate(sources), context.seed)
    missing = sorted({*allow, *deny} - set(maker.catalogue.item_ids))
    if missing:
        report.warnings.append(f"{len(missing):,} ids of allow and deny are not in the catalogue, such as {missing[0]!r}")
    if config.report:
        from llmrec_cli.report import page

        with work.writing(REPORT_PAGE) as path:
            path.write_text(page.render(work, config.report_users), encoding="utf-8")
    return report


def ids_of(given: list[str] | str, base: Path) -> list[str]:
    """The ids themselves, or those in a text file: one a line, blank lines and lines after # left out."""
    if isinstance(given, list):
        return given
    path = base / given
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the list of item ids cannot be read", where=str(path), fix="one item id a line, UTF-8") from error
    return [line for line in lines if line and not line.startswith("#")]


@dataclass(frozen=True)
class _Maker:
    """Everything that the lists of a block of users are made of."""

    config: RecommendConfig
    context: Context
    user_ids: pa.Array[Any]
    item_ids: pa.Array[Any]
    histories: Histories
    catalogue: Catalogue
    retrievers: dict[str, Retriever]
    depths: CandidateConfig
    ranker: Ranker
    rules: Rules
    allowed: npt.NDArray[np.bool_]
    ties: Ints
    popular: Popular
    segment: Ints
    """(users,) row of `popular` that a user is filled from: the segment without events, everyone with some."""
    interests: sp.csr_matrix
    item_tags: sp.csr_matrix
    choosers: sp.csr_matrix
    wording: Wording
    tag_names: pa.Array[Any]
    """What the evidence calls tags: the items' tags, then the segments."""
    strategies: list[str] = field(default_factory=list)

    def blocks(self) -> Iterator[tuple[int, Lists]]:
        from llmrec_cli.models.candidates import collect
        from llmrec_cli.tables.lists import best, filled

        k, seen = self.config.k, self.config.filter_seen
        for start in range(0, len(self.histories), BLOCK):
            users = self.histories.block(start, start + BLOCK)
            candidates = collect(
                self.retrievers,
                users,
                self.catalogue,
                self.depths,
                allowed=self.allowed,
                exclude_seen=seen,
                max_memory=self.context.max_memory,
            )
            candidates = candidates.keep(candidates.rows(users.sequences.lengths > 0))
            scores = self.ranker.score(candidates)
            lists = best(candidates, scores, self.ties, list(self.retrievers), k, self.rules)
            segment = self.segment[start : start + BLOCK]
            lists = filled(lists, self.popular, segment, users.sequences if seen else None, self.rules)
            _hold(lists, users, self.allowed, self.rules, seen)
            yield start, lists

    def table(self, start: int, lists: Lists) -> pa.Table:
        """The rows of a block as they are written."""
        users, places = np.nonzero(lists.there)
        items = lists.items[lists.there]
        codes = lists.sources[lists.there]
        strategies = [self.strategies[code] for code in codes.tolist()]
        reasons, evidence = self.explained(start, users, items, codes, lists.scores[lists.there])
        return pa.table(
            {
                "user_id": self.user_ids.take(pa.array(users + start)),
                "rank": pa.array((places + 1).astype(np.int32)),
                "item_id": self.item_ids.take(pa.array(items)),
                "score": pa.array(lists.scores[lists.there]),
                "strategy": strategies,
                "reason": reasons,
                "evidence": evidence,
            }
        )

    def explained(
        self, start: int, users: Ints, items: npt.NDArray[np.int32], sources: Ints, scores: Floats
    ) -> tuple[list[str], pa.Array[Any]]:
        """(rows,) a sentence for each row, and the column of what speaks for it."""
        from llmrec_cli.tables import reasons

        block = self.histories.block(start, start + BLOCK).sequences
        strategies = [self.strategies[code] for code in sources.tolist()]
        rows, events = reasons.event_pairs(block, users, items)
        support = {
            kind: self.retrievers[name].support(events, items[rows])  # type: ignore[attr-defined]
            for name, kind in reasons.SUPPORTERS.items()
            if name in self.retrievers
        }
        preferred = np.array([reasons.KIND_OF_STRATEGY.get(name, -1) for name in strategies], dtype=np.int64)
        found = reasons.together(
            reasons.speaking_events(rows, events, support, preferred),
            reasons.shared_interests(self.interests, self.item_tags, users + start, items),
            reasons.popularity(sources, self.segment[users + start] + self.item_tags.shape[1], scores),
        )
        first = found.first(len(items))
        leading = np.where(first >= 0, found.items[first] if len(found) else -1, -1)
        frequent = np.zeros(len(items), dtype=bool)
        asked = leading >= 0
        frequent[asked] = reasons.often(self.choosers, leading[asked], items[asked])
        sentences = self.wording.sentences(found, strategies, frequent)
        return sentences, found.column(len(items), self.item_ids, self.tag_names)


def _maker(work: WorkDir, config: RecommendConfig, context: Context, allow: list[str], deny: list[str]) -> _Maker:
    from llmrec_cli.models.candidates import load_config
    from llmrec_cli.models.rankers import load_ranker
    from llmrec_cli.models.retrievers import Histories, load_retrievers
    from llmrec_cli.tables import catalogue as catalogues
    from llmrec_cli.tables import reasons, rules
    from llmrec_cli.tables.features import tie_order
    from llmrec_cli.tables.interests import tagged
    from llmrec_cli.tables.lists import Popular
    from llmrec_cli.tables.segments import EVERYONE
    from llmrec_cli.tables.sequences import from_table

    retrievers, ranker = load_retrievers(work.need(RETRIEVERS)), load_ranker(work.need(RANKER))
    items, users = work.read(ITEMS), work.read(USERS)
    profiles = work.read(PROFILES, ["user_id", "vector", "interests", "segment"])
    texts, vectors = (to_numpy(work.read(t, ["vector"]).column("vector")) for t in (ITEM_TEXT_VECTORS, ITEM_VECTORS))
    catalogue = catalogues.from_tables(items, texts, vectors)
    sequences = from_table(work.read(SEQUENCES, ["user_id", "item_ids"]), items, users.column("user_id"))
    allowed = rules.allowed_items(catalogue.item_ids, allow, deny)
    if not allowed.any():
        raise DataError("allow and deny leave no item to recommend", fix="check the ids under [recommend]")

    ties, tags = tie_order(len(catalogue)), tagged(catalogue.tags)
    warm = sequences.lengths > 0
    segments = pc.dictionary_encode(profiles.column("segment").combine_chunks())
    segment = np.asarray(segments.indices).astype(np.int64)
    names = segments.dictionary.to_pylist()
    named = np.array([name != EVERYONE for name in names], dtype=bool)
    tag_names = pa.array([*tags.names, *names, EVERYONE], type=pa.string())
    regions = {r for r in users.column("region").to_pylist() if r}
    phrases = [f"in {name}" if name in regions and name[0].isalpha() else f"like you ({name})" for name in names]
    interests = reasons.interest_matrix(profiles.column("interests"), pa.array(tags.names, type=pa.string()))
    choosers = sequences.matrix().T.tocsr()
    choosers.data[:] = 1.0
    return _Maker(
        config,
        context,
        user_ids=users.column("user_id").combine_chunks(),
        item_ids=items.column("item_id").combine_chunks(),
        histories=Histories(sequences, to_numpy(profiles.column("vector"))),
        catalogue=catalogue,
        retrievers=retrievers,
        depths=load_config(work.need(RETRIEVERS)),
        ranker=ranker,
        rules=rules.Rules(
            rules.title_groups(catalogue.titles),
            rules.category_groups(catalogue.categories),
            config.max_per_category,
            config.diversity,
            _unit(texts if texts.shape[1] else vectors) if config.diversity else None,
        ),
        allowed=allowed,
        ties=ties,
        popular=Popular.of(sequences, segment, named, allowed, ties),
        segment=np.where(warm, len(names), segment),
        interests=interests.multiply(warm[:, None]).tocsr(),
        item_tags=tags.matrix,
        choosers=choosers,
        wording=reasons.Wording(
            [title or item for title, item in zip(catalogue.titles, catalogue.item_ids, strict=True)],
            [*tags.names, *phrases, EVERYONE],
        ),
        tag_names=tag_names,
        # counted from the end: OF_SEGMENT is -1 and OF_ALL -2
        strategies=[*retrievers, reasons.POPULARITY, reasons.SEGMENT_POPULARITY],
    )


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


STAGE = Stage(
    "recommend",
    RecommendConfig,
    reads=(
        ITEMS,
        USERS,
        SEQUENCES,
        FUNNEL,
        ITEM_VECTORS,
        ITEM_TEXT_VECTORS,
        PROFILES,
        RETRIEVERS,
        RANKER,
        RANKER_REPORT,
        # a backtest does without texts
        replace(ITEM_TEXTS, optional=True),
        replace(TASTE_TEXTS, optional=True),
    ),
    writes=(RECOMMENDATIONS, replace(REPORT_PAGE, optional=True)),
    run=run,
    sources=lambda config, base: [base / given for given in (config.allow, config.deny) if isinstance(given, str)],
)
