"""What the bytes of a text file are: their encoding, line ends and quotes."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.registry import load_function

CHUNK = 1 << 20
HEAD = 1 << 18
SOME_LINES = 1000
# A line is looked at up to this length; lines of logs are shorter.
LINE = 1 << 16
# Lines of a log have so many bytes only where texts are in it.
LONG = 5000
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
CONTROLS = bytes({*range(32)} - set(b"\t\n\v\f\r\x01\x1b\x1c\x1d\x1e\x1f"))
"""Bytes that texts don't have; \\x01 and \\x1c to \\x1f are separators."""


@dataclass(frozen=True)
class Scan:
    """What one pass over the bytes of a file found."""

    encoding: str
    """"" for what is no text."""
    uneven: bool
    """Whether line ends are of two kinds, or lines are empty: the engine counts those among the rows."""
    n_lines: int
    head: str
    quoted_lines: tuple[str, ...]
    """Some of the lines with a quote character."""
    long_lines: bool


def scan(path: Path) -> Scan:
    """One pass over the bytes: their encoding, are the line ends of one kind, how does it begin, where are quotes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    valid, long, lines, returns, head, last, empty = True, False, 0, 0, b"", b"\n", False
    quoted, foreign = list[bytes](), list[bytes]()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK) + stream.readline(CHUNK):
            head = head or chunk[:HEAD]
            ends = line_ends(chunk)
            lengths = np.diff(ends, prepend=-1)
            long = long or bool((lengths > LONG).any()) or len(chunk) - 1 - ends[-1:].sum() > LONG
            lines += len(ends)
            paired = b"\r" in chunk
            returns += chunk.count(b"\r\n") if paired else 0
            empty = (
                empty or bool((lengths == 1).any()) or (paired and (b"\n\r\n" in chunk or chunk.startswith(b"\r\n")))
            )
            if len(quoted) < SOME_LINES and b'"' in chunk:
                quoted += [line for line in chunk.splitlines() if b'"' in line and len(line) < LINE]
            try:
                if valid and not (chunk.isascii() and not decoder.getstate()[0]):
                    decoder.decode(chunk)
            except UnicodeDecodeError:
                valid = False
            if not valid and len(foreign) < SOME_LINES:
                foreign += [line for line in chunk.split(b"\n") if not line.isascii()]
            last = chunk[-1:]
    encoding = _marked(head) or "utf-8"
    if encoding == "utf-8" and not valid:
        encoding = load_function("llmrec_cli.extras.foreign_text:legacy")(foreign[:SOME_LINES])
    if not encoding.startswith("utf-16"):
        controls = len(head) - len(head.translate(None, CONTROLS))
        encoding = "" if controls > 0.02 * len(head) + 3 else encoding
    n_lines = lines + (last != b"\n")
    texts = tuple(map(_text, quoted[:SOME_LINES]))
    return Scan(encoding, empty or returns not in (0, lines), n_lines, _text(head), texts, long)


def line_ends(chunk: bytes) -> Ints:
    """Where the line ends of some bytes stand."""
    return np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n"))


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _marked(head: bytes) -> str:
    """The encoding that the first bytes show, by a mark or by the zeros of UTF-16; "" where they show none."""
    odd, even = (head[start::2].count(0) for start in (1, 0))
    marked = next((name for bom, name in BOMS.items() if head.startswith(bom)), "")
    half = 0.3 * len(head)
    return marked or ("utf-16-le" if odd > half > 4 * even else "utf-16-be" if even > half > 4 * odd else "")
