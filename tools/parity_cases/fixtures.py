"""A folder of reference figures: its index, its tensor files, its small networks."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.memory.device import Placement, place
from pipeline.models.checkpoint import build_unet
from pipeline.models.unet import UNet
from pipeline.weights.layout import UNET_PREFIX, unet_from_original

DEFAULT_TOLERANCE: Final = 2e-5
CPU: Final = torch.device("cpu")
ROWS: Final = ".rows"  # after a table's name: the numbers of the rows that are stored of it


class Case(msgspec.Struct, frozen=True, rename={"tolerance": "tolerance_relative_l2"}):
    """One entry of the index: what was given, and where the figures that came out are.

    ``calls``, ``images``, ``n_results`` and the areas are figures that stand in the index itself.
    """

    id: str
    file: str
    outputs: tuple[str, ...]
    what: str = ""
    params: dict[str, Any] = {}
    inputs: tuple[str, ...] = ()
    calls: tuple[dict[str, Any], ...] = ()
    images: tuple[dict[str, Any], ...] = ()
    n_results: int = 0
    initial_area: list[int] = []
    areas: dict[str, list[int]] = {}
    tolerance: float = DEFAULT_TOLERANCE

    @property
    def own_figures(self) -> dict[str, Any]:
        """The index's own figures: ``call.0`` and on, ``image.0`` and on, areas of masks.

        ``results`` is how many pictures come without a call.
        """
        calls = {f"call.{i}": call for i, call in enumerate(self.calls)}
        images = {f"image.{i}": image for i, image in enumerate(self.images)}
        more: dict[str, Any] = {"results": 0 if calls else self.n_results}
        more |= {"initial_area": self.initial_area, "areas": self.areas}
        return calls | images | {name: figure for name, figure in more.items() if figure}


class _Index(msgspec.Struct):
    cases: tuple[Case, ...]


class Fixtures:
    """Reads a folder's files when they are first asked for, and keeps them.

    Sets torch to one thread, as the figures were recorded.
    """

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self.folder = folder
        self.cases = msgspec.json.decode((folder / "index.json").read_bytes(), type=_Index).cases
        self._tensors: dict[str, dict[str, Tensor]] = {}
        self._json: dict[str, Any] = {}
        self._unets: dict[tuple[str, str], UNet] = {}

    def tensors(self, file: str) -> dict[str, Tensor]:
        """A tensor file as it is stored."""
        if file not in self._tensors:
            self._tensors[file] = load_file(self.folder / file)
        return self._tensors[file]

    def weights(self, file: str) -> dict[str, Tensor]:
        """A weight file in float32, into which its 8-bit storage converts exactly.

        Rows of a token table that are not stored are zero.
        """
        stored = self.tensors(file)
        return {
            name: _whole_table(tensor.float(), stored.get(name + ROWS))
            for name, tensor in stored.items()
            if not name.endswith(ROWS)
        }

    def json(self, file: str) -> Any:
        """A JSON file."""
        if file not in self._json:
            self._json[file] = json.loads((self.folder / file).read_bytes())
        return self._json[file]

    def unit(self, name: str) -> Tensor:
        """A tensor of the units file, where the shared inputs are."""
        return self.tensors("units.safetensors")[name]

    @cached_property
    def placement(self) -> Placement:
        """Everything on the CPU in float32."""
        return place(CPU, 0)

    def unet(self, file: str = "unet.safetensors", config: str = "unet", delta: str = "") -> UNet:
        """A network in the original layout; the tensors of ``delta`` replace its own."""
        key = (file, delta)
        if key not in self._unets:
            tensors = self.weights(file) | (self.weights(delta) if delta else {})
            self._unets[key] = self.build_unet(tensors, config)
        return self._unets[key]

    def build_unet(self, tensors: Mapping[str, Tensor], config: str = "unet") -> UNet:
        """A network of these tensors, as configured under ``config`` in models.json."""
        described = self.json("models.json")[config]
        arguments = unet_config(described)
        bare = {name.removeprefix(UNET_PREFIX): tensor for name, tensor in tensors.items()}
        named = unet_from_original(bare, arguments)
        return UNet(build_unet(named, arguments, self.placement))


def _whole_table(stored: Tensor, rows: Tensor | None) -> Tensor:
    """The table of which these rows are stored; the last one is always there."""
    if rows is None:
        return stored
    table = torch.zeros(int(rows.max()) + 1, *stored.shape[1:])
    table[rows.long()] = stored
    return table


def unet_config(described: Mapping[str, Any]) -> dict[str, Any]:
    """diffusers' arguments for a network described in the original project's terms."""
    original = described.get("fooocus_unet_config") or described["config"]
    levels = len(original["channel_mult"])
    layers = original["num_res_blocks"][0]
    depths = original["transformer_depth"][::layers]
    channels = [original["model_channels"] * each for each in original["channel_mult"]]
    kinds = ["CrossAttn" if depth else "" for depth in depths]
    return {
        "in_channels": original["in_channels"],
        "out_channels": original["out_channels"],
        "down_block_types": [f"{kind}DownBlock2D" for kind in kinds],
        "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(kinds)],
        "block_out_channels": channels,
        "layers_per_block": layers,
        "transformer_layers_per_block": [
            depth or original["transformer_depth_middle"] for depth in depths
        ],
        # diffusers takes the number of heads under this name.
        "attention_head_dim": [each // described["num_head_channels"] for each in channels],
        "cross_attention_dim": original["context_dim"],
        "use_linear_projection": original["use_linear_in_transformer"],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": original["adm_in_channels"],
        "sample_size": 8 * 2 ** (levels - 1),
    }
