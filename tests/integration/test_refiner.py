"""Refiners in the formats that users have, in pictures of small random models."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL.Image import Image
from safetensors.torch import save_file
from torch import Tensor

from pipeline.adapters.control import Control, Residuals
from pipeline.engine.conditioned import ImageConditions
from pipeline.engine.engine import Engine
from pipeline.engine.sdxl import SdxlPipeline
from pipeline.errors import InvalidModelFile, ModelNotFound
from pipeline.files.catalog import ModelCatalog
from pipeline.files.library import Library
from pipeline.files.locate import ModelFiles
from pipeline.images.embedded_text import read_text
from pipeline.images.read import open_image
from pipeline.memory.cache import Budgets
from pipeline.models.checkpoint import SDXL_BASE, Checkpoint, load_checkpoint
from pipeline.models.manager import ModelManager
from pipeline.models.refiner import SDXL_REFINER, Refiner, RefinerConfigs, load_refiner
from pipeline.request.choices import SwapMethod
from pipeline.request.decode import params_from
from pipeline.request.presets import PresetStore
from pipeline.request.resolved import resolve_params
from pipeline.request.sampling import FreeU
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.sampling.denoiser import NetworkInput
from pipeline.sampling.parametrisation import NoisePrediction, VPrediction
from pipeline.scheduling.task import Task
from pipeline.weights import layout
from pipeline.weights.layout import unet_prefixes
from tests.integration.test_engine import Listener
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder, write_single_file
from tests.plans import PLAN, changed
from tools.original_layout import original_names

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
SMALLER: Mapping[str, Any] = {
    "block_out_channels": [32, 64, 64, 64],
    "attention_head_dim": [2, 4, 4, 4],
    "transformer_layers_per_block": 1,
    "cross_attention_dim": 32,  # the small CLIP-G
    "projection_class_embeddings_input_dim": 32 + 5 * 256,
    "sample_size": 8,
}
PLAN_OF_FOUR = changed(PLAN, steps=4, switch=2, refiner="r")

Weights = Mapping[str, Tensor]


def write_refiner_config(folder: Path, **changes: Any) -> dict[str, Any]:
    """SDXL refiner's configuration with smaller numbers, as a diffusers folder has it."""
    published = json.loads((SDXL_REFINER / "unet" / "config.json").read_bytes())
    config: dict[str, Any] = {**published, **SMALLER, **changes}
    (folder / "unet").mkdir(parents=True, exist_ok=True)
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLImg2ImgPipeline"}')
    return config


def make_unet(config: Mapping[str, Any], seed: int = 2) -> Weights:
    torch.manual_seed(seed)
    return dict(UNet2DConditionModel.from_config(config).state_dict())


def write_refiner_file(path: Path, weights: Weights, config: Mapping[str, Any]) -> None:
    """One file in the original layout: CLIP-G in the first encoder's place, and a VAE beside."""
    names = original_names(weights, unet_prefixes(config))
    tensors = {
        f"{layout.UNET_PREFIX}{old}": tensor
        for old, tensor in zip(names, weights.values(), strict=True)
    }
    tensors["conditioner.embedders.0.model.ln_final.weight"] = torch.ones(32)
    tensors["first_stage_model.decoder.conv_out.bias"] = torch.zeros(3)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    write_folder(folder, make_weights(write_configs(folder)))
    return folder


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Checkpoint:
    return load_checkpoint(base_folder, CPU)


