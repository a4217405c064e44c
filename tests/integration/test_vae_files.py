"""Separate VAE files in the layouts and formats that users have, with small random models."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.engine.engine import Engine
from pipeline.errors import InvalidModelFile
from pipeline.files.catalog import ModelCatalog
from pipeline.files.library import Library
from pipeline.files.locate import ModelFiles
from pipeline.models.checkpoint import Checkpoint, Configs, load_checkpoint
from pipeline.models.vae import Vae
from pipeline.models.vae_files import load_vae
from pipeline.request.presets import PresetStore
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.weights import layout
from tests.integration.refiner_files import ROOT, make, pixels
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder, write_single_file
from tools.original_layout import original_names

CPU = torch.device("cpu")
OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

Weights = Mapping[str, Tensor]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def configs(models: Path) -> Configs:
    """Of the model "a", whose weights are of seed 1; "b" is the same with the VAE of seed 2."""
    for name in ("a", "b"):
        configs = write_configs(models / "checkpoints" / name)
    weights = make_weights(configs, seed=1)
    write_folder(models / "checkpoints" / "a", weights)
    write_folder(models / "checkpoints" / "b", {**weights, "vae": make_weights(configs, 2)["vae"]})
    (models / "vae").mkdir()
    return configs


@pytest.fixture(scope="module")
def checkpoint(models: Path, configs: Configs) -> Checkpoint:
    return load_checkpoint(models / "checkpoints" / "a", CPU)


@pytest.fixture(scope="module")
def inside(models: Path, configs: Configs) -> Vae:
    return load_checkpoint(models / "checkpoints" / "b", CPU).vae


@pytest.fixture(scope="module")
def weights(configs: Configs) -> Weights:
    """The separate VAE's, under diffusers' names."""
    return make_weights(configs, seed=2)["vae"]


@pytest.fixture(scope="module")
def original(weights: Weights, configs: Configs) -> Weights:
    """The same under the original names and in its shapes."""
    names = original_names(weights, layout.vae_prefixes(configs.vae))
    return {
        name: _conv(tensor) if ".attn_1." in name else tensor
        for name, tensor in zip(names, weights.values(), strict=True)
    }


def _conv(tensor: Tensor) -> Tensor:
    return tensor[:, :, None, None] if tensor.ndim == 2 else tensor


def plain(path: Path, original: Weights, weights: Weights) -> None:
    save_file(dict(original), path.with_suffix(".safetensors"))


def prefixed(path: Path, original: Weights, weights: Weights) -> None:
    tensors = {f"first_stage_model.{name}": tensor for name, tensor in original.items()}
    save_file(tensors, path.with_suffix(".safetensors"))


def diffusers(path: Path, original: Weights, weights: Weights) -> None:
    save_file(dict(weights), path.with_suffix(".safetensors"))


def older_diffusers(path: Path, original: Weights, weights: Weights) -> None:
    tensors = {}
    for name, tensor in weights.items():
        renamed = name
        for new, old in OLD_ATTENTION.items():
            renamed = renamed.replace(f".{new}.", f".{old}.") if ".attentions." in name else renamed
        tensors[renamed] = tensor
    save_file(tensors, path.with_suffix(".safetensors"))


def trained(path: Path, original: Weights, weights: Weights) -> None:
    """As its training wrote it, with what the decoder does not need."""
    beside = {"loss.logvar": torch.zeros(()), "model_ema.decay": torch.zeros(())}
    state = {**original, **beside}
    torch.save({"state_dict": state, "epoch": 3, "global_step": 9}, path.with_suffix(".ckpt"))


def pickled(path: Path, original: Weights, weights: Weights) -> None:
    torch.save(dict(original), path.with_suffix(".pt"))


@pytest.mark.parametrize("write", [plain, prefixed, diffusers, older_diffusers, trained, pickled])
def test_every_layout_and_format_decodes_as_the_model_that_has_it_inside(
    tmp_path: Path,
    checkpoint: Checkpoint,
    original: Weights,
    weights: Weights,
    inside: Vae,
    write: Callable[[Path, Weights, Weights], None],
) -> None:
    write(tmp_path / "v", original, weights)
    vae = load_vae(next(tmp_path.iterdir()), checkpoint.vae_config, checkpoint.placement)
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(vae.decode(latent), inside.decode(latent))
        assert not torch.equal(vae.decode(latent), checkpoint.vae.decode(latent))
    assert vae.factor == inside.factor


def test_the_vae_inside_a_whole_checkpoint_will_do(
    tmp_path: Path, checkpoint: Checkpoint, configs: Configs, weights: Weights
) -> None:
    whole = {**make_weights(configs, seed=1), "vae": dict(weights)}
    write_single_file(tmp_path / "whole.safetensors", whole, configs)
    vae = load_vae(tmp_path / "whole.safetensors", checkpoint.vae_config, checkpoint.placement)
    latent = torch.ones(1, 4, 8, 8)
    with torch.inference_mode():
        assert not torch.equal(vae.decode(latent), checkpoint.vae.decode(latent))


def test_a_file_that_is_no_vae_is_named_with_what_it_holds(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({"lora_unet_x.lora_up.weight": torch.ones(2, 2)}, path)
    with pytest.raises(InvalidModelFile, match=r"lora\.safetensors is no VAE.*lora_unet_x"):
        load_vae(path, checkpoint.vae_config, checkpoint.placement)


@pytest.mark.parametrize("fault", ["missing", "of another shape"])
def test_a_vae_of_another_structure_is_named_with_what_does_not_fit(
    tmp_path: Path, checkpoint: Checkpoint, original: Weights, fault: str
) -> None:
    tensors = dict(original)
    if fault == "missing":
        del tensors["decoder.conv_in.weight"]
    else:
        tensors["decoder.conv_in.weight"] = torch.ones(2, 2)
    path = tmp_path / "v.safetensors"
    save_file(tensors, path)
    with pytest.raises(InvalidModelFile, match=rf"v\.safetensors is no VAE.*{fault}"):
        load_vae(path, checkpoint.vae_config, checkpoint.placement)


def test_tensors_that_no_module_uses_are_left_out(
    tmp_path: Path, checkpoint: Checkpoint, original: Weights, inside: Vae
) -> None:
    path, latent = tmp_path / "v.safetensors", torch.ones(1, 4, 8, 8)
    save_file({**original, "decoder.extra.weight": torch.ones(1)}, path)
    vae = load_vae(path, checkpoint.vae_config, checkpoint.placement)
    with torch.inference_mode():
        assert torch.equal(vae.decode(latent), inside.decode(latent))


@pytest.fixture
def engine(models: Path, configs: Configs, tmp_path: Path) -> Engine:
    presets = PresetStore(ROOT / "presets", "embedded")
    styles = StyleLibrary(ROOT / "sdxl_styles")
    files = ModelFiles(ModelCatalog(models), allowed=False)
    return Engine(Library(files, presets, styles, Wildcards(tmp_path)), CPU)


def test_a_request_names_its_vae_and_the_model_is_not_read_again(
    engine: Engine, models: Path, original: Weights, weights: Weights
) -> None:
    plain(models / "vae" / "v", original, weights)
    own = make(engine)
    separate = make(engine, vae_name="v.safetensors")
    assert separate.models == [("v.safetensors", False), ("v.safetensors", True)]
    assert pixels(separate) == pixels(make(engine, base_model_name="b"))
    assert pixels(separate) != pixels(own)
    again = make(engine)
    assert again.models == []
    assert pixels(again) == pixels(own)
    assert make(engine, vae_name="v.safetensors").models == []
    assert set(engine.release()) == {"a", "b", "v.safetensors"}


def test_a_vae_that_does_not_fit_fails_its_task_and_the_next_one_works(
    engine: Engine, models: Path
) -> None:
    save_file({"decoder.conv_in.weight": torch.ones(1)}, models / "vae" / "bad.safetensors")
    with pytest.raises(InvalidModelFile, match=r"bad\.safetensors"):
        make(engine, vae_name="bad.safetensors")
    assert len(make(engine).images) == 1


@pytest.mark.parametrize("layout_of", ["channels_last", "sliced", "expanded"])
def test_an_encoding_does_not_depend_on_the_memory_layout_of_its_pixels(
    inside: Vae, layout_of: str
) -> None:
    pixels = torch.rand((1, 3, 48, 40), generator=torch.Generator().manual_seed(3))
    if layout_of == "expanded":
        given = pixels[:, :1].expand(1, 3, 48, 40)
    elif layout_of == "sliced":
        given = torch.cat([pixels, pixels], dim=3)[..., ::2]
    else:
        given = pixels.to(memory_format=torch.channels_last)
    plain = given.clone(memory_format=torch.contiguous_format)
    assert not given.is_contiguous()
    for made, wanted in zip(inside.moments(given), inside.moments(plain), strict=True):
        assert torch.equal(made, wanted)
    first, second = (torch.Generator().manual_seed(1) for _ in range(2))
    assert torch.equal(inside.encode_tiled(given, first), inside.encode_tiled(plain, second))
