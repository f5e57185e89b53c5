"""Compare the lists of a backtest with what the users chose afterwards, and say plainly whether they beat popularity.

Reads: clean/holdout, clean/items, clean/users, clean/sequences, pretrain/item_text_vectors, profile/profiles,
train-ranker/retrievers, train-ranker/ranker_report, recommend/recommendations, all of a work directory that was
replayed as of the cut-off; for explanations and ablation also clean/negative_feedback, pretrain/item_vectors,
pretrain/encoder, pretrain/encoder_validation and train-ranker/ranker.
Writes: evaluate/evaluation, evaluate/slices, evaluate/verdict.json; where asked for, evaluate/deletions (explanations);
evaluate/ablation where asked for, and where lists have rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from llmrec_cli.core.arrays import Codes
from llmrec_cli.core.artifacts import (
    ABLATION,
    DELETIONS,
    ENCODER,
    ENCODER_VALIDATION,
    EVALUATION,
    HOLDOUT,
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
    SLICES,
    USERS,
    VERDICT,
)
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.lineage import aligned
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.evaluation.backtest_config import OF_REASONS, BacktestConfig, EvaluateConfig
from llmrec_cli.evaluation.thresholds import BEST, check_consistency, enforce

if TYPE_CHECKING:
    from llmrec_cli.data.interactions import Sequences
    from llmrec_cli.evaluation.comparison import Comparison
    from llmrec_cli.evaluation.eval_users import EvalUsers
    from llmrec_cli.evaluation.slices import Sliced
    from llmrec_cli.lists.maker import Maker
    from llmrec_cli.lists.recommend_config import RecommendConfig
    from llmrec_cli.ranking.retrievers import Histories, Retriever

Json = dict[str, Any]


def run(work: WorkDir, config: BacktestConfig, context: Context) -> Report:
    from llmrec_cli.evaluation.comparison import PIPELINE, Comparison, Traits, mean_of
    from llmrec_cli.ranking.retrievers import RETRIEVERS as SOURCES
    from llmrec_cli.ranking.retrievers import Histories
    from llmrec_cli.ranking.retrievers.popularity import Popularity
    from llmrec_cli.tensors.runtime import set_threads

    set_threads(context.threads)
    best = best_source(work.read(RANKER_REPORT))
    items, users = work.read(ITEMS, [ITEM, "tags"]), work.read(USERS)
    fitted = sources_of(work, items, context)
    compared = check_consistency(fitted, config.baselines, config.must_beat, SOURCES)
    names, must = ([best if name == BEST else name for name in each] for each in (compared, config.must_beat))
    sequences, eval_users, given = replayed(work, config, users, items)
    histories = Histories(eval_users.histories, aligned(work, PROFILES, users.column(USER))[eval_users.users])
    everybody: Any = Popularity.of(sequences)  # where train-ranker fits none, as beside a private encoder
    baselines = {name: fitted.get(name, everybody) for name in names}
    of_sources, other = by_sources(baselines, histories, eval_users, items=items, k=max(config.ks), context=context)
    lists = {PIPELINE: given} | of_sources
    traits = Traits.of(items.column("tags"), aligned(work, ITEM_TEXT_VECTORS, items.column(ITEM)))
    sure = {"seed": context.seed, "resamples": config.bootstrap}
    found = Comparison.of(eval_users, lists, sequences, config.ks, **sure, traits=traits)
    sliced = by_slices(found, lists, sequences, users, config.min_support)
    verdict = {
        **found.summary(),
        "best_source": best,
        "cold": eval_users.cold(sequences.counts()),
        "gaps": sliced.gaps,
        "other_filter": other,
        "protocol": protocol(config, eval_users, context.seed),
    }
    reasons = explained(work, config, context, verdict) if config.explanations else {}
    ablated(work, config, context, eval_users, verdict)
    write(work, found, sliced, verdict)
    metrics = {name: mean for name, each in found.values[PIPELINE].items() if (mean := mean_of(each)) == mean}
    metrics |= reasons
    enforce(metrics, verdict["versus"], least=config.least(), most=config.upper_bounds, must=must)
    lacking = [name for name in config.baselines if name not in compared]
    return Report(
        {"users": len(eval_users.users)}, metrics, describe(found, sliced, verdict, lacking), verdict["warnings"]
    )


def explained(work: WorkDir, config: BacktestConfig, context: Context, verdict: Json) -> dict[str, float]:
    """Whether the reasons of the lists hold, as metrics and in the verdict; writes the rows that were asked about."""
    from llmrec_cli.evaluation.deletion import figures, measure, sentence
    from llmrec_cli.lists.maker import maker_of
    from llmrec_cli.lists.without import Without

    context.progress.log("evaluate: rows of lists scored again without what their reasons name")
    maker = maker_of(work, config.lists, context)
    lists, without = work.read(RECOMMENDATIONS), Without.of(work, maker)
    found = measure(lists, maker, without, config.explanation_rows, context.seed)
    if not found.num_rows:
        verdict["words"].append("No reason names an event, so there is none to be left out")
        return {}
    work.write(DELETIONS, found)
    verdict["explanations"] = of_rows = figures(found, context.seed, config.bootstrap)
    verdict["words"].append(sentence(of_rows))
    ratio = of_rows["ratio"]
    return dict(zip(OF_REASONS, (ratio["value"], ratio["low"], of_rows["left"]["named"]), strict=True))


def ablated(work: WorkDir, config: BacktestConfig, context: Context, eval_users: EvalUsers, verdict: Json) -> None:
    """What rules cost, and if asked for what features and sources are worth: in the verdict and as a table."""
    from llmrec_cli.evaluation import rule_costs
    from llmrec_cli.evaluation.ablation import Ablation
    from llmrec_cli.lists.maker import maker_of
    from llmrec_cli.sequence.encoder import SequenceEncoder
    from llmrec_cli.tensors.checkpoints import fits

    def make(lists: RecommendConfig) -> Maker:
        return maker_of(work, lists, context)

    if n := len([*rule_costs.without_each(config.lists)]):
        context.progress.log(
            f"evaluate: the lists of at most {rule_costs.USERS} users, with all rules and without each of {n}"
        )
    sure = context.seed, config.bootstrap
    table = rule_costs.RuleCosts.of(make, config.lists, eval_users, context.seed).table(*sure)
    verdict["words"] += rule_costs.lines(table)
    if config.ablation:
        maker = make(config.lists)
        encoder = SequenceEncoder.load(fits(work.need(ENCODER_VALIDATION), maker.catalogue.item_ids), context.device)
        found = Ablation.of(maker, encoder, eval_users, k=max(config.ks), limit=config.ablation_users)
        parts = found.table(*sure)
        verdict["words"] += found.lines(parts)
        table = pa.concat_tables([parts, table])
    if table.num_rows:
        work.write(ABLATION, table)
        verdict["ablation"] = table.to_pylist()


def replayed(
    work: WorkDir, config: BacktestConfig, users: pa.Table, items: pa.Table
) -> tuple[Sequences, EvalUsers, Codes]:
    """The histories up to the cut-off, what is asked of them, and (users asked, k) the lists that were made from them.

    SettingsError where the lists are shorter than what is compared.
    """
    from llmrec_cli.data.demographics import DEMOGRAPHICS
    from llmrec_cli.data.interactions import from_table
    from llmrec_cli.evaluation.eval_users import ask, lists_of
    from llmrec_cli.ingest.holdout import before

    profiles = work.read(PROFILES, [USER, "segment", *DEMOGRAPHICS])
    log = work.read(SEQUENCES, [USER, "item_codes", "weights"])
    sequences = from_table(log, items, users.column(USER), profiles)
    given = lists_of(work.read(RECOMMENDATIONS, [USER, "rank", ITEM]), users, items)
    longest = max(config.ks)
    if given.shape[1] < longest:
        raise SettingsError(
            f"the lists have {given.shape[1]} items, too few for ks = {config.ks}", fix=f"--set recommend.k={longest}"
        )
    withheld = before(work.read(HOLDOUT), config.holdout_until)
    eval_users = ask(withheld, users, items, sequences, given, filter_seen=config.lists.filter_seen)
    return sequences, eval_users, given[eval_users.users]


def by_slices(
    found: Comparison, lists: Mapping[str, Codes], sequences: Sequences, users: pa.Table, least: int
) -> Sliced:
    """By activity, by the target's popularity and by the users' attributes; none of fewer than `least` people."""
    from llmrec_cli.evaluation.slices import Sliced, by_activity, by_attributes

    eval_users = found.eval_users
    slicings = [by_activity(eval_users.histories.lengths), *by_attributes(users.take(eval_users.users))]
    return Sliced.of(found, lists, sequences.counts(), slicings, least=least)


def write(work: WorkDir, found: Comparison, sliced: Sliced, verdict: Json) -> None:
    work.write(EVALUATION, found.table())
    work.write(SLICES, sliced.table())
    with work.writing(VERDICT) as path:
        path.write_text(json.dumps(verdict, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(found: Comparison, sliced: Sliced, verdict: Json, lacking: list[str]) -> list[str]:
    """The result in lines; `lacking` are baselines that there is nothing to compare with."""
    from llmrec_cli.evaluation.comparison import cold_line, filter_line

    turned = filter_line(verdict["other_filter"], found.metric, filter_seen=found.eval_users.filter_seen)
    lines = [*found.lines(), turned, *sliced.lines(), cold_line(verdict["cold"]), *verdict["words"]]
    lines.append(f"best source alone, by validation: {verdict['best_source']}")
    lines += [f"{name} is not compared with: train-ranker does not fit it" for name in lacking]
    return [*lines, verdict["protocol"]]


def sources_of(work: WorkDir, items: pa.Table, context: Context) -> dict[str, Retriever]:
    """The candidate sources as `train-ranker` left them, of these items."""
    from llmrec_cli.ranking.retrievers import load_retrievers
    from llmrec_cli.tensors.checkpoints import fits

    return load_retrievers(fits(work.need(RETRIEVERS), items.column(ITEM).to_pylist()), context.named)


def by_sources(
    sources: Mapping[str, Retriever],
    histories: Histories,
    eval_users: EvalUsers,
    *,
    items: pa.Table,
    k: int,
    context: Context,
) -> tuple[dict[str, Codes], dict[str, float]]:
    """The lists of each source alone, and its NDCG with the seen filter the other way."""
    from llmrec_cli.data.metrics import rank_metrics
    from llmrec_cli.data.ranks import tie_order
    from llmrec_cli.ranking.retrieval import best_items

    ties = tie_order(items.column(ITEM).to_pylist())
    lists, other = {}, {}
    for name, retriever in sources.items():
        context.progress.log(f"evaluate: lists by {name}")
        same, turned = (
            best_items(retriever, histories, k, ties=ties, exclude_seen=seen, max_memory=context.max_memory // 2)[0]
            for seen in (eval_users.filter_seen, not eval_users.filter_seen)
        )
        lists[name] = same
        other[name] = float(rank_metrics(turned, eval_users.targets, k)[f"ndcg@{k}"].mean())
    return lists, other


def best_source(report: pa.Table) -> str:
    """The candidate source with the best NDCG alone on the validation of train-ranker: no withheld event chose it."""
    rows = [row for row in report.to_pylist() if row["kind"] == "retriever" and row["metric"].startswith("ndcg@")]
    if not rows:
        raise DataError(
            "train-ranker/ranker_report has no NDCG of a candidate source", fix="llmrec train-ranker --force"
        )
    name: str = min(rows, key=lambda row: (-row["value"], row["name"]))["name"]
    return name


def protocol(config: EvaluateConfig, eval_users: EvalUsers, seed: int) -> str:
    """What was asked, so that the figures can be compared with others."""
    withheld = {
        "last": "leave-one-out (each user's last event withheld)",
        "last-n": f"each user's last {config.holdout_n} events withheld",
        "time": f"everything from {config.holdout_after} on withheld"
        + (f", asked about until {config.holdout_until}" if config.holdout_until else ""),
    }[config.holdout]
    seen = "seen items filtered" if eval_users.filter_seen else "seen items not filtered"
    ranking = f"full ranking over {eval_users.histories.n_items:,} items"
    return f"protocol: {withheld}, {ranking}, {seen}, {config.bootstrap:,} bootstrap resamples of users, seed {seed}"


STAGE = Stage(
    "evaluate",
    EvaluateConfig,
    # clean writes the holdout only for a backtest; here it is needed
    reads=(
        replace(HOLDOUT, optional=False),
        ITEMS,
        USERS,
        SEQUENCES,
        ITEM_TEXT_VECTORS,
        PROFILES,
        RETRIEVERS,
        RANKER_REPORT,
        RECOMMENDATIONS,
        NEGATIVE_FEEDBACK,
        ITEM_VECTORS,
        ENCODER,
        ENCODER_VALIDATION,
        RANKER,
    ),
    writes=(EVALUATION, SLICES, VERDICT, DELETIONS, ABLATION),
    run=run,
    revision=9,
)
