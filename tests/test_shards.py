"""Lists in shards: the bytes of an ordinary run, whatever their number, who made them and who was killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmrec_cli.commands import sharding
from llmrec_cli.core import config as settings_of
from llmrec_cli.core.artifacts import EXCLUSIONS, ITEMS, LIST_TEXTS, RECOMMENDATIONS
from llmrec_cli.core.config import Settings
from llmrec_cli.core.errors import DataError, SettingsError
from llmrec_cli.core.stage import Context, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists.shards import Shard
from llmrec_cli.stages import recommend
from tests import tiny
from tests.conftest import ROOT
from tests.signing import vouch
from tests.test_app import llmrec

RULE = 'recommend.constraints.where="user.user_id <> item.title"'
LOGGED = "recommend.constraints.log_exclusions=true"
BLOCK = 4
KILLED = f"""
import os, signal, sys
from pathlib import Path
from llmrec_cli.commands import sharding
from llmrec_cli.core import config
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.stage import Context
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.lists import shards
from llmrec_cli.stages import recommend

recommend.BLOCK = {BLOCK}
shards.sign = lambda *given: os.kill(os.getpid(), signal.SIGKILL)  # all is written, nothing has its name
folder = Path(sys.argv[1])
context = Context(seed=42, base=folder, progress=PlainProgress(quiet=True), device="cpu", threads=1, max_memory=1 << 30)
settings = config.load(None, ["recommend.k=3"])
sharding.run(WorkDir(folder / "work"), settings, context, "2/3", gather=False, force=False)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkDir:
    monkeypatch.setattr(recommend, "BLOCK", BLOCK)
    monkeypatch.chdir(tmp_path)  # away from a settings file
    return tiny.make(tmp_path / "work")


def given(*more: str) -> Settings:
    return settings_of.load(None, ["recommend.k=3", *more])


def made(work: WorkDir, context: Context, shard: str, *more: str, force: bool = False) -> Any:
    return sharding.run(work, given(*more), context, shard, gather=False, force=force)


def gathered(work: WorkDir, context: Context, *more: str) -> Any:
    return sharding.run(work, given(*more), context, None, gather=True, force=False)[0]


def contents(work: WorkDir) -> list[bytes]:
    return [work.where(t).read_bytes() for t in (RECOMMENDATIONS, LIST_TEXTS, EXCLUSIONS) if work.has(t)]


def ordinary(work: WorkDir, context: Context, *more: str) -> tuple[list[bytes], Any]:
    config = given(*more).section("recommend", recommend.RecommendConfig)
    report = execute(recommend.STAGE, work, config, context, force=True).report
    found = contents(work)
    shutil.rmtree(work.path / "recommend")
    return found, report


@pytest.mark.parametrize(
    ("more", "counts"), [((), (1, 3, 7)), ((RULE, LOGGED), (20,))], ids=["plain", "a rule on pairs"]
)
def test_any_number_of_shards_gives_the_bytes_and_the_report_of_an_ordinary_run(
    work: WorkDir, context: Context, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], counts: tuple[int, ...]
) -> None:
    monkeypatch.setattr("llmrec_cli.lists.conditions.VALUES", 10)  # the rule is checked on candidates
    expected, report = ordinary(work, context, *more)
    assert len(expected) == (3 if more else 2)
    assert not more or ("candidates taken out" in report.lines[-2] and "exclusions" in report.lines[-1])
    for of in counts:  # of 13 blocks
        for number in reversed(range(1, of + 1)):
            made(work, context, f"{number}/{of}", *more)
        found = gathered(work, context, *more)
        assert contents(work) == expected
        assert found.report.counts == report.counts and found.report.metrics == report.metrics
        assert found.report.lines[:-1] == report.lines and f"{of} shards" in found.report.lines[-1]
        assert not (work.path / "recommend" / ".shards").exists()
        assert not gathered(work, context, *more).ran and not made(work, context, "1/2", *more)[0].ran
        shutil.rmtree(work.path / "recommend")


