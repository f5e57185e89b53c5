"""Spark applies the rules as this machine's arrays do: the same rows, rejects and tables."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llmrec_cli.core.errors import MissingExtraError
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.extras import spark
from llmrec_cli.stages.clean import STAGE, CleanConfig
from tests.conftest import SAMPLE
from tests.test_checked_log import TIMED, write_log

ML_100K = Path(os.environ.get("LLMREC_TEST_DATA", "nowhere")) / "ml-100k" / "u.data"
LACK = spark.absent()


def settings(name: str, folder: Path) -> dict[str, Any]:
    """The settings of a log that lies in the folder afterwards."""
    if name == "sample":
        shutil.copy(SAMPLE, folder / "log.csv")
        log = {"user": "Customer ID", "item": "StockCode", "time": "InvoiceDate", "value": "Quantity"}
        rules: dict[str, Any] = {"cancellations": "match", "min_user_events": 5, "min_item_events": 5}
        return {"interactions": {"path": "log.csv", **log}, **rules, "items": {"title": "Description"}}
    if name == "ml-100k":
        if not ML_100K.exists():
            pytest.skip("LLMREC_TEST_DATA does not name the folder with ml-100k")
        log = {"user": 0, "item": 1, "time": 3, "value": 2}
        return {"interactions": {"path": str(ML_100K), **log}, "negative_below": 2, "min_item_events": 5}
    write_log(folder, np.random.default_rng(5), 300)
    names = {"path": ["log1.csv", "log2.csv"], "user": "user", "item": "item", **TIMED}
    return {"interactions": {**names, "where": "n IS NULL OR n < 2"}, "repeats": "last", "min_support": 3} | {
        "holdout": "last",
        "outlier_z": 0.1,
    }


@pytest.mark.skipif(LACK is not None, reason=" ".join(LACK or ()))
@pytest.mark.parametrize("name", ["sample", "ml-100k", "ragged"])
def test_spark_gives_the_same_tables(name: str, tmp_path: Path, context: Context) -> None:
    given, found = settings(name, tmp_path), dict[str, dict[str, pa.Table]]()
    for engine in ("duckdb", "spark"):
        work = WorkDir(tmp_path / engine)
        execute(STAGE, work, CleanConfig.model_validate({**given, "engine": engine}), context)
        there = [table for table in STAGE.writes if work.has(table)]
        found[engine] = {table.path: work.read(table) for table in there}  # type: ignore[arg-type]
        assert not list(work.path.rglob("spark-*"))
    assert found["duckdb"].keys() == found["spark"].keys()
    for path, table in found["duckdb"].items():
        assert table.equals(found["spark"][path]), path
    assert found["spark"]["clean/interactions.parquet"].num_rows > 20


def test_without_java_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark, "absent", lambda: ("there is no Java", spark.JAVA))
    with pytest.raises(MissingExtraError, match="there is no Java") as missing:
        spark.start("local[2]", 1 << 30, None)  # type: ignore[arg-type]
    assert "openjdk-17-jre-headless" in str(missing.value.fix)
