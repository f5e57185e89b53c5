"""How a family of interchangeable classes (rankers, writers, ...) is looked up: a plain dict, imported when chosen."""

from __future__ import annotations

import importlib
import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from llmrec_cli.core.errors import MissingExtraError, SettingsError, UpstreamError, did_you_mean

PLUGIN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
"""`my_pkg.mod:Mine`, a class outside of the program."""


def load_variant(family: str, variants: Mapping[str, str], name: str, has: tuple[str, ...] = ()) -> Any:
    """The class called `name` in `variants` (name -> "module:Class"), with what `has` names.

    A name such as `my_pkg.mod:Mine` is imported as it stands. An unknown name, a module that fails and what is no such
    class raise SettingsError, an import that lacks a package MissingExtraError.
    """
    if name not in variants and not PLUGIN.fullmatch(name):
        hint = did_you_mean(name, variants) if ":" not in name else "module:Class, such as my_package.my_module:Mine"
        raise SettingsError(f"no {family} is called {name!r}", fix=hint)
    module_name, _, class_name = variants.get(name, name).partition(":")
    found = _imported(family, name, module_name, class_name)
    lacking = [each for each in has if not hasattr(found, each)]
    if not isinstance(found, type) or lacking:
        why = f"it has no {lacking[0]!r}" if lacking and isinstance(found, type) else "it is no class"
        raise SettingsError(f"{name!r} is no {family}: {why}", fix=did_you_mean(name, variants))
    return found


def load_function(named: str) -> Any:
    """What "module:name" of the program names: for what a default run never imports (`extras`)."""
    module_name, _, name = named.partition(":")
    return getattr(importlib.import_module(module_name), name)


def saved_variant(
    family: str, variants: Mapping[str, str], name: object, *, named: Container[str], folder: Path, has: tuple[str, ...]
) -> Any:
    """The class that `folder`, part of a work directory, was saved by.

    A work directory may come from anybody: UpstreamError for a class that is neither built in nor among those that the
    settings name, before its module is imported.
    """
    if not isinstance(name, str) or (name not in variants and name not in named):
        raise UpstreamError(
            f"the {family} {name!r} is neither built in nor named in the settings: it is not loaded",
            where=str(folder),
            fix=f"name it in the settings if it is yours, or: llmrec {folder.parent.name} --force",
        )
    return load_variant(family, variants, name, has)


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
            f"the {family} {name!r} cannot be imported: {type(error).__name__}: {error}", fix=f"mend {module_name}"
        ) from error
