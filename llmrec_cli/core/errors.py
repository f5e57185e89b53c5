"""Every error a user can cause: what is wrong, where, how to fix it, and the exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

INTERRUPTED = "interrupted: run the same command again, it continues"


class LlmrecError(Exception):
    """An error that the user sees without a traceback.

    `what` is the fault in one sentence, `where` the file, line, column or key, `fix` the command or edit to make,
    `ways` the commands to choose from where there are several, `table`
    lines that belong to the fault, such as the account of the rows.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, where: str = "", fix: str = "", ways: Sequence[str] = (), table: Sequence[str] = ()
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.fix, self.ways, self.table = what, where, fix, tuple(ways), tuple(table)

    @property
    def lines(self) -> list[str]:
        """The message, line by line."""
        parts = [self.what, *self.table]
        if self.where:
            parts.append(f"  where: {self.where}")
        if self.fix:
            parts += [f"  fix:   {self.fix}", *(f"         {way}" for way in self.ways)]
        return parts

    def __str__(self) -> str:
        return "\n".join(self.lines)


class SettingsError(LlmrecError):
    """The command line or the settings file says something that cannot be meant."""

    exit_code = 2


class DataError(LlmrecError):
    """Input data are missing, unreadable or leave nothing to work with."""

    exit_code = 3


class UpstreamError(LlmrecError):
    """An artifact of an earlier stage is missing, stale or damaged."""

    exit_code = 4


class MissingExtraError(LlmrecError):
    """An optional package, a model or a key is needed and is not there."""

    exit_code = 5


class ThresholdError(LlmrecError):
    """A quality threshold that the user set was not reached."""

    exit_code = 7


class LockedError(LlmrecError):
    """Another run holds the work directory."""

    exit_code = 75


NEAR = 0.65
"""Similarity from which on another name is proposed; below it the proposal misleads more often than a list does."""
RENAMED = {
    "refused_below": "negative_below",
    "likeness": "content_weight",
    "painter": "image_generator",
    "gates": "thresholds",
    "ceilings": "upper_bounds",
    "beats": "must_beat",
    "words": "tfidf",
    "mf": "als-linear",
    "mf-deep": "wide-deep",
    "recommend.report": "report.draw",
    "recommend.report_users": "report.users",
}
"""Settings and variants whose old name isn't like the new one, as the changelog lists them: old name -> new name.

A name with its section is that of a setting that has gone to another section."""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`did you mean 'x'?` for the new name of a renamed option or the nearest one, else the list of options."""
    known = list(options)
    lowered = {option.lower(): option for option in reversed(known)}
    near = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=NEAR)
    if (new := RENAMED.get(word)) in known:
        return f"did you mean {new!r}?"
    if near:
        return f"did you mean {lowered[near[0]]!r}?"
    return f"there are: {', '.join(known)}" if known else ""
