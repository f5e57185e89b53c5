"""Classes by name: of the settings, and of a work directory that may come from anybody."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llmrec_cli.core import registry
from llmrec_cli.core.config import Settings
from llmrec_cli.core.errors import SettingsError, UpstreamError
from llmrec_cli.core.registry import load_variant
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ranking import rankers, retrievers
from llmrec_cli.ranking.rankers.popularity_order import PopularityRanker
from tests import tiny


class Mine(PopularityRanker):
    """A ranker of the user's own."""


MINE = "tests.laws.test_variants:Mine"


@pytest.mark.parametrize(
    "name", [":", "os:", ":system", "os:system", "os:no_such", "os:environ", ".os:system", "a b:C"]
)
def test_what_is_no_class_of_the_family_is_a_wrong_setting(name: str) -> None:
    for load in (rankers.load_class, retrievers.load_class):
        with pytest.raises(SettingsError):
            load(name)


def test_a_module_that_fails_is_a_wrong_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_plugin.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SettingsError, match="ZeroDivisionError"):
        load_variant("ranker", {}, "broken_plugin:Mine", rankers.Ranker)


GOOD = """
from llmrec_cli.ranking.rankers import BaseRanker
from llmrec_cli.ranking.retrievers import DenseRetriever

class Ranker(BaseRanker):
    @classmethod
    def fit(cls, config, candidates, seed): ...
    def score(self, candidates): ...

class Retriever(DenseRetriever):
    @classmethod
    def fit(cls, config, sequences, catalogue, seed): ...
    def score(self, histories): ...
"""


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (("def score(self, candidates): ...", ""), "it has no 'score'"),
        (("def score(self, candidates)", "def score(self)"), r"its 'score' does not take \(self, candidates\)"),
        (("    @classmethod\n    def fit(cls, config, candidates", "    def fit(cls, config, candidates"), "its 'fit'"),
        (("Ranker(BaseRanker):", "Ranker:"), "it has no 'Config'"),
        (("Ranker(BaseRanker):", "Ranker:\n    Config = int\n"), "it has no 'needs'"),
        (("Ranker(BaseRanker):", "Ranker(BaseRanker):\n    Config = int\n"), "its 'Config' is no pydantic model"),
        (("Ranker(BaseRanker):", "Ranker(BaseRanker):\n    words: str\n"), "the field 'words' is no array"),
    ],
)
def test_a_class_that_does_not_conform_is_refused_with_what_it_lacks(
    change: tuple[str, str], reported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"plugin_{abs(hash(change))}"
    (tmp_path / f"{module}.py").write_text(GOOD.replace(*change))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SettingsError, match=reported) as error:
        rankers.load_class(f"{module}:Ranker")
    assert error.value.exit_code == 2


def test_a_class_that_conforms_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good_plugin.py").write_text(GOOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert rankers.load_class("good_plugin:Ranker").needs == ()
    assert retrievers.load_class("good_plugin:Retriever").evidence == ""


def test_the_code_of_a_plugin_is_part_of_what_a_result_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = {"rankers": ["fusion", "coded_plugin:Mine"], "title": "no:module", "ranker": {"coded_plugin:Mine": {}}}
    assert set(registry.plugin_names(settings)) == {"coded_plugin:Mine", "no:module"}
    assert registry.plugin_code(settings) == {}
    (tmp_path / "coded_plugin.py").write_text(GOOD)
    one = registry.plugin_code(settings)
    (tmp_path / "coded_plugin.py").write_text(GOOD + "# changed\n")
    other = registry.plugin_code(settings)
    assert one.keys() == other.keys() == {"coded_plugin"} and one != other
    with pytest.raises(UpstreamError, match="has changed since it was fitted"):
        registry.check_code(one, "coded_plugin:Mine", tmp_path)
    registry.check_code({}, "fusion", tmp_path)


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that leaves a trace when it is imported."""
    (tmp_path / "evil_plugin.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\nclass X: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "evil_plugin:X"


def _ranker(work: WorkDir, name: object) -> None:
    path = work.path / "train-ranker" / "ranker" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ranker": name}))


def _retrievers(work: WorkDir, name: object) -> None:
    path = work.path / "train-ranker" / "retrievers" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "retrievers": [name]}))


def load(work: WorkDir, named: frozenset[str] = frozenset()) -> object:
    folder = work.path / "train-ranker"
    return rankers.load_ranker(folder / "ranker", named), retrievers.load_retrievers(folder / "retrievers", named)


@pytest.mark.parametrize("plant", [_ranker, _retrievers])
def test_a_work_directory_makes_nobody_import_its_modules(
    tmp_path: Path, evil: str, plant: Callable[[WorkDir, object], None]
) -> None:
    work = tiny.make(tmp_path / "work")
    plant(work, evil)
    with pytest.raises(UpstreamError, match="neither built in nor named in the settings"):
        load(work, frozenset({MINE}))
    assert not (tmp_path / "trace").exists() and "evil_plugin" not in sys.modules


@pytest.mark.parametrize("plant", [_ranker, _retrievers])
@pytest.mark.parametrize("name", [None, 7, ["fusion"], {}, "../../x", "no such"])
def test_a_name_that_is_none_is_damage(tmp_path: Path, plant: Callable[[WorkDir, object], None], name: object) -> None:
    work = tiny.make(tmp_path / "work")
    plant(work, name)
    with pytest.raises(UpstreamError):
        load(work)


def test_a_class_that_the_settings_name_is_loaded(tmp_path: Path) -> None:
    work = tiny.make(tmp_path / "work")
    ranker = Mine(Mine.Config(), np.zeros(1, dtype=np.float32))
    rankers.save_ranker(work.path / "train-ranker" / "ranker", MINE, ranker)
    named = Settings({"train-ranker": {"rankers": ["fusion", MINE]}}).classes()
    assert named == {MINE}
    assert type(rankers.load_ranker(work.path / "train-ranker" / "ranker", named)) is Mine
    with pytest.raises(UpstreamError):
        rankers.load_ranker(work.path / "train-ranker" / "ranker")


DAMAGE = {
    "other keys": '{"nothing": 1}',
    "null": "null",
    "a list": "[1]",
    "wrong settings": '{"ranker": "fusion", "settings": {"nonsense": 1}}',
    "settings of another kind": '{"ranker": "fusion", "retrievers": 3, "settings": []}',
    "deep": "[" * 5000,
    "not text": "\udcff",
}


@pytest.mark.parametrize("body", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["ranker", "retrievers", "retrievers/transitions", "retrievers/candidates"])
def test_settings_of_a_saved_model_that_do_not_fit_are_damage(tmp_path: Path, name: str, body: str) -> None:
    from llmrec_cli.ranking.retrieval import load_config

    work = tiny.make(tmp_path / "work")
    path = work.path / "train-ranker" / name / "config.json"
    path.write_bytes(body.encode(errors="surrogateescape"))
    if name == "retrievers/candidates":
        with pytest.raises(UpstreamError):
            load_config(work.path / "train-ranker" / "retrievers")
    else:
        with pytest.raises(UpstreamError):
            load(work)
