"""Which column of a log is the time of its events, and in which format; never chosen where several formats fit."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.ingest import infer, times
from llmrec_cli.ingest.column_facts import Facts
from llmrec_cli.ingest.survey import RawTable

TIME, FORMAT = "clean.interactions.time", "clean.interactions.time_format"
NONE = "time       none: the order of the rows is taken as their order in time"


@dataclass(frozen=True)
class Time:
    column: infer.InferredColumn | None
    time_format: str
    message: str
    """What to print about the format, "" where there is nothing to add."""


def choose(
    log: RawTable, inferred: Sequence[infer.InferredColumn], given: Mapping[str, Any], files: Sequence[str]
) -> Time:
    """The time of a log. Raises DataError with the commands to choose from where it is ambiguous."""
    found = next((g for g in inferred if g.field == "time"), None)
    columns = list(log.facts.values())
    unread = None if TIME in given else infer.unreadable_time(columns, {g.column for g in inferred})
    if found is None and unread is None:
        if FORMAT in given:
            raise SettingsError("a format without a column of times", where=FORMAT, fix=f"--set {TIME}=COLUMN")
        return Time(None, "", NONE)
    fact = log.facts[found.column] if found else unread
    assert fact is not None
    found = found or infer.InferredColumn("time", fact.name, "its name", level="likely")
    column = fact.name if not log.headless else columns.index(fact)
    ask = _TimeChoice(log, fact, column, given, files)
    if FORMAT in given:
        return Time(found, "", ask.checked(str(given[FORMAT])))
    if times.readable_as_is(fact):
        return Time(found, "", "")
    if len(found.formats) == 1:
        reason = f"{found.formats[0]} is the only format that fits: {_examples(fact)}"
        return Time(found, found.formats[0], f"format     {reason}")
    if TIME in given and fact.numbers is not None and not found.formats:
        return Time(found, "", "format     its numbers are taken as seconds since 1970")
    raise ask.ambiguous(found.formats)


@dataclass(frozen=True)
class _TimeChoice:
    log: RawTable
    fact: Facts
    column: str | int
    given: Mapping[str, Any]
    files: Sequence[str]

    def checked(self, time_format: str) -> str:
        """What to print about a format that was given; DataError where it fits nothing."""
        share = times.share_that_fits(self.fact, time_format)
        if share == 0:
            what = f"no value of the column {self.fact.name!r} has the format {time_format!r}: {_examples(self.fact)}"
            raise self._error(what, times.formats(self.fact))
        return "" if share is None or share == 1 else f"format     {time_format} fits {share:.1%} of the values"

    def ambiguous(self, formats: Sequence[str]) -> DataError:
        name, some = self.fact.name, _examples(self.fact)
        what = (
            f"the times of the column {name!r} can be read in {len(formats)} ways: {some}"
            if formats
            else f"the column {name!r} is named as a time and cannot be read as one: {some}"
        )
        return self._error(what, formats)

    def _error(self, what: str, formats: Sequence[str]) -> DataError:
        """With the commands to choose from."""
        fix, ways = "choose one:", [self._command(self.column, each) for each in formats]
        if not formats:
            fix = "write ISO times or Unix seconds, or set the format, or do without:"
            ways = [self._command(self.column, "…") + "    (of strptime)", self._command("", "") + "    (no times)"]
        return DataError(what, where=self.log.given, fix=fix, ways=ways)

    def _command(self, column: str | int, time_format: str) -> str:
        kept = {key: value for key, value in self.given.items() if key not in (TIME, FORMAT)}
        kept |= {TIME: column} | ({FORMAT: time_format} if time_format else {})
        sets = [f"--set {shlex.quote(f'{key}={value}')}" for key, value in kept.items()]
        return " ".join(["llmrec init", *map(shlex.quote, self.files), *sets])


def _examples(fact: Facts) -> str:
    return ", ".join(fact.values.slice(0, 3).to_pylist())
