"""A straight line through two measurements, and what only the first time costs."""

from __future__ import annotations

from llmrec_cli.core.cost import Cost
from llmrec_cli.core.forecast import Part, by_some, line, once


def test_time_goes_by_a_line_and_bytes_by_a_power() -> None:
    few, more = Part(100, Cost(2.0, 1.0, 1000), 100.0), Part(200, Cost(3.0, 1.5, 1100), 200.0)
    found = line(few, more, 1000)
    assert (found.cost.seconds, found.cost.core_seconds, found.cost.peak_memory) == (11.0, 5.5, 1100)
    assert abs(found.size - 1000) < 1e-6 and found.holding(50).cost.peak_memory == 1150
    assert abs(line(few, more._replace(size=100.0), 1000).size - 100) < 1e-6


def test_nothing_falls_with_more_users_and_the_first_time_is_counted_once() -> None:
    few, more = Part(100, Cost(2.0, 2.0, 1000), 50.0), Part(200, Cost(1.9, 1.9, 900), 40.0)
    found = line(few, more, 400)
    assert (found.cost.seconds, found.cost.peak_memory, found.size) == (1.9, 900, 40.0)
    whole = once(Part(100, Cost(5.0, 4.0)), few).then(found.times(2))
    assert (whole.cost.seconds, whole.cost.core_seconds, whole.cost.peak_memory, whole.size) == (6.8, 5.8, 900, 80.0)


def test_work_is_measured_with_a_part_of_the_users() -> None:
    asked: list[int] = []

    def work(n: int) -> float:
        asked.append(n)
        return 10.0 * n

    assert by_some(work, 24_000).size == 240_000 and asked == [500, 500, 2000]
    assert by_some(work, 10**6).users == 4000 and by_some(work, 150).users == 150
