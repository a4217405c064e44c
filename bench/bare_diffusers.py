"""diffusers' own SDXL pipeline with the weights of a loaded checkpoint: a baseline."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from PIL import Image
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from pipeline.models.checkpoint import SDXL_BASE, Checkpoint
from pipeline.text.tokenizer import find_tokenizer

Draw = Callable[[str, str, int, int], list[Image.Image]]
"""(prompt, negative prompt, side in pixels, number of images) -> the images."""


def diffusers_pipeline(
    checkpoint: Checkpoint, folder: Path | None = None
) -> StableDiffusionXLPipeline:
    """The pipeline as its documentation builds it; on a GPU the VAE is in float16 too.

    ``folder`` is the diffusers folder of the checkpoint, whose tokenizer is used.
    """
    tokenizer = _tokenizer(folder)
    unet, clip_l, clip_g, vae = checkpoint.parts
    own_vae: Any = deepcopy(vae)
    scheduler = EulerDiscreteScheduler.from_config(
        EulerDiscreteScheduler.load_config(SDXL_BASE / "scheduler")
    )
    half = checkpoint.placement.device.type != "cpu"
    pipeline = StableDiffusionXLPipeline(
        vae=own_vae.half() if half else own_vae,
        text_encoder=_encoder(CLIPTextModel, clip_l, tokenizer),
        text_encoder_2=_encoder(CLIPTextModelWithProjection, clip_g, tokenizer),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawing(pipeline: StableDiffusionXLPipeline, steps: int, cfg: float) -> Draw:
    """A call of the pipeline with everything but these left as it is."""

    def draw(prompt: str, negative: str, side: int, images: int) -> list[Image.Image]:
        with torch.inference_mode():
            made = pipeline(
                prompt,
                negative_prompt=negative,
                num_inference_steps=steps,
                guidance_scale=cfg,
                width=side,
                height=side,
                num_images_per_prompt=images,
            )
        pictures: list[Image.Image] = made.images
        return pictures

    return draw


def _encoder(kind: type[Any], ours: nn.Module, tokenizer: CLIPTokenizer) -> Any:
    """transformers' module with the weights of ours."""
    text_model: Any = getattr(ours, "text_model", ours)
    config = CLIPTextConfig(
        **msgspec.structs.asdict(text_model.config),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = kind(config)
    encoder.load_state_dict(ours.state_dict())
    weight = next(ours.parameters())
    return encoder.eval().to(weight.device, weight.dtype)


def _tokenizer(folder: Path | None) -> CLIPTokenizer:
    ours = find_tokenizer(folder)
    tokenizer = CLIPTokenizer(vocab=dict(ours.vocabulary), merges=list(ours.merges))
    tokenizer.model_max_length = 77
    return tokenizer
