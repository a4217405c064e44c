"""Control networks in the formats that users have, on a small model of SDXL's structure."""

import gc
import pickle
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.adapters.control import Control, ControlledUNet
from pipeline.adapters.control_lora import ControlNetwork, control_prefixes, load_control
from pipeline.errors import InvalidModelFile
from pipeline.files.catalog import ModelCatalog
from pipeline.files.locate import ModelFiles
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.models.manager import ModelManager
from pipeline.models.unet import UNet
from pipeline.request.sampling import Guidance, SamplingSettings
from pipeline.sampling.adm import SdxlSizes
from pipeline.sampling.denoiser import Conditioning, Denoiser, NetworkInput
from pipeline.sampling.diffusion import sample
from pipeline.sampling.noise import ImageNoise
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.sampling.sigmas import make_sigmas
from pipeline.weights.lora import ChosenLora
from tests.integration.test_engine import Listener
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder
from tools.original_layout import original_names

CPU = torch.device("cpu")
RANK = 2
SAMPLING = ModelSampling()
HINT = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(3))
REPLACED = "down_blocks.0.resnets.0.norm1.weight"  # the file brings it whole

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_folder(folder, make_weights(write_configs(folder)))
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Iterator[Checkpoint]:
    checkpoint = load_checkpoint(folder, CPU)
    before = {name: each.clone() for name, each in checkpoint.unet.module.state_dict().items()}
    yield checkpoint
    after = checkpoint.unet.module.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], each) for name, each in before.items())


@pytest.fixture(scope="module")
def base(checkpoint: Checkpoint) -> UNet:
    return checkpoint.unet


@pytest.fixture(scope="module")
def whole(base: UNet) -> Tensors:
    """A whole ControlNet's weights under diffusers' names: the base's, each changed a little."""
    torch.manual_seed(7)
    module = ControlNetModel.from_unet(base.module)
    for name, parameter in module.named_parameters():
        if name.startswith("controlnet_"):
            nn.init.normal_(parameter, std=0.1)
    return {name: each.detach().clone() for name, each in module.state_dict().items()}


@pytest.fixture(scope="module")
def factors(whole: Tensors) -> dict[str, tuple[Tensor, Tensor]]:
    """A difference (up, down) for every layer that the base has too."""
    made = {}
    torch.manual_seed(8)
    for name, weight in whole.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight" and weight.ndim > 1 and not name.startswith("controlnet_"):
            up = torch.randn(weight.shape[0], RANK, *[1] * (weight.ndim - 2)) * 0.05
            made[layer] = (up, torch.randn(RANK, *weight.shape[1:]) * 0.05)
    return made


def with_differences(whole: Tensors, factors: dict[str, tuple[Tensor, Tensor]]) -> Tensors:
    """The whole network that a control-LoRA of these differences stands for."""
    changed = dict(whole)
    for layer, (up, down) in factors.items():
        weight = whole[f"{layer}.weight"]
        product = torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1))
        changed[f"{layer}.weight"] = weight + product.view_as(weight)
    changed[REPLACED] = torch.full_like(whole[REPLACED], 0.5)
    return changed


def original(tensors: Mapping[str, Tensor], base: UNet) -> Tensors:
    names = original_names(tensors, control_prefixes(base.module.config))
    return {old: each.contiguous() for old, each in zip(names, tensors.values(), strict=True)}


def lora_tensors(whole: Tensors, factors: dict[str, tuple[Tensor, Tensor]], base: UNet) -> Tensors:
    """As Stability publishes it: own layers whole, biases whole, the rest as differences."""
    tensors = {name: each for name, each in whole.items() if name.startswith("controlnet_")}
    for layer, (up, down) in factors.items():
        tensors |= {f"{layer}.up": up, f"{layer}.down": down}
        if f"{layer}.bias" in whole:
            tensors[f"{layer}.bias"] = whole[f"{layer}.bias"]
    tensors[REPLACED] = torch.full_like(whole[REPLACED], 0.5)
    return original(tensors, base) | {"lora_controlnet": torch.zeros(0)}


