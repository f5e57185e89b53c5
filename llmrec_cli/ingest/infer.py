"""What the columns of a raw file mean, guessed from their names and what stands in them; each guess has a reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.ingest import times
from llmrec_cli.ingest.column_facts import MOST, Facts

GENDERS = "(?i:m|f|d|w|male|female|man|woman|other|diverse|unknown|non-binary)"
LISTED = r"[^|]+(?:\|[^|]+)+"
WEB = r"""(?i:https?://\S+|\[\s*["']https?://.*)"""
PICTURES = r"(?i:[^\s\[].*\.(?:jpe?g|png|webp|gif))"
RECORDINGS = r"(?i:[^\s\[].*\.(?:wav|flac|ogg|mp3))"
LONGEST_NAME = 8
"""Words; what is longer on average is a text, not a name."""
OLDEST = 120


@dataclass(frozen=True)
class Guess:
    """A role, the column that has it, and why."""

    role: str
    column: str
    why: str
    formats: tuple[str, ...] = ()
    """Of a time: the strptime formats that fit it; none where it needs none."""


def _first(role: str, candidates: Iterable[tuple[bool, Facts, str]]) -> Guess | None:
    return next((Guess(role, fact.name, why) for fits, fact, why in candidates if fits), None)


def log_roles(columns: Sequence[Facts], given: Mapping[str, str] | None = None) -> list[Guess]:
    """The roles of the columns of a log: user, item, and as far as there are time, event and value.

    `given` are columns that a person named for a role, "" for none.
    """
    named = [Guess(role, column, "as you say") for role, column in (given or {}).items() if column and role != "time"]
    taken = {g.column for g in named}
    time = _time([f for f in columns if f.name not in taken], (given or {}).get("time"))
    taken |= {time.column} if time else set()
    open_roles = {"user", "item", "event", "value"} - set(given or {})
    rest = [f for f in columns if f.distinct > 1 and f.name not in taken and not _dated(f)]
    user, item = _ids(rest, named)
    ids = [g for g in (user, item) if g is not None and g.role in open_roles]
    taken |= {g.column for g in ids}
    rest = [f for f in rest if f.name not in taken]
    few = [(f, f"{f.distinct} different texts") for f in rest if f.distinct <= 20 and f.words < 3 and not f.numbers]
    event = _first("event", ((f.named("event"), f, why) for f, why in few))
    numeric = [(f, _span(f)) for f in rest if f.numbers and 2 * f.filled > f.rows]
    headless = all(f.name.isdigit() for f in columns)
    value = _first("value", _by_name_first("value", numeric, named_only=not headless))
    found = {g.role: g for g in (*named, *ids, *([time] if time else [])) if g is not None}
    found |= {g.role: g for g in (event, value) if g is not None and g.role in open_roles}
    return [found[role] for role in ("user", "item", "time", "event", "value") if role in found]


def _time(columns: Sequence[Facts], given: str | None) -> Guess | None:
    """The column of the time of the events: that which is named so and needs no format first."""
    if given == "":
        return None
    if given is not None:
        return Guess("time", given, "as you say", _formats(next(f for f in columns if f.name == given)))
    dated = [f for f in columns if _dated(f) and (f.filled and (times.as_it_stands(f) or times.formats(f)))]
    if not dated:
        return None
    chosen = min(
        dated, key=lambda f: (not times.telling(f), not times.of_the_event(f), bool(_formats(f)), not f.numbers)
    )
    why = times.as_it_stands(chosen) or f"values such as {_such_as(chosen)}"
    return Guess("time", chosen.name, f"{_name(chosen, 'time')}{why}", _formats(chosen))


def _formats(fact: Facts) -> tuple[str, ...]:
    return () if times.as_it_stands(fact) else times.formats(fact)


def _dated(fact: Facts) -> bool:
    """Whether a column is a time by its values or by its name, and is not named an id."""
    if (fact.named("user") or fact.named("item")) and not times.telling(fact):
        return False
    return times.telling(fact) or bool(times.as_it_stands(fact) or times.formats(fact))


def unreadable_time(columns: Sequence[Facts], taken: Iterable[str]) -> Facts | None:
    """The first column that is named as a time and has other values than times."""
    rest = [f for f in columns if f.filled and f.name not in taken and times.telling(f) and times.of_the_event(f)]
    return next((f for f in rest if _dated(f)), None)


def _by_name_first(
    role: str, told: Sequence[tuple[Facts, str]], *, named_only: bool = False
) -> list[tuple[bool, Facts, str]]:
    """Candidates with a reason: those with a name of the role first, numbers before texts."""
    ranked = sorted(told, key=lambda t: (not t[0].named(role), t[0].numbers is None))
    return [(bool(why) and (f.named(role) or not named_only), f, f"{_name(f, role)}{why}") for f, why in ranked]


def _name(fact: Facts, role: str) -> str:
    return "its name; " if fact.named(role) else ""


def _span(fact: Facts) -> str:
    low, high = fact.numbers or (0.0, 0.0)
    return f"numbers from {low:g} to {high:g}"


def _ids(columns: Sequence[Facts], given: Sequence[Guess]) -> tuple[Guess | None, Guess | None]:
    """The user and the item: by name, "id" in it first; else the first two columns that repeat and look like ids.

    A name of several words is an id too where the column is named so and has nothing better beside it.
    """
    like_ids = [f for f in columns if f.words < 1.5 and (f.numbers is None or f.whole)]
    names = [f for f in columns if 1.5 <= f.words < LONGEST_NAME and f.numbers is None and f.distinct < f.filled]

    def best(role: str, taken: str | None) -> Guess | None:
        named = [f for f in like_ids if f.named(role) and f.name != taken]
        named = named or [f for f in names if f.named(role) and f.name != taken]
        named.sort(key=lambda f: (not re.search(r"id$|code$", f.name, re.I), f.named("value"), f.named("title")))
        if named:
            return Guess(role, named[0].name, f"its name; {named[0].distinct:,} different values")
        repeated = [f for f in like_ids if f.name != taken and f.distinct < f.rows and not f.named("value")]
        other = "item" if role == "user" else "user"
        repeated = [f for f in repeated if not f.named(other)]
        if not repeated:
            return None
        return Guess(role, repeated[0].name, f"{repeated[0].distinct:,} different values that repeat")

    known = {g.role: g for g in given}
    user = known.get("user") or best("user", None)
    return user, known.get("item") or best("item", user.column if user else None)


def properties(table: pa.Table, key: str, columns: Sequence[str]) -> pa.Table:
    """One row for each value of the key with those columns that are properties of it.

    A column is one where hardly any key has more than one value, and most keys have a value.
    """
    keyed = table.filter(pc.is_valid(table.column(key)))
    one = keyed.group_by([key], use_threads=False).aggregate([(c, "first") for c in columns])

    def belongs(column: str) -> bool:
        pairs = keyed.select([key, column]).filter(pc.is_valid(keyed.column(column)))
        n_keys = pc.count_distinct(pairs.column(key)).as_py()
        n_pairs = pairs.group_by([key, column]).aggregate([]).num_rows
        return 2 * n_keys > one.num_rows and n_pairs <= 1.25 * n_keys

    return pa.table({c: one.column(f"{c}_first") for c in columns if belongs(c)})


def key_columns(columns: Sequence[Facts]) -> list[Facts]:
    """The columns whose values hardly ever repeat and are short, as ids are."""
    sole = [f for f in columns if f.rows and f.filled == f.rows and f.distinct >= 0.9 * f.rows and f.words < 1.5]
    return [f for f in sole if (f.numbers is None or f.whole) and not _dated(f)]


def item_roles(columns: Sequence[Facts]) -> list[Guess]:
    """What the columns of an items file, its key left out, say of an item; several may be tags, text or attribute."""
    found: list[Guess] = []
    flags = [f for f in columns if f.numbers == (0.0, 1.0)]
    if len(flags) > 2:
        found += [Guess("tags", f.name, "only 0 and 1") for f in flags]
    rest = [f for f in columns if f.distinct > 1 and f not in flags]
    for fact in sorted(rest, key=lambda f: (f.name.lower() != "title", not f.named("title"), f.named("text"))):
        role, why = _item_role(fact, {g.role for g in found}, bool(flags))
        if role:
            found.append(Guess(role, fact.name, why))
    order = ("title", "text", "category", "tags", "image", "audio", "attribute")
    return sorted(found, key=lambda g: order.index(g.role))


def _item_role(fact: Facts, have: set[str], flags: bool) -> tuple[str, str]:
    """The role of one column, given the roles that others have."""
    web, picture, recording = (fact.share(regex) > 0.5 for regex in (WEB, PICTURES, RECORDINGS))
    listed = fact.share(LISTED) > 0.3
    varied = fact.distinct > 0.5 * fact.filled and fact.distinct > 10
    headless = fact.name.isdigit()
    tests = [
        ("", web, ""),
        ("image", picture and "image" not in have, f"{_name(fact, 'image')}names of picture files"),
        ("audio", recording and "audio" not in have, f"{_name(fact, 'audio')}names of recordings"),
        ("", picture or recording or bool(times.as_it_stands(fact)), ""),
        (
            "title",
            _titles(fact, varied, headless) and "title" not in have,
            "texts of a few words, nearly all different",
        ),
        ("category", fact.named("category") and not fact.numbers and "category" not in have, "its name"),
        ("tags", listed and not flags and "tags" not in have, "values separated by |"),
        ("text", fact.named("text") and fact.words >= 3 and 2 * fact.filled > fact.rows, "its name; long texts"),
        ("attribute", fact.named("attribute"), "its name"),
    ]
    return next(((role, why) for role, fits, why in tests if fits), ("", ""))


def _titles(fact: Facts, varied: bool, headless: bool) -> bool:
    return varied and fact.numbers is None and (fact.named("title") or (headless and fact.words > 1.5))


def user_roles(columns: Sequence[Facts]) -> list[Guess]:
    """What the columns of a users file, its key left out, say of a user: age, gender, region, attributes."""
    found: list[Guess] = []
    for fact in (f for f in columns if f.distinct > 1 and not f.share(WEB) > 0.5):
        low, high = fact.numbers or (0.0, 0.0)
        ages = fact.whole and low >= 0 and 40 <= high <= OLDEST and fact.distinct > 4
        years = fact.numbers is not None and fact.named("age") and low < OLDEST
        sexes = fact.distinct <= 8 and fact.share(GENDERS) >= MOST
        have = {g.role for g in found}
        if "gender" not in have and (sexes or fact.named("gender")):
            found.append(Guess("gender", fact.name, f"values such as {_such_as(fact)}"))
        elif "age" not in have and (years or (ages and fact.name.isdigit())):
            found.append(Guess("age", fact.name, f"{_name(fact, 'age')}{_span(fact)}"))
        elif "region" not in have and fact.named("region") and fact.distinct < 0.5 * fact.filled:
            found.append(Guess("region", fact.name, f"its name; {fact.distinct:,} different values"))
        elif fact.distinct <= 100 or fact.named("attribute"):
            no_age = f"no ages in years, but such as {_such_as(fact)}; " if fact.named("age") else ""
            found.append(Guess("attribute", fact.name, f"{no_age}{fact.distinct:,} different values"))
    return found


def _such_as(fact: Facts) -> str:
    return ", ".join(fact.values.slice(0, 3).to_pylist())


def why_left_out(fact: Facts, *, log: bool) -> str:
    """Why a column of a file has no role."""
    if not fact.filled:
        return "empty"
    if fact.distinct == 1:
        return "the same value in every row"
    if fact.share(WEB) > 0.5:
        return "web addresses: only files below the settings file's folder are read"
    if times.as_it_stands(fact) or times.formats(fact):
        return "another time" if log else "a time; not used of items and users"
    if times.telling(fact):
        return f"no times, though named so: {_such_as(fact)}"
    return "neither its name nor its values tell a role"
