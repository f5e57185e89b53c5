"""A declared class finds its settings, and what it has learnt comes back as it was saved."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from pydantic import BaseModel

from llmrec_cli.core.arrays import Floats
from llmrec_cli.tensors.fitted_model import FittedModel, NoSettings


class Settings(BaseModel, frozen=True, extra="forbid"):
    power: float = 2.0


class Declared(FittedModel):
    config: Settings
    rows: Floats
    table: torch.Tensor
    matrix: sp.csr_matrix
    level: float

    def __post_init__(self) -> None:
        self.total = float(self.rows.sum())


class Inherits(Declared):
    more: Floats


class Bare(FittedModel):
    pass


def test_settings_are_those_of_the_annotation() -> None:
    assert Declared.Config is Settings and Inherits.Config is Settings and Bare.Config is NoSettings


def test_declared_fields_come_back_by_their_names() -> None:
    matrix = sp.csr_matrix(np.eye(3, dtype=np.float32))
    rows = np.arange(3, dtype=np.float32)
    made = Inherits(Settings(power=3), rows, torch.ones(2, 2), matrix, 0.25, more=rows + 1)
    back = Inherits.restore(made.config, made.tensors())
    np.testing.assert_array_equal(back.rows, rows)
    np.testing.assert_array_equal(back.more, rows + 1)
    assert torch.equal(back.table, made.table) and (back.matrix != matrix).nnz == 0
    assert back.level == 0.25 and back.total == 3 and back.config.power == 3


def test_a_field_that_cannot_be_saved_is_reported_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="the field 'words' is no array"):

        class Wordy(FittedModel):
            words: str
