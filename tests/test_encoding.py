"""Contents to vectors through the cache: what is encoded again and what is not, and what is reported of faults."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from PIL import Image

from llmrec_cli.content import cache, encoding, image, media, pretrained, text
from llmrec_cli.core.errors import DataError, LlmrecError, MissingExtraError, SettingsError
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.extras import audio
from tests.test_audio import save, tone
from tests.test_audio import saved as saved_audio
from tests.test_image import saved as saved_image

TEXTS = ["red scarf", "", "blue scarf", None, "red scarf", "steel spade", "long spade"]
HUB = "some-owner/some-model"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models in the folders text, image and audio."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("models")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "scarf", "steel", "spade", "long"]
    BertTokenizerFast(vocab={word: n for n, word in enumerate(words)}).save_pretrained(folder / "text")
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained(folder / "text")
    saved_image(folder / "image", "clip")
    saved_audio(folder / "audio", "wav2vec2")
    return folder


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many contents each forward pass of a model is given."""
    counts: list[int] = []
    real = pretrained.Opened.forward

    def counted(self: pretrained.Opened, features: Any, method: str = "", **options: bool) -> Any:
        counts.append(len(next(iter(features.values()))))
        return real(self, features, method)

    monkeypatch.setattr(pretrained.Opened, "forward", counted)
    return counts


@pytest.fixture
def project(tmp_path: Path, models: Path) -> Path:
    """A folder with the models, images and audio files; secret files lie beside it."""
    base = tmp_path / "project"
    (base / "files").mkdir(parents=True)
    (base / "models").symlink_to(models)
    rng = np.random.default_rng(0)
    for path in (base / "files" / "a.png", base / "files" / "b.png", tmp_path / "secret.png"):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)
    shutil.copy(base / "files" / "a.png", base / "files" / "copy.png")
    (base / "files" / "link.png").symlink_to(tmp_path / "secret.png")
    (base / "files" / "broken.png").write_text("no picture")
    for n in (1, 2):
        save(base / "files" / f"{n}.wav", tone(0.3, 400 * n))
    return base


FILES = ["files/a.png", None, "../secret.png", "files/link.png", "files/broken.png", "files/gone.png", "files"]
FILES += ["files/b.png", "files/copy.png", "files/a.png"]


def encode(
    modality: encoding.Modality, values: list[Any], base: Path, name: str = "", **changed: Any
) -> encoding.Encoded:
    settings = {"base": base, "cache": base / "cache", "device": "cpu", "progress": PlainProgress(quiet=True)}
    return encoding.encode(modality, values, name or f"models/{modality}", **settings | changed)


def test_texts_are_encoded_once_and_new_ones_alone_the_next_time(project: Path, seen: list[int]) -> None:
    first = encode("text", TEXTS, project)
    assert (first.n_found, first.n_new, sum(seen), first.warnings) == (5, 4, 4, [])
    assert first.vectors.shape == (7, 16) and first.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first.vectors, axis=1), [1, 0, 1, 0, 1, 1, 1], atol=1e-5)
    np.testing.assert_array_equal(first.vectors[0], first.vectors[4])
    np.testing.assert_allclose(first.vectors.sum(0), 0, atol=0.8)  # centred

    again = encode("text", TEXTS, project)
    assert (again.n_new, sum(seen)) == (0, 4)
    np.testing.assert_array_equal(first.vectors, again.vectors)

    grown = encode("text", ["long red scarf", *TEXTS], project)
    assert (grown.n_found, grown.n_new, sum(seen)) == (6, 1, 5)
    fresh = encode("text", ["long red scarf", *TEXTS], project, cache=None)
    assert fresh.n_new == 5
    np.testing.assert_allclose(grown.vectors, fresh.vectors, atol=0.05)  # bfloat16, centred


def test_texts_in_pieces_are_the_same_as_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode("text", TEXTS, project, cache=None)
    monkeypatch.setitem(encoding.PIECE, "text", 1)
    pieces = encode("text", TEXTS, project)
    np.testing.assert_allclose(whole.vectors, pieces.vectors, atol=0.05)
    assert len(list((project / "cache").rglob("*.safetensors"))) == 4
    monkeypatch.setattr(text.SentenceEncoder, "encode", None)
    np.testing.assert_array_equal(encode("text", TEXTS, project).vectors, pieces.vectors)


def test_a_killed_run_leaves_what_it_had(project: Path, monkeypatch: pytest.MonkeyPatch, seen: list[int]) -> None:
    monkeypatch.setitem(encoding.PIECE, "text", 1)
    real, calls = cache.VectorCache.keep, []

    def dies(self: cache.VectorCache, *args: Any) -> None:
        real(self, *args)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(cache.VectorCache, "keep", dies)
    with pytest.raises(KeyboardInterrupt):
        encode("text", TEXTS, project)
    assert encode("text", TEXTS, project).n_new == 2 and sum(seen) == 4


