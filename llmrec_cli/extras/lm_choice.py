"""Whether `lm.score`, a language model's opinion of candidates, is kept: only where users are served better with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmrec_cli.core.arrays import Bools
from llmrec_cli.core.stage import Context
from llmrec_cli.data.metrics import paired_bootstrap
from llmrec_cli.ranking import leaderboard
from llmrec_cli.ranking.candidate_config import LANGUAGE_MODEL, NO_PART, LanguageScoreConfig
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.features import LM_SCORE
from llmrec_cli.ranking.leaderboard import Score


def chosen(
    rankers: Mapping[str, Any], candidates: Candidates, lm: LanguageScoreConfig, folds: int, context: Context
) -> tuple[list[Score], Candidates, LanguageScoreConfig, str]:
    """How the rankers do, the table to learn from, what is kept of the settings, and a line about it.

    The opinion, a column of `candidates`, stays where it helps (`helps`).
    """
    plain = candidates.without(np.array([name == LM_SCORE for name in candidates.names]))
    scores = leaderboard.cross_fitted(rankers, plain, folds, context)
    advised = leaderboard.cross_fitted(rankers, candidates, folds, context)
    asked = np.bincount(candidates.users, candidates.column(LM_SCORE) != 0, candidates.n_users) > 0
    kept, figures = helps(leaderboard.best(advised), leaderboard.best(scores), asked, context.seed)
    if kept:
        return advised, candidates, lm, f"{LANGUAGE_MODEL}{lm.model} has a part in the lists, lm.score: {figures}"
    return scores, plain, LanguageScoreConfig(), f"{NO_PART}; with {lm.model}, {figures}"


def helps(score: Score, plain: Score, asked: Bools, seed: int) -> tuple[bool, str]:
    """Whether the best ranker with an opinion serves the users that it was `asked` about better than the best one
    without, beyond chance; and the figures.
    """
    ours, theirs = (each.metrics()[leaderboard.METRIC][asked] for each in (score, plain))
    gain, low, high = paired_bootstrap(ours, theirs, seed) if asked.any() else (0.0, 0.0, 0.0)
    figures = f"{leaderboard.METRIC} {gain:+.4f} [{low:+.4f}, {high:+.4f}]"
    return low > 0, f"{figures} for the {asked.sum():,} users that it was asked about"
