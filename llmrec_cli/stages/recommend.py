"""Make the top-k list of every user, each row with a reason and its evidence.

Reads: clean/items, clean/users, clean/sequences, clean/negative_feedback, pretrain/item_vectors,
pretrain/item_text_vectors, profile/profiles, train-ranker/retrievers, train-ranker/ranker, train-ranker/ranker_report;
pretrain/language_adapter where the ranker has learnt from a language model with it.
Writes: recommend/recommendations, recommend/list_texts where items have titles, and recommend/exclusions where
`recommend.constraints.log_exclusions` asks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core import min_support
from llmrec_cli.core.artifacts import (
    EXCLUSIONS,
    ITEM_TEXT_VECTORS,
    ITEM_VECTORS,
    ITEMS,
    LANGUAGE_ADAPTER,
    LIST_TEXTS,
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
from llmrec_cli.core.cost import Meter
from llmrec_cli.core.errors import SettingsError
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.ticket import Source
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists.recommend_config import ConstraintsConfig, RecommendConfig
from llmrec_cli.ranking.candidate_config import LanguageScoreConfig

if TYPE_CHECKING:
    from llmrec_cli.core.readonly import ReadOnly
    from llmrec_cli.lists.build import Lists
    from llmrec_cli.lists.list_costs import Excluded
    from llmrec_cli.lists.list_texts import ListTexts
    from llmrec_cli.lists.maker import Maker
    from llmrec_cli.lists.shards import Counts, Piece, Shard, Shards


BLOCK = 2048  # users whose candidates, lists and reasons are in memory at a time


def run(work: WorkDir, config: RecommendConfig, context: Context, made: Shards | None = None) -> Report:
    """Make the lists of all users block by block, or put those together that shards hold."""
    from llmrec_cli.lists.build import joined, summary
    from llmrec_cli.lists.id_lists import notes

    maker, texts, excluded = _begun(work, config, context)
    parts: list[Lists] = []
    n_excluded = 0
    tables = {"rows": RECOMMENDATIONS} | ({"texts": LIST_TEXTS} if texts else {})
    tables |= {"exclusions": EXCLUSIONS} if excluded else {}
    with ExitStack() as open_files:
        append = {name: open_files.enter_context(work.writer(table)) for name, table in tables.items()}
        for piece in made.pieces() if made else _pieces(maker, texts, excluded):
            for name, write in append.items():
                write(getattr(piece, name))
            parts.append(piece.lists)
            n_excluded += piece.exclusions.num_rows if piece.exclusions else 0
    faults = texts.faults if texts else Counter[str]()
    if made:
        made.add_to(faults, maker.rules.left_out)
    checked = f"{'0 seen before' if config.filter_seen else 'seen items not filtered'}, 0 repeated, 0 against a rule"
    cold = int((maker.histories.sequences.lengths == 0).sum())
    report = summary(joined(parts), maker.strategies, maker.allowed, checked=checked, cold=cold, seed=context.seed)
    report.lines += [*maker.rules.lines(joined(parts).there, len(maker.catalogue)), *maker.account(joined(parts))]
    report.lines += [f"{n_excluded:,} exclusions of candidates by a rule are in {EXCLUSIONS.path}"] if excluded else []
    report.warnings += [*maker.notes, *notes(config, context.base, maker.catalogue.item_ids)]
    if made:
        report.lines.append(f"gathered from {made.count:,} shards, {made.core_seconds:,.1f} core-seconds together")
    if config.max_per_category and (maker.constraints.categories < 0).all():
        report.warnings.append("max_per_category does nothing: no item of the catalogue has a category")
    if config.texts and not texts:
        report.lines.append("no texts about the lists: the items have no titles")
    for what, n in sorted(faults.items()):
        report.warnings.append(f"{n:,} texts of a template were not fit to print: {what}")
    return report


def make_shard(work: WorkDir, config: RecommendConfig, context: Context, shard: Shard, folder: Path) -> Counts:
    """Write one shard into a folder, and nothing else."""
    from llmrec_cli.lists import shards

    maker, texts, excluded = _begun(work, config, context)
    n_users = shards.write(folder, _pieces(maker, texts, excluded, shard))
    left_out = {rule: int(people.sum()) for rule, people in maker.rules.left_out.items()}
    return shards.Counts(n_users, dict(texts.faults) if texts else {}, left_out)


def estimate(work: ReadOnly, config: RecommendConfig, context: Context) -> Report:
    """What `run` would cost on this machine, by the lists of some users."""
    meter = Meter()  # the imports are a part of it
    from llmrec_cli.lists import list_costs

    return list_costs.forecast(work, *_begun(work, config, context), meter.read(), block=BLOCK)


def _begun(work: WorkDir, config: RecommendConfig, context: Context) -> tuple[Maker, ListTexts | None, Excluded | None]:
    from llmrec_cli.core.registry import load_function
    from llmrec_cli.lists.maker import maker_of
    from llmrec_cli.tensors.runtime import set_threads

    set_threads(context.threads)
    maker = maker_of(work, config, context)
    logged = config.constraints.log_exclusions and maker.rules.rules
    excluded = load_function("llmrec_cli.extras.exclusions:log_of")(maker, work) if logged else None
    return maker, list_texts(maker, config, context), excluded


def _pieces(
    maker: Maker, texts: ListTexts | None, excluded: Excluded | None, shard: Shard | None = None
) -> Iterator[Piece]:
    """What is written of each block, all of them or a shard's; a block is the same whatever the shards are."""
    from llmrec_cli.lists.shards import Piece

    starts = range(0, n_users := len(maker.histories), BLOCK)
    starts = starts if shard is None else shard.part(starts)
    label = "recommend" if shard is None else f"recommend {shard}"
    total = min(n_users, starts.stop) - min(n_users, starts.start)
    with maker.context.progress.task(label, total, "users") as task:
        for start, lists in maker.blocks([(start, start + BLOCK) for start in starts]):
            rows = maker.table(start, lists).combine_chunks()
            written = texts.table(rows).combine_chunks() if texts else None
            out = excluded(np.arange(start, start + len(lists.items))) if excluded else None
            yield Piece(rows, written, out, replace(lists, shares=None))
            task.advance(len(lists.items))


