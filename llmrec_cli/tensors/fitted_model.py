"""What every fitted retriever and ranker is: settings and declared arrays, saved and restored by their names."""

from __future__ import annotations

import inspect
import sys
from abc import ABC
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any, ClassVar, Self, dataclass_transform, get_origin, get_type_hints

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import BaseModel

from llmrec_cli.tensors.checkpoints import Tensors, csr_matrix, csr_tensors


class NoSettings(BaseModel, frozen=True, extra="forbid"):
    """Nothing to set."""


@dataclass_transform(eq_default=False)
@dataclass(eq=False, repr=False)
class FittedModel(ABC):
    """A dataclass without a decorator: what a class of the family declares is what `fit` has learnt.

    `config: MySettings` says which settings there are; without it there are none. The other fields are numpy arrays,
    torch tensors, sparse matrices (`scipy.sparse.csr_matrix`) and floats, and are saved and restored by their names.
    A class that keeps something else brings `tensors` and `restore` itself. What follows from the fields is worked out
    in `__post_init__`.
    """

    Config: ClassVar[type[BaseModel]] = NoSettings
    config: Any

    def __init_subclass__(cls) -> None:
        """TypeError for a field that cannot be saved."""
        super().__init_subclass__()
        dataclass(eq=False, repr=False)(cls)
        if "config" in inspect.get_annotations(cls):
            cls.Config = _resolved(cls, "config")
        if cls.tensors is FittedModel.tensors:
            for name, kind in _kinds(cls).items():
                if kind not in (np.ndarray, torch.Tensor, sp.csr_matrix, float):
                    raise TypeError(
                        f"the field {name!r} is no array: it cannot be saved without `tensors` and `restore`"
                    )

    def tensors(self) -> Tensors:
        """What `restore` needs besides the settings."""
        out: Tensors = {}
        for name in _kinds(type(self)):
            value = getattr(self, name)
            if sp.issparse(value):
                out |= csr_tensors(name, value)
            elif isinstance(value, torch.Tensor):
                out[name] = value
            else:
                out[name] = torch.from_numpy(np.array(value))
        return out

    def undeclared(self) -> str:
        """A field that holds something else than it declares, such as a list for an array; "" where none does."""
        if type(self).tensors is not FittedModel.tensors:
            return ""
        return next((n for n, kind in _kinds(type(self)).items() if not _holds(getattr(self, n), kind)), "")

    @classmethod
    def restore(cls, config: Any, tensors: Tensors) -> Self:
        """The model of these settings whose `tensors` these are."""
        return cls(config, **{name: _value(name, kind, tensors) for name, kind in _kinds(cls).items()})


def _holds(value: Any, kind: Any) -> bool:
    if kind is sp.csr_matrix:
        return sp.issparse(value) and value.format == "csr"
    if kind is float:
        return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiu"
    return isinstance(value, kind) and (kind is torch.Tensor or value.dtype.kind in "fiub")


def _value(name: str, kind: Any, tensors: Tensors) -> Any:
    if kind is sp.csr_matrix:
        return csr_matrix(name, tensors)
    value = tensors[name]
    if kind is torch.Tensor:
        return value
    return float(value) if kind is float else value.numpy()


def _kinds(cls: type[FittedModel]) -> dict[str, Any]:
    """The declared fields but `config` -> array, tensor, sparse matrix or float."""
    hints = {each.name: _resolved(cls, each.name) for each in fields(cls) if each.name != "config"}
    return {name: get_origin(hint) or hint for name, hint in hints.items()}


def _resolved(cls: type, name: str) -> Any:
    """What the annotation of a field names, looked up in the module of the class that declares it."""
    owner = next(each for each in cls.__mro__ if name in inspect.get_annotations(each))
    declared = SimpleNamespace(__annotations__={name: inspect.get_annotations(owner)[name]})
    return get_type_hints(declared, vars(sys.modules[owner.__module__]))[name]
