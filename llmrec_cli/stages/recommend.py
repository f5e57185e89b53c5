"""Make the top-k list of every user, each row with a reason and its evidence.

Reads: clean/items, clean/users, clean/sequences, clean/negative_feedback, pretrain/item_vectors,
pretrain/item_text_vectors, profile/profiles, train-ranker/retrievers, train-ranker/ranker, train-ranker/ranker_report.
Writes: recommend/recommendations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field

from llmrec_cli.core import min_support
from llmrec_cli.core.arrays import Bools, Ints
from llmrec_cli.core.artifacts import (
    ITEM_TEXT_VECTORS,
    ITEM_VECTORS,
    ITEMS,
    NEGATIVE_FEEDBACK,
    PROFILES,
    RANKER,
    RANKER_REPORT,
    RECOMMENDATIONS,
    RETRIEVERS,
    SEQUENCES,
    USERS,
)
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.lineage import aligned
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.ticket import Source
from llmrec_cli.core.workdir import WorkDir

if TYPE_CHECKING:
    from llmrec_cli.data.catalogue import Catalogue
    from llmrec_cli.lists.build import Backfill, Lists
    from llmrec_cli.lists.constraints import Constraints
    from llmrec_cli.lists.explanations import Explainer
    from llmrec_cli.ranking.candidate_config import CandidateConfig
    from llmrec_cli.ranking.candidates import Candidates
    from llmrec_cli.ranking.rankers import Ranker
    from llmrec_cli.ranking.retrieval import Retrieval
    from llmrec_cli.ranking.retrievers import Histories, Retriever

BLOCK = 2048  # users whose candidates, lists and reasons are in memory at a time


class RecommendConfig(BaseModel, frozen=True, extra="forbid"):
    k: int = Field(10, ge=1, le=1000, description="items for each user")
    filter_seen: bool = Field(True, description="leave out what the user has chosen before")
    allow: list[str] | str = Field(
        [], description="only these items: ids, or a text file with one id a line; [] is all"
    )
    deny: list[str] | str = Field([], description="never these items: ids, or a text file with one id a line")
    max_per_category: int = Field(0, ge=0, description="cap for one category in a list; 0 is none")
    diversity: float = Field(0.0, ge=0, le=1, description="0 accuracy only … 1 variety only")


def run(work: WorkDir, config: RecommendConfig, context: Context) -> Report:
    from llmrec_cli.lists.build import joined, summary
    from llmrec_cli.lists.constraints import ids_of
    from llmrec_cli.tensors.runtime import set_threads

    set_threads(context.threads)
    maker = maker_of(work, config, context)
    parts: list[Lists] = []
    with (
        work.writer(RECOMMENDATIONS) as append,
        context.progress.task("recommend", len(maker.histories), "users") as task,
    ):
        everyone = range(0, len(maker.histories), BLOCK)
        for start, lists in maker.blocks([(start, start + BLOCK) for start in everyone]):
            append(maker.table(start, lists))
            parts.append(replace(lists, shares=None))
            task.advance(len(lists.items))
    checked = f"{'0 seen before' if config.filter_seen else 'seen items not filtered'}, 0 repeated, 0 against a rule"
    cold = int((maker.histories.sequences.lengths == 0).sum())
    report = summary(joined(parts), maker.strategies, maker.allowed, checked=checked, cold=cold, seed=context.seed)
    if config.max_per_category and (maker.constraints.categories < 0).all():
        report.warnings.append("max_per_category does nothing: no item of the catalogue has a category")
    named = {each for given in (config.allow, config.deny) for each in ids_of(given, context.base)}
    if missing := sorted(named - set(maker.catalogue.item_ids)):
        warning = f"{len(missing):,} ids of allow and deny are not in the catalogue, such as {missing[0]!r}"
        report.warnings.append(warning)
    return report


def answer(work: WorkDir, config: RecommendConfig, context: Context, users: Sequence[str]) -> pa.Table:
    """The rows of `recommendations` of some users, best first; users who are not known have none. Writes nothing."""
    from llmrec_cli.tensors.runtime import set_threads

    set_threads(context.threads)
    maker = maker_of(work, config, context)
    rows = pc.index_in(pa.array(users, type=pa.string()), value_set=maker.user_ids).drop_null().to_pylist()
    found = [maker.table(start, lists) for start, lists in maker.blocks([(row, row + 1) for row in rows])]
    return pa.concat_tables([RECOMMENDATIONS.schema.empty_table(), *found], promote_options="permissive")


def popular(work: WorkDir, config: RecommendConfig, context: Context) -> pa.Table:
    """(item_id, people) the k items that the most people chose, by the same rules: for a user who is not known."""
    from llmrec_cli.data.interactions import from_table
    from llmrec_cli.lists import constraints
    from llmrec_cli.lists.build import most_chosen

    items = work.read(ITEMS, [ITEM, "title", "category"])
    people = from_table(work.read(SEQUENCES, [USER, "item_codes"]), items).people()
    allowed = _allowed(config, context, items.column(ITEM).to_pylist(), people, min_support.least_people(work))
    titles, categories = (pc.fill_null(items.column(name), "").to_pylist() for name in ("title", "category"))
    kept = constraints.Constraints.of(titles, categories, config.max_per_category)
    return most_chosen(items.select([ITEM]).append_column("people", pa.array(people)), allowed, config.k, kept)


def id_files(config: RecommendConfig, base: Path) -> list[Path]:
    """The files that `allow` and `deny` name; DataError for one that is not there."""
    paths = [base / given for given in (config.allow, config.deny) if isinstance(given, str)]
    if gone := [str(path) for path in paths if not path.is_file()]:
        raise DataError(f"there is no list of item ids {gone[0]!r}", fix="check recommend.allow and recommend.deny")
    return paths


@dataclass(frozen=True)
class Maker:
    """Everything that the lists of a block of users are made of."""

    config: RecommendConfig
    context: Context
    user_ids: pa.Array[Any]
    histories: Histories
    catalogue: Catalogue
    retrievers: dict[str, Retriever]
    depths: CandidateConfig
    ranker: Ranker
    constraints: Constraints
    allowed: Bools
    backfill: Backfill
    segment: Ints
    """(users,) row of `backfill` that a list is completed from: the segment without events, everyone with some."""
    explainer: Explainer
    credited: list[str]
    """Retrievers that were not worse than popularity on validation."""
    strategies: list[str]
    """The retrievers, then what -2 and -1 stand for as the carrier of a row."""

    @cached_property
    def retrieval(self) -> Retrieval:
        from llmrec_cli.ranking.retrieval import Retrieval

        limits = self.allowed, self.config.filter_seen, self.context.max_memory
        return Retrieval(self.retrievers, self.catalogue, self.depths, *limits)

    def candidates(self, users: Histories) -> Candidates:
        """What the retrievers bring for these users, without what the settings exclude."""
        return self.retrieval.candidates(users)

    def blocks(self, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Lists]]:
        """The lists of each span of users (first, one behind the last), with its first user."""
        from llmrec_cli.lists.build import backfilled, best, check
        from llmrec_cli.ranking.contributions import shares
        from llmrec_cli.ranking.rankers import scores_of

        k, seen = self.config.k, self.config.filter_seen
        for start, stop in spans:
            users = self.histories.block(start, stop)
            candidates = self.candidates(users)
            candidates = candidates.keep(candidates.rows(users.sequences.lengths > 0))
            scores = scores_of(self.ranker, candidates)
            shares_of = partial(
                shares, self.ranker, candidates, retrievers=list(self.retrievers), credited=self.credited
            )
            lists = best(candidates, scores, k, self.constraints, shares_of)
            segment = self.segment[start:stop]
            lists = backfilled(lists, self.backfill, segment, users.sequences, self.constraints, filter_seen=seen)
            check(lists, users.sequences, self.allowed, self.constraints, filter_seen=seen)
            yield start, lists

    def table(self, start: int, lists: Lists) -> pa.Table:
        """The rows of a block as they are written."""
        from llmrec_cli.lists.explanations import Rows

        there = lists.there
        users, ranks = np.nonzero(there)
        carriers = lists.carriers[there]
        strategies = [self.strategies[carrier] for carrier in carriers.tolist()]
        segments = self.segment[users + start]
        assert lists.shares is not None
        rows = Rows(users, lists.items[there], carriers, strategies, segments, lists.scores[there], lists.shares[there])
        block = self.histories.block(start, start + len(there)).sequences
        reasons, evidence = self.explainer.explain(rows, block, start)
        return pa.table(
            {
                USER: self.user_ids.take(pa.array(users + start)),
                "rank": pa.array((ranks + 1).astype(np.int32)),
                ITEM: self.explainer.item_ids.take(pa.array(rows.items)),
                "score": pa.array(rows.scores),
                "strategy": strategies,
                "reason": reasons,
                "evidence": evidence,
            }
        )


def maker_of(work: WorkDir, config: RecommendConfig, context: Context) -> Maker:
    """From what the stages before left in the work directory."""
    from llmrec_cli.data import catalogue as catalogues
    from llmrec_cli.data.interactions import from_table
    from llmrec_cli.data.ranks import tie_order
    from llmrec_cli.data.segments import EVERYONE, of_profiles
    from llmrec_cli.lists import constraints, evidence
    from llmrec_cli.lists.build import Backfill
    from llmrec_cli.lists.explanations import Explainer
    from llmrec_cli.ranking import leaderboard
    from llmrec_cli.ranking.retrievers import Histories

    items, users = work.read(ITEMS), work.read(USERS)
    texts, vectors = (aligned(work, t, items.column(ITEM)) for t in (ITEM_TEXT_VECTORS, ITEM_VECTORS))
    catalogue = catalogues.from_tables(items, texts, vectors)
    depths, retrievers, ranker = _models(work, config, context, catalogue.item_ids)
    profiles = work.read(PROFILES, [USER, "interests", "segment", "segment_weight"])
    histories = work.read(SEQUENCES, [USER, "item_codes", "times", "weights"])
    sequences = from_table(histories, items, users.column(USER), profiles, work.read(NEGATIVE_FEEDBACK))
    least = min_support.least_people(work)
    allowed = _allowed(config, context, catalogue.item_ids, sequences.people(), least)
    names, segment, weight = of_profiles(profiles.column("segment"), profiles.column("segment_weight"))
    groups: dict[str, Any] = {"interests": profiles.column("interests"), "segments": [*names, EVERYONE]}
    held = catalogue.titles, catalogue.categories, config.max_per_category, config.diversity
    return Maker(
        config,
        context,
        user_ids=users.column(USER).combine_chunks(),
        histories=Histories(sequences, aligned(work, PROFILES, users.column(USER))),
        catalogue=catalogue,
        retrievers=retrievers,
        depths=depths,
        ranker=ranker,
        constraints=constraints.Constraints.of(*held, texts if texts.shape[1] else vectors),
        allowed=allowed,
        backfill=Backfill.of(sequences, segment, weight, allowed, tie_order(catalogue.item_ids), least=least),
        segment=np.where(sequences.lengths > 0, len(names), segment),
        explainer=Explainer.of(retrievers, catalogue, sequences, **groups, least=least),
        credited=leaderboard.at_least_popularity(work.read(RANKER_REPORT), list(retrievers)),
        # counted from the end: OF_SEGMENT is -1 and OF_ALL -2
        strategies=[*retrievers, evidence.POPULARITY, evidence.SEGMENT_POPULARITY],
    )


def _allowed(config: RecommendConfig, context: Context, item_ids: list[str], people: Ints, least: int) -> Bools:
    """(items,) which items lists may have: by the user's own lists of ids, and by how many `people` had them."""
    from llmrec_cli.lists.constraints import allowed_items, ids_of

    allow, deny = (ids_of(given, context.base) for given in (config.allow, config.deny))
    return allowed_items(item_ids, allow, deny) & min_support.enough(people, least)