def list_texts(maker: Maker, config: RecommendConfig, context: Context) -> ListTexts | None:
    """What writes the texts of the settings, in the language of the titles; None where nothing can be named."""
    from llmrec_cli.lists.list_texts import ListTexts
    from llmrec_cli.writing import text_templates

    titles = maker.catalogue.titles
    if not config.texts or not any(titles):
        return None
    language = text_templates.language_of(titles, config.language)
    templates = text_templates.load(config.texts, language, context.base / config.templates)
    fallback = text_templates.own(config.texts, language)
    return ListTexts.of(templates, fallback, maker.catalogue, maker.explainer.people)


def answer(
    work: WorkDir,
    config: RecommendConfig,
    context: Context,
    users: Sequence[str],
    *,
    without: Sequence[str] = (),
    wish: str = "",
    steer: Mapping[str, Sequence[str]] | None = None,
) -> pa.Table:
    """The rows of `recommendations` of some users, best first; users who are not known have none. Writes nothing.

    `without` are items that they had and that are taken out of their histories before; the models stay as they are.
    `wish` is what the lists should fit, in words; `steer` what they should have more or less of, or never, in place of
    that.
    """
    from llmrec_cli.core.registry import load_function
    from llmrec_cli.lists.maker import maker_of
    from llmrec_cli.lists.without import Without
    from llmrec_cli.tensors.runtime import set_threads

    if wish and steer:
        raise SettingsError("--ask does not go with --more, --less and --never", where="--ask", fix="leave one out")
    set_threads(context.threads)
    maker = maker_of(work, config, context)
    rows = pc.index_in(pa.array(users, type=pa.string()), value_set=maker.user_ids).drop_null().to_pylist()
    if wish:
        maker = load_function("llmrec_cli.extras.wish:asked")(maker, work, wish)
    if steer:
        maker = load_function("llmrec_cli.extras.steering:steered")(maker, work, steer, rows)
    if without:
        codes = pc.index_in(
            pa.array(without, type=pa.string()), value_set=pa.array(maker.catalogue.item_ids)
        ).to_numpy()
        maker = Without.of(work, maker).maker(maker, np.repeat(rows, len(codes)), np.tile(codes, len(rows)))
    found = [maker.table(start, lists) for start, lists in maker.blocks([(row, row + 1) for row in rows])]
    return pa.concat_tables([RECOMMENDATIONS.schema.empty_table(), *found], promote_options="permissive")


