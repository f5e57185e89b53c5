"""Settings: field default < llmrec.toml < environment < --set < named option, and where each value came from."""

from __future__ import annotations

import copy
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ValidationError

from llmrec_cli.core.errors import RENAMED, SettingsError, did_you_mean
from llmrec_cli.core.registry import add_to_path, plugin_names, sections_of
from llmrec_cli.core.settings_draft import key

STAGES = ("clean", "pretrain", "profile", "train-ranker", "generate", "recommend", "report", "evaluate")
FILE_NAME = "llmrec.toml"
PREFIX = "LLMREC_"
NO_FILE = "no settings file"
HOW_TO_START = f"`llmrec init FILE` writes {FILE_NAME} for your data; -c names one that lies elsewhere"
_KEYS = re.compile(r'"([^"]*)"|([^."]+)')
"""The parts of a dotted key; one in quotes may hold dots."""
_TYPE = re.compile(r"(literal|list|constrained|function).*[\[-].*|str|int|float|bool")
"""What pydantic puts among the keys of an error's location for a setting that may be of several types."""

# How lists and tables are written, by their brackets; with the quotes of a shell around them.
EXAMPLES = {"{}": """'{path = "items.csv", item = "sku"}'""", "[]": """'["a", "b"]'"""}

Nested = dict[str, Any]
IsoTime = Annotated[str, BeforeValidator(lambda given: given.isoformat() if isinstance(given, date) else given)]
"""A time as text; TOML reads 2010-11-01 without quotes as a date."""


@dataclass
class Settings:
    """The merged raw settings; a stage's section is checked when that stage asks for it."""

    values: Nested = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    """Dotted key -> where its value came from; a key that is absent has its field's default."""
    base: Path = field(default_factory=Path)
    source: str = ""

    @property
    def seed(self) -> int:
        seed = self.values.get("seed", 42)
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise SettingsError(f"seed must be a whole number, not {seed!r}", where=self.origins.get("seed", ""))
        return seed

    @property
    def pseudonymised(self) -> bool:
        """Whether the work directory has pseudonyms in place of ids."""
        section = self.values.get("clean", {})
        return isinstance(section, dict) and section.get("pseudonymise") is True

    def classes(self) -> frozenset[str]:
        """Every "module:Class" that is a value, or the name of a section, anywhere in the settings."""
        return frozenset(plugin_names(self.values))

    @property
    def without_data(self) -> bool:
        """Whether there is no settings file, and nothing else says what the raw files are."""
        return self.source == NO_FILE and "clean" not in self.values

    @property
    def names_a_log(self) -> bool:
        """Whether the settings name a raw log."""
        clean = self.values.get("clean")
        return isinstance(clean, dict) and "interactions" in clean

    def put(self, dotted: str, value: Any, origin: str) -> None:
        """Set one value; a table on the way that does not exist yet is made."""
        *tables, last = (quoted or bare for quoted, bare in _KEYS.findall(dotted))
        node = self.values
        for name in tables:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise SettingsError(f"{dotted}: {name!r} is a value, not a section", where=origin)
        node[last] = value
        self.origins[dotted] = origin

    def overridden(self, values: Mapping[str, Any], origin: str) -> Settings:
        """A copy in which these values, by dotted key, replace the old ones."""
        changed = Settings(copy.deepcopy(self.values), dict(self.origins), self.base, self.source)
        for dotted, value in values.items():
            changed.put(dotted, value, origin)
        return changed

    def section(self, stage: str, config: type[BaseModel]) -> Any:
        """The checked settings of one stage; SettingsError says which key, what is wrong and where it was set."""
        raw = self.values.get(stage, {})
        if not isinstance(raw, dict):
            raise SettingsError(f"{stage!r} must be a section [{stage}], not a value", where=self.source)
        try:
            return config.model_validate(raw)
        except ValidationError as error:
            raise self._error(stage, config, error) from error

    def _error(self, stage: str, config: type[BaseModel], error: ValidationError) -> SettingsError:
        errors = error.errors()
        first, path = errors[0], _path(errors[0]["loc"])
        dotted = ".".join([stage, *map(key, path)])
        where = self._origin(dotted)
        if first["type"] == "extra_forbidden":
            fix = f"did you mean {RENAMED[dotted]!r}?" if dotted in RENAMED else _nearest(config, path)
            return SettingsError(f"unknown setting {dotted!r}", where=where, fix=fix)
        if first["type"] == "missing":
            if self.without_data:
                return SettingsError(f"there is no {FILE_NAME} here", where=str(self.base), fix=HOW_TO_START)
            return SettingsError(f"the setting {dotted!r} is needed", where=where, fix=f"add it under [{stage}]")
        # of a setting that may be one of several types there is an error for each of them
        wrong = dict.fromkeys(
            each["msg"].removeprefix("Value error, ") for each in errors if _path(each["loc"]) == path
        )
        start, *others = wrong
        what = " or ".join([start, *(each.removeprefix("Input should be ") for each in others)])
        return SettingsError(f"{dotted} = {first['input']!r}: {what}", where=where, fix=f"see `llmrec config {stage}`")

    def _origin(self, dotted: str) -> str:
        while dotted:
            for name, origin in self.origins.items():
                if name == dotted or name.startswith(dotted + "."):
                    return origin
            dotted = dotted.rpartition(".")[0]
        return self.source


