"""What each kind of LoRA does to a weight, and what a file of any format holds."""

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from pipeline.errors import InvalidModelFile
from pipeline.files.catalog import ModelCatalog
from pipeline.request.decode import params_from
from pipeline.request.plan import plan_images
from pipeline.request.prompts import PromptSources
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.weights.lora_files import read_lora

STRENGTH = 0.7


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def apply(tmp_path: Path, parts: dict[str, Tensor], weight: Tensor) -> Tensor:
    """``weight`` changed by a file in which module ``m`` has these parts."""
    path = tmp_path / "l.safetensors"
    save_file({f"m.{name}": part.contiguous() for name, part in parts.items()}, path)
    changed = weight
    file = read_lora(path)
    assert file.strange == ()
    for _, _, patch in file.patches:
        assert patch.misfit(weight) == ""
        changed = patch.apply(changed, STRENGTH)
    return changed


@pytest.mark.parametrize(("alpha", "scale"), [(2.0, 0.5), (None, 1.0)])
def test_a_lora_on_a_matrix_adds_what_its_two_layers_compute(
    tmp_path: Path, alpha: float | None, scale: float
) -> None:
    weight, up, down, x = random(6, 5), random(6, 4), random(4, 5), random(3, 5)
    parts = {"lora_up.weight": up, "lora_down.weight": down}
    if alpha is not None:
        parts["alpha"] = torch.tensor(alpha)
    changed = apply(tmp_path, parts, weight)
    expected = x @ weight.T + STRENGTH * scale * ((x @ down.T) @ up.T)
    torch.testing.assert_close(x @ changed.T, expected)


def test_a_lora_on_a_convolution_adds_what_its_two_convolutions_compute(tmp_path: Path) -> None:
    weight, up, down, x = (
        random(6, 5, 3, 3),
        random(6, 2, 1, 1),
        random(2, 5, 3, 3),
        random(1, 5, 8, 8),
    )
    parts = {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(1.0)}
    changed = apply(tmp_path, parts, weight)
    added = functional.conv2d(functional.conv2d(x, down), up)
    expected = functional.conv2d(x, weight) + STRENGTH * 0.5 * added
    torch.testing.assert_close(functional.conv2d(x, changed), expected, rtol=1e-4, atol=1e-4)


def test_a_lora_with_a_middle_convolution_adds_what_its_three_compute(tmp_path: Path) -> None:
    weight, x = random(6, 5, 3, 3), random(1, 5, 8, 8)
    up, mid, down = random(6, 2, 1, 1), random(2, 4, 3, 3), random(4, 5, 1, 1)
    parts = {"lora_up.weight": up, "lora_mid.weight": mid, "lora_down.weight": down}
    changed = apply(tmp_path, parts, weight)
    added = functional.conv2d(functional.conv2d(functional.conv2d(x, down), mid), up)
    expected = functional.conv2d(x, weight) + STRENGTH * added
    torch.testing.assert_close(functional.conv2d(x, changed), expected, rtol=1e-4, atol=1e-4)


def test_a_linear_lora_for_a_1x1_convolution_fits_it(tmp_path: Path) -> None:
    weight, up, down = random(6, 5, 1, 1), random(6, 2), random(2, 5)
    changed = apply(tmp_path, {"lora_up.weight": up, "lora_down.weight": down}, weight)
    torch.testing.assert_close(changed[:, :, 0, 0], weight[:, :, 0, 0] + STRENGTH * up @ down)


def test_a_loha_adds_the_product_of_two_low_rank_matrices(tmp_path: Path) -> None:
    weight = random(6, 5)
    a1, b1, a2, b2 = random(6, 3), random(3, 5), random(6, 3) + 1, random(3, 5) - 1
    parts = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2}
    changed = apply(tmp_path, {**parts, "alpha": torch.tensor(1.5)}, weight)
    torch.testing.assert_close(changed, weight + STRENGTH * 0.5 * (a1 @ b1) * (a2 @ b2))


def test_a_loha_with_cores_is_a_product_of_two_tucker_decompositions(tmp_path: Path) -> None:
    weight = random(6, 5, 3, 3)
    cores, outer, inner = [random(2, 2, 3, 3), random(2, 2, 3, 3) + 1], random(2, 6), random(2, 5)
    parts: dict[str, Tensor] = {}
    for i, core in enumerate(cores, start=1):
        parts |= {f"hada_t{i}": core, f"hada_w{i}_a": outer.clone(), f"hada_w{i}_b": inner.clone()}
    changed = apply(tmp_path, parts, weight)
    expected = weight.clone()
    for o, i, k in ((0, 0, 0), (5, 4, 2), (2, 3, 1)):
        factors = [
            sum(core[p, q, k, k] * outer[p, o] * inner[q, i] for p in range(2) for q in range(2))
            for core in cores
        ]
        expected[o, i, k, k] += STRENGTH * factors[0] * factors[1]
        torch.testing.assert_close(changed[o, i, k, k], expected[o, i, k, k])


