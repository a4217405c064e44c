"""Every kind of LoRA in every layout of names, against its published formula in float64.

The file is put into a small model of SDXL's structure; the same change is merged into the model's
weights by the formula; the weights agree to 1e-6 in relative L2 norm.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.weights.lora import ChosenLora
from tests.integration.lora_kinds import (
    KINDS,
    LINEAR,
    OUTPUT,
    TEXT_L,
    Array,
    Parts,
    Target,
    flat,
    low_rank,
    noise,
)
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder

STRENGTH = 0.7


AGREE = 1e-6


def matrix_parts(shape: tuple[int, ...], rank: int = 4) -> Parts:
    rows, columns = shape
    return {"lora_up.weight": noise(rows, rank), "lora_down.weight": noise(rank, columns)}


def text_name(target: Target, prefixes: Mapping[str, str]) -> str:
    return f"{prefixes[target.part]}text_model.{target.name}"


FOLDERS = {"clip_l": "text_encoder.", "clip_g": "text_encoder_2."}


COMFY = {"clip_l": "clip_l.transformer.", "clip_g": "clip_g.transformer."}


EMBEDDERS = {f"clip_{x}": f"conditioner.embedders.{i}.transformer." for i, x in enumerate("lg")}


def kohya(target: Target, name: str) -> str:
    if target.part == "unet":
        return f"lora_unet_{flat(name)}"
    return f"lora_te{'12'[target.part == 'clip_g']}_text_model_{flat(target.name)}"


def dotted(unet: str, text: Mapping[str, str], target: Target, name: str) -> str:
    return f"{unet}{name}" if target.part == "unet" else text_name(target, text)


LAYOUTS: dict[str, Callable[[Target], str]] = {
    "kohya, original names": lambda t: kohya(t, t.original),
    "kohya, diffusers' names": lambda t: kohya(t, t.name),
    "diffusers": lambda t: dotted("unet.", FOLDERS, t, t.name),
    "PEFT": lambda t: f"base_model.model.{dotted('', FOLDERS, t, t.name)}",
    "ComfyUI": lambda t: dotted("diffusion_model.", COMFY, t, t.original),
    "ComfyUI, text_encoders": lambda t: dotted(
        "diffusion_model.", {k: f"text_encoders.{v}" for k, v in COMFY.items()}, t, t.original
    ),
    "checkpoint's names": lambda t: dotted("model.diffusion_model.", EMBEDDERS, t, t.original),
    "LyCORIS": lambda t: f"lycoris_{flat(t.name)}" if t.part == "unet" else kohya(t, t.name),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("tiny")
    write_folder(folder, make_weights(write_configs(folder)))
    return load_checkpoint(folder, torch.device("cpu"))


@pytest.fixture(autouse=True)
def as_loaded(checkpoint: Checkpoint) -> Iterator[None]:
    yield
    checkpoint.loras.remove()


def weight_of(checkpoint: Checkpoint, target: Target) -> Tensor:
    roots = dict(zip(("unet", "clip_l", "clip_g"), checkpoint.parts[:3], strict=True))
    root: nn.Module = roots[target.part]
    if target.part == "clip_g":
        root = root.get_submodule("text_model")
    return root.get_submodule(target.name).get_parameter("weight")


def file_of(path: Path, tensors: Parts, metadata: dict[str, str] | None = None) -> ChosenLora:
    save_file({name: part.clone().contiguous() for name, part in tensors.items()}, path, metadata)
    return ChosenLora(path.name, path, STRENGTH)


def assert_merged(made: Tensor, before: Tensor, wanted: Array) -> None:
    """``made`` is ``before`` moved towards ``wanted`` by the strength."""
    original = before.double().numpy()
    expected = original + STRENGTH * (wanted - original)
    error = np.linalg.norm(made.double().numpy() - expected) / np.linalg.norm(expected)
    assert error <= AGREE


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_weight_is_what_the_published_formula_makes_of_it(
    tmp_path: Path, checkpoint: Checkpoint, kind: str, layout: str
) -> None:
    make, formula, targets = KINDS[kind]
    before = {target: weight_of(checkpoint, target).detach().clone() for target in targets}
    tensors: Parts = {}
    wanted = {}
    for target in targets:
        parts = make(tuple(before[target].shape))
        tensors |= {f"{LAYOUTS[layout](target)}.{name}": part for name, part in parts.items()}
        numbers = {name: part.double().numpy() for name, part in parts.items()}
        wanted[target] = formula(before[target].double().numpy(), numbers)
    (fit,) = checkpoint.loras.use([file_of(tmp_path / "l.safetensors", tensors)])
    assert (fit.changes, fit.faults) == (len(targets), ())
    for target in targets:
        assert_merged(weight_of(checkpoint, target), before[target], wanted[target])


# How layouts write the two factors, the alpha of both, and where alpha's module name ends.
ENDINGS = {
    "kohya": (".lora_up.weight", ".lora_down.weight", ".alpha"),
    "diffusers, PEFT": (".lora_B.weight", ".lora_A.weight", ".alpha"),
    "PEFT, named": (".lora_B.default.weight", ".lora_A.default.weight", ".alpha"),
    "diffusers before PEFT": (".lora.up.weight", ".lora.down.weight", ".alpha"),
    "linear layers": (
        ".lora_linear_layer.up.weight",
        ".lora_linear_layer.down.weight",
        ".alpha",
    ),
    "processors": ("_lora.up.weight", "_lora.down.weight", ".alpha"),
    "processors, alpha of the LoRA": ("_lora.up.weight", "_lora.down.weight", "_lora.alpha"),
}


def processor_name(target: Target) -> str:
    name = LAYOUTS["diffusers"](target).removesuffix(".0")
    if target.part == "unet":
        return name.replace(".to_", ".processor.to_")
    return name.replace(".q_proj", ".to_q")


@pytest.mark.parametrize("endings", ENDINGS)
def test_each_module_has_the_alpha_and_rank_of_its_own(
    tmp_path: Path, checkpoint: Checkpoint, endings: str
) -> None:
    up, down, alpha = ENDINGS[endings]
    name_of = processor_name if "processors" in endings else LAYOUTS["diffusers"]
    before, wanted, tensors = {}, {}, {}
    for i, target in enumerate((LINEAR, OUTPUT, TEXT_L)):
        weight = before[target] = weight_of(checkpoint, target).detach().clone()
        parts = matrix_parts(tuple(weight.shape), rank=2 + i) | {"alpha": torch.tensor(0.5 + i)}
        name = name_of(target)
        tensors[name + up], tensors[name + down] = list(parts.values())[:2]
        tensors[name + alpha] = parts["alpha"]
        numbers = {key: part.double().numpy() for key, part in parts.items()}
        wanted[target] = low_rank(weight.double().numpy(), numbers)
    (fit,) = checkpoint.loras.use([file_of(tmp_path / "l.safetensors", tensors)])
    assert (fit.changes, fit.faults) == (3, ())
    for target, weight in before.items():
        assert_merged(weight_of(checkpoint, target), weight, wanted[target])


@pytest.mark.parametrize("rank_stabilised", [False, True])
@pytest.mark.parametrize("place", ["header", "beside"])
def test_alphas_of_the_files_settings_count(
    tmp_path: Path, checkpoint: Checkpoint, place: str, rank_stabilised: bool
) -> None:
    settings = {
        "lora_alpha": 8,
        "r": 4,
        "use_rslora": rank_stabilised,
        "alpha_pattern": {"attn1.to_out.0": 2.0},
    }
    before, wanted, tensors = {}, {}, {}
    for target, alpha in ((LINEAR, 8.0), (OUTPUT, 2.0)):
        weight = before[target] = weight_of(checkpoint, target).detach().clone()
        parts = matrix_parts(tuple(weight.shape))
        name = LAYOUTS["diffusers" if place == "header" else "PEFT"](target)
        tensors[f"{name}.lora_B.weight"], tensors[f"{name}.lora_A.weight"] = parts.values()
        numbers = {key: part.double().numpy() for key, part in parts.items()}
        numbers["alpha"] = np.array(alpha * 2.0 if rank_stabilised else alpha)  # 2 is √rank
        wanted[target] = low_rank(weight.double().numpy(), numbers)
    if place == "header":
        told = {f"unet.{name}": value for name, value in settings.items()}
        metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(told)}
        lora = file_of(tmp_path / "l.safetensors", tensors, metadata)
    else:
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
        lora = file_of(tmp_path / "adapter_model.safetensors", tensors)
    checkpoint.loras.use([lora])
    for target, weight in before.items():
        assert_merged(weight_of(checkpoint, target), weight, wanted[target])


@pytest.mark.parametrize("text", ["", "[1", "[]", '{"unet.lora_alpha": "8"}', '{"unet.r": 4}'])
def test_settings_that_say_nothing_leave_the_scale_at_1(
    tmp_path: Path, checkpoint: Checkpoint, text: str
) -> None:
    before = weight_of(checkpoint, LINEAR).detach().clone()
    parts = matrix_parts(tuple(before.shape))
    tensors = {f"{LAYOUTS['diffusers'](LINEAR)}.{name}": part for name, part in parts.items()}
    lora = file_of(tmp_path / "l.safetensors", tensors, {"lora_adapter_metadata": text})
    checkpoint.loras.use([lora])
    numbers = {name: part.double().numpy() for name, part in parts.items()}
    assert_merged(weight_of(checkpoint, LINEAR), before, low_rank(before.double().numpy(), numbers))
