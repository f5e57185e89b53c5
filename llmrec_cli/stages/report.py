"""Draw the page to look at: lists with reasons, how they came about, and the verdicts of the backtests.

Reads: clean/items, clean/interactions, clean/sequences, clean/funnel, clean/log_profile, pretrain/pretrain_curve,
profile/profiles, profile/topics, train-ranker/retrievers, train-ranker/ranker_report, recommend/recommendations; where
they are there recommend/list_texts, clean/item_ranges, generate/item_texts, generate/taste_texts, generate/item_images
and generate/images; the verdicts and slices of the backtests in evaluate/, and what train-ranker says of privacy.
Writes: report/report.html.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from llmrec_cli.core.artifacts import (
    FUNNEL,
    IMAGES,
    INTERACTIONS,
    ITEM_IMAGES,
    ITEM_RANGES,
    ITEM_TEXTS,
    ITEMS,
    LIST_TEXTS,
    LOG_PROFILE,
    PRETRAIN_CURVE,
    PROFILES,
    RANKER_REPORT,
    RECOMMENDATIONS,
    REPORT_PAGE,
    RETRIEVERS,
    REVIEW_SUMMARIES,
    SEQUENCES,
    SLICES,
    TASTE_TEXTS,
    TOPICS,
)
from llmrec_cli.core.columns import USER
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.ticket import Source
from llmrec_cli.core.workdir import WorkDir


class ReportConfig(BaseModel, frozen=True, extra="forbid"):
    draw: bool = Field(True, description="draw the page; false leaves it out, and removes one that is there")
    users: int = Field(200, ge=1, le=5000, description="users that the page can show")


def run(work: WorkDir, config: ReportConfig, context: Context) -> Report:
    from llmrec_cli.report import figures, page

    if not config.draw:
        return Report(lines=["no page: report.draw = false"])
    with work.writing(REPORT_PAGE) as path:
        path.write_text(page.render(work, config.users), encoding="utf-8")
    counts = {
        "users": min(config.users, work.read(PROFILES, [USER]).num_rows),
        "backtests": len(figures.verdicts(work)),
    }
    return Report(
        counts, lines=[f"{counts['users']:,} users to look at, verdicts of {counts['backtests']:,} backtests"]
    )


def _verdicts(work: WorkDir, config: ReportConfig, base: Path) -> list[Source]:
    """What backtests found: they lie in work directories of their own, inside of this one."""
    from llmrec_cli.report import figures

    found = figures.verdicts(work)
    slices = [path for verdict in found if (path := WorkDir(verdict.parents[1]).where(SLICES)).is_file()]
    return [Source("verdicts of backtests", work.path / "evaluate", sorted([*found, *slices]))]


def _privacy(work: WorkDir, config: ReportConfig, context: Context) -> dict[str, str]:
    """What the page says of privacy stands in the record of `train-ranker`."""
    from llmrec_cli.report import figures

    return {"what train-ranker says of privacy": "\n".join(figures.privacy(work))}


STAGE = Stage(
    "report",
    ReportConfig,
    reads=(
        ITEMS,
        ITEM_RANGES,
        INTERACTIONS,
        SEQUENCES,
        FUNNEL,
        LOG_PROFILE,
        PRETRAIN_CURVE,
        PROFILES,
        TOPICS,
        RETRIEVERS,
        RANKER_REPORT,
        # `generate` need not have been run
        ITEM_TEXTS,
        TASTE_TEXTS,
        REVIEW_SUMMARIES,
        ITEM_IMAGES,
        IMAGES,
        RECOMMENDATIONS,
        LIST_TEXTS,
    ),
    writes=(REPORT_PAGE,),
    run=run,
    sources=_verdicts,
    facts=_privacy,
)
