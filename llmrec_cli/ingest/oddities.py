"""What is strange in a log and kept as it is: ids that say "none", ids alike but for their case, impossible ages,
many items without events.

Warnings are stored, so no id of a person is in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import did_you_mean
from llmrec_cli.data import words

NOTHING = ("na", "n/a", "#n/a", "nan", "null", "none", "nil", "undefined")
OLDEST = 120
UNUSUAL = 10
"""A catalogue so many times as long as what was chosen is worth a warning."""


def events(weights: Iterable[str], there: Iterable[str | None]) -> list[str]:
    """Warnings of weights for kinds of events that do not occur, which are likely misspelt."""
    known = list(filter(None, there))
    return [
        f"event_weights: no event is called {name!r}; {did_you_mean(name, known)}"
        for name in weights
        if name not in known
    ]


def ids(column: pa.ChunkedArray, n_events: pa.ChunkedArray, kind: str) -> list[str]:
    """Warnings of (rows,) ids of one `kind`, user or item, with the number of events of each."""
    data_warnings, lower = [], pc.utf8_lower(column)
    none = pc.and_(pc.is_in(lower, value_set=pa.array(NOTHING)), pc.greater(n_events, 0))
    if n := pc.sum(none).as_py():
        words = ", ".join(map(repr, sorted(column.filter(none).to_pylist())))
        events = pc.sum(n_events.filter(none)).as_py()
        what = f"{n:,} {kind} ids say that there is none ({words}; {events:,} events)"
        data_warnings.append(f"{what}: kept as ids; clean.interactions.where can leave them out")
    counted = pc.value_counts(lower)
    alike = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    if len(alike):
        some = column.filter(pc.equal(lower, alike[0])).to_pylist()[:2] if kind == "item" else []
        shown = f" ({', '.join(map(repr, some))})" if some else ""
        what = f"{len(alike):,} {kind} ids are there in upper and in lower case{shown}"
        data_warnings.append(f"{what}: kept apart, as different {kind}s")
    return data_warnings


def catalogue(n_events: pa.ChunkedArray) -> list[str]:
    """A warning where by far the most of the (items,) were never chosen: they are work in every later stage."""
    items, chosen = len(n_events), pc.sum(pc.greater(n_events, 0)).as_py() or 0
    if items < UNUSUAL * max(chosen, 1):
        return []
    return [
        f"{items - chosen:,} of {items:,} items have no event: every user's list is sought among all of them, "
        f"{items / max(chosen, 1):,.0f} times the work of the {chosen:,} that have some; "
        'clean.items.unseen = "drop" leaves the others out'
    ]


def tables(items: pa.Table, users: pa.Table) -> list[str]:
    """Warnings of `clean/items` and `clean/users`: their ids, and the catalogue's size."""
    found = ids(users.column(USER), users.column("n_events"), "user")
    found += ids(items.column(ITEM), items.column("n_events"), "item")
    return found + catalogue(items.column("n_events")) + languages(items.column("title"))


def language(titles: pa.ChunkedArray) -> list[str]:
    """What the (items,) titles are taken to be in, as a line; none without titles."""
    some = titles.null_count < len(titles)
    return [f"language of the titles: {words.language(titles.combine_chunks())}"] if some else []


def languages(titles: pa.ChunkedArray) -> list[str]:
    """A warning of (items,) titles that cannot be cut into words."""
    n = words.uncut(titles)
    what = f"{n:,} titles are Chinese, which is cut into words by a package that is not installed: they have no tags"
    return [f"{what}; pip install 'llmrec-cli[zh]'"] if n else []


def ages(texts: pa.Array, numbers: pa.ChunkedArray, columns: Sequence[str]) -> list[str]:
    """Warnings of (rows,) ages: what stands in `columns`, and the numbers that it was read as."""
    setting, name = "clean.users.age", " ".join(map(repr, columns))
    data_warnings = []
    unread = texts.filter(pc.and_(pc.is_valid(texts), pc.is_null(numbers.combine_chunks())))
    n_filled = len(texts) - texts.null_count
    if len(unread):
        common = pc.mode(unread.dictionary_encode().indices)[0]["mode"].as_py()
        example = unread.dictionary_encode().dictionary[common].as_py()
        fix = "name the column under clean.users.attributes, or give one with the lower end of each band"
        data_warnings.append(
            f"{setting}: {len(unread):,} of {n_filled:,} values of {name} are no numbers (most often {example!r}), "
            f"so no age is known there; {fix}"
        )
    odd = pc.or_kleene(pc.greater(numbers, OLDEST), pc.less(numbers, 0))
    if n := pc.sum(odd).as_py():
        data_warnings.append(f"{setting}: {n:,} values of {name} are below 0 or above {OLDEST}: kept; are they ages?")
    return data_warnings
