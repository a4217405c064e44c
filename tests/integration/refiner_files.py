"""Small refiners as files, and pictures drawn with them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from PIL.Image import Image
from safetensors.torch import save_file
from torch import Tensor

from pipeline.engine.engine import Engine
from pipeline.engine.sdxl import SdxlPipeline
from pipeline.images.read import open_image
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.refiner import SDXL_REFINER, Refiner
from pipeline.request.decode import params_from
from pipeline.request.resolved import resolve_params
from pipeline.scheduling.task import Task
from pipeline.weights import layout
from pipeline.weights.layout import unet_prefixes
from tests.integration.test_engine import Listener
from tests.plans import PLAN, changed
from tools.original_layout import original_names

ROOT = Path(__file__).resolve().parents[2]


CPU = torch.device("cpu")


SMALLER: Mapping[str, Any] = {
    "block_out_channels": [32, 64, 64, 64],
    "attention_head_dim": [2, 4, 4, 4],
    "transformer_layers_per_block": 1,
    "cross_attention_dim": 32,  # the small CLIP-G
    "projection_class_embeddings_input_dim": 32 + 5 * 256,
    "sample_size": 8,
}


PLAN_OF_FOUR = changed(PLAN, steps=4, switch=2, refiner="r")


Weights = Mapping[str, Tensor]


def write_refiner_config(folder: Path, **changes: Any) -> dict[str, Any]:
    """SDXL refiner's configuration with smaller numbers, as a diffusers folder has it."""
    published = json.loads((SDXL_REFINER / "unet" / "config.json").read_bytes())
    config: dict[str, Any] = {**published, **SMALLER, **changes}
    (folder / "unet").mkdir(parents=True, exist_ok=True)
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLImg2ImgPipeline"}')
    return config


def make_unet(config: Mapping[str, Any], seed: int = 2) -> Weights:
    torch.manual_seed(seed)
    return dict(UNet2DConditionModel.from_config(config).state_dict())


def write_refiner_file(path: Path, weights: Weights, config: Mapping[str, Any]) -> None:
    """One file in the original layout: CLIP-G in the first encoder's place, and a VAE beside."""
    names = original_names(weights, unet_prefixes(config))
    tensors = {
        f"{layout.UNET_PREFIX}{old}": tensor
        for old, tensor in zip(names, weights.values(), strict=True)
    }
    tensors["conditioner.embedders.0.model.ln_final.weight"] = torch.ones(32)
    tensors["first_stage_model.decoder.conv_out.bias"] = torch.zeros(3)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def draw(base: Checkpoint, refiner: Refiner | None, **changes: Any) -> Image:
    plan = changed(PLAN_OF_FOUR, **changes)
    with torch.inference_mode():
        pipeline = SdxlPipeline(base, refiner=refiner)
        return pipeline.make(plan, lambda _index, _guess: None)


def write_strange_file(path: Path) -> None:
    save_file({f"{layout.UNET_PREFIX}label_emb.0.0.weight": torch.zeros(8, 77)}, path)


def make(engine: Engine, **asked: object) -> Listener:
    fields = {"base_model_name": "a", "overwrite_width": 64, "overwrite_height": 64, **asked}
    fields |= {"prompt": "a cat", "image_seed": 7, "style_selections": [], "overwrite_step": 4}
    params = params_from({"overwrite_switch": 2, "sampler_name": "euler", **fields})
    listener = Listener()
    engine(Task(task_id="a" * 32, request=resolve_params(params), in_queue_mills=0), listener)
    return listener


def pixels(listener: Listener) -> bytes:
    return open_image(listener.images[0].data).tobytes()
