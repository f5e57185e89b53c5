"""The figures of the page as plain geometry: positions between 0 and 100 that the template turns into SVG and words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec_cli.core.arrays import Doubles
from llmrec_cli.core.artifacts import (
    FUNNEL,
    LOG_PROFILE,
    PRETRAIN_CURVE,
    RANKER_REPORT,
    RETRIEVERS,
    SLICES,
    TOPICS,
    VERDICT,
)
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ranking.candidate_config import LANGUAGE_MODEL
from llmrec_cli.ranking.private_retrievers import BEGIN

Json = dict[str, Any]
METRIC = "ndcg@10"
BASELINE = "popularity"
DAYS, POINTS = "events of a day", 60

BACKFILL_NAMES = {
    "popularity": "Popular with everyone",
    "segment-popularity": "Popular with their segment",
    "explore": "New, to find out who likes it",
}


def strategy_names(work: WorkDir) -> dict[str, str]:
    """Strategy -> what the page calls it: the labels of the retrievers, and of what lists were filled with."""
    from llmrec_cli.ranking.retrievers import saved_labels  # imports torch, which a ticket does without

    return {**BACKFILL_NAMES, **saved_labels(work.need(RETRIEVERS))}


def funnel(table: pa.Table) -> list[Json]:
    """One bar for each step: what is left and, on its right, what the step took out."""
    rows = table.to_pylist()
    largest = max((row["left"] + row["removed"] for row in rows), default=0) or 1
    return [
        {
            "rule": row["rule"],
            "left": row["left"],
            "removed": row["removed"],
            "kept_width": 100 * row["left"] / largest,
            "removed_width": 100 * row["removed"] / largest,
        }
        for row in rows
    ]


def log_profile(table: pa.Table) -> Json:
    """The measures that came and stayed, and events over time as two lines on one scale where there are times."""
    rows = table.to_pylist()
    days = [row for row in rows if row["part"] == DAYS]
    found: Json = {"measures": [row for row in rows if row["part"] != DAYS], "days": [row["name"] for row in days]}
    if days:
        at = np.array(found["days"], dtype="datetime64[D]").astype(np.int64)
        place = (at - at[0]) * POINTS // (at[-1] - at[0] + 1)
        sums = {name: np.bincount(place, [row[name] or 0 for row in days]) for name in ("came", "stayed")}
        found["most"] = sums["came"].max()
        for name, each in sums.items():
            across = np.linspace(0, 100, len(each))
            found[name] = " ".join(
                f"{x:.2f},{y:.2f}" for x, y in zip(across, 100 - 100 * each / found["most"], strict=True)
            )
    return found


def leaderboard(report: pa.Table, names: Mapping[str, str]) -> list[Json]:
    """Sources and rankers with their intervals on one scale, the best first within its kind."""
    rows = placed([row for row in report.to_pylist() if row["metric"] == METRIC])
    for row in rows:
        row["label"] = names.get(row["name"], row["name"]) if row["kind"] == "retriever" else row["name"]
    titles = {"ranker": "Rankers: order what the sources bring", "retriever": "Sources: each alone, over the catalogue"}
    boards: list[Json] = []
    for kind, title in titles.items():
        own = sorted((row for row in rows if row["kind"] == kind), key=lambda row: -row["value"])
        boards.append({"kind": kind, "title": title, "rows": own})
    return [board for board in boards if board["rows"]]


def validation(boards: list[Json]) -> Json | None:
    """The ranker that was kept against popularity and the best source, on validation."""
    rows = {board["kind"]: board["rows"] for board in boards}
    kept = next((row for row in rows.get("ranker", []) if row["chosen"]), None)
    everyone = [*rows.get("retriever", []), *rows.get("ranker", [])]
    other = next((row for row in everyone if row["name"] == BASELINE), None)
    if kept is None or other is None:
        return None
    source = next(iter(rows.get("retriever", [])), None)
    systems = [kept, other] if source in (None, other) else [kept, other, source]
    return {
        "ours": kept,
        "source": source,
        "rankers": len(rows["ranker"]),
        "systems": placed([dict(row) for row in systems]),
        "beats": kept["low"] > other["high"],
        "times": kept["value"] / other["value"] if other["value"] > 0 else None,
    }


def verdicts(work: WorkDir) -> list[Path]:
    """The verdict of each backtest of this work directory, by name."""
    return sorted(work.path.glob(f"evaluate/*/{VERDICT.path}"))


def backtests(work: WorkDir) -> list[Json]:
    """The verdicts of the backtests of this work directory, by name; the bars of each on one scale."""
    out = []
    for path in verdicts(work):
        found = json.loads(path.read_text(encoding="utf-8"))
        systems = [{"name": "llmrec", **found["pipeline"]}]
        systems += [{"name": each["baseline"], **each["value"]} for each in found["versus"]]
        out.append(
            {
                **found,
                "name": path.parents[1].name,
                "systems": placed(systems),
                "times": found["versus"][0]["times"],
                "slices": slices(WorkDir(path.parents[1]), found["metric"]),
            }
        )
    return out


def slices(work: WorkDir, metric: str) -> list[Json]:
    """For each way to part users or targets its slices in one scale of all, popularity next to the pipeline."""
    table = work.read(SLICES).to_pylist() if work.has(SLICES) else []
    shown = [row for row in table if row["metric"] == metric and row["slice"] != "gap"]
    popular = {(row["kind"], row["slice"]): row["value"] for row in shown if row["system"] == BASELINE}
    rows = placed([row for row in shown if row["system"] == "pipeline"])
    largest = max((row["high"] for row in rows), default=0) or 1
    gaps = {row["kind"]: row for row in table if row["slice"] == "gap" and row["system"] == "pipeline"}
    kinds: dict[str, Json] = {}
    for row in rows:
        other = popular.get((row["kind"], row["slice"]))
        row["other"] = None if other is None else min(100.0, 100 * other / largest)
        kinds.setdefault(row["kind"], {"kind": row["kind"], "rows": [], "gap": gaps.get(row["kind"])})["rows"].append(
            row
        )
    return list(kinds.values())


def placed(rows: list[Json]) -> list[Json]:
    """The rows with where their value and interval lie on one scale that begins at 0."""
    largest = max((row["high"] for row in rows), default=0) or 1
    for row in rows:
        row |= {
            "at": 100 * row["value"] / largest,
            "from": 100 * row["low"] / largest,
            "to": 100 * row["high"] / largest,
        }
    return rows


def curve(table: pa.Table) -> Json | None:
    """Validation accuracy after each epoch of the search as a polyline, with the best epoch."""
    rows = [row for row in table.to_pylist() if row["phase"] == "search" and row["ndcg"] is not None]
    if len(rows) < 2:
        return None
    accuracy, loss = (np.array([row[key] for row in rows], dtype=np.float64) for key in ("ndcg", "loss"))
    across = np.linspace(0, 100, len(rows))
    best = int(accuracy.argmax())
    return {
        "accuracy": _polyline(across, accuracy),
        "loss": _polyline(across, loss),
        "epochs": [rows[0]["epoch"], rows[-1]["epoch"]],
        "best": {
            "epoch": rows[best]["epoch"],
            "ndcg": accuracy[best],
            "x": across[best],
            "y": _heights(accuracy)[best],
        },
        "accuracy_range": [accuracy.min(), accuracy.max()],
        "loss_range": [loss.min(), loss.max()],
    }


def strategies(column: pa.ChunkedArray[Any], names: Mapping[str, str]) -> list[Json]:
    """How many rows each strategy found, the most first, as pieces of one bar."""
    counts = sorted(column.value_counts().to_pylist(), key=lambda each: (-each["counts"], each["values"]))
    total, start, out = sum(each["counts"] for each in counts) or 1, 0.0, []
    for place, each in enumerate(counts):
        share = each["counts"] / total
        name = names.get(each["values"], each["values"])
        out.append(
            {
                "name": name,
                "key": each["values"],
                "share": share,
                "start": 100 * start,
                "width": 100 * share,
                "hue": place % 8,
            }
        )
        start += share
    return out


def topics(work: WorkDir, n: int = 8) -> list[Json]:
    """The largest topics with their leading words; none where profiles found none."""
    rows = sorted(work.read(TOPICS).to_pylist(), key=lambda row: -row["weight"])[:n]
    largest = max((row["weight"] for row in rows), default=0) or 1
    return [{"words": row["words"][:5], "share": row["weight"], "width": 100 * row["weight"] / largest} for row in rows]


def all_of(work: WorkDir) -> Json:
    """Every figure for which there are data."""
    boards = leaderboard(work.read(RANKER_REPORT), strategy_names(work))
    return {
        "funnel": funnel(work.read(FUNNEL)),
        "log_profile": log_profile(work.read(LOG_PROFILE)),
        "leaderboard": boards,
        "validation": validation(boards),
        "backtests": backtests(work),
        "curve": curve(work.read(PRETRAIN_CURVE)),
        "topics": topics(work),
        "privacy": privacy(work),
    }


def privacy(work: WorkDir) -> list[str]:
    """What `train-ranker` reported of privacy, where any was asked for, and of a language model's part in the lists."""
    report = (work.record("train-ranker") or {}).get("report", {"warnings": [], "lines": []})
    return [line for line in (*report["warnings"], *report["lines"]) if line.startswith((*BEGIN, LANGUAGE_MODEL))]


def _heights(values: Doubles) -> Doubles:
    """Downwards from the top, as SVG counts."""
    span = values.max() - values.min()
    return np.asarray(100 - 100 * (values - values.min()) / (span if span > 0 else 1))


def _polyline(across: Doubles, values: Doubles) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in zip(across, _heights(values), strict=True))
