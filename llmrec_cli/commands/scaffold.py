"""Start a project from raw files: look at them, guess what their columns mean, write `llmrec.toml` and a Makefile."""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_cli.core.config import FILE_NAME, STAGES, Settings, assignment, check_sections
from llmrec_cli.core.disk import told_disk_errors
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.printable import printable
from llmrec_cli.core.settings_draft import Draft

if TYPE_CHECKING:
    from llmrec_cli.ingest.infer import Guess
    from llmrec_cli.ingest.survey import Found, Looked

MEMORY = 1 << 30
ROLES = ("user", "item", "time", "value", "event")
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
HEAD = "# What `llmrec init` guessed from the files. Check the columns, then: llmrec run\n"
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


def init(files: Sequence[Path], folder: Path, overrides: Iterable[str] = ()) -> Scaffold:
    """Write a project for the raw files into `folder`. Overwrites nothing.

    `overrides` are settings, stage.field=value, that replace guesses; an empty column means that there is none.
    Raises SettingsError where a file to write is there already or a setting is wrong, DataError where no file is a log,
    several different ones are, or the time of the events cannot be told.
    """
    from llmrec_cli.ingest import survey
    from llmrec_cli.ingest.engine import Engine

    targets = [folder / FILE_NAME, folder / "Makefile"]
    for target in targets:
        if target.exists():
            raise SettingsError(
                f"{target.name} is there already", where=str(folder), fix="choose another folder: --into"
            )
    said = dict(map(assignment, overrides))
    roles = {role: said[key] for role in ROLES if (key := f"clean.interactions.{role}") in said}
    with tempfile.TemporaryDirectory() as scratch, Engine(MEMORY, 0, Path(scratch)) as engine:
        looked: list[survey.Looked] = []
        passed: list[tuple[str, str]] = []
        for file in files:
            more, left = survey.look(engine, file, folder)
            looked, passed = [*looked, *more], [*passed, *left]
        found = survey.sorted_out(looked, roles)
    found.unused += passed
    project = _Project(Draft(), said, folder, [str(file) for file in files])
    lines = _draft(found, project)
    text = HEAD + project.draft.text() + FURTHER
    _check(text, said, folder)
    with told_disk_errors(folder, "a writable folder with --into"):
        folder.mkdir(parents=True, exist_ok=True)
        targets[0].write_bytes(_encoded(text))
        targets[1].write_text(MAKEFILE, encoding="utf-8")
    lines += [*(f"written: {target}" for target in targets), "next: llmrec run"]
    return Scaffold(targets, [printable(line) for line in lines])


def _check(text: str, said: Mapping[str, Any], folder: Path) -> None:
    """Raise SettingsError for what no stage would take, before anything is written."""
    from llmrec_cli import pipeline

    values = tomllib.loads(text)
    settings = Settings(
        values, {key: f"--set {key}" for key in said}, folder.absolute(), "the guesses of `llmrec init`"
    )
    check_sections(settings)
    pipeline.check(settings, [name for name in STAGES if name in values])


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        what = "the name of a file is no text (UTF-8), and a settings file is nothing else"
        raise DataError(what, where=repr(text[error.start - 20 : error.end + 20]), fix="rename it") from error


# --- the settings -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Project:
    """The settings in the making, what a person said, as dotted key -> value, and where the files are to lie."""

    draft: Draft
    said: Mapping[str, Any]
    folder: Path
    files: Sequence[str]

    def open_roles(self, section: str, found: Sequence[Guess]) -> list[Guess]:
        """The guesses for which nothing else was said."""
        return [g for g in found if f"clean.{section}.{_setting(g.role)}" not in self.said]


def _draft(found: Found, project: _Project) -> list[str]:
    """Put the guesses and what was said into the draft; the guesses in words."""
    draft = project.draft
    draft.put("seed", 42)
    draft.put("clean.min_user_events", 2)
    if "clean.repeats" not in project.said:
        draft.notes["clean"] = 'repeats = "first" recommends only what is new to a user'
    roles, lines = _log(project, found.log)
    ids = {g.role: g.column for g in roles}
    used = set(ids.values())
    described: list[str] = []
    for section, id_role in (("items", "item"), ("users", "user")):
        file: Looked | None = getattr(found, section)
        if file is not None:
            described += _from_file(project, section, id_role, file, found.keys[section])
        elif not found.log.is_sequences:
            kept = _from_log(project, section, found.log, ids[id_role], used)
            used |= {g.column for g in kept}
            lines += _told_together(kept)
    if not found.log.is_sequences:
        lines += _left_out(found.log, used, log=True)
    lines += described
    lines += [f"{name}: not used: {why}" for name, why in found.unused]
    for key, value in project.said.items():
        draft.put(key, value, "as you say")
        if value == "" and key.removeprefix("clean.interactions.") in ROLES:
            draft.drop(key)
    return lines + [f"as you say: {key} = {value!r}" for key, value in project.said.items()]


