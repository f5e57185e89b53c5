"""What the columns of a raw file mean, guessed from their names and what stands in them; each guess has a reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

NAMES = {
    "user": r"user|customer|client|reviewer|member|visitor|shopper|buyer|subscriber|account",
    "item": r"item|product|movie|film|article|artist|song|track|book|game|stock|sku|asin|isbn|venue|news|video",
    "time": r"time|date|\bts\b|when",
    "value": r"rating|score|star|overall|quantity|qty|weight|count|hours|duration|dwell|play|amount",
    "event": r"event|action|behaviou?r|\btype\b",
    "title": r"title|name|headline|description",
    "category": r"categor|department|section|main_cat",
    "tags": r"tag|genre|keyword|attribute|topic",
    "text": r"description|summary|abstract|text|overview|feature|plot|synopsis",
    "image": r"image|picture|poster|cover|photo|thumbnail",
    "audio": r"audio|preview|recording",
    "age": r"\bage\b",
    "gender": r"gender|\bsex\b",
    "region": r"country|region|\bcity\b|\bstate\b|province|nation",
    "attribute": r"brand|price|year|author|director|label|occupation|publisher|\bzip|postal|postcode",
}
GENDERS = frozenset("m f d w male female man woman other diverse unknown non-binary".split())  # noqa: SIM905
LISTED = re.compile(r"[^|]+(\|[^|]+)+")
ADDRESS = re.compile(r"https?://\S+|\S+\.(jpe?g|png|webp|gif)|\[\"https?://.*", re.I)
MOST = 0.95
LONGEST_NAME = 8
"""Words; what is longer on average is a text, not a name."""
# Seconds since 1970 between 1990 and 2100, and the same in ms and us.
UNIX = tuple((6.3e8 * scale, 4.1e9 * scale) for scale in (1, 1e3, 1e6))


@dataclass(frozen=True)
class Facts:
    """What the values of a column have in common."""

    name: str
    rows: int
    filled: int
    distinct: int
    numbers: tuple[float, float] | None
    """Least and greatest where nearly all are numbers."""
    whole: bool
    """Every number is a whole one."""
    words: float
    """Mean number of words."""
    values: pa.Array
    """The different values."""

    def named(self, role: str) -> bool:
        plain = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\W]+", " ", self.name).lower()
        return re.search(NAMES[role], plain) is not None

    def share(self, test: Callable[[str], object], most: int = 2000) -> float:
        """The share of the different values (the first of them) for which a test holds."""
        some = self.values.slice(0, most).to_pylist()
        return sum(bool(test(value)) for value in some) / max(len(some), 1)


def facts(table: pa.Table) -> dict[str, Facts]:
    """Facts of each column of a table of texts; empty cells count as missing."""
    return {name: _facts(name, table.column(name)) for name in table.column_names}


def _facts(name: str, column: pa.ChunkedArray) -> Facts:
    values = pc.utf8_trim_whitespace(column)
    values = values.filter(pc.fill_null(pc.not_equal(values, ""), False))
    different = values.unique()
    numeric = pc.match_substring_regex(different, r"^[+-]?\d+(\.\d+)?$")
    numbers = different.filter(numeric).cast(pa.float64())
    span = None
    if len(numbers) and len(numbers) >= MOST * len(different):
        low_high = pc.min_max(numbers).as_py()
        span = (low_high["min"], low_high["max"])
    whole = span is not None and bool(pc.all(pc.equal(numbers, pc.floor(numbers))).as_py())
    words = pc.mean(pc.count_substring(different, " ")).as_py()
    return Facts(name, len(column), len(values), len(different), span, whole, 1 + (words or 0), different)


@dataclass(frozen=True)
class Guess:
    """A role, the column that has it, and why."""

    role: str
    column: str
    why: str


def _first(role: str, candidates: Iterable[tuple[bool, Facts, str]]) -> Guess | None:
    return next((Guess(role, fact.name, why) for fits, fact, why in candidates if fits), None)


def is_time(fact: Facts) -> str:
    """Why a column is a time, or ""."""
    if fact.numbers:
        low, high = fact.numbers
        fits = fact.distinct > 1 and any(start <= low and high < end for start, end in UNIX)
        return "numbers in the range of Unix times" if fits else ""
    dates = fact.share(lambda value: re.match(r"\d{4}-\d{1,2}-\d{1,2}([T ]\d|$)", value))
    return "ISO dates" if fact.filled and dates >= MOST else ""


def log_roles(table: pa.Table) -> list[Guess]:
    """The roles of the columns of a log: user, item, and as far as there are time, event and value."""
    columns = list(facts(table).values())
    time = _first("time", _by_name_first("time", [(f, is_time(f)) for f in columns]))
    rest = [f for f in columns if f.distinct > 1 and (time is None or f.name != time.column) and not is_time(f)]
    user, item = _ids(rest)
    found = [g for g in (user, item, time) if g is not None]
    taken = {g.column for g in found}
    rest = [f for f in rest if f.name not in taken]
    few = [(f, f"{f.distinct} different texts") for f in rest if f.distinct <= 20 and f.words < 3 and not f.numbers]
    event = _first("event", ((f.named("event"), f, why) for f, why in few))
    numeric = [(f, _span(f)) for f in rest if f.numbers and 2 * f.filled > f.rows]
    headless = all(f.name.isdigit() for f in columns)
    value = _first("value", _by_name_first("value", numeric, named_only=not headless))
    return found + [g for g in (event, value) if g is not None]


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


def _ids(columns: Sequence[Facts]) -> tuple[Guess | None, Guess | None]:
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

    user = best("user", None)
    return user, best("item", user.column if user else None)


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


def key_column(table: pa.Table) -> str | None:
    """The first column whose values hardly ever repeat and are short, as ids are."""
    for fact in facts(table).values():
        if fact.filled == fact.rows and fact.distinct >= 0.9 * fact.rows and fact.words < 1.5 and not is_time(fact):
            return fact.name
    return None


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
    address = fact.share(ADDRESS.match) > 0.5
    listed = fact.share(LISTED.fullmatch) > 0.3 and not address
    varied = fact.distinct > 0.5 * fact.filled and fact.distinct > 10
    headless = fact.name.isdigit()
    tests = [
        ("image", address and fact.named("image") and "image" not in have, "its name; addresses of pictures"),
        ("audio", address and fact.named("audio") and "audio" not in have, "its name; addresses"),
        ("", address or bool(is_time(fact)), ""),
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
    for fact in (f for f in columns if f.distinct > 1):
        low, high = fact.numbers or (0.0, 0.0)
        ages = fact.whole and low >= 0 and 40 <= high <= 120 and fact.distinct > 4
        sexes = fact.distinct <= 8 and fact.share(lambda value: value.lower() in GENDERS) >= MOST
        have = {g.role for g in found}
        if "gender" not in have and (sexes or fact.named("gender")):
            found.append(Guess("gender", fact.name, f"values such as {', '.join(fact.values.to_pylist()[:3])}"))
        elif "age" not in have and (fact.named("age") or (ages and fact.name.isdigit())):
            found.append(Guess("age", fact.name, f"{_name(fact, 'age')}{_span(fact)}"))
        elif "region" not in have and fact.named("region") and fact.distinct < 0.5 * fact.filled:
            found.append(Guess("region", fact.name, f"its name; {fact.distinct:,} different values"))
        elif fact.distinct <= 100 or fact.named("attribute"):
            found.append(Guess("attribute", fact.name, f"{fact.distinct:,} different values"))
    return found
