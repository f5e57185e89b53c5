"""The rules of `recommend.constraints.where`: which items a user may have, by the columns of both.

Each rule is a table of the distinct values that it reads of users and of items, or, where that would be too large, a
question to the engine about pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Bools, Codes, Ints
from llmrec_cli.core.columns import USER
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.data.interactions import Sequences
from llmrec_cli.lists.recommend_config import ConstraintsConfig
from llmrec_cli.lists.rule_columns import Columns, item_columns, user_columns

SETTING = "recommend.constraints.where"
VALUES, CELLS = 1000, 1 << 26
"""Distinct values of users, and pairs of values, up to which a rule is a table."""
ROWS = 1 << 18


@dataclass(frozen=True)
class Rule:
    """One of the conditions that must all hold; where a value is missing, none does."""

    text: str
    """As it is printed."""
    of_users: Ints
    """(users,) the number of the values that it reads of each."""
    of_items: Ints
    table: Bools | None
    """(values of users, values of items); None where pairs are too many."""
    asked: Callable[[Ints, Ints], Bools]
    """Whether it holds for pairs of users and items (row numbers), by the engine."""

    @property
    def of_items_alone(self) -> bool:
        return not self.of_users.any()

    def holds(self, users: Ints, items: Ints) -> Bools:
        """(n,) for pairs of row numbers."""
        if self.table is None:
            return self.asked(users, items)
        found: Bools = self.table[self.of_users[users], self.of_items[items]]
        return found


@dataclass(frozen=True)
class Rules:
    """All rules of one run."""

    rules: tuple[Rule, ...] = ()
    wholes: tuple[Callable[[Ints, Ints], Bools], ...] = ()
    """The conditions as they stand in the settings, by the engine: what finished lists are checked with."""
    allowed: Bools | None = None
    """(items,) what the rules of items alone leave; None is everything."""
    masks: Bools | None = None
    """(kinds of users, values) what the other rules leave each kind; None where there are none, or pairs are asked."""
    kinds: Ints | None = None
    """(users,) rows of `masks`."""
    values: Ints | None = None
    """(items,) columns of `masks`."""
    pairwise: tuple[Rule, ...] = ()
    """Rules that are checked on candidates."""
    left_out: dict[str, Ints] = field(default_factory=dict, init=False, compare=False)
    """Rule -> (items,) how many candidates it took out when it was checked on candidates."""

    @classmethod
    def of(cls, conditions: Sequence[str], items: Columns, users: Columns) -> Rules:
        """SettingsError for a condition that is not harmless or reads a column that is not there."""
        from llmrec_cli.ingest import engine_filter

        with engine_filter.setting(SETTING):
            terms = [term for each in conditions for term in engine_filter.terms(each)]
            rules = [_rule(text, items, users) for text in terms]
            wholes = tuple(partial(_asked, text, *_read(text, items, users)) for text in conditions)
        alone = [rule.table[0][rule.of_items] for rule in rules if rule.of_items_alone and rule.table is not None]
        allowed = np.all(alone, axis=0) if alone else None
        both = [rule for rule in rules if not rule.of_items_alone or rule.table is None]
        masks = _masks(both) if all(rule.table is not None for rule in both) else None
        given = (tuple(rules), wholes, allowed)
        return cls(*given, pairwise=tuple(both)) if masks is None else cls(*given, *masks)

    def groups(self, users: Ints) -> Iterator[tuple[Ints, Bools | None]]:
        """Places in `users` (row numbers) that may have the same items, and the (items,) mask of these."""
        if self.masks is None or self.kinds is None or self.values is None:
            yield np.arange(len(users)), None
            return
        for kind in np.unique(self.kinds[users]):
            yield np.flatnonzero(self.kinds[users] == kind), self.masks[kind][self.values]

    def hold(self, users: Ints, items: Ints | Codes, *, count: bool = False) -> Bools:
        """(n,) for pairs, by the rules that are checked on candidates; `count` those that they take out."""
        out = np.ones(len(users), dtype=bool)
        for rule in self.pairwise:
            good = rule.holds(users, items.astype(np.int64))
            if count:
                before = self.left_out.get(rule.text, 0)
                self.left_out[rule.text] = before + np.bincount(items[~good], minlength=len(rule.of_items))
            out &= good
        return out

    def broken(self, users: Ints, lists: Codes) -> int:
        """How many rows of (users, k) lists the condition does not hold for."""
        rows, ranks = np.nonzero(lists >= 0)
        pairs = users[rows], lists[rows, ranks].astype(np.int64)
        held = [holds(*pairs) for holds in self.wholes] if len(rows) else []
        return int((~np.all(held, axis=0)).sum()) if held else 0

    def leave(self, allowed: Bools) -> Bools:
        """(items,) what the rules leave of the allowed items; DataError, with counts, where nobody may have any."""
        left = allowed if self.allowed is None else allowed & self.allowed
        some = left if self.masks is None else left & np.asarray(self.masks.any(axis=0))[self.values]
        if not some.any() and allowed.any():
            table = [f"  {text}: keeps {(~out).sum():,} of {len(out):,} items" for text, out in self._taken()]
            raise DataError("the rules leave nobody an item", where=SETTING, table=table, fix="loosen a rule")
        return left

    def _taken(self) -> Iterator[tuple[str, Bools]]:
        """Each rule with (items,) what nobody may have for it."""
        for rule in self.rules:
            if rule.table is not None:
                yield rule.text, ~np.asarray(rule.table.any(axis=0))[rule.of_items]

    def account(self, users: Ints | slice = slice(None)) -> dict[str, Ints]:
        """Rule -> (items,) how many of the users (all, or row numbers) may not have each item for it.

        Of a rule that is checked on candidates: how many candidates it took out.
        """
        found = {}
        for rule in self.rules:
            if rule.text in self.left_out or rule.table is None:
                found[rule.text] = self.left_out.get(rule.text, np.zeros(len(rule.of_items), dtype=np.int64))
            else:
                people = np.bincount(rule.of_users[users], minlength=len(rule.table))
                found[rule.text] = (people @ ~rule.table)[rule.of_items]
        return found

    def lines(self, there: Bools, n_items: int) -> list[str]:
        """What each rule takes out, of all users and of those whose lists are short; `there` (users, k) are the rows.

        DataError where no list has a row.
        """
        short = np.flatnonzero(~there.all(axis=1))
        every, of_short = self.account(), self.account(short)
        n_users, out = len(there), []
        for rule, people in every.items():
            pairs, everybody = int(people.sum()), int((people == n_users).sum())
            line = f"rule {rule}: keeps {everybody:,} of {n_items:,} items from everybody"
            if rule in self.left_out:
                line = f"rule {rule}: {pairs:,} candidates taken out"
            elif pairs > everybody * n_users:
                line += f", and {pairs / n_users / n_items:.0%} of all from a user"
            if len(short) and rule not in self.left_out:
                line += f"; {of_short[rule].sum() / len(short):,.0f} where a list is short"
            out.append(line)
        if out and not there.any():
            raise DataError("the rules leave nobody an item", where=SETTING, table=out, fix="loosen a rule")
        return out


def rules_of(
    config: ConstraintsConfig,
    items: pa.Table,
    histories: Sequences,
    users: pa.Table,
    profiles: pa.Table,
    *,
    nobody: bool = False,
) -> Rules:
    """The rules of the settings; `nobody` is for one user of whom nothing is known, in place of all."""
    if not config.conditions:
        return Rules()
    columns = user_columns(users, profiles)
    if nobody:
        columns = {name: pa.array([""]) if name == USER else pa.nulls(1, of.type) for name, of in columns.items()}
    return Rules.of(config.conditions, item_columns(items, histories, config.age_from), columns)


def check(config: ConstraintsConfig, *, filter_seen: bool) -> None:
    """SettingsError for conditions that are not harmless, whatever the columns are, and for settings at odds."""
    if filter_seen and config.repeat_after_days is not None:
        where, fix = "recommend.constraints.repeat_after_days", "set recommend.filter_seen = false"
        raise SettingsError("recommend.filter_seen lets nothing come again", where=where, fix=fix)
    if config.where:
        from llmrec_cli.ingest import engine_filter

        with engine_filter.setting(SETTING):
            engine_filter.check(config.where)


def _rule(text: str, items: Columns, users: Columns) -> Rule:
    of_item, of_user = _read(text, items, users)
    n_items, n_users = (len(next(iter(each.values()))) for each in (items, users))
    (item_values, item_rows), (user_values, user_rows) = _distinct(of_item, n_items), _distinct(of_user, n_users)
    asked, table = partial(_asked, text, of_item, of_user), None
    if len(user_rows) <= VALUES and len(user_rows) * len(item_rows) <= CELLS:
        shape = len(user_rows), len(item_rows)
        table = asked(np.repeat(user_rows, shape[1]), np.tile(item_rows, shape[0])).reshape(shape)
    return Rule(text.replace('"user".', "user."), user_values, item_values, table, asked)


def _read(text: str, items: Columns, users: Columns) -> tuple[Columns, Columns]:
    """The columns of items and of users that a condition reads."""
    from llmrec_cli.ingest import engine_filter

    item, user = engine_filter.SIDES
    there = [*(f"{item}.{name}" for name in items), *(f"{user}.{name}" for name in users)]
    names = [name.split(".", 1) for name in engine_filter.columns(text, there)]
    of_item = {name: items[name] for side, name in names if side == item}
    return of_item, {name: users[name] for side, name in names if side == user}


def _distinct(columns: Columns, n: int) -> tuple[Ints, Ints]:
    """(rows,) the number of a row's values, and a row for each number."""
    codes = np.zeros(n, dtype=np.int64)
    for values in columns.values():
        if pa.types.is_nested(values.type):
            codes = np.arange(n)
            break
        own = np.asarray(values.dictionary_encode(null_encoding="encode").indices, dtype=np.int64)
        codes = np.unique(codes * (own.max(initial=0) + 1) + own, return_inverse=True)[1]
    return codes, np.unique(codes, return_index=True)[1]


