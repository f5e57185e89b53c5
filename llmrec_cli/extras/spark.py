"""Spark as the engine that applies the rules of a log: the same expressions as on DuckDB, on one machine or a cluster.

The driver reads and parses the raw files, as always, and hands their rows over as Parquet in the work directory, which
all executors must see. What the rules make lies there too; no more than a piece of it is in the driver's memory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa
import pyarrow.parquet as pq

from llmrec_cli.core.errors import MissingExtraError, SettingsError
from llmrec_cli.ingest.engine import Engine
from llmrec_cli.ingest.raw_log import RawLog
from llmrec_cli.ingest.rules import Frame

JAVA = "Java 17 or newer: apt-get install openjdk-17-jre-headless, or set JAVA_HOME"
LEAST_MEMORY = 1 << 30


class Spark:
    """A `FrameEngine` on a Spark session."""

    def __init__(self, session: Any, engine: Engine) -> None:
        self._session, self._engine, self._made = session, engine, 0

    def _path(self) -> Path:
        self._made += 1
        return self._engine.folder.absolute() / f"spark-{self._made}"

    def _read(self, path: Path) -> Frame:
        return nw.from_native(self._session.read.parquet(path.as_uri()))

    def log(self, log: RawLog) -> Frame:
        path = self._path().with_suffix(".parquet")
        self._engine.save(log.frame(), path)
        return self._read(path)

    def keep(self, frame: Frame) -> Frame:
        path = self._path()
        frame.to_native().write.parquet(path.as_uri())
        return self._read(path)

    def put(self, data: pa.Table) -> Frame:
        path = self._path().with_suffix(".parquet")
        pq.write_table(data, path)
        return self._read(path)

    def arrow(self, frame: Frame) -> pa.Table:
        return frame.to_native().toArrow()

    def batches(self, frame: Frame) -> Iterator[pa.RecordBatch]:
        """Spark writes the rows in order, a file for each part of them; these are read one after the other."""
        path = self._path()
        frame.to_native().write.parquet(path.as_uri())
        for part in sorted(path.glob("part-*.parquet")):
            with pq.ParquetFile(part) as file:
                yield from file.iter_batches()
        shutil.rmtree(path)


def start(master: str, memory: int, engine: Engine) -> Spark:
    """A session that ends with `engine`. MissingExtraError without pyspark or Java."""
    missing = absent()
    if missing:
        raise MissingExtraError(f"Spark cannot start: {missing[0]}", where="clean.engine", fix=missing[1])
    from pyspark.sql import SparkSession

    config = {
        "spark.app.name": "llmrec clean",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.log.level": "ERROR",
    }
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        config |= {"spark.driver.memory": f"{max(memory, LEAST_MEMORY) >> 20}m", "spark.sql.shuffle.partitions": "4"}
        config |= {"spark.local.dir": str(engine.folder.absolute()), "spark.driver.host": "127.0.0.1"}
    builder = SparkSession.builder.master(master)
    for name, value in config.items():
        builder = builder.config(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas 3, which nothing here goes through
        try:
            session = builder.getOrCreate()
        except Exception as error:
            what = f"Spark cannot start at {master!r}: {str(error).splitlines()[0]}"
            raise SettingsError(what, where="clean.spark_master", fix="local[2], yarn, spark://HOST:PORT") from error
    engine.closing.callback(session.stop)
    return Spark(session, engine)


def absent() -> tuple[str, str] | None:
    """What Spark lacks on this machine, and how to get it; None where nothing is."""
    try:
        import pyspark  # noqa: F401
    except ImportError:
        return "pyspark is not installed", "pip install 'llmrec-cli[spark]'; " + JAVA
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None or not Path(java).exists():
        return "there is no Java", JAVA
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = said.partition('"')[2].partition(".")[0].partition('"')[0]
    return None if version.isdigit() and int(version) >= 17 else (f"its Java is {version or 'none'}", JAVA)
