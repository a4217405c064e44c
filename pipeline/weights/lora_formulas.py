"""How each kind of LoRA changes a weight: one formula a kind, float32 in and out.

Parts are named as the files name them, without layout: ``up``, ``hada_w1_a``, ``lokr_w2``, ...
A formula takes (weight, parts, strength) and gives the changed weight, W + strength * (W' - W), W'
being what the kind's authors publish. It works on the meta device too, where it only tells whether
the shapes agree. PEFT knows most of these kinds but merges them through layers that it wraps around
a model, and only in its own file format; here any mix of files changes plain weights, which are
restored bit for bit.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

Parts = Mapping[str, Tensor]
Formula = Callable[[Tensor, Parts, float], Tensor]

_TUCKER: Final = "pqkl,qi,po->oikl"  # core (P, Q, k, l), inner (Q, I), outer (P, O)


class ShapesDisagree(ValueError):
    """A change has another shape than the weight that it is for."""


class Kind(NamedTuple):
    """A kind of change: the parts that only it has, and what it does to which parameter."""

    parts: frozenset[str]
    formula: Formula
    parameter: str = "weight"


class Patch(NamedTuple):
    """One change of one parameter, as a file holds it."""

    formula: Formula
    parts: Parts

    def apply(self, weight: Tensor, strength: float) -> Tensor:
        """The changed weight; ``weight`` is float32 and stays as it is."""
        here = {name: part.to(weight.device, torch.float32) for name, part in self.parts.items()}
        if not MAGNITUDES & here.keys():
            return self.formula(weight, here, strength)
        whole = _with_magnitude(self.formula(weight, here, 1.0), here)
        return weight + strength * (whole - weight)

    def misfit(self, weight: Tensor) -> str:
        """What is wrong with this change for ``weight``, found without computing it; or ""."""
        if any(not part.float().isfinite().all() for part in self.parts.values()):
            return "holds numbers that are not finite"
        try:
            self.apply(torch.empty(weight.shape, device="meta"), 1.0)
        except ShapesDisagree as error:
            return str(error)
        except KeyError as error:
            return f"lacks {error.args[0]}"
        except (RuntimeError, ValueError, IndexError):
            shapes = (f"{name} {list(part.shape)}" for name, part in sorted(self.parts.items()))
            return f"has parts that do not go together: {', '.join(shapes)}"
        return ""


def _with_magnitude(changed: Tensor, parts: Parts) -> Tensor:
    """DoRA (arXiv:2402.09353): each row or column of the weight gets a learned length.

    PEFT stores the lengths of rows; a ``dora_scale`` is of what its shape says, (1, columns, …) or
    (rows, 1, …).
    """
    lengths = parts.get("magnitude")
    of_columns = False
    if lengths is None:
        lengths = parts["dora_scale"]
        of_columns = lengths.ndim > 1 and lengths.shape[0] == 1 != changed.shape[0]
    axis = 1 if of_columns else 0
    if lengths.numel() != changed.shape[axis]:
        sides = [list(lengths.shape), list(changed.shape)]
        raise ShapesDisagree(f"has lengths of {sides[0]} for a weight of {sides[1]}")
    others = [side for side in range(changed.ndim) if side != axis]
    norm = torch.linalg.vector_norm(changed, dim=others, keepdim=True)
    least = torch.finfo(torch.float32).eps  # a row of zeros stays one
    made: Tensor = changed * (lengths.reshape(norm.shape) / norm.clamp_min(least))
    return made


def _low_rank(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    up, down = parts["up"], parts["down"]
    if "mid" in parts:
        delta = _tucker(parts["mid"], down.flatten(1), up.flatten(1).T)
    else:
        delta = up.flatten(1) @ down.flatten(1)
    return _added(weight, delta * _scale(parts, down.shape[0]), strength)


def _loha(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """The elementwise product of two low-rank matrices (arXiv:2108.06098)."""
    factors = [
        _tucker(parts[f"hada_t{i}"], parts[f"hada_w{i}_b"], parts[f"hada_w{i}_a"])
        if f"hada_t{i}" in parts
        else parts[f"hada_w{i}_a"] @ parts[f"hada_w{i}_b"]
        for i in (1, 2)
    ]
    delta = factors[0] * factors[1] * _scale(parts, parts["hada_w1_b"].shape[0])
    return _added(weight, delta, strength)


def _lokr(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """The Kronecker product of two matrices, each whole or low-rank (LyCORIS)."""
    first, second = (_lokr_factor(parts, i) for i in (1, 2))
    ranks = [parts[name].shape[0] for name in ("lokr_w2_b", "lokr_w1_b") if name in parts]
    scale = _scale(parts, ranks[0]) if ranks else 1.0
    first = first.reshape(*first.shape, *[1] * (second.ndim - first.ndim))
    return _added(weight, torch.kron(first, second.contiguous()) * scale, strength)


def _lokr_factor(parts: Parts, i: int) -> Tensor:
    if f"lokr_w{i}" in parts:
        return parts[f"lokr_w{i}"]
    outer, inner = parts[f"lokr_w{i}_a"], parts[f"lokr_w{i}_b"]
    core = parts.get(f"lokr_t{i}")
    return outer @ inner if core is None else _tucker(core, inner, outer)


def _glora(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """A low-rank change, and one that is a low-rank multiple of the weight (arXiv:2306.07967)."""
    a1, a2, b1, b2 = (parts[name].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    matrix = weight.flatten(1)
    if a1.shape[0] != matrix.shape[1]:  # older files have the two factors the other way round
        a1, a2, b1, b2 = a2, a1, b2, b1
    delta = b1 @ b2 + (matrix @ a1) @ a2
    return _added(weight, delta * _scale(parts, a2.shape[0]), strength)


def _rotation(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """OFT (arXiv:2306.07280) and BOFT (arXiv:2311.06243) as LyCORIS and kohya's scripts store them.

    ``oft_blocks`` are (blocks, b, b), of which the Cayley transforms rotate the rows of the weight
    block by block, or (factors, blocks, b, b), a rotation made of factors each of which mixes rows
    farther apart. ``oft_diag`` holds (blocks, b, b) rotations themselves. ``alpha`` limits how far
    they turn; ``rescale`` multiplies rows.
    """
    if "oft_diag" in parts:
        turned = _rotated(weight, parts["oft_diag"].mT)
    elif parts["oft_blocks"].ndim == 4:
        turned = weight
        for i, blocks in enumerate(_cayley(parts, weight.shape[0])):
            turned = _butterfly(turned, blocks, 2**i)
    else:
        turned = _rotated(weight, _cayley(parts, weight.shape[0]).mT)
    if "rescale" in parts:
        turned = turned * parts["rescale"].reshape(-1, *[1] * (weight.ndim - 1))
    return _added(weight, turned - weight, strength)


def _cayley(parts: Parts, rows: int) -> Tensor:
    """(I + Q) / (I - Q) of each block's antisymmetric part Q, whose norm in all is limited."""
    blocks = parts["oft_blocks"]
    q = blocks - blocks.mT
    if "alpha" in parts:
        limit = parts["alpha"].reshape(()) * rows
        shorter = torch.clamp(limit / (torch.linalg.vector_norm(q) + 1e-8), max=1.0)
        q = q * torch.where(limit > 0, shorter, 1.0)  # 0: no limit
    identity = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
    turned: Tensor = torch.linalg.solve(identity - q, identity + q)
    return turned


