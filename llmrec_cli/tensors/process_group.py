"""The processes of one launch as a team: what they agree on goes through the launcher's own key-value store."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

import torch.distributed as dist
from accelerate.state import AcceleratorState
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from llmrec_cli.core.errors import LlmrecError
from llmrec_cli.core.launch import Launch, launch

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
POLL = 0.1
PEER_LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process has exited")


class StoreTeam:
    """A `core.launch.Team`. A store and not a collective, because the leader may clean for hours before it trains."""

    def __init__(self, place: Launch) -> None:
        self.place = place
        store, *_ = next(iter(rendezvous("env://", place.rank, place.size, timeout=timedelta(minutes=10))))
        # the store outlives a restart by the launcher
        self.store = PrefixStore(f"llmrec/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        self.hidden = {name: os.environ.pop(name) for name in VARIABLES if name in os.environ}
        self.first: bool | None = None

    def decide(self, ticket: str) -> None:
        self.store.set("ticket", ticket)

    def decision(self) -> str:
        self._wait("ticket")
        return self.store.get("ticket").decode()

    def total(self, value: float) -> float:
        self.store.set(f"value/{self.place.rank}", repr(value))
        if self.place.follows:
            return value
        names = [f"value/{rank}" for rank in range(self.place.size)]
        for name in names:
            self._wait(name)
        return sum(float(self.store.get(name)) for name in names)

    @contextmanager
    def training(self) -> Iterator[None]:
        os.environ.update(self.hidden)
        try:
            yield
            _dissolve()
        except BaseException as error:
            self.first_to_fail()  # before the others can notice
            if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in PEER_LOST):
                raise LlmrecError(
                    "another process of this training has ended",
                    fix="see what its launcher says of it; run the same command again, it continues",
                ) from error
            raise
        finally:
            for name in self.hidden:
                os.environ.pop(name, None)

    def first_to_fail(self) -> bool:
        if self.first is None:
            try:
                self.first = self.store.add("failed", 1) == 1
            except RuntimeError:  # the store is gone with its launcher or with the leader
                self.first = not self.place.follows
        return self.first

    def _wait(self, name: str) -> None:
        """In short steps, so that a signal is answered at once."""
        while not self.store.check([name]):
            time.sleep(POLL)


@cache
def join() -> StoreTeam:
    """The team of this process's launch."""
    return StoreTeam(launch())


def _dissolve() -> None:
    """Leave the process group with all that refers to it.

    Its threads hold tensors; what they drop while the interpreter shuts down aborts the process ("terminate called
    without an active exception", pytorch issue 190489). So the model is freed first and the threads joined here.
    """
    gc.collect()
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
    AcceleratorState._reset_state(reset_partial_state=True)
    gc.collect()
