"""What every command has: the common options, and the guard that turns errors into messages and exit codes."""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from llmrec_cli.core import launch
from llmrec_cli.core.errors import INTERRUPTED, LlmrecError, SettingsError, did_you_mean

if TYPE_CHECKING:
    from llmrec_cli.cli.console import Console
    from llmrec_cli.core.config import Settings
    from llmrec_cli.core.stage import Context
    from llmrec_cli.core.workdir import WorkDir

EXIT_CODES = """
Exit codes: 0 done or up to date · 1 a bug · 2 usage or settings · 3 bad or missing input data ·
4 an earlier stage is missing, stale or damaged · 5 a missing extra, model or key · 7 a quality threshold failed ·
75 locked by another run · 130 interrupted
"""

app = typer.Typer(
    name="llmrec",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
    help="From a raw log of clicks or purchases to explained recommendations, offline.\n\n"
    "Start with `llmrec init FILE`, then `llmrec run`.",
)

WORK = "Where things are and how to run"


@dataclass(frozen=True)
class Common:
    """The options that every command has."""

    work: Annotated[
        Path, typer.Option("--work", "-w", envvar="LLMREC_WORKDIR", help="Work directory.", rich_help_panel=WORK)
    ] = Path("work")
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", envvar="LLMREC_CONFIG", help="Settings file; llmrec.toml here.", rich_help_panel=WORK
        ),
    ] = None
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, stage.field=value; may be repeated.", rich_help_panel=WORK),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of everything random; 42.", rich_help_panel=WORK)] = None
    device: Annotated[
        str, typer.Option(envvar="LLMREC_DEVICE", help="auto, cpu, cuda or mps.", rich_help_panel=WORK)
    ] = "auto"
    threads: Annotated[
        int, typer.Option(envvar="LLMREC_THREADS", min=0, help="Threads; 0 means all cores.", rich_help_panel=WORK)
    ] = 0
    max_memory: Annotated[
        str,
        typer.Option(envvar="LLMREC_MAX_MEMORY", help="Memory for tables and scores, 4GB.", rich_help_panel=WORK),
    ] = "4GB"
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.", rich_help_panel=WORK)] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.", rich_help_panel=WORK)] = False
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="How stderr is written.", rich_help_panel=WORK)
    ] = "text"
    debug: Annotated[
        bool, typer.Option(envvar="LLMREC_DEBUG", help="Tracebacks for every error.", rich_help_panel=WORK)
    ] = False

    @functools.cached_property
    def console(self) -> Console:
        from llmrec_cli.cli.console import Console

        return Console(quiet=self.quiet, as_json=self.as_json, log=self.log_format)

    @functools.cached_property
    def workdir(self) -> WorkDir:
        from llmrec_cli.core.workdir import WorkDir

        return WorkDir(self.work)

    def machine(self) -> int:
        """Bytes of --max-memory; SettingsError where it or --device says nothing that there could be."""
        from llmrec_cli.core.config import parse_bytes

        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            near = did_you_mean(self.device, ["auto", "cpu", "cuda", "mps"])
            raise SettingsError(f"there is no device {self.device!r}", where="--device", fix=near)
        return parse_bytes(self.max_memory)

    def settings(self, stage: str = "", **options: Any) -> Settings:
        """The settings file with everything laid over it, the options of a stage last."""
        from llmrec_cli.core import config

        dotted = {f"{stage}.{name}": value for name, value in options.items()}
        return config.load(self.config, self.overrides or (), options={"seed": self.seed, **dotted})

    def context(self, settings: Settings, *, finish: bool = False, works: bool = False) -> Context:
        """What stages are given; for a command that `works` a device that was asked for by name has to be there."""
        from llmrec_cli.core.stage import Context

        if works and self.device not in ("auto", "cpu"):
            from llmrec_cli.tensors.runtime import choose_device

            choose_device(self.device)
        return Context(
            seed=settings.seed,
            base=settings.base,
            progress=self.console,
            device=self.device,
            threads=self.threads,
            max_memory=self.machine(),
            finish=finish,
            named=settings.classes(),
        )

    def take_in(self, where: Settings | Path) -> None:
        """Keep the log that comes by a pipe in the folder of the settings, if they name it, or in a new project."""
        from llmrec_cli.ingest.locations import spool

        named = isinstance(where, Path) or where.values.get("clean", {}).get("interactions", {}).get("path") == "-"
        if named and not sys.stdin.isatty():
            spool(sys.stdin.buffer, where if isinstance(where, Path) else where.base)


Force = Annotated[bool, typer.Option("--force", "-f", help="Run even when it is up to date.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what it would cost; change nothing.")]
FIELDS: dict[str, dict[str, list[str]]] = json.loads(Path(__file__).with_name("fields.json").read_text("utf-8"))
"""Stage -> field of its settings -> kind and meaning. `make docs` writes it, so that no option is typed twice and
`llmrec --help` loads no stage."""
KINDS = {"int": int, "float": float, "bool": bool}
SHORT = {"k": "-k"}


