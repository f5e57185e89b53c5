"""Nothing needs a network but `models fetch` and a chat server: all else runs with sockets blocked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import tiny_language
from tests.conftest import ROOT, SAMPLE
from tests.test_app import llmrec

BLOCK = """
import os, socket, sys

def refused(*given, **more):
    with open(os.environ["ATTEMPTS"], "a") as log:
        print(sys.argv, given, file=log)
    raise OSError("sockets are blocked")

for name in ("connect", "connect_ex", "bind", "sendto"):
    real = getattr(socket.socket, name)
    def guarded(self, *given, real=real):
        return real(self, *given) if self.family == socket.AF_UNIX else refused(*given)
    setattr(socket.socket, name, guarded)
socket.getaddrinfo = socket.gethostbyname = socket.create_server = refused
"""


@pytest.mark.slow
def test_all_but_a_chat_server_works_with_sockets_blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / "sitecustomize.py").write_text(BLOCK)
    attempts = tmp_path / "attempts"
    monkeypatch.setenv("ATTEMPTS", str(attempts))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "block"), str(ROOT)]))
    model = tiny_language.make(tmp_path / "model", ["the item is tagged and was chosen, as with."])
    log = tmp_path / "log.csv"  # a third of the sample: what is tried is the way, not the lists
    header, *rows = SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)
    log.write_text("".join([header, *(row for n, row in enumerate(rows) if n % 3 == 0 or "17048" in row)]), "utf-8")
    given = ["-c", str(ROOT / "configs" / "retail.toml"), "-q", "--set", f"clean.interactions.path={log}"]
    given += ["--set", "pretrain.epochs=1"]
    for arguments in (
        ["run"],
        ["generate", "--writer", "hf", "--model", str(model), "--set", "generate.model_texts=8"],
        ["generate", "--dry-run", "--writer", "openai", "--model", "toy"],
        ["recommend", "--user", "17048"],
        ["status"],
    ):
        done = llmrec(*arguments, *given, cwd=tmp_path)
        assert done.returncode in (0, 4) if arguments == ["status"] else done.returncode == 0, done.stderr
        assert not attempts.exists(), f"{arguments}: {attempts.read_text()}"
    retries = ["--set", "generate.openai.retries=0"]
    done = llmrec("generate", "--writer", "openai", "--model", "toy", *retries, *given, cwd=tmp_path)
    assert done.returncode == 5 and "no chat server answers: sockets are blocked" in done.stderr
    assert attempts.exists()
