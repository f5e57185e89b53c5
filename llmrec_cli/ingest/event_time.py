"""Which column of a log is the time of its events, and in which format; never guessed where it could be another."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.ingest import infer, times
from llmrec_cli.ingest.column_facts import Facts
from llmrec_cli.ingest.survey import Looked

TIME, FORMAT = "clean.interactions.time", "clean.interactions.time_format"
NONE = "time       none: the order of the rows is taken as their order in time"


@dataclass(frozen=True)
class Time:
    guess: infer.Guess | None
    time_format: str
    message: str
    """What is to be said of the choice, "" where the guess says all."""


def choose(log: Looked, roles: Sequence[infer.Guess], said: Mapping[str, Any], files: Sequence[str]) -> Time:
    """The time of a log. Raises DataError with the commands to choose from where it cannot be told."""
    found = next((g for g in roles if g.role == "time"), None)
    columns = list(log.facts.values())
    unread = None if TIME in said else infer.unreadable_time(columns, {g.column for g in roles})
    if found is None and unread is None:
        if FORMAT in said:
            raise SettingsError("a format without a column of times", where=FORMAT, fix=f"--set {TIME}=COLUMN")
        return Time(None, "", NONE)
    fact = log.facts[found.column] if found else unread
    assert fact is not None
    found = found or infer.Guess("time", fact.name, "its name")
    column = fact.name if not log.headless else columns.index(fact)
    ask = _Question(log, fact, column, said, files)
    if FORMAT in said:
        return Time(found, "", ask.checked(str(said[FORMAT])))
    if times.as_it_stands(fact):
        return Time(found, "", "")
    if len(found.formats) == 1:
        why = f"{found.formats[0]} is the only format that fits: {_some(fact)}"
        return Time(found, found.formats[0], f"format     {why}")
    if TIME in said and fact.numbers is not None and not found.formats:
        return Time(found, "", "format     its numbers are taken as seconds since 1970")
    raise ask.unanswered(found.formats)


@dataclass(frozen=True)
class _Question:
    log: Looked
    fact: Facts
    column: str | int
    said: Mapping[str, Any]
    files: Sequence[str]

    def checked(self, time_format: str) -> str:
        """What to say of a format that was given; DataError where it fits nothing."""
        share = times.share_that_fits(self.fact, time_format)
        if share == 0:
            what = (
                f"no value of the column {self.fact.name!r} has the format {time_format!r}, such as {_some(self.fact)}"
            )
            raise self._error(what, times.formats(self.fact))
        return "" if share is None or share == 1 else f"format     {time_format} fits {share:.1%} of the values"

    def unanswered(self, formats: Sequence[str]) -> DataError:
        name, some = self.fact.name, _some(self.fact)
        what = (
            f"the times of the column {name!r} can be read in {len(formats)} ways: {some}"
            if formats
            else f"the column {name!r} is named as a time and cannot be read as one: {some}"
        )
        return self._error(what, formats)

    def _error(self, what: str, formats: Sequence[str]) -> DataError:
        """With the commands to choose from."""
        fix, ways = "say which:", [self._command(self.column, each) for each in formats]
        if not formats:
            fix = "write ISO times or Unix seconds, or say the format, or go without:"
            ways = [self._command(self.column, "…") + "    (of strptime)", self._command("", "") + "    (no times)"]
        return DataError(what, where=self.log.given, fix=fix, ways=ways)

    def _command(self, column: str | int, time_format: str) -> str:
        kept = {key: value for key, value in self.said.items() if key not in (TIME, FORMAT)}
        kept |= {TIME: column} | ({FORMAT: time_format} if time_format else {})
        sets = [f"--set {shlex.quote(f'{key}={value}')}" for key, value in kept.items()]
        return " ".join(["llmrec init", *map(shlex.quote, self.files), *sets])


def _some(fact: Facts) -> str:
    return ", ".join(fact.values.slice(0, 3).to_pylist())
