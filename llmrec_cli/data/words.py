"""Texts as words, and the language that they are in. Chinese has no blanks between words: a package cuts it, where it
is installed.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

HAN = r"\p{Han}"
PACKAGE = "rjieba"
UNKNOWN, NOT_ENGLISH = "unknown", "unknown, but not English"
SCRIPTS = {
    "Japanese": r"[\p{Hiragana}\p{Katakana}]",
    "Korean": r"\p{Hangul}",
    "Chinese": HAN,
    NOT_ENGLISH: r"[\p{Cyrillic}\p{Greek}\p{Arabic}\p{Hebrew}\p{Thai}\p{Devanagari}]",
}
"""A text is in the first language that it has a letter of."""
_LINES = Path(__file__).with_name("stop_words.txt").read_text(encoding="utf-8").splitlines()
STOP_WORDS = {name: frozenset(words.split()) for name, words in (line.split(": ") for line in _LINES)}
"""Language -> its words that say nothing of what they stand beside."""
_OFTEN = Counter(word for words in STOP_WORDS.values() for word in words)
EVIDENCE, AHEAD = 1 / 50, 1.5
"""How many stop words of a language a text must have on average, and how many times as many as of the next one."""
_APOSTROPHE = "\u02bc"
"""One that is a letter."""
FOREIGN = 1 / 10
"""The share of texts with letters beyond ASCII from which on they are not English."""


def stop_words(language: str) -> frozenset[str]:
    """The stop words of texts in a language, in which English ones stand too."""
    return STOP_WORDS["English"] | STOP_WORDS.get(language, frozenset())


def language(texts: pa.Array) -> str:
    """The language that most of (n,) texts are in, by scripts and by words of one language only; maybe `UNKNOWN`."""
    left = pc.drop_null(texts).filter(pc.not_equal(pc.drop_null(texts), ""))
    n_texts = len(left)
    if by_letters := script(left):
        return by_letters
    words = of_texts(left)[0]
    words = words.filter(pc.is_in(words, value_set=pa.array(_OFTEN))).value_counts()
    often = dict(zip(words.field("values").to_pylist(), words.field("counts").to_pylist(), strict=True))
    # a word of several languages speaks for each of them, but less
    found = {name: sum(often.get(word, 0) / _OFTEN[word] for word in own) for name, own in STOP_WORDS.items()}
    (best, n), (_, second) = Counter(found).most_common(2)
    if n > EVIDENCE * n_texts and n >= AHEAD * second:
        return best
    foreign = pc.sum(pc.match_substring_regex(left, r"[^\P{L}a-zA-Z]")).as_py() or 0
    return NOT_ENGLISH if foreign > max(found["English"], FOREIGN * n_texts) else UNKNOWN


def script(texts: pa.Array) -> str:
    """The language that most of (n,) texts, empty ones aside, are in by letters alone; "" where these are Latin."""
    n_texts = len(texts) - texts.null_count - (pc.sum(pc.equal(texts, "")).as_py() or 0)
    for name, letters in SCRIPTS.items():
        if 2 * (pc.sum(pc.match_substring_regex(texts, letters)).as_py() or 0) > n_texts:
            return name
    return ""


def of_texts(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The words of (n,) texts in their order, in small letters, and the number of the text that each is of.

    A word is of letters, marks and digits (Unicode), and an apostrophe after two letters; a missing text has none.
    """
    letters = pc.utf8_lower(pc.utf8_normalize(spaced(pc.coalesce(texts, pa.scalar(""))), form="NFKC"))
    letters = pc.replace_substring_regex(letters, r"(\p{L}{2})['’](\p{L})", rf"\1{_APOSTROPHE}\2")
    lists = pc.split_pattern_regex(letters, r"[^\p{L}\p{M}\p{N}]+")
    words = pc.list_flatten(lists)
    some = pc.not_equal(words, "")
    return pc.replace_substring(words.filter(some), _APOSTROPHE, "'"), pc.list_parent_indices(lists).filter(some)


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
    others = pc.match_substring_regex(texts, f"{SCRIPTS['Japanese']}|{SCRIPTS['Korean']}")
    return pc.fill_null(pc.and_not(pc.match_substring_regex(texts, HAN), others), False)
