"""More of this, less of that, never the other: what users wish of their lists, by tags, categories, items or words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from llmrec_cli.core import pseudonyms
from llmrec_cli.core.arrays import Bools, Codes, Floats, Ints, within_groups
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.data.catalogue import Catalogue
from llmrec_cli.extras.wish import LEAST, MOST, embedded, standardised
from llmrec_cli.lists.build import Lists
from llmrec_cli.lists.maker import Maker
from llmrec_cli.lists.wording import led, quoted
from llmrec_cli.ranking.candidates import Candidates
from llmrec_cli.ranking.retrievers import Histories

KINDS = ("more", "less", "never")
COLUMNS = ("user", "wish", "what")


@dataclass(frozen=True)
class Wishes:
    """What users wish. All matrices are sparse, with ones."""

    words: tuple[str, ...]
    means: sp.csr_matrix
    """(words, items)"""
    given: dict[str, sp.csr_matrix]
    """Kind -> (users, words)"""

    @classmethod
    def of(cls, words: Sequence[str], means: sp.csr_matrix, rows: tuple[Ints, Ints, Ints], n_users: int) -> Wishes:
        """`rows` are, for each wish, the user's row number and the numbers of its kind and of its words."""
        users, kinds, numbers = rows
        of_kind = (kinds == n for n in range(len(KINDS)))
        cells = ((np.ones(hit.sum(), dtype=np.float32), (users[hit], numbers[hit])) for hit in of_kind)
        made = (sp.csr_matrix(each, shape=(n_users, len(words))) for each in cells)
        return cls(tuple(words), means, dict(zip(KINDS, made, strict=True)))

    def and_also(self, other: Wishes) -> Wishes:
        """The wishes of both, of the same users."""
        given = {kind: sp.hstack([self.given[kind], other.given[kind]]).tocsr() for kind in KINDS}
        return Wishes(self.words + other.words, sp.vstack([self.means, other.means]).tocsr(), given)

    def hits(self, kind: str, users: Ints, items: Codes | Ints) -> tuple[Ints, Ints]:
        """Which of (n,) pairs of users and items a wish of the kind means, and the number of its words."""
        given = self.given[kind]
        counts = np.diff(given.indptr)[users]
        pairs = np.repeat(np.arange(len(users)), counts)
        words = given.indices[np.repeat(given.indptr[:-1][users], counts) + within_groups(counts)]
        if not len(pairs):
            return pairs, words
        meant = np.asarray(self.means[words, items[pairs]]).ravel() > 0
        return pairs[meant], words[meant]

    def shift(self, users: Ints, items: Codes | Ints) -> Floats:
        """(n,) 1 for what a user wants more of, -1 for less, 0 for neither or both."""
        up, down = (np.bincount(self.hits(kind, users, items)[0], minlength=len(users)) > 0 for kind in KINDS[:2])
        return up.astype(np.float32) - down.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class SteeredMaker(Maker):
    """A maker of lists with more of some items and less of others for users who wish that."""

    wishes: Wishes

    @classmethod
    def of(cls, maker: Maker, wishes: Wishes) -> SteeredMaker:
        """Beside the wishes that the maker goes by already."""
        if isinstance(maker, SteeredMaker):
            wishes = maker.wishes.and_also(wishes)
        given = {each.name: getattr(maker, each.name) for each in fields(Maker)}
        return cls(**given | {"never": (wishes.given["never"], wishes.means)}, wishes=wishes)

    @cached_property
    def leading(self) -> sp.csr_matrix:
        """(words, items) of what words mean the items most chosen, `MOST` of each."""
        means, order = self.wishes.means.tocoo(), self.backfill.order
        place = np.full(len(self.catalogue), len(order))
        place[order] = np.arange(len(order))
        sorted_ = np.lexsort((place[means.col], means.row))
        rows, items = means.row[sorted_], means.col[sorted_]
        kept = (within_groups(np.unique(rows, return_counts=True)[1]) < MOST) & self.allowed[items]
        return sp.csr_matrix((np.ones(kept.sum(), dtype=np.float32), (rows[kept], items[kept])), shape=means.shape)

    def asked(self, rows: Ints) -> Histories:
        """What users want more of is among their candidates."""
        users, more = super().asked(rows), self.wishes.given["more"][self.of_all(rows)]
        return replace(users, sequences=replace(users.sequences, wanted=(more @ self.leading).tocsr()))

    def eligible(self, candidates: Candidates, known: Bools, rows: Ints) -> Candidates:
        """Also, for users without events, what they want more of."""
        wanted = self.wishes.shift(self.of_all(rows)[candidates.users], candidates.items) > 0
        return candidates.keep(candidates.rows(known) | wanted | (self.constraints.lifted(candidates.items) > 0))

    def scored(self, candidates: Candidates, known: Bools, rows: Ints) -> tuple[Floats, Callable[[Ints], Floats]]:
        """For who wishes, the ranker's order, standardised over the user's candidates, and the wishes on top.

        The order is the logarithm of the rank: a strength of s lifts an item of rank r to about r / 2.5^s, and a list
        of 10 ends 2 to 3 deviations above an ordinary candidate. So 2 reached only the best 60 candidates or so.
        """
        scores, shares_of = super().scored(candidates, known, rows)
        users, people = candidates.users, self.of_all(rows)
        order = standardised(-np.log1p(candidates.ranks(scores)), users, candidates.n_users)
        steered = order + self.config.wish_strength * self.wishes.shift(people[users], candidates.items)
        wishing = self.steered[people][users]
        return np.where(wishing, steered, scores).astype(np.float32), shares_of

    @cached_property
    def steered(self) -> Bools:
        """(users,) whose order wishes change."""
        known = np.diff(self.wishes.means.indptr) > 0
        return np.asarray(sum(self.wishes.given[kind] @ known for kind in KINDS[:2]) > 0)

    def table(self, start: int, lists: Lists) -> pa.Table:
        """The rows of a block; what a wish has moved says so."""
        rows = super().table(start, lists)
        reasons, users = rows.column("reason").to_pylist(), np.nonzero(lists.there)[0] + start
        say = self.explainer.wording.say
        for kind, said in zip(KINDS, (say.more, say.less), strict=False):
            hits = self.wishes.hits(kind, self.of_all(users), lists.items[lists.there])
            for at, words in zip(*(each.tolist() for each in hits), strict=True):
                reasons[at] = led(said.format(wish=quoted(self.wishes.words[words])), reasons[at])
        return rows.set_column(rows.column_names.index("reason"), "reason", pa.array(reasons, pa.string()))

    def account(self, lists: Lists) -> list[str]:
        """How many rows are what somebody wishes more or less of."""
        users, ranks = np.nonzero(lists.there)
        items = lists.items[users, ranks]
        more, less = (len(np.unique(self.wishes.hits(kind, users, items)[0])) for kind in KINDS[:2])
        people = np.count_nonzero(sum(np.diff(each.indptr) for each in self.wishes.given.values()))
        said = f"{more:,} rows are of what is wished more of, {less:,} of what is wished less of"
        return [*super().account(lists), f"wishes of {people:,} users: {said}"]


