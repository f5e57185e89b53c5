"""Fit the retrievers and the ranker: what comes next, learned on each user's last event, refitted on all.

Reads: clean/interactions, clean/sequences, clean/negative_feedback, clean/items, clean/users, pretrain/*,
profile/profiles; pretrain/language_adapter where a language model scores candidates with it.
Writes: train-ranker/retrievers, train-ranker/ranker, train-ranker/ranker_features, train-ranker/ranker_report.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field, SerializeAsAny

from llmrec_cli.core.artifacts import (
    ENCODER,
    ENCODER_VALIDATION,
    INTERACTIONS,
    ITEM_TEXT_VECTORS,
    ITEM_VECTORS,
    ITEMS,
    LANGUAGE_ADAPTER,
    NEGATIVE_FEEDBACK,
    PROFILES,
    RANKER,
    RANKER_FEATURES,
    RANKER_REPORT,
    RETRIEVERS,
    SEQUENCES,
    USERS,
)
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import SettingsError
from llmrec_cli.core.lineage import aligned
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.registry import Sections, load_function
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.ticket import Source
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ranking.candidate_config import LANGUAGE_MODEL, NO_PART, CandidateConfig, LanguageScoreConfig

if TYPE_CHECKING:
    from llmrec_cli.core.readonly import ReadOnly
    from llmrec_cli.data.catalogue import Catalogue
    from llmrec_cli.data.interactions import Sequences
    from llmrec_cli.ranking.candidates import Candidates
    from llmrec_cli.ranking.leaderboard import Score
    from llmrec_cli.ranking.retrievers import Retriever
    from llmrec_cli.ranking.variants import Variant

    Data = tuple[Catalogue, Sequences]

COPIES = 3
"""Of the table of candidates, in memory at a time while rankers compete."""
RETRIEVER_SECTIONS = Sections("llmrec_cli.ranking.retrievers:RETRIEVERS", "llmrec_cli.ranking.retrievers:load_class")
RANKER_SECTIONS = Sections("llmrec_cli.ranking.rankers:RANKERS", "llmrec_cli.ranking.rankers:load_class")


class TrainRankerConfig(BaseModel, frozen=True, extra="forbid"):
    """The retrievers and rankers to fit. Each has a section of its own: `[train-ranker.retriever.transitions]`."""

    retrievers: tuple[str, ...] = Field(
        ("sequence", "transitions", "content-transitions", "itemknn", "ease", "als", "content", "tfidf", "popularity"),
        min_length=1,
        description="retrievers, by name or module:Class",
    )
    rankers: tuple[str, ...] = Field(
        ("popularity", "als-linear", "logistic", "fusion", "wide-deep", "lambdarank"),
        min_length=1,
        description="rankers that compete on validation, by name or module:Class",
    )
    train_users: int = Field(40000, ge=10, description="users whose last event the rankers learn from, at most")
    folds: int = Field(2, ge=2, description="parts of the validation users; each is ranked by what the others taught")
    dp_allow: tuple[str, ...] = Field(
        (), description="with pretrain.dp_epsilon: retrievers that are fitted although they add no noise"
    )
    candidates: CandidateConfig = CandidateConfig()
    retriever: Annotated[dict[str, SerializeAsAny[BaseModel]], RETRIEVER_SECTIONS] = Field(
        {}, description="settings of the retrievers, by name"
    )
    ranker: Annotated[dict[str, SerializeAsAny[BaseModel]], RANKER_SECTIONS] = Field(
        {}, description="settings of the rankers, by name"
    )


def run(work: WorkDir, config: TrainRankerConfig, context: Context, data: Data | None = None) -> Report:
    """On the catalogue and the histories of the work directory, or on others."""
    from llmrec_cli.ranking import leaderboard, private_retrievers
    from llmrec_cli.ranking.rankers import importance, save_ranker
    from llmrec_cli.ranking.ratings import RatingErrors
    from llmrec_cli.ranking.retrieval import save_config
    from llmrec_cli.ranking.retrievers import refit, save_retrievers
    from llmrec_cli.ranking.variants import affordable
    from llmrec_cli.tensors.checkpoints import bind
    from llmrec_cli.tensors.runtime import prefer, set_threads

    retrievers, rankers = build(config)
    prefer(context.device)
    set_threads(context.threads)
    catalogue, sequences = data or read(work)
    retrievers, warnings = affordable(retrievers, len(catalogue))
    if epsilon := private_retrievers.budget(work):
        retrievers, rankers, notes = private_retrievers.only(retrievers, rankers, config.dp_allow, epsilon)
        warnings += notes
    candidates, fitted, scores = validation(work, config, context, retrievers, (catalogue, sequences))
    ranked, candidates, lm, line = cross_fitted(rankers, candidates, config, context)
    chosen = leaderboard.best(ranked)
    context.progress.log(f"train-ranker: {chosen.name} is best; fitting it on all validation users")
    ranker = rankers[chosen.name].fit(candidates, context.seed)
    with work.writing(RANKER) as folder:
        save_ranker(folder, chosen.name, ranker)
    features = leaderboard.features_table(candidates, importance(ranker, candidates))
    work.write(RANKER_FEATURES, features)
    ratings = None if epsilon else RatingErrors.of(work)
    scores += ranked
    compared = leaderboard.report(scores, chosen, context.seed, ratings.rows(context.seed) if ratings else ())
    work.write(RANKER_REPORT, pa.Table.from_pandas(compared, RANKER_REPORT.schema, preserve_index=False))

    context.progress.log("train-ranker: refitting the retrievers on every event")
    refitted = refit(fitted, sequences, catalogue, context.seed)
    with work.writing(RETRIEVERS) as folder:
        save_retrievers(folder, refitted)
        save_config(folder, config.candidates.model_copy(update={"lm": lm}))
        bind(folder, catalogue.item_ids)
    lines = leaderboard.describe(compared) + leaderboard.compare(scores, chosen, context.seed)
    lines += [*([ratings.line(context.seed)] if ratings else []), line]
    made = report([*lines, *leaderboard.describe_weights(features, chosen.name)], chosen, candidates, warnings)
    made.timings = {f"{score.kind} {score.name}": score.seconds for score in scores}
    return made


def estimate(work: ReadOnly, config: TrainRankerConfig, context: Context) -> Report:
    """What `run` would cost on this machine, by running it for some users; the part of a language model beside it."""
    from llmrec_cli.core.forecast import by_some

    build(config)  # what it imports is no part of the cost of `run`, whose names are looked at before
    catalogue, log = read(work)
    lm, context = config.candidates.lm, replace(context, progress=PlainProgress(quiet=True))
    plain = config.model_copy(update={"candidates": config.candidates.model_copy(update={"lm": LanguageScoreConfig()})})

    held = 0.0

    def learn(n: int) -> float:
        nonlocal held
        before, least = work.discarded, min(config.train_users, max(10, config.train_users * n // len(log)))
        some = log.select(np.arange(n) * len(log) // n)
        made = run(work, plain.model_copy(update={"train_users": least}), context, (catalogue, some)).counts
        held = COPIES * 4.0 * made["candidates"] * made["features"] * (len(log) / n - 1)
        return work.discarded - before

    counts = {"users": len(log), "items": len(catalogue), "events": len(log.codes)}
    found = by_some(learn, len(log)).holding(held).report(counts)
    asked = lm.model and load_function("llmrec_cli.extras.lm_score:cost")(work, lm, catalogue.titles, log, context)
    found.lines.append(LANGUAGE_MODEL + (f"{asked}, beside that" if asked else "none scores candidates"))
    return found


def _sources(work: WorkDir, config: TrainRankerConfig, base: Path) -> list[Source]:
    """The local language model that scores candidates."""
    from llmrec_cli.tensors import model_store

    lm = config.candidates.lm
    return model_store.source("language model", model_store.folder_of(lm.local, base) if lm.local else None)


def _ready(config: TrainRankerConfig, context: Context) -> None:
    build(config)
    if config.candidates.lm.model:
        load_function("llmrec_cli.extras.lm_score:ready")(config.candidates.lm, context)


# --- build ------------------------------------------------------------------------------------------------------


def build(config: TrainRankerConfig) -> tuple[dict[str, Variant], dict[str, Variant]]:
    """The chosen classes with their settings; SettingsError for a name that there is not."""
    from llmrec_cli.ranking.rankers import load_class as ranker
    from llmrec_cli.ranking.retrievers import load_class as retriever
    from llmrec_cli.ranking.variants import Variant

    retrievers = {name: Variant.of(retriever(name), config.retriever.get(name)) for name in config.retrievers}
    rankers = {name: Variant.of(ranker(name), config.ranker.get(name)) for name in config.rankers}
    for name, variant in rankers.items():
        missing = [needed for needed in variant.kind.needs if needed not in retrievers]
        if missing:
            raise SettingsError(
                f"the ranker {name!r} needs the retriever {missing[0]!r}",
                where="train-ranker.rankers",
                fix=f"add {missing[0]!r} to train-ranker.retrievers, or leave {name!r} out",
            )
    return retrievers, rankers


def read(work: WorkDir) -> Data:
    from llmrec_cli.data import catalogue, interactions
    from llmrec_cli.data.demographics import DEMOGRAPHICS

    items = work.read(ITEMS)
    text, vectors = (aligned(work, t, items.column(ITEM)) for t in (ITEM_TEXT_VECTORS, ITEM_VECTORS))
    profiles = work.read(PROFILES, [USER, "segment", *DEMOGRAPHICS])
    histories = interactions.from_table(
        work.read(SEQUENCES, [USER, "item_codes", "times", "weights"]),
        items,
        profiles=profiles,
        negative_feedback=work.read(NEGATIVE_FEEDBACK),
    )
    return catalogue.from_tables(items, text.reshape(items.num_rows, -1), vectors), histories


def validation(
    work: WorkDir, config: TrainRankerConfig, context: Context, retrievers: dict[str, Variant], data: Data
) -> tuple[Candidates, dict[str, Retriever], list[Score]]:
    """Retrievers fitted without each user's last event, the candidates they bring for it, and how each did alone."""
    from llmrec_cli.ranking.hidden_items import Learning
    from llmrec_cli.ranking.leaderboard import Score
    from llmrec_cli.ranking.retrieval import Retrieval, language_opinion
    from llmrec_cli.sequence.encoder import SequenceEncoder
    from llmrec_cli.tensors.checkpoints import fits

    catalogue, sequences = data
    encoder = SequenceEncoder.load(fits(work.need(ENCODER_VALIDATION), catalogue.item_ids), context.device)
    learning = Learning.of(sequences, catalogue, encoder, config.candidates.hidden)
    fitted: dict[str, Retriever] = {}
    seconds = {}
    for name, variant in retrievers.items():
        started = time.monotonic()
        context.progress.log(f"train-ranker: fitting {name}")
        fitted[name] = variant.fit(learning.past, learning.catalogue, context.seed)
        seconds[name] = time.monotonic() - started
    n_users = min(config.train_users, int(np.count_nonzero(sequences.lengths >= 2)))
    opinion = language_opinion(work, STAGE.name, config.candidates.lm, catalogue.titles, context, n_users=n_users)
    given = fitted, learning.catalogue, config.candidates
    retrieval = Retrieval(*given, cold=learning.cold, max_memory=context.max_memory, opinion=opinion)
    candidates = learning.candidates(retrieval, config.train_users, context.seed, context.progress)
    scores = [Score("retriever", name, ranks, seconds[name]) for name, ranks in candidates.retriever_ranks.items()]
    return candidates, fitted, scores


