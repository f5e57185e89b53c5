"""What a default run never imports of training, by name and signature: differential privacy, a tuned language model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmrec_cli.core.progress import Progress
from llmrec_cli.core.registry import load_function
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.sequence.model_config import ModelConfig, Objective
from llmrec_cli.sequence.privacy_budget import Privacy, Spent
from llmrec_cli.sequence.training import NextItemModel, TrainingData
from llmrec_cli.tensors.runtime import Epoch, Job, Runtime


class CheckPrivate(Protocol):
    """`extras.private_training.check`."""

    def __call__(self, network: ModelConfig, objective: Objective) -> None:
        """MissingExtraError without its package, SettingsError for a training that has no private form."""


class TrainPrivately(Protocol):
    """`extras.private_training.train`."""

    def __call__(
        self,
        model: NextItemModel,
        data: TrainingData,
        privacy: Privacy,
        job: Job,
        *,
        machine: Runtime,
        progress: Progress,
    ) -> tuple[list[Epoch], Spent]:
        """Train in place within the budget."""


@dataclass(frozen=True)
class LanguageTuning:
    """How a language model is tuned on titles; a killed tuning continues from `scratch`."""

    model: str
    """Its folder (from `base`) or name."""
    rank: int
    """Of the adapter."""
    steps: int
    seed: int
    scratch: Path
    base: Path = Path()


class TunedModel(Protocol):
    """A language model with a trained adapter."""

    def describe(self) -> str:
        """What the tuning has brought, in words."""

    def save(self, folder: Path) -> None:
        """The adapter alone."""


class TuneLanguageModel(Protocol):
    """`extras.lora_lm.tune`."""

    def __call__(
        self, sequences: Sequences, titles: list[str], tuning: LanguageTuning, machine: Runtime, progress: Progress
    ) -> TunedModel:
        """Tune an adapter on the titles (items,) of histories."""


def check_private() -> CheckPrivate:
    """The function that says whether a training has a private form."""
    function: CheckPrivate = load_function("llmrec_cli.extras.private_training:check")
    return function


def train_privately() -> TrainPrivately:
    """The training with differential privacy."""
    function: TrainPrivately = load_function("llmrec_cli.extras.private_training:train")
    return function


def tune_language_model() -> TuneLanguageModel:
    """The tuning with LoRA."""
    function: TuneLanguageModel = load_function("llmrec_cli.extras.lora_lm:tune")
    return function
