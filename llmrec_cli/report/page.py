"""Draws `report.html`: one file that loads nothing, runs only its own script and escapes whatever the data hold."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from llmrec_cli.core.artifacts import INTERACTIONS, ITEMS, PROFILES, RECOMMENDATIONS
from llmrec_cli.core.columns import ITEM
from llmrec_cli.core.version import __version__
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.report import figures, page_data

Json = dict[str, Any]
HERE = Path(__file__).parent


def render(work: WorkDir, n_users: int) -> str:
    """The page as HTML, with at most `n_users` users to look at."""
    script, style = _asset("page.js"), _asset("page.css")
    book = page_data.gather(work, n_users)
    names = {"strategies": figures.strategy_names(work)}
    return _template().render(
        policy=policy(script, style),
        script=Markup(script),
        style=Markup(style),
        data=embedded({**book, **names}),
        shown=len(book["users"]),
        facts=facts(work),
        version=__version__,
        **figures.all_of(work),
    )


def facts(work: WorkDir) -> Json:
    """The figures at the head of the page."""
    lists = work.read(RECOMMENDATIONS, [ITEM, "strategy"])
    profiles = work.read(PROFILES, ["n_events", "cold"])
    n_items = work.read(ITEMS, [ITEM]).num_rows
    distinct = len(lists.column(ITEM).unique())
    return {
        "users": profiles.num_rows,
        "cold": int(np.count_nonzero(profiles.column("cold").to_numpy())),
        "catalogue": n_items,
        "events": int(profiles.column("n_events").to_numpy().sum()),
        "rows": lists.num_rows,
        "distinct": distinct,
        "coverage": distinct / max(n_items, 1),
        "strategies": figures.strategies(lists.column("strategy"), figures.strategy_names(work)),
        "period": _period(work),
    }


def _period(work: WorkDir) -> tuple[str, str] | None:
    """First and last day of the log; None where the times are not known."""
    times = work.read(INTERACTIONS, ["time"]).column("time").drop_null()
    if len(times) == 0:
        return None
    import pyarrow.compute as pc

    ends = pc.min_max(times).as_py()
    return tuple(f"{ends[key].day} {ends[key]:%B %Y}" for key in ("min", "max"))  # type: ignore[return-value]


def embedded(data: Json) -> Markup:
    """JSON that can stand inside a script element: no character in it can end the element or open a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def policy(script: str, style: str) -> str:
    """A content security policy that lets only this script and this style run, and nothing be loaded."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "n": lambda value: f"{value:,.0f}",
        "percent": lambda value: f"{value:.1%}" if 0 < value < 0.1 else f"{value:.0%}",
        "score": lambda value: f"{value:.4f}",
        "at": lambda value: f"{value:.2f}",
    }
    return environment.get_template("page.html.j2")
