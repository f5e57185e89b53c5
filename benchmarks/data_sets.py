"""The data sets that are measured on: their settings, their raw files, and the counts that they must have."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent
SETTINGS = HERE / "settings"
WRITTEN_IN_SETTINGS = "../../data/"


@dataclass(frozen=True)
class DataSet:
    """A data set by the name of its settings file, with what it must have after cleaning."""

    name: str
    title: str
    users: int
    items: int
    events: int

    @property
    def settings(self) -> Path:
        return SETTINGS / f"{self.name}.toml"

    @property
    def paths(self) -> dict[str, str]:
        """`--set` key to the path of each raw file, below the folder of the data sets."""
        clean = tomllib.loads(self.settings.read_text(encoding="utf-8"))["clean"]
        named = {key: clean[key]["path"] for key in ("interactions", "items", "users") if "path" in clean.get(key, {})}
        return {f"clean.{key}.path": path.removeprefix(WRITTEN_IN_SETTINGS) for key, path in named.items()}

    @property
    def log(self) -> Path:
        """The file of the log."""
        return data_folder() / self.paths["clean.interactions.path"].partition("#")[0]

    def missing(self) -> str:
        """The first raw file that is not there; "" where all are."""
        paths = (data_folder() / path.partition("#")[0] for path in self.paths.values())
        return next((str(path) for path in paths if not path.is_file()), "")


DATA_SETS = {
    each.name: each
    for each in (
        DataSet("beauty", "Amazon Beauty 5-core", 22_363, 12_101, 198_502),
        DataSet("sports", "Amazon Sports 5-core", 35_598, 18_357, 296_337),
        DataSet("toys", "Amazon Toys 5-core", 19_412, 11_924, 167_597),
        DataSet("ml-1m", "MovieLens 1M", 6_040, 3_706, 1_000_209),
        DataSet("ml-100k", "MovieLens 100K", 943, 1_682, 100_000),
    )
}


def data_folder() -> Path:
    """Where the data sets lie: LLMREC_TEST_DATA, or data/ of the repository."""
    return Path(os.environ.get("LLMREC_TEST_DATA") or REPOSITORY / "data").resolve()