@pytest.fixture(scope="module")
def refiner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refiner")
    weights = make_unet(write_refiner_config(folder))
    save_file(dict(weights), folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def refiner(refiner_folder: Path) -> Refiner:
    return load_refiner(refiner_folder, CPU)


@pytest.mark.parametrize("method", get_args(SwapMethod))
def test_a_refiner_is_sampled_as_its_own_files_say(
    base: Checkpoint, refiner: Refiner, refiner_folder: Path, tmp_path: Path, method: SwapMethod
) -> None:
    (tmp_path / "unet").symlink_to(refiner_folder / "unet")
    (tmp_path / "scheduler").mkdir()
    config = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    other = load_refiner(tmp_path, CPU)
    own = other.sampling_with(base.model_sampling, "karras")
    assert type(own.parametrisation) is VPrediction
    assert own.latents == base.model_sampling.latents
    assert type(refiner.model_sampling.parametrisation) is NoisePrediction
    assert draw(base, other, swap_method=method) != draw(base, refiner, swap_method=method)


def draw(base: Checkpoint, refiner: Refiner | None, **changes: Any) -> Image:
    plan = changed(PLAN_OF_FOUR, **changes)
    with torch.inference_mode():
        pipeline = SdxlPipeline(base, refiner=refiner)
        return pipeline.make(plan, lambda _index, _guess: None)


@pytest.mark.parametrize("method", get_args(SwapMethod))
def test_a_refiner_changes_the_picture_unless_it_comes_too_late(
    base: Checkpoint, refiner: Refiner, method: SwapMethod
) -> None:
    alone = draw(base, None)
    assert draw(base, refiner, swap_method=method).tobytes() != alone.tobytes()
    late = draw(base, refiner, swap_method=method, switch=4)
    assert late.tobytes() == alone.tobytes()


def test_each_method_makes_a_picture_of_its_own(base: Checkpoint, refiner: Refiner) -> None:
    made = {draw(base, refiner, swap_method=each).tobytes() for each in get_args(SwapMethod)}
    assert len(made) == 3


def test_without_a_refiner_the_model_goes_on_from_its_own_picture(base: Checkpoint) -> None:
    joint = draw(base, None, swap_method="joint")
    assert joint.tobytes() == draw(base, None, switch=99).tobytes()
    assert draw(base, None, swap_method="vae").tobytes() != joint.tobytes()


class Watcher:
    """A control network that adds nothing, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def follow_base(self) -> None:
        """Nothing of it is the UNet's."""

    def __call__(self, _given: NetworkInput, _hint: Tensor, /) -> Residuals:
        self.asked += 1
        nothing = torch.zeros(1, 1, 1, 1)
        return Residuals((nothing,) * 9, nothing)


@pytest.mark.parametrize(("method", "asked"), [("joint", 4), ("separate", 2)])
def test_a_control_works_to_its_stop_unless_another_run_begins(
    base: Checkpoint, method: SwapMethod, asked: int
) -> None:
    network = Watcher()
    control = Control(network, torch.zeros(1, 3, 64, 64), weight=1.0, stop=1.0)
    plan = changed(PLAN_OF_FOUR, refiner="None", sampler="euler", cfg=1.0, swap_method=method)
    conditions = ImageConditions(controls=(control,))
    with torch.inference_mode():
        SdxlPipeline(base).make(plan, lambda _index, _guess: None, None, conditions)
    assert network.asked == asked


def test_the_same_request_gives_the_same_refined_picture(
    base: Checkpoint, refiner: Refiner
) -> None:
    changes = {"sampler": "dpmpp_2m_sde_gpu", "swap_method": "vae"}
    first, second = (draw(base, refiner, **changes) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_freeu_stays_with_the_base(base: Checkpoint, refiner: Refiner) -> None:
    freeu = FreeU(1.4, 1.6, 0.6, 0.2)
    alone = {"swap_method": "separate", "switch": 0}  # the refiner's picture from the first step
    plain = draw(base, refiner, **alone)
    assert draw(base, refiner, freeu=freeu, **alone).tobytes() == plain.tobytes()
    assert draw(base, refiner, freeu=freeu).tobytes() != draw(base, refiner).tobytes()


def test_a_folder_and_a_single_file_of_the_same_refiner_make_the_same_picture(
    tmp_path: Path, base: Checkpoint, refiner: Refiner, refiner_folder: Path, base_folder: Path
) -> None:
    config = json.loads((refiner_folder / "unet" / "config.json").read_bytes())
    path = tmp_path / "refiner.safetensors"
    write_refiner_file(path, make_unet(config), config)
    from_file = load_refiner(path, CPU, RefinerConfigs((refiner_folder, base_folder)))
    assert draw(base, from_file).tobytes() == draw(base, refiner).tobytes()


def test_any_sdxl_checkpoint_refines_whatever_its_format(
    tmp_path: Path, base: Checkpoint, base_folder: Path, refiner_folder: Path
) -> None:
    configs = write_configs(tmp_path / "second")
    weights = make_weights(configs, seed=9)
    write_folder(tmp_path / "second", weights)
    write_single_file(tmp_path / "second.safetensors", weights, configs)
    from_folder = draw(base, load_refiner(tmp_path / "second", CPU))
    single = load_refiner(
        tmp_path / "second.safetensors", CPU, RefinerConfigs((refiner_folder, base_folder))
    )
    assert from_folder.tobytes() == draw(base, single).tobytes()
    assert from_folder.tobytes() != draw(base, None).tobytes()


def write_lora_file(path: Path) -> None:
    save_file({"lora_unet_mid_block.lora_up.weight": torch.zeros(1)}, path)


def write_strange_file(path: Path) -> None:
    save_file({f"{layout.UNET_PREFIX}label_emb.0.0.weight": torch.zeros(8, 77)}, path)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (write_lora_file, r"has no UNet.*lora_unet_mid_block"),
        (write_strange_file, r"label_emb\.0\.0\.weight is 77 wide, not 2560 or 2816"),
    ],
)
def test_a_file_that_is_no_refiner_is_refused_by_name(
    tmp_path: Path, write: Callable[[Path], None], told: str
) -> None:
    path = tmp_path / "odd.safetensors"
    write(path)
    with pytest.raises(InvalidModelFile, match=told):
        load_refiner(path, CPU)


