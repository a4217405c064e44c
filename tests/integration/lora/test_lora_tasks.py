"""LoRAs of a task: merged for it alone, few-step modes, texts encoded anew."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from pipeline.engine.engine import Engine, load_engine
from pipeline.engine.sdxl import TextCache
from pipeline.errors import InvalidModelFile, ModelNotInstalled
from pipeline.files.catalog import ModelCatalog
from pipeline.files.library import Library
from pipeline.files.locate import ModelFiles
from pipeline.models.checkpoint import Checkpoint
from pipeline.request.decode import decode_params
from pipeline.request.presets import PresetStore
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.scheduling.task import MadeImage, Task
from pipeline.weights.lora import ChosenLora
from pipeline.weights.lora_names import LoraModules
from tests.integration.lora_layouts import a_lora
from tests.integration.serving import GENERATE, Focal

ROOT = Path(__file__).resolve().parents[3]


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
