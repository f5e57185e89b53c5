from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from llmrec_cli.ingest.engine import Engine
from llmrec_cli.ingest.interruptible import Interruptible

ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


@pytest.fixture
def listening() -> Iterator[None]:
    """Both signals are heard, as in a program in a terminal."""

    def end(signum: int, frame: Any) -> None:
        raise SystemExit(128 + signum)

    # a job in the background of a shell is started with SIGINT ignored
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, end)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_ends_a_query_within_two_seconds(tmp_path: Path, number: int, error: type[BaseException]) -> None:
    """In the main thread a query kept the handlers waiting until it was done, or ended as a bug of the program."""
    with Engine(256 << 20, 1, tmp_path) as engine:
        threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
        began = monotonic()
        with pytest.raises(error):
            engine.arrow(engine.put(engine._run(lambda: engine.connection.sql(ENDLESS).to_arrow_table())))
        assert monotonic() - began < 2.5
        assert engine.count("range(3)") == 3, "the engine works on"
    assert not list(tmp_path.iterdir())


def test_work_that_does_not_hear_is_left_behind() -> None:
    beside = Interruptible(lambda: None)
    with pytest.raises(TimeoutError):
        beside.run(lambda: sleep(4), limit=0.1)
    assert beside.stuck


def test_results_and_errors_come_through() -> None:
    beside = Interruptible(lambda: None)
    assert beside.run(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        beside.run(lambda: 1 // 0)
    assert not beside.stuck
