from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmrec_cli import pipeline
from llmrec_cli.cli.app import app
from llmrec_cli.core.config import parse_bytes
from llmrec_cli.core.errors import SettingsError
from tests.conftest import SAMPLE

COMMANDS = sorted(info.name or info.callback.__name__ for info in app.registered_commands)  # type: ignore[union-attr]
runner = CliRunner()


def llmrec(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("LLMREC_")}
    command = [sys.executable, "-m", "llmrec_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "llmrec.toml").write_text(
        f'[clean.interactions]\npath = "{SAMPLE}"\nuser = "Customer ID"\nitem = "StockCode"\ntime = "InvoiceDate"\n'
    )
    return tmp_path


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from llmrec_cli.cli.app import app; from typer.testing import CliRunner;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        "heavy = {'torch','pandas','numpy','pyarrow','sklearn','duckdb'};"
        "print(sorted({m.split('.')[0] for m in sys.modules} & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_and_an_example_or_is_plain(name: str) -> None:
    shown = runner.invoke(app, [name, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "--work" in shown.output and "Usage" in shown.output
    if name in pipeline.STAGES:
        assert "Example: llmrec" in shown.output and "Reads" in shown.output and "Writes" in shown.output


@pytest.mark.parametrize(
    ("command", "field", "typed", "value"),
    [
        ("clean", "repeats", "last", "last"),
        ("pretrain", "epochs", "3", 3),  # a number, or the word auto
        ("pretrain", "epochs", "auto", "auto"),
        ("pretrain", "lm", "135", "135"),  # a folder's name
        ("train-ranker", "retrievers", "ease,als", ["ease", "als"]),
        ("recommend", "diversity", "0.5", 0.5),
        ("evaluate", "fail_under", "0.1", 0.1),
    ],
)
def test_an_option_sets_the_field_that_it_is_made_from(
    monkeypatch: pytest.MonkeyPatch, command: str, field: str, typed: str, value: object
) -> None:
    from llmrec_cli.core import config

    seen = {}

    def load(path: object, overrides: object, options: dict[str, object]) -> None:
        seen.update(options)
        raise SettingsError("far enough")

    monkeypatch.setattr(config, "load", load)
    assert runner.invoke(app, [command, f"--{field.replace('_', '-')}", typed]).exit_code == 2
    assert seen[f"{command}.{field}"] == value


def test_a_choice_that_there_is_not_ends_before_anything() -> None:
    done = runner.invoke(app, ["clean", "--repeats", "never"], env={"COLUMNS": "200"})
    assert done.exit_code == 2 and "'keep', 'first', 'last'" in done.output


def test_version() -> None:
    from llmrec_cli import __version__

    assert runner.invoke(app, ["--version"]).output.strip() == __version__


def test_a_mistyped_command_gets_the_nearest() -> None:
    done = llmrec("recomend")
    assert done.returncode == 2 and "Did you mean 'recommend'?" in done.stderr and done.stdout == ""


def test_a_mistyped_key_gets_the_nearest(project: Path) -> None:
    done = llmrec("run", "--set", "recommend.kk=3", cwd=project)
    assert done.returncode == 2 and "did you mean 'k'?" in done.stderr
    assert not (project / "work" / "clean").exists()


def test_a_missing_log_is_reported_with_near_matches(project: Path) -> None:
    near = SAMPLE.with_name("online_retail_sampel.csv")
    done = llmrec("clean", "--set", f"clean.interactions.path={near}", cwd=project)
    assert done.returncode == 3 and "online_retail_sample.csv" in done.stderr


def test_a_missing_column_names_those_there_are(project: Path) -> None:
    done = llmrec("clean", "--set", "clean.interactions.user=Customer", cwd=project)
    assert done.returncode == 3 and "Customer ID" in done.stderr and "StockCode" in done.stderr


def test_recommend_too_early_names_the_command(project: Path) -> None:
    done = llmrec("recommend", cwd=project)
    assert done.returncode == 4 and "llmrec clean" in done.stderr


def test_an_empty_result_shows_the_funnel_and_the_rule(project: Path) -> None:
    done = llmrec("clean", "--min-user-events", "100000", cwd=project)
    assert done.returncode == 3 and "min_user_events" in done.stderr and "9,815" in done.stderr


def test_errors_are_objects_with_json(project: Path) -> None:
    done = llmrec("recommend", "--json", cwd=project)
    assert json.loads(done.stdout)["error"]["code"] == 4


def test_a_stage_prints_one_object_with_json(project: Path) -> None:
    done = llmrec("clean", "--json", "-q", cwd=project)
    reported = json.loads(done.stdout)
    assert done.returncode == 0 and done.stderr == ""
    assert reported["stages"][0]["status"] == "done" and reported["next"] == "llmrec pretrain"
    again = json.loads(llmrec("clean", "--json", "-q", cwd=project).stdout)
    assert again["stages"][0]["status"] == "up to date"


def test_status_and_config_change_nothing(project: Path) -> None:
    shown = llmrec("status", "--json", cwd=project)
    rows = json.loads(shown.stdout)["stages"]
    assert [row["stage"] for row in rows] == list(pipeline.STAGES)
    assert rows[0]["state"] == "missing" and rows[1]["state"].startswith("waits")
    settings = llmrec("config", "clean", "--min-user-events" if False else "--json", cwd=project)
    assert {"clean.interactions.user"} <= {row["setting"] for row in json.loads(settings.stdout)}
    assert not (project / "work").exists()


def test_a_second_run_at_the_same_time_is_reported(project: Path) -> None:
    from llmrec_cli.core.workdir import WorkDir

    with WorkDir(project / "work").lock():
        done = llmrec("clean", cwd=project)
    assert done.returncode == 75 and "in use by process" in done.stderr


def test_a_read_only_place_is_one_clear_line(project: Path) -> None:
    done = llmrec("clean", "--work", "/proc/nowhere", cwd=project)
    assert done.returncode == 3 and done.stderr.count("error:") == 1 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 << 30), ("512M", 512 << 20), ("1.5g", 3 << 29), ("2GiB", 2 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "four", "1K", "-4GB"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        (["--device", "cdua"], "did you mean 'cuda'"),
        (["--device", "cuda:x"], "no device"),
        (["--device", "cuda:99"], "not there"),
        (["--max-memory", "4GX"], "no size"),
        (["--threads", "two"], "--threads"),
        (["--threads", "-1"], "--threads"),
        (["--log-format", "xml"], "'text', 'json'"),
    ],
)
@pytest.mark.parametrize("command", ["clean", "run", "evaluate"])
def test_mistyped_options_end_before_anything(
    project: Path, monkeypatch: pytest.MonkeyPatch, command: str, options: list[str], reported: str
) -> None:
    monkeypatch.chdir(project)
    done = runner.invoke(app, [command, *options], env={"COLUMNS": "200"})
    assert done.exit_code == 2 and reported in done.output, done.output
    assert not (project / "work").exists()