def _option(name: str, kind: str, meaning: str) -> inspect.Parameter:
    """The option that sets a field of a stage's settings."""
    annotation = KINDS.get(kind) or (Literal[tuple(kind.split("|"))] if "|" in kind else str)
    names = (f"--{name.replace('_', '-')}", *filter(None, [SHORT.get(name)]))
    declared = typer.Option(
        *names, help=meaning[:1].upper() + meaning[1:] + ("; by commas." if kind == "list" else ".")
    )
    option = Annotated[annotation | None, declared]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)


def _options(group: type) -> Mapping[str, inspect.Parameter]:
    """The options in the fields of a dataclass."""
    return inspect.signature(group, eval_str=True).parameters


def _value(kind: str, typed: Any) -> Any:
    """What was typed, as the settings file would hold it."""
    from llmrec_cli.core.config import literal

    if typed is None or kind not in ("list", "auto"):
        return typed
    return typed.split(",") if kind == "list" else literal(typed)


def command(
    panel: str, name: str | None = None, settings: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command: give it the common options and those of `settings`, fields of its stage, and turn its errors
    into messages and exit codes. A parameter that is a dataclass, as `common` is, stands for the options in its fields.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True).parameters
        chosen = FIELDS.get(name or function.__name__, {})
        groups: dict[str, Any] = {key: p.annotation for key, p in signature.items() if is_dataclass(p.annotation)}
        own = {field: _option(field, *chosen[field]) for field in settings}
        for key, p in signature.items():
            if key != "common" and p.kind is not inspect.Parameter.VAR_KEYWORD:
                own |= _options(groups[key]) if key in groups else {key: p}

        @functools.wraps(function)
        def run(**given: Any) -> None:
            for key, group in groups.items():
                given[key] = group(**{field.name: given.pop(field.name) for field in fields(group)})
            given |= {field: _value(chosen[field][0], given[field]) for field in settings}
            common = given.pop("common")
            _guarded(common, functools.partial(_checked, function, common, given))

        parameters = [*own.values(), *_options(Common).values()]
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        run.__dict__["__signature__"] = inspect.Signature(keyword)
        run.__annotations__ = {p.name: p.annotation for p in keyword}
        del run.__dict__["__wrapped__"]
        app.command(name, rich_help_panel=panel)(run)
        return function

    return register


def _checked(function: Callable[..., None], common: Common, given: dict[str, Any]) -> None:
    """Call a command, unless what was typed or how it was started makes no sense for it."""
    common.machine()
    if function.__name__ != "pretrain" or given["dry_run"]:
        launch.require_one(function.__name__.replace("_", "-"))
    function(common, **given)


TERMINATED = 128 + signal.SIGTERM
_heard: list[int] = []
"""Signals that a command was sent: a library may make an error of its own of the exception that they raise."""


def listen() -> None:
    """Until a command is guarded, Ctrl-C ends as it does in one: the parser would make a traceback or exit 1 of it.

    Where SIGINT is ignored, as in a job in the background of a shell, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted_early)


def _interrupted_early(signum: int, frame: Any) -> None:
    print(INTERRUPTED, file=sys.stderr)
    raise SystemExit(130)


def _guard_signals() -> None:
    """Both signals become exceptions, so that what is open is closed on the way out."""
    _heard.clear()
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGINT) in (_interrupted_early, signal.default_int_handler):
        signal.signal(signal.SIGINT, _interrupted)


def _guarded(common: Common, work: Callable[[], None]) -> None:
    _guard_signals()
    try:
        work()
    except LlmrecError as error:
        if common.debug:
            raise
        common.console.error(error)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        common.console.interrupted()
        raise typer.Exit(130) from None
    except SystemExit as end:
        if end.code == TERMINATED:
            common.console.interrupted()
        raise
    except BrokenPipeError:
        # the reader of a pipe (head, say) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    except Exception as error:
        if common.debug or isinstance(error, typer.Exit):
            raise
        raise typer.Exit(_unexpected(common, error)) from None


def _unexpected(common: Common, error: Exception) -> int:
    """Tell what no command expects, and the exit code: a swallowed signal, a full disk, a plugin, else a bug."""
    from llmrec_cli.core.disk import full_disk
    from llmrec_cli.core.registry import plugin_fault

    if _heard:
        common.console.interrupted()
        return 128 + _heard[0]
    if disk_error := full_disk(error, common.work):
        common.console.error(disk_error)
        return disk_error.exit_code
    if fault := plugin_fault(error):
        common.console.error(fault)
        return fault.exit_code
    common.console.bug(error)
    return 1


def _terminated(signum: int, frame: Any) -> None:
    _heard.append(signum)
    raise SystemExit(TERMINATED)


def _interrupted(signum: int, frame: Any) -> None:
    _heard.append(signum)
    raise KeyboardInterrupt
