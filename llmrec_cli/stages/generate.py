"""Write descriptions of items, users' tastes and what reviews say, checked against the facts; generate images.

Reads: clean/items, clean/item_ranges, clean/sequences, profile/profiles; clean/reviews and pretrain/language_adapter
where they are asked for; the image files that the items name.
Writes: generate/item_texts, generate/taste_texts, generate/review_summaries; generate/item_images and generate/images
where items have images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field, SerializeAsAny, model_validator

from llmrec_cli.core import min_support
from llmrec_cli.core.arrays import Ints
from llmrec_cli.core.artifacts import (
    IMAGES,
    ITEM_IMAGES,
    ITEM_RANGES,
    ITEM_TEXTS,
    ITEMS,
    LANGUAGE_ADAPTER,
    PROFILES,
    REVIEW_SUMMARIES,
    REVIEWS,
    SEQUENCES,
    TASTE_TEXTS,
)
from llmrec_cli.core.chat_server import ANSWERS, ChatServerConfig
from llmrec_cli.core.columns import ITEM, USER
from llmrec_cli.core.errors import UpstreamError
from llmrec_cli.core.registry import Sections, load_function, load_variant
from llmrec_cli.core.stage import Context, Report, Stage
from llmrec_cli.core.ticket import Source
from llmrec_cli.core.workdir import WorkDir

if TYPE_CHECKING:
    from llmrec_cli.imaging.item_images import ImageSettings
    from llmrec_cli.writing.text_tables import Effort, Job
    from llmrec_cli.writing.writers import Writer, WriterConfig

IMAGE_SECTIONS = Sections("llmrec_cli.imaging.generators:GENERATORS", "llmrec_cli.imaging.generators:load_class")


class GenerateConfig(BaseModel, frozen=True, extra="forbid"):
    kinds: list[Literal["description", "taste", "review_summary"]] = Field(
        ["description", "taste"],
        description="texts written: a description of each item, each user's taste, what clean.interactions.review says",
    )
    language: Literal["auto", "en", "zh"] = Field("auto", description="of these texts; auto is that of the titles")
    writer: str = Field(
        "template",
        description="who writes: template, hf (a local model, see docs/truth.md), openai (a server), module:Class",
    )
    model: str = Field(
        "smollm2-135m",
        description="of hf: a model folder, or a name of `llmrec models list`; of openai: the server's name for it",
    )
    openai: ChatServerConfig = ChatServerConfig()
    adapter: bool = Field(False, description="write with that model as `pretrain --lm` has tuned it")
    max_items: int | None = Field(None, ge=0, description="items described, most popular first; all when not set")
    max_users: int | None = Field(None, ge=0, description="users summarised, most active first; all when not set")
    model_texts: int = Field(
        50, ge=0, description="items, and users, that a language model writes for; templates do the rest"
    )
    batch_size: int = Field(16, ge=1, description="texts that a language model writes at a time")
    tries: int = Field(3, ge=1, description="drafts of openai for a text until the template writes it")
    max_new_tokens: int = Field(192, ge=8, description="longest text of a language model, in tokens")
    image_generator: str = Field(
        "", description="what makes images: gan, vae, diffusers, collage, or module:Class; empty: none"
    )
    max_images: int = Field(64, ge=0, description="images made: items without an image first, most popular first")
    image_size: int | None = Field(
        None,
        ge=16,
        le=128,
        multiple_of=4,
        description="pixels a side; 64 where half of the images are as large, else 32",
    )
    image: Annotated[dict[str, SerializeAsAny[BaseModel]], IMAGE_SECTIONS] = Field(
        {}, description="settings of the image generators, by name"
    )

    @model_validator(mode="after")
    def _a_writer_has_what_it_needs(self) -> GenerateConfig:
        if self.adapter and self.writer in ("template", "openai"):
            raise ValueError("adapter = true needs a writer with a local language model: writer = 'hf'")
        if self.writer == "openai" and "model" not in self.model_fields_set:
            raise ValueError("writer = 'openai' needs the name that the server has for a model: model = '...'")
        return self


def run(work: WorkDir, config: GenerateConfig, context: Context) -> Report:
    from llmrec_cli.imaging.item_images import write_images
    from llmrec_cli.writing import text_tables

    writer, images = open_writer(work, config, context), image_settings(config)
    report = Report()
    for job in jobs(work, config):
        text_tables.report_checks(report, job, text_tables.write(work, job, writer, effort(config), context))
    if "review_summary" in config.kinds:
        report.lines += _without_reviews(work, report.counts)
    if writer.name == "template":
        report.lines.append("all texts by template; a language model writes with: --set generate.writer=hf")
    if images is not None:
        items = work.read(ITEMS)
        write_images(work, items.take(most_events_first(items.column("n_events"))), images, context, report)
    return report


def _without_reviews(work: WorkDir, counts: Mapping[str, int]) -> list[str]:
    """Why items have no text on their reviews."""
    if not work.has(REVIEWS):
        return ["no review_summaries: the log has no reviews (clean.interactions.review names their column)"]
    n = work.read(ITEMS, [ITEM]).num_rows - counts[REVIEW_SUMMARIES.name]
    return (
        [f"review_summaries: none for {n:,} of the items: fewer than 3 people wrote of it, or max_items"] if n else []
    )


def estimate(work: WorkDir, config: GenerateConfig, context: Context) -> Report:
    """How many texts a language model would write, and where the writer can tell what they would cost."""
    from llmrec_cli.writing import text_tables

    report = Report()
    writer = None if config.writer in ("template", "hf") else open_writer(work, config, context)
    for job in jobs(work, config):
        text_tables.report_cost(report, job, writer, effort(config), by_model=config.writer != "template")
    return report


def effort(config: GenerateConfig) -> Effort:
    from llmrec_cli.writing.text_tables import Effort

    return Effort(config.model_texts, config.batch_size, config.tries)


def open_writer(work: WorkDir, config: GenerateConfig, context: Context) -> Writer:
    from llmrec_cli.writing.writers import WRITERS, Writer

    kind = load_variant("writer", WRITERS, config.writer, Writer)
    opened: Writer = kind.open(writer_config(config, context.base, work), context.device, context.threads)
    return opened


def writer_config(config: GenerateConfig, base: Path, work: WorkDir | None = None) -> WriterConfig:
    """What a writer is given; without a work directory neither an adapter nor a place for answers."""
    from llmrec_cli.writing.writers import WriterConfig

    return WriterConfig(
        model=config.model,
        base=base,
        adapter=adapter_folder(work, config) if work else "",
        batch_size=config.batch_size,
        max_new_tokens=config.max_new_tokens,
        server=config.openai,
        answers=str(work.path / STAGE.name / ANSWERS) if work else "",
    )


def jobs(work: WorkDir, config: GenerateConfig) -> tuple[Job, ...]:
    """The tables of texts with the facts that they are written from."""
    from llmrec_cli.data.interactions import from_table
    from llmrec_cli.writing import text_tables
    from llmrec_cli.writing.claims import People
    from llmrec_cli.writing.known_facts import ItemEvidence, TasteEvidence
    from llmrec_cli.writing.text_templates import language_of

    items, profiles = work.read(ITEMS), work.read(PROFILES, [USER, "interests", "n_events"])
    histories = from_table(work.read(SEQUENCES, [USER, "item_codes", "times", "weights"]), items, profiles.column(USER))
    ranges = work.read(ITEM_RANGES) if work.has(ITEM_RANGES) else None

    popular, active = (most_events_first(table.column("n_events")) for table in (items, profiles))
    language = language_of(items.column("title").to_pylist(), config.language)
    tastes = TasteEvidence(profiles, histories, items, language)
    facts = ItemEvidence(items, People.of(histories).counts, ranges, language)
    every = {
        "description": text_tables.Job(ITEM_TEXTS, items.column(ITEM), popular[: config.max_items], facts),
        "taste": text_tables.Job(TASTE_TEXTS, profiles.column(USER), active[: config.max_users], tastes),
    }
    if "review_summary" in config.kinds and work.has(REVIEWS):
        of_reviews = load_function("llmrec_cli.extras.review_facts:ReviewEvidence")
        evidence = of_reviews(work.read(REVIEWS), items, language, min_support.least_people(work))
        reviewed = popular[evidence.enough[popular]]
        every["review_summary"] = text_tables.Job(
            REVIEW_SUMMARIES, items.column(ITEM), reviewed[: config.max_items], evidence
        )
    return tuple(job for kind, job in every.items() if kind in config.kinds)


def _sources(work: WorkDir, config: GenerateConfig, base: Path) -> Iterator[Source]:
    """The language model that writes, and the images that an image generator learns from."""
    from llmrec_cli.content import encoder_files
    from llmrec_cli.tensors import model_store

    if config.writer != "template":
        yield from model_store.source("language model", model_store.folder_of(config.model, base))
    if images := image_settings(config):
        yield from encoder_files.of_items("image", work.read(ITEMS, ["image"]), base)
        if folder := images.generator.folder(images.config):
            yield Source("pipeline", folder, sorted(file for file in folder.rglob("*") if file.is_file()))


def _ready(config: GenerateConfig, context: Context) -> None:
    from llmrec_cli.tensors import model_store
    from llmrec_cli.writing.writers import WRITERS, Writer

    writer = load_variant("writer", WRITERS, config.writer, Writer)
    if config.writer == "hf":
        model_store.locate(config.model, context.base)
    if config.writer == "openai":
        writer.ready(writer_config(config, context.base))
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
    reads=(ITEMS, ITEM_RANGES, SEQUENCES, REVIEWS, PROFILES, LANGUAGE_ADAPTER),
    writes=(ITEM_TEXTS, TASTE_TEXTS, REVIEW_SUMMARIES, ITEM_IMAGES, IMAGES),
    run=run,
    sources=_sources,
    ready=_ready,
    estimate=estimate,
    facts=min_support.ticket_part,
    revision=8,
)
