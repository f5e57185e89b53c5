"""What may be fitted with an encoder that was trained with differential privacy, and what of it is private."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmrec_cli.core.artifacts import ENCODER
from llmrec_cli.core.errors import SettingsError
from llmrec_cli.core.workdir import WorkDir

PRIVATE = frozenset({"sequence", "content", "tfidf"})
"""Retrievers that learn from people through the encoder alone, which is trained with noise, or not at all."""
BEGIN = ("private, epsilon", "left out, for they", "not private: ")


def budget(work: WorkDir) -> float:
    """The epsilon with which `pretrain` trained the encoder; 0 for none."""
    record = work.record(ENCODER.stage)
    return float(record["parts"]["settings"].get("dp_epsilon", 0)) if record else 0.0


def fitted(retrievers: Sequence[str], allowed: Sequence[str], epsilon: float) -> list[str]:
    """Those of the named retrievers that are fitted under this budget."""
    return [name for name in retrievers if not epsilon or name in PRIVATE or name in allowed]


def only(
    retrievers: Mapping[str, Any], rankers: Mapping[str, Any], allowed: Sequence[str], epsilon: float
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """What may be fitted with a private encoder, and what is reported of it: lines that begin as in `BEGIN`.

    `retrievers` and `rankers` have the class as `kind`. Retrievers that count events without noise are left out,
    except those allowed; so are rankers that need them.
    """
    left = {name: retrievers[name] for name in fitted([*retrievers], allowed, epsilon)}
    orders = {name: v for name, v in rankers.items() if set(v.kind.needs) <= set(left)}
    if not left or not orders:
        what = "nothing is left to fit: every retriever or ranker counts events without noise"
        fix = f"add one of {', '.join(sorted(PRIVATE))} and the ranker fusion, or name exceptions in dp_allow"
        raise SettingsError(what, where="train-ranker.dp_allow", fix=fix)
    missing = {
        "retrievers": [n for n in retrievers if n not in left],
        "rankers": [n for n in rankers if n not in orders],
    }
    out = [f"{kind} {', '.join(names)}" for kind, names in missing.items() if names]
    open_ = [name for name in left if name not in PRIVATE]
    lines = [f"private, epsilon = {epsilon:g}: the encoder, and {', '.join(n for n in left if n in PRIVATE)} with it"]
    if out:
        lines.append(f"left out, for they learn without noise: {'; '.join(out)}")
    counted = "topics, tags and texts, which count people, and what is popular, for users without events"
    others = ", ".join([*open_, "the ranker's weights", counted, "profiles and lists, which are each user's own"])
    return left, orders, [*lines, f"not private: {others}"]
