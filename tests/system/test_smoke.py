"""A little of the harness in every run of the tests, so that it is known to work when it is asked for all."""

from __future__ import annotations

from pathlib import Path

from tests.system import child, fuzz, project, reference

LOGS = 6


def test_the_harness_runs_broken_logs_and_reads_what_became_of_them(finished: None, tmp_path: Path) -> None:
    made = project.make(tmp_path / "project")
    assert child.preload(["clean", *reference.THREADS], made, tmp_path / "output").code == 0
    ended = fuzz.Codes()
    assert not reference.reported(fuzz.fuzz(tmp_path / "logs", range(LOGS), 15, ended=ended), f"{LOGS} broken logs")
    assert sum(ended.values()) == LOGS


def test_the_log_of_the_harness_has_what_its_settings_speak_of(tmp_path: Path) -> None:
    made = project.make(tmp_path / "project")
    assert {line.split(",")[3] for line in (made / "log.csv").read_text().splitlines()[1:]} == {"buy", "refused"}
    assert "refused = -1" in (made / "llmrec.toml").read_text()