def test_brackets_in_help_texts_are_shown() -> None:
    """A help text is shown as it is written: none is taken for markup."""
    import inspect

    for info in app.registered_commands:
        name = info.name or info.callback.__name__  # type: ignore[union-attr]
        words = " ".join(runner.invoke(app, [name, "--help"], env={"COLUMNS": "400"}).output.replace("│", " ").split())
        texts = [each.__metadata__[0].help for each in info.callback.__annotations__.values()]  # type: ignore[union-attr]
        texts += (inspect.getdoc(info.callback) or "").split("\n\n")
        for text in texts:
            assert " ".join((text or "").split()) in words, f"{name}: {text}"


def test_lists_and_tables_of_set_are_reported_how_to_write(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    table = runner.invoke(app, ["status", "--set", "clean.items={path=items.csv, item=sku}"])
    assert table.exit_code == 2 and """'{path = "items.csv", item = "sku"}'""" in table.output
    listed = runner.invoke(app, ["status", "--set", "recommend.deny=[a, b]"])
    assert listed.exit_code == 2 and """'["a", "b"]'""" in listed.output and "--set recommend.deny" in listed.output
    monkeypatch.setenv("LLMREC_RECOMMEND__DENY", "[a]")
    assert "LLMREC_RECOMMEND__DENY" in runner.invoke(app, ["status"]).output


def test_a_terminated_run_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    def terminated(*given: object, **named: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(pipeline, "walk", terminated)
    monkeypatch.chdir(project)
    try:
        done = runner.invoke(app, ["clean"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done.exit_code == 143 and done.stderr == "interrupted: run the same command again, it continues\n"


def test_status_reports_by_its_exit_code_whether_all_is_up_to_date(project: Path) -> None:
    assert llmrec("status", cwd=project).returncode == 0
    assert llmrec("status", "--exit-code", cwd=project).returncode == 4
    (project / "work" / "clean").mkdir(parents=True)
    (project / "work" / "clean" / "record.json").write_text("null")
    reported = llmrec("status", cwd=project)
    assert reported.returncode == 0 and "stale: its record is not one of this version of llmrec" in reported.stdout


@pytest.mark.parametrize("command", ["clean", "pretrain", "recommend", "run", "status", "evaluate", "config"])
def test_without_a_settings_file_a_command_says_how_to_get_one(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, [command])
    assert result.exit_code == 2
    assert "there is no llmrec.toml here" in result.stderr and "`llmrec init FILE`" in result.stderr


@pytest.mark.parametrize("early", [True, False])
def test_ctrl_c_ends_a_command_alike_before_it_begins_and_in_it(
    early: bool, monkeypatch: pytest.MonkeyPatch, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from llmrec_cli.cli import app

    def interrupted(*given: object, **named: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(project)
    monkeypatch.setattr("sys.argv", ["llmrec", "clean"])
    monkeypatch.setattr(*((app, "app") if early else (pipeline, "walk")), interrupted)
    try:
        with pytest.raises(SystemExit) as ended:
            app.main()
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted: run the same command again, it continues\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_library_makes_an_error_of_is_no_bug(
    number: int, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    def swallowed(*given: object, **named: object) -> None:
        try:
            os.kill(os.getpid(), number)
        except BaseException as error:
            raise ValueError("a package must be installed") from error

    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(project)
    monkeypatch.setattr(pipeline, "walk", swallowed)
    try:
        done = runner.invoke(app, ["clean"])
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
    assert done.exit_code == 128 + number and "bug" not in done.output


@pytest.mark.parametrize("name", ["../elsewhere", "/elsewhere", "..", "a/b", ""])
def test_a_backtest_stays_in_its_folder(project: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(project)
    before = sorted(project.rglob("*"))
    done = runner.invoke(app, ["evaluate", "--name", name])
    assert done.exit_code == 2 and "a backtest cannot be called" in done.output, done.output
    assert sorted(project.rglob("*")) == before