def by_file(maker: Maker, work: WorkDir) -> SteeredMaker:
    """The same maker with the wishes of the file that the settings name; what it makes nothing of is in `notes`.

    DataError for a file that is not such a table.
    """
    path = maker.context.base / maker.config.wishes
    table, notes = read(path), []
    names = table.column("user")
    rows = pc.index_in(names, value_set=maker.user_ids)
    if rows.null_count and (key := pseudonyms.find_key(maker.context.base)):
        hashed = pa.array([key.hash(name) for name in names.to_pylist()], pa.string())
        rows = pc.coalesce(rows, pc.index_in(hashed, value_set=maker.user_ids))
    if len(gone := pc.unique(names.filter(rows.is_null()))):
        notes.append(f"{len(gone):,} users of {path.name} have no list here, such as {gone[0].as_py()!r}")
    given = table.column("what").combine_chunks().dictionary_encode()
    words = given.dictionary.to_pylist()
    means = named(maker.catalogue, words)
    try:
        means = near(maker, work, words, means)
    except SettingsError as error:
        notes.append(f"no words of {path.name} but tags, categories and ids are read: {error.what}")
    if len(unknown := np.flatnonzero(np.diff(means.indptr) == 0)):
        example = quoted(words[unknown[0]])
        notes.append(f"{len(unknown):,} of {len(words):,} wishes of {path.name} mean no item, such as {example}")
    kinds = pc.index_in(table.column("wish"), value_set=pa.array(KINDS)).to_numpy()
    known = np.asarray(rows.is_valid())
    cells = np.asarray(rows.drop_null()), kinds[known], np.asarray(given.indices)[known]
    wishes = Wishes.of(words, means, cells, len(maker.user_ids))
    return replace(SteeredMaker.of(maker, wishes), notes=(*maker.notes, *notes))