@pytest.mark.parametrize("damage", [b"", b"no safetensors at all", None])
def test_a_damaged_cache_is_made_again(project: Path, damage: bytes | None, seen: list[int]) -> None:
    first = encode("text", TEXTS, project)
    (file,) = (project / "cache").rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-20] if damage is None else damage)
    again = encode("text", TEXTS, project)
    assert (again.n_new, sum(seen)) == (4, 8)
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert encode("text", TEXTS, project).n_new == 0


def test_another_model_or_setting_is_another_cache(project: Path, tmp_path: Path) -> None:
    assert encode("text", TEXTS, project).n_new == 4
    copy = shutil.copytree(project / "models" / "text", tmp_path / "copy")
    assert encode("text", TEXTS, project, str(copy)).n_new == 0  # the same model, wherever it lies
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")  # fine-tuned in the very last number
    assert encode("text", TEXTS, project, str(copy)).n_new == 4
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert encode("text", TEXTS, project, str(copy)).n_new == 4


def test_hashed_vectors_are_kept_for_the_whole_list_only(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = encode("text", TEXTS, project, "hashed")
    assert (first.n_found, first.n_new) == (5, 4)
    again = encode("text", TEXTS, project, "hashed")
    assert again.n_new == 0
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert encode("text", [*TEXTS, "long scarf"], project, "hashed").n_new == 5


class Lengths:
    """An encoder of somebody's own, which says nothing of what it depends on."""

    name = "lengths"

    def __init__(self, device: str, advance: Any) -> None: ...

    def encode(self, texts: list[str]) -> Any:
        return np.array([[len(line), max(map(len, texts))] for line in texts], dtype=np.float32)


def test_an_encoder_that_does_not_say_what_it_depends_on_is_not_kept(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encoding.PIECE, "text", 1)
    for _ in range(2):
        assert encode("text", TEXTS, project, "tests.test_encoding:Lengths").n_new == 4
    assert not (project / "cache").exists()


def test_a_cache_that_cannot_be_written_costs_a_warning_only(project: Path) -> None:
    (project / "file").write_text("")
    found = encode("text", TEXTS, project, cache=project / "file" / "cache")
    assert found.n_found == 5 and len(found.warnings) == 1 and "could not be kept" in found.warnings[0]


def test_images_are_read_inside_of_the_project_only_and_each_once(project: Path, seen: list[int]) -> None:
    found = encode("image", FILES, project)
    assert (found.n_found, found.n_new, sum(seen), found.encoder) == (4, 3, 2, "image")
    assert np.flatnonzero(found.vectors.any(axis=1)).tolist() == [0, 7, 8, 9]
    np.testing.assert_array_equal(found.vectors[0], found.vectors[8])
    assert [line.split(" ")[0] for line in found.warnings] == ["2", "2", "1"]
    assert all(word in line for word, line in zip(("lead out", "no file", "broken.png"), found.warnings, strict=True))

    shutil.copy(project / "files" / "b.png", project / "files" / "broken.png")  # repaired
    repaired = encode("image", FILES, project)
    assert (repaired.n_found, repaired.n_new, sum(seen)) == (5, 0, 2)


def test_audio_files_come_from_the_cache_too(project: Path, seen: list[int]) -> None:
    values = ["files/1.wav", "files/2.wav", None, "files/1.wav", "files/broken.png"]
    found = encode("audio", values, project)
    assert (found.n_found, sum(seen), found.vectors.shape) == (3, 2, (5, 16))
    assert ("soundfile" in found.warnings[0]) is not media.other_formats()
    again = encode("audio", values, project)
    assert sum(seen) == 2
    np.testing.assert_array_equal(found.vectors, again.vectors)


def test_audio_files_that_only_soundfile_reads_name_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "files" / "a.mp3").write_bytes(b"ID3")
    monkeypatch.setattr(media, "other_formats", lambda: False)
    with pytest.raises(MissingExtraError) as caught:
        encode("audio", ["files/a.mp3"], project)
    assert caught.value.fix == "pip install soundfile"


def test_no_content_at_all_gives_zeros(project: Path, seen: list[int]) -> None:
    for modality in ("text", "image", "audio"):
        found = encode(modality, [None, ""], project)
        assert found.vectors.shape == (2, 1) and not found.vectors.any() and (found.n_found, found.n_new) == (0, 0)
    assert encode("text", [], project).vectors.shape == (0, 1)
    assert not seen and not (project / "cache").exists()


def test_the_cache_lies_with_the_fetched_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LLMREC_CACHE", raising=False)
    monkeypatch.setenv("LLMREC_MODELS", str(tmp_path / "models"))
    assert cache.cache_folder() == tmp_path / "vectors"
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "elsewhere"))
    assert cache.cache_folder() == tmp_path / "elsewhere"


# --- models that are damaged, or not there ---------------------------------------------------------------------------


def build(name: str, base: Path) -> Any:
    return text.build(name, "cpu", lambda n: None, base)


