"""Demographic segments: age band × gender × region, coarser where few users share all three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from llmrec_cli.core.arrays import Bools, Floats, Ints, offsets_of
from llmrec_cli.data.interactions import Sequences

Strings = npt.NDArray[np.object_]

AGE_STARTS = np.array([18, 25, 35, 45, 55, 65])
AGE_BANDS = np.array(["under 18", "18-24", "25-34", "35-44", "45-54", "55-64", "65+"], dtype=object)
OLDEST = 120
EVERYONE = "everyone"

# Which of (age band, gender, region) a segment is made of, from the finest to the coarsest, and which of them go with
# one of the further attributes, whose levels follow those of the same size.
LEVELS = ((0, 1, 2), (0, 1), (0, 2), (1, 2), (0,), (1,), (2,))
AND_ANOTHER = ((0, 1), (0,), (1,), (2,), ())


@dataclass(frozen=True)
class Segments:
    """Each user's segment, and who stands for each segment. The last segment is everyone."""

    names: list[str]
    """(segments,) readable, such as "25-34 · F · Denmark"."""
    of_user: Ints
    """(users,) row of `names`."""
    members: sp.csr_matrix
    """(segments, users) 1/n where the user is one of the segment's n members with events; 0 elsewhere."""

    def means(self, rows: Floats) -> Floats:
        """(segments, d) mean of the members' rows of a (users, d) array."""
        return np.asarray(self.members @ rows, dtype=np.float32)

    def sizes(self) -> Ints:
        """(segments,) how many users, with or without events, were put into each."""
        return np.bincount(self.of_user, minlength=len(self.names))


def age_bands(ages: npt.ArrayLike) -> Strings:
    """(users,) the band of each age (or lower bound of an age band); None where it is unknown or absurd."""
    years = np.asarray(ages, dtype=np.float64)
    known = (years >= 0) & (years <= OLDEST)
    bands = AGE_BANDS[np.searchsorted(AGE_STARTS, np.where(known, years, 0), side="right")]
    bands[~known] = None
    return bands


def segments(columns: Mapping[str, Strings], has_events: Bools, smallest: int, *, least: int = 0) -> Segments:
    """Put each user into the finest level with at least `smallest` members with events, else everyone.

    A segment that fewer than `least` users would be put into goes into a coarser one.

    `columns` are attributes by name, None where one is unknown: age, gender and region first, then others. The levels
    are those of `LEVELS`, and each of `AND_ANOTHER` with one other attribute. A level asks for attributes that the user
    has: one whose region is unknown starts at age band × gender. A segment's members are all users with its attributes,
    those who found a finer segment included.
    """
    attributes = [_codes(column) for column in columns.values()]
    for i, name in list(enumerate(columns))[len(LEVELS[0]) :]:  # the value alone ("10001", "yes") would not say of what
        values, codes = attributes[i]
        attributes[i] = np.array([f"{name}: {value}" for value in values], dtype=object), codes
    # an attribute without one value that is frequent enough (a name, a number) is in no segment
    frequent = [np.bincount(codes[has_events & (codes >= 0)]).max(initial=0) >= smallest for _, codes in attributes]
    chosen = np.full(len(has_events), -1, dtype=np.int64)
    names: list[str] = []
    members: list[Ints] = []
    for level in _levels(len(attributes)):
        if not all(frequent[i] for i in level):
            continue
        keys = np.stack([attributes[i][1] for i in level], axis=1)
        known = (keys >= 0).all(axis=1)
        groups, group_of = np.unique(keys[known], axis=0, return_inverse=True)
        group = np.full(len(has_events), len(groups), dtype=np.int64)
        group[known] = group_of.reshape(-1)
        support = np.bincount(group[has_events], minlength=len(groups) + 1)[: len(groups)]
        wants = (chosen < 0) & known & (np.append(support, 0)[group] >= smallest)
        wants &= (np.bincount(group[wants], minlength=len(groups) + 1) >= least)[group]
        used = np.unique(group[wants])
        chosen[wants] = len(names) + np.searchsorted(used, group[wants])
        names += [" · ".join(attributes[i][0][code] for i, code in zip(level, groups[g], strict=True)) for g in used]
        members += _rows_of(used, np.where(has_events, group, len(groups)))
    chosen[chosen < 0] = len(names)
    return Segments([*names, EVERYONE], chosen, _averages([*members, np.flatnonzero(has_events)], len(has_events)))


def own_weight(n_events: Ints, full_weight: int) -> Floats:
    """(users,) weight of a user's own vector against the mean of the segment: min(1, events / full_weight)."""
    return np.minimum(1.0, n_events / full_weight).astype(np.float32)


def mixed(own: Floats, means: Floats, weight: Floats) -> Floats:
    """(users, d) `weight` (users,) of the own vectors, the rest of the means."""
    return weight[:, None] * own + (1 - weight[:, None]) * means


def shrink(vectors: Floats, n_events: Ints, found: Segments, full_weight: int) -> Floats:
    """(users, d) each user's vector moved towards the mean of the segment, by `own_weight`.

    A user without events gets the mean itself, one with `full_weight` events or more keeps the own vector.
    """
    return mixed(vectors, found.means(vectors)[found.of_user], own_weight(n_events, full_weight))


def _levels(n_attributes: int) -> list[tuple[int, ...]]:
    """Numbers of attributes, from the finest level to the coarsest; larger levels first."""
    more = [(*level, another) for level in AND_ANOTHER for another in range(len(LEVELS[0]), n_attributes)]
    return sorted([*LEVELS, *more], key=len, reverse=True)


def _codes(column: Strings) -> tuple[Strings, Ints]:
    """The distinct values in order, and each row's number among them; -1 for None."""
    known = np.array([value is not None for value in column], dtype=bool)
    values, numbers = np.unique(column[known].astype(str), return_inverse=True)
    codes = np.full(len(column), -1, dtype=np.int64)
    codes[known] = numbers
    return values.astype(object), codes


def _rows_of(used: Ints, group: Ints) -> list[Ints]:
    """For each group in `used` the rows that are in it, ascending."""
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], used, side="left")
    stops = np.searchsorted(group[order], used, side="right")
    return [order[start:stop] for start, stop in zip(starts, stops, strict=True)]


def _averages(members: Sequence[Ints], n_users: int) -> sp.csr_matrix:
    lengths = np.array([len(rows) for rows in members])
    weights = np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
    offsets = offsets_of(lengths)
    return sp.csr_matrix((weights, np.concatenate(members), offsets), shape=(len(members), n_users))


def of_profiles(segment: pa.ChunkedArray[Any], weight: pa.ChunkedArray[Any]) -> tuple[list[str], Ints, Floats]:
    """From two columns of profiles: the names of the segments, (users,) the segment of each, (segments,) its weight."""
    coded = segment.combine_chunks().dictionary_encode()
    names, of_user = coded.dictionary.to_pylist(), np.asarray(coded.indices).astype(np.int64)
    weights = np.zeros(len(names), dtype=np.float32)
    weights[of_user] = weight.to_numpy()
    return names, of_user, weights


def in_place_of_cold(
    weights: sp.csr_matrix, histories: Sequences, found: Segments, lasting: sp.csr_matrix | None = None
) -> sp.csr_matrix:
    """The weights with the mean of the segment (of `lasting`, if given) in the rows of users without events."""
    cold = np.flatnonzero(histories.lengths == 0)
    place = sp.csr_matrix(
        (np.ones(len(cold), dtype=np.float32), (cold, found.of_user[cold])), shape=(len(histories), len(found.names))
    )
    means = found.members @ (weights if lasting is None else lasting)
    return (weights + place @ means).tocsr()
