"""A text encoder that looks vectors up: for machines that lack the sentence encoder, such as a borrowed GPU.

python -m benchmarks.kept_texts FOLDER      writes FOLDER/beauty.npz with what MiniLM makes of the texts of Beauty
python -m benchmarks.accuracy --data beauty --set pretrain.text_encoder=benchmarks.kept_texts:KeptTexts
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.data_sets import DATA_SETS
from llmrec_cli.content import Advance
from llmrec_cli.content.text import build, item_texts
from llmrec_cli.core.artifacts import ITEMS

FILE = "LLMREC_KEPT_TEXTS"
"""Environment variable that names the file."""


class KeptTexts:
    """Vectors by the sha256 of the text, from the file that FILE names; KeyError for a text that is not in it."""

    name = "kept vectors of MiniLM"
    itemwise = True

    def __init__(self, device: str, advance: Advance) -> None:
        with np.load(os.environ[FILE], allow_pickle=False) as kept:
            self.vectors, digests = kept["vectors"].astype(np.float32), kept["digests"].tolist()
        self.row = {digest: row for row, digest in enumerate(digests)}
        self.advance = advance

    def encode(self, texts: list[str]) -> np.ndarray:
        """(texts, dim) rows."""
        self.advance(len(texts))
        return self.vectors[[self.row[digest(text)] for text in texts]]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        items = harness.clean(Path(scratch), DATA_SETS["beauty"]).read(ITEMS)
    texts = sorted({text for text in item_texts(items) if text.strip()})
    vectors = build("minilm", "cpu", lambda n, note="": None).encode(texts)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "beauty.npz", vectors=vectors, digests=np.array([digest(text) for text in texts]))


if __name__ == "__main__":
    main()
