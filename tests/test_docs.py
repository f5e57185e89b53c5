"""Documentation cannot rot: the pages are what the code says, and every command shown exists."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmrec_cli.cli.app import app
from tests.conftest import ROOT

DOCS = runpy.run_path(str(ROOT / "docs" / "generate.py"))
PAGES: dict[str, Callable[[], str]] = DOCS["PAGES"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MANUALS = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")]


@pytest.mark.parametrize("name", PAGES)
def test_reference_pages_are_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


def commands_in(path: Path) -> list[str]:
    """Every line of a code block that starts with `llmrec`, without its comment and its pipe."""
    blocks = re.findall(r"```\w*\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]
    return [re.split(r"\s+#|\s+\||&&", line)[0].strip() for line in lines if line.startswith("llmrec ")]


SHOWN = [(path.name, command) for path in MANUALS for command in commands_in(path)]


def test_commands_are_shown() -> None:
    assert len(SHOWN) >= 8


@pytest.mark.parametrize(("page", "command"), SHOWN)
def test_each_command_shown_exists_with_its_options(page: str, command: str) -> None:
    words = shlex.split(command)[1:]
    help_text = CliRunner(env={"COLUMNS": "300"}).invoke(app, [words[0], "--help"])
    assert help_text.exit_code == 0, command
    for word in words[1:]:
        if word.startswith("--"):
            assert word.split("=")[0] in help_text.output, f"{page}: {command}"


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\$ make (\w+)", README, re.MULTILINE)) | set(re.findall(r"`make (\w+)`", README))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_file_map_is_what_the_files_say_of_themselves() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert DOCS["file_map"](page) == page, "run `make docs`"
    assert "core/workdir.py" in page


def test_the_page_about_scale_is_what_its_formulas_say() -> None:
    from llmrec_cli.sequence.trainer import COPIES

    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert DOCS["scale"](page) == page, "run `make docs`"
    assert DOCS["COPIES"] == COPIES
    for row in ("4·V·d | 2.56 GB | 5.12 GB", "12·V·d | 7.68 GB | 15.4 GB", "(E − U) / T | 74,769 | 74,769"):
        assert row in page


def test_every_image_and_link_to_a_file_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert len(links) >= 4
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_changelog_names_this_version() -> None:
    from llmrec_cli import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_names_extras_that_exist() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {name for found in re.findall(r"'\.\[([\w,]+)\]'", README) for name in found.split(",")}
    assert {"models", "peft", "privacy"} <= named <= set(extras)
