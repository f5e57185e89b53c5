"""Write a description of each item and a summary of each user's taste, checked against the facts; generate images.

Reads: clean/items, clean/item_ranges, clean/sequences, profile/profiles; pretrain/language_adapter where it is asked
for; the image files that the items name.
Writes: generate/item_texts, generate/taste_texts; generate/item_images and generate/images where items have pictures.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field, SerializeAsAny, model_validator

from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.artifacts import (
    IMAGES,
    ITEM_IMAGES,
    ITEM_RANGES,
    ITEM_TEXTS,
    ITEMS,
    LANGUAGE_ADAPTER,
    PROFILES,
    SEQUENCES,
    TASTE_TEXTS,
    Table,
)
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.core.registry import Sections, load_variant
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.ticket import Source
from llmrec_cli.core.workdir import WorkDir

if TYPE_CHECKING:
    from llmrec_cli.imaging.item_images import ImageSettings
    from llmrec_cli.writing.facts import Facts
    from llmrec_cli.writing.writers import Draft, Writer

BLOCK = 8192  # texts held in memory at a time
IMAGE_SECTIONS = Sections("llmrec_cli.imaging.generators:GENERATORS", "llmrec_cli.imaging.generators:load_class")


class GenerateConfig(BaseModel, frozen=True, extra="forbid"):
    writer: str = Field("template", description="who writes: template, hf (a local language model), or module:Class")
    model: str = Field("smollm2-135m", description="of hf: a model folder, or a name of `llmrec models list`")
    adapter: bool = Field(False, description="write with that model as `pretrain --lm` has tuned it")
    max_items: int | None = Field(None, ge=0, description="items described, most popular first; all when not set")
    max_users: int | None = Field(None, ge=0, description="users summarised, most active first; all when not set")
    model_texts: int = Field(
        50, ge=0, description="items, and users, that a language model writes for; templates do the rest"
    )
    batch_size: int = Field(16, ge=1, description="texts that a language model writes at a time")
    max_new_tokens: int = Field(96, ge=8, description="longest text of a language model, in tokens")
    image_generator: str = Field(
        "", description="what makes images: gan, vae, diffusers, collage, or module:Class; empty: none"
    )
    max_images: int = Field(64, ge=0, description="images made: items without a picture first, most popular first")
    image_size: int | None = Field(
        None,
        ge=16,
        le=128,
        multiple_of=4,
        description="pixels a side; 64 where half of the pictures are as large, else 32",
    )
    image: Annotated[dict[str, SerializeAsAny[BaseModel]], IMAGE_SECTIONS] = Field(
        {}, description="settings of the image generators, by name"
    )

    @model_validator(mode="after")
    def _an_adapter_needs_a_model(self) -> GenerateConfig:
        if self.adapter and self.writer == "template":
            raise ValueError("adapter = true needs a writer with a language model: writer = 'hf'")
        return self


@dataclass(frozen=True)
class Job:
    """One table of texts: who gets one, and where their facts come from."""

    table: Table
    ids: pa.ChunkedArray[Any]
    chosen: Ints
    """Rows that get a text, the most important first."""
    facts: Callable[[Ints], Sequence[Facts]]

    @property
    def name(self) -> str:
        return self.table.name


def run(work: WorkDir, config: GenerateConfig, context: Context) -> Report:
    from llmrec_cli.data.interactions import from_table
    from llmrec_cli.imaging.item_images import write_images
    from llmrec_cli.writing.claims import People
    from llmrec_cli.writing.known_facts import ItemEvidence, TasteEvidence
    from llmrec_cli.writing.writers import WRITERS, Writer, WriterConfig

    settings = WriterConfig(
        model=config.model,
        adapter=adapter_folder(work, config),
        batch_size=config.batch_size,
        max_new_tokens=config.max_new_tokens,
    )
    kind = load_variant("writer", WRITERS, config.writer, Writer)
    writer = kind.open(settings, context.device, context.threads)
    images = image_settings(config)
    items, profiles = work.read(ITEMS), work.read(PROFILES, [USER, "interests", "n_events"])
    histories = from_table(work.read(SEQUENCES, [USER, "item_codes", "times", "weights"]), items, profiles.column(USER))
    ranges = work.read(ITEM_RANGES) if work.has(ITEM_RANGES) else None

    popular, active = (most_events_first(table.column("n_events")) for table in (items, profiles))
    tastes = TasteEvidence(profiles, histories, items)
    facts = ItemEvidence(items, People.of(histories).counts, ranges)
    jobs = (
        Job(ITEM_TEXTS, items.column(ITEM), popular[: config.max_items], facts),
        Job(TASTE_TEXTS, profiles.column(USER), active[: config.max_users], tastes),
    )
    report = Report()
    for job in jobs:
        report_checks(report, job, write_texts(work, job, writer, config, context))
    if writer.name == "template":
        report.lines.append("all texts by template; a language model writes with: --set generate.writer=hf")
    if images is not None:
        write_images(work, items.take(popular), images, context, report)
    return report


def _sources(work: WorkDir, config: GenerateConfig, base: Path) -> Iterator[Source]:
    """The language model that writes, and the pictures that an image generator learns from."""
    from llmrec_cli.content import encoder_files
    from llmrec_cli.tensors import model_store

    if config.writer != "template":
        yield from model_store.source("language model", model_store.folder_of(config.model))
    if images := image_settings(config):
        yield from encoder_files.of_items("image", work.read(ITEMS, ["image"]), base)
        if folder := images.generator.folder(images.config):
            yield Source("pipeline", folder, sorted(file for file in folder.rglob("*") if file.is_file()))


def _ready(config: GenerateConfig, context: Context) -> None:
    from llmrec_cli.tensors import model_store
    from llmrec_cli.writing.writers import WRITERS, Writer

    load_variant("writer", WRITERS, config.writer, Writer)
    if config.writer == "hf":
        model_store.locate(config.model)
    if images := image_settings(config):
        images.generator.folder(images.config)


def adapter_folder(work: WorkDir, config: GenerateConfig) -> str:
    """Where the adapter of the language model lies, "" where it is not asked for."""
    if config.adapter and not work.has(LANGUAGE_ADAPTER):
        raise UpstreamError(
            f"{LANGUAGE_ADAPTER.path} is missing: no language model was tuned here",
            where=str(work.path),
            fix=f"llmrec pretrain --lm {config.model}",
        )
    return str(work.where(LANGUAGE_ADAPTER)) if config.adapter else ""


def most_events_first(n_events: pa.ChunkedArray[Any]) -> Ints:
    """Rows by falling number of events, equal ones in the order of the table."""
    return np.argsort(-n_events.to_numpy(), kind="stable")


def write_texts(
    work: WorkDir, job: Job, writer: Writer, config: GenerateConfig, context: Context
) -> Counter[tuple[str, str]]:
    """Write the table of one job in the order of its ids, block by block; how often each (first writer, check) was."""
    from llmrec_cli.writing.checked import checked
    from llmrec_cli.writing.writers.template import TemplateWriter

    template = TemplateWriter()
    drafts = {} if writer.name == template.name else drafted(work, job, writer, config, context)
    rows = np.sort(job.chosen)
    checks: Counter[tuple[str, str]] = Counter()
    with work.writer(job.table) as append, context.progress.task(f"generate {job.name}", len(rows), "texts") as task:
        for block in (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)):
            facts = job.facts(block)
            by_template = template.write(facts)
            best = [drafts.get(row, draft) for row, draft in zip(block.tolist(), by_template, strict=True)]
            texts = checked(best, facts, template)
            columns = pa.Table.from_pylist([asdict(text) for text in texts])
            append(columns.add_column(0, job.table.key[0], job.ids.take(block)))
            checks.update((draft.writer, text.check) for draft, text in zip(best, texts, strict=True))
            task.advance(len(block))
    return checks


def drafted(work: WorkDir, job: Job, writer: Writer, config: GenerateConfig, context: Context) -> dict[int, Draft]:
    """Row -> draft of a slow writer for the most important rows. Finished batches are kept: a killed run continues."""
    from llmrec_cli.writing.writers import Draft

    rows = job.chosen[: config.model_texts]
    folder = work.scratch("generate", context.ticket)
    found: dict[int, Draft] = {}
    with context.progress.task(f"generate {job.name} by {writer.name}", len(rows), "texts") as task:
        for start in range(0, len(rows), config.batch_size):
            batch = rows[start : start + config.batch_size]
            shard = folder / f"{job.name}-{start:08d}.json"
            if not shard.exists():
                _put(shard, [asdict(draft) for draft in writer.write(job.facts(batch))])
            drafts = [Draft(**fields) for fields in json.loads(shard.read_text(encoding="utf-8"))]
            found |= dict(zip(batch.tolist(), drafts, strict=True))
            task.advance(len(batch))
    return found


def _put(path: Path, content: Any) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    os.replace(temporary, path)


def report_checks(report: Report, job: Job, checks: Counter[tuple[str, str]]) -> None:
    """How many texts each writer wrote, how many of them passed, and what was most often wrong with the others."""
    report.counts[job.name] = checks.total()
    for name in sorted({writer for writer, _ in checks}):
        mine = Counter({check: n for (writer, check), n in checks.items() if writer == name})
        passed = mine.pop("passed", 0)
        line = f"{job.name}: {passed + mine.total():,} by {name}, {passed:,} passed the check"
        if mine:
            faults: Counter[str] = Counter()
            for check, n in mine.items():
                faults[check.removeprefix("replaced: ").partition(":")[0]] += n
            line += f", {mine.total():,} replaced ({'; '.join(f'{why} {n}' for why, n in faults.most_common(3))})"
        report.lines.append(line)
        report.metrics[f"{job.name}.{name}.pass_rate"] = passed / max(passed + mine.total(), 1)


def image_settings(config: GenerateConfig) -> ImageSettings | None:
    """The image generator with its settings; None where none is asked for."""
    from llmrec_cli.imaging.generators import load_class
    from llmrec_cli.imaging.item_images import ImageSettings

    name = config.image_generator
    if not name:
        return None
    kind = load_class(name)
    return ImageSettings(name, kind, config.image.get(name) or kind.Config(), config.max_images, config.image_size)


STAGE = Stage(
    "generate",
    GenerateConfig,
    reads=(ITEMS, ITEM_RANGES, SEQUENCES, PROFILES, LANGUAGE_ADAPTER),
    writes=(ITEM_TEXTS, TASTE_TEXTS, ITEM_IMAGES, IMAGES),
    run=run,
    sources=_sources,
    ready=_ready,
    revision=4,
)
