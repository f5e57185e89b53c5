"""A text-to-image pipeline of diffusers from a local folder (Stable Diffusion, PixArt, SDXL-Turbo, ...)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image, ImageOps
from pydantic import BaseModel, Field

from llmrec_cli.core.errors import DataError, MissingExtraError, SettingsError
from llmrec_cli.core.progress import Progress
from llmrec_cli.imaging.generators import Examples, Pixels, Wanted
from llmrec_cli.tensors.runtime import choose_device, fast_dtype

INDEX = "model_index.json"


class DiffusersConfig(BaseModel, frozen=True, extra="forbid"):
    pipeline: str = Field("", description="folder of the pipeline, with its model_index.json")
    prompt: str = Field(
        "a product photo of {facts}, plain background", description="what is asked for; {facts} is filled in"
    )
    steps: int = Field(20, ge=1, description="denoising steps")
    guidance: float = Field(5.0, ge=0, description="how closely the prompt is followed")
    batch_size: int = Field(4, ge=1, description="images made at a time")


class DiffusersGenerator:
    Config = DiffusersConfig

    def __init__(self, config: DiffusersConfig, pipeline: Any, size: int, progress: Progress) -> None:
        self.config, self._pipeline, self._size, self._progress = config, pipeline, size, progress

    @classmethod
    def folder(cls, config: DiffusersConfig) -> Path:
        """That of the pipeline."""
        folder = Path(config.pipeline).expanduser()
        if not config.pipeline or not (folder / INDEX).is_file():
            raise SettingsError(
                f"the image generator 'diffusers' needs a pipeline's folder, with its {INDEX}",
                where=str(folder.absolute()),
                fix="--set generate.image.diffusers.pipeline=FOLDER, as diffusers' save_pretrained writes it",
            )
        return folder

    @classmethod
    def fit(cls, config: DiffusersConfig, examples: Examples, *, seed: int, device: str, progress: Progress) -> Self:
        """Nothing is learnt; the pipeline is opened. DataError for a damaged one."""
        folder = cls.folder(config)
        where = torch.device(choose_device(device))
        dtype = fast_dtype(where) if where.type != "cpu" else torch.float32
        library = _diffusers()
        try:
            pipeline = library.DiffusionPipeline.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, torch_dtype=dtype
            )
        except Exception as error:  # damaged folders surface as nearly anything
            raise DataError(
                f"the pipeline cannot be read: {str(error).strip().splitlines()[0]}",
                where=str(folder),
                fix="check the folder, which needs its weights as *.safetensors",
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        return cls(config, pipeline.to(where), examples.images.shape[1], progress)

    def generate(self, wanted: Wanted, seed: int) -> Pixels:
        """See `ImageGenerator`; the prompt of each is made of the item's facts."""
        prompts = [self.config.prompt.replace("{facts}", prompt) for prompt in wanted.prompts]
        made: list[Any] = []
        with self._progress.task("generate images", len(prompts), "images") as task:
            for start in range(0, len(prompts), self.config.batch_size):
                block = prompts[start : start + self.config.batch_size]
                seeds = [torch.Generator().manual_seed(hash_of(seed, start + n)) for n in range(len(block))]
                made += self._pipeline(
                    block,
                    num_inference_steps=self.config.steps,
                    guidance_scale=self.config.guidance,
                    generator=seeds,
                ).images
                task.advance(len(block))
        return np.stack([self._fitted(image) for image in made])

    def _fitted(self, image: Image.Image) -> Pixels:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (self._size, self._size)), dtype=np.uint8)


def hash_of(seed: int, place: int) -> int:
    """A seed of each image, so that they do not depend on the size of a batch."""
    return int(np.random.SeedSequence([seed, place]).generate_state(1)[0])


def _diffusers() -> Any:
    try:
        return importlib.import_module("diffusers")
    except ImportError as error:
        raise MissingExtraError(
            f"the image generator 'diffusers' needs the package {error.name!r}", fix=f"pip install {error.name}"
        ) from error
