"""Texts as words. Chinese has no blanks between words: a package cuts it, where it is installed."""

from __future__ import annotations

import importlib.util

import pyarrow as pa
import pyarrow.compute as pc

HAN = r"\p{Han}"
PACKAGE = "rjieba"


def spaced(texts: pa.Array) -> pa.Array:
    """(n,) the texts, Chinese ones with a blank between words; as they are without the package."""
    chinese = _chinese(texts)
    if not pc.any(chinese).as_py() or not can_cut():
        return texts
    import rjieba

    cut = [" ".join(rjieba.cut(text)) for text in texts.filter(chinese).to_pylist()]
    return pc.replace_with_mask(texts, chinese, pa.array(cut, pa.string()))


def can_cut() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


def uncut(texts: pa.ChunkedArray) -> int:
    """How many of the texts are Chinese and cannot be cut into words."""
    return 0 if can_cut() else pc.sum(_chinese(texts.combine_chunks())).as_py() or 0


def _chinese(texts: pa.Array) -> pa.Array:
    return pc.fill_null(pc.match_substring_regex(texts, HAN), False)