def load(
    path: Path | None,
    overrides: Iterable[str] = (),
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings file (or `llmrec.toml` of this folder); the environment, --set and options override it.

    `options` maps dotted keys to typed values; None means that the option was not typed.
    """
    settings = _from_file(path)
    for name, text in sorted((os.environ if environ is None else environ).items()):
        if name.startswith(PREFIX) and "__" in name:
            stage, _, rest = name[len(PREFIX) :].lower().partition("__")
            dotted, origin = f"{stage.replace('_', '-')}.{rest.replace('__', '.')}", f"environment {name}"
            settings.put(dotted, literal(text, origin), origin)
        elif name == PREFIX + "SEED":
            settings.put("seed", literal(text, f"environment {name}"), f"environment {name}")
    for override in overrides:
        dotted, value = assignment(override)
        settings.put(dotted, value, f"--set {dotted}")
    for dotted, value in (options or {}).items():
        if value is not None:
            settings.put(dotted, value, f"option --{dotted.rpartition('.')[2].replace('_', '-')}")
    check_sections(settings)
    if settings.classes():
        add_to_path(settings.base)
    return settings


def assignment(override: str) -> tuple[str, Any]:
    """The dotted key and the value of a --set option."""
    dotted, equals, text = override.partition("=")
    if not equals or not all(part.strip() for part in dotted.split(".")):
        raise SettingsError(f"--set {override!r} is not of the form stage.field=value", fix="--set recommend.k=20")
    return dotted.strip(), literal(text.strip(), f"--set {dotted.strip()}")


def literal(text: str, where: str = "") -> Any:
    """A value as TOML reads it; anything else is a string, so that --set clean.items.title=Name needs no quotes.

    SettingsError for a list or table with a syntax error.
    """
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError as error:
        example = EXAMPLES.get(text[:1] + text[-1:])
        if example:
            raise SettingsError(f"{text!r} is not as TOML writes it", where=where, fix=f"such as {example}") from error
        return text


def parse_bytes(text: str) -> int:
    """`4GB`, `512M`, `1.5g` as bytes; SettingsError for anything else."""
    number = text.strip().upper().rstrip("B").rstrip("I")
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}.get(number[-1:], 1)
    try:
        size = int(float(number.rstrip("KMGT")) * scale)
    except ValueError:
        size = 0
    if size < 64 << 20:
        raise SettingsError(f"--max-memory {text!r} is no size of at least 64MB", fix="--max-memory 4GB")
    return size


def leaves(config: BaseModel, prefix: str) -> Iterable[tuple[str, Any, str]]:
    """(dotted key, value, help) of every setting of a stage, sections inside it included."""
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        if sections := sections_of(info):
            for variant in dict.fromkeys([*sections.names, *value]):
                inner = value.get(variant) or sections.config(variant)()
                yield from leaves(inner, f"{prefix}.{name}.{key(variant)}")
        elif isinstance(value, BaseModel):
            yield from leaves(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", value, info.description or ""


def _path(where: Iterable[int | str]) -> list[str]:
    """The keys in the location of a pydantic error, without its names for the alternatives of a union."""
    return [str(part) for part in where if not _TYPE.fullmatch(str(part))]


def _from_file(path: Path | None) -> Settings:
    chosen = path or Path(FILE_NAME)
    if path is None and not chosen.exists():
        return Settings(base=Path.cwd(), source=NO_FILE)
    try:
        values = tomllib.loads(chosen.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        near = did_you_mean(
            chosen.name, [p.name for p in chosen.parent.glob("*.toml")] if chosen.parent.is_dir() else []
        )
        raise SettingsError(f"there is no settings file {str(chosen)!r}", fix=near or HOW_TO_START) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"the settings file cannot be read: {error}", where=str(chosen)) from error
    origins = dict.fromkeys(_dotted(values), str(chosen))
    return Settings(values, origins, chosen.resolve().parent, str(chosen))


def _dotted(values: Nested, prefix: str = "") -> Iterable[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key(name)}.")
        else:
            yield f"{prefix}{key(name)}"


def check_sections(settings: Settings) -> None:
    """Raise SettingsError for a section that belongs to no stage."""
    for name in settings.values:
        if name not in (*STAGES, "seed"):
            where = settings._origin(name)
            raise SettingsError(
                f"unknown section or key {name!r}", where=where, fix=did_you_mean(name, [*STAGES, "seed"])
            )


def _nearest(config: type[BaseModel], path: list[str]) -> str:
    """What may be meant by an unknown setting: the variant of that name in a family's section, or the nearest name."""
    known, name = _section_model(config, path[:-1]), path[-1].replace("_", "-")
    name = RENAMED.get(name, name)
    families = [(family, found) for family, info in known.model_fields.items() if (found := sections_of(info))]
    moved = [f"{family}.{name}" for family, found in families if name in found.names]
    return f"did you mean {' or '.join(map(repr, moved))}?" if moved else did_you_mean(path[-1], known.model_fields)


def _section_model(config: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    """The model of the section that `path` leads to, or of the last known section on the way."""
    for place, part in enumerate(path):
        info = config.model_fields.get(part)
        if info is None:
            break
        if (sections := sections_of(info)) and place + 1 < len(path):
            return _section_model(sections.config(path[place + 1]), path[place + 2 :])
        kinds = [info.annotation, *get_args(info.annotation)]
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not inner:
            break
        config = inner[0]
    return config
