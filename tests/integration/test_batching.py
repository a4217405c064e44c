"""Images made together: each is the one that is made alone, whatever becomes of the others."""

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.engine.batching import batch_limit
from pipeline.engine.engine import Engine, load_engine
from pipeline.engine.options import AUTO_BATCH, EngineOptions
from pipeline.engine.progress import PREPARED
from pipeline.engine.sdxl import ImageRun, SdxlPipeline
from pipeline.engine.task_run import TaskRun
from pipeline.errors import ImageSkipped, PipelineError, TaskAborted
from pipeline.files.catalog import ModelCatalog
from pipeline.files.library import Library
from pipeline.files.locate import ModelFiles
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.models.refiner import Refiner, load_refiner
from pipeline.models.unet import UNet
from pipeline.request.choices import SAMPLER_NAMES, SwapMethod
from pipeline.request.plan import ImagePlan
from pipeline.request.presets import PresetStore
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.sampling.batch import Batch
from pipeline.sampling.denoiser import NetworkInput
from pipeline.scheduling.engine_protocol import TaskJob
from pipeline.scheduling.task import Task
from tests.integration.test_engine import GIVEN, INPUTS, ROOT, Listener, read_params
from tests.integration.test_engine import run as run_task
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder
from tests.plans import PLAN, changed

CPU = torch.device("cpu")
LEAST_PSNR = 80.0
TOLERANCE = 1e-5  # relative, of latents
STEPS = 5
# What is adaptive is made alone; the others' names are those of the same samplers on a device.
SAMPLERS = [name for name in SAMPLER_NAMES if name != "dpm_adaptive" and not name.endswith("_gpu")]
SEEDS = (5, 2**63 - 2, 7)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("tiny")
    write_folder(folder, make_weights(write_configs(folder)))
    return load_checkpoint(folder, CPU)


def some_at_once(names: Iterable[str], quick: set[str]) -> list[Any]:
    """Parameters of which all but the ``quick`` ones are slow."""
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in names]


def plans_of(**changes: Any) -> list[ImagePlan]:
    return [changed(PLAN, steps=STEPS, seed=seed, **changes) for seed in SEEDS]


def ignore(_index: int, _guess: Tensor) -> None:
    """An image that nothing happens to."""


def latents_of(checkpoint: Checkpoint, plans: list[ImagePlan]) -> Tensor:
    with torch.inference_mode():
        pipeline = SdxlPipeline(checkpoint)
        return pipeline.text_to_latents(plans, Batch([ignore] * len(plans)))


def relative(made: Tensor, expected: Tensor) -> float:
    return float((made - expected).norm() / expected.norm())


@pytest.mark.parametrize("sampler", some_at_once(SAMPLERS, {"euler_ancestral", "dpmpp_2m_sde"}))
def test_each_latent_is_the_one_that_is_made_alone(checkpoint: Checkpoint, sampler: str) -> None:
    plans = plans_of(sampler=sampler)[:2]
    together = latents_of(checkpoint, plans)
    for row, plan in enumerate(plans):
        alone = latents_of(checkpoint, [plan])
        assert relative(together[row : row + 1], alone) < TOLERANCE


def test_prompts_of_any_length_are_made_in_one_batch(checkpoint: Checkpoint) -> None:
    texts = ["cat", "cat " * 100, "cat " * 400, "dog"]
    plans = [
        changed(PLAN, steps=2, seed=seed, positives=(text,)) for seed, text in enumerate(texts)
    ]
    with torch.inference_mode():
        pipeline = SdxlPipeline(checkpoint)
        made = {
            each.row: each.image
            for each in pipeline.make_batch([ImageRun(plan, ignore) for plan in plans])
        }
        for row, plan in enumerate(plans):
            assert psnr(made[row], pipeline.make(plan, ignore)) >= LEAST_PSNR


