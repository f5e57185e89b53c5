"""Audio encoders over tiny random models, saved and loaded as real ones are, and the reading of audio files."""

from __future__ import annotations

import importlib.util
import sys
import types
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from llmrec_cli.content import media
from llmrec_cli.extras import audio

RATE = 16_000
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def tone(seconds: float, pitch: float = 440.0, rate: int = RATE) -> npt.NDArray[np.float32]:
    return np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate).astype(np.float32) / 2


def save(file: Path, samples: npt.NDArray[Any], rate: int = RATE) -> Path:
    from scipy.io import wavfile

    wavfile.write(file, rate, samples)
    return file


def saved(folder: Path, kind: str) -> Path:
    """A tiny model of the kind with the extractor that belongs to it."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    waves = {"conv_dim": (16, 16), "conv_kernel": (10, 8), "conv_stride": (5, 8), "num_feat_extract_layers": 2}
    waves |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    if kind == "wav2vec2":
        tf.Wav2Vec2Model(tf.Wav2Vec2Config(**SMALL, **waves)).save_pretrained(folder)
        tf.Wav2Vec2FeatureExtractor(sampling_rate=RATE).save_pretrained(folder)
    elif kind == "ast":
        tf.ASTModel(tf.ASTConfig(**SMALL, max_length=128, num_mel_bins=32)).save_pretrained(folder)
        tf.ASTFeatureExtractor(max_length=128, num_mel_bins=32).save_pretrained(folder)
    elif kind == "whisper":
        layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        sides = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 20, "num_mel_bins": 20}
        ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
        config = tf.WhisperConfig(**layers, **sides, **ids, max_source_positions=1500)
        tf.WhisperModel(config).save_pretrained(folder)
        tf.WhisperFeatureExtractor(feature_size=20).save_pretrained(folder)
    else:
        heard = {"hidden_size": 32, "depths": [1, 1], "num_attention_heads": [2, 2], "patch_embeds_hidden_size": 16}
        heard |= {"num_mel_bins": 64, "spec_size": 256, "window_size": 8, "projection_dim": 12, "enable_fusion": True}
        read = {**SMALL, "vocab_size": 20, "projection_dim": 12}
        config = tf.ClapConfig(text_config=read, audio_config=heard, projection_dim=12)
        tf.ClapModel(config).save_pretrained(folder)
        tf.ClapFeatureExtractor(sampling_rate=48_000).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of different lengths, rates and formats; the fourth is broken, the fifth too short to be heard."""
    folder = tmp_path_factory.mktemp("recordings")
    stereo = np.stack([tone(0.5, 300, 44_100), tone(0.5, 500, 44_100)], axis=1)
    broken = folder / "broken.wav"
    broken.write_bytes(b"RIFF no sound")
    return [
        save(folder / "a.wav", tone(0.8)),
        save(folder / "b.wav", tone(0.3, 2000)),
        save(folder / "stereo.wav", (stereo * 32767).astype(np.int16), 44_100),
        broken,
        save(folder / "short.wav", tone(0.05)),
        save(folder / "c.wav", tone(0.8, 900)),
    ]


@pytest.mark.parametrize(("kind", "dim"), [("wav2vec2", 16), ("ast", 16), ("whisper", 16), ("clap", 12)])
def test_encoders_do_not_mix_audio_files_of_a_batch(
    kind: str, dim: int, tmp_path: Path, recordings: list[Path]
) -> None:
    lines: list[int] = []
    saved(tmp_path, kind)
    encoder = audio.build(str(tmp_path), "cpu", lines.append)
    together = encoder.encode(recordings)
    assert together.shape == (6, dim) and sum(lines) == 6
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), [1, 1, 1, 0, 0, 1], atol=1e-5)
    alone = np.concatenate([encoder.encode([recordings[row]]) for row in (0, 1, 2, 5)])
    np.testing.assert_allclose(together[[0, 1, 2, 5]], alone, atol=1e-4)
    assert np.abs(together[0] - together[5]).max() > 1e-4  # another pitch is another vector


def test_whisper_is_averaged_over_the_audio_file_and_not_over_the_silence_after_it() -> None:
    import torch

    from llmrec_cli.content.pretrained import mean_state

    states = torch.tensor([[[1.0], [3.0], [100.0], [100.0]]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0]])
    assert mean_state(states, mask).tolist() == [[2.0]]


def test_audio_files_of_like_length_make_a_batch_shortest_first() -> None:
    import torch

    features = {row: {"input_values": torch.zeros(1, n)} for row, n in enumerate([5, 3, 5, 5, 3])}
    assert audio.alike(features, 2) == [[1, 4], [0, 2], [3]]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_every_number_format_of_wav_comes_to_the_same(dtype: str, tmp_path: Path) -> None:
    sound = tone(0.5)
    scale = {"uint8": 127, "int16": 2**15 - 1, "int32": 2**31 - 1}.get(dtype, 1)
    stored = (sound.astype(np.float64) * scale + (128 if dtype == "uint8" else 0)).astype(dtype)
    found = media.read_audio(save(tmp_path / "a.wav", stored), RATE, 10)
    assert found is not None and found.dtype == np.float32
    np.testing.assert_allclose(found, sound, atol=0.02 if dtype == "uint8" else 1e-4)


def test_wav_of_24_bits_is_read(tmp_path: Path) -> None:
    sound = tone(0.5)
    whole = (sound.astype(np.float64) * (2**23 - 1)).astype("<i4")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 3, RATE, 0, "NONE", ""))
        file.writeframes(whole.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
    found = media.read_audio(tmp_path / "a.wav", RATE, 10)
    assert found is not None
    np.testing.assert_allclose(found, sound, atol=1e-4)


def test_audio_files_are_cut_mixed_and_resampled(tmp_path: Path) -> None:
    two = np.stack([tone(2, 440, 44_100), tone(2, 440, 44_100) / 2], axis=1)
    found = media.read_audio(save(tmp_path / "a.wav", two, 44_100), RATE, 1.5)
    assert found is not None and found.shape == (24_000,)
    np.testing.assert_allclose(found[1000:-1000], tone(1.5)[1000:-1000] * 0.75, atol=1e-3)


def test_soundfile_reads_what_is_no_wav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flac = tmp_path / "a.flac"
    flac.write_bytes(b"fLaC")
    monkeypatch.setattr(media, "other_formats", lambda: False)
    assert media.read_audio(flac, RATE, 10) is None

    class SoundFile:
        samplerate = RATE

        def __init__(self, file: Path) -> None:
            if file.read_bytes() != b"fLaC":
                raise RuntimeError("Format not recognised.")

        def __enter__(self) -> SoundFile:
            return self

        def __exit__(self, *_: object) -> None: ...

        def read(self, frames: int, dtype: str, always_2d: bool) -> npt.NDArray[np.float32]:
            assert dtype == "float32" and always_2d
            return tone(3)[:frames, None]

    monkeypatch.setattr(media, "other_formats", lambda: True)
    monkeypatch.setitem(sys.modules, "soundfile", types.SimpleNamespace(SoundFile=SoundFile))
    found = media.read_audio(flac, RATE, 2)
    assert found is not None and found.shape == (2 * RATE,)
    flac.write_bytes(b"nothing")
    assert media.read_audio(flac, RATE, 2) is None


@pytest.mark.skipif(importlib.util.find_spec("soundfile") is None, reason="the package soundfile is not installed")
def test_flac_is_read_as_it_was_written(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.flac", tone(0.5), RATE)
    found = media.read_audio(tmp_path / "a.flac", RATE, 10)
    assert found is not None
    np.testing.assert_allclose(found, tone(0.5), atol=1e-3)
