"""LoRA files in the layouts that users have, on a small model of SDXL's structure."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import InvalidModelFile
from pipeline.models.checkpoint import Checkpoint
from pipeline.weights.lora import ChosenLora, LoraStack
from pipeline.weights.lora_names import LoraModules
from tests.integration.lora_layouts import (
    ALPHA,
    LAYOUTS,
    RANK,
    Factors,
    a_lora,
    make_factors,
    save,
    weights_of,
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_changes_the_same_weights_in_the_same_way(
    tmp_path: Path, checkpoint: Checkpoint, modules: LoraModules, layout: str
) -> None:
    factors = make_factors(modules, attention_only=layout == "attention processors")
    before = {name: tensor.clone() for name, tensor in weights_of(modules).items()}
    lora = save(tmp_path / "l.safetensors", LAYOUTS[layout](factors))
    (fit,) = checkpoint.loras.use([lora])
    assert (fit.changes, fit.faults) == (len(factors), ())
    after = weights_of(modules)
    for key, (up, down) in factors.items():
        added = 0.7 * ALPHA / RANK * (up.flatten(1) @ down.flatten(1))
        name = f"{key}.weight"
        expected = before[name] + added.reshape(before[name].shape)
        torch.testing.assert_close(after[name], expected, rtol=1e-6, atol=1e-6)
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {f"{key}.weight" for key in factors}


def kinds_for(weight: Tensor) -> dict[str, dict[str, Tensor]]:
    rows, columns = weight.shape

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(7))

    return {
        "lora": {"lora_up.weight": random(rows, 2), "lora_down.weight": random(2, columns)},
        "loha": {
            f"hada_w{i}_{x}": random(*((rows, 2) if x == "a" else (2, columns)))
            for i in (1, 2)
            for x in "ab"
        },
        "lokr": {"lokr_w1": random(4, 4), "lokr_w2": random(rows // 4, columns // 4)},
        "glora": {
            "a1.weight": random(columns, 2),
            "a2.weight": random(2, columns),
            "b1.weight": random(rows, 2),
            "b2.weight": random(2, columns),
        },
        "diff": {"diff": random(rows, columns)},
        "set": {"set_weight": random(rows, columns)},
    }


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "glora", "diff", "set"])
def test_every_kind_goes_in_and_comes_out_bit_for_bit(
    tmp_path: Path, checkpoint: Checkpoint, modules: LoraModules, kind: str
) -> None:
    name = "unet:mid_block.attentions.0.proj_in.weight"
    parts = kinds_for(weights_of(modules)[name])[kind]
    lora = save(
        tmp_path / "l.safetensors",
        {f"lora_unet_middle_block_1_proj_in.{part}": tensor for part, tensor in parts.items()},
    )
    before = weights_of(modules)[name].clone()
    checkpoint.loras.use([lora])
    assert not torch.allclose(weights_of(modules)[name], before)
    checkpoint.loras.use([])
    assert torch.equal(weights_of(modules)[name], before)


def test_biases_and_norms_are_changed_too(
    tmp_path: Path, checkpoint: Checkpoint, modules: LoraModules
) -> None:
    name = "unet:down_blocks.0.resnets.0.norm1"
    before = {kind: weights_of(modules)[f"{name}.{kind}"] for kind in ("weight", "bias")}
    ones = torch.ones_like(before["bias"])
    key = "lora_unet_input_blocks_1_0_in_layers_0"
    lora = save(tmp_path / "l.safetensors", {f"{key}.w_norm": ones, f"{key}.b_norm": 2 * ones}, 0.5)
    checkpoint.loras.use([lora])
    after = weights_of(modules)
    torch.testing.assert_close(after[f"{name}.weight"], before["weight"] + 0.5)
    torch.testing.assert_close(after[f"{name}.bias"], before["bias"] + 1.0)


def test_the_projection_of_the_second_text_encoder_can_be_changed(
    tmp_path: Path, checkpoint: Checkpoint, modules: LoraModules
) -> None:
    before = weights_of(modules)["clip_g:text_projection.weight"]
    key = "lora_te2_text_projection"
    lora = save(tmp_path / "l.safetensors", {f"{key}.diff": torch.ones_like(before)}, 1.0)
    checkpoint.loras.use([lora])
    torch.testing.assert_close(weights_of(modules)["clip_g:text_projection.weight"], before + 1.0)


@pytest.mark.parametrize("in_place", [False, True])
def test_sets_in_turn_leave_no_trace(tmp_path: Path, modules: LoraModules, in_place: bool) -> None:
    stack = LoraStack(modules, in_place=in_place)
    before = {name: tensor.clone() for name, tensor in weights_of(modules).items()}
    places = {name: tensor.data_ptr() for name, tensor in weights_of(modules).items()}
    first = a_lora(tmp_path / "a.safetensors", modules)
    key = "unet:mid_block.attentions.0.proj_in.weight"
    diff = {"unet.mid_block.attentions.0.proj_in.diff": torch.ones_like(before[key])}
    second = save(tmp_path / "b.safetensors", diff, -1.3)
    seen: dict[tuple[ChosenLora, ...], Tensor] = {}
    for chosen in ([first], [second], [first, second], [second], [first], [first, second]):
        stack.use(chosen)
        now = weights_of(modules)[key].clone()
        assert not torch.equal(now, before[key])
        assert torch.equal(now, seen.setdefault(tuple(chosen), now))
        if in_place:
            assert {n: t.data_ptr() for n, t in weights_of(modules).items()} == places
    assert len({float(tensor.sum()) for tensor in seen.values()}) == 3
    stack.remove()
    assert all(torch.equal(t, before[n]) for n, t in weights_of(modules).items())


def test_half_precision_weights_are_changed_in_float32_and_rounded_once(tmp_path: Path) -> None:
    unet = nn.Module()
    unet.config = {"down_block_types": [], "up_block_types": [], "layers_per_block": 0}  # type: ignore[assignment]
    unet.conv_in = nn.Linear(64, 64, dtype=torch.float16)
    before = unet.conv_in.weight.detach().clone()
    tiny = torch.full((64, 64), 1e-5)
    loras = [
        save(tmp_path / f"{i}.safetensors", {"unet.conv_in.diff": tiny}, 1.0) for i in range(5)
    ]
    stack = LoraStack(LoraModules(unet), in_place=False)
    stack.use(loras)
    expected = (before.float() + sum(tiny for _ in loras)).half()
    assert torch.equal(unet.conv_in.weight, expected)
    stack.remove()
    assert torch.equal(unet.conv_in.weight, before)


def test_a_set_that_is_in_is_not_put_in_again_until_its_file_changes(
    tmp_path: Path, checkpoint: Checkpoint, modules: LoraModules
) -> None:
    lora = a_lora(tmp_path / "l.safetensors", modules)
    key = "unet:mid_block.attentions.0.proj_in.weight"
    checkpoint.loras.use([lora])
    place, value = weights_of(modules)[key].data_ptr(), weights_of(modules)[key].clone()
    assert checkpoint.loras.has([lora])
    checkpoint.loras.use([lora])
    assert weights_of(modules)[key].data_ptr() == place
    factors = {k: (2 * up, down) for k, (up, down) in make_factors(modules).items()}
    save(lora.path, LAYOUTS["diffusers"](factors))
    os.utime(lora.path, ns=(1, 1))
    assert not checkpoint.loras.has([lora])
    checkpoint.loras.use([lora])
    assert not torch.allclose(weights_of(modules)[key], value)


def test_a_lora_of_weight_0_changes_nothing(
    tmp_path: Path, checkpoint: Checkpoint, modules: LoraModules
) -> None:
    lora = a_lora(tmp_path / "l.safetensors", modules, weight=0.0)
    before = {name: tensor.data_ptr() for name, tensor in weights_of(modules).items()}
    assert checkpoint.loras.use([lora]) == ()
    assert {name: tensor.data_ptr() for name, tensor in weights_of(modules).items()} == before


def test_changes_without_effect_are_not_counted_as_changed_weights(
    tmp_path: Path, checkpoint: Checkpoint, modules: LoraModules
) -> None:
    factors = list(make_factors(modules).items())
    count = len(factors)
    key, (up, down) = factors[0]
    (other, (other_up, other_down)), *rest = factors[1:]
    zeros: dict[str, Factors] = {
        key: (up[:, :0], down[:0]),  # rank 0
        other: (torch.zeros_like(other_up), other_down),  # as a training run begins
    }
    some = save(tmp_path / "some.safetensors", LAYOUTS["diffusers"](zeros | dict(rest)))
    none = save(tmp_path / "none.safetensors", LAYOUTS["diffusers"](zeros))
    told = [str(fit) for fit in checkpoint.loras.use([some, none])]
    assert told == [
        f"some.safetensors at 0.7: {count - 2} of {count} weights changed",
        "none.safetensors at 0.7: 0 of 2 weights changed",
    ]


def test_a_file_for_another_model_is_refused_and_what_was_in_stays(
    tmp_path: Path, checkpoint: Checkpoint, modules: LoraModules
) -> None:
    good = a_lora(tmp_path / "good.safetensors", modules)
    checkpoint.loras.use([good])
    during = {name: tensor.data_ptr() for name, tensor in weights_of(modules).items()}
    tensors = {
        "lora_unet_middle_block_1_proj_in.diff": torch.ones(64, 64),
        "lora_unet_middle_block_1_proj_out.diff": torch.ones(1280, 1280),
        "lora_unet_double_blocks_0_img_attn_qkv.diff": torch.ones(1),
        "lora_unet_double_blocks_1_img_attn_qkv.diff": torch.ones(1),
    }
    with pytest.raises(InvalidModelFile) as refused:
        checkpoint.loras.use([good, save(tmp_path / "flux.safetensors", tensors)])
    told = str(refused.value)
    assert "flux.safetensors is no LoRA for this model: 3 of its 4 changes do not fit" in told
    assert "middle_block_1_proj_out is [1280, 1280], not [64, 64]" in told
    assert "lora_unet_double_blocks_0_img_attn_qkv is not in the model" in told
    assert {name: tensor.data_ptr() for name, tensor in weights_of(modules).items()} == during


def test_what_does_not_fit_is_left_out_and_told(
    tmp_path: Path, checkpoint: Checkpoint, modules: LoraModules
) -> None:
    tensors = LAYOUTS["diffusers"](make_factors(modules))
    extra = {"unet.extra.diff": torch.ones(1), "note": torch.ones(1)}
    (fit,) = checkpoint.loras.use([save(tmp_path / "l.safetensors", {**tensors, **extra})])
    assert str(fit) == (
        f"l.safetensors at 0.7: {len(tensors) // 2} weights changed, 2 left out"
        " (note is unknown; unet.extra is not in the model)"
    )
