from __future__ import annotations

import csv
import json
import random
import shutil
import stat
import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from llmrec_cli import pipeline
from llmrec_cli.cli.app import app
from llmrec_cli.core import artifacts, pseudonyms
from llmrec_cli.core.artifacts import Forgets
from llmrec_cli.core.config import Settings
from llmrec_cli.core.errors import DataError, MissingExtraError, SettingsError, UpstreamError
from llmrec_cli.core.stage import Context, Outcome
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.privacy import forget, held
from llmrec_cli.privacy.removal import ids_in
from llmrec_cli.ranking.retrievers import RETRIEVERS
from tests import tiny, traces
from tests.conftest import SAMPLE

SHORT = ("transitions", "itemknn", "userknn", "popularity")


# --- the law ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("artifact", artifacts.REGISTRY, ids=lambda a: a.path)
def test_each_artifact_with_user_data_names_how_it_forgets(artifact: artifacts.Artifact) -> None:
    if isinstance(artifact, artifacts.Table):
        assert (artifact.forgets is Forgets.ROWS) == ("user_id" in artifact.schema.names)
    else:
        assert artifact.forgets is not Forgets.ROWS


def test_the_registry_has_what_the_stages_write() -> None:
    written = [a for name in (*pipeline.STAGES, "evaluate") for a in pipeline.load(name).writes]
    assert sorted(a.path for a in written) == sorted(a.path for a in artifacts.REGISTRY)


@pytest.mark.slow
def test_only_what_can_leave_people_out_grows_with_them(tmp_path: Path) -> None:
    """Twice the people, the same tensors: a saved source has nobody's row, or it says how to take it out."""
    from llmrec_cli.data import catalogue as catalogues
    from llmrec_cli.data.interactions import from_table
    from llmrec_cli.ranking.retrievers import load_class

    work = tiny.make(tmp_path, fit=False)
    items = work.read(artifacts.ITEMS)
    vectors = tiny.to_numpy(work.read(artifacts.ITEM_VECTORS).column("vector"))
    catalogue = catalogues.from_tables(items, vectors, vectors)
    once = from_table(work.read(artifacts.SEQUENCES), items)
    twice = once.select(np.tile(np.arange(len(once)), 2))
    small: dict[str, dict[str, Any]] = {"generative": {"epochs": 1}, "lda": {"epochs": 1}, "bpr": {"epochs": 1}}
    for name in RETRIEVERS:
        kind = load_class(name)
        config = kind.Config(**{k: v for k, v in small.get(name, {}).items() if k in kind.Config.model_fields})
        sizes = [
            sum(tensor.numel() for tensor in kind.fit(config, log, catalogue, 1).tensors().values())
            for log in (once, twice)
        ]
        assert (sizes[0] == sizes[1]) != hasattr(kind, "without"), name


# --- keys and the list ------------------------------------------------------------------------------------------------


def test_a_key_is_made_for_its_owner_and_a_wrong_or_missing_one_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(pseudonyms.KEY_VARIABLE, raising=False)
    work = tmp_path / "work"
    key = pseudonyms.make_key(tmp_path)
    assert stat.S_IMODE((tmp_path / pseudonyms.KEY_FILE).stat().st_mode) == 0o600
    assert pseudonyms.find_key(tmp_path) == key
    pseudonyms.add_forgotten(work, key, [key.hash("ann")])
    lines = pseudonyms.people(work, tmp_path, pseudonymise=False)
    assert lines and lines.look_up("ann") == ("ann", True) and lines.look_up("bob") == ("bob", False)
    nested = pseudonyms.people(work / "evaluate" / "last", tmp_path, pseudonymise=False)
    assert nested and nested.look_up("ann")[1]
    monkeypatch.setenv(pseudonyms.KEY_VARIABLE, "another key that is long enough")
    with pytest.raises(SettingsError, match="not the one"):
        pseudonyms.people(work, tmp_path, pseudonymise=False)
    monkeypatch.delenv(pseudonyms.KEY_VARIABLE)
    (tmp_path / pseudonyms.KEY_FILE).unlink()
    with pytest.raises(MissingExtraError, match="missing"):
        pseudonyms.people(work, tmp_path, pseudonymise=False)
    text = (work / pseudonyms.LIST).read_text()
    (work / pseudonyms.LIST).write_text(text.replace(key.hash("ann")[:4], "0000", 1))
    with pytest.raises(UpstreamError, match="damaged"):
        pseudonyms.forgotten(work)