@pytest.mark.parametrize("skipped", [0, 1, 2])
def test_of_prompts_that_share_no_call_one_skipped_leaves_the_others(
    checkpoint: Checkpoint, skipped: int
) -> None:
    def skip(_index: int, _guess: Tensor) -> None:
        raise ImageSkipped("skipped")

    texts = ["cat", "cat " * 400, "dog " * 150]
    runs = [
        ImageRun(
            changed(PLAN, steps=1, seed=row, positives=(text,)), skip if row == skipped else ignore
        )
        for row, text in enumerate(texts)
    ]
    with torch.inference_mode():
        made = SdxlPipeline(checkpoint).make_batch(runs)
        assert {each.row for each in made} == {0, 1, 2} - {skipped}


class Counted:
    """Counts the rows of each call of a network."""

    def __init__(self, unet: UNet) -> None:
        self.rows: list[int] = []
        self._unet = unet

    def __call__(
        self,
        given: NetworkInput,
        down_residuals: Sequence[Tensor] | None = None,
        middle_residual: Tensor | None = None,
    ) -> Tensor:
        self.rows.append(given.x.shape[0])
        return self._unet.as_built(given, down_residuals, middle_residual)


def test_a_skipped_image_leaves_the_batch(checkpoint: Checkpoint) -> None:
    def skip(index: int, _guess: Tensor) -> None:
        if index == 1:
            raise ImageSkipped("skipped")

    plans, counted = plans_of(), Counted(checkpoint.unet)
    on_steps = (ignore, skip, ignore)
    checkpoint.unet.use(counted)
    try:
        with torch.inference_mode():
            pipeline = SdxlPipeline(checkpoint)
            runs = [ImageRun(*pair) for pair in zip(plans, on_steps, strict=True)]
            made = {each.row: each.image for each in pipeline.make_batch(runs)}
    finally:
        checkpoint.unet.use(None)
    assert counted.rows == [6, 6, 4, 4, 4]
    assert sorted(made) == [0, 2]
    with torch.inference_mode():
        for row, image in made.items():
            assert psnr(image, SdxlPipeline(checkpoint).make(plans[row], ignore)) >= LEAST_PSNR


def test_a_run_that_all_images_leave_ends(checkpoint: Checkpoint) -> None:
    def stop(_index: int, _guess: Tensor) -> None:
        raise TaskAborted("stopped")

    counted = Counted(checkpoint.unet)
    checkpoint.unet.use(counted)
    try:
        with torch.inference_mode(), pytest.raises(TaskAborted):
            SdxlPipeline(checkpoint).make_batch([ImageRun(plan, stop) for plan in plans_of()])
    finally:
        checkpoint.unet.use(None)
    assert counted.rows == [6]


