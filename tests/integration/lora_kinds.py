"""Every kind of LoRA as random parts and its published formula in float64 numpy."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


Parts = dict[str, Tensor]


class Target(NamedTuple):
    """A module that files change: its part of the model, diffusers' and the original name."""

    part: str
    name: str
    original: str


LINEAR = Target(
    "unet",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
    "input_blocks.4.1.transformer_blocks.0.attn2.to_k",
)


OUTPUT = Target(
    "unet",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0",
    "input_blocks.4.1.transformer_blocks.0.attn1.to_out.0",
)


CONV = Target("unet", "down_blocks.0.resnets.0.conv1", "input_blocks.1.0.in_layers.2")


NORM = Target("unet", "down_blocks.0.resnets.0.norm1", "input_blocks.1.0.in_layers.0")


TEXT_L = Target("clip_l", "encoder.layers.1.self_attn.q_proj", "")


TEXT_G = Target("clip_g", "encoder.layers.0.mlp.fc1", "")


class Kind(NamedTuple):
    """``make`` gives a file's parts for a weight of that shape; ``formula`` the changed weight."""

    make: Callable[[tuple[int, ...]], Parts]
    formula: Callable[[Array, Mapping[str, Array]], Array]
    targets: tuple[Target, ...] = (LINEAR, OUTPUT, TEXT_L, TEXT_G)


