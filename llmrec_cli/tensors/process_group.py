"""`torchrun llmrec pretrain`: the first process runs the stage as if it were alone, the others help it train."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch.distributed as dist
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list

from llmrec_cli.core import launch
from llmrec_cli.core.errors import LlmrecError
from llmrec_cli.core.readonly import read_only
from llmrec_cli.core.stage import Context, Outcome, Report, Stage, execute
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.tensors import runtime

PEER_LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process has exited")


def run_together(stage: Stage, work: WorkDir, config: Any, context: Context, *, force: bool) -> list[Outcome]:
    """Run a stage in all processes; the outcome in the first, nothing in the others, whose writes go nowhere.

    The first locks, decides and signs as if it were alone; the others get the ticket from it, "" if all is up to date.
    """

    def lead(work: WorkDir, config: Any, context: Context) -> Report:
        _share(context.ticket)
        return stage.run(work, config, context)

    with _group(context):
        if launch.is_first():
            with work.lock():
                ready = partial(stage.ready, config, context)
                outcome = execute(replace(stage, run=lead), work, config, context, force=force, begin=ready)
            if not outcome.ran:
                _share("")
            return [outcome]
        if ticket := _share(""):
            with read_only(work, own_scratch=False) as reader:
                stage.run(reader, config, replace(context, ticket=ticket))
        return []


@cache
def is_first_to_fail() -> bool:
    """True in the one process whose error is the cause; the others fail because of it."""
    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(host, port, is_master=False)  # type: ignore[attr-defined]  # public, but not in __all__
        # the launcher's store outlives a restart
        return store.add(f"llmrec/failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", 1) == 1
    except RuntimeError:  # the launcher has ended
        return launch.is_first()


def _share(ticket: str) -> str:
    """The first process's ticket, in all of them."""
    shared: str = broadcast_object_list([ticket])[0]
    return shared


@contextmanager
def _group(context: Context) -> Iterator[None]:
    """Inside, the processes see each other; LlmrecError where one of the others is lost."""
    try:
        runtime.start(context.device, context.threads)
        yield
        _dissolve()
    except BaseException as error:
        is_first_to_fail()  # before the others can notice
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in PEER_LOST):
            raise LlmrecError(
                "another process of this training has ended",
                fix="see what its launcher says of it; run the same command again, it continues",
            ) from error
        raise


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