@pytest.fixture(scope="module")
def refiner(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Refiner:
    folder = tmp_path_factory.mktemp("refiner")
    write_folder(folder, make_weights(write_configs(folder), seed=2))
    return load_refiner(folder, CPU)


@pytest.mark.parametrize("method", get_args(SwapMethod))
@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde"])
def test_a_refiner_takes_over_a_batch(
    checkpoint: Checkpoint, refiner: Refiner, method: SwapMethod, sampler: str
) -> None:
    plans = plans_of(swap_method=method, switch=2, sampler=sampler)
    with torch.inference_mode():
        pipeline = SdxlPipeline(checkpoint, refiner=refiner)
        made = pipeline.make_batch([ImageRun(plan, ignore) for plan in plans])
        for row, image, _ in made:
            assert psnr(image, pipeline.make(plans[row], ignore)) >= LEAST_PSNR


@pytest.fixture(scope="module")
def presets() -> PresetStore:
    return PresetStore(ROOT / "presets", "embedded")


@pytest.fixture(scope="module")
def make_engine(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Engine]:
    models_dir = tmp_path_factory.mktemp("models")
    (models_dir / "checkpoints").mkdir()
    library = Library(
        ModelFiles(ModelCatalog(models_dir), allowed=False),
        PresetStore(ROOT / "presets", "embedded"),
        StyleLibrary(ROOT / "sdxl_styles"),
        Wildcards(ROOT / "wildcards"),
    )
    return lambda batch: load_engine("cpu", library, options=EngineOptions(batch=batch))


@pytest.fixture(scope="module")
def alone(make_engine: Callable[[int], Engine]) -> Engine:
    return make_engine(1)


@pytest.fixture(scope="module")
def batching(make_engine: Callable[[int], Engine]) -> Engine:
    return make_engine(3)


def pixels(data: bytes) -> NDArray[np.float64]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Decibels between two pictures; infinite for the same."""
    error = float(((np.asarray(one, np.float64) - np.asarray(other, np.float64)) ** 2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255.0**2 / error))


def made_by(engine: Engine, presets: PresetStore, **asked: object) -> Listener:
    listener = Listener()
    run_task(engine, presets, listener, **asked)
    return listener


MASK = {"inpaint_input_image": GIVEN, "outpaint_selections": ["Left"]}
ASKED: dict[str, dict[str, Any]] = {
    "text": {},
    "vary": {"uov_method": "Vary (Strong)", "uov_input_image": GIVEN},
    "outpaint": MASK,
    "inpaint engine": MASK | {"inpaint_engine": "v2.6"},
    "control": {"controlnet_image": [{"cn_img": GIVEN, "cn_type": "PyraCanny"}]},
    "image prompt": {"controlnet_image": [{"cn_img": GIVEN, "cn_type": "ImagePrompt"}]},
    "FreeU": {"freeu_enabled": True},
    "cfg 1": {"guidance_scale": 1.0},
}


@pytest.mark.parametrize("what", some_at_once(ASKED, {"text", "inpaint engine"}))
def test_the_images_of_a_task_are_those_made_one_by_one(
    alone: Engine, batching: Engine, presets: PresetStore, what: str
) -> None:
    asked = {"image_number": 2, "overwrite_step": 3, **ASKED[what]}
    one_by_one, together = (made_by(each, presets, **asked) for each in (alone, batching))
    assert [each.seed for each in together.images] == [7, 8]
    for one, other in zip(one_by_one.images, together.images, strict=True):
        pair = Image.open(io.BytesIO(one.data)), Image.open(io.BytesIO(other.data))
        assert psnr(*pair) >= LEAST_PSNR
    assert any("images 1-2/2" in message for _, message in together.told)
    percents = [percent for percent, _ in together.told if percent >= PREPARED]
    assert percents == sorted(percents)
    assert percents[-1] == 100


def test_images_beyond_a_batch_are_made_in_the_next(batching: Engine, presets: PresetStore) -> None:
    made = made_by(batching, presets, image_number=4)
    assert [each.seed for each in made.images] == [7, 8, 9, 10]
    places = {message.partition(", ")[2] for _, message in made.told if "step" in message}
    assert places == {"images 1-3/4 ...", "image 4/4 ..."}


def test_a_preview_shows_all_images_of_the_batch(batching: Engine, presets: PresetStore) -> None:
    made = made_by(batching, presets, image_number=2)
    assert Image.open(io.BytesIO(made.previews[-1])).size == (384, 192)
    made = made_by(batching, presets)
    assert Image.open(io.BytesIO(made.previews[-1])).size == (256, 256)


def test_a_skip_ends_the_first_image_of_the_batch_alone(
    batching: Engine, presets: PresetStore
) -> None:
    listener = Listener({(1, 2): ImageSkipped("skipped")})
    run_task(batching, presets, listener, image_number=3)
    assert [each.seed for each in listener.images] == [7, 9]


def test_a_stop_ends_all_images_of_the_task(batching: Engine, presets: PresetStore) -> None:
    listener = Listener({(1, 2): TaskAborted("stopped")})
    with pytest.raises(TaskAborted):
        run_task(batching, presets, listener, image_number=3)
    assert listener.images == []


def task_of(presets: PresetStore, number: int, **asked: object) -> Task:
    params = read_params(presets, **asked)
    request = resolve_params(params, presets.describing(params))
    return Task(task_id=f"{number:032x}", request=request, in_queue_mills=0)


def run_together(
    engine: Engine, tasks: list[Task], listeners: list[Listener]
) -> dict[int, PipelineError | None]:
    ended: dict[int, PipelineError | None] = {}
    pairs = zip(tasks, listeners, strict=True)
    jobs = [TaskJob(task, listener, INPUTS) for task, listener in pairs]
    engine.run_together(jobs, ended.__setitem__)
    return ended


def test_tasks_made_together_get_what_each_gets_alone(
    alone: Engine, batching: Engine, presets: PresetStore
) -> None:
    asked = [{"prompt": prompt, "image_seed": seed} for seed, prompt in enumerate("abc")]
    tasks = [task_of(presets, number, **each) for number, each in enumerate(asked)]
    listeners = [Listener() for _ in tasks]
    assert run_together(batching, tasks, listeners) == {0: None, 1: None, 2: None}
    for listener, each in zip(listeners, asked, strict=True):
        (expected,), (made,) = made_by(alone, presets, **each).images, listener.images
        pair = Image.open(io.BytesIO(made.data)), Image.open(io.BytesIO(expected.data))
        assert psnr(*pair) >= LEAST_PSNR
        assert made.seed == each["image_seed"]


def test_what_ends_one_task_leaves_the_others(batching: Engine, presets: PresetStore) -> None:
    tasks = [task_of(presets, number, image_number=2) for number in range(3)]
    tasks.append(task_of(presets, 3, base_model_name="gone.safetensors"))
    listeners = [Listener({(1, 2): TaskAborted("stopped")}), Listener(), Listener(), Listener()]
    ended = run_together(batching, tasks, listeners)
    assert isinstance(ended[0], TaskAborted)
    assert (ended[1], ended[2]) == (None, None)
    assert isinstance(ended[3], PipelineError)
    assert [len(listener.images) for listener in listeners] == [0, 2, 2, 0]


@pytest.mark.parametrize(
    ("raised", "code"),
    [(torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"), (ValueError(), "internal")],
)
def test_an_unexpected_error_in_the_work_of_one_task_leaves_the_others(
    batching: Engine,
    presets: PresetStore,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    code: str,
) -> None:
    tasks = [task_of(presets, number) for number in range(3)]
    finish = TaskRun.finish

    def finish_but_the_second(self: TaskRun, image: Image.Image, plan: ImagePlan) -> None:
        if self.task_id == tasks[1].task_id:
            raise raised
        finish(self, image, plan)

    monkeypatch.setattr(TaskRun, "finish", finish_but_the_second)
    ended = run_together(batching, tasks, [Listener(), Listener(), Listener()])
    assert (ended[0], ended[2]) == (None, None)
    assert isinstance(ended[1], PipelineError)
    assert ended[1].code == code


def test_a_batch_that_does_not_fit_in_memory_is_halved(
    batching: Engine, presets: PresetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = UNet.__call__

    def small(self: UNet, given: NetworkInput, *residuals: Any) -> Tensor:
        if given.x.shape[0] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return call(self, given, *residuals)

    monkeypatch.setattr(UNet, "__call__", small)
    made = made_by(batching, presets, image_number=3)
    assert [each.seed for each in made.images] == [7, 8, 9]


@pytest.mark.parametrize(
    ("side", "sampler", "asked", "limit"),
    [
        (128, "euler", AUTO_BATCH, 8),
        (256, "euler", AUTO_BATCH, 4),
        (512, "euler", AUTO_BATCH, 1),
        (1024, "euler", AUTO_BATCH, 1),
        (1024, "euler", 4, 4),
        (256, "dpm_adaptive", 4, 1),
    ],
)
def test_a_batch_on_the_cpu_is_no_larger_than_pays(
    side: int, sampler: str, asked: int, limit: int
) -> None:
    assert batch_limit(asked, sampler, (side, side), CPU) == limit


def test_a_network_prepared_for_one_image_makes_one_by_one_unless_told() -> None:
    assert batch_limit(AUTO_BATCH, "euler", (256, 256), CPU, is_prepared=True) == 1
    assert batch_limit(4, "euler", (256, 256), CPU, is_prepared=True) == 4
