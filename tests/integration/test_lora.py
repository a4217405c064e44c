"""LoRA files in the layouts that users have, on a small model of SDXL's structure."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.engine.engine import Engine, load_engine
from pipeline.engine.sdxl import TextCache
from pipeline.errors import InvalidModelFile, ModelNotInstalled
from pipeline.files.catalog import ModelCatalog
from pipeline.files.library import Library
from pipeline.files.locate import ModelFiles
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.request.decode import decode_params
from pipeline.request.presets import PresetStore
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.scheduling.task import MadeImage, Task
from pipeline.weights.lora import ChosenLora, LoraStack
from pipeline.weights.lora_names import LoraModules
from tests.integration.serving import GENERATE, Focal
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
RANK = 2
ALPHA = 1.0

# A module of each sort: diffusers' name and the original one.
UNET = {
    "down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "time_embedding.linear_1": "time_embed.0",
    "mid_block.attentions.0.proj_in": "middle_block.1.proj_in",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
}
ATTENTION = {
    f"down_blocks.1.attentions.0.transformer_blocks.0.{name}": (
        f"input_blocks.4.1.transformer_blocks.0.{name}"
    )
    for name in ("attn2.to_k", "attn1.to_out.0")
}
TEXT = ("encoder.layers.1.self_attn.q_proj", "encoder.layers.0.self_attn.out_proj")

Factors = tuple[Tensor, Tensor]
Layout = Callable[[dict[str, Factors]], dict[str, Tensor]]


def flat(name: str) -> str:
    return name.replace(".", "_")


def original(name: str) -> str:
    return {**UNET, **ATTENTION}[name]


def spelled(
    name_of: Callable[[str, str], str], up: str, down: str, *, alpha: bool = False
) -> Layout:
    """A layout: ``name_of(part, module)``, and the endings of the two factors."""

    def write(factors: dict[str, Factors]) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for key, (first, second) in factors.items():
            part, _, module = key.partition(":")
            name = name_of(part, module)
            # Without alpha the factors are stored so that they give the same change.
            tensors[name + up] = first.clone() if alpha else first * (ALPHA / RANK)
            tensors[name + down] = second.clone()
            if alpha:
                tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
        return tensors

    return write


def kohya(unet: Callable[[str], str]) -> Callable[[str, str], str]:
    prefixes = {"clip_l": "lora_te1_text_model_", "clip_g": "lora_te2_text_model_"}

    def name_of(part: str, module: str) -> str:
        if part == "unet":
            return f"lora_unet_{flat(unet(module))}"
        return prefixes[part] + flat(module)

    return name_of


def dotted(part: str, module: str) -> str:
    prefixes = {
        "unet": "unet.",
        "clip_l": "text_encoder.text_model.",
        "clip_g": "text_encoder_2.text_model.",
    }
    return prefixes[part] + module


def original_dotted(part: str, module: str) -> str:
    if part == "unet":
        return f"diffusion_model.{original(module)}"
    return f"{part}.transformer.text_model.{module}"


def processors(part: str, module: str) -> str:
    """diffusers' oldest layout, which knows attention only."""
    name = dotted(part, module).removesuffix(".0")
    if part == "unet":
        return name.replace(".to_", ".processor.to_")
    return name.replace(".q_proj", ".to_q").replace(".out_proj", ".to_out")


def peft(part: str, module: str) -> str:
    return module if part == "unet" else dotted(part, module)


LAYOUTS: dict[str, Layout] = {
    "kohya, original names": spelled(
        kohya(original), ".lora_up.weight", ".lora_down.weight", alpha=True
    ),
    "kohya, diffusers names": spelled(
        kohya(lambda name: name), ".lora_up.weight", ".lora_down.weight", alpha=True
    ),
    "diffusers": spelled(dotted, ".lora_B.weight", ".lora_A.weight"),
    "diffusers before PEFT": spelled(dotted, ".lora.up.weight", ".lora.down.weight"),
    "transformers": spelled(
        dotted, ".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"
    ),
    "attention processors": spelled(processors, "_lora.up.weight", "_lora.down.weight"),
    "original": spelled(original_dotted, ".lora_up.weight", ".lora_down.weight", alpha=True),
    "PEFT": spelled(
        lambda part, module: f"base_model.model.{peft(part, module)}",
        ".lora_B.default.weight",
        ".lora_A.default.weight",
    ),
}


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the checkpoint ``tiny``."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "loras").mkdir()
    configs = write_configs(folder / "checkpoints" / "tiny")
    write_folder(folder / "checkpoints" / "tiny", make_weights(configs))
    return folder


