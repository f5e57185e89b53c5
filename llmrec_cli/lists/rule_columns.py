"""What the rules of lists read: columns and attributes of items and users, and the age of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.arrays import Doubles, Ints
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.data.attributes import by_name
from llmrec_cli.data.catalogue import Catalogue, group_numbers
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.lists.constraints import Constraints, pinned
from llmrec_cli.lists.exploration import Exploration
from llmrec_cli.lists.recommend_config import ConstraintsConfig, RecommendConfig

DAY = 86400
Columns = Mapping[str, Any]
"""Name -> an Arrow array."""


def item_columns(items: pa.Table, histories: Sequences, age_from: str = "") -> dict[str, pa.Array[Any]]:
    """What rules can read of items: the columns of `clean/items`, attributes, and `age_days` at the newest event.

    The age is counted from the first event, where the log has times (0 without events), or from the date in the
    attribute `age_from`. SettingsError where there is no such attribute.
    """
    found = _columns(items, (ITEM, "title", "text", "category", "tags", "n_events"))
    times = histories.times
    if times is not None and len(times):
        now = int(times.max())
        first = np.full(items.num_rows, now, dtype=np.int64)
        np.minimum.at(first, histories.codes, times)
        if age_from:
            first = _dates(found, age_from)
        found["age_days"] = pa.array((now - first) / DAY, from_pandas=True)
    return found


def user_columns(users: pa.Table, profiles: pa.Table) -> dict[str, pa.Array[Any]]:
    """What rules can read of users: the columns of `clean/users`, attributes, age band and segment."""
    return _columns(users, (USER, "age", "gender", "region", "n_events")) | _columns(profiles, ("age_band", "segment"))


def constraints_of(
    config: RecommendConfig, catalogue: Catalogue, items: pa.Table, histories: Sequences, seed: int
) -> Constraints:
    """What the settings ask of every list; SettingsError for a column that items do not have."""
    given, alike = config.constraints, catalogue.text_vectors if catalogue.text_vectors.shape[1] else catalogue.vectors
    made = Constraints.of(catalogue.titles, catalogue.categories, config.max_per_category, config.diversity, alike)
    return replace(
        made,
        pinned=pinned(given.pinned, catalogue.item_ids),
        caps=caps(given, items, histories),
        exploration=_exploration(given, items, histories, seed),
    )


def _exploration(config: ConstraintsConfig, items: pa.Table, histories: Sequences, seed: int) -> Exploration | None:
    """New are items first seen, or in `age_from` dated, at most `explore_days` before the newest event; without times
    and dates those that nobody chose. None where no place is given to them.
    """
    if not config.explore:
        return None
    new = histories.people() == 0
    if (ages := item_columns(items, histories, config.age_from).get("age_days")) is not None:
        age = np.asarray(ages.to_numpy(zero_copy_only=False), dtype=np.float64)
        new = np.where(np.isnan(age), new, age <= config.explore_days)
    return Exploration(new, config.explore, seed, len(config.pinned))


def caps(config: ConstraintsConfig, items: pa.Table, histories: Sequences) -> tuple[tuple[Ints, int], ...]:
    """`Constraints.caps` of the settings; SettingsError for a column that items do not have."""
    columns = item_columns(items, histories) if config.max_per else {}
    if missing := [name for name in config.max_per if name not in columns]:
        raise no_column(missing[0], columns, "recommend.constraints.max_per")
    texts = {name: ["" if v is None else str(v) for v in columns[name].to_pylist()] for name in config.max_per}
    return tuple((group_numbers(texts[name]), most) for name, most in config.max_per.items())


def of_late(histories: Sequences, days: float | None) -> Sequences:
    """The histories with what each user chose in so many days before the newest event of all forbidden."""
    if days is None:
        return histories
    if histories.times is None:
        raise DataError("the log has no times", where="recommend.constraints.repeat_after_days", fix="leave it out")
    late = histories.times >= histories.times.max(initial=0) - days * DAY
    return histories.forbid(histories.users[late], histories.codes[late])


def no_column(name: str, columns: Columns, setting: str) -> SettingsError:
    """The error for a column that a setting names and items do not have."""
    return SettingsError(f"items have no column {name!r}", where=setting, fix=f"there are {', '.join(columns)}")


def _columns(table: pa.Table, names: Sequence[str]) -> dict[str, pa.Array[Any]]:
    """Columns of these names, and attributes that have another; those with numbers alone are numbers."""
    attributes = by_name(table.column("attributes")) if "attributes" in table.column_names else {}
    return {
        **{name: _numbers(values) for name, values in attributes.items()},
        **{name: table.column(name).combine_chunks() for name in names},
    }


def _numbers(texts: pa.Array[Any]) -> pa.Array[Any]:
    try:
        return pc.utf8_trim_whitespace(texts).cast(pa.float64())
    except pa.ArrowInvalid:
        return texts


def _dates(columns: Columns, name: str) -> Doubles:
    """(items,) seconds of a column of dates, NaN where there is none."""
    if name not in columns:
        raise no_column(name, columns, "recommend.constraints.age_from")
    texts = columns[name].cast(pa.string())
    day = pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(texts), 0, 10)
    dates = pc.strptime(day, format="%Y-%m-%d", unit="s", error_is_null=True)
    if dates.null_count == len(dates):
        raise DataError(f"no value of {name!r} is a date", where="recommend.constraints.age_from", fix="2026-11-27")
    return np.asarray(pc.cast(dates.cast(pa.int64()), pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
