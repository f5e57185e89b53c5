"""Write the reference pages from the code: `python docs/generate.py`. A test holds them to it."""

from __future__ import annotations

import ast
import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

from llmrec_cli.core.registry import sections_of

HERE = Path(__file__).resolve().parent
COMMON_PANEL = re.compile(r"╭─ Where things are and how to run .*?╯", re.DOTALL)


def fields() -> str:
    """The fields of the stages' settings that an option of the command line can set: kind and meaning, as JSON."""
    from llmrec_cli import pipeline

    found = {
        name: {
            field: [kind, info.description]
            for field, info in pipeline.load(name).config.model_fields.items()
            if (kind := _kind(info.annotation))
        }
        for name in (*pipeline.STAGES, "evaluate")
    }
    return json.dumps(found, indent=1) + "\n"


def _kind(annotation: Any) -> str:
    """What may be typed: a type, "list" of names, choices, "auto" for a word or a number; empty: no option."""
    parts = [part for part in get_args(annotation) or (annotation,) if part is not NoneType]
    if get_origin(annotation) in (tuple, list):
        return "list" if parts[0] is str else ""
    if all(isinstance(part, str) for part in parts):
        return "|".join(parts)
    if get_origin(parts[0]) is Literal:
        return "auto"
    return parts[0].__name__ if len(parts) == 1 and parts[0] in (int, float, bool, str) else ""


def commands() -> str:
    """Every command with its own help text."""
    from typer.testing import CliRunner

    from llmrec_cli.cli.app import app

    environment = {"COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1"}
    runner = CliRunner(env={**dict.fromkeys([k for k in os.environ if k.startswith("LLMREC_")]), **environment})
    names = [info.name or info.callback.__name__ for info in app.registered_commands]
    helps = {}
    for name in ("", *names):
        text = runner.invoke(app, [*([name] if name else []), "--help"], prog_name="llmrec").output
        helps[name] = "\n".join(line.rstrip() for line in text.strip().splitlines())
    panels = Counter(found[0] for text in helps.values() if (found := COMMON_PANEL.search(text)))
    common, _ = panels.most_common(1)[0]
    parts = ["# Commands\n\nWritten by `make docs` from the help texts. The common options stand once, at the end.\n"]
    for name, text in helps.items():
        shown = text.replace(common, "(and the common options)")
        parts.append(f"## llmrec {name}".rstrip() + f"\n\n```text\n{shown}\n```\n")
    parts.append(f"## Common options\n\n```text\n{common}\n```\n")
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
        if sections := sections_of(info):
            for name in sections.names:
                yield from _rows(sections.config(name), f"{prefix}.{field}.{name}")
            continue
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

    meanings = tomllib.loads((HERE / "columns.toml").read_text("utf-8"))
    parts = ["# Artifacts\n\nWritten by `make docs` from the code. Ids are your own, as strings; times are UTC.\n"]
    for name in (*pipeline.STAGES, "evaluate"):
        stage = pipeline.load(name)
        reads = ", ".join(f"`{a.path}`" for a in stage.reads) or "the raw files"
        parts.append(f"## {name}\n\nReads {reads}.\n")
        for artifact in stage.writes:
            note = " (only where there is such content)" if artifact.optional else ""
            parts.append(f"**`{artifact.path}`**{note}: {artifact.about}\n")
            if isinstance(artifact, Table):
                parts.append(_columns(artifact.schema, meanings.get(artifact.path, {})))
    return "\n".join(parts)


def features() -> str:
    """Every feature of a candidate with what it says."""
    from llmrec_cli.ranking.features import FAMILIES, FEATURES, OfRetriever

    rows = [(f"RETRIEVER{f.name}" if isinstance(f, OfRetriever) else f.name, f.meaning) for f in FEATURES]
    families = "\n".join(f"| `{name}` | {words} |" for name, words in FAMILIES.items())
    table = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in rows)
    return (
        "# Features of candidates\n\nWritten by `make docs` from the code. RETRIEVER stands for"
        " each retriever that has the feature.\nHow much the ranker that was kept goes by each is in"
        f" `train-ranker/ranker_features`.\n\n| feature | meaning |\n|---|---|\n{table}\n\nFeatures that are of no"
        f" retriever go by these families:\n\n| family | what the report calls it |\n|---|---|\n{families}\n"
    )


def _columns(schema: pa.Schema, meanings: Mapping[str, str]) -> str:
    more = (" meaning |", "---|") if meanings else ("", "")
    lines = [f"| column | type |{more[0]}", f"|---|---|{more[1]}"]
    for field in schema:
        meaning = f" {meanings.get(field.name, '')} |" if meanings else ""
        lines.append(f"| `{field.name}` | `{field.type}` |{meaning}")
    return "\n".join(lines) + "\n"


def file_map(page: str) -> str:
    """ARCHITECTURE.md with its file map: each file of the program with the first line of its docstring."""
    package = HERE.parent / "llmrec_cli"
    paths = [p.relative_to(package).as_posix() for p in package.rglob("*.py") if p.name != "__init__.py"]
    paths.sort(key=lambda path: (path.count("/") > 0, path))
    width = max(map(len, paths)) + 2
    lines = [path.ljust(width) + _first_line(package / path) for path in paths]
    before, start, rest = page.partition(MAP_START)
    _, end, after = rest.partition(MAP_END)
    return before + start + "\n```text\n" + "\n".join(lines) + "\n```\n" + end + after


def _first_line(path: Path) -> str:
    sentence = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]
    return sentence.partition(". ")[0].rstrip(".")


