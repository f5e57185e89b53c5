"""multilingual-e5-small (Wang et al., 2024), the text encoder of a hundred languages that comes as a package.

The package's file has a layout of its own and 4-bit weights. It is read once, into a plain transformers folder.
"""

from __future__ import annotations

import json
import struct
import unicodedata
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec_cli.content.text import POOLING_FILE
from llmrec_cli.core.errors import DataError

MAGIC = b"E5S1"
BLOCK = 32
"""Weights that share a scale."""
PREFIX = "query: "
"""Before every text: what the model was trained with where both sides of a comparison are alike, as two items are."""
KEPT, PRIVATE = "\uff5e", "\ue000"
"""The wave between two numbers in Chinese and Japanese, which the model knows as it is, and not its compatible form."""
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}


class Reader:
    """Reads the file from its start: numbers of the machine's size, little end first."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self.content, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def array(self, kind: str, n: int) -> np.ndarray[Any, Any]:
        found = np.frombuffer(self.content, kind, n, self.at)
        self.at += found.nbytes
        return found


def convert(file: Path, folder: Path) -> None:
    """Write the package's file, whose sha256 was checked, as a BERT with its tokenizer and pooling.

    Weights are float16: what they lose is a thousandth of what 4 bits have lost. DataError for another layout.
    """
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        reader = Reader(file.read_bytes())
        if reader.content[:4] != MAGIC:
            raise ValueError(f"it does not begin with {MAGIC.decode()}")
        _, _, hidden, layers, heads, inner, words, places, types = reader.numbers("4si7i")
        eps, _ = reader.numbers("fi")
        tokenizer = _tokenizer(reader)
        state = _weights(reader)
        shape = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
        sizes = {"vocab_size": words, "max_position_embeddings": places, "type_vocab_size": types}
        config = BertConfig(**shape, **sizes, intermediate_size=inner, layer_norm_eps=eps, dtype="float16")
        with torch.device("meta"):
            model = BertModel(config, add_pooling_layer=False)
        of = {name: value.shape for name, value in model.state_dict().items()}
        model.load_state_dict({name: value.reshape(of[name]) for name, value in state.items()}, assign=True)
    except (struct.error, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise DataError(f"the model cannot be read: {str(error).splitlines()[0]}", where=str(file)) from error
    model.save_pretrained(folder)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, model_max_length=places, **special).save_pretrained(folder)
    (folder / POOLING_FILE).parent.mkdir()
    (folder / POOLING_FILE).write_text(json.dumps({"pooling_mode": "mean"}) + "\n", encoding="utf-8")


def _tokenizer(reader: Reader) -> Any:
    """The unigram model (Kudo, 2018) of the file, which puts the prefix before every text."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    n, begin, end, _, unknown = reader.numbers("5i")
    (n_bytes,) = reader.numbers("Q")
    offsets, scores, blob = reader.array("<u4", n + 1), reader.array("<f4", n), reader.array("u1", n_bytes).tobytes()
    pieces = [blob[start:stop].decode() for start, stop in pairwise(offsets)]
    n_mapped, _ = reader.numbers("iI")
    mapped = {}
    for _ in range(n_mapped):
        code, length = reader.numbers("IB")
        mapped[chr(code)] = "".join(map(chr, reader.numbers(f"{length}I")))
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores.tolist(), strict=True)), unknown))
    tokenizer.normalizer = normalizers.Sequence(
        [
            *(normalizers.Replace(Regex(f"[{found}]"), new) for new in ("", " ") if (found := _to(mapped, new))),
            normalizers.Replace(KEPT, PRIVATE),
            normalizers.NFKC(),
            normalizers.Replace(PRIVATE, KEPT),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    prefix = tokenizer.encode(PREFIX.strip())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> prefix $A </s>",
        special_tokens=[("<s>", begin), ("</s>", end), {"id": "prefix", "ids": prefix.ids, "tokens": prefix.tokens}],
    )
    return tokenizer


def _to(mapped: Mapping[str, str], new: str) -> str:
    """The characters that become `new` and would not by Unicode's compatibility form, escaped for a regex."""
    return "".join(
        f"\\x{{{ord(old):X}}}" for old, to in mapped.items() if to == new != unicodedata.normalize("NFKC", old)
    )


def _weights(reader: Reader) -> dict[str, torch.Tensor]:
    """Name in BertModel -> flat float16 weights."""
    (n,) = reader.numbers("i")
    found = {}
    for _ in range(n):
        (length,) = reader.numbers("H")
        name = reader.array("u1", length).tobytes().decode()
        packed, size, offset, n_bytes = reader.numbers("BIQQ")
        there = np.frombuffer(reader.content, "u1", n_bytes, offset)
        values = _unpacked(there) if packed else there.view("<f4")
        if len(values) != size:
            raise ValueError(f"{name} has {len(values)} weights instead of {size}")
        found[_named(name)] = torch.from_numpy(values.astype(np.float16))
    return found


def _unpacked(packed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of blocks of a float16 scale and 32 numbers of 4 bits: the low halves of 16 bytes, then the high ones."""
    blocks = packed.reshape(-1, 2 + BLOCK // 2)
    scale, pairs = blocks[:, :2].copy().view("<f2").astype(np.float32), blocks[:, 2:]
    return ((np.concatenate([pairs & 15, pairs >> 4], axis=1).astype(np.float32) - 8) * scale).reshape(-1)


def _named(name: str) -> str:
    if name in EMBEDDINGS:
        return f"embeddings.{EMBEDDINGS[name]}"
    layer, part, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"
