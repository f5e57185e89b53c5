"""Start a project from raw files: infer what their columns mean, write `llmrec.toml` and a Makefile."""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_cli.commands import proposals
from llmrec_cli.core.config import FILE_NAME, STAGES, Settings, assignment, check_sections
from llmrec_cli.core.disk import disk_errors
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.printable import printable
from llmrec_cli.core.settings_draft import Draft
from llmrec_cli.ingest import infer

if TYPE_CHECKING:
    from llmrec_cli.ingest.infer import InferredColumn
    from llmrec_cli.ingest.survey import Assignment, RawTable

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
HEAD = "# What `llmrec init` inferred from the files. Check the columns, then: llmrec run\n"
FURTHER = """
# Every setting, its default and what it means: llmrec config

# [pretrain]
# epochs = 20

# [recommend]
# k = 10
"""


@dataclass
class Scaffold:
    """What was written, and what a person should read: each inferred column with its reason."""

    written: list[Path]
    lines: list[str] = field(default_factory=list)


def init(files: Sequence[Path], folder: Path, overrides: Iterable[str] = ()) -> Scaffold:
    """Write a project for the raw files into `folder`. Overwrites nothing.

    `overrides` are settings, stage.field=value, in place of what would be inferred; an empty column means none.
    Raises SettingsError where a file to write is there already or a setting is wrong, DataError where no file is a log,
    several different ones are, or the time of the events is ambiguous.
    """
    from llmrec_cli.ingest import survey
    from llmrec_cli.ingest.engine import Engine

    targets = [folder / FILE_NAME, folder / "Makefile"]
    for target in targets:
        if target.exists():
            raise SettingsError(
                f"{target.name} is there already", where=str(folder), fix="choose another folder: --into"
            )
    given = dict(map(assignment, overrides))
    columns = {field: given[key] for field in infer.FIELDS if (key := f"clean.interactions.{field}") in given}
    with tempfile.TemporaryDirectory() as scratch, Engine(MEMORY, 0, Path(scratch)) as engine:
        tables: list[survey.RawTable] = []
        passed: list[tuple[str, str]] = []
        for file in files:
            try:
                more, left = survey.read_tables(engine, file, folder)
            except DataError as error:
                if len(files) == 1:
                    raise
                more, left = [], [(file.name, f"it cannot be a log or describe one: {error.what}")]
            tables, passed = [*tables, *more], [*passed, *left]
        if not tables:
            what = "none of the files is a table with rows"
            raise DataError(what, table=[f"{name}: {why}" for name, why in passed], fix=survey.NEEDED)
        found = survey.assign(tables, columns)
        seen = proposals.shape(engine, found, columns, folder)
    found.unused += passed
    project = _Project(Draft(), given, folder, [str(file) for file in files])
    lines = _draft(found, project, seen)
    text = HEAD + project.draft.text() + FURTHER
    _check(text, given, folder)
    with disk_errors(folder, "a writable folder with --into"):
        folder.mkdir(parents=True, exist_ok=True)
        targets[0].write_bytes(_encoded(text))
        targets[1].write_text(MAKEFILE, encoding="utf-8")
    lines += [*(f"written: {target}" for target in targets), "next: llmrec run"]
    return Scaffold(targets, [printable(line) for line in lines])


