"""SDXL's structure at toy size, for benchmarks that want a GPU where there is none."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.models.checkpoint import SDXL_BASE

_SMALLER: Final[Mapping[str, Mapping[str, Any]]] = {
    "unet": {
        "block_out_channels": [32, 64],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": [2, 4],
        "transformer_layers_per_block": 1,
        "layers_per_block": 1,
        "cross_attention_dim": 48,
        "projection_class_embeddings_input_dim": 32 + 6 * 256,
        "sample_size": 8,
    },
    "vae": {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1, "sample_size": 64},
    "text_encoder": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "projection_dim": 16,
    },
    "text_encoder_2": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "projection_dim": 32,
    },
}


def write_toy_configs(folder: Path) -> Path:
    """SDXL base's configurations with smaller numbers, as a diffusers folder has them."""
    for part, changes in _SMALLER.items():
        config = json.loads((SDXL_BASE / part / "config.json").read_bytes()) | dict(changes)
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(config))
    return folder