@pytest.fixture(scope="module")
def checkpoint(models_dir: Path) -> Checkpoint:
    return load_checkpoint(models_dir / "checkpoints" / "tiny", CPU)


@pytest.fixture
def modules(checkpoint: Checkpoint) -> Iterator[LoraModules]:
    """The model's parts; every test must leave them as it found them, bit for bit."""
    modules = checkpoint.loras._modules
    before = weights_of(modules)
    kept = {name: tensor.clone() for name, tensor in before.items()}
    yield modules
    checkpoint.loras.remove()
    after = weights_of(modules)
    assert all(torch.equal(after[name], tensor) for name, tensor in kept.items())
    assert all(after[name].data_ptr() == tensor.data_ptr() for name, tensor in before.items())


def weights_of(modules: LoraModules) -> dict[str, Tensor]:
    found = {}
    for part, module in modules._asdict().items():
        for name, tensor in module.state_dict().items():
            found[f"{part}:{name.removeprefix('text_model.')}"] = tensor
    return found


def make_factors(modules: LoraModules, *, attention_only: bool = False) -> dict[str, Factors]:
    """Random factors for some modules of each part."""
    generator = torch.Generator().manual_seed(3)
    unet = [*ATTENTION] if attention_only else [*UNET, *ATTENTION]
    keys = [f"unet:{name}" for name in unet]
    keys += [f"{part}:{name}" for part in ("clip_l", "clip_g") for name in TEXT]
    factors = {}
    for key in keys:
        shape = weights_of(modules)[f"{key}.weight"].shape
        ones = [1] * (len(shape) - 2)
        up = torch.randn(shape[0], RANK, *ones, generator=generator)
        factors[key] = (up, torch.randn(RANK, *shape[1:], generator=generator))
    return factors


def save(path: Path, tensors: dict[str, Tensor], weight: float = 0.7) -> ChosenLora:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return ChosenLora(path.name, path, weight)


def a_lora(path: Path, modules: LoraModules, weight: float = 0.7) -> ChosenLora:
    return save(path, LAYOUTS["diffusers"](make_factors(modules)), weight)


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


class Listener:
    """Takes what the engine tells."""

    def __init__(self) -> None:
        self.images: list[MadeImage] = []
        self.models: list[tuple[str, str, bool]] = []
        self.notes: dict[str, Any] = {}

    def check(self) -> None: ...

    def progress(self, percent: int, message: str, *, step: int = 0, steps: int = 0) -> None: ...

    def begin_image(self, image: int, images: int) -> None: ...

    def wants_preview(self) -> bool:
        return False

    def preview(self, data: bytes, mime: str) -> None: ...

    def image(self, made: MadeImage) -> None:
        self.images.append(made)

    def note(self, key: str, value: object) -> None:
        self.notes[key] = value

    def model(self, kind: str, name: str, seconds: float | None) -> None:
        self.models.append((kind, name, seconds is not None))


@pytest.fixture(scope="module")
def presets() -> PresetStore:
    return PresetStore(ROOT / "presets", "embedded")


@pytest.fixture(scope="module")
def engine(models_dir: Path, presets: PresetStore) -> Engine:
    styles, wildcards = StyleLibrary(ROOT / "sdxl_styles"), Wildcards(ROOT / "wildcards")
    files = ModelFiles(ModelCatalog(models_dir), allowed=False)
    return load_engine("cpu", Library(files, presets, styles, wildcards))


def run(engine: Engine, presets: PresetStore, **asked: object) -> Listener:
    body = {
        "prompt": "a cat",
        "image_seed": 7,
        "base_model_name": "tiny",
        "overwrite_width": 64,
        "overwrite_height": 64,
        "overwrite_step": 2,
        "style_selections": [],
        "save_metadata_to_images": False,
        **asked,
    }
    decoded = decode_params(msgspec.json.encode(body))
    params = presets.apply(decoded.params, decoded.present)
    listener = Listener()
    loras = engine._library.catalog.loras()
    request = resolve_params(params, presets.describing(params), loras)
    engine(Task(task_id="a" * 32, request=request, in_queue_mills=0), listener)
    return listener


