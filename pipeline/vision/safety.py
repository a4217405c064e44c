"""The safety checker published with Stable Diffusion: which pictures are not fit for work.

CLIP's image encoder, and the cosine of its embedding to a list of concepts (arXiv:2210.04610
describes the published checker; concepts and thresholds are in its file). diffusers has the class
too, inside a pipeline package that warns and loads only its own folder layout.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.errors import InvalidModelFile
from pipeline.models.image_encoder import clip_pixels
from pipeline.scheduling.task import Reporter
from pipeline.weights.tensors import fill, read_config, read_values

if TYPE_CHECKING:
    from transformers import CLIPVisionConfig

BLACKED_OUT: Final = "blacked_out"
"""The note in a task's record that lists which of its pictures, from 1, were blacked out."""

_CONCEPTS: Final = ("concept_embeds", "concept_embeds_weights")
_SPECIAL_CARE: Final = ("special_care_embeds", "special_care_embeds_weights")
_STRICTER: Final = 0.01  # off every threshold where a special-care concept is seen
_HEAD_WIDTH: Final = 64  # of every published CLIP
_WEIGHTS: Final = ("model.safetensors", "pytorch_model.bin")  # of a folder; the first one there


class SafetyChecker:
    """Tells pictures that are not fit for work. Device thread only."""

    def __init__(self, encoder: Any, concepts: Mapping[str, Tensor]) -> None:
        self._encoder = encoder
        self.parts = (encoder,)
        self._concepts = concepts

    def objects_to(self, image: Image.Image) -> bool:
        """Is an RGB picture nearer to one of the concepts than its threshold allows?"""
        pixels = clip_pixels(image, self._encoder.config.image_size)
        embedding = self._encoder(pixels.to(self._encoder.device)).image_embeds.float().cpu()
        margin = _STRICTER if _any_above(self._excess(embedding, _SPECIAL_CARE)) else 0.0
        return _any_above(self._excess(embedding, _CONCEPTS) + margin)

    def _excess(self, embedding: Tensor, names: tuple[str, str]) -> Tensor:
        """Cosine to each idea less its threshold."""
        concepts, thresholds = (self._concepts[name] for name in names)
        return (normalize(embedding) @ normalize(concepts).T)[0] - thresholds


class Censor:
    """Blacks out what a checker objects to in the pictures of one task. Device thread only."""

    def __init__(self, checker: SafetyChecker, reporter: Reporter) -> None:
        self._checker = checker
        self._reporter = reporter
        self._black: list[int] = []

    @torch.inference_mode()
    def __call__(self, image: Image.Image, number: int) -> Image.Image:
        """The picture, or a black one in its place; the record then holds its number (from 1)."""
        if not self._checker.objects_to(image.convert("RGB")):
            return image
        self._black.append(number)
        self._reporter.note(BLACKED_OUT, list(self._black))
        return Image.new("RGB", image.size)


def load_safety_checker(path: Path, device: torch.device) -> SafetyChecker:
    """From the single file, safetensors or torch's own format, or its folder.

    Raises InvalidModelFile.
    """
    from transformers import CLIPVisionModelWithProjection  # noqa: PLC0415 - takes seconds

    weights = _weights_of(path) if path.is_dir() else path
    tensors = dict(read_values(weights, "safety checker"))
    missing = [name for name in (*_CONCEPTS, *_SPECIAL_CARE) if name not in tensors]
    if missing:
        raise InvalidModelFile(
            f"{weights.name} is no safety checker; {missing[0]} is missing. Put the published file"
            " there"
        )
    concepts = {name: tensors.pop(name).float() for name in (*_CONCEPTS, *_SPECIAL_CARE)}
    # The class it was published in holds a whole vision model inside its own.
    encoder = {
        name.replace("vision_model.vision_model.", "vision_model."): tensor
        for name, tensor in tensors.items()
        if not name.endswith("position_ids")
    }
    config = _sizes(encoder, weights.name, path / "config.json" if path.is_dir() else None)
    for names, thresholds in (_CONCEPTS, _SPECIAL_CARE):
        shape = tuple(concepts[names].shape)
        if shape != (len(concepts[thresholds]), config.projection_dim):
            raise InvalidModelFile(
                f"{weights.name} is no safety checker: {names} is {list(shape)}, not"
                f" {[len(concepts[thresholds]), config.projection_dim]}; download it again"
            )
    with torch.device("meta"):
        module = CLIPVisionModelWithProjection(config)
    fill(module, encoder, f"safety checker {weights.name}", torch.float32)
    embeddings = module.vision_model.embeddings  # its positions are the one buffer no file holds
    embeddings.position_ids = torch.arange(embeddings.num_positions)[None]
    return SafetyChecker(module.to(device), concepts)


def _weights_of(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise InvalidModelFile(f"{folder.name} holds none of {', '.join(_WEIGHTS)}")


def _sizes(tensors: Mapping[str, Tensor], name: str, config: Path | None) -> "CLIPVisionConfig":
    """Sizes of the encoder: from its shapes, and from the folder's config where there is one."""
    from transformers import CLIPVisionConfig  # noqa: PLC0415 - takes seconds

    start = "vision_model.embeddings"
    try:
        width = tensors[f"{start}.class_embedding"].shape[0]
        patch = tensors[f"{start}.patch_embedding.weight"].shape[-1]
        patches = tensors[f"{start}.position_embedding.weight"].shape[0] - 1
        inner = tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0]
        projected = tensors["visual_projection.weight"].shape[0]
    except KeyError as error:
        raise InvalidModelFile(
            f"{name} is no safety checker; {error} is missing. Put the published file there"
        ) from error
    heads = max(1, width // _HEAD_WIDTH)
    if config is not None and config.is_file():
        vision = read_config(config).get("vision_config")
        heads = (vision or {}).get("num_attention_heads", heads)
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=_depth(tensors),
        num_attention_heads=heads,
        image_size=int(patches**0.5) * patch,
        patch_size=patch,
        projection_dim=projected,
    )


def _depth(tensors: Mapping[str, Tensor]) -> int:
    depth = 0
    while f"vision_model.encoder.layers.{depth}.layer_norm1.weight" in tensors:
        depth += 1
    return depth


def _any_above(values: Tensor) -> bool:
    """Is any above 0, rounded to three places as the published checker does?"""
    return bool((values.round(decimals=3) > 0).any())
