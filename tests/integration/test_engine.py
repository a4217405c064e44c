"""The engine with the model that ships: a task in, pictures out."""

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from PIL import Image

from pipeline.engine.engine import Engine, load_engine
from pipeline.engine.spec import build_engine
from pipeline.errors import (
    DeviceOutOfMemory,
    ImageSkipped,
    InvalidModelFile,
    PipelineError,
    TaskAborted,
)
from pipeline.files.catalog import ModelCatalog
from pipeline.files.library import Library
from pipeline.files.locate import ModelFiles
from pipeline.images.embedded_text import read_text
from pipeline.images.encode import encode_image
from pipeline.images.read import open_image
from pipeline.models.manager import EMBEDDED_FOLDER, ModelManager
from pipeline.request.decode import GenerateParams, decode_params
from pipeline.request.presets import PresetStore
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.scheduling.task import MadeImage, Task
from server import engine_spec
from settings import Settings
from tests.integration import tiny_vision

ROOT = Path(__file__).resolve().parents[2]
GIVEN, BLANK = "/inputs/a.png", "/inputs/b.png"
INPUTS = {
    GIVEN: encode_image(tiny_vision.picture(100, 100), "png"),
    BLANK: encode_image(Image.new("RGB", (64, 64)), "png"),
}


class Listener:
    """Takes what the engine tells; ``raise_at`` raises an exception at a picture's step."""

    def __init__(self, raise_at: dict[tuple[int, int], Exception] | None = None) -> None:
        self.images: list[MadeImage] = []
        self.told: list[tuple[int, str]] = []
        self.previews: list[bytes] = []
        self.models: list[tuple[str, bool]] = []
        self.notes: dict[str, object] = {}
        self._raise_at = raise_at or {}
        self._image = 0
        self._checks = 0

    def check(self) -> None:
        error = self._raise_at.get((self._image, self._checks))
        self._checks += 1
        if error is not None:
            raise error

    def progress(self, percent: int, message: str, *, step: int = 0, steps: int = 0) -> None:
        self.told.append((percent, message))

    def begin_image(self, image: int, images: int) -> None:
        self._image, self._checks = image, 0

    def wants_preview(self) -> bool:
        return True

    def preview(self, data: bytes, mime: str) -> None:
        assert mime == "image/jpeg"
        self.previews.append(data)

    def image(self, made: MadeImage) -> None:
        self.images.append(made)

    def note(self, key: str, value: object) -> None:
        self.notes[key] = value

    def model(self, kind: str, name: str, seconds: float | None) -> None:
        self.models.append((name, seconds is not None))


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "checkpoints").mkdir()
    return folder


@pytest.fixture(scope="module")
def presets() -> PresetStore:
    return PresetStore(ROOT / "presets", "embedded")


@pytest.fixture(scope="module")
def engine(models_dir: Path, presets: PresetStore) -> Engine:
    library = Library(
        ModelFiles(ModelCatalog(models_dir), allowed=False),
        presets,
        StyleLibrary(ROOT / "sdxl_styles"),
        Wildcards(ROOT / "wildcards"),
    )
    return load_engine("cpu", library)


def read_params(presets: PresetStore, **asked: object) -> GenerateParams:
    """Parameters as a request gets them, two steps long unless it asks for more."""
    body = {
        "prompt": "a red circle on a blue background",
        "image_seed": 7,
        "overwrite_step": 2,
        **asked,
    }
    decoded = decode_params(msgspec.json.encode(body))
    return presets.apply(decoded.params, decoded.present)


def make(engine: Engine, presets: PresetStore, **asked: object) -> Listener:
    listener = Listener()
    run(engine, presets, listener, **asked)
    return listener


def run(engine: Engine, presets: PresetStore, listener: Listener, **asked: object) -> None:
    params = read_params(presets, **asked)
    request = resolve_params(params, presets.describing(params))
    engine(Task(task_id="a" * 32, request=request, in_queue_mills=0), listener, INPUTS)


def colour_at(data: bytes, x: int, y: int) -> tuple[int, int, int]:
    red, green, blue = Image.open(io.BytesIO(data)).convert("RGB").resize((8, 8)).getpixel((x, y))  # type: ignore[misc]
    return red, green, blue


def test_a_picture_follows_its_prompt(engine: Engine, presets: PresetStore) -> None:
    made = make(engine, presets, overwrite_step=12).images[0]
    red, _, blue = colour_at(made.data, 4, 4)
    assert red > 2 * blue
    red, _, blue = colour_at(made.data, 0, 0)
    assert blue > 2 * red


