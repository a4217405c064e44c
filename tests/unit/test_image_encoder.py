"""CLIP's image encoder: what it sees of a picture, what it answers, which files it takes."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from pipeline.errors import InvalidModelFile
from pipeline.models.image_encoder import CLIP_VIT_H, ImageEncoder, clip_pixels, load_image_encoder
from pipeline.weights.tensors import read_config
from tests.unit import tiny_adapter

CPU = torch.device("cpu")


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    generator = torch.Generator().manual_seed(width + height)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy()).convert(mode)


def write_folder(folder: Path) -> dict[str, Tensor]:
    """An encoder as transformers saves it; its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(tiny_adapter.ENCODER)))
    tensors = dict(tiny_adapter.make_encoder().state_dict())
    save_file(tensors, folder / "model.safetensors")
    return tensors


@pytest.mark.parametrize(
    "size", [(300, 200), (200, 301), (224, 224), (64, 97), (1024, 640), (225, 224)]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_picture_is_prepared_as_clips_own_code_does(size: tuple[int, int], mode: str) -> None:
    image = picture(*size, mode)
    expected = CLIPImageProcessorPil()(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(clip_pixels(image, 224), expected, rtol=1e-5, atol=1e-5)


def test_a_strip_is_seen_by_its_middle() -> None:
    strip = picture(1, 100_000)
    middle = strip.crop((0, 50_000 - 8, 1, 50_000 + 8))
    assert torch.equal(clip_pixels(strip, 224), clip_pixels(middle, 224))


def test_the_features_are_the_last_layers_input(tmp_path: Path) -> None:
    write_folder(tmp_path)
    encoder = load_image_encoder(tmp_path, CPU)
    model = tiny_adapter.make_encoder()
    with torch.inference_mode():
        made = encoder.features(picture(50, 40))
        inner = model.vision_model
        states = inner.pre_layrnorm(inner.embeddings(clip_pixels(picture(50, 40), 32)))
        for layer in inner.encoder.layers[:-1]:
            states = layer(states, attention_mask=None)
    assert made.shape == (1, 1 + 16, 40)
    torch.testing.assert_close(made, states, rtol=1e-5, atol=1e-5)


def test_no_picture_at_all_is_zero_pixels_after_standardising(tmp_path: Path) -> None:
    write_folder(tmp_path)
    encoder = load_image_encoder(tmp_path, CPU)
    model = tiny_adapter.make_encoder()
    with torch.inference_mode():
        expected = model(torch.zeros(1, 3, 32, 32), output_hidden_states=True).hidden_states[-2]
        torch.testing.assert_close(encoder.blank_features(), expected)
        assert encoder.blank_features() is encoder.blank_features()


def test_a_folder_and_a_single_file_are_read_alike(tmp_path: Path) -> None:
    tensors = write_folder(tmp_path / "folder")
    # Files of older versions hold the positions' numbers too.
    ids = {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
    save_file(tensors | ids, tmp_path / "clip.safetensors")
    with torch.inference_mode():
        made = [
            encoder.features(picture(50, 40))
            for encoder in (
                load_image_encoder(tmp_path / "folder", CPU),
                load_image_encoder(tmp_path / "clip.safetensors", CPU, tmp_path / "folder"),
            )
        ]
    assert torch.equal(made[0], made[1])


def test_the_published_encoder_has_632_million_weights_under_these_names() -> None:
    with torch.device("meta"):
        model = CLIPVisionModelWithProjection(
            CLIPVisionConfig(**read_config(CLIP_VIT_H / "config.json"))
        )
    encoder = ImageEncoder(model)
    state = model.state_dict()
    assert (encoder.image_size, encoder.width) == (224, 1280)
    assert sum(tensor.numel() for tensor in state.values()) == 632_076_800
    assert state["vision_model.embeddings.position_embedding.weight"].shape == (257, 1280)
    assert state["vision_model.encoder.layers.31.mlp.fc1.weight"].shape == (5120, 1280)
    assert state["visual_projection.weight"].shape == (1024, 1280)


def test_a_single_file_of_another_encoder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    save_file(dict(tiny_adapter.make_encoder().state_dict()), path)
    with pytest.raises(InvalidModelFile, match=r"small\.safetensors does not fit.*missing"):
        load_image_encoder(path, CPU)


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    save_file({"conditioner.weight": torch.zeros(2)}, path)
    with pytest.raises(InvalidModelFile, match=r"1 unknown: conditioner\.weight"):
        load_image_encoder(path, CPU)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(InvalidModelFile, match="no whole safetensors file"):
        load_image_encoder(path, CPU)


def test_a_folder_without_its_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelFile, match="config"):
        load_image_encoder(tmp_path, CPU)
    (tmp_path / "config.json").write_text(json.dumps(dict(tiny_adapter.ENCODER)))
    with pytest.raises(InvalidModelFile, match="holds no safetensors file"):
        load_image_encoder(tmp_path, CPU)