# --- clean ------------------------------------------------------------------------------------------------------------


def _log(folder: Path, rows: Sequence[Sequence[str]]) -> Settings:
    with (folder / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("user", "item", "time", "country"), *rows])
    settings = Settings(base=folder)
    settings.put("clean.interactions", {"path": "log.csv", "user": "user", "item": "item", "time": "time"}, "test")
    settings.put("clean.users", {"region": "country"}, "test")
    return settings


def test_rows_after_one_of_a_wrong_length_are_found(context: Context) -> None:
    settings = _log(context.base, [*_rows("ann")[:1], ("ann", "i1", "2024-01-01", "x", "y"), *_rows("ann", "bob")])
    work = WorkDir(context.base / "work")
    pipeline.walk(work, settings, context, ["clean"])
    forget.forget(work, context.base, ["ann"])
    pipeline.walk(work, settings, context, ["clean"])
    rejects = work.read(artifacts.REJECTS).select(["row", "reason"]).to_pylist()
    assert [each["row"] for each in rejects if each["reason"] == "forgotten"] == [1, 3, 4, 5]


def _rows(*users: str) -> list[tuple[str, str, str, str]]:
    return [(u, f"i{n}", f"2024-01-0{n + 1}", f"land of {u}") for u in users for n in range(3)]


def _clean(folder: Path, settings: Settings, context: Context) -> Outcome:
    return pipeline.walk(WorkDir(folder / "work"), settings, context, ["clean"])[0]


def test_clean_keeps_the_forgotten_out_of_every_table(tmp_path: Path, context: Context) -> None:
    settings = _log(tmp_path, [*_rows("ann", "bob", "cyd"), (" ann ", "", "x", "")])
    assert _clean(tmp_path, settings, context).report.counts["users"] == 3
    work = WorkDir(tmp_path / "work")
    receipt = forget.forget(work, tmp_path, ["ann"])
    assert receipt.data["found"] == 1 and not traces.raw(work.path, ["ann"])
    again = _clean(tmp_path, settings, context)
    assert again.ran and again.why == "the list of forgotten people has changed"
    assert again.report.counts["users"] == 2
    funnel = {row["rule"]: row["removed"] for row in work.read(artifacts.FUNNEL).to_pylist()}
    assert funnel["forgotten"] == 4
    rejects = work.read(artifacts.REJECTS).filter(pa.compute.field("reason") == "forgotten").to_pylist()
    assert len(rejects) == 4 and not any(r["user_id"] or r["item_id"] or r["time"] or r["value"] for r in rejects)
    assert not traces.raw(work.path, ["ann"])
    assert not _clean(tmp_path, settings, context).ran


def test_clean_keeps_the_forgotten_out_of_the_users_file(tmp_path: Path, context: Context) -> None:
    settings = _log(tmp_path, _rows("ann", "bob"))
    (tmp_path / "users.csv").write_text("id,sex\nann,f\nbob,m\nnone of the log,f\n")
    settings.put("clean.users", {"path": "users.csv", "user": "id", "gender": "sex"}, "test")
    work = WorkDir(tmp_path / "work")
    receipt = forget.forget(work, tmp_path, ["ann", "none of the log"])
    assert receipt.data["found"] == 0
    _clean(tmp_path, settings, context)
    assert work.read(artifacts.USERS).column("user_id").to_pylist() == ["bob"]


def test_without_the_right_key_clean_lets_nobody_in(tmp_path: Path, context: Context) -> None:
    settings = _log(tmp_path, _rows("ann", "bob"))
    forget.forget(WorkDir(tmp_path / "work"), tmp_path, ["ann"])
    key = tmp_path / pseudonyms.KEY_FILE
    key.write_text("another key, but a long one\n")
    with pytest.raises(SettingsError, match="not the one"):
        _clean(tmp_path, settings, context)
    key.unlink()
    with pytest.raises(MissingExtraError):
        _clean(tmp_path, settings, context)
    with pytest.raises(MissingExtraError):
        forget.forget(WorkDir(tmp_path / "work"), tmp_path, ["bob"])


