from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.imaging.item_images import ENOUGH, contact_sheet, kinds_of, nearest, prompts_of


def items(rows: list[tuple[str | None, list[str] | None]]) -> pa.Table:
    columns = {"category": [row[0] for row in rows], "tags": [row[1] for row in rows], "title": ["Thing"] * len(rows)}
    return pa.table(columns)


def test_a_kind_is_the_category_narrowed_by_a_tag_of_enough_pictures() -> None:
    rows = [("Mugs > Small", ["red", "all"])] * ENOUGH + [("Mugs", ["blue", "all"])] * ENOUGH
    rows += [("Mugs", ["rare"]), (None, None), ("Plates", ["red"])]
    table = items(rows)
    found = kinds_of(table, np.arange(len(rows)))
    assert found[0] == "Mugs, red" and found[ENOUGH] == "Mugs, blue"
    assert found[-3:] == ["Mugs", "any", "Plates"]
    assert set(kinds_of(table, np.arange(10))) == {"Mugs", "any", "Plates"}  # too few pictures of either


def test_a_prompt_is_made_of_what_the_catalogue_says() -> None:
    assert prompts_of(items([("Mugs", ["red"]), (None, None)])) == ["Thing, Mugs, red", "Thing"]


def test_a_copy_is_found_and_told() -> None:
    rng = np.random.default_rng(0)
    training = rng.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    new = rng.integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    made = np.concatenate([training[[7]], np.maximum(training[[3]], 1) - 1, new])
    found = nearest(made, training)
    assert found.places[:2].tolist() == [7, 3]
    assert found.distances[:2] == pytest.approx([0, 1 / 255], abs=1e-3)
    assert found.describe().startswith("2 are nearer")
    apart = (made[3].astype(float) - training.astype(float)) / 255
    assert found.distances[3] == pytest.approx(np.sqrt((apart**2).mean(axis=(1, 2, 3))).min(), abs=1e-4)


def test_equal_training_pictures_do_not_make_every_image_unlike_a_copy() -> None:
    training = np.zeros((20, 4, 4, 3), dtype=np.uint8)
    training[10:] = np.arange(10)[:, None, None, None] * 20
    assert 0 < nearest(training[:1], training).usual < 1


def test_the_contact_sheet_has_each_image_beside_its_nearest() -> None:
    made = np.full((9, 4, 4, 3), 10, dtype=np.uint8)
    training = np.stack([np.full((4, 4, 3), value, dtype=np.uint8) for value in (50, 90)])
    sheet = contact_sheet(made, training, np.array([1] * 8 + [0]))
    assert sheet.shape == (16, 8 * 12, 3)
    assert sheet[3, 3, 0] == 10 and sheet[3, 7, 0] == 90 and sheet[11, 7, 0] == 50 and sheet[11, 40, 0] == 255