def _rotated(weight: Tensor, blocks: Tensor) -> Tensor:
    """Each run of b rows multiplied from the left by its (b, b) block."""
    rows = weight.reshape(blocks.shape[0], blocks.shape[1], -1)
    return (blocks @ rows).reshape(weight.shape)


def _butterfly(weight: Tensor, blocks: Tensor, distance: int) -> Tensor:
    """One factor of BOFT: rows that stand ``distance`` half blocks apart are mixed."""
    half = distance * blocks.shape[-1] // 2
    apart = weight.reshape(-1, 2, half, *weight.shape[1:])
    mixed = _rotated(apart.transpose(1, 2).reshape(weight.shape), blocks)
    return mixed.reshape(-1, half, 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def _difference(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    return _added(weight, parts["diff"], strength)


def _bias_difference(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    return _added(weight, parts["diff_b"], strength)


def _replacement(weight: Tensor, parts: Parts, _strength: float) -> Tensor:
    return _added(torch.zeros_like(weight), parts["set"], 1.0)


def _eight_bit(weight: Tensor, parts: Parts, strength: float) -> Tensor:
    """A whole difference in 256 levels between two numbers, as Fooocus's patches have it."""
    low, high = parts["low"], parts["high"]
    return _added(weight, parts["levels"] / 255.0 * (high - low) + low, strength)


def _added(weight: Tensor, delta: Tensor, strength: float) -> Tensor:
    rows = delta.shape[0] if delta.ndim else 0
    if rows != weight.shape[0] or delta.numel() != weight.numel():
        raise ShapesDisagree(f"is {list(delta.shape)}, not {list(weight.shape)}")
    return weight + strength * delta.reshape(weight.shape)


def _scale(parts: Parts, rank: int) -> Tensor | float:
    """alpha / rank; without ranks there is nothing to scale."""
    return parts["alpha"].reshape(()) / rank if "alpha" in parts and rank else 1.0


def _tucker(core: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
    return torch.einsum(_TUCKER, core, inner, outer)


MAGNITUDES: Final = frozenset({"magnitude", "dora_scale"})
"""Parts that any kind of change to a weight may have beside its own."""

KINDS: Final = (
    Kind(frozenset({"up", "down", "mid"}), _low_rank),
    Kind(frozenset({f"hada_{x}" for x in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")}), _loha),
    Kind(
        frozenset({f"lokr_{x}{end}" for x in ("w1", "w2") for end in ("", "_a", "_b")})
        | {"lokr_t1", "lokr_t2"},
        _lokr,
    ),
    Kind(frozenset({"a1", "a2", "b1", "b2"}), _glora),
    Kind(frozenset({"oft_blocks", "oft_diag", "rescale"}), _rotation),
    Kind(frozenset({"set"}), _replacement),
    Kind(frozenset({"diff"}), _difference),
    Kind(frozenset({"diff_b"}), _bias_difference, "bias"),
    Kind(frozenset({"levels", "low", "high"}), _eight_bit),
    Kind(frozenset({"bias_levels", "bias_low", "bias_high"}), _eight_bit, "bias"),
)
