"""The profile of a log is counted again with pandas, from the raw file and from the rows that were kept."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest

from llmrec_cli.core.artifacts import INTERACTIONS, LOG_PROFILE, REJECTS
from llmrec_cli.core.config import load
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.stages.clean import STAGE, CleanConfig
from tests.conftest import SAMPLE
from tests.test_clean import ROOT, run

QUANTILES = {"fewest": 0, "10 %": 0.1, "half": 0.5, "90 %": 0.9, "99 %": 0.99, "most": 1}


def counted(events: pd.DataFrame) -> dict[tuple[str, str], float]:
    """The measures of rows with user_id, item_id and time."""
    found: dict[tuple[str, str], float] = {("log", "events"): len(events)}
    for word, column in (("user", "user_id"), ("item", "item_id")):
        counts = events[column].value_counts()
        part = f"events of a{'n' * (word == 'item')} {word}"
        found |= {("log", f"{word}s"): len(counts)} | {(part, n): counts.quantile(q) for n, q in QUANTILES.items()}
    for share in (0.01, 0.1, 0.5):
        most = counts.nlargest(max(1, round(share * len(counts)))).sum() / len(events)
        found["share of events", f"of the {share:.0%} most chosen items"] = most
    found["share of events", "the user had the item before"] = events.duplicated(["user_id", "item_id"]).mean()
    days = events["time"].dt.date.astype(str).value_counts()
    return found | {("events of a day", day): n for day, n in days.items()}


def profiled(work: WorkDir, side: str) -> dict[tuple[str, str], Any]:
    rows = work.read(LOG_PROFILE).to_pylist()
    return {(row["part"], row["name"]): row[side] for row in rows if row[side] is not None}


@pytest.mark.parametrize("holdout", ["none", "last"])
def test_the_profile_of_the_sample_survives_a_recount(tmp_path: Any, context: Context, holdout: str) -> None:
    settings = load(ROOT / "configs" / "retail.toml", environ={})
    config = settings.section("clean", CleanConfig).model_copy(update={"holdout": holdout})
    work = WorkDir(tmp_path / "work")
    execute(STAGE, work, config, dataclasses.replace(context, base=settings.base))
    raw = pd.read_csv(SAMPLE, dtype=str, keep_default_na=False).apply(lambda column: column.str.strip())
    raw["time"] = pd.to_datetime(raw["InvoiceDate"])
    raw = raw.rename(columns={"Customer ID": "user_id", "StockCode": "item_id"})
    kept = work.read(INTERACTIONS).to_pandas()
    rejects = work.read(REJECTS).to_pandas()
    valid = raw.drop(rejects[~rejects["reason"].isin(["duplicate", "repeat"])]["row"] - 1)
    for side, events, rows in (
        ("came", raw[(raw["user_id"] != "") & (raw["item_id"] != "")], raw),
        ("stayed", kept, raw.loc[kept["source_row"] - 1]),
    ):
        expected = counted(events)
        names = {"user_id": "Customer ID", "item_id": "StockCode", "InvoiceDate": "InvoiceDate"}
        for column in ("user_id", "item_id", "InvoiceDate", "Description", "Price", "Quantity", "Country"):
            expected["empty cells", names.get(column, column)] = (rows[column] == "").mean()
        if side == "came":
            again = valid.duplicated(["user_id", "item_id"]).mean()
            expected["share of events", "the user had the item before"] = again
        assert profiled(work, side) == pytest.approx(expected)


def test_a_log_without_times_and_cells_of_blanks(context: Context) -> None:
    settings = '[interactions]\npath = "log.csv"\nheader = true\nuser = "u"\nitem = "i"\n[items]\ntitle = "t"\n'
    log = "u,i,t\n" + "".join(f"{u},{i},{t}\n" for u, i, t in (("a", "x", " "), ("a", "y", "Y"), ("b", "x", "  X")))
    work, _ = run(context, {"log.csv": log}, settings, min_user_events=1)
    found = profiled(work, "came")
    assert not any(part == "events of a day" for part, _ in found)
    assert found["empty cells", "t"] == pytest.approx(1 / 3) and found["empty cells", "u"] == 0
    assert found["log", "users"] == 2 and "a" not in str(work.read(LOG_PROFILE).column("name").to_pylist()[:2])
