"""Count the code: lines, docstrings, long files and functions, circles, names twice, private words.

python docs/counts.py [FOLDER]     of the package in FOLDER, by default of this repository
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from pathlib import Path

PRIVATE_WORDS = (
    *(
        "new items",
        "habit",
        "beside",
        "lesson",
        "settled",
        "similarity",
        "refus",
        "turned_down",
        "barred",
        "gate",
        "ceiling",
    ),
    *(
        "judge",
        "told",
        "tell",
        "sniff",
        "guess",
        "team",
        "follow",
        "resign",
        "phrasebook",
        "painter",
        "liken",
        "asking",
    ),
)
"""Words that ARCHITECTURE.md and the field have others for, looked for in names of functions and classes."""
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def docstring_lines(tree: ast.AST) -> set[int]:
    """Numbers of the lines on which a text stands alone: docstrings, and those of attributes."""
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    return {
        line
        for n in texts
        if isinstance(n.value.value, str)
        for line in range(n.lineno, (n.end_lineno or n.lineno) + 1)
    }


def code_lines(source: str) -> int:
    """The lines on which a statement that is no docstring stands."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for t in tokens if t.type not in NO_CODE for line in range(t.start[0], t.end[0] + 1)}
    return len(lines - docstring_lines(ast.parse(source)))


def names(tree: ast.AST) -> list[str]:
    """Names of functions and classes."""
    return [n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]


def is_private_word(name: str) -> bool:
    """Whether a part of the name, by underscores or capitals, begins with a private word."""
    parts = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)
    whole = name.lower()
    return any(part.lower().startswith(word) for part in parts for word in PRIVATE_WORDS) or "turned_down" in whole


def counts(root: Path) -> dict[str, str]:
    """What is counted -> the figure, of the package in `root`."""
    package = root / "llmrec_cli"
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    trees = {path: ast.parse(source) for path, source in sources.items()}
    code = {path: code_lines(source) for path, source in sources.items()}
    extras = sum(n for path, n in code.items() if "extras" in path.parts)
    total = sum(code.values())
    documented = sum(len(docstring_lines(tree)) for tree in trees.values())
    functions = [
        n for t in trees.values() for n in ast.walk(t) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    twice = [name for name, n in Counter(p.name for p in sources if not p.name.startswith("__")).items() if n > 1]
    long_files = [path for path, source in sources.items() if source.count("\n") > 300]
    long_functions = [f for f in functions if (f.end_lineno or 0) - f.lineno + 1 > 45]
    private = sorted({name for tree in trees.values() for name in names(tree) if is_private_word(name)})
    return {
        "lines of code": f"{total:,}",
        "without extras/": f"{total - extras:,}",
        "docstring lines for 100 of code": f"{100 * documented / total:.1f}",
        "files": f"{len(sources):,}",
        "files over 300 lines": f"{len(long_files)}",
        "functions over 45 lines": f"{len(long_functions)}",
        "file names twice": f"{len(twice)}",
        "names in private words": f"{len(private)}",
    }


if __name__ == "__main__":
    for what, figure in counts(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]).items():
        print(f"{what:34s} {figure:>8}")
