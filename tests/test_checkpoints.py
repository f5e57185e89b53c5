"""Saved models and resumable states."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.tensors import checkpoints


def tensors() -> checkpoints.Tensors:
    whole = torch.arange(12.0).reshape(3, 4)
    return {"whole": whole, "turned": whole.T, "part": whole[1], "half": whole.to(torch.bfloat16)}


def test_model_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    checkpoints.save_model(tmp_path / "pretrain" / "encoder", {"dim": 4}, tensors())
    config, loaded = checkpoints.load_model(tmp_path / "pretrain" / "encoder")
    assert config == {"dim": 4}
    assert loaded.keys() == tensors().keys()
    for name, value in tensors().items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value)


def test_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        checkpoints.save_model(tmp_path / name, {"b": 1, "a": 2}, tensors())
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_damage_is_reported_with_the_command_that_repairs_it(tmp_path: Path, file: str, damage: str) -> None:
    folder = tmp_path / "pretrain" / "encoder"
    checkpoints.save_model(folder, {"dim": 4}, tensors())
    if damage == "gone":
        (folder / file).unlink()
    else:
        (folder / file).write_bytes((folder / file).read_bytes()[:5])
    with pytest.raises(UpstreamError) as caught:
        checkpoints.load_model(folder)
    assert caught.value.fix == "llmrec pretrain --force"
    assert str(folder) in str(caught.value)


def test_state_keeps_tensors_and_reported_values(tmp_path: Path) -> None:
    reported = {"history": [{"epoch": 1, "loss": 0.1 + 0.2}]}
    checkpoints.save_state(tmp_path / "state", tensors(), reported)
    loaded, again = checkpoints.load_state(tmp_path / "state")
    assert again == reported
    assert all(torch.equal(loaded[name], value) for name, value in tensors().items())
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_failed_write_keeps_the_old_state(tmp_path: Path) -> None:
    checkpoints.save_state(tmp_path / "state", tensors(), {"epoch": 1})
    with pytest.raises(TypeError):
        checkpoints.save_state(tmp_path / "state", tensors(), {"epoch": {1, 2}})  # no JSON
    assert checkpoints.load_state(tmp_path / "state")[1] == {"epoch": 1}


def test_nothing_is_pickled(tmp_path: Path) -> None:
    checkpoints.save_model(tmp_path, {"dim": 4}, tensors())
    json.loads((tmp_path / "config.json").read_text())
    header = (tmp_path / "model.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    assert json.loads(header[8 : 8 + size]).keys() == tensors().keys()


def test_under_takes_the_prefix_off() -> None:
    one = torch.ones(1)
    assert checkpoints.under("a.", {"a.x": one, "b.x": one, "a.b.y": one}) == {"x": one, "b.y": one}


@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "words", "folder", "pipe"])
def test_a_damaged_state_is_reported_be_it_by_a_single_bit(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "search.safetensors"
    checkpoints.save_state(path, tensors(), {"epoch": 1})
    content = bytearray(path.read_bytes())
    if damage in {"folder", "pipe"}:
        path.unlink()
        path.mkdir() if damage == "folder" else os.mkfifo(path)
    else:
        content[-1] ^= 1
        changed = {
            "cut": content[:40], "empty": b"", "flip": content,
            "words": path.read_bytes().replace(b'epoch\\": 1', b'epoch\\": 7'),
        }[damage]  # fmt: skip
        assert changed != path.read_bytes()
        path.write_bytes(changed)
    with pytest.raises(UpstreamError, match=r"search\.safetensors is damaged"):
        checkpoints.load_state(path)
    checkpoints.save_state(path, tensors(), {"epoch": 2})
    assert checkpoints.load_state(path)[1] == {"epoch": 2}


def test_a_state_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acts: list[str] = []
    replace, force = os.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (acts.append("fsync"), force(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (acts.append("name"), replace(a, b)))
    checkpoints.save_state(tmp_path / "state", tensors(), {})
    assert acts == ["fsync", "name", "fsync"]


def test_a_model_of_other_items_or_of_another_order_is_refused(tmp_path: Path) -> None:
    checkpoints.save_model(tmp_path / "encoder", {"name": "x"}, {"a": torch.zeros(2)})
    with pytest.raises(UpstreamError, match="of other items than clean/items"):
        checkpoints.fits(tmp_path / "encoder", ["a", "b"])  # it says of no items that it is theirs
    checkpoints.bind(tmp_path / "encoder", ["a", "b"])
    assert checkpoints.fits(tmp_path / "encoder", ["a", "b"]) == tmp_path / "encoder"
    for others in (["b", "a"], ["a", "c"], ["a", "b", "c"], []):
        with pytest.raises(UpstreamError, match="of other items than clean/items"):
            checkpoints.fits(tmp_path / "encoder", others)
