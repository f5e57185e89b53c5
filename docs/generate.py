"""Write the reference pages from the code: `python docs/generate.py`. A test holds them to it."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

HERE = Path(__file__).resolve().parent


def commands() -> str:
    """Every command with its own help text."""
    from typer.testing import CliRunner

    from llmrec_cli.cli import app

    environment = {"COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1"}
    runner = CliRunner(env={**dict.fromkeys([k for k in os.environ if k.startswith("LLMREC_")]), **environment})
    names = [info.name or info.callback.__name__ for info in app.registered_commands]
    parts = ["# Commands\n\nWritten by `make docs` from the help texts.\n"]
    for name in ("", *names):
        text = runner.invoke(app, [*([name] if name else []), "--help"], prog_name="llmrec").output
        lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
        parts.append(f"## llmrec {name}".rstrip() + f"\n\n```text\n{lines}\n```\n")
    return "\n".join(parts)


def settings() -> str:
    """Every setting with its default and meaning."""
    from llmrec_cli import pipeline

    parts = ["# Settings\n\nWritten by `make docs` from the code. Every one can be set in `llmrec.toml`,"]
    parts[0] += " with `--set stage.field=value`, or as `LLMREC_STAGE__FIELD`.\n"
    for name in (*pipeline.STAGES, "evaluate"):
        rows = "\n".join(_rows(pipeline.load(name).config, name))
        parts.append(f"## [{name}]\n\n| setting | default | meaning |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _rows(config: type[BaseModel], prefix: str) -> Iterator[str]:
    for field, info in config.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _rows(inner, f"{prefix}.{field}")
            continue
        default = "(needed)" if info.is_required() else repr(info.get_default(call_default_factory=True))
        meaning = (info.description or "").replace("|", "\\|")
        yield f"| `{prefix}.{field}` | `{default}` | {meaning} |".replace("`'|'`", "`'\\|'`")


def artifacts() -> str:
    """Every artifact with its columns, by stage."""
    from llmrec_cli import pipeline
    from llmrec_cli.core.artifacts import Table

    parts = ["# Artifacts\n\nWritten by `make docs` from the code. Ids are your own, as strings; times are UTC.\n"]
    for name in (*pipeline.STAGES, "evaluate"):
        stage = pipeline.load(name)
        reads = ", ".join(f"`{a.path}`" for a in stage.reads) or "the raw files"
        parts.append(f"## {name}\n\nReads {reads}.\n")
        for artifact in stage.writes:
            note = " (only where there is such content)" if artifact.optional else ""
            parts.append(f"**`{artifact.path}`**{note}: {artifact.about}\n")
            if isinstance(artifact, Table):
                columns = "\n".join(f"| `{field.name}` | `{field.type}` |" for field in artifact.schema)
                parts.append(f"| column | type |\n|---|---|\n{columns}\n")
    return "\n".join(parts)


def file_map(readme: str) -> str:
    """The README with its file map: each file of the program with the first line of its docstring."""
    package = HERE.parent / "llmrec_cli"
    paths = [p.relative_to(package).as_posix() for p in package.rglob("*.py") if p.name != "__init__.py"]
    paths.sort(key=lambda path: (path.count("/") > 0, path))
    width = max(map(len, paths)) + 2
    lines = [path.ljust(width) + _first_line(package / path) for path in paths]
    before, start, rest = readme.partition(MAP_START)
    _, end, after = rest.partition(MAP_END)
    return before + start + "\n```text\n" + "\n".join(lines) + "\n```\n" + end + after


def _first_line(path: Path) -> str:
    sentence = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]
    return sentence.partition(". ")[0].rstrip(".")


MAP_START, MAP_END = "<!-- file map: written by `make docs` -->", "<!-- end of the file map -->"
PAGES = {"commands.md": commands, "settings.md": settings, "artifacts.md": artifacts}

if __name__ == "__main__":
    for file, page in PAGES.items():
        (HERE / file).write_text(page(), encoding="utf-8")
    readme = HERE.parent / "README.md"
    readme.write_text(file_map(readme.read_text(encoding="utf-8")), encoding="utf-8")
