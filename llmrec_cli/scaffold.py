"""Start a project from raw files: look at them, guess what their columns mean, write `llmrec.toml` and a Makefile."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_cli.core.config import FILE_NAME
from llmrec_cli.core.disk import told_disk_errors
from llmrec_cli.core.errors import DataError, LlmrecError, SettingsError

if TYPE_CHECKING:
    import pyarrow as pa

    from llmrec_cli.tables.engine import Engine
    from llmrec_cli.tables.guess import Guess
    from llmrec_cli.tables.sources import Input

# Rows that the guesses look at; a log may have billions.
SAMPLE = 200_000
MEMORY = 1 << 30
# A name that SQL reads as one without quotes; no reserved word contains a name of values.
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAKEFILE = """\
# `make` brings everything up to date; what is up to date already is skipped.
.PHONY: run evaluate status
run:
\tllmrec run
evaluate:
\tllmrec evaluate
status:
\tllmrec status
"""
FURTHER = """
# Every setting, its default and what it means: llmrec config

# [pretrain]
# epochs = 20

# [recommend]
# k = 10
"""


@dataclass
class Scaffold:
    """What was written, and what a person should read: each guess with its reason."""

    written: list[Path]
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Looked:
    """A raw file with its first rows as text."""

    path: str
    input: Input
    table: pa.Table

    @property
    def name(self) -> str:
        return self.input.file.location.name

    @property
    def is_log(self) -> bool:
        return self.input.dialect.format == "sequences"

    def about(self, use: str) -> str:
        dialect = self.input.dialect
        names = {"\t": "tab", " ": "blank", ",": "comma"}
        kind = (
            f"{names.get(dialect.separator, dialect.separator)}-separated"
            if dialect.format == "csv"
            else dialect.format
        )
        header = ", header" if dialect.header else ""
        return f"{self.name}: {kind}{header}, {self.input.file.encoding or 'binary'} -> {use}"


def init(files: Sequence[Path], folder: Path) -> Scaffold:
    """Write a project for the raw files into `folder`. Overwrites nothing.

    Raises SettingsError where a file to write is there already, DataError where no file is a log.
    """
    from llmrec_cli.tables.engine import Engine

    targets = [folder / FILE_NAME, folder / "Makefile"]
    for target in targets:
        if target.exists():
            raise SettingsError(
                f"{target.name} is there already", where=str(folder), fix="choose another folder: --into"
            )
    with tempfile.TemporaryDirectory() as scratch, Engine(MEMORY, 0, Path(scratch)) as engine:
        looked = [each for file in files for each in _look(engine, file, folder)]
        log, items, users = _sorted_out(looked, [str(f) for f in files])
        text, lines = _settings(log, items, users)
    with told_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        targets[0].write_text(text, encoding="utf-8")
        targets[1].write_text(MAKEFILE, encoding="utf-8")
    lines += [f"written: {target}" for target in targets] + ["next: llmrec run"]
    return Scaffold(targets, lines)


# --- which file is what -----------------------------------------------------------------------------------------------


def _look(engine: Engine, file: Path, folder: Path) -> list[Looked]:
    """The first rows of a file, or of each member of a zip file; members that are no tables are passed over."""
    import zipfile

    from llmrec_cli.tables import sources

    if not (file.is_file() and zipfile.is_zipfile(file)):
        return [_look_at(engine, str(file.absolute()), file, folder)]
    found = []
    for member in sources.members(file):
        try:
            found.append(_look_at(engine, f"{file.absolute()}#{member}", file, folder, member))
        except LlmrecError:
            continue  # a readme, a picture
    return found


def _look_at(engine: Engine, path: str, file: Path, folder: Path, member: str = "") -> Looked:
    from llmrec_cli.tables.roles import FileConfig
    from llmrec_cli.tables.sniff import is_sequences

    config = FileConfig.model_validate({"path": path})
    (each,) = engine.open(config, Path())
    if each.dialect.format == "csv" and is_sequences(each.file.head):
        (each,) = engine.open(config, Path(), sequences=True)
    elif len(each.dialect.columns) < 2:
        raise DataError(f"{each.file.location.name} has one column only", where=path, fix="give a log of events")
    raw = engine.raw([each], each.dialect.columns, limit=SAMPLE)
    table = engine.arrow(engine.texts(raw)).select(list(each.dialect.columns))
    if not table.num_rows:
        raise DataError(f"{each.file.location.name} has no rows that can be read", where=path)
    near = os.path.relpath(file.absolute(), folder.absolute())
    shown = near if near.count("..") < 3 else str(file.absolute())
    return Looked(f"{shown}#{member}" if member else shown, each, table)


def _sorted_out(looked: Sequence[Looked], given: Sequence[str]) -> tuple[Looked, Looked | None, Looked | None]:
    """The log, the items file and the users file.

    A log has no column of ids that never repeat, or one of users and one of items by name.
    """
    from llmrec_cli.tables import guess

    keys = {each.path: guess.key_column(each.table) for each in looked}
    logs = [each for each in looked if each.is_log or _is_log(each, keys[each.path])]
    if not logs:
        fix = "a log has a row for each event, with a column of users and one of items"
        raise DataError("none of the files is a log of events", where=", ".join(given), fix=fix)
    log = max(logs, key=lambda each: (len(_log_roles(each)), each.table.num_rows))
    tables = [each for each in looked if each is not log and keys[each.path] is not None]
    users = next((each for each in tables if _describes_users(each)), None)
    others = [each for each in tables if each is not users]
    items = max(others, key=lambda each: len(guess.item_roles(list(guess.facts(each.table).values()))), default=None)
    return log, items, users


def _is_log(each: Looked, key: str | None) -> bool:
    ids = [g for g in _log_roles(each) if g.role in ("user", "item")]
    named = all(g.why.startswith("its name") and g.column != key for g in ids)
    return bool(ids) and (key is None or named)


def _log_roles(each: Looked) -> list[Guess]:
    from llmrec_cli.tables import guess

    ids = [g for g in guess.log_roles(each.table) if g.role in ("user", "item")]
    return guess.log_roles(each.table) if len(ids) == 2 else []


def _describes_users(each: Looked) -> bool:
    from llmrec_cli.tables import guess

    facts = guess.facts(each.table)
    key = facts[guess.key_column(each.table) or ""]
    roles = {g.role for g in guess.user_roles([f for f in facts.values() if f is not key])}
    titled = any(g.role == "title" for g in guess.item_roles([f for f in facts.values() if f is not key]))
    return key.named("user") or (bool(roles & {"age", "gender"}) and not titled)


# --- the settings file ------------------------------------------------------------------------------------------------


def _settings(log: Looked, items: Looked | None, users: Looked | None) -> tuple[str, list[str]]:
    """The text of the settings file, and the guesses in words."""
    from llmrec_cli.tables import guess

    lines = [log.about("the log")]
    text = [
        "# What `llmrec init` guessed from the files. Check the columns, then: llmrec run",
        "seed = 42",
        "",
        "[clean]",
    ]
    text += ["min_user_events = 2", '# repeats = "first"      # recommend only what is new to a user', ""]
    text += ["[clean.interactions]", f"path = {_toml(log.path)}"]
    roles = [] if log.is_log else _log_roles(log)
    if log.is_log:
        text += ['layout = "sequences"     # user item item …, one user a line, oldest first']
        lines += ["  layout     one user a line, then the items"]
    text += [_line(g.role, g.column, log) for g in roles]
    lines += _told_together(roles)
    where = _where(log, roles)
    if where:
        text += [f"where = {_toml(where)}     # returns and cancellations are negative"]
        lines += [f"  where      {where}    there are negative values"]
    described = {g.role: g.column for g in roles}
    taken = set(described.values())
    sections: list[tuple[str, str, Looked | None, str | None]] = [
        ("items", "item", items, described.get("item")),
        ("users", "user", users, described.get("user")),
    ]
    for section, id_role, file, id_column in sections:
        own, found = _description(section, file, log, id_column, taken)
        if file is None and not found:
            continue
        text += ["", f"[clean.{section}]" + ("" if file else "     # columns of the log")]
        if file is not None:
            lines.append(file.about(f"the {section}"))
            text += [f"path = {_toml(file.path)}", _line(id_role, own, file)]
            lines += _told_together([guess.Guess(id_role, own, "its values hardly ever repeat"), *found])
        else:
            lines += _told_together(found)
        text += _grouped(found, file or log)
    return "\n".join(text) + "\n" + FURTHER, lines


def _description(
    section: str, file: Looked | None, log: Looked, id_column: str | None, taken: set[str]
) -> tuple[str, list[Guess]]:
    """The id column of a file, and what its other columns say; of the log's columns those that belong to the id."""
    from llmrec_cli.tables import guess

    roles = guess.item_roles if section == "items" else guess.user_roles
    if file is not None:
        key = guess.key_column(file.table) or ""
        return key, roles([f for f in guess.facts(file.table).values() if f.name != key])
    if id_column is None:
        return "", []
    others = [c for c in log.table.column_names if c not in taken]
    found = roles(list(guess.facts(guess.properties(log.table, id_column, others)).values()))
    wanted = {"items": {"title", "category", "tags", "image"}, "users": {"age", "gender", "region"}}[section]
    return id_column, [g for g in found if g.role in wanted]