def popular(work: WorkDir, config: RecommendConfig, context: Context) -> pa.Table:
    """(item_id, people, reason) the k items that the most people chose, by the same rules: for an unknown user."""
    from llmrec_cli.data.interactions import from_table
    from llmrec_cli.lists import constraints
    from llmrec_cli.lists.build import most_chosen
    from llmrec_cli.lists.conditions import rules_of
    from llmrec_cli.lists.maker import allowed_items
    from llmrec_cli.lists.rule_columns import caps
    from llmrec_cli.lists.wording import sentences_in
    from llmrec_cli.writing.text_templates import language_of

    items = work.read(ITEMS)
    sequences = from_table(work.read(SEQUENCES, [USER, "item_codes", "times"]), items)
    rules = rules_of(config.constraints, items, sequences, work.read(USERS), work.read(PROFILES), nobody=True)
    people, least = sequences.people(), min_support.least_people(work)
    allowed = allowed_items(config, context, items.column(ITEM).to_pylist(), people, least)
    allowed = allowed if rules.allowed is None else allowed & rules.allowed
    titles, categories = (pc.fill_null(items.column(name), "").to_pylist() for name in ("title", "category"))
    kept = constraints.Constraints.of(titles, categories, config.max_per_category)
    first = constraints.pinned(config.constraints.pinned, items.column(ITEM).to_pylist())
    kept = replace(kept, caps=caps(config.constraints, items, sequences), pinned=first)
    table = pa.table({ITEM: items.column(ITEM), "people": people})
    said = pa.scalar(sentences_in(language_of(titles, config.language)).popular)
    return most_chosen(table.append_column("reason", pa.repeat(said, len(table))), allowed, config.k, kept)


def sources(work: WorkDir, config: RecommendConfig, base: Path) -> list[Source]:
    """The files that the settings name: lists of ids, and templates that stand in for the program's."""
    from llmrec_cli.lists.id_lists import named_files
    from llmrec_cli.tensors import model_store
    from llmrec_cli.writing.text_templates import of_user

    folder = base / config.templates
    ranked = (work.record("train-ranker") or {"parts": {"settings": {}}})["parts"]["settings"]
    lm = LanguageScoreConfig(**ranked.get("candidates", {}).get("lm", {})).local
    return [
        *model_store.source("language model", model_store.folder_of(lm, base) if lm else None),
        Source("lists of ids and wishes", base, named_files(config, base)),
        Source("templates", folder, of_user(config.texts, folder)),
    ]


def ready(config: RecommendConfig, context: Context) -> None:
    """DataError for a list of ids that is not there, SettingsError for a template that cannot be used or found."""
    from llmrec_cli.lists.id_lists import named_files
    from llmrec_cli.writing.text_templates import Template, load, of_user

    named_files(config, context.base)
    if config.constraints != ConstraintsConfig():  # who is asked about one user loads no more than that takes
        from llmrec_cli.lists.conditions import check

        check(config.constraints, filter_seen=config.filter_seen)
    folder = context.base / config.templates
    if "templates" in config.model_fields_set and not folder.is_dir():
        raise SettingsError(f"there is no folder of templates {config.templates!r}", fix=f"make {folder}")
    if config.language != "auto":
        load(config.texts, config.language, folder)
    for path in of_user(config.texts, folder):
        from llmrec_cli.lists.list_texts import tried

        kind, language, _ = path.name.split(".")
        tried(Template.load(path, kind, language))


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
        LANGUAGE_ADAPTER,
    ),
    writes=(RECOMMENDATIONS, LIST_TEXTS, EXCLUSIONS),
    run=run,
    sources=sources,
    facts=min_support.ticket_part,
    ready=ready,
    estimate=estimate,
    revision=8,
)
