from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_cli.core.errors import DataError
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.extras.diffusion import DiffusersConfig, DiffusersGenerator
from llmrec_cli.imaging.generators import Examples, Wanted

diffusers = pytest.importorskip("diffusers")
QUIET = PlainProgress(quiet=True)
EXAMPLES = Examples(np.zeros((8, 32, 32, 3), dtype=np.uint8), np.zeros(8, dtype=np.int64), 1)
WANTED = Wanted(np.zeros(3, dtype=np.int64), ["a red mug", "a blue mug", "a red mug"])


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of random weights, saved as any is."""
    import transformers as tf

    folder = tmp_path_factory.mktemp("pipeline")
    vocabulary = {word: place for place, word in enumerate(["<|startoftext|>", "<|endoftext|>", "red</w>", "mug</w>"])}
    tokenizer = tf.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=8)
    torch.manual_seed(0)
    text: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
    }
    encoder = tf.CLIPTextModel(tf.CLIPTextConfig(**text, vocab_size=10, max_position_embeddings=8, projection_dim=32))
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 32),
        layers_per_block=1,
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        norm_num_groups=8,
    )
    vae = diffusers.AutoencoderKL(block_out_channels=(32,), latent_channels=4, norm_num_groups=8)
    made = diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.save_pretrained(folder)
    return folder


def generated(folder: Path, batch_size: int) -> Any:
    config = DiffusersConfig(pipeline=str(folder), steps=2, batch_size=batch_size)
    fitted = DiffusersGenerator.fit(config, EXAMPLES, seed=1, device="cpu", progress=QUIET)
    return fitted.generate(WANTED, 3)


def test_a_local_pipeline_makes_one_image_a_prompt(pipeline: Path) -> None:
    made = generated(pipeline, 4)
    assert made.shape == (3, 32, 32, 3) and made.dtype == np.uint8
    assert (made[0] != made[2]).any()  # the same prompt, another seed
    apart = np.abs(made.astype(int) - generated(pipeline, 1).astype(int))
    assert apart.max() <= 2  # the size of a batch does not matter


def test_the_prompt_is_made_of_the_facts(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def noted(self: Any, prompts: list[str], **settings: Any) -> Any:
        asked.extend(prompts)
        return whole(self, prompts, **settings)

    whole = diffusers.StableDiffusionPipeline.__call__
    monkeypatch.setattr(diffusers.StableDiffusionPipeline, "__call__", noted)
    generated(pipeline, 4)
    assert asked[1] == "a product photo of a blue mug, plain background"


def test_a_damaged_pipeline_is_told(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(DataError, match="pipeline cannot be read"):
        generated(tmp_path, 1)