@pytest.mark.parametrize(
    "prompt",
    [
        "(" * 1000 + "cat" + ")" * 1000,
        "[" * 16_384,
        "_" * 300,
        f"a __{'x' * 252}__ cat",
        "<lora:a:" + "1" * 16_000,
        " ".join(f"embedding:e{i}" for i in range(1000)),
    ],
    ids=lambda prompt: prompt[:12],
)
def test_a_prompt_of_any_form_makes_a_picture(
    engine: Engine, presets: PresetStore, prompt: str
) -> None:
    assert len(make(engine, presets, prompt=prompt, overwrite_step=1).images) == 1


def test_the_same_request_gives_the_same_bytes(engine: Engine, presets: PresetStore) -> None:
    first, second = (make(engine, presets).images[0] for _ in range(2))
    assert first == second


def test_the_record_says_what_a_checkpoint_predicts(
    engine: Engine, models_dir: Path, presets: PresetStore
) -> None:
    folder = models_dir / "checkpoints" / "zero"
    folder.mkdir()
    for part in EMBEDDED_FOLDER.iterdir():
        (folder / part.name).symlink_to(part)
    (folder / "scheduler").unlink()
    (folder / "scheduler").mkdir()
    config = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    for sampler in ("euler", "dpmpp_2m_sde_gpu"):
        listener = make(
            engine,
            presets,
            base_model_name="zero",
            refiner_model_name="embedded",
            sampler_name=sampler,
            guidance_rescale=0.7,
        )
        assert "v-prediction with zero terminal SNR" in str(listener.notes["prediction"])
        assert "refiner_prediction" not in listener.notes
        assert len(listener.images) == 1


def test_picture_k_of_a_batch_is_the_single_picture_of_seed_plus_k(
    engine: Engine, presets: PresetStore
) -> None:
    batch = make(engine, presets, image_number=3).images
    alone = make(engine, presets, image_seed=9).images[0]
    assert [made.seed for made in batch] == [7, 8, 9]
    assert batch[2] == alone
    assert batch[0].data != batch[1].data


def test_each_parameter_that_guides_changes_the_picture(
    engine: Engine, presets: PresetStore
) -> None:
    plain = make(engine, presets).images[0].data
    changes: list[dict[str, object]] = [
        {"guidance_scale": 9.0},
        {"clip_skip": 1},
        {"negative_prompt": "red"},
        {"sampler_name": "euler", "scheduler_name": "normal"},
        {"adm_scaler_positive": 0.5, "adm_scaler_end": 1.0},
        {"prompt": "a (red:1.5) circle on a blue background"},
        {"freeu_enabled": True, "freeu_b1": 1.4},
    ]
    for change in changes:
        assert make(engine, presets, **change).images[0].data != plain, change


def test_progress_says_what_is_done_and_only_rises(engine: Engine, presets: PresetStore) -> None:
    listener = make(engine, presets, image_number=2)
    assert listener.told == [
        (2, "Loading models ..."),
        (13, "Preparing task 1/2 ..."),
        (13, "Sampling step 1/2, image 1/2 ..."),
        (34, "Sampling step 2/2, image 1/2 ..."),
        (56, "Saving image 1/2 to system ..."),
        (56, "Preparing task 2/2 ..."),
        (56, "Sampling step 1/2, image 2/2 ..."),
        (78, "Sampling step 2/2, image 2/2 ..."),
        (100, "Saving image 2/2 to system ..."),
    ]


def test_every_step_has_a_preview_of_the_pictures_shape(
    engine: Engine, presets: PresetStore
) -> None:
    listener = make(engine, presets, aspect_ratios_selection="320*192")
    assert [open_image(data).size for data in listener.previews] == [(256, 154)] * 2
    assert all(len(data) < 20_000 for data in listener.previews)


@pytest.mark.parametrize("output_format", ["png", "jpg", "jpeg", "webp"])
@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
def test_the_parameters_stand_in_the_picture(
    engine: Engine, presets: PresetStore, output_format: str, scheme: str
) -> None:
    made = make(engine, presets, output_format=output_format, metadata_scheme=scheme).images[0]
    text = read_text(open_image(made.data))
    assert made.extension == output_format
    assert text is not None
    assert text.scheme == scheme
    assert "a red circle" in text.parameters
    if scheme == "fooocus":
        assert json.loads(text.parameters)["seed"] == "7"


def test_metadata_can_be_left_out(engine: Engine, presets: PresetStore) -> None:
    made = make(engine, presets, save_metadata_to_images=False).images[0]
    assert read_text(open_image(made.data)) is None


