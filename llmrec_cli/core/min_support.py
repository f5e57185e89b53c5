"""`clean.min_support`: the least number of people behind anything that is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from llmrec_cli.core.arrays import Bools
from llmrec_cli.core.artifacts import ITEMS
from llmrec_cli.core.workdir import WorkDir


def least_people(work: WorkDir) -> int:
    """The value of `clean.min_support` with which the log was cleaned; 0 where nothing is hidden."""
    record = work.record(ITEMS.stage)
    return int(record["parts"]["settings"].get("min_support", 0)) if record else 0


def ticket_part(work: WorkDir, config: BaseModel, context: object) -> dict[str, str]:
    """For tickets of stages whose result depends on it."""
    least = least_people(work)
    return {"min_support": str(least)} if least > 1 else {}


def enough(people: npt.ArrayLike, least: int) -> Bools:
    """Whether something that so many distinct people did may be shown: `least` or more of them, or nobody.

    What nobody has done reveals nobody, so a new item may be shown.
    """
    n = np.asarray(people)
    return np.asarray((n == 0) | (n >= least))


def hide_rare(values: npt.NDArray[np.object_], least: int) -> npt.NDArray[np.object_]:
    """(people,) values of one attribute, None in place of those that fewer people have."""
    known = np.array([value is not None for value in values], dtype=bool)
    _, codes, people = np.unique(values[known].astype(str), return_inverse=True, return_counts=True)
    out: npt.NDArray[Any] = values.copy()
    out[np.flatnonzero(known)[~enough(people, least)[codes]]] = None
    return out