def test_a_refiner_of_another_size_is_refused(tmp_path: Path, refiner_folder: Path) -> None:
    config = json.loads((refiner_folder / "unet" / "config.json").read_bytes())
    weights = dict(make_unet(config))
    del weights["conv_out.bias"]
    path = tmp_path / "refiner.safetensors"
    write_refiner_file(path, weights, config)
    with pytest.raises(InvalidModelFile, match=r"UNet does not fit.*missing: conv_out\.bias"):
        load_refiner(path, CPU, RefinerConfigs((refiner_folder,)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cross_attention_dim": 64}, "reads 64 features a token, .* give 48"),
        ({"projection_class_embeddings_input_dim": 1400}, "have 1400 numbers, .* gives 32"),
    ],
)
def test_a_refiner_for_other_text_encoders_is_refused(
    tmp_path: Path, base: Checkpoint, changes: Mapping[str, int], told: str
) -> None:
    weights = make_unet(write_refiner_config(tmp_path, **changes))
    save_file(dict(weights), tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(InvalidModelFile, match=told):
        draw(base, load_refiner(tmp_path, CPU))


def test_the_configuration_of_sdxl_refiner_has_the_published_size() -> None:
    config = json.loads((SDXL_REFINER / "unet" / "config.json").read_bytes())
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    assert sum(tensor.numel() for tensor in unet.parameters()) == 2_259_526_660
    names = original_names(unet.state_dict(), unet_prefixes(config))
    assert len(set(names)) == len(names)
    assert "input_blocks.8.1.transformer_blocks.3.attn2.to_k.weight" in names
    assert "output_blocks.2.1.conv.bias" in names
    assert "output_blocks.8.2.conv.weight" in names
    assert not [name for name in names if "resnets" in name]


NO_ROOM = Budgets(1, 1)  # bytes: nothing stays that is not in use


class Told:
    """Takes what loading tells; the rest of a reporter is not used here."""

    def __init__(self) -> None:
        self.ready: list[tuple[str, str]] = []

    def model(self, kind: str, name: str, seconds: float | None) -> None:
        if seconds is not None:
            self.ready.append((kind, name))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.fixture
def catalog(tmp_path: Path, base_folder: Path, refiner_folder: Path) -> ModelCatalog:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name, target in (("a", base_folder), ("b", base_folder), ("r", refiner_folder)):
        (folder / name).symlink_to(target)
    return ModelCatalog(tmp_path)


def test_a_model_and_its_refiner_are_held_together_and_read_once(catalog: ModelCatalog) -> None:
    told, manager = Told(), ModelManager(ModelFiles(catalog, allowed=False), CPU, NO_ROOM)
    for _ in range(2):
        manager.begin_task()
        manager.checkpoint("a", told, "r")
        assert manager.refiner("r", told) is not None
    assert told.ready == [("checkpoint", "a"), ("refiner", "r")]
    manager.begin_task()
    manager.checkpoint("b", told, "r")
    manager.refiner("r", told)
    assert told.ready[2:] == [("checkpoint", "b")]
    assert manager.release() == ("b", "r")
    assert manager.release() == ()


def test_a_refiner_leaves_before_another_model_without_one_is_read(catalog: ModelCatalog) -> None:
    manager = ModelManager(ModelFiles(catalog, allowed=False), CPU, NO_ROOM)
    manager.checkpoint("a", None, "r")
    manager.refiner("r")
    manager.begin_task()
    manager.checkpoint("a")
    assert manager.refiner("None") is None
    manager.begin_task()
    manager.checkpoint("b")
    assert manager.release() == ("b",)


def test_a_refiner_that_is_not_there_is_named(catalog: ModelCatalog) -> None:
    with pytest.raises(ModelNotFound) as refused:
        ModelManager(ModelFiles(catalog, allowed=False), CPU).refiner("missing.safetensors")
    assert refused.value.field == ("refiner_model_name",)


def test_the_base_class_is_told_by_its_published_configuration() -> None:
    widths = [
        json.loads((folder / "unet" / "config.json").read_bytes())[
            "projection_class_embeddings_input_dim"
        ]
        for folder in (SDXL_REFINER, SDXL_BASE)
    ]
    assert widths == [1280 + 5 * 256, 1280 + 6 * 256]


@pytest.fixture
def engine(catalog: ModelCatalog, tmp_path: Path) -> Engine:
    library = Library(
        ModelFiles(catalog, allowed=False),
        PresetStore(ROOT / "presets", "embedded"),
        StyleLibrary(ROOT / "sdxl_styles"),
        Wildcards(tmp_path),
    )
    return Engine(library, CPU)


def make(engine: Engine, **asked: object) -> Listener:
    fields = {"base_model_name": "a", "overwrite_width": 64, "overwrite_height": 64, **asked}
    fields |= {"prompt": "a cat", "image_seed": 7, "style_selections": [], "overwrite_step": 4}
    params = params_from({"overwrite_switch": 2, "sampler_name": "euler", **fields})
    listener = Listener()
    engine(Task(task_id="a" * 32, request=resolve_params(params), in_queue_mills=0), listener)
    return listener


def pixels(listener: Listener) -> bytes:
    return open_image(listener.images[0].data).tobytes()


def test_a_request_names_its_refiner_and_the_picture_says_so(engine: Engine) -> None:
    plain = make(engine)
    refined = make(engine, refiner_model_name="r", refiner_swap_method="separate")
    assert pixels(refined) != pixels(plain)
    assert refined.models == [("r", False), ("r", True)]  # the model was there
    text = read_text(open_image(refined.images[0].data))
    assert text is not None
    record = json.loads(text.parameters)
    assert (record["refiner_model"], record["refiner_swap_method"]) == ("r", "separate")
    assert record["overwrite_switch"] == 2


def test_a_lora_goes_into_a_refiner_that_it_fits_and_is_left_out_of_another(
    engine: Engine, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    module = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    (tmp_path / "loras").mkdir()
    tensors = {
        f"{module}.lora_up.weight": torch.randn(64, 4),
        f"{module}.lora_down.weight": torch.randn(4, 48),
    }
    save_file(tensors, tmp_path / "loras" / "l.safetensors")
    asked = {"loras": [{"model_name": "l.safetensors", "weight": 1.0}]}
    alone = make(engine, **asked)
    twin = make(engine, **asked, refiner_model_name="b")  # the same weights under another name
    assert pixels(twin) == pixels(alone)
    assert pixels(alone) != pixels(make(engine))
    assert twin.notes["refiner_loras"] == ["l.safetensors at 1: 1 weights changed"]
    other = make(engine, **asked, refiner_model_name="r")
    assert "0 weights changed, 1 left out" in str(other.notes["refiner_loras"])
    assert pixels(other) != pixels(make(engine, refiner_model_name="r"))  # the base has it


def test_a_refiner_for_another_model_fails_its_task_and_the_next_one_works(
    engine: Engine, tmp_path: Path
) -> None:
    write_strange_file(tmp_path / "checkpoints" / "odd.safetensors")
    with pytest.raises(InvalidModelFile, match="77 wide"):
        make(engine, refiner_model_name="odd.safetensors")
    assert len(make(engine, refiner_model_name="r").images) == 1