def _log(project: _Project, log: Looked) -> tuple[list[Guess], list[str]]:
    """The roles of the log's columns, put into the draft; and what to say of them."""
    from llmrec_cli.ingest import event_time, survey

    draft, said = project.draft, project.said
    draft.put("clean.interactions.path", log.paths[0] if len(log.paths) == 1 else log.paths)
    if log.is_sequences:
        draft.put("clean.interactions.layout", "sequences", "user item item …, one user a line, oldest first")
        return survey.log_roles(log, {}), [log.about("the log"), "  layout     one user a line, then the items"]
    given = {role: said[f"clean.interactions.{role}"] for role in ROLES if f"clean.interactions.{role}" in said}
    roles = survey.log_roles(log, given)
    time = event_time.choose(log, roles, said, project.files)
    roles = [g for g in roles if g.role != "time"] + ([time.guess] if time.guess else [])
    roles.sort(key=lambda g: ROLES.index(g.role))
    for g in roles:
        draft.put(f"clean.interactions.{g.role}", _column(g.column, log))
        if g.role == "time" and time.time_format:
            draft.put("clean.interactions.time_format", time.time_format, "the only one that fits the values")
    lines = [log.about("the log"), *_told_together(roles), *([f"  {time.message}"] if time.message else [])]
    where = _where(log, roles)
    if where:
        draft.put("clean.interactions.where", where, "returns and cancellations are negative")
        lines.append(f"  where      {where}    there are negative values")
    return roles, lines


def _where(log: Looked, roles: Sequence[Guess]) -> str:
    from llmrec_cli.ingest.sql import quoted

    value = next((g.column for g in roles if g.role == "value"), None)
    if value is None:
        return ""
    numbers = log.facts[value].numbers
    # a name is text of the raw file: quoted as one, it can end no expression and begin no statement
    name = value if PLAIN_NAME.fullmatch(value) else quoted(value)
    return f"{name} > 0" if numbers and numbers[0] < 0 else ""


def _from_file(project: _Project, section: str, id_role: str, file: Looked, key: str) -> list[str]:
    """What a file says of items or users, put into the draft; and what to say of it."""
    from llmrec_cli.ingest import infer

    rules = infer.item_roles if section == "items" else infer.user_roles
    found, lost = _there(rules([f for f in file.facts.values() if f.name != key]), file, project.folder)
    found = project.open_roles(section, found)
    project.draft.put(f"clean.{section}.path", file.paths[0])
    project.draft.put(f"clean.{section}.{id_role}", _column(key, file))
    _grouped(project.draft, section, found, file)
    columns = [infer.Guess(id_role, key, "its values hardly ever repeat, and are those of the log"), *found]
    left = _left_out(file, {key, *(g.column for g in found)}, log=False, lost=lost)
    return [file.about(f"the {section}"), *_told_together(columns), *left]


def _from_log(project: _Project, section: str, log: Looked, id_column: str, used: set[str]) -> list[Guess]:
    """The columns of the log that are properties of the item or the user, put into the draft."""
    from llmrec_cli.ingest import column_facts, infer

    rules = infer.item_roles if section == "items" else infer.user_roles
    others = [c for c in log.table.column_names if c not in used]
    found = rules(list(column_facts.facts(infer.properties(log.table, id_column, others)).values()))
    wanted = {"items": {"title", "category", "tags", "image"}, "users": {"age", "gender", "region"}}[section]
    kept, _ = _there([g for g in found if g.role in wanted], log, project.folder)
    kept = project.open_roles(section, kept)
    if kept:
        project.draft.notes[f"clean.{section}"] = "columns of the log"
        _grouped(project.draft, section, kept, log)
    return kept


def _there(found: Sequence[Guess], file: Looked, folder: Path) -> tuple[list[Guess], dict[str, str]]:
    """The guesses without columns of pictures or recordings that are not there, and why these are left out."""
    from llmrec_cli.content.media import inside

    kept, lost = [], {}
    for g in found:
        some = file.facts[g.column].values.slice(0, 20).to_pylist() if g.role in ("image", "audio") else []
        if some and not any((path := inside(value, folder.resolve())) and path.is_file() for value in some):
            lost[g.column] = f"no such files in {folder.resolve()}, where pictures and recordings must be: {some[0]}"
        else:
            kept.append(g)
    return kept, lost


def _grouped(draft: Draft, section: str, found: Sequence[Guess], file: Looked) -> None:
    """Several columns of one role are a list."""
    for role in dict.fromkeys(g.role for g in found):
        columns = [_column(g.column, file) for g in found if g.role == role]
        note = "flags; name them with `columns`" if role == "tags" and len(columns) > 1 and file.headless else ""
        value = columns[0] if len(columns) == 1 and role != "attribute" else columns
        draft.put(f"clean.{section}.{_setting(role)}", value, note)


def _setting(role: str) -> str:
    return "attributes" if role == "attribute" else role


def _left_out(file: Looked, used: set[str], *, log: bool, lost: Mapping[str, str] | None = None) -> list[str]:
    """Every column without a role, and why; columns with the same reason share a line."""
    from llmrec_cli.ingest.infer import Guess, why_left_out

    rest = [f for f in file.facts.values() if f.name not in used]
    columns = [Guess("left out", f.name, (lost or {}).get(f.name) or why_left_out(f, log=log)) for f in rest]
    unread = [c for c in file.input.dialect.columns if c not in file.table.column_names]
    return _told_together([*columns, *(Guess("left out", c, "another column has this name too") for c in unread)])


def _told_together(found: Sequence[Guess]) -> list[str]:
    """Guesses in words; columns of the same role for the same reason share a line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in found:
        groups.setdefault((each.role, each.why), []).append(each.column)
    return [f"  {role:<10} {', '.join(columns)}    {why}" for (role, why), columns in groups.items()]


def _column(column: str, file: Looked) -> str | int:
    """A column for the settings: its number where the file has no names."""
    return int(column) if file.headless else column
