"""What is held of a person: every row in every table and backtest, by the registry of `forget`."""

from __future__ import annotations

from collections.abc import Sequence

from llmrec_cli.core import pseudonyms
from llmrec_cli.core.artifacts import RETRIEVERS, USERS
from llmrec_cli.core.columns import USER
from llmrec_cli.core.config import Settings
from llmrec_cli.core.errors import DataError
from llmrec_cli.core.records import Json
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.privacy.removal import TABLES, ids_in, places
from llmrec_cli.report.views import rows_of

ABOUT_MODELS = (
    "models have learned from the events as from everyone's; of the saved ones only the source userknn keeps them, as "
    f"weights of items under {RETRIEVERS.path}"
)


def held(work: WorkDir, user_id: str) -> Json:
    """All rows of one person by place and table; DataError for one of whom nothing is held."""
    found: Json = {}
    for each in places(work):
        name = each.path.relative_to(work.path).as_posix()
        rows = {t.path: rows_of(each, t, USER, [user_id]).to_pylist() for t in TABLES if each.has(t)}
        if some := {path: n for path, n in rows.items() if n}:
            found[name] = some
    if not found:
        raise DataError(f"nothing is held of {user_id!r}", where=str(work.path))
    return {USER: user_id, "held": found, "models": ABOUT_MODELS}


def as_written(work: WorkDir, settings: Settings, ids: Sequence[str]) -> list[str]:
    """How these people are called in the work directory: by their pseudonym, where it has such.

    MissingExtraError without the key, for an id that is not a pseudonym.
    """
    if not settings.pseudonymised:
        return list(ids)
    known = ids_in(work, [USERS])
    if known.issuperset(ids):
        return list(ids)
    key = pseudonyms.need_key(settings.base, "people are called by their pseudonyms here, which are made with it")
    return [user_id if user_id in known else key.hash(user_id) for user_id in ids]