def scale(page: str) -> str:
    """docs/scale.md with its tables: what a large catalogue takes, and how long at the measured rates."""
    return _between(_between(page, "size", _sizes()), "speed", _speeds())


def _sizes() -> str:
    rows = [
        ("item table, float32", "4·V·d", [4 * ITEMS * d for d in DIMS], "B"),
        ("with the two moments of AdamW", "12·V·d", [12 * ITEMS * d for d in DIMS], "B"),
        ("memory of a training process", f"{COPIES}·4·V·d", [COPIES * 4 * ITEMS * d for d in DIMS], "B"),
        ("item table in float16, to serve", "2·V·d", [2 * ITEMS * d for d in DIMS], "B"),
        ("user vectors on disk, float32", "4·U·d", [4 * USERS * d for d in DIMS], "B"),
        ("log in Parquet, some 8 bytes an event", "8·E", [8 * EVENTS] * 2, "B"),
        ("log as codes, memory-mapped", "4·E + 8·U", [4 * EVENTS + 8 * USERS] * 2, "B"),
        ("targets of an epoch", "E − U", [TARGETS] * 2, ""),
        (f"steps of an epoch, T = {STEP:,} targets each", "(E − U) / T", [-(-TARGETS // STEP)] * 2, ""),
        ("network, for a target", "72·L·d²", [72 * LAYERS * d * d for d in DIMS], "FLOP"),
        ("full softmax, for a target", "6·V·d", [6 * ITEMS * d for d in DIMS], "FLOP"),
        (f"sampled, N = {NEGATIVES:,}, at most", "6·(N + T)·d", [6 * (NEGATIVES + STEP) * d for d in DIMS], "FLOP"),
        ("AdamW, memory read and written in a step", "28·V·d", [28 * ITEMS * d for d in DIMS], "B"),
    ]
    bounds = [
        ("epoch, full softmax", [TARGETS * 6 * ITEMS * d / H100_FLOPS for d in DIMS]),
        ("epoch, sampled", [TARGETS * 6 * (NEGATIVES + STEP) * d / H100_FLOPS for d in DIMS]),
        ("epoch, AdamW", [TARGETS / STEP * 28 * ITEMS * d / H100_BYTES for d in DIMS]),
    ]
    lines = [f"| U = {USERS:,}, V = {ITEMS:,}, E = {EVENTS:,}, L = {LAYERS} | formula | d = 64 | d = 128 |"]
    lines += ["|---|---|---|---|"]
    lines += [f"| {what} | {how} | {_si(a, unit)} | {_si(b, unit)} |" for what, how, (a, b), unit in rows]
    lines += [f"| {what}: no H100 is faster than [9] | | {_time(a)} | {_time(b)} |" for what, (a, b) in bounds]
    return "\n".join(lines)


def _speeds() -> str:
    """From results/speed.json of the benchmarks: our own rows, by the number of items."""
    lines = ["| loss | items | targets/s of a core | an epoch of the table above, on one core |", "|---|---|---|---|"]
    measured = json.loads(RATES.read_text(encoding="utf-8")).values() if RATES.exists() else []
    for run in sorted(measured, key=lambda run: int(run["items"])):
        for row in run["systems"]:
            if row["system"].startswith("llmrec") and (rate := row["targets_per_s"]):
                # the work of a full softmax grows with the catalogue, that of the others does not
                slower = ITEMS / run["items"] if "full" in row["system"] else 1.0
                loss = row["system"].removeprefix("llmrec, ")
                lines.append(f"| {loss} | {run['items']:,} | {rate:,.0f} | {_time(TARGETS / rate * slower)} |")
    return "\n".join(lines if len(lines) > 2 else [*lines, "| not measured yet | | | |"])


def _si(value: float, unit: str) -> str:
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= factor and unit:
            return f"{value / factor:,.3g} {prefix}{unit}"
    return f"{value:,} {unit}".rstrip()


def _time(seconds: float) -> str:
    for factor, unit in ((365 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * factor:
            return f"{seconds / factor:,.3g} {unit}"
    return f"{seconds:.3g} s"


def _between(page: str, name: str, text: str) -> str:
    """The page with the text between the two comments of that name."""
    start, end = page.index("-->", page.index(f"<!-- {name}: ")) + 3, page.index(f"<!-- end of {name} -->")
    return f"{page[:start]}\n\n{text}\n\n{page[end:]}"


USERS, ITEMS, EVENTS, LAYERS, DIMS = 100_000_000, 10_000_000, 5_000_000_000, 2, (64, 128)
TARGETS, STEP, NEGATIVES = EVENTS - USERS, 65_536, 1_024
COPIES = 6  # llmrec_cli.sequence.trainer.COPIES; a test holds them together
H100_FLOPS, H100_BYTES = 989e12, 3.35e12
RATES = HERE.parent / "benchmarks" / "results" / "speed.json"
MAP_START, MAP_END = "<!-- file map: written by `make docs` -->", "<!-- end of the file map -->"
# the fields first: the commands are made of them
PAGES = {
    "../llmrec_cli/cli/fields.json": fields,
    "commands.md": commands,
    "settings.md": settings,
    "artifacts.md": artifacts,
    "features.md": features,
}

if __name__ == "__main__":
    for file, page in PAGES.items():
        (HERE / file).write_text(page(), encoding="utf-8")
    for path, written in ((HERE.parent / "ARCHITECTURE.md", file_map), (HERE / "scale.md", scale)):
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