def test_a_larger_picture_is_made_at_the_trained_size_and_the_record_says_so(
    engine: Engine, presets: PresetStore
) -> None:
    listener = make(engine, presets, aspect_ratios_selection="1152*896")
    assert open_image(listener.images[0].data).size == (1152, 896)
    assert (listener.images[0].width, listener.images[0].height) == (1152, 896)
    assert listener.notes["native_size"] == "256x256"


def test_a_skipped_picture_is_left_out_and_the_next_is_made(
    engine: Engine, presets: PresetStore
) -> None:
    listener = Listener({(1, 2): ImageSkipped("skipped")})
    run(engine, presets, listener, image_number=2)
    assert [made.seed for made in listener.images] == [8]


def test_a_stopped_task_keeps_what_it_made(engine: Engine, presets: PresetStore) -> None:
    listener = Listener({(2, 1): TaskAborted("stopped")})
    with pytest.raises(TaskAborted):
        run(engine, presets, listener, image_number=3)
    assert [made.seed for made in listener.images] == [7]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_without_memory_a_task_fails_by_name_and_the_next_one_works(
    engine: Engine, presets: PresetStore, error: Exception
) -> None:
    with pytest.raises(DeviceOutOfMemory, match="ask for a smaller one"):
        run(engine, presets, Listener({(1, 1): error}))
    after = make(engine, presets)
    assert len(after.images) == 1
    assert after.models == [("embedded", False), ("embedded", True)]  # it had been released


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    engine: Engine, presets: PresetStore
) -> None:
    with pytest.raises(RuntimeError, match="another fault"):
        run(engine, presets, Listener({(1, 1): RuntimeError("another fault")}))


def test_a_grid_follows_the_pictures_it_is_made_of(engine: Engine, presets: PresetStore) -> None:
    made = make(engine, presets, image_number=3, overwrite_step=1, generate_image_grid=True).images
    assert [(image.width, image.height) for image in made] == [(256, 256)] * 3 + [(512, 512)]
    third, grid = (Image.open(io.BytesIO(image.data)) for image in made[2:])
    assert grid.crop((0, 256, 256, 512)).tobytes() == third.tobytes()
    assert read_text(grid) is None


def test_a_model_is_loaded_once(engine: Engine, presets: PresetStore) -> None:
    make(engine, presets)
    assert make(engine, presets).models == []


def test_a_damaged_checkpoint_fails_its_task_and_the_next_one_works(
    engine: Engine, presets: PresetStore, models_dir: Path
) -> None:
    (models_dir / "checkpoints" / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(InvalidModelFile, match="broken"):
        make(engine, presets, base_model_name="broken.safetensors")
    assert len(make(engine, presets).images) == 1


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "vulkan"])
def test_a_device_that_is_not_there_is_refused(name: str, engine: Engine) -> None:
    with pytest.raises(PipelineError, match=name):
        load_engine(name, engine._library)


def test_a_skip_before_the_first_picture_is_begun_skips_nothing(
    engine: Engine, presets: PresetStore
) -> None:
    listener = Listener({(0, 0): ImageSkipped("skipped while models are loaded")})
    run(engine, presets, listener)
    assert len(listener.images) == 1


def test_a_start_model_without_room_for_it_leaves_the_engine_for_other_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = ModelManager.checkpoint

    def without_room(self: ModelManager, name: str, *arguments: Any) -> Any:
        if name == "embedded":  # as CUDA and its libraries say it, by RuntimeError
            raise RuntimeError("CUDA error: out of memory")
        return checkpoint(self, name, *arguments)

    monkeypatch.setattr(ModelManager, "checkpoint", without_room)
    settings = Settings(models_dir=tmp_path / "models", preset="embedded")
    spec = msgspec.structs.replace(engine_spec(settings, "embedded"), device="cpu")
    engine = build_engine(spec, lambda _event: None)
    assert "embedded was not loaded" in caplog.text
    with pytest.raises(DeviceOutOfMemory):
        engine.preload("embedded")
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    (tmp_path / "models" / "checkpoints" / "copy").symlink_to(EMBEDDED_FOLDER)
    engine.preload("copy")
    assert [model.name for model in engine.loaded()] == ["copy"]


def test_a_damaged_start_model_is_told_and_the_device_starts_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = tmp_path / "models" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "juggernautXL_v8Rundiffusion.safetensors").write_bytes(b"damaged")
    settings = Settings(
        outputs_dir=tmp_path / "outputs",
        inputs_dir=tmp_path / "inputs",
        models_dir=tmp_path / "models",
        preset="default",
    )
    spec = msgspec.structs.replace(engine_spec(settings, "default"), device="cpu")
    engine = build_engine(spec, lambda _event: None)
    assert isinstance(engine, Engine)
    engine.preload("embedded")
    assert "juggernautXL_v8Rundiffusion.safetensors was not loaded" in caplog.text