def test_a_lokr_adds_blocks_that_are_multiples_of_one_matrix(tmp_path: Path) -> None:
    weight, first, second = random(6, 10), random(2, 5), random(3, 2)
    parts = {"lokr_w1": first, "lokr_w2": second, "alpha": torch.tensor(9.0)}  # no rank, no scale
    changed = apply(tmp_path, parts, weight)
    for row in range(2):
        for column in range(5):
            block = (slice(3 * row, 3 * row + 3), slice(2 * column, 2 * column + 2))
            expected = weight[block] + STRENGTH * first[row, column] * second
            torch.testing.assert_close(changed[block], expected)


def test_a_lokr_of_a_convolution_has_low_rank_factors(tmp_path: Path) -> None:
    weight, first = random(6, 10, 3, 3), random(2, 5)
    a, b = random(3, 2), random(2, 2 * 9)
    parts = {"lokr_w1": first, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(1.0)}
    changed = apply(tmp_path, parts, weight)
    expected = weight.flatten(1) + STRENGTH * 0.5 * torch.kron(first, a @ b)
    torch.testing.assert_close(changed.flatten(1), expected)
    core = random(2, 2, 3, 3)
    whole = torch.einsum("pqkl,qi,po->oikl", core, random(2, 2), random(2, 3))
    tucker = {"lokr_t2": core, "lokr_w2_a": random(2, 3), "lokr_w2_b": random(2, 2)}
    changed = apply(tmp_path, {"lokr_w1": first, **tucker}, weight)
    added = STRENGTH * first[1, 4] * whole
    torch.testing.assert_close(changed[3:6, 8:10], weight[3:6, 8:10] + added)


@pytest.mark.parametrize("older", [False, True])
def test_a_glora_adds_a_change_and_a_multiple_of_the_weight(tmp_path: Path, older: bool) -> None:
    weight = random(6, 5)
    a1, a2, b1, b2 = random(5, 3), random(3, 5), random(6, 3), random(3, 5) + 1
    names = ("a2", "a1", "b2", "b1") if older else ("a1", "a2", "b1", "b2")
    parts = {f"{n}.weight": part for n, part in zip(names, (a1, a2, b1, b2), strict=True)}
    changed = apply(tmp_path, {**parts, "alpha": torch.tensor(1.5)}, weight)
    expected = weight + STRENGTH * 0.5 * (b1 @ b2 + weight @ a1 @ a2)
    torch.testing.assert_close(changed, expected)


@pytest.mark.parametrize("name", ["diff", "w_norm"])
def test_a_difference_is_added(tmp_path: Path, name: str) -> None:
    weight, diff = random(6), random(6) + 1
    torch.testing.assert_close(apply(tmp_path, {name: diff}, weight), weight + STRENGTH * diff)


def test_a_replacement_takes_the_weights_place_whatever_its_strength(tmp_path: Path) -> None:
    weight, other = random(6, 5), random(6, 5) + 1
    assert torch.equal(apply(tmp_path, {"set_weight": other}, weight), other)


def test_a_change_of_a_bias_is_told_from_one_of_its_weight(tmp_path: Path) -> None:
    path = tmp_path / "l.safetensors"
    parts = {"lora_up.weight": random(6, 1), "lora_down.weight": random(1, 5), "diff_b": random(6)}
    save_file({f"m.{name}": part for name, part in parts.items()}, path)
    patches = read_lora(path).patches
    assert [(patch.module, patch.parameter) for patch in patches] == [
        ("m", "weight"),
        ("m", "bias"),
    ]


def test_a_patch_in_8_bit_holds_256_levels_between_two_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.patch"
    levels = torch.tensor([[0, 255], [51, 102]], dtype=torch.uint8)
    triple = (levels, torch.tensor(-1.0), torch.tensor(4.0))
    torch.save({"diffusion_model.out.2.weight": triple, "diffusion_model.out.2.bias": triple}, path)
    patches = read_lora(path).patches
    assert [(patch.module, patch.parameter) for patch in patches] == [
        ("diffusion_model.out.2", "weight"),
        ("diffusion_model.out.2", "bias"),
    ]
    expected = 1 + STRENGTH * torch.tensor([[-1.0, 4.0], [0.0, 1.0]])
    torch.testing.assert_close(patches[0].patch.apply(torch.ones(2, 2), STRENGTH), expected)
    torch.testing.assert_close(patches[1].patch.apply(torch.ones(2, 2), STRENGTH), expected)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"lora_up.weight": (7, 2), "lora_down.weight": (2, 5)}, "is [7, 5], not [6, 5]"),
        ({"lora_up.weight": (5, 2), "lora_down.weight": (2, 6)}, "is [5, 6], not [6, 5]"),
        ({"lora_up.weight": (6, 2)}, "lacks down"),
        (
            {"lora_up.weight": (6, 2), "lora_down.weight": (3, 5)},
            "do not go together: down [3, 5], up [6, 2]",
        ),
        ({"diff": (5, 6)}, "is [5, 6], not [6, 5]"),
        ({"diff": ()}, "is [], not [6, 5]"),
    ],
)
def test_what_does_not_fit_a_weight_is_told_with_its_shape(
    tmp_path: Path, parts: dict[str, tuple[int, ...]], told: str
) -> None:
    path = tmp_path / "l.safetensors"
    save_file({f"m.{name}": torch.ones(shape) for name, shape in parts.items()}, path)
    (named,) = read_lora(path).patches
    assert told in named.patch.misfit(torch.ones(6, 5))


