"""Work of an engine outside of the main thread, so that Ctrl-C, SIGTERM and a time limit end it at once.

An engine keeps Python's signal handlers waiting until its query is done; the main thread of a program must not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, TypeVar

Result = TypeVar("Result")
# Seconds in which interrupted work has to end; what does not is left behind.
GRACE = 1.5


class Interruptible:
    """Runs one piece of work at a time; `interrupts` are called, again and again, where it has to end early."""

    def __init__(self, *interrupts: Callable[[], object]) -> None:
        self.interrupts: Sequence[Callable[[], object]] = interrupts
        self.stuck = False
        """An interrupted piece of work is still running: what it holds must not be closed."""

    def run(self, work: Callable[[], Result], limit: float | None = None) -> Result:
        """What `work` returns or raises; TimeoutError where it takes more than `limit` seconds."""
        done, outcome = threading.Event(), dict[str, Any]()

        def worker() -> None:
            try:
                outcome["result"] = work()
            except BaseException as error:  # raised below, in the thread that called
                outcome["error"] = error
            finally:
                done.set()

        threading.Thread(target=worker, name="llmrec-engine", daemon=True).start()
        try:
            if not done.wait(limit):
                raise TimeoutError(f"it took more than {limit:.0f} seconds")
        except BaseException:
            self._end(done)
            raise
        if "error" in outcome:
            raise outcome["error"]
        result: Result = outcome["result"]
        return result

    def _end(self, done: threading.Event) -> None:
        until = monotonic() + GRACE
        while not done.is_set() and monotonic() < until:
            # once is not enough: between two queries nobody hears it
            for interrupt in self.interrupts:
                interrupt()
            done.wait(0.02)
        self.stuck = not done.is_set()