def test_pseudonyms_take_the_place_of_ids_everywhere(tmp_path: Path, context: Context) -> None:
    settings = _log(tmp_path, [*_rows("annabel", "robert", "cydonia"), ("annabel", "", "x", "")])
    settings.put("clean.pseudonymise", True, "test")
    with pytest.raises(MissingExtraError):
        _clean(tmp_path, settings, context)
    key = pseudonyms.make_key(tmp_path)
    _clean(tmp_path, settings, context)
    work = WorkDir(tmp_path / "work")
    ids = ["annabel", "robert", "cydonia"]
    for table in (artifacts.USERS, artifacts.SEQUENCES):
        assert set(work.read(table).column("user_id").to_pylist()) == set(map(key.hash, ids))
    assert not [each for each in traces.raw(work.path, ids) if "users" not in each]  # whose regions name them
    assert held.as_written(work, settings, ["robert", key.hash("robert")]) == [key.hash("robert")] * 2
    assert not _clean(tmp_path, settings, context).ran
    lines = held.held(work, key.hash("annabel"))["held"]["."]
    assert len(lines["clean/interactions.parquet"]) == 3 and len(lines["clean/rejects.parquet"]) == 1
    receipt = forget.forget(work, tmp_path, ["annabel", key.hash("robert")], pseudonymised=True)
    assert receipt.data["found"] == 2
    assert ids_in(work) == {key.hash("cydonia")}
    with pytest.raises(DataError):
        held.held(work, key.hash("annabel"))
    assert _clean(tmp_path, settings, context).report.counts["users"] == 1
    (tmp_path / pseudonyms.KEY_FILE).write_text("another key, but a long one\n")
    assert held.as_written(work, settings, ["robert"]) != [key.hash("robert")]


# --- the whole program ------------------------------------------------------------------------------------------------


class Project:
    """The sample with users of random names, trained for an epoch, with a backtest and what killed runs leave."""

    def __init__(self, folder: Path, context: Context) -> None:
        self.folder, self.context = folder, replace(context, base=folder)
        self.work = WorkDir(folder / "work")
        self.ids = self._relabel()
        self.settings = Settings(base=folder)
        columns = {"user": "Customer ID", "item": "StockCode", "time": "InvoiceDate", "value": "Quantity"}
        for key, value in {
            "clean.interactions": {"path": "log.csv", **columns, "where": "Quantity > 0"},
            "clean.items": {"title": "Description"},
            "clean.users": {"region": "Country"},
            "pretrain": {"epochs": 1, "dim": 16, "layers": 1},
            "train-ranker": {"retrievers": list(SHORT), "rankers": ["popularity", "fusion"]},
            "evaluate": {"baselines": ["popularity"], "must_beat": []},
        }.items():
            self.settings.put(key, value, "test")

    def _relabel(self) -> list[str]:
        rng = random.Random(7)
        with SAMPLE.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        known = sorted({row["Customer ID"] for row in rows if row["Customer ID"]})
        names = {each: "".join(rng.choices(string.ascii_letters, k=24)) for each in known}
        with (self.folder / "log.csv").open("w", newline="", encoding="utf-8") as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            out.writerows({**row, "Customer ID": names.get(row["Customer ID"], "")} for row in rows)
        return list(names.values())

    def run(self) -> list[str]:
        return [each.stage for each in pipeline.walk(self.work, self.settings, self.context) if each.ran]

    def killed(self, user: str) -> None:
        """What runs that were killed leave behind, with a person in it."""
        for place in (self.work.path, self.work.path / "evaluate" / "last", self.work.path / "evaluate" / "half"):
            scratch = ("clean/.scratch/0123/log.csv", "profile/.tmp-99-profiles.parquet", "clean/.tmp-9-x/part")
            for path in (*scratch, "generate/.answers/0123"):
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_text(user)
        shutil.copy(self.work.where(artifacts.USERS), self.work.path / "evaluate" / "half" / "clean" / "users.parquet")
        rows = self.work.read(artifacts.RECOMMENDATIONS, ["user_id", "item_id"])
        pq.write_table(rows, self.work.path / "lists.parquet")
        (self.work.path / "lists.csv").write_text(f"user_id,rank\n{user},1\n")
        (self.work.path / "recommend" / "lists.jsonl").write_text(json.dumps({"user_id": user, "items": []}) + "\n")