def test_names_that_are_no_part_of_a_lora_are_strange(tmp_path: Path) -> None:
    path = tmp_path / "l.safetensors"
    save_file({"m.weight": torch.ones(1), "n.alpha": torch.ones(())}, path)
    assert read_lora(path).patches == ()
    assert read_lora(path).strange == ("m.weight", "n")


@pytest.mark.parametrize("name", ["dora_scale", "lora_magnitude_vector.weight"])
def test_lengths_for_another_weight_do_not_fit(tmp_path: Path, name: str) -> None:
    path = tmp_path / "l.safetensors"
    parts = {"lora_up.weight": torch.ones(6, 1), "lora_down.weight": torch.ones(1, 5)}
    parts[name] = torch.ones(1, 7)
    save_file({f"m.{name}": part for name, part in parts.items()}, path)
    (named,) = read_lora(path).patches
    assert "has lengths of [1, 7] for a weight of [6, 5]" in named.patch.misfit(torch.ones(6, 5))


@pytest.mark.parametrize("blocks", [(2, 4, 4), (3, 2, 3), (1, 3, 4, 4), (5,), (3, 0, 0)])
def test_rotations_of_another_number_of_rows_do_not_fit(
    tmp_path: Path, blocks: tuple[int, ...]
) -> None:
    path = tmp_path / "l.safetensors"
    save_file({"m.oft_blocks": torch.ones(blocks)}, path)
    (named,) = read_lora(path).patches
    assert "do not go together: oft_blocks" in named.patch.misfit(torch.ones(6, 5))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_do_not_fit(tmp_path: Path, number: float) -> None:
    path = tmp_path / "l.safetensors"
    save_file({"m.diff": torch.full((6, 5), number)}, path)
    (named,) = read_lora(path).patches
    assert named.patch.misfit(torch.ones(6, 5)) == "holds numbers that are not finite"


class Evil:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (self.path.touch, ())


@pytest.mark.parametrize("wrap", [False, True])
def test_a_file_in_torchs_own_format_is_read(tmp_path: Path, wrap: bool) -> None:
    path = tmp_path / "l.bin"
    tensors = {"m.lora_up.weight": torch.ones(2, 1), "m.lora_down.weight": torch.ones(1, 2)}
    torch.save({"state_dict": tensors, "epoch": 3} if wrap else {**tensors, "m.alpha": 1.0}, path)
    (named,) = read_lora(path).patches
    assert torch.equal(named.patch.apply(torch.zeros(2, 2), 1.0), torch.ones(2, 2))


def test_a_safetensors_file_whose_length_begins_as_a_pickle_does_is_told_from_one(
    tmp_path: Path,
) -> None:
    header = json.dumps({"m.diff": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    path = tmp_path / "l.safetensors"
    path.write_bytes(struct.pack("<Q", 0x80) + header.ljust(0x80).encode() + bytes(4))
    assert [patch.module for patch in read_lora(path).patches] == ["m"]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_code_in_a_file_is_refused_and_never_runs(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    for save in (torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))):
        path = tmp_path / "l.safetensors"  # the name says nothing
        save({"m.diff": Evil(touched)}, path)
        with pytest.raises(InvalidModelFile, match=r"l\.safetensors holds more than tensors"):
            read_lora(path)
    assert not touched.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize(
    "data", [b"", b"nothing", b"PK\x03\x04 no archive", b"\x80\x02}q\x00", b"\x80", b"\x80\x04N."]
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.pt"
    path.write_bytes(data)
    with pytest.raises(InvalidModelFile, match=r"broken\.pt"):
        read_lora(path)


def test_loras_may_be_in_torchs_own_format_and_checkpoints_may_not(tmp_path: Path) -> None:
    for name in ("loras/a.bin", "loras/b.safetensors", "loras/c.txt", "checkpoints/a.ckpt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert ModelCatalog(tmp_path).loras() == ["a.bin", "b.safetensors"]
    assert ModelCatalog(tmp_path).checkpoints() == ["embedded"]


def test_a_lora_in_the_prompt_that_is_not_there_is_noted(tmp_path: Path) -> None:
    sources = PromptSources(StyleLibrary(tmp_path), Wildcards(tmp_path))
    prompt = "a cat <lora:foo:0.5> <lora:gone:1>"
    fields = {"prompt": prompt, "style_selections": [], "image_seed": 1}
    made = plan_images(
        resolve_params(params_from(fields), known_loras=["sub/foo.safetensors"]), sources
    )[0]
    assert made.loras == (("sub/foo.safetensors", 0.5),)
    assert "gone" in str(made.notes["unknown_loras"])
    assert "foo" not in str(made.notes["unknown_loras"])
