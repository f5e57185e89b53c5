"""What the columns of a raw file mean, inferred from their names and values, each with a reason."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from llmrec_cli.ingest import times
from llmrec_cli.ingest import value_patterns as patterns
from llmrec_cli.ingest.column_facts import MOST, Facts, varies
from llmrec_cli.ingest.column_names import plain

LONGEST_NAME = 8
"""Words; what is longer on average is a text, not a name."""
OLDEST = 120
MOSTLY = 0.3
"""A column in which so many rows say that there is none holds no ids."""
WORDS_OF_A_REVIEW = 4
MANY = 50
"""Different values of a category with commas are lists of categories if they are more than these."""
TELLING = {"event", "image", "audio", "gender", "region"}
"""Fields whose values hardly mean anything else."""
SINGLE = {"title", "category", "tags", "image", "audio"}
"""The fields of items that one column has."""
FIELDS = ("user", "item", "time", "value", "event", "review")
"""The fields of a log, in the order in which they are written."""


@dataclass(frozen=True)
class InferredColumn:
    """The field of the settings that a column is for, and the reason."""

    field: str
    column: str
    reason: str
    formats: tuple[str, ...] = ()
    """Of a time: the strptime formats that fit it; none where it needs none."""
    options: tuple[tuple[str, str], ...] = ()
    """Further settings that go with it: how numbers are written, what separates levels or tags."""
    level: str = ""
    """sure: its name and its values agree; likely: one of them says so; guessed; "" where it was not inferred."""


def setting(field: str) -> str:
    """What the settings call a field."""
    return "attributes" if field == "attribute" else field


def log_columns(columns: Sequence[Facts], given: Mapping[str, str] | None = None) -> list[InferredColumn]:
    """The columns of a log: user, item, and where there are any time, value, event and review.

    `given` maps fields to the columns that the settings name, "" for none.
    """
    of_settings = (given or {}).items()
    named = [InferredColumn(field, column, "given") for field, column in of_settings if column and field != "time"]
    taken = {g.column for g in named}
    time = _time([f for f in columns if f.name not in taken], (given or {}).get("time"))
    taken |= {time.column} if time else set()
    open_fields = {"user", "item", "event", "value", "review"} - set(given or {})
    rest = [f for f in columns if f.n_distinct > 1 and f.name not in taken and not _dated(f)]
    user, item = _ids(rest, named)
    ids = [g for g in (user, item) if g is not None and g.field in open_fields]
    taken |= {g.column for g in ids}
    rest = [f for f in rest if f.name not in taken]
    few = [f for f in rest if f.n_distinct <= 20 and f.words < 3 and not f.numbers]
    few = [f for f in sorted(few, key=lambda f: not f.named("event")) if f.named("event") or _kinds(f)]
    headless = all(f.name.isdigit() for f in columns)
    numeric = [f for f in rest if f.numbers and 2 * f.n_filled > f.rows and (f.named("value") or headless)]
    numeric.sort(key=lambda f: not f.named("value"))
    # the longer of several: a review rather than its headline
    told = [f for f in rest if f.named("review") or (f.named("text") and 2 * f.n_distinct > f.n_filled)]
    told = [f for f in told if f.words >= WORDS_OF_A_REVIEW or f.share(patterns.CHINESE) > 0.5]
    long = sorted(told, key=lambda f: (not f.named("review"), -f.words))
    others = [InferredColumn("event", f.name, f"{_name(f, 'event')}{f.n_distinct} different texts") for f in few[:1]]
    for f in numeric[:1]:
        options = (("decimal", ","),) if f.decimal == "," else ()
        others.append(InferredColumn("value", f.name, f"{_name(f, 'value')}{_span(f)}", options=options))
    others += [InferredColumn("review", f.name, "its name; texts of some length") for f in long[:1]]
    found = {g.field: g for g in (*named, *ids, *([time] if time else []))}
    found |= {g.field: g for g in others if g.field in open_fields}
    return _weighed([found[field] for field in FIELDS if field in found], "interactions")


def _weighed(found: Sequence[InferredColumn], section: str) -> list[InferredColumn]:
    """The same with how sure each is; where only the values speak for it the reason says what would change it."""

    def weighed(each: InferredColumn) -> InferredColumn:
        if each.reason.startswith(("given", "its name; ")):
            return replace(each, level="sure" if each.reason != "given" else "")
        if each.reason == "its name" or each.field == "time":
            return replace(each, level="likely")
        level = "likely" if each.field in TELLING else "guessed"
        reason = f"{each.reason}; --set clean.{section}.{setting(each.field)}=COLUMN changes it"
        return replace(each, level=level, reason=reason)

    return list(map(weighed, found))


def confirmed(found: InferredColumn, file: str) -> InferredColumn:
    """A guess at a column of ids, where a file describes what has these; the same for anything else."""
    if not file or found.level != "guessed":
        return found
    return replace(found, level="likely", reason=f"the ids of {file}; {found.reason.partition('; ')[2]}")


def _time(columns: Sequence[Facts], given: str | None) -> InferredColumn | None:
    """The column of the time of the events: that which is named so and needs no format first."""
    if given == "":
        return None
    if given is not None:
        return InferredColumn("time", given, "given", _formats(next(f for f in columns if f.name == given)))
    dated = [f for f in columns if _dated(f) and (f.n_filled and (times.readable_as_is(f) or times.formats(f)))]
    if not dated:
        return None
    chosen = min(
        dated,
        key=lambda f: (not times.named_as_time(f), not times.named_as_event_time(f), bool(_formats(f)), not f.numbers),
    )
    reason = times.readable_as_is(chosen) or f"values such as {_examples(chosen)}"
    return InferredColumn("time", chosen.name, f"{_name(chosen, 'time')}{reason}", _formats(chosen))


def _formats(fact: Facts) -> tuple[str, ...]:
    return () if times.readable_as_is(fact) else times.formats(fact)


def _dated(fact: Facts) -> bool:
    """Whether a column is a time by its values or by its name, and is not named an id."""
    if (fact.named("user") or fact.named("item")) and not times.named_as_time(fact):
        return False
    return times.named_as_time(fact) or bool(times.readable_as_is(fact) or times.formats(fact))


def unreadable_time(columns: Sequence[Facts], taken: Iterable[str]) -> Facts | None:
    """The first column that is named as a time and has other values than times."""
    rest = (f for f in columns if f.n_filled and f.name not in taken)
    return next((f for f in rest if times.named_as_time(f) and times.named_as_event_time(f)), None)


def _name(fact: Facts, field: str) -> str:
    return "its name; " if fact.named(field) else ""


def _kinds(fact: Facts) -> bool:
    """Whether the values are words for kinds of events."""
    return all(re.fullmatch(patterns.EVENTS, plain(value)) for value in fact.values.to_pylist())


def _span(fact: Facts) -> str:
    low, high = fact.numbers or (0.0, 0.0)
    return f"numbers from {low:g} to {high:g}"


def _ids(
    columns: Sequence[Facts], given: Sequence[InferredColumn]
) -> tuple[InferredColumn | None, InferredColumn | None]:
    """The user and the item: by name, "id" in it first; else the first two columns that repeat and look like ids.

    A name of several words is an id too where the column is named so and no other column is better.
    """
    columns = [f for f in columns if f.void < MOSTLY]
    like_ids = [f for f in columns if f.words < 1.5 and (f.numbers is None or f.whole)]
    names = [f for f in columns if 1.5 <= f.words < LONGEST_NAME and f.numbers is None and f.n_distinct < f.n_filled]

    def best(field: str, taken: str | None) -> InferredColumn | None:
        named = [f for f in like_ids if f.named(field) and f.name != taken]
        named = named or [f for f in names if f.named(field) and f.name != taken]
        if field == "user":
            named = named or [f for f in like_ids if "session" in f.plain_name]
        named.sort(key=lambda f: (not re.search(r"id$|code$", f.name, re.I), f.named("value"), f.named("title")))
        if named:
            return InferredColumn(field, named[0].name, f"its name; {named[0].n_distinct:,} different values")
        repeated = [f for f in like_ids if f.name != taken and f.n_distinct < f.rows and not f.named("value")]
        other = "item" if field == "user" else "user"
        repeated = [f for f in repeated if not f.named(other) and not _kinds(f)]
        repeated = repeated or [f for f in names if f.name.isdigit() and f.name != taken]
        if not repeated:
            return None
        return InferredColumn(field, repeated[0].name, f"{repeated[0].n_distinct:,} different values that repeat")

    known = {g.field: g for g in given}
    user = known.get("user") or best("user", None)
    return user, known.get("item") or best("item", user.column if user else None)


def key_columns(columns: Sequence[Facts]) -> list[Facts]:
    """The columns whose values hardly ever repeat and are short, as ids are."""
    sole = [f for f in columns if f.rows and f.n_filled == f.rows and f.n_distinct >= 0.9 * f.rows and f.words < 1.5]
    return [f for f in sole if (f.numbers is None or f.whole) and not _dated(f)]


def item_columns(columns: Sequence[Facts]) -> list[InferredColumn]:
    """The columns of an items file without its key, by field; several may be tags, text or attribute."""
    found: list[InferredColumn] = []
    flags = [f for f in columns if f.numbers == (0.0, 1.0)]
    if len(flags) > 2:
        found += [InferredColumn("tags", f.name, "only 0 and 1") for f in flags]
    rest = [f for f in columns if f.n_distinct > 1 and f not in flags]
    for fact in sorted(rest, key=lambda f: (f.name.lower() != "title", not f.named("title"), f.named("text"))):
        field, reason = _item_field(fact, {g.field for g in found}, bool(flags))
        if field:
            ways = {"category": patterns.LEVELS, "tags": patterns.LISTED}.get(field, {})
            way = " " if ways and fact.name.endswith(":token_seq") else ""  # of an atomic file
            way = way or next((way for way in ("", "|", "/", ",") if way in ways and fact.share(ways[way]) > 0.3), "")
            options = ((f"{field}_separator", way),) if way in ("/", ",", " ") else ()
            found.append(InferredColumn(field, fact.name, reason, options=options))
    order = ("title", "text", "category", "tags", "image", "audio", "attribute")
    return _weighed(sorted(found, key=lambda g: order.index(g.field)), "items")


def _item_field(fact: Facts, have: set[str], flags: bool) -> tuple[str, str]:
    """The field of one column, given the fields that others have."""
    web, image, audio = (
        fact.share(regex) > 0.5 for regex in (patterns.WEB, patterns.IMAGE_SUFFIXES, patterns.AUDIO_SUFFIXES)
    )
    several = {way: fact.share(regex) > 0.3 for way, regex in patterns.LISTED.items()}
    varied = fact.n_distinct > 0.5 * fact.n_filled and fact.n_distinct > 10
    other = fact.named("attribute") or fact.named("text") or fact.share(r"\[\s*\]") > 0
    tags = several["|"] or (several[""] and not varied and not other)
    tags = tags or (fact.named("tags") and (any(several.values()) or not varied))
    levels = fact.share(patterns.LEVELS[""]) > 0.5 and not varied
    many = several["|"] or (several[","] and fact.n_distinct > MANY)
    tags = tags or (fact.named("category") and many) or fact.name.endswith(":token_seq")
    category = levels or (fact.named("category") and not many)
    titles = varied and fact.numbers is None
    titles = titles and (fact.named("title") or (fact.name.isdigit() and fact.words > 1.5))
    tests = [
        ("", web, ""),
        ("image", image, f"{_name(fact, 'image')}names of image files"),
        ("audio", audio, f"{_name(fact, 'audio')}names of audio files"),
        ("", image or audio or bool(times.readable_as_is(fact)), ""),
        ("title", titles, f"{_name(fact, 'title')}texts of a few words, nearly all different"),
        ("category", category and not fact.numbers, f"{_name(fact, 'category')}{fact.n_distinct:,} different texts"),
        ("tags", tags and not flags and not fact.numbers, f"{_name(fact, 'tags')}several in a cell"),
        ("text", fact.named("text") and fact.words >= 3 and 2 * fact.n_filled > fact.rows, "its name; long texts"),
        ("attribute", fact.named("attribute"), "its name"),
        ("attribute", fact.share(patterns.MONEY) > 0.5, "amounts of money"),
    ]
    return next(((field, why) for field, fits, why in tests if fits and not {field} & have & SINGLE), ("", ""))


def user_columns(columns: Sequence[Facts]) -> list[InferredColumn]:
    """The columns of a users file without its key, by field: age, gender, region, attributes."""
    found: list[InferredColumn] = []
    for fact in (f for f in columns if f.n_distinct > 1 and not f.share(patterns.WEB) > 0.5):
        low, high = fact.numbers or (0.0, 0.0)
        ages = fact.whole and low >= 0 and 40 <= high <= OLDEST and fact.n_distinct > 4
        years = fact.numbers is not None and fact.named("age") and low < OLDEST
        sexes = fact.n_distinct <= 8 and fact.share(patterns.GENDERS) >= MOST
        bands = fact.share(patterns.BAND) > 0.8 and (fact.named("age") or fact.name.isdigit())
        codes = fact.name.isdigit() and fact.share("[A-Z]{2}") >= MOST
        lands = codes or fact.share(f"(?i:{patterns.COUNTRIES})") > 0.5
        have = {g.field for g in found}
        if "gender" not in have and (sexes or fact.named("gender")):
            reason = f"{_name(fact, 'gender')}values such as {_examples(fact)}"
            found.append(InferredColumn("gender", fact.name, reason))
        elif "age" not in have and (years or (ages and fact.name.isdigit())):
            found.append(InferredColumn("age", fact.name, f"{_name(fact, 'age')}{_span(fact)}"))
        elif "age" not in have and bands:
            reason = f"{_name(fact, 'age')}bands such as {_examples(fact)}, of which the lower end is read"
            found.append(InferredColumn("age", fact.name, reason))
        elif "region" not in have and (fact.named("region") or lands) and fact.n_distinct < 0.5 * fact.n_filled:
            reason = f"{_name(fact, 'region')}{fact.n_distinct:,} different values"
            found.append(InferredColumn("region", fact.name, reason))
        elif fact.n_distinct <= 100 or fact.named("attribute"):
            no_age = f"no ages, but such as {_examples(fact)}; " if fact.named("age") else ""
            found.append(InferredColumn("attribute", fact.name, f"{no_age}{fact.n_distinct:,} different values"))
    return _weighed(found, "users")


def _examples(fact: Facts) -> str:
    return ", ".join(fact.values.slice(0, 3).to_pylist())


def varied(table: pa.Table, facts: Mapping[str, Facts], item: str) -> dict[str, str]:
    """Columns of a log that are named as attributes but differ among the rows of an item: what takes them in."""
    found = [name for name, fact in facts.items() if fact.named("attribute") and varies(table, item, name)]
    settings = (shlex.quote(f"clean.items.attributes={json.dumps([name], ensure_ascii=False)}") for name in found)
    said = "its values differ among the rows of an item; --set {} takes the most frequent"
    return {name: said.format(setting) for name, setting in zip(found, settings, strict=True)}


def unused_reason(fact: Facts, *, log: bool) -> str:
    """Why a column of a file is not used."""
    if fact.n_distinct < 2:
        return "the same value in every row" if fact.n_filled else "empty"
    if fact.share(patterns.WEB) > 0.5:
        return "web addresses: only files below the settings file's folder are read"
    if times.readable_as_is(fact) or times.formats(fact):
        return "another time" if log else "a time; not used of items and users"
    if times.named_as_time(fact):
        return f"no times, though named so: {_examples(fact)}"
    return "neither its name nor its values show what it is for"