def test_a_task_has_its_loras_and_the_next_one_has_not(
    engine: Engine, presets: PresetStore, models_dir: Path, modules: LoraModules
) -> None:
    a_lora(models_dir / "loras" / "soft.safetensors", modules)
    slot = {"model_name": "soft.safetensors", "weight": 0.7}
    plain = run(engine, presets)
    changed = run(engine, presets, loras=[slot])
    prompted = run(engine, presets, prompt="a cat <lora:soft:0.7>")
    again = run(engine, presets)
    assert changed.images[0].data != plain.images[0].data
    assert prompted.images[0].data == changed.images[0].data
    assert again.images[0].data == plain.images[0].data
    assert changed.notes["loras"] == ["soft.safetensors at 0.7: 11 weights changed"]
    assert ("lora", "soft.safetensors", True) in changed.models
    assert prompted.models == []  # the same set was in already
    assert "loras" not in again.notes


def test_a_file_that_is_no_lora_fails_its_task_and_the_next_one_works(
    engine: Engine, presets: PresetStore, models_dir: Path
) -> None:
    (models_dir / "loras" / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(InvalidModelFile, match=r"broken\.safetensors"):
        run(engine, presets, loras=[{"model_name": "broken.safetensors"}])
    assert len(run(engine, presets).images) == 1


@pytest.mark.parametrize(
    ("mode", "file", "weight"),
    [
        ("Extreme Speed", "sdxl_lcm_lora.safetensors", "1"),
        ("Lightning", "sdxl_lightning_4step_lora.safetensors", "1"),
        ("Hyper-SD", "sdxl_hyper_sd_4step_lora.safetensors", "0.8"),
    ],
)
def test_a_few_step_mode_puts_its_lora_in(
    engine: Engine,
    presets: PresetStore,
    models_dir: Path,
    modules: LoraModules,
    mode: str,
    file: str,
    weight: str,
) -> None:
    with pytest.raises(ModelNotInstalled, match=f"{file}.*huggingface"):
        run(engine, presets, performance_selection=mode)
    a_lora(models_dir / "loras" / file, modules)
    made = run(engine, presets, performance_selection=mode)
    assert made.notes["loras"] == [f"{file} at {weight}: 11 weights changed"]
    assert len(made.images) == 1


async def test_a_few_step_mode_without_its_file_is_a_503_that_says_what_to_do(focal: Focal) -> None:
    path = focal.folder / "models" / "checkpoints" / "sdxl.safetensors"
    path.parent.mkdir(parents=True)
    path.touch()
    body = {"base_model_name": "sdxl.safetensors", "performance_selection": "Lightning"}
    reply = await focal.generate(body, 503)
    assert reply["code"] == "model_not_installed"
    assert "sdxl_lightning_4step_lora.safetensors" in reply["detail"]
    assert "huggingface.co" in reply["detail"]
    await focal.nothing_is_left()
    lora = focal.folder / "models" / "loras" / "sdxl_lightning_4step_lora.safetensors"
    lora.parent.mkdir()
    lora.touch()
    async with focal.session.post(GENERATE, json=body) as answer:
        assert answer.status == 200


@torch.inference_mode()
def test_a_text_is_encoded_anew_under_other_loras(checkpoint: Checkpoint, tmp_path: Path) -> None:
    torch.manual_seed(4)
    name = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    file = {f"{name}.lora_up.weight": torch.randn(32, 2)}
    file[f"{name}.lora_down.weight"] = torch.randn(2, 16)
    path = tmp_path / "words.safetensors"
    save_file(file, path)
    encode = TextCache(checkpoint)
    plain = encode(("ugly",), 2)
    assert encode(("ugly",), 2) is plain
    checkpoint.loras.use([ChosenLora("words", path, 1.0)])
    try:
        changed = encode(("ugly",), 2, loras=(("words", 1.0),))
    finally:
        checkpoint.loras.remove()
    assert not torch.equal(changed.context, plain.context)
