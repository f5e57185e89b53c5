"""Of how many people something must be before it is shown: `clean.min_support`, and the one rule that goes by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from llmrec_cli.core.arrays import Bools
from llmrec_cli.core.artifacts import ITEMS
from llmrec_cli.core.workdir import WorkDir


def least_people(work: WorkDir) -> int:
    """`clean.min_support` as the log was cleaned with it; 0 where nothing is hidden."""
    record = work.record(ITEMS.stage)
    return int(record["parts"]["settings"].get("min_support", 0)) if record else 0


def ticket_part(work: WorkDir, config: BaseModel, context: object) -> dict[str, str]:
    """For the tickets of stages that hide by it: another number, another result."""
    least = least_people(work)
    return {"min_support": str(least)} if least > 1 else {}


def enough(people: npt.ArrayLike, least: int) -> Bools:
    """Whether what so many distinct people did may be shown: with `least` of them or more, or with none at all.

    What nobody has done reveals nobody: a new item may be shown.
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
