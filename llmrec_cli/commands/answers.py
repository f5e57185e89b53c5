"""What `recommend --user` answers: lists of some users under the given settings, without a change to anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from llmrec_cli.commands.show import Display, list_lines
from llmrec_cli.core.artifacts import ENCODER, ITEMS, PROFILES, RECOMMENDATIONS, SEQUENCES
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.config import Settings
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.lineage import verified_inputs
from llmrec_cli.core.readonly import read_only
from llmrec_cli.core.registry import load_function
from llmrec_cli.core.stage import Context, state
from llmrec_cli.core.text_cleaning import one_line
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists import id_lists
from llmrec_cli.report import views
from llmrec_cli.report.views import Json, Titles, list_row, readable, rows_of, unknown
from llmrec_cli.stages import recommend

Ids = Sequence[str]
NO_ITEMS = pa.table({ITEM: pa.array([], pa.string()), "people": pa.array([], pa.int64())})

NOTHING_FITS = "nothing in the list fits these words"
POPULAR: Json = {"strategy": "popularity", "evidence": []}


@dataclass(frozen=True)
class Answer:
    """The rows of `recommendations` of the users who are known, best first, and what is popular for the others."""

    users: list[str]
    """In the order of the question, each once."""
    rows: pa.Table
    popular: pa.Table
    """(item_id, people, reason), the most popular first; empty where all users are known."""
    without: Ids = ()
    """Items that were taken out of the history of the one user who is asked."""
    left: Ids = ()
    """Items of the user's list that are in it no more, best first."""
    wish: str = ""
    """What the lists should fit, in words."""
    notes: Ids = ()
    """What is to be said of a guest's history, and of the items that are left out."""

    @property
    def unknown_users(self) -> list[str]:
        known = set(self.rows.column(USER).to_pylist())
        return [user for user in self.users if user not in known]


def ask(
    work: WorkDir,
    settings: Settings,
    context: Context,
    users: Ids,
    *,
    without: Ids = (),
    wish: str | None = None,
    guest: tuple[Ids, Ids] | None = None,
    steer: Mapping[str, Ids] | None = None,
    force: bool = False,
) -> Answer:
    """The lists of some users under these settings. Takes no lock and writes nothing, so a read-only disk will do.

    They are read where the stored lists are up to date with the settings, and otherwise made for these users alone.
    `without` asks for the list of one user as if these items had not been chosen; DataError for one that was not.
    `wish` says in words what the lists should fit; SettingsError where it has none, DataError for an unknown user then.
    `guest` asks for somebody who is in no log, instead of users: items that were chosen, oldest first, and attributes
    such as "region=France". `steer` has words by "more", "less" and "never". UpstreamError where something is missing.
    """
    _check(users, without, guest, force)
    config = settings.section("recommend", recommend.STAGE.config)  # what it says of the log is not asked
    recommend.STAGE.ready(config, context)
    words = "" if wish is None else _words(wish)
    fresh = state(recommend.STAGE, work, config, context).fresh
    with read_only(work, own_scratch=False) as plain:
        reader, unique, notes = plain, list(dict.fromkeys(map(readable, users))), list[str]()
        if guest is not None:
            reader, unique, notes = load_function("llmrec_cli.extras.guest:joined")(plain, *guest, context)
        made = partial(recommend.answer, reader, config, context, unique, wish=words, steer=steer)
        asked = words or guest or steer
        rows = rows_of(reader, RECOMMENDATIONS, USER, unique) if fresh and not asked else made()
        unknown_too = len(pc.unique(rows.column(USER))) < len(unique)
        popular = recommend.popular(reader, config, context) if unknown_too else NO_ITEMS
        if config.exclude:
            notes += id_lists.notes(config, context.base, reader.read(ITEMS, [ITEM]).column(ITEM).to_pylist())
        answer = Answer(unique, rows, popular, wish=words, notes=notes)
        if (words or steer) and answer.unknown_users:
            raise unknown("user", answer.unknown_users[0], reader.read(PROFILES, [USER]).column(USER))
        if not without:
            return answer
        items = _chosen(reader, unique, list(dict.fromkeys(map(readable, without))))
        changed = made(without=items)
    return _left(answer, changed, items)


