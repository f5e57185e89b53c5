"""Causal language models of transformers, read from a folder, and their LoRA adapters (Hu et al. 2022)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from llmrec_cli.core.errors import MissingExtraError, SettingsError, UpstreamError
from llmrec_cli.tensors import checkpoints, model_store

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# No network, and no code of the model's own.
OFFLINE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
TUNE = "llmrec pretrain --lm"


def load(model: str, device: torch.device, dtype: torch.dtype, base: Path = Path()) -> tuple[Any, Any]:
    """(network, tokenizer) of a folder (from `base`) or an offline model's name; fails at once without one."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    folder = model_store.locate(model, base)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    kinds = AutoConfig.from_pretrained(folder, **OFFLINE).architectures or []
    if kinds and all(kind.endswith("Model") and not kind.endswith("LMHeadModel") for kind in kinds):
        raise SettingsError(f"{model!r} is no language model that writes: it is a {kinds[0]}", where=str(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder, **OFFLINE, padding_side="left")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    network: Any = AutoModelForCausalLM.from_pretrained(folder, **OFFLINE, use_safetensors=True, dtype=dtype)
    return network.to(device).eval(), tokenizer


def with_new_adapter(network: Any, rank: int) -> Any:
    """The network with an untrained float32 adapter on its attention and MLP projections; all else is frozen.

    An untrained adapter changes nothing yet: one of its two factors is zero.
    """
    peft = _peft()
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    with _calm():
        return peft.get_peft_model(network, config)


def save_adapter(network: Any, folder: Path, model: str) -> None:
    """`adapter_config.json` and `adapter_model.safetensors` as peft reads them; `model` names what they belong to."""
    config = network.peft_config["default"]
    config.base_model_name_or_path = model
    config.target_modules = sorted(config.target_modules)  # a set has no order of its own
    network.save_pretrained(folder, save_embedding_layers=False)
    for path in folder.iterdir():
        if path.name not in {ADAPTER_CONFIG, ADAPTER_WEIGHTS}:
            path.unlink()  # peft's empty model card


def with_saved_adapter(network: Any, folder: Path, model: str) -> Any:
    """The network of `model` with the adapter of `save_adapter`; SettingsError where it belongs to another model."""
    peft = _peft()
    with _reading(folder, model):
        for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"there is no file {name}")
        base = peft.PeftConfig.from_pretrained(folder).base_model_name_or_path
        if not isinstance(base, str):
            raise ValueError(f"{ADAPTER_CONFIG} names no model")
    if base != model:
        raise SettingsError(
            f"the adapter belongs to the language model {base!r}, not to {model!r}",
            where=str(folder),
            fix=f"--set generate.model={base}, or {TUNE} {model}",
        )
    with _calm(), _reading(folder, model):
        return peft.PeftModel.from_pretrained(network, folder, torch_device=str(network.device)).eval()


@contextmanager
def _reading(folder: Path, model: str) -> Iterator[None]:
    """Around whatever reads an adapter: UpstreamError where its files do not fit what reads them."""
    try:
        yield
    except checkpoints.WRONG as error:
        raise UpstreamError(
            f"the language model's adapter is missing or damaged: {checkpoints.first_line(error)}",
            where=str(folder),
            fix=f"{TUNE} {model} --force",
        ) from error


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(
            "tuning a language model needs the package 'peft'", fix="pip install 'llmrec-cli[peft]'"
        ) from error
    return peft


def _calm() -> AbstractContextManager[None]:
    """Peft asks transformers for a property by its old name, which is no user's concern."""
    return warnings.catch_warnings(action="ignore", category=FutureWarning)