def _masks(rules: Sequence[Rule]) -> tuple[Bools, Ints, Ints] | None:
    """`masks`, `kinds` and `values` of rules with tables; None without rules, or where there are too many kinds."""
    if not rules:
        return None
    (users, user_rows), (values, item_rows) = (
        _distinct({str(n): pa.array(each) for n, each in enumerate(codes)}, len(codes[0]))
        for codes in ([rule.of_users for rule in rules], [rule.of_items for rule in rules])
    )
    if len(user_rows) > VALUES or len(user_rows) * len(item_rows) > CELLS:
        return None
    tables = [rule.table[np.ix_(rule.of_users[user_rows], rule.of_items[item_rows])] for rule in rules]  # type: ignore[index]
    masks, kinds = np.unique(np.all(tables, axis=0), axis=0, return_inverse=True)
    return masks, kinds.ravel()[users], values


def _asked(text: str, of_item: Columns, of_user: Columns, users: Ints, items: Ints) -> Bools:
    """(n,) whether the condition holds for pairs of row numbers."""
    from llmrec_cli.ingest import engine_filter

    both = zip(engine_filter.SIDES, (of_item, of_user), (items, users), strict=True)
    sides = [each for each in both if each[1]]

    def batch(start: int) -> pa.RecordBatch:
        part = slice(start, min(start + ROWS, len(users)))
        structs = {
            side: pa.StructArray.from_arrays([each.take(pa.array(rows[part])) for each in given.values()], list(given))
            for side, given, rows in sides
        }
        return pa.record_batch({engine_filter.KEY: pa.array(np.arange(part.start, part.stop) + 1), **structs})

    batches = map(batch, range(0, len(users), ROWS))
    reader = pa.RecordBatchReader.from_batches(batch(0).slice(0, 0).schema, batches)
    with engine_filter.setting(SETTING):
        return engine_filter.passing(reader, len(users), text, ())
