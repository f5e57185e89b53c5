"""Who is served well and who is not: accuracy by activity, by the target's popularity, by what is known of users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from llmrec_cli.core.arrays import Bools, Codes, Doubles, Ints, offsets_of
from llmrec_cli.core.artifacts import SLICES
from llmrec_cli.core.min_support import enough
from llmrec_cli.data.attributes import by_name
from llmrec_cli.data.metrics import Interval, bootstrap, difference_bootstrap, rank_metrics
from llmrec_cli.data.segments import age_bands
from llmrec_cli.evaluation.comparison import PIPELINE, Comparison
from llmrec_cli.evaluation.eval_users import EvalUsers

Json = dict[str, Any]

FEWEST, MOST = 10, 12
"""Users of an attribute's slice, and slices of an attribute; of more the largest are kept."""
ATTRIBUTES_SHOWN, SLICES_SHOWN = 4, 6
"""In the terminal."""
ACTIVITY, TARGET, GAP = "activity", "target popularity", "gap"
ACTIVITY_STARTS = np.array([1, 5, 20, 100])
ACTIVITY_NAMES = ["no events", "1-4", "5-19", "20-99", "100+"]
BUCKETS = ["head", "middle", "tail", "new"]


@dataclass(frozen=True)
class Slicing:
    """One way to part the users."""

    kind: str
    names: list[str]
    of_user: Ints
    """(users,) place in `names`, -1 for users who are in no slice."""

    def masks(self) -> Iterator[tuple[str, Bools]]:
        """Each slice that has users, and who they are."""
        for place, name in enumerate(self.names):
            inside = self.of_user == place
            if inside.any():
                yield name, inside

    def of_at_least(self, least: int) -> Slicing:
        """The same with the users of smaller slices in none."""
        known = self.of_user >= 0
        large = enough(np.bincount(self.of_user[known], minlength=len(self.names)), least)
        return replace(self, of_user=np.where(known & large[self.of_user], self.of_user, -1))


def by_activity(n_events: Ints) -> Slicing:
    """Users by the events of their history as of the cut-off; those without any are the cold ones."""
    return Slicing(ACTIVITY, ACTIVITY_NAMES, np.searchsorted(ACTIVITY_STARTS, n_events, side="right"))


def by_attributes(users: pa.Table) -> list[Slicing]:
    """`clean/users` by age band, gender, region and every attribute that parts them into at least two slices."""
    given = {"age band": age_bands(users.column("age").to_numpy()).astype(object)}
    given |= {name: np.array(users.column(name).to_pylist(), dtype=object) for name in ("gender", "region")}
    taken = {ACTIVITY, TARGET, *given}
    for name, column in by_name(users.column("attributes")).items():
        given[f"{name} (attribute)" if name in taken else name] = np.array(column.to_pylist(), dtype=object)
    found = (_slicing(kind, column) for kind, column in given.items())
    return [each for each in found if len(each.names) > 1]


def _slicing(kind: str, column: npt.NDArray[np.object_]) -> Slicing:
    """The slices of a column of strings, None where it is unknown: the largest, in the order of their names."""
    counts = pd.Series(column).value_counts().sort_index().nlargest(MOST)
    kept = sorted(counts[counts >= FEWEST].index)
    of_user = pd.Index(kept, dtype=object).get_indexer(pd.Index(column, dtype=object))
    return Slicing(kind, kept, of_user.astype(np.int64))


def buckets(counts: Ints) -> Ints:
    """(items + 1,) place in BUCKETS: head are the most popular items with a third of the events, tail the least.

    Items of equal popularity are in one bucket; new are those without events, and the last place for what is outside of
    the catalogue.
    """
    levels, at = np.unique(counts, return_inverse=True)
    events = levels * np.bincount(at)
    above = (events.sum() - np.cumsum(events)) / max(events.sum(), 1)  # share of events with items more popular
    third = np.minimum((3 * above + 1e-9).astype(np.int64), 2)
    return np.append(np.where(counts > 0, third[at], 3), 3)


def by_target(eval_users: EvalUsers, counts: Ints) -> Iterator[tuple[str, Ints, tuple[Ints, Codes]]]:
    """For each bucket that has targets: its name, the rows of the users who have one there, and those targets alone."""
    offsets, items = eval_users.targets
    owners = np.repeat(np.arange(len(eval_users.users)), np.diff(offsets))
    bucket = buckets(counts)[np.minimum(items, len(counts))]
    for place, name in enumerate(BUCKETS):
        inside = bucket == place
        rows, lengths = np.unique(owners[inside], return_counts=True)
        if len(rows):
            yield name, rows, (offsets_of(lengths), items[inside])


