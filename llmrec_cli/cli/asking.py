"""What `recommend` can be asked about some users, somebody who is in no log, or an item; nothing is changed by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from llmrec_cli.cli.options import Common
from llmrec_cli.core.errors import SettingsError

STEER = ("more", "less", "never")
ASKS: dict[str, tuple[str, ...]] = {
    "user": ("without", "ask", *STEER),
    "history": ("set_user", "ask", *STEER),
    "to_item": (),
    "to_users": (),
}
"""What a question is about, and the options that say more of it."""
SHAPES = {"--user": "USER", "--history": "A,B,C"}
Export = tuple[str | None, str | None]


@dataclass(frozen=True)
class Question:
    """The options of a question; all empty where none is asked."""

    user: Annotated[list[str] | None, typer.Option(help="Print this user's list, change nothing; may be repeated.")] = (
        None
    )
    without: Annotated[
        list[str] | None, typer.Option(help="With --user: as if this item had not been chosen; may be repeated.")
    ] = None
    ask: Annotated[str | None, typer.Option(help="With --user: in words, what the list should fit.")] = None
    history: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Ask for somebody who chose these items, oldest first.")
    ] = None
    set_user: Annotated[list[str] | None, typer.Option(help="With --history: region=France; may be repeated.")] = None
    more: Annotated[list[str] | None, typer.Option(help="With --user: more of this tag, category, item or words.")] = (
        None
    )
    less: Annotated[list[str] | None, typer.Option(help="With --user: less of it; these may be repeated.")] = None
    never: Annotated[list[str] | None, typer.Option(help="With --user: nothing of it.")] = None
    to_item: Annotated[
        str | None,
        typer.Option(metavar="ITEM", help="Print what people choose after or with this item, and what is like it."),
    ] = None
    to_users: Annotated[
        str | None, typer.Option(metavar="ITEM", help="Print the users for whom this item is best.")
    ] = None

    def about(self) -> str:
        """What the question is about, a name of `ASKS`; "" for none. SettingsError where options do not go together."""
        given = [name for name, typed in vars(self).items() if typed is not None and typed != []]
        about, *more = [name for name in ASKS if name in given] or [""]
        if more:
            raise SettingsError(f"{_typed(more[0])} asks alone", fix=f"leave out {_typed(about)}")
        for name in given:
            if name != about and name not in ASKS.get(about, ()):
                goes = [_typed(each) for each, more in ASKS.items() if name in more]
                raise SettingsError(
                    f"{_typed(name)} goes with {' or '.join(goes)}", fix=f"give {goes[0]} {SHAPES[goes[0]]}"
                )
        return about


def answer(common: Common, question: Question, export: Export, *, force: bool, **options: Any) -> None:
    """Print the lists of some users under the given options, or export them (format, file); nothing is changed."""
    from llmrec_cli.commands import answers
    from llmrec_cli.privacy.held import as_written

    settings = common.settings("recommend", **options)
    users, (format, output) = as_written(common.workdir, settings, question.user or []), export
    steer = {name: each for name in STEER if (each := getattr(question, name))}
    guest = None if question.history is None else (_ids(question.history), question.set_user or [])
    found = answers.ask(
        common.workdir,
        settings,
        common.context(settings),
        users,
        without=question.without or [],
        wish=question.ask,
        guest=guest,
        steer=steer,
        force=force,
    )
    if format:
        from llmrec_cli.report import exports

        rows = answers.rows_to_export(common.workdir, found)
        exports.export(common.workdir, format, output, rows)
        if common.as_json:
            summary = {"file": output, "format": format, "users": len(found.users), "rows": rows.num_rows}
            common.console.print_json(summary)
        return
    shown = answers.display(common.workdir, found)
    data = [each.data for each in shown]
    common.console.either([line for each in shown for line in each.lines], data if len(data) > 1 else data[0])


def about_item(common: Common, question: Question, export: Export, *, force: bool, **options: Any) -> None:
    """Print what goes with an item, or the users for it; nothing is changed."""
    from llmrec_cli.commands import item_answers

    if any(export) or force:
        raise SettingsError("an item is asked about and nothing is written", fix="leave out --format, -o and --force")
    settings = common.settings("recommend", **options)
    asked = item_answers.to_item if question.to_users is None else item_answers.to_users
    item = question.to_item if question.to_users is None else question.to_users
    shown = asked(common.workdir, settings, common.context(settings), str(item))
    common.console.either(shown.lines, shown.data)


def _typed(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _ids(typed: str) -> list[str]:
    return [each.strip() for each in typed.split(",") if each.strip()]
