"""How the writers do beside each other on the same facts: checks, completeness, variety, seconds.

    python -m benchmarks.writers WORK --texts 60 --model smollm2-135m

WORK is a work directory after `profile`. Half of the texts are of the most popular items, half of the most active
users.
Completeness is the share of the facts told by the template that a draft tells too; distinct-2 the share of different
pairs of words beyond quotations; skeleton the share of the commonest text when what stands in quotation marks and every
number is left out. Drafts are measured as the writer leaves them, before a template replaces what fails.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.core.registry import load_variant
from llmrec_cli.core.workdir import WorkDir
from llmrec_cli.stages.generate import GenerateConfig, jobs
from llmrec_cli.writing.facts import Facts
from llmrec_cli.writing.grounding import facts_in, fault
from llmrec_cli.writing.writers import WRITERS, Draft, Writer, WriterConfig


def skeleton(text: str) -> str:
    return re.sub(r"[\d,]+", "0", re.sub(r'"[^"]*"(?:(?:,| and| ›) "[^"]*")*', "_", text)).lower()


def facts_of(text: str, facts: Facts) -> set[str]:
    return set(facts_in(text, facts))


def measures(drafts: Sequence[Draft], by_template: Sequence[Draft], facts: Sequence[Facts]) -> dict[str, float]:
    known = [facts_of(draft.text, each) for draft, each in zip(by_template, facts, strict=True)]
    written = [facts_of(draft.text, each) for draft, each in zip(drafts, facts, strict=True)]
    frames = [skeleton(draft.text) for draft in drafts]
    pairs = [pair for frame in frames for pair in zip(frame.split(), frame.split()[1:], strict=False)]
    return {
        "passed": sum(not fault(draft.text, each) for draft, each in zip(drafts, facts, strict=True)) / len(drafts),
        "complete": sum(len(a & b) for a, b in zip(known, written, strict=True)) / max(sum(map(len, known)), 1),
        "all facts": sum(a <= b for a, b in zip(known, written, strict=True)) / len(drafts),
        "distinct-2": len(set(pairs)) / max(len(pairs), 1),
        "skeleton": Counter(frames).most_common(1)[0][1] / len(drafts),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--examples", type=int, default=0, help="drafts of each that are printed")
    options = parser.parse_args()
    progress = PlainProgress(quiet=False)
    for job in jobs(WorkDir(options.work), GenerateConfig()):
        facts = job.facts(job.chosen[: options.texts // 2])
        by_template: list[Draft] = []
        for name in ("template", "hf"):
            kind = load_variant("writer", WRITERS, name, Writer)
            writer = kind.open(WriterConfig(model=options.model), "cpu", 0)
            start = time.perf_counter()
            drafts = writer.write(facts)
            seconds = time.perf_counter() - start
            by_template = by_template or drafts
            found = measures(drafts, by_template, facts)
            line = ", ".join(f"{what} {value:.3f}" for what, value in found.items())
            progress.log(f"{job.name} by {name}: {line}, {seconds:.1f} s")
            faults = Counter(fault(d.text, each).partition(":")[0] for d, each in zip(drafts, facts, strict=True))
            progress.log(f"  {dict(faults)}")
            for draft in drafts[: options.examples]:
                progress.log(f"  {draft.text}")


if __name__ == "__main__":
    main()
