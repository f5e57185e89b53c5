"""llmrec: raw behaviour logs in, explained recommendations out. The Python API: `import llmrec_cli as llmrec`."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from llmrec_cli.core.errors import LlmrecError
from llmrec_cli.core.version import __version__

if TYPE_CHECKING:
    from llmrec_cli.api import Work, open

# Waiting OpenMP threads sleep instead of spinning: on a machine that is busy with other work, training is then several
# times faster. Read by libgomp when torch is loaded, hence here, before any module of the program imports it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["LlmrecError", "Work", "__version__", "open"]


def __getattr__(name: str) -> Any:
    """`open` and `Work` when they are first asked for: `llmrec --help` needs neither, and no pandas."""
    if name in ("Work", "open"):
        return getattr(import_module("llmrec_cli.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