def _check(text: str, given: Mapping[str, Any], folder: Path) -> None:
    """Raise SettingsError for what no stage would take, before anything is written."""
    from llmrec_cli import pipeline

    values = tomllib.loads(text)
    settings = Settings(
        values, {key: f"--set {key}" for key in given}, folder.absolute(), "what `llmrec init` inferred"
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
    """The settings so far, those that were given, as dotted key -> value, and the folder of the project."""

    draft: Draft
    given: Mapping[str, Any]
    folder: Path
    files: Sequence[str]

    def open_fields(self, section: str, found: Sequence[InferredColumn]) -> list[InferredColumn]:
        """The inferred columns of fields that are not given."""
        return [g for g in found if f"clean.{section}.{infer.setting(g.field)}" not in self.given]


def _draft(found: Assignment, project: _Project, seen: proposals.Shape) -> list[str]:
    """Put what is inferred and what is given into the draft; the lines to print."""
    draft = project.draft
    draft.put("seed", 42)
    proposed = proposals.proposed(seen, project.given)
    draft.sections["clean"] = {key[6:]: each for key, each in proposed.items() if re.fullmatch(r"clean\.\w+", key)}
    inferred, lines = _log(project, found)
    ids = {g.field: g.column for g in inferred}
    used = set(ids.values())
    described: list[str] = []
    for section, id_field in (("items", "item"), ("users", "user")):
        file: RawTable | None = getattr(found, section)
        if file is not None:
            described += _from_file(project, section, id_field, file, found.keys[section])
        elif not found.log.is_sequences:
            kept = _from_log(project, section, found.log, ids[id_field], used)
            used |= {g.column for g in kept}
            lines += _format_columns(kept)
    if not found.log.is_sequences:
        lost = {} if found.items else infer.varied(found.log.table, found.log.facts, ids["item"])
        lines += _left_out(found.log, used, log=True, lost=lost)
    lines += described
    for key, (value, why) in proposed.items():
        draft.put(key, value, why)
        lines.append(f"  {key.rpartition('.')[2]:<10} {value}    {why}")
    lines += proposals.cost(seen, {**{key: each[0] for key, each in proposed.items()}, **project.given})
    lines += [f"{name}: not used: {reason}" for name, reason in found.unused]
    for key, value in project.given.items():
        draft.put(key, value, "given")
        if value == "" and key.removeprefix("clean.interactions.") in infer.FIELDS:
            draft.drop(key)
    return lines + [f"given: {key} = {value!r}" for key, value in project.given.items()]


def _log(project: _Project, found: Assignment) -> tuple[list[InferredColumn], list[str]]:
    """The log's columns, put into the draft; and the lines to print."""
    from llmrec_cli.ingest import event_time, survey

    draft, log = project.draft, found.log
    draft.put("clean.interactions.path", log.paths[0] if len(log.paths) == 1 else log.paths)
    if log.is_sequences:
        draft.put("clean.interactions.layout", "sequences", "user item item …, one user a line, oldest first")
        return survey.log_columns(log, {}), [log.about("the log"), "  layout     one user a line, then the items"]
    given = {
        field: project.given[key] for field in infer.FIELDS if (key := f"clean.interactions.{field}") in project.given
    }
    described = {name: file.name for name, file in (("item", found.items), ("user", found.users)) if file}
    columns = [infer.confirmed(g, described.get(g.field, "")) for g in survey.log_columns(log, given)]
    time = event_time.choose(log, columns, project.given, project.files)
    columns = [g for g in columns if g.field != "time"] + ([time.column] if time.column else [])
    columns.sort(key=lambda g: infer.FIELDS.index(g.field))
    for g in columns:
        draft.put(f"clean.interactions.{g.field}", _column(g.column, log))
        for option, written in g.options:
            draft.put(f"clean.interactions.{option}", written)
        if g.field == "time" and time.time_format:
            draft.put("clean.interactions.time_format", time.time_format, "the only one that fits the values")
    lines = [log.about("the log"), *_format_columns(columns), *([f"  {time.message}"] if time.message else [])]
    where = _where(log, columns)
    if where:
        draft.put("clean.interactions.where", where, "returns and cancellations are negative")
        lines.append(f"  where      {where}    there are negative values")
    return columns, lines


def _where(log: RawTable, columns: Sequence[InferredColumn]) -> str:
    from llmrec_cli.ingest.sql import quoted

    value = next((g.column for g in columns if g.field == "value"), None)
    if value is None:
        return ""
    numbers = log.facts[value].numbers
    # a name is text of the raw file: quoted as one, it can end no expression and begin no statement
    name = value if PLAIN_NAME.fullmatch(value) else quoted(value)
    return f"{name} > 0" if numbers and numbers[0] < 0 else ""


def _from_file(project: _Project, section: str, id_field: str, file: RawTable, key: str) -> list[str]:
    """The columns of a file of items or users, put into the draft; the lines to print."""
    rules = infer.item_columns if section == "items" else infer.user_columns
    found, lost = _there(rules([f for f in file.facts.values() if f.name != key]), file, project.folder)
    found = project.open_fields(section, found)
    project.draft.put(f"clean.{section}.path", file.paths[0] if len(file.paths) == 1 else file.paths)
    project.draft.put(f"clean.{section}.{id_field}", _column(key, file))
    _grouped(project.draft, section, found, file)
    ids = "its values hardly ever repeat, and are those of the log"
    level = "sure" if file.facts[key].named(id_field) else "likely"
    columns = [infer.InferredColumn(id_field, key, ids, level=level), *found]
    left = _left_out(file, {key, *(g.column for g in found)}, log=False, lost=lost)
    return [file.about(f"the {section}"), *_format_columns(columns), *left]


def _from_log(project: _Project, section: str, log: RawTable, id_column: str, used: set[str]) -> list[InferredColumn]:
    """The columns of the log that are properties of the item or the user, put into the draft."""
    from llmrec_cli.ingest import column_facts

    rules = infer.item_columns if section == "items" else infer.user_columns
    others = [c for c in log.table.column_names if c not in used]
    found = rules(list(column_facts.facts(column_facts.properties(log.table, id_column, others)).values()))
    of_items = {"title", "text", "category", "tags", "image", "attribute"}
    wanted = {"items": of_items, "users": {"age", "gender", "region"}}[section]
    kept, _ = _there([g for g in found if g.field in wanted], log, project.folder)
    kept = project.open_fields(section, kept)
    if kept:
        project.draft.notes[f"clean.{section}"] = "columns of the log"
        _grouped(project.draft, section, kept, log)
    return kept


def _there(
    found: Sequence[InferredColumn], file: RawTable, folder: Path
) -> tuple[list[InferredColumn], dict[str, str]]:
    """The inferred columns without those of images or audio files that are not there, and why these are left out."""
    from llmrec_cli.content.media import inside

    kept, lost = [], {}
    for g in found:
        some = file.facts[g.column].values.slice(0, 20).to_pylist() if g.field in ("image", "audio") else []
        if some and not any((path := inside(value, folder.resolve())) and path.is_file() for value in some):
            lost[g.column] = f"no such files in {folder.resolve()}, where images and audio files must be: {some[0]}"
        else:
            kept.append(g)
    return kept, lost


def _grouped(draft: Draft, section: str, found: Sequence[InferredColumn], file: RawTable) -> None:
    """Several columns of one field are a list."""
    for name in dict.fromkeys(g.field for g in found):
        columns = [_column(g.column, file) for g in found if g.field == name]
        note = "flags; name them with `columns`" if name == "tags" and len(columns) > 1 and file.headless else ""
        value = columns[0] if len(columns) == 1 and name != "attribute" else columns
        draft.put(f"clean.{section}.{infer.setting(name)}", value, note)
    for option, written in (each for g in found for each in g.options):
        draft.put(f"clean.{section}.{option}", written)


def _left_out(file: RawTable, used: set[str], *, log: bool, lost: Mapping[str, str] | None = None) -> list[str]:
    """Every column that is not used, and why; columns with the same reason share a line."""
    rest = [f for f in file.facts.values() if f.name not in used]
    said = {f.name: (lost or {}).get(f.name) or infer.unused_reason(f, log=log) for f in rest}
    unread = [c for c in file.input.columns if c not in file.table.column_names]
    said |= dict.fromkeys(unread, "another column has this name too")
    return _format_columns([infer.InferredColumn("left out", name, why) for name, why in said.items()])


def _format_columns(found: Sequence[InferredColumn]) -> list[str]:
    """Lines to print; columns of the same field for the same reason share one."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in found:
        reason = f"{each.level}: {each.reason}" if each.level else each.reason
        groups.setdefault((each.field, reason), []).append(each.column)
    return [f"  {field:<10} {', '.join(columns)}    {reason}" for (field, reason), columns in groups.items()]


def _column(column: str, file: RawTable) -> str | int:
    """A column for the settings: its number where the file has no names."""
    return int(column) if file.headless and column.isdigit() else column