@pytest.fixture(scope="module")
def lora_file(
    tmp_path_factory: pytest.TempPathFactory,
    whole: Tensors,
    factors: dict[str, tuple[Tensor, Tensor]],
    base: UNet,
) -> Path:
    path = tmp_path_factory.mktemp("control") / "control-lora-canny-rank2.safetensors"
    save_file(lora_tensors(whole, factors, base), path)
    return path


@pytest.fixture(scope="module")
def network(lora_file: Path, base: UNet) -> ControlNetwork:
    return load_control(lora_file, base, CPU)


def ask(sigma: float = 5.0, rows: int = 2) -> NetworkInput:
    random = torch.Generator().manual_seed(1)
    return NetworkInput(
        x=torch.randn(rows, 4, 8, 12, generator=random),
        timestep=torch.full((rows,), 600.0),
        context=torch.randn(rows, 77, 48, generator=random),
        pooled=torch.randn(rows, 32, generator=random),
        time_ids=torch.tensor([[96.0, 64.0, 0.0, 0.0, 96.0, 64.0]]).expand(rows, -1),
        sigma=sigma,
        positive=(False, True)[:rows],
    )


def picture(unet: Any, sigmas: list[float] | None = None, cfg: float = 4.0) -> Tensor:
    """A run of four steps; ``sigmas`` gets the level of each call."""

    def call(given: NetworkInput) -> Tensor:
        if sigmas is not None:
            sigmas.append(given.sigma)
        made: Tensor = unet(given)
        return made

    random = torch.Generator().manual_seed(2)
    positive, negative = (
        Conditioning(
            torch.randn(1, tokens, 48, generator=random), torch.randn(1, 32, generator=random)
        )
        for tokens in (154, 77)
    )
    guidance = Guidance(cfg=cfg)
    denoiser = Denoiser(call, SAMPLING, positive, negative, guidance, SdxlSizes(96, 64, guidance))
    run = SamplingSettings(sampler="euler", scheduler="karras", steps=4, seed=1)
    levels = make_sigmas(run, SAMPLING.levels)
    noise = ImageNoise(1, (1, 4, 8, 12))
    return sample(denoiser, run, levels, noise, lambda _index, _denoised: None)


def steered(base: UNet, network: ControlNetwork, weight: float = 1.0, stop: float = 1.0) -> Any:
    return ControlledUNet(base, [Control(network, HINT, weight, stop)], 0.25, SAMPLING.levels)