def _models(
    work: WorkDir, config: RecommendConfig, context: Context, item_ids: list[str]
) -> tuple[CandidateConfig, dict[str, Retriever], Ranker]:
    """What `train-ranker` left: how deep each retriever is asked, the retrievers, and the ranker."""
    from llmrec_cli.lists import constraints
    from llmrec_cli.ranking.rankers import load_ranker
    from llmrec_cli.ranking.retrieval import load_config
    from llmrec_cli.ranking.retrievers import load_retrievers
    from llmrec_cli.tensors.checkpoints import fits

    folder = work.need(RETRIEVERS)
    depths = load_config(folder)
    constraints.check_consistency(depths.repeat, config.filter_seen)
    return depths, load_retrievers(fits(folder, item_ids), context.named), load_ranker(work.need(RANKER), context.named)


STAGE = Stage(
    "recommend",
    RecommendConfig,
    reads=(
        ITEMS,
        USERS,
        SEQUENCES,
        NEGATIVE_FEEDBACK,
        ITEM_VECTORS,
        ITEM_TEXT_VECTORS,
        PROFILES,
        RETRIEVERS,
        RANKER,
        RANKER_REPORT,
    ),
    writes=(RECOMMENDATIONS,),
    run=run,
    sources=lambda work, config, base: [Source("lists of ids", base, id_files(config, base))],
    facts=min_support.ticket_part,
    ready=lambda config, context: id_files(config, context.base),
    revision=5,
)
