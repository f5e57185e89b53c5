"""Families of interchangeable classes (rankers, writers, …): plain dicts of names, imported when chosen."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, GetCoreSchemaHandler, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from llmrec_cli.core.disk import fingerprint
from llmrec_cli.core.errors import MissingExtraError, SettingsError, UpstreamError, did_you_mean

PLUGIN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
"""`my_pkg.mod:Mine`, a class outside of the program."""

_PLUGINS: set[str] = set()
"""Modules of the plugins that this process has imported."""


def load_variant(family: str, variants: Mapping[str, str], name: str, protocol: type) -> Any:
    """The class called `name` in `variants` (name -> "module:Class"); it conforms to the protocol of the family.

    A name such as `my_pkg.mod:Mine` is imported as it stands. SettingsError for an unknown name, a module that fails
    and a class that does not conform; MissingExtraError for an import that lacks a package.
    """
    if name not in variants and not PLUGIN.fullmatch(name):
        hint = did_you_mean(name, variants) if ":" not in name else "module:Class, such as my_package.my_module:Mine"
        raise SettingsError(f"no {family} is called {name!r}", fix=hint)
    module_name, _, class_name = variants.get(name, name).partition(":")
    found = _imported(family, name, module_name, class_name)
    if name not in variants:
        _PLUGINS.add(found.__module__ if isinstance(found, type) else module_name)
    if mismatch := _mismatch(found, protocol):
        raise SettingsError(
            f"{name!r} is no {family}: {mismatch}", fix=f"see {protocol.__name__} in {protocol.__module__}"
        )
    return found


@dataclass(frozen=True)
class Sections:
    """Annotates a field of settings that holds a section for each variant of a family, checked by its class's `Config`.

    `variants` (the family's dict) and `load` (name -> class) are given as "module:name" and imported when a section
    is read: settings without sections load no model.
    """

    variants: str
    load: str

    @property
    def names(self) -> list[str]:
        """The built-in variants."""
        return list(load_function(self.variants))

    def config(self, name: str) -> type[BaseModel]:
        """The model of the settings of a variant or plugin; SettingsError where there is no such class."""
        found: type[BaseModel] = load_function(self.load)(name).Config
        return found

    def checked(self, given: Any) -> Any:
        """Name -> settings. In the names of environment variables `_` stands for `-`."""
        if not isinstance(given, Mapping) or not given:
            return given
        written = {name.replace("-", "_"): name for name in self.names}
        sections = {written.get(str(name), str(name)): options for name, options in given.items()}
        kinds: dict[str, Any] = {name: (self.config(name), ...) for name in sections}
        return dict(create_model("Sections", **kinds).model_validate(sections))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.checked, handler(source))


def sections_of(field: FieldInfo) -> Sections | None:
    """The sections that a field of settings holds, where it holds some."""
    return next((each for each in field.metadata if isinstance(each, Sections)), None)


def load_function(named: str) -> Any:
    """The object that "module:name" of the program names: for what a default run never imports (`extras`)."""
    module_name, _, name = named.partition(":")
    return getattr(importlib.import_module(module_name), name)


def saved_variant(
    family: str, variants: Mapping[str, str], name: object, *, named: Container[str], folder: Path, protocol: type
) -> Any:
    """The class of the model that was saved in `folder`, part of a work directory.

    A work directory may come from anybody: UpstreamError for a class that is neither built in nor named in the
    settings, before its module is imported.
    """
    if not isinstance(name, str) or (name not in variants and name not in named):
        raise UpstreamError(
            f"the {family} {name!r} is neither built in nor named in the settings: it is not loaded",
            where=str(folder),
            fix=f"name it in the settings if it is yours, or: llmrec {folder.parent.name} --force",
        )
    return load_variant(family, variants, name, protocol)


def check_code(saved: Any, name: str, folder: Path) -> None:
    """UpstreamError where the code of a plugin has changed since the model in `folder` was fitted."""
    if saved != plugin_code(name):
        raise UpstreamError(
            f"the code of {name!r} has changed since it was fitted",
            where=str(folder),
            fix=f"llmrec {folder.parent.name}",
        )


def plugin_fault(error: Exception) -> SettingsError | None:
    """The error as one of a plugin, where a line of a plugin raised it or called what did; else None."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [(frame, line) for frame, line in frames if frame.f_globals.get("__name__") in _PLUGINS]
    if not lines:
        return None
    frame, line = lines[-1]
    return SettingsError(
        f"{frame.f_globals['__name__']} fails in {frame.f_code.co_name!r}: {type(error).__name__}: {error}",
        where=f"{frame.f_code.co_filename}:{line}",
        fix="repair it there; --debug prints the whole traceback",
    )


def plugin_names(value: Any) -> Iterator[str]:
    """Every "module:Class" that is a value or a key anywhere in settings."""
    if isinstance(value, str):
        if PLUGIN.fullmatch(value):
            yield value
    elif isinstance(value, Mapping):
        yield from plugin_names([*value, *value.values()])
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from plugin_names(each)


def plugin_code(settings: Any) -> dict[str, str]:
    """Module -> sha256 of its file, of the plugins in settings whose module has one; what the result depends on."""
    out = {}
    for module in sorted({name.partition(":")[0] for name in plugin_names(settings)}):
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            continue  # the loading of the class says what is wrong with it
        if found and found.origin and Path(found.origin).is_file():
            out[module] = fingerprint(Path(found.origin))
    return out


def add_to_path(folder: Path) -> None:
    """Make the modules of this folder importable as plugins; installed modules come first."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _mismatch(found: Any, protocol: type) -> str:
    """Why a class does not conform to the protocol, in words; empty where it does."""
    if not isinstance(found, type):
        return "it is no class"
    abstract: frozenset[str] = getattr(found, "__abstractmethods__", frozenset())
    for name in _members(protocol):
        if not hasattr(found, name) or name in abstract:
            return f"it has no {name!r}"
        if callable(getattr(protocol, name, None)) and not _accepts(getattr(found, name), getattr(protocol, name)):
            wanted = ", ".join(inspect.signature(getattr(protocol, name)).parameters)
            return f"its {name!r} does not take ({wanted})"
    kinds = {name: get_args(kind)[0] for name, kind in get_type_hints(protocol).items() if get_origin(kind) is ClassVar}
    for name in sorted(kinds.keys() - {"Config"}):
        if wrong := _unlike(getattr(found, name), kinds[name]):
            return f"its {name!r} is wrong: {wrong}"
    if hasattr(found, "Config") and not (isinstance(found.Config, type) and issubclass(found.Config, BaseModel)):
        return "its 'Config' is no pydantic model"
    return f"it has no {min(abstract)!r}" if abstract else ""


def _unlike(value: Any, kind: Any) -> str:
    """What is wrong with the value of a class variable; empty where it is of its kind."""
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        return error.errors()[0]["msg"]
    return ""


def _members(protocol: type) -> list[str]:
    """The class variables and methods that a protocol requires."""
    variables = [name for name, kind in inspect.get_annotations(protocol).items() if "ClassVar" in str(kind)]
    methods = [name for name, value in vars(protocol).items() if isinstance(value, classmethod) or callable(value)]
    return [*variables, *(name for name in methods if not name.startswith("_"))]


def _accepts(method: Any, like: Any) -> bool:
    """Whether a method can be called with the arguments of another."""
    wanted = inspect.signature(like).parameters.values()
    by_name = {each.name: None for each in wanted if each.kind is each.KEYWORD_ONLY}
    try:
        inspect.signature(method).bind(*(each.name for each in wanted if each.name not in by_name), **by_name)
    except (TypeError, ValueError):
        return False
    return True


def _imported(family: str, name: str, module_name: str, class_name: str) -> Any:
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the {family} {name!r} needs the package {error.name!r}, which is not installed",
            fix=f"pip install {error.name}",
        ) from error
    except AttributeError as error:
        raise SettingsError(f"{module_name} has no {class_name!r}", fix=f"check the {family} name {name!r}") from error
    except Exception as error:  # whatever a module of the user's own may raise while it is imported
        raise SettingsError(
            f"the {family} {name!r} cannot be imported: {type(error).__name__}: {error}", fix=f"repair {module_name}"
        ) from error
