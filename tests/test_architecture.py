"""The walls of the house, held by reading the imports of every file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmrec_cli import pipeline
from llmrec_cli.core.config import STAGES as SECTIONS
from tests.conftest import ROOT

PACKAGE = ROOT / "llmrec_cli"
FILES = sorted(PACKAGE.rglob("*.py"))
SUBJECTS = (
    *("cli", "api", "commands", "pipeline", "stages", "privacy", "report", "evaluation", "lists", "writing", "imaging"),
    *("profiles", "ranking", "sequence", "content", "ingest", "tensors", "data", "core"),
)
"""From the door down to the foundation: a file imports only from its own folder or from one further down."""
WALLS = {
    "extras": ("stages", "cli", "api", "commands", "pipeline"),
    **{subject: (*SUBJECTS[:place], "extras") for place, subject in enumerate(SUBJECTS)},
}
"""Folder -> what its files never import. Nothing imports `extras`; registries name it."""
FAMILIES = ("ranking.retrievers", "ranking.rankers", "writing.writers", "imaging.generators", "profiles.topics")
HEAVY = {"torch", "transformers", "sklearn", "implicit", "lightgbm", "accelerate", "safetensors", "peft", "opacus"}
LIGHT = ("core", "data", "ingest", "cli", "api", "commands", "pipeline", "stages")
"""Where torch and its like are not imported."""


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Dotted names that a file imports; with `top_level_only` those that run when it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = _immediate(tree) if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _immediate(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from _immediate(node)


def room(dotted: str) -> str:
    """The folder, or the file beside the folders, that a dotted name is in; "" outside of the package."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "llmrec_cli" and len(parts) > 1 and parts[1] in WALLS else ""


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_only_from_its_own_folder_or_one_further_down(path: Path) -> None:
    behind = WALLS.get(room(dotted(path)), ())
    assert not [name for name in imports(path) if room(name) in behind]


def test_every_folder_has_its_place_in_the_list() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders | {"api", "pipeline"} == set(WALLS)


def test_no_two_files_have_the_same_name() -> None:
    names = [path.name for path in FILES if path.name not in {"__init__.py", "__main__.py"}]
    assert sorted(names) == sorted(set(names))


def test_no_file_imports_itself_by_a_way_round() -> None:
    files = [*FILES, *(ROOT / "benchmarks").glob("*.py")]
    known = {dotted(path).removesuffix(".__init__"): path for path in files}
    edges = {
        name: {
            found
            for each in imports(path)
            for found in (each if each in known else each.rpartition(".")[0],)
            if found in known and found != name
        }
        for name, path in known.items()
    }
    done: set[str] = set()
    for start in edges:
        stack: list[tuple[str, tuple[str, ...]]] = [(start, (start,))]
        while stack:
            at, way = stack.pop()
            for after in edges[at] - done:
                assert after not in way, f"a circle: {' -> '.join((*way, after))}"
                stack.append((after, (*way, after)))
        done.add(start)


@pytest.mark.parametrize("path", sorted((PACKAGE / "stages").glob("[a-z]*.py")), ids=str)
def test_stages_do_not_import_each_other_and_are_light(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith("llmrec_cli.stages.")]
    at_once = {name.split(".")[0] for name in imports(path, top_level_only=True)}
    assert not at_once & (HEAVY | {"pandas", "duckdb", "narwhals", "scipy"})


@pytest.mark.parametrize("family", FAMILIES)
def test_families_do_not_import_each_other(family: str) -> None:
    files = sorted((PACKAGE / family.replace(".", "/")).glob("*.py"))
    assert files
    others = tuple(f"llmrec_cli.{other}." for other in FAMILIES if other != family)
    found = [(path.name, name) for path in files for name in imports(path) if f"{name}.".startswith(others)]
    assert not found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_each_library_has_its_room(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)}
    place = path.relative_to(PACKAGE)
    assert not (used & {"typer", "rich"}) or place.parts[0] == "cli"
    assert "rich" not in used or place.name == "console.py"
    assert "click" not in used
    assert "pickle" not in used and "joblib" not in used
    assert not (used & HEAVY) or place.parts[0].removesuffix(".py") not in LIGHT
    assert "duckdb" not in used or place.match("ingest/engine*.py")
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    loads = [each for each in calls if ast.unparse(each.func).endswith("torch.load")]
    assert not loads or place.as_posix() == "extras/efficientnet.py"  # a package's file is read once, to convert it
    assert all("weights_only=True" in ast.unparse(each) for each in loads)


def test_data_flow_one_way_and_each_artifact_has_one_maker() -> None:
    made: dict[str, str] = {}
    for name in (*pipeline.STAGES, "evaluate"):
        stage = pipeline.load(name)
        assert stage.name == name
        for artifact in stage.reads:
            assert artifact.path in made, f"{name} reads {artifact.path} before it is made"
        for artifact in stage.writes:
            assert artifact.path not in made, f"{artifact.path} is made by {made[artifact.path]} and {name}"
            assert artifact.stage == name
            made[artifact.path] = name
    assert len(made) > 20


def test_only_evaluate_reads_what_was_withheld() -> None:
    readers = [
        n for n in (*pipeline.STAGES, "evaluate") if "clean/holdout.parquet" in {a.path for a in pipeline.load(n).reads}
    ]
    assert readers == ["evaluate"]
    for path in (PACKAGE / "stages").glob("*.py"):
        if path.name not in {"clean.py", "evaluate.py"}:
            assert "HOLDOUT" not in path.read_text(encoding="utf-8")


def test_every_stage_has_its_section() -> None:
    assert (*pipeline.STAGES, "evaluate") == SECTIONS


def test_every_setting_has_a_line_of_help() -> None:
    seen = 0
    for name in SECTIONS:
        pending = [pipeline.load(name).config]
        while pending:
            for field, info in pending.pop().model_fields.items():
                inner = info.annotation
                if isinstance(inner, type) and hasattr(inner, "model_fields"):
                    pending.append(inner)
                else:
                    assert info.description, f"[{name}] {field} has no description"
                    seen += 1
    assert seen > 40


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_room_stays_a_room(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.name != "utils.py"
    limit = 520 if path.match("cli/app.py") else 320
    assert text.count("\n") <= limit, "one room or two?"
    tree = ast.parse(text)
    if text.strip():
        assert ast.get_docstring(tree), "a module says in a line what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is long"
