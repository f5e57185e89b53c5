"""`init` on the layouts of public data sets: the right columns without a setting by hand, or what is in the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmrec_cli.commands.scaffold import init
from llmrec_cli.core.artifacts import INTERACTIONS, USERS
from llmrec_cli.core.config import load
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.stages.clean import STAGE, CleanConfig
from tests.public_layouts import LAYOUTS, Layout, decimal_commas, without_header


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_layout(make: Callable[[], Layout], tmp_path: Path) -> None:
    layout = make()
    for name, content in layout.files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    files = [tmp_path / name for name in layout.files]
    if layout.error:
        with pytest.raises(DataError) as reported:
            init(files, tmp_path / "p")
        assert layout.error in str(reported.value) and layout.fix in reported.value.fix
        return
    init(files, tmp_path / "p")
    clean = load(tmp_path / "p" / "llmrec.toml", environ={}).values["clean"]
    found = {
        section: {k: v for k, v in part.items() if k != "path"}
        for section, part in clean.items()
        if isinstance(part, dict)
    }
    assert found == layout.expected


def cleaned(layout: Layout, context: Context) -> WorkDir:
    """The tables of a layout, with the settings that `init` writes."""
    for name, content in layout.files.items():
        (context.base / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    init([context.base / name for name in layout.files], context.base)
    clean = load(context.base / "llmrec.toml", environ={}).values["clean"]
    work = WorkDir(context.base / "work")
    execute(STAGE, work, CleanConfig.model_validate(clean), context)
    return work


def test_decimal_commas_are_read(context: Context) -> None:
    work = cleaned(decimal_commas(), context)
    values = sorted(set(work.read(INTERACTIONS).column("value").to_pylist()))
    assert values[:3] == [3.5, 1101.1, 1102.2] and values[-1] == 1499.9


def test_bands_of_ages_are_read(context: Context) -> None:
    work = cleaned(without_header(), context)
    assert set(work.read(USERS).column("age").to_pylist()) == {18, 25, 35, 45}


def test_a_guess_by_values_says_so_and_what_changes_it(tmp_path: Path) -> None:
    layout = without_header()
    for name, content in layout.files.items():
        (tmp_path / name).write_text(str(content))
    said = "\n".join(init([tmp_path / name for name in layout.files], tmp_path).lines)
    assert "title      1    guessed: texts of a few words, nearly all different; --set clean.items.title=COLUMN" in said
    assert "item       1    likely: the ids of a.txt; --set clean.interactions.item=COLUMN" in said
    assert "gender     2    likely: values such as Male, Female; --set clean.users.gender=COLUMN" in said
    assert "time       2    likely: numbers in the range of Unix times\n" in said
    (tmp_path / "log.csv").write_text("user,item,price\n" + "".join(f"u{n % 5},i{n % 7},{n % 7}\n" for n in range(70)))
    named = "\n".join(init([tmp_path / "log.csv"], tmp_path / "named").lines)
    assert "user       user    sure: its name; 5 different values\n" in named
