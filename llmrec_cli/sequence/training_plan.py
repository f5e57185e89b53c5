"""What the trainings of one `pretrain` share: its settings with every "auto" resolved, the log, the content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmrec_cli.core.arrays import Floats
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.sequence import defaults, optional
from llmrec_cli.sequence.encoder_config import EncoderConfig
from llmrec_cli.sequence.model_config import ModelConfig, Objective
from llmrec_cli.sequence.privacy_budget import Privacy


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a training, none of them "auto"."""

    network: ModelConfig
    objective: Objective
    epochs: int
    learning_rate: float
    patience: int
    tokens_per_step: int
    """0 chooses by the size of the data."""
    warm: bool = False
    """It goes on from another model."""
    privacy: Privacy | None = None
    """The share of one training in the privacy budget."""


def training_config(config: EncoderConfig, log: Sequences) -> TrainingConfig:
    """The settings of a training, "auto" resolved by the log, the architecture and the start.

    MissingExtraError or SettingsError where there is a privacy budget and the training has no private form.
    """

    network = _network(config, log)
    epochs = defaults.resolve_auto(config.epochs, defaults.epochs(config.architecture, len(log.codes)))
    loss = defaults.loss(len(log.codes), log.n_items, epochs) if config.loss == "auto" else config.loss
    objective = Objective(
        loss=loss, negatives=config.negatives, targets=config.targets, item_dropout=config.item_dropout
    )
    warm, privacy = bool(config.init_from), None
    if config.dp_epsilon:
        optional.check_private()(network, objective)
        whole = Privacy(epsilon=config.dp_epsilon, delta=config.dp_delta)
        privacy = whole.shared_by(1 + config.refit, len(log))
    rate = defaults.WARM_LEARNING_RATE if warm else defaults.LEARNING_RATE
    return TrainingConfig(
        network=network,
        objective=objective,
        epochs=epochs,
        learning_rate=defaults.resolve_auto(config.learning_rate, rate),
        patience=config.patience,
        tokens_per_step=config.tokens_per_step,
        warm=warm,
        privacy=privacy,
    )


def _network(config: EncoderConfig, log: Sequences) -> ModelConfig:
    suits = defaults.by_length(log)
    similarity = suits.similarity if config.similarity == "auto" else config.similarity
    return ModelConfig(
        architecture=config.architecture,
        dim=config.dim,
        layers=config.layers,
        heads=config.heads,
        dropout=defaults.resolve_auto(config.dropout, suits.dropout),
        max_length=defaults.resolve_auto(config.max_length, suits.max_length),
        positions=config.positions,
        time_bias=config.time_bias,
        target_time=config.target_time,
        similarity=similarity,
        temperature=defaults.resolve_auto(config.temperature, defaults.TEMPERATURE[similarity]),
    )


@dataclass(frozen=True)
class TrainingPlan:
    """What both trainings of a `pretrain` share, the search for the number of epochs and the refit on all events."""

    config: TrainingConfig
    log: Sequences
    content: Floats
    """(items, t) of the whole catalogue."""
    seed: int
    max_memory: int
    scratch: Path
    finish: bool = False
    """Settle for what an interrupted search has reached."""

    def describe(self) -> str:
        """The network in words, with what was chosen for the length of the histories."""
        config, network = self.config, self.config.network
        divided = "" if network.temperature == 1 else f" / {network.temperature:g}"
        return (
            f"{network.architecture}, {network.layers} layers, {network.dim} wide, {network.similarity}{divided}, "
            f"dropout {network.dropout:g}, the newest {network.max_length} events; "
            f"histories have {defaults.mean_length(self.log):.0f} on average; "
            f"at most {config.epochs} epochs, learning rate {config.learning_rate:g}"
            f"{' (a warm start)' if config.warm else ''}"
        )

    def warnings(self, best: int) -> list[str]:
        """What to change, where a search that measured `best` as its best epoch was not done when it had to end."""
        epochs = self.config.epochs
        if self.config.privacy is not None or best < epochs:
            return []
        return [f"the best epoch is the last of the {epochs} allowed: more may be better, raise pretrain.epochs"]

    def checkpoint(self, name: str) -> Path:
        """Where the training of this name keeps its state."""
        return self.scratch / f"{name}.safetensors"