def cross_fitted(
    rankers: dict[str, Variant], candidates: Candidates, config: TrainRankerConfig, context: Context
) -> tuple[list[Score], Candidates, LanguageScoreConfig, str]:
    """How the rankers do, what they learn from, the settings of a language model that is kept, and a line about it."""
    from llmrec_cli.ranking import leaderboard

    lm = config.candidates.lm
    if not lm.model:
        return leaderboard.cross_fitted(rankers, candidates, config.folds, context), candidates, lm, NO_PART
    found: tuple[list[Score], Candidates, LanguageScoreConfig, str]
    found = load_function("llmrec_cli.extras.lm_choice:chosen")(rankers, candidates, lm, config.folds, context)
    return found


def report(lines: list[str], chosen: Score, candidates: Candidates, warnings: list[str]) -> Report:
    found = candidates.has_target()
    size = len(candidates) / max(int(found.sum()), 1)
    lines.append(
        f"{len(found):,} users; of some {size:,.0f} candidates each, the next item is one for {found.mean():.0%}"
    )
    best = {name: float(values.mean()) for name, values in chosen.metrics().items()}
    counts = {"users": len(found), "candidates": len(candidates), "features": len(candidates.names)}
    return Report(counts, best, lines, warnings)


STAGE = Stage(
    "train-ranker",
    TrainRankerConfig,
    reads=(
        INTERACTIONS,
        SEQUENCES,
        NEGATIVE_FEEDBACK,
        ITEMS,
        USERS,
        PROFILES,
        ITEM_VECTORS,
        ITEM_TEXT_VECTORS,
        ENCODER,
        ENCODER_VALIDATION,
        LANGUAGE_ADAPTER,
    ),
    writes=(RETRIEVERS, RANKER, RANKER_FEATURES, RANKER_REPORT),
    run=run,
    sources=_sources,
    ready=_ready,
    estimate=estimate,
    revision=17,
    threaded=True,
)
