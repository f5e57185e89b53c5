"""The trainings of one `pretrain`: a search for the number of epochs, a refit on all events, a warm start of both."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.progress import Progress
from llmrec_cli.core.records import Json
from llmrec_cli.sequence.background_refit import background_refit
from llmrec_cli.sequence.defaults import WARM_LEARNING_RATE
from llmrec_cli.sequence.encoder import SequenceEncoder
from llmrec_cli.sequence.trainer import Trainer
from llmrec_cli.sequence.training_plan import TrainingPlan
from llmrec_cli.sequence.validation import WATCH, Validation
from llmrec_cli.sequence.warm_start import Before, Start
from llmrec_cli.tensors import runtime

SEARCH, REFIT = "search", "refit"
WARM_EPOCHS = 4
GROWTH = 1.1
"""A log that is so much longer than at the last full fit is fitted anew."""


@dataclass(frozen=True)
class Fitted:
    """What the trainings gave."""

    searched: SequenceEncoder
    """Without each user's newest event."""
    final: SequenceEncoder
    reached: float
    """NDCG@10 on validation, with content similarity."""
    best: int
    """Epochs that were kept."""
    curves: dict[str, list[runtime.Epoch]]
    counts: Ints
    """(items,) events of each item in the search."""
    plan: TrainingPlan
    lines: list[str]
    full_fit: Json
    """Of the last training from nothing: see `warm_start.Before`."""
    warm: bool = False


@dataclass(frozen=True)
class Fitting:
    """What they work on; `refit` and `weigh` say whether there is a refit, and a weight of content similarity."""

    plan: TrainingPlan
    machine: runtime.Runtime
    validation: Validation
    progress: Progress
    refit: bool
    weigh: bool

    def run(
        self,
        search_start: Start | None = None,
        refit_start: Start | None = None,
        accepted: Callable[[float], bool] = lambda ndcg: True,
    ) -> Fitted | None:
        """Both trainings, from other encoders where there are any; None where the NDCG@10 of the search will not do."""
        plan, progress = self.plan, self.progress
        in_background = background_refit(plan, self.machine, REFIT, SEARCH, refit_start)
        with in_background if self.refit else nullcontext() as refit:
            search = self._begun(SEARCH, 1, search_start)
            epochs = search.train(progress, validation=self.validation)
            best = runtime.best_epoch(epochs, "" if plan.config.privacy else WATCH)
            if not accepted(epochs[best - 1].metrics[WATCH]):
                return None
            if refit:
                refit.wait_for(best, progress)
        lines, curves = search.describe_privacy(), {SEARCH: epochs}
        searched = final = search.encoder()
        reached = epochs[best - 1].metrics[WATCH]
        if self.weigh:
            searched, reached = self.validation.weigh_content(searched)
        if self.refit:
            again = self._begun(REFIT, 0, refit_start)
            curves[REFIT] = again.train(progress, stop_after=best)
            final = again.encoder().with_content_weight(searched.content_weight)
            lines += again.describe_privacy()
        full_fit = {"ndcg": epochs[best - 1].metrics[WATCH], "events": len(plan.log.codes)}
        return Fitted(searched, final, reached, best, curves, search.data.all_counts(), plan, lines, full_fit)

    def fit(self, before: Before | None, start: Before | None, *, always: bool) -> Fitted:
        """The trainings, a few epochs from the encoder of before where that is as good, else from `start`."""
        lines = []
        if before is not None:
            found, line = self.warm(before, always=always)
            lines.append(line)
            if found is not None:
                return replace(found, lines=[line, *found.lines], full_fit=before.full_fit, warm=True)
        found = self.run(*((start.search, start.refit) if start else ()))
        assert found is not None
        return replace(found, lines=[*lines, *found.lines])

    def warm(self, before: Before, *, always: bool) -> tuple[Fitted | None, str]:
        """A few epochs from the encoder of before; None where validation does not find it as good. And why."""
        network, events = self.plan.config.network, len(self.plan.log.codes)
        if before.search.encoder.shape.model_copy(update={"dropout": network.dropout}) != network:
            return None, "another shape suits the log by now: fitted anew"
        ndcg, grown = before.full_fit["ndcg"], events / before.full_fit["events"]
        if grown > GROWTH and not always:
            return None, f"the log has grown by {grown - 1:.0%} since the last full fit: fitted anew"
        config = self.plan.config
        config = replace(config, epochs=min(WARM_EPOCHS, config.epochs), learning_rate=WARM_LEARNING_RATE, warm=True)
        (scratch := self.plan.scratch / "warm").mkdir(exist_ok=True)
        plan = replace(self.plan, config=config, scratch=scratch)
        error = float(np.sqrt(ndcg * (1 - ndcg) / len(self.validation.targets)))
        reached: list[float] = []

        def accepted(now: float) -> bool:
            reached.append(now)
            return always or now >= ndcg - error

        found = replace(self, plan=plan).run(before.search, before.refit, accepted)
        than = f"NDCG@10 {reached[0]:.4f} from the encoder of before, the last full fit had {ndcg:.4f}"
        return found, f"{than} (standard error {error:.4f}): {'a warm start' if found else 'fitted anew'}"

    def _begun(self, name: str, withheld: int, start: Start | None) -> Trainer:
        """The training, from another encoder where there is one."""
        trainer = Trainer(self.plan, self.machine, name, withheld)
        if start is not None:
            trainer.begin_from(start, self.progress)
        return trainer
