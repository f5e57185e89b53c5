"""What methods of retrievers and rankers return, checked at once: a plugin's mistake is reported with its name."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmrec_cli.core.errors import SettingsError
from llmrec_cli.tensors.fitted_model import FittedModel


def array(giver: object, method: str, value: Any, shape: tuple[int, ...], *, kind: str = "f") -> Any:
    """The numbers that a method returned; SettingsError for another shape or type, and for floats that are NaN.

    `kind` holds the letters of numpy's kinds of numbers that will do.
    """
    if not isinstance(value, np.ndarray):
        gave = f"a {type(value).__name__}"
    elif value.shape != shape or value.dtype.kind not in kind:
        gave = f"{value.dtype} of shape {value.shape}"
    elif np.isnan(value).any():
        gave = "NaN"
    else:
        return value
    numbers = "whole numbers" if kind == "i" else "floats"
    raise _wrong(type(giver), method, f"returned {gave} in place of a numpy array of {numbers} of shape {shape}")


def finite(giver: object, method: str, value: Any, shape: tuple[int, ...]) -> Any:
    """As `array`, of floats that are finite."""
    if not np.isfinite(array(giver, method, value, shape)).all():
        raise _wrong(type(giver), method, "returned infinite numbers")
    return value


def codes(giver: object, method: str, value: Any, shape: tuple[int, ...], n_items: int) -> Any:
    """As `array`, of item codes, or -1 for none."""
    found = array(giver, method, value, shape, kind="i")
    if found.size and not (found.min() >= -1 and found.max() < n_items):
        raise _wrong(type(giver), method, f"returned item codes that are not in -1 … {n_items - 1}")
    return found


def fitted(cls: type, value: Any) -> Any:
    """The model that `fit` returned; SettingsError where it is none, or holds what cannot be saved as it declares."""
    if not isinstance(value, cls):
        raise _wrong(cls, "fit", f"returned a {type(value).__name__} in place of a {cls.__name__}")
    if isinstance(value, FittedModel) and (name := value.undeclared()):
        held = getattr(value, name)
        raise _wrong(cls, "fit", f"put a {type(held).__name__} into {name!r}, which is declared as something else")
    return value


def _wrong(cls: type, method: str, what: str) -> SettingsError:
    return SettingsError(
        f"{cls.__module__}:{cls.__qualname__}: {method!r} {what}", fix=f"repair {method!r} in {cls.__module__}"
    )
