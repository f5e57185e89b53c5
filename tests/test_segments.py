from __future__ import annotations

import numpy as np
import pytest

from llmrec_cli.data.segments import EVERYONE, age_bands, segments, shrink


def objects(*values: str | None) -> np.ndarray:
    return np.array(values, dtype=object)


def people(age: np.ndarray, gender: np.ndarray, region: np.ndarray) -> dict[str, np.ndarray]:
    return {"age": age, "gender": gender, "region": region}


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (1, "under 18"),
        (17.9, "under 18"),
        (18, "18-24"),
        (56, "55-64"),
        (65, "65+"),
        (-1, None),
        (121, None),
        (np.nan, None),
    ],
)
def test_age_bands_take_ages_and_lower_bounds(age: float, band: str | None) -> None:
    assert age_bands([age]).tolist() == [band]


def test_segments_are_the_finest_with_enough_members() -> None:
    age = objects("18-24", "18-24", "18-24", "65+", None, None)
    gender = objects("F", "F", "F", "F", "F", None)
    region = objects("N", "N", "S", "S", None, "S")
    found = segments(people(age, gender, region), np.ones(6, dtype=bool), smallest=2)
    names = [found.names[s] for s in found.of_user]
    assert names == ["18-24 · F · N", "18-24 · F · N", "18-24 · F", "F · S", "F", "S"]


def test_further_attributes_make_segments_with_their_names() -> None:
    """Three of a job share age and gender; of the artists one is younger, so age and gender without a job come next."""
    age = objects("25-34", "25-34", "25-34", "25-34", "18-24", None)
    gender = objects("M", "M", "M", "M", "M", None)
    job = objects("cook", "cook", "cook", "artist", "artist", "artist")
    none = objects(*[None] * 6)
    zip_code = objects("1", "2", "3", "4", "5", "6")  # never shared: in no segment
    has_events = np.ones(6, dtype=bool)
    found = segments(people(age, gender, none) | {"job": job, "zip": zip_code}, has_events, smallest=2)
    names = [found.names[s] for s in found.of_user]
    cooks, artists = "25-34 · M · job: cook", "job: artist"
    assert names == [cooks, cooks, cooks, "25-34 · M", "M · job: artist", artists]
    assert set(found.names) == {cooks, "25-34 · M", "M · job: artist", artists, EVERYONE}


def test_segments_count_only_members_with_events() -> None:
    has_events = np.array([True, False, False])
    found = segments(
        people(objects("18-24", "18-24", "18-24"), objects(*"FFF"), objects(*"NNN")), has_events, smallest=2
    )
    assert {found.names[s] for s in found.of_user} == {EVERYONE}
    assert found.sizes().tolist() == [3]


def test_members_of_a_coarse_segment_include_those_of_finer_ones() -> None:
    age = objects("18-24", "18-24", "18-24")
    found = segments(
        people(age, objects("F", "F", None), objects(None, None, None)), np.ones(3, dtype=bool), smallest=2
    )
    means = found.means(np.array([[0.0], [3.0], [6.0]], dtype=np.float32))
    assert means[found.of_user, 0].tolist() == pytest.approx([1.5, 1.5, 3.0])


def test_shrink_moves_users_with_few_events_to_the_mean() -> None:
    n_events = np.array([10, 1, 0])
    none = objects(None, None, None)
    found = segments(people(none, none, none), n_events > 0, smallest=1)
    vectors = np.array([[4.0], [0.0], [0.0]], dtype=np.float32)  # the mean of those with events is 2
    assert shrink(vectors, n_events, found, full_weight=5)[:, 0].tolist() == pytest.approx([4.0, 1.6, 2.0])


def test_shrink_is_finite_when_nobody_has_events() -> None:
    found = segments(people(objects(None), objects("F"), objects(None)), np.array([False]), smallest=1)
    assert shrink(np.zeros((1, 2), dtype=np.float32), np.array([0]), found, 5).tolist() == [[0.0, 0.0]]