def _grouped(found: Sequence[Guess], file: Looked) -> list[str]:
    """One line for each role; several columns of one role are a list."""
    lines = []
    for role in dict.fromkeys(g.role for g in found):
        columns = [_column(g.column, file) for g in found if g.role == role]
        name = "attributes" if role == "attribute" else role
        value = columns[0] if len(columns) == 1 and role != "attribute" else f"[{', '.join(columns)}]"
        note = "     # flags; name them with `columns`" if role == "tags" and len(columns) > 1 else ""
        lines.append(f"{name} = {value}{note}")
    return lines


def _where(log: Looked, roles: Sequence[Guess]) -> str:
    from llmrec_cli.tables import guess
    from llmrec_cli.tables.reading import quoted

    value = next((g.column for g in roles if g.role == "value"), None)
    if value is None:
        return ""
    numbers = guess.facts(log.table.select([value]))[value].numbers
    # a name is text of the raw file: quoted as one, it can end no expression and begin no statement
    name = value if PLAIN_NAME.fullmatch(value) else quoted(value)
    return f"{name} > 0" if numbers and numbers[0] < 0 else ""


def _told_together(found: Sequence[Guess]) -> list[str]:
    """Guesses in words; columns of the same role for the same reason share a line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in found:
        groups.setdefault((each.role, each.why), []).append(each.column)
    return [f"  {role:<10} {', '.join(columns)}    {why}" for (role, why), columns in groups.items()]


def _line(key: str, column: str, file: Looked) -> str:
    return f"{key} = {_column(column, file)}"


def _column(column: str, file: Looked) -> str:
    """A column as TOML: its number where the file has no names."""
    dialect = file.input.dialect
    numbered = dialect.format == "csv" and not dialect.header
    return column if numbered else _toml(column)


def _toml(value: str) -> str:
    """A TOML basic string; JSON's escapes are a part of TOML's, which wants that of DEL too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
