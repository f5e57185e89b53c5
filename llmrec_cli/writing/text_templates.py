"""The templates of texts about lists: the program's own, and those that a user puts in their place.

A template is Jinja; `VARIABLES` says what it may use. What comes from the data is a value in it and never a template.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from llmrec_cli.core.errors import SettingsError
from llmrec_cli.data import words
from llmrec_cli.writing.languages import listing

if TYPE_CHECKING:
    import jinja2

OWN = Path(__file__).parent / "templates"
NAME = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,4})?")
VARIABLES = {
    "why": "because, event, tags, title, pick",
    "push": "because, event, tags, title, pick",
    "digest": "themes (each with name and picks, a pick with title and why), n, pick",
    "news": "themes (each with name and picks, a pick with title, why and leads), lead (the first pick), n, pick",
}
"""Kind of text -> what its template may use."""


def language_of(titles: Iterable[str], setting: str = "auto") -> str:
    """The language of the setting; "auto" is that of the titles: "zh" where most are Chinese, else "en"."""
    if setting != "auto":
        return setting
    return "zh" if words.script(pa.array(titles, pa.string())) == "Chinese" else "en"


def picker(turn: int) -> Callable[[Sequence[str]], str]:
    """What a template calls `pick`: of several forms the one whose turn it is, and the next at the next call."""
    turns = count(turn)
    return lambda forms: forms[next(turns) % len(forms)]


@dataclass(frozen=True)
class Template:
    """One template in one language."""

    kind: str
    language: str
    where: str
    """Its file, for messages."""
    sha256: str
    """Of its source."""
    compiled: jinja2.Template
    own: bool
    """Whether it is the program's."""

    @classmethod
    def load(cls, path: Path, kind: str, language: str) -> Template:
        """SettingsError for a file that cannot be read or is no template."""
        import jinja2
        from jinja2.sandbox import SandboxedEnvironment

        environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
        environment.filters["listing"] = listing
        try:
            source = path.read_text(encoding="utf-8")
            compiled = environment.from_string(source)
            compiled.globals = dict(compiled.globals)  # copied for each text: a chain of dicts takes thrice the time
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"the template cannot be read: {error}", where=str(path)) from error
        except jinja2.TemplateSyntaxError as error:
            raise SettingsError(f"no template: {error.message}", where=f"{path}, line {error.lineno}") from error
        sha256 = hashlib.sha256(source.encode()).hexdigest()
        return cls(kind, language, str(path), sha256, compiled, path.parent == OWN)

    def render(self, facts: Mapping[str, Any], turn: int) -> str:
        """The text; `pick` takes the form whose turn it is, then the next. SettingsError for what cannot be done."""
        import jinja2

        try:
            return self.compiled.render(**facts, pick=picker(turn)).strip()
        except jinja2.UndefinedError as error:
            what, fix = f"the template uses what there is not: {error.message}", f"it may use {VARIABLES[self.kind]}"
            raise SettingsError(what, where=self.where, fix=fix) from error
        except Exception as error:
            raise SettingsError(f"the template fails: {error}", where=self.where) from error


def load(kinds: Sequence[str], language: str, folder: Path) -> dict[str, Template]:
    """Kind -> its template in a language, the user's or the program's; SettingsError where there is none."""
    found = {}
    for kind in (each for each in VARIABLES if each in kinds):
        names = [directory / f"{kind}.{language}.jinja" for directory in (folder, OWN)]
        path = next((each for each in names if each.is_file()), None)
        if path is None:
            fix = f"write {names[0]}, or recommend.language = 'en'"
            raise SettingsError(f"there is no template for {kind!r} in the language {language!r}", fix=fix)
        found[kind] = Template.load(path, kind, language)
    return found


def own(kinds: Sequence[str], language: str) -> dict[str, Template]:
    """Kind -> the program's template in a language; nothing for a language that it has none in."""
    paths = {kind: OWN / f"{kind}.{language}.jinja" for kind in kinds}
    return {kind: Template.load(path, kind, language) for kind, path in paths.items() if path.is_file()}


def of_user(kinds: Sequence[str], folder: Path) -> list[Path]:
    """The template files of a user's folder for some kinds, in every language."""
    files = sorted(folder.glob("*.jinja")) if folder.is_dir() else []
    return [path for path in files if path.name.split(".")[0] in kinds and len(path.name.split(".")) == 3]
