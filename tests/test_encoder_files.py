"""The files that vectors of content depend on are inputs of the stages that read them, by content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from llmrec_cli.content import encoder_files
from llmrec_cli.core.artifacts import ITEMS
from llmrec_cli.core.stage import Context, state, ticket_parts
from llmrec_cli.core.ticket import difference
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.stages import generate, pretrain
from tests.signing import vouch
from tests.test_pretrain import work_with

HISTORIES = [[0, 1, 2], [2, 3, 4]]
OUTSIDE = "../outside.jpg"


@pytest.fixture
def work(tmp_path: Path) -> WorkDir:
    """Items with an image, an image that is shared, an audio file, a path that leads out, and one of no file."""
    base = tmp_path / "project"
    made = work_with(base / "work", HISTORIES)
    items = made.read(ITEMS)
    images = ["img/a.jpg", "img/a.jpg", "img/b.jpg", OUTSIDE, "img/none.jpg", *[None] * (items.num_rows - 5)]
    audio = ["a.wav", *[None] * (items.num_rows - 1)]
    for name, values in (("image", images), ("audio", audio)):
        items = items.set_column(items.column_names.index(name), name, pa.array(values, pa.string()))
    made.write(ITEMS, items)
    (base / "img").mkdir()
    for path in ("img/a.jpg", "img/b.jpg", "a.wav", OUTSIDE):
        (base / path).write_text(path)
    for name in ("vision", "sound", "words", "writer"):
        (base / name).mkdir()
        (base / name / "config.json").write_text("{}")
        (base / name / "model.safetensors").write_text(name)
    return vouch(made)


def parts(stage: Any, work: WorkDir, context: Context, **settings: Any) -> dict[str, Any]:
    base = work.path.parent
    at_home = Context(seed=1, base=base, progress=context.progress, device="cpu", threads=1)
    return ticket_parts(stage.STAGE, work, stage.STAGE.config.model_validate(settings), at_home)


ENCODERS: dict[str, Any] = {"text_encoder": "words", "image_encoder": "vision", "audio_encoder": "sound"}


@pytest.mark.parametrize(
    ("file", "lines"),
    [
        ("img/a.jpg", "images of items changed: img/a.jpg"),
        ("img/none.jpg", "images of items changed: img/none.jpg"),
        ("a.wav", "audio files of items changed: a.wav"),
        ("vision/model.safetensors", "image encoder changed: model.safetensors"),
        ("sound/config.json", "audio encoder changed: config.json"),
        ("words/model.safetensors", "text encoder changed: model.safetensors"),
        ("writer/model.safetensors", "language model changed: model.safetensors"),
    ],
)
def test_what_pretrain_reads_makes_it_stale_by_content(work: WorkDir, context: Context, file: str, lines: str) -> None:
    settings = ENCODERS | {"lm": str(work.path.parent / "writer")}
    before = parts(pretrain, work, context, **settings)
    assert parts(pretrain, work, context, **settings) == before
    (work.path.parent / file).write_text("another")
    assert difference(before, parts(pretrain, work, context, **settings)) == lines


def test_what_is_not_looked_at_is_no_input(work: WorkDir, context: Context) -> None:
    """Media without an encoder, and whatever lies outside of the project's folder."""
    before = parts(pretrain, work, context, text_encoder="hashed")
    assert before["sources"] == {}
    with_images = parts(pretrain, work, context, **ENCODERS)
    (work.path.parent / OUTSIDE).write_text("another")
    assert parts(pretrain, work, context, **ENCODERS) == with_images


def test_an_image_and_a_model_of_generate_are_inputs(work: WorkDir, context: Context) -> None:
    base = work.path.parent
    pictures = {"image_generator": "vae"}
    writes = {"writer": "hf", "model": str(base / "writer")}
    found = [
        list(generate.STAGE.sources(work, generate.GenerateConfig(**each), base)) for each in (pictures, writes, {})
    ]
    assert [[source.what for source in each] for each in found] == [["images of items"], ["language model"], []]
    assert list(found[0][0].contents()) == ["img/a.jpg", "img/b.jpg"]


def test_an_encoder_that_is_installed_later_is_an_input_from_then_on(
    work: WorkDir, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_files, "minilm_folder", lambda: None)
    before = parts(pretrain, work, context)
    monkeypatch.setattr(encoder_files, "minilm_folder", lambda: work.path.parent / "words")
    assert difference(before, parts(pretrain, work, context)) == "text encoder changed: config.json and 1 more"


def test_status_names_the_image_that_was_replaced(work: WorkDir, context: Context) -> None:
    """As `status` asks, on a record that was signed before."""
    settings = pretrain.PretrainConfig(**ENCODERS)
    at_home = Context(seed=1, base=work.path.parent, progress=context.progress, device="cpu", threads=1)
    now = state(pretrain.STAGE, work, settings, at_home)
    outputs: dict[str, Any] = {}
    report = {"counts": {}, "metrics": {}, "lines": [], "warnings": [], "timings": {}}
    cost = {"seconds": 0.0, "core_seconds": 0.0, "peak_memory_mb": 0}
    record = {"format": "llmrec.record/3", "stage": "pretrain", "ticket": now.ticket, "parts": now.parts}
    work.sign("pretrain", {**record, "outputs": outputs, "report": report, **cost})
    assert state(pretrain.STAGE, work, settings, at_home).fresh
    (work.path.parent / "img" / "b.jpg").write_text("another")
    assert state(pretrain.STAGE, work, settings, at_home).why == "images of items changed: img/b.jpg"