def assert_same(one: ControlNetwork, other: ControlNetwork) -> None:
    first, second = one(ask(), HINT), other(ask(), HINT)
    for a, b in zip((*first.down, first.middle), (*second.down, second.middle), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_control_lora_is_the_whole_network_that_it_stands_for(
    tmp_path: Path,
    network: ControlNetwork,
    whole: Tensors,
    factors: dict[str, tuple[Tensor, Tensor]],
    base: UNet,
) -> None:
    changed = with_differences(whole, factors)
    save_file(original(changed, base), tmp_path / "bare.safetensors")
    assert_same(network, load_control(tmp_path / "bare.safetensors", base, CPU))
    inner = {f"control_model.{name}": each for name, each in original(changed, base).items()}
    save_file(inner, tmp_path / "outer.safetensors")
    assert_same(network, load_control(tmp_path / "outer.safetensors", base, CPU))
    save_file(changed, tmp_path / "diffusers.safetensors")
    assert_same(network, load_control(tmp_path / "diffusers.safetensors", base, CPU))


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_file_in_another_number_format_is_brought_to_the_bases(
    tmp_path: Path, network: ControlNetwork, lora_file: Path, base: UNet, dtype: torch.dtype
) -> None:
    path = tmp_path / "half.safetensors"
    save_file({name: each.to(dtype) for name, each in load_file(lora_file).items()}, path)
    half = load_control(path, base, CPU)
    assert {each.dtype for each in half.module.parameters()} == {torch.float32}
    exact, rounded = network(ask(), HINT).middle, half(ask(), HINT).middle
    assert 0.0 < (exact - rounded).norm() / exact.norm() < 0.05


@torch.inference_mode()
def test_the_original_names_are_those_of_published_files(lora_file: Path) -> None:
    names = load_file(lora_file).keys()
    assert {
        "input_blocks.0.0.up",
        "input_blocks.1.0.in_layers.0.weight",
        "input_blocks.4.1.transformer_blocks.0.attn1.to_q.down",
        "input_hint_block.0.weight",
        "input_hint_block.14.bias",
        "label_emb.0.0.down",
        "lora_controlnet",
        "middle_block.1.proj_in.up",
        "middle_block_out.0.weight",
        "time_embed.0.down",
        "zero_convs.0.0.weight",
        "zero_convs.8.0.bias",
    } <= names
    assert not any(name.startswith(("down_blocks", "mid_block", "controlnet")) for name in names)


@torch.inference_mode()
@pytest.mark.parametrize("cfg", [4.0, 1.0])
def test_a_control_changes_the_picture_with_its_hint(
    base: UNet, network: ControlNetwork, cfg: float
) -> None:
    plain = picture(base, cfg=cfg)
    controlled = picture(steered(base, network), cfg=cfg)
    other = Control(network, 1.0 - HINT, 1.0, 1.0)
    other_hint = picture(ControlledUNet(base, [other], 0.25, SAMPLING.levels), cfg=cfg)
    for one, another in ((plain, controlled), (controlled, other_hint)):
        assert (one - another).norm() / one.norm() > 1e-3


@torch.inference_mode()
def test_weight_0_and_stop_0_leave_the_picture_as_it_was_to_the_bit(
    base: UNet, network: ControlNetwork
) -> None:
    plain = picture(base)
    assert torch.equal(picture(steered(base, network, weight=0.0)), plain)
    assert torch.equal(picture(steered(base, network, stop=0.0)), plain)


@torch.inference_mode()
def test_after_its_stop_a_control_has_no_say(base: UNet, network: ControlNetwork) -> None:
    sigmas: list[float] = []
    picture(base, sigmas)
    last = SAMPLING.levels.sigma_at(0.5)
    assert max(sigmas) > last > min(sigmas)
    until_half = steered(base, network, stop=0.5)
    for sigma in sigmas:
        given = ask(sigma)
        is_plain = torch.equal(until_half(given), base(given))
        assert is_plain == (sigma < last)


@torch.inference_mode()
def test_the_base_makes_the_same_picture_after_a_control(
    base: UNet, network: ControlNetwork
) -> None:
    before = picture(base)
    picture(steered(base, network))
    assert torch.equal(picture(base), before)


@torch.inference_mode()
def test_a_control_lora_takes_no_more_memory_than_its_file(
    base: UNet, network: ControlNetwork, lora_file: Path
) -> None:
    of_base = {each.data_ptr() for each in base.module.parameters()}
    own = [each for each in network.module.parameters() if each.data_ptr() not in of_base]
    assert sum(each.numel() for each in own) == sum(
        each.numel() for each in load_file(lora_file).values()
    )


@torch.inference_mode()
def test_a_control_lora_goes_with_the_loras_in_the_base(
    tmp_path: Path, checkpoint: Checkpoint, network: ControlNetwork, lora_file: Path
) -> None:
    up, down = torch.randn(128, RANK), torch.randn(RANK, 32)
    lora = tmp_path / "style.safetensors"
    name = "lora_unet_time_embedding_linear_1"
    save_file({f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}, lora)
    steered(checkpoint.unet, network)
    without = network(ask(), HINT)
    checkpoint.loras.use([ChosenLora("style", lora, 0.1)])
    try:
        steered(checkpoint.unet, network)
        changed = network(ask(), HINT)
        assert_same(network, load_control(lora_file, checkpoint.unet, CPU))
    finally:
        checkpoint.loras.remove()
    assert not torch.allclose(changed.middle, without.middle, rtol=1e-3)
    steered(checkpoint.unet, network)
    assert torch.equal(network(ask(), HINT).middle, without.middle)


def test_a_control_keeps_no_weights_of_loras_that_are_out_again(
    tmp_path: Path, checkpoint: Checkpoint, lora_file: Path
) -> None:
    name = "lora_unet_time_embedding_linear_1"
    file = {f"{name}.lora_up.weight": torch.randn(128, RANK)}
    file[f"{name}.lora_down.weight"] = torch.randn(RANK, 32)
    (tmp_path / "loras").mkdir()
    save_file(file, tmp_path / "loras" / "style.safetensors")
    manager = ModelManager(ModelFiles(ModelCatalog(tmp_path), allowed=False), CPU)
    loras = [("style.safetensors", 0.1)]
    manager.put_loras(checkpoint, None, loras, Listener())
    changed = weakref.ref(checkpoint.unet.module.time_embedding.linear_1.weight)
    manager.auxiliary(
        "control",
        "c",
        lora_file,
        lambda path: load_control(path, checkpoint.unet, CPU),
        base=checkpoint,
    )
    manager.put_loras(checkpoint, None, [], Listener())
    gc.collect()
    assert changed() is None


def another_width(tensors: Tensors) -> None:
    name = "input_blocks.4.1.transformer_blocks.0.attn1.to_q.up"
    tensors[name] = torch.zeros(320, RANK)


def half_a_pair(tensors: Tensors) -> None:
    del tensors["time_embed.0.down"]


def an_unknown_layer(tensors: Tensors) -> None:
    tensors["input_blocks.9.1.proj_in.up"] = torch.zeros(4, 2)
    tensors["input_blocks.9.1.proj_in.down"] = torch.zeros(2, 4)


def no_middle(tensors: Tensors) -> None:
    del tensors["middle_block_out.0.weight"]


def another_hint_block(tensors: Tensors) -> None:
    tensors["input_hint_block.0.weight"] = torch.zeros(16, 1, 3, 3)


def no_marker(tensors: Tensors) -> None:
    del tensors["lora_controlnet"]


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (another_width, r"attn1\.to_q is \[320, 2\] and \[2, 64\], which make no \[64, 64\]"),
        (half_a_pair, "time_embedding.linear_1 has only one of up and down"),
        (an_unknown_layer, r"input_blocks\.9\.1\.proj_in is no layer of the model"),
        (no_middle, r"1 missing: controlnet_mid_block\.weight"),
        (another_hint_block, r"conv_in\.weight is \[16, 1, 3, 3\], not \[16, 3, 3, 3\]"),
        (no_marker, "missing"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_what_is_wrong(
    tmp_path: Path, lora_file: Path, base: UNet, spoil: Callable[[Tensors], None], named: str
) -> None:
    tensors = load_file(lora_file)
    spoil(tensors)
    path = tmp_path / "spoiled.safetensors"
    save_file(tensors, path)
    with pytest.raises(InvalidModelFile, match=rf"spoiled\.safetensors.*{named}"):
        load_control(path, base, CPU)


def test_a_control_network_for_another_model_is_refused(
    tmp_path: Path, lora_file: Path, base: UNet
) -> None:
    config = {**base.module.config, "block_out_channels": [32, 64, 96]}
    config |= {"attention_head_dim": [2, 4, 6]}
    other = UNet(UNet2DConditionModel.from_config(config))
    with pytest.raises(InvalidModelFile, match="does not fit"):
        load_control(lora_file, other, CPU)


def test_what_is_no_control_network_is_refused(tmp_path: Path, folder: Path, base: UNet) -> None:
    checkpoint = folder / "unet" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(InvalidModelFile, match=r"no control network.*begins with"):
        load_control(checkpoint, base, CPU)
    pickled = tmp_path / "old.pth"
    pickled.write_bytes(pickle.dumps({"zero_convs.0.0.weight": 1}))
    with pytest.raises(InvalidModelFile, match="pickle"):
        load_control(pickled, base, CPU)
