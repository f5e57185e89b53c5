"""The Python API on a small work directory: what it answers is what the command line answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import llmrec_cli as llmrec
from llmrec_cli.cli.app import app
from llmrec_cli.core.artifacts import RECOMMENDATIONS
from llmrec_cli.core.errors import DataError, SettingsError, UpstreamError
from tests import tiny

SCORED = ["user_id", "rank", "item_id", "score"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> llmrec.Work:
    made = tiny.make(tmp_path_factory.mktemp("api") / "work")
    return llmrec.open(made.path, threads=1)


def test_importing_it_loads_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, llmrec_cli; assert llmrec_cli.__version__ and llmrec_cli.LlmrecError;"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'pandas', 'numpy', 'pyarrow'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        llmrec.opne  # type: ignore[attr-defined]  # noqa: B018


def test_lists_are_those_of_the_command_line_and_nothing_is_written(work: llmrec.Work) -> None:
    found = work.recommend(user="u00", k=4)
    given = ["recommend", "--user", "u00", "-k", "4", "--work", str(work.workdir.path), "--threads", "1", "--json"]
    reported = json.loads(CliRunner().invoke(app, given, env={"LLMREC_CONFIG": ""}).stdout)
    assert list(found.columns) == [*SCORED[:3], "title", "score", "strategy", "reason", "evidence"]
    assert found.drop(columns="user_id").to_dict("records") == reported["items"]
    assert found["evidence"][0][0]["title"].startswith("Thing")
    assert not work.workdir.has(RECOMMENDATIONS)


def test_several_users_and_one_who_is_not_known(work: llmrec.Work) -> None:
    found = work.recommend(["u01", "nobody", "u01"], k=2, deny=["i00"])
    assert found["user_id"].tolist() == ["u01"] * 2 + ["nobody"] * 2 and found["rank"].tolist() == [1, 2] * 2
    assert set(found[found["user_id"] == "nobody"]["strategy"]) == {"popularity"}
    with pytest.raises(SettingsError, match="unknown setting"):
        work.recommend("u01", diversty=1)


def test_similar_items_and_what_is_known(work: llmrec.Work) -> None:
    near = work.similar("i03", k=2)
    assert set(near["item_id"]) == {"i02", "i04"} and near["title"].str.startswith("Thing").all()
    assert near["similarity"].is_monotonic_decreasing
    assert work.item("i03")["neighbours"][:2] == near.to_dict("records")
    assert work.user("u00")["n_events"] == tiny.STEPS
    with pytest.raises(DataError, match="no item 'i99'"):
        work.similar("i99")


def test_a_retriever_takes_ids_and_gives_ids(work: llmrec.Work) -> None:
    source = work.retriever("transitions")
    found = source.top(["u05", "u00"], k=3)
    assert list(found.columns) == SCORED and found["user_id"].tolist()[:3] == ["u05"] * 3
    first = found[found["rank"] == 1].set_index("user_id")["item_id"]
    assert first["u00"] == tiny.item_id(tiny.following(0)) and first["u05"] == tiny.item_id(tiny.following(5))
    seen = {tiny.item_id(code) for code in tiny.walk(0)}
    assert not seen & set(source.top("u00", k=tiny.N_ITEMS)["item_id"])
    assert seen <= set(source.top("u00", k=tiny.N_ITEMS, exclude_seen=False)["item_id"])
    with pytest.raises(DataError, match="no user 'u0'"):
        source.top("u0")
    with pytest.raises(SettingsError, match="no retriever 'itemnn'") as raised:
        work.retriever("itemnn")
    assert "itemknn" in raised.value.fix


def test_the_ranker_orders_candidates_as_the_lists_are(work: llmrec.Work) -> None:
    ranker = work.ranker()
    found = ranker.top(["u05", "u00"], k=3)
    lists = work.recommend(["u05", "u00"], k=3)
    assert found[["user_id", "rank", "item_id"]].equals(lists[["user_id", "rank", "item_id"]].astype(found.dtypes[:3]))
    assert found["score"].to_numpy() == pytest.approx(lists["score"].to_numpy(), rel=1e-4)
    candidates = ranker.candidates("u00")
    assert candidates[SCORED].head(3).equals(found[found["user_id"] == "u00"].reset_index(drop=True))
    assert {"transitions.z", "history.length"} <= set(candidates.columns)


def test_a_table_of_the_work_directory(work: llmrec.Work) -> None:
    items = work.table("clean/items", ["item_id", "title"])
    assert isinstance(items, pd.DataFrame) and items["title"][3] == "Thing 3"
    with pytest.raises(SettingsError, match="no table") as raised:
        work.table("clean/itms")
    assert "clean/items" in raised.value.fix


def test_mistakes_are_errors_of_the_program(work: llmrec.Work, tmp_path: Path) -> None:
    empty = llmrec.open(tmp_path / "nothing")
    for ask in (lambda: empty.recommend("u00"), lambda: empty.retriever("itemknn"), lambda: empty.similar("i03")):
        with pytest.raises(UpstreamError) as raised:
            ask()
        assert isinstance(raised.value, llmrec.LlmrecError) and "llmrec" in raised.value.fix
    with pytest.raises(SettingsError, match="there is no stage 'recomend'"):
        work.run("recomend")
    with pytest.raises(SettingsError, match="no settings file"):
        llmrec.open("work", config=tmp_path / "absent.toml")
    assert not (tmp_path / "nothing").exists()