def test_pooling_follows_the_model_s_own_file(project: Path, models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "text", tmp_path / "model")
    (folder / "1_Pooling").mkdir()
    file = folder / "1_Pooling" / "config.json"
    lines = ["red scarf", "long long blue spade"]
    vectors = {}
    for given in (
        '{"pooling_mode_mean_tokens": true}',
        '{"pooling_mode_cls_token": true}',
        '{"pooling_mode": "lasttoken"}',
    ):
        file.write_text(given)
        encoder = build(str(folder), project)
        vectors[encoder.pooling] = encoder.encode(lines)
        alone = np.concatenate([encoder.encode([line]) for line in lines])
        np.testing.assert_allclose(vectors[encoder.pooling], alone, atol=0.02)
    assert list(vectors) == ["mean", "cls", "lasttoken"]
    np.testing.assert_array_equal(vectors["mean"], build(str(models / "text"), project).encode(lines))
    assert np.abs(vectors["cls"] - vectors["mean"]).max() > 0.05 < np.abs(vectors["cls"] - vectors["lasttoken"]).max()
    for broken, error in (('{"pooling_mode": "max"}', SettingsError), ("{", DataError)):
        file.write_text(broken)
        with pytest.raises(error, match=r"pooled|pooling"):
            build(str(folder), project)


def test_a_damaged_model_is_reported_in_a_line(project: Path, models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "text", tmp_path / "model")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()

    def fails(why: str) -> None:
        with pytest.raises(DataError, match=why) as caught:
            build(str(folder), project).encode(["red"])
        assert caught.value.where == str(folder) and "\n" not in caught.value.what

    weights.write_bytes(whole[:-100])
    fails("cannot be read")
    weights.unlink()
    fails("cannot be read")
    weights.write_bytes(whole.replace(b"encoder.layer.0.attention.self.query", b"encoder.layer.0.attention.self.quary"))
    fails("2 of its weights are missing")
    weights.write_bytes(whole)
    (folder / "config.json").write_text("{}")
    fails("cannot be read")
    (folder / "config.json").unlink()
    with pytest.raises(SettingsError, match=r"has no config\.json"):
        build(str(folder), project)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, models: Path) -> Any:
    """A hub whose answer is what the test says: an error, or the files of the tiny text model."""

    def answers(error: Exception | None) -> None:
        def model_info(self: Any, name: str, timeout: float) -> Any:
            assert name == HUB and timeout <= 5
            if error:
                raise error
            return huggingface_hub.hf_api.ModelInfo(id=HUB, siblings=[{"rfilename": "model.safetensors"}])

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(models / "text"))

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    return answers


def answer(kind: type[Exception]) -> Exception:
    """The error without the response that it is made from, whose class depends on the version of the library."""
    return kind.__new__(kind, "no\nmore")


def test_a_hub_model_is_fetched_by_name(hub: Any, tmp_path: Path) -> None:
    hub(None)
    printed: list[str] = []
    encoder = text.build(HUB, "cpu", lambda n: None, tmp_path, printed.append)
    assert encoder.name == f"sentence transformer {HUB}" and HUB in printed[0]
    assert encoder.encode(["red"]).shape == (1, 16)


def test_a_hub_model_in_the_local_cache_needs_no_network(
    hub: Any, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(OSError("no network"))
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda name, file: str(models / "text" / "config.json")
    )
    assert build(HUB, tmp_path).encode(["red"]).shape == (1, 16)


@pytest.mark.parametrize("maker", [text.build, image.build, audio.build])
def test_without_network_it_is_reported_how_to_bring_a_hub_model(hub: Any, maker: Any, tmp_path: Path) -> None:
    hub(OSError("Name or service not known"))
    with pytest.raises(MissingExtraError) as caught:
        maker(HUB, "cpu", lambda n: None, tmp_path)
    assert "cannot be reached" in caught.value.what and f"hf download {HUB}" in caught.value.fix
    assert caught.value.exit_code == 5


def test_a_hub_that_cannot_be_resolved_fails_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    start = time.monotonic()
    with pytest.raises(MissingExtraError):
        build(HUB, tmp_path)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("error", "reported", "word"),
    [
        (answer(RepositoryNotFoundError), SettingsError, "neither a folder nor a model"),
        (answer(GatedRepoError), MissingExtraError, "licence"),
    ],
)
def test_what_the_hub_says_no_to(
    hub: Any, error: Exception, reported: type[LlmrecError], word: str, tmp_path: Path
) -> None:
    hub(error)
    with pytest.raises(reported, match=word):
        build(HUB, tmp_path)


def test_a_name_whose_owner_is_a_folder_is_a_folder(hub: Any, tmp_path: Path) -> None:
    hub(AssertionError("the hub must not be asked"))
    (tmp_path / "some-owner").mkdir()
    with pytest.raises(SettingsError, match="does not exist"):
        build(HUB, tmp_path)
