"""Saved models and the people in them: what keeps histories is saved again without some; what cannot tell is named.

Only the program's own classes are asked: a name in a work directory may be anybody's, and nothing is imported for it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from llmrec_cli.core.arrays import Ints
from llmrec_cli.ranking.rankers import RANKERS
from llmrec_cli.ranking.retrievers import RETRIEVERS, load_class
from llmrec_cli.tensors import checkpoints

Rows = Ints


def holders(folder: Path) -> list[str]:
    """The saved sources that keep people's events. Raises UpstreamError where the folder is damaged."""
    return [name for name in _named(folder) if name in RETRIEVERS and _keeps_people(name)]


def strangers(folder: Path) -> list[str]:
    """The saved sources, or the ranker, of which nobody knows what they keep."""
    config = checkpoints.load_config(folder)
    if "ranker" in config:
        return [name for name in [str(config["ranker"])] if name not in RANKERS]
    return [name for name in _named(folder) if name not in RETRIEVERS]


def save_without(old: Path, new: Path, users: Rows) -> None:
    """Copy saved sources into an existing folder, those that keep people's events without the users of these rows."""
    shutil.copytree(old, new, dirs_exist_ok=True)
    for name in holders(old):
        config, tensors = checkpoints.load_model(old / name)
        kind: Any = load_class(name)
        kept = kind.restore(kind.Config(**config["settings"]), tensors).without(users)
        checkpoints.save_model(new / name, config, kept.tensors())


def _named(folder: Path) -> list[str]:
    return [str(name) for name in checkpoints.load_config(folder).get("retrievers", [])]


def _keeps_people(name: str) -> bool:
    return hasattr(load_class(name), "without")