def _check(users: Ids, without: Ids, guest: object, force: bool) -> None:
    """SettingsError where what is asked does not go together."""
    if force:
        raise SettingsError("`--user` asks and writes nothing: there is nothing to force", fix="leave out --force")
    if guest is not None and (users or without):
        raise SettingsError("--history asks alone", where="--history", fix="leave out --user and --without")


def _left(answer: Answer, changed: pa.Table, without: Ids) -> Answer:
    """The changed list with what is in it no more."""
    kept = set(changed.column(ITEM).to_pylist())
    left = [item for item in answer.rows.sort_by("rank").column(ITEM).to_pylist() if item not in kept]
    return replace(answer, rows=changed, without=without, left=left)


def _fits(wish: str) -> tuple[str, ...]:
    """How the reasons of what fits a wish begin, in each language."""
    from llmrec_cli.lists.wording import SENTENCES, quoted

    return tuple(each.fits.format(wish=quoted(wish)) for each in SENTENCES.values())


def _words(wish: str) -> str:
    words = one_line(wish.encode(errors="replace").decode())
    if not words:
        raise SettingsError("the wish is empty", where="--ask", fix='--ask "something for the garden"')
    return words


def _chosen(work: WorkDir, users: Ids, items: list[str]) -> list[str]:
    """The items, after a check that the one user who is asked has chosen each; DataError otherwise."""
    if len(users) != 1:
        raise SettingsError("`--without` asks for one list", where="--without", fix="give one --user")
    verified_inputs(work, [ENCODER])
    history = rows_of(work, SEQUENCES, USER, users).column("item_ids")
    had = set(pc.list_flatten(history).to_pylist())
    for item in (item for item in items if item not in had):
        views.user(work, users[0])  # these two raise for an id that is not known
        views.item(work, item)
        raise DataError(f"user {users[0]!r} never chose item {item!r}", fix=f"llmrec show user {users[0]}")
    return items


def display(work: WorkDir, answer: Answer) -> list[Display]:
    """The answer for each user in turn; for an unknown user, with a note, what is popular."""
    titles, unknown_users = Titles(work), set(answer.unknown_users)
    by_user: dict[str, list[Json]] = {}
    for row in answer.rows.sort_by("rank").to_pylist():
        by_user.setdefault(row[USER], []).append(list_row(row, titles))
    out = []
    for user in answer.users:
        known = user not in unknown_users
        items = by_user[user] if known else _popular(answer, titles)
        fits = _fits(answer.wish) if answer.wish else ()
        note = list(answer.notes)
        note += [] if not answer.wish or any(row["reason"].startswith(fits) for row in items) else [NOTHING_FITS]
        note += [] if known else ["not among the users of this work directory: what is popular with everyone"]
        data: Json = {USER: user, "known": known, "items": items} | ({"ask": answer.wish} if answer.wish else {})
        data |= {"notes": list(answer.notes)} if answer.notes else {}
        if answer.without:
            data |= {"without": list(answer.without), "left": list(answer.left)}
            taken, left = (", ".join(titles[item] for item in each) for each in (answer.without, answer.left))
            note += [f"as if never chosen, with the models as they are: {taken}", f"left the list: {left or 'nothing'}"]
        out.append(Display([f"user {user}", *note, *list_lines(items)], data))
    return out


def rows_to_export(work: WorkDir, answer: Answer) -> pa.Table:
    """The rows in the order of the users; DataError with near ids for an unknown user."""
    if answer.unknown_users:
        raise unknown("user", answer.unknown_users[0], work.read(PROFILES, [USER]).column(USER))
    place = {user: n for n, user in enumerate(answer.users)}
    order = [place[user] for user in answer.rows.column(USER).to_pylist()]
    keyed = answer.rows.append_column("place", pa.array(order, type=pa.int64()))
    return keyed.sort_by([("place", "ascending"), ("rank", "ascending")]).drop_columns(["place"])


def _popular(answer: Answer, titles: Titles) -> list[Json]:
    return [
        list_row({"rank": place, ITEM: row[ITEM], "score": row["people"], "reason": row["reason"], **POPULAR}, titles)
        for place, row in enumerate(answer.popular.to_pylist(), start=1)
    ]
