from __future__ import annotations

from pathlib import Path

import pytest

from tests.system import child, fuzz, project, reference

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def loaded(finished: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Everything is imported that `clean` and `init` need."""
    folder = tmp_path_factory.mktemp("loaded")
    made = project.make(folder / "project")
    for arguments in (["clean", *reference.THREADS], ["init", "log.csv", "--into", "made"]):
        assert child.preload(arguments, made, folder / "output").code == 0


def test_a_broken_log_is_reported_and_every_row_is_accounted_for(loaded: None, tmp_path: Path) -> None:
    count, ended = reference.size("LOGS", 5000), fuzz.Codes()
    logs = fuzz.fuzz(tmp_path, range(count), reference.seed(), ended=ended)
    found = reference.reported(logs, f"{count} broken logs")
    print(f"exit codes of `clean`: {dict(ended)}")
    assert not found, reference.shown(found)
    # neither all refused nor all taken, else little was tried
    assert min(ended[0], ended[3]) > count / 5 and ended[2]