@dataclass(frozen=True)
class Sliced:
    """The rows of `evaluate/slices`, and what they say in words."""

    rows: list[Json]
    metric: str

    @classmethod
    def of(
        cls, found: Comparison, lists: Mapping[str, Codes], counts: Ints, slicings: list[Slicing], *, least: int = 0
    ) -> Sliced:
        """`counts` (items,) events as of the cut-off; `slicings` part the users of the question.

        All slicings but `activity` are of what users are, and have a gap. Slices of fewer than `least` users are left
        out.
        """
        rows = [row for slicing in slicings for row in _of_users(found, slicing.of_at_least(least))]
        for name, users, targets in by_target(found.eval_users, counts):
            if len(users) < least:
                continue
            for system, codes in lists.items():
                values = rank_metrics(codes[users], targets, found.k)
                rows += _accuracy(found, TARGET, name, system, values)
        return cls(rows, found.metric)

    @property
    def gaps(self) -> list[Json]:
        """The gap of each attribute in the pipeline's lists."""
        return [row for row in self.rows if row["slice"] == GAP and row["system"] == PIPELINE]

    def table(self) -> pa.Table:
        return pa.Table.from_pylist(self.rows, schema=SLICES.schema)

    def lines(self) -> list[str]:
        """The pipeline's accuracy in each slice, a line for each way to part the users."""
        kinds: dict[str, list[Json]] = {}
        for row in self.rows:
            if row["system"] == PIPELINE and row["metric"] == self.metric:
                kinds.setdefault(row["kind"], []).append(row)
        attributes = [kind for kind in kinds if kind not in {ACTIVITY, TARGET}]
        hidden = set(attributes[ATTRIBUTES_SHOWN:])
        return [self._line(kind, rows) for kind, rows in kinds.items() if kind not in hidden]

    def _line(self, kind: str, rows: list[Json]) -> str:
        parts = [row for row in rows if row["slice"] != GAP]
        shown = sorted(sorted(parts, key=lambda row: -row["n_users"])[:SLICES_SHOWN], key=parts.index)
        listed = ", ".join(f"{row['slice']} {row['value']:.4f} ({row['n_users']:,})" for row in shown)
        more = f", {len(parts) - len(shown)} more" if len(parts) > len(shown) else ""
        gaps = [row for row in rows if row["slice"] == GAP]
        gap = "".join(f"; gap {g['value']:.4f} (95 % {g['low']:.4f} to {g['high']:.4f})" for g in gaps)
        return f"{self.metric} by {kind}: {listed}{more}{gap}"


def _of_users(found: Comparison, slicing: Slicing) -> Iterator[Json]:
    """The rows of one way to part the users, and of its gap."""
    for name, inside in slicing.masks():
        for system, values in found.values.items():
            own = {metric: values[metric][inside] for metric in (found.metric, f"recall@{found.k}")}
            yield from _accuracy(found, slicing.kind, name, system, own)
    n_users = int((slicing.of_user >= 0).sum())
    for system, values in found.values.items():
        gap = widest(values[found.metric], slicing, found.seed, found.resamples)
        if gap is not None and slicing.kind != ACTIVITY:
            yield _row((slicing.kind, GAP, system, found.metric), gap[2], n_users)


def _accuracy(found: Comparison, kind: str, name: str, system: str, values: Mapping[str, Doubles]) -> Iterator[Json]:
    for metric in (found.metric, f"recall@{found.k}"):
        interval = bootstrap(values[metric], found.seed, found.resamples)
        yield _row((kind, name, system, metric), interval, len(values[metric]))


def _row(key: tuple[str, str, str, str], interval: Interval, n_users: int) -> Json:
    figures = (interval.mean, interval.low, interval.high, n_users)
    return dict(zip(SLICES.schema.names, (*key, *figures), strict=True))


def widest(values: Doubles, slicing: Slicing, seed: int, resamples: int) -> tuple[str, str, Interval] | None:
    """The slices with the best and the worst mean, and their difference with a bootstrap interval (users within each).

    None with fewer than two slices of at least FEWEST users. The two were chosen for being far apart: of many slices
    the gap is somewhat too wide, and an interval that leaves out 0 by little says nothing.
    """
    parts = [(name, values[inside]) for name, inside in slicing.masks() if inside.sum() >= FEWEST]
    if len(parts) < 2:
        return None
    best, worst = max(parts, key=lambda part: part[1].mean()), min(parts, key=lambda part: part[1].mean())
    return best[0], worst[0], difference_bootstrap(best[1], worst[1], seed, resamples)
