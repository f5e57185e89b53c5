"""What `recommend --to-item` and `--to-users` answer: items that go with one, users for it; nothing is changed."""

from __future__ import annotations

from typing import Any

from llmrec_cli.commands.show import Display, list_lines
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.config import Settings
from llmrec_cli.core.readonly import read_only
from llmrec_cli.core.registry import load_function
from llmrec_cli.core.stage import Context, state
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists import id_lists
from llmrec_cli.report.views import Titles, known_item, list_row, score
from llmrec_cli.stages import recommend

OF_ITEM = (ITEM, "title")


def to_item(work: WorkDir, settings: Settings, context: Context, item_id: str) -> Display:
    """Items for who looks at this one or chose it: `items` has rank, item_id, title, score, kind, people, reason.

    Takes no lock and writes nothing. DataError with near ids or titles for an item that is not known; UpstreamError
    where something that lists are made of is missing or stale.
    """
    rows, titles, head = _asked(work, settings, context, item_id, "related:related")
    items = [{**row, "score": score(row["score"]), "title": titles[row[ITEM]]} for row in rows]
    shown = list_lines([{**row, "reason": f"{row['kind']:<12}  {row['reason']}"} for row in items])
    return Display([f"for item {item_id}: {head['title']}", *head["notes"], *shown], head | {"items": items})


def to_users(work: WorkDir, settings: Settings, context: Context, item_id: str) -> Display:
    """Users for this item: `users` has rank, user_id, score, strategy, reason, evidence. Errors are as of `to_item`."""
    table, titles, head = _asked(work, settings, context, item_id, "audience:audience")
    found = [(row[USER], list_row(row, titles)) for row in table.to_pylist()]
    users = [
        {"rank": told["rank"], USER: user, **{name: told[name] for name in told if name not in OF_ITEM}}
        for user, told in found
    ]
    shown = list_lines([{**row, "title": row[USER]} for row in users])
    return Display([f"users for item {item_id}: {head['title']}", *head["notes"], *shown], head | {"users": users})


def _asked(
    work: WorkDir, settings: Settings, context: Context, item_id: str, function: str
) -> tuple[Any, Titles, dict[str, Any]]:
    """What a function of extras/ gives of the maker of lists and the item's code; titles; how the answer begins."""
    config = settings.section("recommend", recommend.STAGE.config)
    recommend.STAGE.ready(config, context)
    state(recommend.STAGE, work, config, context)
    with read_only(work, own_scratch=False) as reader:
        from llmrec_cli.lists.maker import maker_of
        from llmrec_cli.tensors.runtime import set_threads

        known_item(reader, item_id)
        set_threads(context.threads)
        maker, titles = maker_of(reader, config, context), Titles(reader)
        ids = maker.catalogue.item_ids
        found = load_function(f"llmrec_cli.extras.{function}")(maker, ids.index(item_id))
    notes = id_lists.notes(config, context.base, ids) if config.exclude else []
    return found, titles, {ITEM: item_id, "title": titles[item_id], "notes": notes}
