"""How a family of interchangeable classes (rankers, writers, ...) is looked up: a plain dict, imported when chosen."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from llmrec_cli.core.errors import MissingExtraError, SettingsError, did_you_mean


def load_variant(family: str, variants: Mapping[str, str], name: str) -> Any:
    """The class called `name` in `variants` (name -> "module:Class").

    A name with a colon (`my_pkg.mod:Mine`) is imported as it stands. An unknown name raises SettingsError, an
    import that lacks a package MissingExtraError.
    """
    if ":" not in name and name not in variants:
        raise SettingsError(f"no {family} is called {name!r}", fix=did_you_mean(name, variants))
    module_name, _, class_name = variants.get(name, name).partition(":")
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the {family} {name!r} needs the package {error.name!r}, which is not installed",
            fix=f"pip install {error.name}",
        ) from error
    except AttributeError as error:
        raise SettingsError(f"{module_name} has no {class_name!r}", fix=f"check the {family} name {name!r}") from error