def noise(*shape: int, scale: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    return torch.randn(shape, generator=generator) * scale


def low_rank(weight: Array, parts: Mapping[str, Array]) -> Array:
    """W + alpha / rank * up @ down (arXiv:2106.09685, kohya's alpha)."""
    up, down = parts["lora_up.weight"], parts["lora_down.weight"]
    scale = float(parts["alpha"].reshape(())) / down.shape[0] if "alpha" in parts else 1.0
    if "lora_mid.weight" in parts:
        mid = parts["lora_mid.weight"]
        delta: Array = np.einsum("or,rskl,si->oikl", up[:, :, 0, 0], mid, down[:, :, 0, 0])
    else:
        delta = (up.reshape(len(up), -1) @ down.reshape(len(down), -1)).reshape(weight.shape)
    made: Array = weight + scale * delta
    return made


def loha(weight: Array, parts: Mapping[str, Array]) -> Array:
    """(A1 B1) * (A2 B2), elementwise (arXiv:2108.06098)."""
    first = parts["hada_w1_a"] @ parts["hada_w1_b"]
    second = parts["hada_w2_a"] @ parts["hada_w2_b"]
    scale = float(parts["alpha"]) / len(parts["hada_w1_b"]) if "alpha" in parts else 1.0
    return weight + scale * (first * second).reshape(weight.shape)


def lokr(weight: Array, parts: Mapping[str, Array]) -> Array:
    """Kronecker product; with a low-rank second factor alpha / rank scales it (LyCORIS)."""
    if "lokr_w2" in parts:
        second, scale = parts["lokr_w2"], 1.0
    else:
        second = parts["lokr_w2_a"] @ parts["lokr_w2_b"]
        scale = float(parts["alpha"]) / len(parts["lokr_w2_b"])
    return weight + scale * np.kron(parts["lokr_w1"], second).reshape(weight.shape)


def glora(weight: Array, parts: Mapping[str, Array]) -> Array:
    """W + B1 B2 + W A1 A2 (arXiv:2306.07967)."""
    a1, a2, b1, b2 = (parts[f"{name}.weight"] for name in ("a1", "a2", "b1", "b2"))
    scale = float(parts["alpha"]) / len(a2)
    return weight + scale * (b1 @ b2 + weight @ a1 @ a2)


def decomposed(rows: bool, name: str) -> Callable[[Array, Mapping[str, Array]], Array]:
    """m * V / |V| with V = W + B A, by rows (PEFT) or columns (arXiv:2402.09353)."""

    def formula(weight: Array, parts: Mapping[str, Array]) -> Array:
        changed = low_rank(weight, parts) if "lora_up.weight" in parts else loha(weight, parts)
        axis = 0 if rows else 1
        flat = np.moveaxis(changed, axis, 0).reshape(changed.shape[axis], -1)
        made = flat * (parts[name].reshape(-1, 1) / np.linalg.norm(flat, axis=1, keepdims=True))
        shape = np.moveaxis(changed, axis, 0).shape
        return np.moveaxis(made.reshape(shape), 0, axis)

    return formula


def cayley(parts: Mapping[str, Array], rows: int) -> Array:
    blocks = parts["oft_blocks"]
    q = blocks - np.swapaxes(blocks, -1, -2)
    limit = float(parts["alpha"]) * rows if "alpha" in parts else 0.0
    norm = float(np.sqrt((q**2).sum()))
    if 0 < limit < norm:
        q = q * limit / norm
    identity = np.eye(q.shape[-1])
    return (identity + q) @ np.linalg.inv(identity - q)


def oft(weight: Array, parts: Mapping[str, Array]) -> Array:
    """diag(R1 … Rk)' W: outputs y of the layer become y R (arXiv:2306.07280, kohya)."""
    blocks = parts["oft_diag"] if "oft_diag" in parts else cayley(parts, len(weight))
    whole = np.zeros((len(weight), len(weight)))
    side = blocks.shape[-1]
    for i, block in enumerate(blocks):
        whole[i * side : (i + 1) * side, i * side : (i + 1) * side] = block
    made = (whole.T @ weight.reshape(len(weight), -1)).reshape(weight.shape)
    if "rescale" in parts:
        made = made * parts["rescale"].reshape(-1, *[1] * (weight.ndim - 1))
    return made


def boft(weight: Array, parts: Mapping[str, Array]) -> Array:
    """The product of butterfly factors, each between two permutations (arXiv:2311.06243)."""
    made = weight.reshape(len(weight), -1)
    factors = cayley(parts, len(weight))
    for i, blocks in enumerate(factors):
        side = blocks.shape[-1]
        apart = 2**i * side // 2
        order = [
            start + half * apart + place
            for start in range(0, len(weight), 2 * apart)
            for place in range(apart)
            for half in (0, 1)
        ]
        whole = np.zeros((len(weight), len(weight)))
        for j, block in enumerate(blocks):
            whole[j * side : (j + 1) * side, j * side : (j + 1) * side] = block
        permutation = np.eye(len(weight))[order]
        made = permutation.T @ whole @ permutation @ made
    if "rescale" in parts:
        made = made * parts["rescale"].reshape(-1, 1)
    return made.reshape(weight.shape)


def conv_parts(shape: tuple[int, ...]) -> Parts:
    rows, columns, *kernel = shape
    up = noise(rows, 4, *[1] * len(kernel))
    return {"lora_up.weight": up, "lora_down.weight": noise(4, columns, *kernel)}


def tucker_parts(shape: tuple[int, ...]) -> Parts:
    rows, columns, *kernel = shape
    return {
        "lora_up.weight": noise(rows, 4, 1, 1),
        "lora_mid.weight": noise(4, 3, *kernel),
        "lora_down.weight": noise(3, columns, 1, 1),
    }


def loha_parts(shape: tuple[int, ...]) -> Parts:
    rows, columns = shape[0], int(np.prod(shape[1:]))
    sides = {"w1_a": (rows, 4), "w1_b": (4, columns), "w2_a": (rows, 3), "w2_b": (3, columns)}
    return {f"hada_{name}": noise(*side) for name, side in sides.items()}


def lokr_parts(shape: tuple[int, ...], *, whole: bool) -> Parts:
    rows, columns = shape
    parts = {"lokr_w1": noise(4, 4)}
    if whole:  # alpha counts for nothing where there are no ranks
        return parts | {"lokr_w2": noise(rows // 4, columns // 4), "alpha": torch.tensor(9.0)}
    low = {"lokr_w2_a": noise(rows // 4, 2), "lokr_w2_b": noise(2, columns // 4)}
    return parts | low | {"alpha": torch.tensor(1.0)}


def glora_parts(shape: tuple[int, ...]) -> Parts:
    rows, columns = shape
    sides = {"a1": (columns, 2), "a2": (2, columns), "b1": (rows, 2), "b2": (2, columns)}
    named = {f"{name}.weight": noise(*side) for name, side in sides.items()}
    return named | {"alpha": torch.tensor(1.5)}


def oft_parts(shape: tuple[int, ...], **more: Tensor) -> Parts:
    return {"oft_blocks": noise(shape[0] // 8, 8, 8), **more}


def boft_parts(shape: tuple[int, ...], factors: int, **more: Tensor) -> Parts:
    return {"oft_blocks": noise(factors, shape[0] // 4, 4, 4), **more}


def turned(shape: tuple[int, ...]) -> Parts:
    blocks = torch.linalg.qr(noise(shape[0] // 8, 8, 8))[0]
    return {"oft_diag": blocks}


def with_alpha(alpha: Tensor) -> Kind:
    return Kind(lambda shape: conv_parts(shape) | {"alpha": alpha}, low_rank)


FLOAT8 = torch.float8_e4m3fn


KINDS: dict[str, Kind] = {
    "LoRA without alpha": Kind(conv_parts, low_rank, (LINEAR, OUTPUT, CONV, TEXT_L, TEXT_G)),
    "LoRA, alpha in float32": with_alpha(torch.tensor(2.0)),
    "LoRA, alpha in bfloat16": with_alpha(torch.tensor(3.0, dtype=torch.bfloat16)),
    "LoRA, alpha in float8": with_alpha(torch.tensor(2.0).to(FLOAT8)),
    "LoRA, alpha in whole numbers": with_alpha(torch.tensor(3)),
    "LoRA, alpha in a list of one": with_alpha(torch.tensor([1.5])),
    "LoRA of rank 0": Kind(
        lambda shape: {
            "lora_up.weight": torch.zeros(shape[0], 0),
            "lora_down.weight": torch.zeros(0, shape[1]),
            "alpha": torch.tensor(1.0),
        },
        lambda weight, _parts: weight,
    ),
    "LoRA in bfloat16": Kind(
        lambda shape: {name: part.bfloat16() for name, part in conv_parts(shape).items()},
        low_rank,
    ),
    "LoRA in float8": Kind(
        lambda shape: {name: part.to(FLOAT8) for name, part in conv_parts(shape).items()},
        low_rank,
    ),
    "LoCon": Kind(conv_parts, low_rank, (CONV,)),
    "LoCon with a middle": Kind(tucker_parts, low_rank, (CONV,)),
    "LoHa": Kind(loha_parts, loha, (LINEAR, OUTPUT, CONV, TEXT_L)),
    "LoKr, whole factors": Kind(lambda shape: lokr_parts(shape, whole=True), lokr),
    "LoKr, a low-rank factor": Kind(lambda shape: lokr_parts(shape, whole=False), lokr),
    "GLoRA": Kind(glora_parts, glora),
    "difference": Kind(
        lambda shape: {"diff": noise(*shape)},
        lambda weight, parts: weight + parts["diff"],
        (LINEAR, CONV, TEXT_G),
    ),
    "norm": Kind(
        lambda shape: {"w_norm": noise(*shape)},
        lambda weight, parts: weight + parts["w_norm"],
        (NORM,),
    ),
    "DoRA, lengths of columns": Kind(
        lambda shape: (
            conv_parts(shape)
            | {
                "alpha": torch.tensor(2.0),
                "dora_scale": noise(1, shape[1], *[1] * len(shape[2:])) + 1,
            }
        ),
        decomposed(rows=False, name="dora_scale"),
        (LINEAR, OUTPUT, CONV, TEXT_L, TEXT_G),
    ),
    "DoRA, lengths of rows": Kind(
        lambda shape: (
            conv_parts(shape)
            | {"alpha": torch.tensor(2.0), "dora_scale": noise(shape[0], *[1] * len(shape[1:])) + 1}
        ),
        decomposed(rows=True, name="dora_scale"),
        (LINEAR, OUTPUT, CONV, TEXT_L, TEXT_G),
    ),
    "DoRA, PEFT's lengths": Kind(
        lambda shape: conv_parts(shape) | {"lora_magnitude_vector": noise(shape[0]) + 1},
        decomposed(rows=True, name="lora_magnitude_vector"),
    ),
    "DoRA, PEFT's lengths of a convolution": Kind(
        lambda shape: conv_parts(shape) | {"lora_magnitude_vector": noise(1, shape[0], 1, 1) + 1},
        decomposed(rows=True, name="lora_magnitude_vector"),
        (CONV,),
    ),
    "LoHa with lengths": Kind(
        lambda shape: loha_parts(shape) | {"dora_scale": noise(1, shape[1]) + 1},
        decomposed(rows=False, name="dora_scale"),
        (LINEAR, TEXT_L),
    ),
    "OFT": Kind(oft_parts, oft, (LINEAR, OUTPUT, CONV, TEXT_L, TEXT_G)),
    "OFT, constrained": Kind(
        lambda shape: oft_parts(shape, alpha=torch.tensor(1e-3)), oft, (LINEAR, CONV, TEXT_L)
    ),
    "OFT, alpha 0": Kind(lambda shape: oft_parts(shape, alpha=torch.tensor(0.0)), oft),
    "OFT, rescaled": Kind(
        lambda shape: oft_parts(shape, rescale=noise(shape[0], *[1] * len(shape[1:])) + 1),
        oft,
        (LINEAR, CONV),
    ),
    "OFT, rotations themselves": Kind(turned, oft, (LINEAR, CONV)),
    "BOFT": Kind(lambda shape: boft_parts(shape, 2), boft, (LINEAR, OUTPUT, CONV, TEXT_L)),
    "BOFT, three factors, rescaled": Kind(
        lambda shape: boft_parts(
            shape, 3, rescale=noise(shape[0], *[1] * len(shape[1:])) + 1, alpha=torch.tensor(0.01)
        ),
        boft,
        (LINEAR, CONV),
    ),
}


def flat(name: str) -> str:
    return name.replace(".", "_")