def read(path: Path) -> pa.Table:
    """The rows of a file of wishes: texts in columns user, wish and what, each row once."""
    from pyarrow import csv

    try:
        options = csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.string()), include_columns=list(COLUMNS))
        table = csv.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
        fix = "a CSV file with the columns user, wish (more, less, never) and what"
        raise DataError(f"the wishes cannot be read: {error}", where=str(path), fix=fix) from error
    table = pa.table({name: pc.utf8_trim_whitespace(table.column(name)) for name in COLUMNS})
    good = pc.is_in(table.column("wish"), value_set=pa.array(KINDS))
    good = pc.and_(good, pc.greater(pc.utf8_length(table.column("what")), 0))
    if bad := len(table) - pc.sum(good).as_py() if len(table) else 0:
        place = good.to_numpy().argmin()
        row = ", ".join(repr(each) for each in table.slice(place, 1).to_pylist()[0].values())
        what = f"{bad:,} rows are not a user, more or less or never, and what: row {place + 1:,} has {row}"
        raise DataError(what, where=str(path), fix="A17,more,garden")
    return table.group_by(list(COLUMNS), use_threads=False).aggregate([])


def steered(maker: Maker, work: WorkDir, wishes: Mapping[str, Sequence[str]], users: Sequence[int]) -> SteeredMaker:
    """The same maker with wishes of users (row numbers): words by kind of `KINDS`, beside those of a file.

    Words mean the items that have them as a tag, as a level of the category or as their id, and otherwise those whose
    texts are near to them. What is never wanted is a rule like those of the settings. DataError where there are none,
    or nothing is left; SettingsError without a text encoder.
    """
    given = [(kind, each) for kind in KINDS for each in wishes.get(kind, ())]
    words = [each for _, each in given]
    if blank := [kind for kind, each in given if not each.strip()]:
        raise SettingsError(f"--{blank[0]} has no words", where=f"--{blank[0]}", fix=f"--{blank[0]} garden")
    means = near(maker, work, words, named(maker.catalogue, words))
    for (kind, each), n in zip(given, np.diff(means.indptr), strict=True):
        if not n:
            fix = "a tag, a category, an item's id, or words that are nearer to the items' texts"
            raise DataError(f"no item is {each!r}, or near to it", where=f"--{kind}", fix=fix)
    kinds = np.array([KINDS.index(kind) for kind, _ in given], dtype=np.int64)
    cells = np.repeat(users, len(given)), np.tile(kinds, len(users)), np.tile(np.arange(len(given)), len(users))
    made = SteeredMaker.of(maker, Wishes.of(words, means, cells, len(maker.user_ids)))
    never = np.asarray(means[kinds == KINDS.index("never")].sum(axis=0)).ravel() > 0
    if not (maker.allowed & ~never).any():
        raise DataError("--never leaves no item", where="--never", fix="take one of the words back")
    return made


def named(catalogue: Catalogue, words: Sequence[str]) -> sp.csr_matrix:
    """(words, items) ones where an item has the words as a tag, a level of its category or its id, in whatever case."""
    number: dict[str, list[int]] = {}
    for at, each in enumerate(words):
        number.setdefault(each.strip().casefold(), []).append(at)
    rows = zip(catalogue.item_ids, catalogue.tags, catalogue.categories, strict=True)
    labels = ({each.casefold() for each in (item, *tags, *path.split(" > "))} for item, tags, path in rows)
    cells = [(at, code) for code, its in enumerate(labels) for each in its & number.keys() for at in number[each]]
    return _ones(cells, len(words), len(catalogue))


def near(maker: Maker, work: WorkDir, words: Sequence[str], means: sp.csr_matrix) -> sp.csr_matrix:
    """The same where words that name nothing mean the items whose texts are near to them, by the text encoder."""
    free = np.flatnonzero(np.diff(means.indptr) == 0).tolist()
    if not free:
        return means
    n_items = len(maker.catalogue)
    vectors = embedded(work, [words[at] for at in free], maker.context)
    items, cells = vectors[:n_items], []
    for at, vector in zip(free, vectors[n_items:], strict=True):
        cosines = items @ vector
        best = np.argsort(-cosines, kind="stable")[:MOST]
        cells += [(at, code) for code in best[cosines[best] >= LEAST].tolist()]
    return (means + _ones(cells, len(words), n_items)).tocsr()


def _ones(cells: Iterable[tuple[int, int]], *shape: int) -> sp.csr_matrix:
    rows, columns = np.array(list(cells), dtype=np.int64).reshape(-1, 2).T
    return sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