def test_a_killed_run_goes_on_with_the_missing_shards(work: WorkDir, context: Context, tmp_path: Path) -> None:
    expected, _ = ordinary(work, context)
    outcome, following = made(work, context, "1/3")
    assert outcome.ran and "2 of 3 shards are missing" in following
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert made(work, context, "3/3")[0].ran
    with pytest.raises(DataError, match="1 of 3 shards are missing: 2") as error:
        gathered(work, context)
    assert "for i in 2; do llmrec recommend --shard $i/3" in error.value.fix and error.value.exit_code == 3
    assert not work.has(RECOMMENDATIONS)
    again, _ = made(work, context, "1/3")
    assert not again.ran and again.why == "shard 1/3 is there"
    outcome, following = made(work, context, "2/3")
    assert outcome.ran and following == "llmrec recommend --gather"
    assert gathered(work, context).ran and contents(work) == expected


def test_shards_of_other_settings_inputs_or_counts_are_refused(work: WorkDir, context: Context) -> None:
    made(work, context, "1/2")
    with pytest.raises(DataError, match="1/2 was made for other lists: k has changed") as error:
        made(work, context, "2/2", "recommend.k=4")
    assert "rm -r" in error.value.fix
    with pytest.raises(DataError, match="k has changed"):
        gathered(work, context, "recommend.k=4")
    with pytest.raises(DataError, match="2/3 is none of the shards here: they are of 2"):
        made(work, context, "2/3")
    items = work.read(ITEMS)
    work.write(ITEMS, items.set_column(items.column_names.index("title"), "title", [["Other"] * tiny.N_ITEMS]))
    vouch(work)
    with pytest.raises(DataError, match=r"clean/items\.parquet is new"):
        gathered(work, context)


def test_a_shard_is_not_kept_when_its_inputs_change_meanwhile(
    work: WorkDir, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    (context.base / "deny.txt").write_text("i01\n")
    real = recommend.make_shard

    def changing(*arguments: Any) -> Any:
        counts = real(*arguments)
        (context.base / "deny.txt").write_text("i02\n")
        return counts

    monkeypatch.setattr(recommend, "make_shard", changing)
    with pytest.raises(DataError, match=r"no longer there: lists of ids and wishes changed: deny\.txt"):
        made(work, context, "1/2", "recommend.deny=deny.txt")
    assert not list((work.path / "recommend" / ".shards").iterdir())


def test_a_damaged_shard_is_named_and_made_again(work: WorkDir, context: Context) -> None:
    made(work, context, "1/1")
    path = work.path / "recommend" / ".shards" / "1-of-1" / "rows.arrow"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="shard 1/1 is damaged"):
        gathered(work, context)
    assert made(work, context, "1/1", force=True)[0].ran and gathered(work, context).ran


@pytest.mark.parametrize("text", ["", "3", "0/2", "3/2", "a/b", "-1/2", "1/2/3", "1/ 2"])
def test_what_is_no_shard_is_a_usage_error(text: str) -> None:
    with pytest.raises(SettingsError, match="is no shard"):
        Shard.parse(text)


def test_gathering_nothing_is_told(work: WorkDir, context: Context) -> None:
    with pytest.raises(DataError, match="no shards to gather"):
        gathered(work, context)
    with pytest.raises(SettingsError, match="--gather puts all together"):
        sharding.run(work, given(), context, "1/2", gather=True, force=False)


@pytest.mark.parametrize("more", [["--user", "u00"], ["--format", "csv", "-o", "x.csv"]])
def test_a_shard_is_neither_asked_nor_exported(more: list[str], tmp_path: Path) -> None:
    done = llmrec("recommend", "--shard", "1/2", *more, cwd=tmp_path)
    assert done.returncode == 2 and "--shard is about all lists" in done.stderr


def test_gathering_goes_with_no_question(tmp_path: Path) -> None:
    done = llmrec("recommend", "--gather", "--user", "u00", cwd=tmp_path)
    assert done.returncode == 2 and "--gather is about all lists" in done.stderr
