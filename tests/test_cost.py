"""What a stage costs is measured where it is spent: processor time of threads, memory of this piece of work alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from llmrec_cli.core.cost import Cost, Meter

MEBI = 1 << 20


def test_waiting_takes_time_but_no_core_seconds() -> None:
    meter = Meter()
    time.sleep(0.3)
    cost = meter.read()
    assert 0.3 <= cost.seconds < 3 and cost.core_seconds < 0.2


def test_the_work_of_other_threads_is_counted() -> None:
    meter = Meter()
    x = np.random.default_rng(0).random((600, 600))
    worker = threading.Thread(target=lambda: [x @ x for _ in range(40)])
    worker.start()
    worker.join()
    assert meter.read().core_seconds > 0.02


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is forgotten by Linux only")
def test_the_peak_is_that_of_the_work_itself() -> None:
    first = Meter()
    block = np.ones(300 * MEBI // 8)
    high = first.read().peak_memory
    size = block.nbytes
    del block
    later = Meter().read()
    assert high > size
    assert not later.peak_is_own or later.peak_memory < high - size // 2


@pytest.mark.parametrize(
    ("cost", "reported"),
    [
        (Cost(192.2, 370.6, 1_800_000_000), "3:12 wall, 371 core-seconds, 1.8 GB peak"),
        (Cost(4.24, 3.94, 612_000_000), "4.2 s wall, 3.9 core-seconds, 0.6 GB peak"),
        (Cost(3661, 12_345.0, 10**9, peak_is_own=False), "1:01:01 wall, 12,345 core-seconds, 1.0 GB peak so far"),
    ],
)
def test_costs_are_reported_in_a_line(cost: Cost, reported: str) -> None:
    assert str(cost) == reported
