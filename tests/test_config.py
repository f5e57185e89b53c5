from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from llmrec_cli import pipeline
from llmrec_cli.core.config import leaves, literal, load
from llmrec_cli.core.errors import RENAMED, SettingsError
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.stage import Context
from llmrec_cli.stages.evaluate import EvaluateConfig
from llmrec_cli.stages.pretrain import PretrainConfig


class Inner(BaseModel, frozen=True, extra="forbid"):
    path: str = ""


class Config(BaseModel, frozen=True, extra="forbid"):
    k: int = Field(10, ge=1, description="how many")
    name: str | None = None
    items: Inner = Inner()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "llmrec.toml"
    path.write_text("seed = 7\n[recommend]\nk = 3\nname = 'file'\n")
    return path


def test_each_layer_lies_over_the_one_below(file: Path) -> None:
    def k(**given: object) -> int:
        return load(file, **{"environ": {}, **given}).section("recommend", Config).k  # type: ignore[arg-type]

    env = {"LLMREC_RECOMMEND__K": "4"}
    assert load(None, environ={}).section("recommend", Config).k == 10
    assert k() == 3
    assert k(environ=env) == 4
    assert k(environ=env, overrides=["recommend.k=5"]) == 5
    assert k(environ=env, overrides=["recommend.k=5"], options={"recommend.k": 6}) == 6
    assert k(options={"recommend.k": None}) == 3


def test_the_origin_of_each_value_is_known(file: Path) -> None:
    settings = load(file, ["recommend.items.path=a.csv"], {"LLMREC_SEED": "8"})
    assert settings.seed == 8
    assert settings.origins["seed"] == "environment LLMREC_SEED"
    assert settings.origins["recommend.k"] == str(file)
    assert settings.origins["recommend.items.path"] == "--set recommend.items.path"


def test_nested_names_in_the_environment(file: Path) -> None:
    settings = load(file, environ={"LLMREC_TRAIN_RANKER__ALS__FACTORS": "8", "LLMREC_WORKDIR": "x"})
    assert settings.values["train-ranker"] == {"als": {"factors": 8}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ('["a"]', ["a"]),
        ("Customer ID", "Customer ID"),
        ("::", "::"),
        ('"3"', "3"),
    ],
)
def test_values_read_as_toml_and_else_as_text(text: str, value: object) -> None:
    assert literal(text) == value


def test_an_unknown_key_is_reported_with_the_nearest(file: Path) -> None:
    settings = load(file, ["recommend.nmae=x"], {})
    with pytest.raises(SettingsError) as reported:
        settings.section("recommend", Config)
    assert "did you mean 'name'?" in str(reported.value) and "--set recommend.nmae" in str(reported.value)


def test_an_unknown_key_of_an_inner_section_is_reported(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"recommend\.items\.pth") as reported:
        load(file, ["recommend.items.pth=x"], {}).section("recommend", Config)
    assert "did you mean 'path'?" in reported.value.fix


def test_an_unknown_section_is_reported(file: Path) -> None:
    with pytest.raises(SettingsError) as reported:
        load(file, ["recomend.k=1"], {})
    assert "did you mean 'recommend'?" in str(reported.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("clean.refused_below=0", "negative_below"),
        ("pretrain.likeness=0.5", "content_weight"),
        ("generate.painter=vae", "image_generator"),
        ("evaluate.gates={}", "thresholds"),
        ("evaluate.ceilings={}", "upper_bounds"),
        ("evaluate.beats=[]", "must_beat"),
        ('train-ranker.retrievers=["words"]', "tfidf"),
        ('train-ranker.rankers=["mf"]', "als-linear"),
        ('train-ranker.rankers=["mf-deep"]', "wide-deep"),
        ("train-ranker.words={}", "retriever.tfidf"),
        ("train-ranker.mf={}", "ranker.als-linear"),
        ("train-ranker.mf_deep={}", "ranker.wide-deep"),
        ("train-ranker.content_transitions={}", "retriever.content-transitions"),
        ("train-ranker.retriever.words={}", "tfidf"),
    ],
)
def test_an_old_name_is_answered_with_the_new_one(tmp_path: Path, old: str, new: str) -> None:
    settings = load(None, ["clean.interactions={path='a', user='u', item='i'}", old], {})
    context = Context(seed=0, base=tmp_path, progress=PlainProgress(quiet=True))
    with pytest.raises(SettingsError) as error:
        pipeline.load("train-ranker").ready(pipeline.check(settings)["train-ranker"], context)
    assert f"did you mean {new!r}?" in str(error.value)


@pytest.mark.parametrize("old", [name for name in RENAMED if "." in name])
def test_a_setting_that_went_to_another_section_is_found_there(file: Path, old: str) -> None:
    with pytest.raises(SettingsError, match=f"unknown setting '{old}'") as reported:
        load(file, [f"{old}=1"], {}).section("recommend", Config)
    assert reported.value.fix == f"did you mean {RENAMED[old]!r}?"


def test_the_changelog_lists_every_old_name_that_is_answered() -> None:
    text = (Path(__file__).parents[1] / "CHANGELOG.md").read_text(encoding="utf-8").partition("### Renamed")[2]
    rows = [
        [re.findall("`([^`]+)`", cell) for cell in line.split("|")[1:3]] for line in text.splitlines() if "`" in line
    ]
    whole = {pair for old, new in rows for pair in zip(old, new, strict=False)}
    assert set(RENAMED.items()) <= whole | {(old.split(".")[-1], new.split(".")[-1]) for old, new in whole}


def test_a_value_out_of_range_says_which_and_where(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"recommend\.k = 0") as reported:
        load(file, ["recommend.k=0"], {}).section("recommend", Config)
    assert reported.value.where == "--set recommend.k"


def test_a_missing_settings_file_names_its_neighbours(file: Path) -> None:
    with pytest.raises(SettingsError) as reported:
        load(file.with_name("llmrek.toml"), environ={})
    assert "did you mean 'llmrec.toml'?" in str(reported.value)


@pytest.mark.parametrize("text", ["seed = ", "[clean\n", "\xff"])
def test_a_broken_settings_file_is_reported_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError) as reported:
        load(path, environ={})
    assert "bad.toml" in str(reported.value)


@pytest.mark.parametrize("override", ["k", "=3"])
def test_a_malformed_override_is_reported(file: Path, override: str) -> None:
    with pytest.raises(SettingsError, match="not of the form"):
        load(file, [override], {})


def test_a_value_where_a_section_belongs_is_reported(file: Path) -> None:
    with pytest.raises(SettingsError, match="is a value, not a section"):
        load(file, ["seed.x=1"], {})


def test_leaves_walk_into_sections() -> None:
    assert [key for key, _, _ in leaves(Config(), "recommend")] == [
        "recommend.k",
        "recommend.name",
        "recommend.items.path",
    ]


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        ("pretrain.dropout=2", "pretrain.dropout = 2: Input should be 'auto' or less than 1"),
        ("pretrain.max_length=1", "pretrain.max_length = 1: Input should be 'auto' or greater than or equal to 2"),
        ('evaluate.holdout_after=["2011", "2010"]', "holdout_after: cut-offs must stand in order, the oldest first"),
    ],
)
def test_all_that_a_value_may_be_is_reported(given: str, reported: str) -> None:
    stage = given.partition(".")[0]
    kind = {"pretrain": PretrainConfig, "evaluate": EvaluateConfig}[stage]
    with pytest.raises(SettingsError) as raised:
        load(None, [given], {}, {}).section(stage, kind)
    assert reported in str(raised.value) and "Value error" not in str(raised.value)
