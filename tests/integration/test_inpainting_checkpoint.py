"""Checkpoints whose UNet takes a mask and the masked image beside the latent (9 channels)."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from pipeline.engine.engine import Engine
from pipeline.errors import InvalidModelFile
from pipeline.files.catalog import ModelCatalog
from pipeline.files.library import Library
from pipeline.files.locate import ModelFiles
from pipeline.models.checkpoint import load_checkpoint, read_configs
from pipeline.request.decode import params_from
from pipeline.request.presets import Preset, PresetStore
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.sampling.inpainting import inputs_added
from pipeline.scheduling.task import Task
from tests.integration.refiner_files import ROOT
from tests.integration.test_engine import Listener
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder, write_single_file

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the inpainting model ``tiny`` as a folder."""
    folder = tmp_path_factory.mktemp("models")
    tiny = folder / "checkpoints" / "tiny"
    write_configs(tiny)
    config = tiny / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_bytes()) | {"in_channels": 9}))
    weights = make_weights(read_configs(tiny))
    write_folder(tiny, weights)
    write_single_file(folder / "one.safetensors", weights, read_configs(tiny))
    return folder


def make(models: Path, wildcards: Path, **asked: object) -> Listener:
    files = ModelFiles(ModelCatalog(models), allowed=False)
    presets = PresetStore(ROOT / "presets", "embedded")
    styles = StyleLibrary(ROOT / "sdxl_styles")
    engine = Engine(Library(files, presets, styles, Wildcards(wildcards)), CPU)
    fields = {"base_model_name": "tiny", "overwrite_width": 64, "overwrite_height": 64}
    fields |= {"prompt": "a cat", "image_seed": 7, "style_selections": [], "overwrite_step": 2}
    fields |= {"inpaint_engine": "None", "inpaint_respective_field": 0.0, **asked}
    request = resolve_params(params_from(fields), Preset(native_pixels=64 * 64))
    inputs = {"/inputs/picture.png": png(picture()), "/inputs/mask.png": png(mask())}
    listener = Listener()
    engine(Task(task_id="a" * 32, request=request, in_queue_mills=0), listener, inputs)
    return listener


def picture() -> Image.Image:
    """A gradient, which survives resampling."""
    rows, columns = np.mgrid[0:128, 0:128]
    levels = np.stack([rows, columns, (rows + columns) // 2], axis=-1)
    return Image.fromarray(levels.astype(np.uint8))


def mask() -> Image.Image:
    made = Image.new("L", (128, 128))
    made.paste(255, (56, 56, 72, 72))
    return made


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def test_a_single_file_is_known_by_its_first_layer(models: Path, tmp_path: Path) -> None:
    write_configs(tmp_path)  # of a plain model
    checkpoint = load_checkpoint(models / "one.safetensors", CPU, single_file_configs=tmp_path)
    assert checkpoint.unet.is_inpainting


def test_the_network_is_given_mask_and_masked_latent_behind_the_latent(models: Path) -> None:
    unet = load_checkpoint(models / "checkpoints" / "tiny", CPU).unet.module
    assert isinstance(unet, UNet2DConditionModel)
    x, masked = torch.randn(2, 4, 8, 8), torch.randn(1, 4, 8, 8)
    cells = torch.randint(0, 2, (1, 1, 8, 8)).float()
    given = {
        "timestep": torch.tensor([500.0, 500.0]),
        "encoder_hidden_states": torch.randn(2, 77, 48),
        "added_cond_kwargs": {"text_embeds": torch.randn(2, 32), "time_ids": torch.ones(2, 6)},
    }
    joined = torch.cat([x, cells.expand(2, -1, -1, -1), masked.expand(2, -1, -1, -1)], dim=1)
    with torch.inference_mode():
        wanted = unet(joined, **given).sample
        with inputs_added(unet, cells, masked):
            assert torch.equal(unet(x, **given).sample, wanted)
        assert torch.equal(unet(joined, **given).sample, wanted)  # nothing stays behind


def test_it_paints_in_a_picture_and_keeps_the_rest(models: Path, tmp_path: Path) -> None:
    listener = make(
        models,
        tmp_path,
        inpaint_input_image="/inputs/picture.png",
        inpaint_mask_image_upload="/inputs/mask.png",
    )
    made = np.asarray(Image.open(io.BytesIO(listener.images[0].data)).convert("RGB"))
    changes = np.abs(made.astype(int) - np.asarray(picture()).astype(int))
    assert changes[:4].max() == 0
    assert changes[56:72, 56:72].mean() > 10


def test_for_anything_else_it_is_refused_with_the_reason(models: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InvalidModelFile, match=r"tiny is an inpainting checkpoint.*base_model_name"
    ):
        make(models, tmp_path)
