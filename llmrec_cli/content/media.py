"""Images and audio files of items as files; only those inside of the project's folder are ever opened."""

from __future__ import annotations

import importlib
import importlib.util
import math
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from llmrec_cli.core.arrays import Floats

LARGEST = 50_000_000  # pixels; beyond it a file is taken for a decompression bomb
NARROWEST = 32  # times longer than wide; brought to a model's height such a strip would fill the memory
RATES = range(1_000, 400_000)  # samples a second; others are a broken header
SHORTEST = 0.1  # seconds; models of sound need a few of their windows
SOUNDFILE = "soundfile"
BROKEN_WAV = (OSError, ValueError, ArithmeticError, struct.error, UnboundLocalError)  # what scipy raises for one


def inside(path: str, folder: Path) -> Path | None:
    """The file that `path` names, starting from the resolved `folder`; None where it leads out of it.

    Symbolic links are followed first.
    """
    try:
        file = (folder / path).resolve()
    except (OSError, ValueError, RuntimeError):  # a loop of links, a null character
        return None
    return file if file.is_relative_to(folder) else None


def read_image(file: Path, side: int) -> Image.Image | None:
    """The image in RGB, JPEGs decoded at no more detail than `side` pixels need; None where the file holds none."""
    try:
        with (
            warnings.catch_warnings(category=Image.DecompressionBombWarning, action="ignore"),
            Image.open(file) as image,
        ):
            width, height = image.size
            if width * height > LARGEST or max(width, height) > NARROWEST * min(width, height):
                return None
            image.draft("RGB", (side, side))
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for broken files
        return None


def read_audio(file: Path, rate: int, seconds: float) -> Floats | None:
    """(samples,) the first seconds of an audio file, mixed to one channel, at `rate` samples a second.

    None where the file holds less than a tenth of a second of sound, or is no WAV and `soundfile` is not installed.
    """
    from scipy.signal import resample_poly

    read = _read_wav(file, seconds)
    if read is None and other_formats():
        read = _read_other(file, seconds)
    if read is None:
        return None
    samples, own_rate = read
    mono = np.nan_to_num(samples.mean(axis=1, dtype=np.float32))
    if len(mono) < SHORTEST * own_rate:
        return None
    common = math.gcd(rate, own_rate)
    return np.asarray(resample_poly(mono, rate // common, own_rate // common), dtype=np.float32)


def other_formats() -> bool:
    """Whether audio files other than WAV files can be read."""
    return importlib.util.find_spec(SOUNDFILE) is not None


def _read_wav(file: Path, seconds: float) -> tuple[Floats, int] | None:
    """(samples, channels) in -1..1 and their rate."""
    from scipy.io import wavfile

    for in_place in (True, False):  # without reading the rest of a long file, where its number format allows it
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # chunks that are no sound
                own_rate, samples = wavfile.read(file, mmap=in_place)
        except BROKEN_WAV:
            continue
        if own_rate not in RATES:
            return None
        head = np.array(samples[: int(seconds * own_rate)])
        return _scaled(head.reshape(len(head), -1)), own_rate
    return None


def _scaled(samples: npt.NDArray[Any]) -> Floats:
    """Whole numbers to -1..1: eight bits are counted from 0, others from the middle."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    half = float(1 << (8 * samples.dtype.itemsize - 1))
    return ((samples.astype(np.float32) - (half if samples.dtype.kind == "u" else 0)) / half).astype(np.float32)


def _read_other(file: Path, seconds: float) -> tuple[Floats, int] | None:
    """The same of whatever libsndfile reads: FLAC, Ogg, MP3."""
    soundfile = importlib.import_module(SOUNDFILE)
    try:
        with soundfile.SoundFile(file) as sound:
            if sound.samplerate not in RATES:
                return None
            return sound.read(int(seconds * sound.samplerate), dtype="float32", always_2d=True), sound.samplerate
    except (OSError, RuntimeError, ValueError):  # LibsndfileError is a RuntimeError
        return None