@pytest.mark.slow
def test_forgotten_people_leave_no_byte(tmp_path: Path, context: Context) -> None:
    project = Project(tmp_path, context)
    project.run()
    pipeline.backtests(project.work, project.settings, project.context)
    gone = [*project.ids[:5], project.ids[-1]]
    project.killed(gone[0])
    assert len(traces.raw(project.work.path, gone)) > 60
    receipt = forget.forget(project.work, tmp_path, gone)
    assert not traces.raw(project.work.path, gone)
    assert receipt.data["found"] == 6 and receipt.data["rows"]["the work directory"]["train-ranker/retrievers"] == 6
    assert receipt.data["stale"]["evaluate/last"] and len(receipt.data["leftovers"]) == 12
    assert receipt.data["exports"] == ["lists.csv", "lists.parquet", "recommend/lists.jsonl"]
    others = set(project.ids) - set(gone)
    assert others <= ids_in(project.work) | {""} and receipt.data["removed"] == {forget.HERE: ["report/report.html"]}

    states = {stage.name: now for stage, now in pipeline.states(project.work, project.settings, project.context)}
    assert states.pop("report").why == "not run yet"  # type: ignore[union-attr]
    assert all("forgotten" in now.why for now in states.values())  # type: ignore[union-attr]
    # what is left still fits together: nothing of it is taken for damaged
    asked = pipeline.walk(project.work, project.settings, project.context, ["recommend"], force=True)
    assert asked[0].report.counts["users"] == 204
    assert "clean" in project.run() and project.run() == []
    pipeline.backtests(project.work, project.settings, project.context)
    assert not traces.raw(project.work.path, gone)


SETTINGS = """\
[clean]
repeats = "first"
[clean.interactions]
path = "log.csv"
user = "Customer ID"
item = "StockCode"
time = "InvoiceDate"
value = "Quantity"
where = "Quantity > 0"
[clean.items]
title = "Description"
[clean.users]
region = "Country"
[pretrain]
epochs = 1
dim = 16
layers = 1
"""


@pytest.mark.slow
def test_forget_and_retrain_leave_all_stages_up_to_date_and_say_what_is_still_stale(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command itself, on the sample with all sources of the default settings and a backtest lying about."""
    project = Project(tmp_path, context)
    (tmp_path / "llmrec.toml").write_text(SETTINGS)
    (tmp_path / "gone.txt").write_text("\n".join(project.ids[1:5]) + "\n")
    monkeypatch.chdir(tmp_path)

    def llmrec(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--threads", "1"])
        assert done.exit_code == 0, done.output
        return done.stdout

    for command in ("run", "evaluate"):
        llmrec(command, "-q")
    gone = project.ids[:5]
    assert traces.raw(project.work.path, gone)
    lines = json.loads(llmrec("forget", gone[0], "--file", "gone.txt", "--retrain", "--json"))
    assert (
        lines["people"] == lines["found"] == 5 and lines["retrained"] and set(lines["still_stale"]) == {"evaluate/last"}
    )
    assert not traces.raw(project.work.path, gone)
    stages = json.loads(llmrec("status", "--json", "--exit-code"))["stages"]
    assert {row["state"] for row in stages} == {"fresh"} and len(stages) == len(pipeline.STAGES)
    assert not any("forgot" in (project.work.record(name) or {}) for name in pipeline.STAGES)
    nested = WorkDir(project.work.path / "evaluate" / "last")
    assert (nested.record("pretrain") or {})["forgot"] == 5
    llmrec("evaluate", "-q")
    assert "forgot" not in (nested.record("pretrain") or {})
    assert not traces.raw(project.work.path, gone)
    assert ids_in(project.work) - {""} and not ids_in(project.work) & set(gone)


def test_what_cannot_be_run_again_is_reported_before_anybody_is_forgotten(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _log(tmp_path, _rows("ann", "bob"))
    _clean(tmp_path, settings, context)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llmrec.toml").write_text('[clean.interactions]\npath = "log.csv"\nuser = "user"\nitem = "item"\n')
    done = CliRunner().invoke(app, ["forget", "ann", "--retrain", "--set", "clean.interactions.where=user >"])
    assert done.exit_code == 2
    assert "ann" in ids_in(WorkDir(tmp_path / "work")) and not (tmp_path / "work" / pseudonyms.LIST).exists()


@pytest.mark.slow
def test_who_leaves_the_log_leaves_old_backtests(tmp_path: Path, context: Context) -> None:
    project = Project(tmp_path, context)
    project.run()
    pipeline.backtests(project.work, project.settings, project.context)
    gone = project.ids[3]
    log = tmp_path / "log.csv"
    log.write_text("".join(line for line in log.read_text().splitlines(True) if gone not in line))
    project.run()
    assert not traces.raw(project.work.path, [gone])
    assert not forget.left_the_log(project.work)
