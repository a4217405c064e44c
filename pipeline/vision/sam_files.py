"""Segment Anything's own files (``sam_vit_b_01ec64.pth`` …) as transformers' SamModel.

The files name no sizes: what the tensors' shapes do not tell is the same in all published ones.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from torch import Tensor

from pipeline.errors import InvalidModelFile

if TYPE_CHECKING:
    from transformers import SamConfig

# Parts of names, the original's and transformers'. In this order: later ones see the results.
_RENAMED: Final = (
    ("image_encoder.", "vision_encoder."),
    ("patch_embed.proj.", "patch_embed.projection."),
    (".blocks.", ".layers."),
    ("neck.0.", "neck.conv1."),
    ("neck.1.", "neck.layer_norm1."),
    ("neck.2.", "neck.conv2."),
    ("neck.3.", "neck.layer_norm2."),
    (".norm", ".layer_norm"),
    ("pe_layer.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    ("point_embeddings.", "point_embed."),
    ("mask_downscaling.0.", "mask_embed.conv1."),
    ("mask_downscaling.1.", "mask_embed.layer_norm1."),
    ("mask_downscaling.3.", "mask_embed.conv2."),
    ("mask_downscaling.4.", "mask_embed.layer_norm2."),
    ("mask_downscaling.6.", "mask_embed.conv3."),
    ("output_upscaling.0.", "upscale_conv1."),
    ("output_upscaling.1.", "upscale_layer_norm."),
    ("output_upscaling.3.", "upscale_conv2."),
)
# The heads are three layers deep: first, middle, last.
_HEAD: Final = re.compile(
    r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.([012])\."
)
_HEAD_PARTS: Final = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}
_POSITIONS: Final = "prompt_encoder.shared_embedding.positional_embedding"
_SHARED_POSITIONS: Final = "shared_image_embedding.positional_embedding"


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of transformers' SamModel."""
    result = {_new_name(name): tensor for name, tensor in tensors.items()}
    if _POSITIONS in result:  # the model holds them twice
        result[_SHARED_POSITIONS] = result[_POSITIONS]
    return result


def config_of(tensors: Mapping[str, Tensor]) -> "SamConfig":
    """Sizes of the model, from the renamed tensors. Raises InvalidModelFile."""
    from transformers import SamConfig  # noqa: PLC0415 - takes seconds

    try:
        return SamConfig(
            vision_config=_vision_sizes(tensors),
            prompt_encoder_config=_prompt_sizes(tensors),
            mask_decoder_config=_decoder_sizes(tensors),
        )
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise InvalidModelFile(
            f"this is no Segment Anything model; {error} is missing. Put the published file there"
        ) from error


def _new_name(name: str) -> str:
    for old, new in _RENAMED:
        name = name.replace(old, new)
    return _HEAD.sub(lambda found: f"{found[1]}.{_HEAD_PARTS[found[2]]}.", name)


def _vision_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    _, grid, _, width = tensors["vision_encoder.pos_embed"].shape
    patch = tensors["vision_encoder.patch_embed.projection.weight"].shape[-1]
    rows = _relative_rows(tensors)
    whole = 2 * grid - 1  # a layer that sees the whole picture has so many relative positions
    head_width = tensors["vision_encoder.layers.0.attn.rel_pos_h"].shape[1]
    return {
        "hidden_size": width,
        "output_channels": tensors["vision_encoder.neck.conv1.weight"].shape[0],
        "num_hidden_layers": len(rows),
        "num_attention_heads": width // head_width,
        "image_size": grid * patch,
        "patch_size": patch,
        "mlp_dim": tensors["vision_encoder.layers.0.mlp.lin1.weight"].shape[0],
        "window_size": (min(rows) + 1) // 2,
        "global_attn_indexes": [i for i, count in enumerate(rows) if count == whole],
        "num_pos_feats": tensors[_POSITIONS].shape[1],
    }


def _relative_rows(tensors: Mapping[str, Tensor]) -> list[int]:
    """How many relative positions each layer of the image encoder knows."""
    rows: list[int] = []
    while (name := f"vision_encoder.layers.{len(rows)}.attn.rel_pos_h") in tensors:
        rows.append(tensors[name].shape[0])
    return rows


def _prompt_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    _, grid, _, _ = tensors["vision_encoder.pos_embed"].shape
    patch = tensors["vision_encoder.patch_embed.projection.weight"].shape[-1]
    return {
        "hidden_size": tensors["prompt_encoder.no_mask_embed.weight"].shape[1],
        "image_size": grid * patch,
        "patch_size": patch,
        "mask_input_channels": tensors["prompt_encoder.mask_embed.conv2.weight"].shape[0],
    }


def _decoder_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    width = tensors["mask_decoder.iou_token.weight"].shape[1]
    narrow = tensors["mask_decoder.transformer.final_attn_token_to_image.q_proj.weight"].shape[0]
    return {
        "hidden_size": width,
        "mlp_dim": tensors["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
        "attention_downsample_rate": width // narrow,
        "iou_head_hidden_dim": tensors["mask_decoder.iou_prediction_head.proj_in.weight"].shape[0],
    }
