"""What the lists of users are made of, and the making of them block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from llmrec_cli.core import artifacts, min_support
from llmrec_cli.core.arrays import Bools, Floats, Ints
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.lineage import aligned
from llmrec_cli.core.registry import load_function
from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data import catalogue as catalogues
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.data.demographics import DEMOGRAPHICS
from llmrec_cli.data.interactions import Sequences, from_table
from llmrec_cli.data.ranks import tie_order
from llmrec_cli.data.segments import EVERYONE, of_profiles
from llmrec_cli.lists import constraints, evidence
from llmrec_cli.lists.build import SPARE, Backfill, Lists, backfilled, best, check, joined
from llmrec_cli.lists.conditions import Rules, rules_of
from llmrec_cli.lists.constraints import Constraints
from llmrec_cli.lists.explanations import Explainer, Rows
from llmrec_cli.lists.exploration import STRATEGY
from llmrec_cli.lists.id_lists import FILES, ids_of
from llmrec_cli.lists.recommend_config import RecommendConfig
from llmrec_cli.lists.rule_columns import constraints_of, of_late
from llmrec_cli.lists.wording import led
from llmrec_cli.ranking import leaderboard
from llmrec_cli.ranking.candidate_config import CandidateConfig
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.contributions import shares
from llmrec_cli.ranking.features import Pairs
from llmrec_cli.ranking.rankers import Ranker, load_ranker, scores_of
from llmrec_cli.ranking.retrieval import Retrieval, language_opinion, load_config
from llmrec_cli.ranking.retrievers import Excluded, Histories, Retriever, load_retrievers
from llmrec_cli.tensors.checkpoints import fits
from llmrec_cli.tensors.runtime import prefer
from llmrec_cli.writing.text_templates import language_of

ENOUGH, TRIES = 5, 6
"""Candidates for each place of a list that rules should leave, and how often the retrievers are asked for more."""


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
    cold: Bools
    """(items,) without events."""
    backfill: Backfill
    segment: Ints
    """(users,) row of `backfill` that a list is completed from: the segment without events, everyone with some."""
    own_weight: Floats
    """(users,) weight of the user's own vector against the mean of the segment, as `profile` mixed them."""
    explainer_of: Callable[[Sequences], Explainer]
    """Of the histories that reasons go by."""
    credited: list[str]
    """Retrievers that were not worse than popularity on validation."""
    strategies: list[str]
    """The retrievers, then what `OF_ALL` and `OF_SEGMENT`, -2 and -1, stand for as the carrier of a row."""
    opinion: Callable[[Pairs], Floats] | None = None
    """That of a language model, where the ranker has learnt from one."""
    rules: Rules = field(default_factory=Rules)
    had: Sequences | None = None
    """What users have had, where scores and reasons go by other histories; lists leave it out all the same."""
    never: tuple[sp.csr_matrix, sp.csr_matrix] | None = None
    """(users, words) what users never want, and (words, items) what that means."""
    people: Ints | None = None
    """(users,) their row numbers among all users of `rules` and `never`; None where these are all."""
    notes: tuple[str, ...] = ()
    """What those who run this should know of files that lists go by."""

    @cached_property
    def explainer(self) -> Explainer:
        return self.explainer_of(self.histories.sequences)

    @cached_property
    def retrieval(self) -> Retrieval:
        depths, cold = self.depths, self.cold
        if self.constraints.exploration is not None:  # items that are new come as those without events do
            depths = depths.model_copy(update={"cold": max(depths.cold, ENOUGH * self.config.k)})
            cold = cold | self.constraints.exploration.new
        limits = self.allowed, cold, self.config.filter_seen, self.context.max_memory
        pinned = self.constraints.pinned
        added = None if pinned is None else np.flatnonzero(pinned).astype(np.int32)
        return Retrieval(self.retrievers, self.catalogue, depths, *limits, added=added, opinion=self.opinion)

    def candidates(self, users: Histories, only: Bools | None = None) -> Candidates:
        """What the retrievers bring for these users, without what the settings exclude; `only` (items,) of these."""
        return self.retrieval.only(only).candidates(users)

    def asked(self, rows: Ints) -> Histories:
        """The histories of some users, with what they never want forbidden."""
        users = self.histories.select(rows)
        if self.never is None:
            return users
        given, means = self.never
        return replace(users, sequences=users.sequences.forbid(*(given[self.of_all(rows)] @ means).nonzero()))

    def of_all(self, rows: Ints) -> Ints:
        """Row numbers among all users."""
        return rows if self.people is None else self.people[rows]

    def eligible(self, candidates: Candidates, known: Bools, rows: Ints) -> Candidates:
        """Those of users with events, `known` (users,), and what is pinned; the others' lists are filled up.

        `rows` (users,) are the row numbers of the candidates' users.
        """
        return candidates.keep(candidates.rows(known) | (self.constraints.lifted(candidates.items) > 0))

    def scored(self, candidates: Candidates, known: Bools, rows: Ints) -> tuple[Floats, Callable[[Ints], Floats]]:
        """(n,) scores of candidates, and what gives the shares of each retriever in those of some."""
        shares_of = partial(shares, self.ranker, candidates, retrievers=list(self.retrievers), credited=self.credited)
        return scores_of(self.ranker, candidates), shares_of

    def blocks(self, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Lists]]:
        """The lists of each span of users (first, one behind the last), with its first user."""
        for start, stop in spans:
            yield start, self.made(np.arange(start, min(stop, len(self.histories))))

    def made(self, rows: Ints) -> Lists:
        """The lists of users by row number, checked against every rule."""
        users = self.asked(rows)
        groups = list(self.rules.groups(self.of_all(rows)))
        parts = [self.lists(users.select(at), rows[at], only) for at, only in groups]
        lists = joined(parts, [at for at, _ in groups])
        had = self._had(users, rows)
        check(lists, had, self.allowed, self.constraints, filter_seen=self.config.filter_seen)
        if broken := self.rules.broken(self.of_all(rows), lists.items):
            raise AssertionError(f"{broken:,} rows of lists break {self.config.constraints.conditions}")
        return lists

    def lists(self, users: Histories, rows: Ints, only: Bools | None, tries: int = TRIES) -> Lists:
        """The lists of users, `rows` of all, who may have `only` these (items,); None is all that are allowed.

        What rules that are checked on candidates take out is forbidden then, and users with little left are asked
        about once more.
        """
        known, k, everyone = users.sequences.lengths > 0, self.config.k, self.of_all(rows)
        candidates = self.eligible(self.candidates(users, only), known, rows)
        good = self.rules.hold(everyone[candidates.users], candidates.items, count=True)
        taken = candidates.users[~good]
        if len(taken):
            users = replace(users, sequences=users.sequences.forbid(taken, candidates.items[~good]))
            candidates = candidates.keep(good)
        had = self._had(users, rows)
        if self.had is not None:
            excluded = Excluded.of(had.excluded(seen=self.config.filter_seen))
            candidates = candidates.keep(~excluded.holds(candidates.users, candidates.items, had.n_items))
        scores, shares_of = self.scored(candidates, known, rows)
        lists = self._filled(best(candidates, scores, k, self.constraints, shares_of, rows=everyone), rows, had, only)
        lost = np.bincount(taken, minlength=len(rows)) > 0
        short = np.flatnonzero(lost & (np.diff(candidates.offsets) < ENOUGH * k))
        if not tries or not len(short):
            return lists
        again = self.lists(users.select(short), rows[short], only, tries - 1)
        return joined([lists, again], [np.arange(len(rows)), short])

    def _had(self, users: Histories, rows: Ints) -> Sequences:
        if self.had is None:
            return users.sequences
        return replace(self.had.select(rows), forbidden=users.sequences.forbidden)

    def _filled(self, lists: Lists, rows: Ints, had: Sequences, only: Bools | None) -> Lists:
        """The lists with what is popular at their end; what rules are against is looked for ever deeper."""
        backfill, looked_at = self.backfill.only(only), 2 * self.config.k + SPARE
        everyone = self.of_all(rows)
        while True:
            given = backfill, self.segment[rows], had, self.constraints
            filled = backfilled(lists, *given, rows=everyone, filter_seen=self.config.filter_seen)
            users = np.nonzero(filled.there)[0]
            wrong = np.unique(users[~self.rules.hold(everyone[users], filled.items[filled.there])])
            if not len(wrong):
                return filled
            items = backfill.order[:looked_at]
            users, codes = np.repeat(wrong, len(items)), np.tile(items, len(wrong))
            bad = ~self.rules.hold(everyone[users], codes)
            had, looked_at = had.forbid(users[bad], codes[bad]), 8 * looked_at

    def account(self, lists: Lists) -> list[str]:
        """What is reported of all lists beside the rules of `where`."""
        exploration = self.constraints.exploration
        return [] if exploration is None else [exploration.account(lists.items, self.allowed)]

    def table(self, start: int, lists: Lists) -> pa.Table:
        """The rows of a block as they are written."""
        there = lists.there
        users, ranks = np.nonzero(there)
        carriers = lists.carriers[there]
        strategies = [self.strategies[carrier] for carrier in carriers.tolist()]
        segments = self.segment[users + start]
        assert lists.shares is not None
        rows = Rows(users, lists.items[there], carriers, strategies, segments, lists.scores[there], lists.shares[there])
        block = self.histories.block(start, start + len(there)).sequences
        reasons, evidence = self.explainer.explain(rows, block, start)
        say = self.explainer.wording.say
        heads = {say.pinned: self.constraints.lifted(rows.items) > 0}
        if (exploration := self.constraints.exploration) is not None:
            new_here = exploration.explored(self.of_all(np.arange(start, start + len(there))), lists.items)[there]
            heads[say.explored] = new_here
            named = zip(strategies, new_here.tolist(), strict=True)
            strategies = [STRATEGY if new else name for name, new in named]
        for head, rows_of in heads.items():
            reasons = [led(head, said) if hit else said for said, hit in zip(reasons, rows_of.tolist(), strict=True)]
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
    prefer(context.device)
    items, users = work.read(artifacts.ITEMS), work.read(artifacts.USERS)
    of_items = artifacts.ITEM_TEXT_VECTORS, artifacts.ITEM_VECTORS
    texts, vectors = (aligned(work, table, items.column(ITEM)) for table in of_items)
    catalogue = catalogues.from_tables(items, texts, vectors)
    depths, retrievers, ranker = _models(work, config, context, catalogue.item_ids)
    columns = ["interests", "segment", "segment_weight", "own_weight", *DEMOGRAPHICS]
    profiles = work.read(artifacts.PROFILES, [USER, *columns])
    histories = work.read(artifacts.SEQUENCES, [USER, "item_codes", "times", "weights"])
    sequences = from_table(histories, items, users.column(USER), profiles, work.read(artifacts.NEGATIVE_FEEDBACK))
    rules = rules_of(config.constraints, items, sequences, users, profiles)
    opinion = language_opinion(work, "recommend", depths.lm, catalogue.titles, context, n_users=len(sequences))
    least = min_support.least_people(work)
    people = sequences.people()
    allowed = rules.leave(allowed_items(config, context, catalogue.item_ids, people, least))
    names, segment, weight = of_profiles(profiles.column("segment"), profiles.column("segment_weight"))
    groups: dict[str, Any] = {"interests": profiles.column("interests"), "segments": [*names, EVERYONE]}
    groups |= {"least": least, "language": language_of(catalogue.titles, config.language)}
    maker = Maker(
        config,
        context,
        user_ids=users.column(USER).combine_chunks(),
        histories=Histories(
            of_late(sequences, config.constraints.repeat_after_days),
            aligned(work, artifacts.PROFILES, users.column(USER)),
        ),
        catalogue=catalogue,
        retrievers=retrievers,
        depths=depths,
        ranker=ranker,
        constraints=constraints_of(config, catalogue, items, sequences, context.seed),
        allowed=allowed,
        cold=people == 0,
        backfill=Backfill.of(sequences, segment, weight, allowed, tie_order(catalogue.item_ids), least=least),
        segment=np.where(sequences.lengths > 0, len(names), segment),
        own_weight=profiles.column("own_weight").to_numpy(),
        explainer_of=lambda changed: Explainer.of(retrievers, catalogue, changed, **groups),
        credited=leaderboard.at_least_popularity(work.read(artifacts.RANKER_REPORT), list(retrievers)),
        strategies=[*retrievers, evidence.POPULARITY, evidence.SEGMENT_POPULARITY],
        opinion=opinion,
        rules=rules,
    )
    return load_function("llmrec_cli.extras.steering:by_file")(maker, work) if config.wishes else maker


def allowed_items(config: RecommendConfig, context: Context, item_ids: list[str], people: Ints, least: int) -> Bools:
    """(items,) which items lists may have: by the user's own lists of ids, and by how many `people` had them."""
    allow, deny, exclude = (ids_of(getattr(config, name), context.base) for name in FILES)
    return constraints.allowed_items(item_ids, allow, deny + exclude) & min_support.enough(people, least)


def _models(
    work: WorkDir, config: RecommendConfig, context: Context, item_ids: list[str]
) -> tuple[CandidateConfig, dict[str, Retriever], Ranker]:
    """What `train-ranker` left: how deep each retriever is asked, the retrievers, and the ranker."""
    folder = work.need(artifacts.RETRIEVERS)
    depths = load_config(folder)
    constraints.check_consistency(depths.repeat, config.filter_seen)
    ranker = load_ranker(work.need(artifacts.RANKER), context.named)
    return depths, load_retrievers(fits(folder, item_ids), context.named), ranker
