"""The same again, in a batch and one by one, over HTTP with the embedded model."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from handlers.keys import BUS, EXECUTOR
from pipeline.engine.options import EngineOptions
from pipeline.images.embedded_text import read_text
from pipeline.images.read import open_image
from tests.integration.real_engine import EngineDevice, fetch, pictures, pixels, serve_engine
from tests.integration.serving import WAIT_S, Focal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
]
ASKED: dict[str, Any] = {
    "prompt": "a red circle on a blue background",
    "image_seed": 41,
    "overwrite_step": 3,
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def focal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Focal]:
    async with serve_engine(tmp_path_factory.mktemp("focal")) as running:
        yield running


def prompt_of(data: bytes) -> str:
    """The prompt that a picture was made from, filled in."""
    found = read_text(open_image(data))
    assert found is not None
    prompt: str = json.loads(found.parameters)["prompt"]
    return prompt


@pytest.mark.parametrize("sampler", ["dpmpp_2m_sde_gpu", "euler_ancestral", "lcm", "uni_pc"])
async def test_the_same_request_twice_gives_the_same_bytes(focal: Focal, sampler: str) -> None:
    asked = {**ASKED, "sampler_name": sampler}
    assert await pictures(focal, **asked) == await pictures(focal, **asked)


@pytest.mark.parametrize("sampler", ["dpmpp_2m_sde_gpu", "euler_ancestral"])
async def test_picture_k_of_a_batch_is_the_single_one_with_that_seed(
    focal: Focal, sampler: str
) -> None:
    asked = {**ASKED, "sampler_name": sampler}
    batch = await pictures(focal, **asked, image_number=3)
    singly = [(await pictures(focal, **{**asked, "image_seed": 41 + k}))[0] for k in range(3)]
    assert batch == singly
    assert len(set(batch)) == 3


async def test_wildcards_and_random_styles_fall_alike_in_a_batch_and_one_by_one(
    focal: Focal,
) -> None:
    asked = {**ASKED, "prompt": "a __color__ circle", "style_selections": ["Random Style"]}
    batch = await pictures(focal, **asked, image_number=3)
    singly = [(await pictures(focal, **{**asked, "image_seed": 41 + k}))[0] for k in range(3)]
    assert batch == singly
    assert "__" not in prompt_of(batch[0])


async def test_arrays_and_ordered_wildcards_agree_with_prompts_written_out(focal: Focal) -> None:
    asked = {
        **ASKED,
        "prompt": "a [[red, green]] circle, __color__",
        "read_wildcards_in_order": True,
        "save_metadata_to_images": False,
    }
    batch = await pictures(focal, **asked, image_number=3)
    described = await pictures(focal, **{**asked, "save_metadata_to_images": True}, image_number=3)
    prompts = [prompt_of(data) for data in described]
    assert ["red" in prompts[0], "green" in prompts[1], "red" in prompts[2]] == [True] * 3
    singly = [
        (await pictures(focal, **{**asked, "prompt": prompt, "image_seed": 41 + k}))[0]
        for k, prompt in enumerate(prompts)
    ]
    assert batch == singly


async def test_seeds_that_stay_make_the_same_picture_over_and_over(focal: Focal) -> None:
    batch = await pictures(focal, **ASKED, image_number=2, disable_seed_increment=True)
    assert batch[0] == batch[1]


@pytest.mark.asyncio(loop_scope="function")
async def test_on_a_cpu_drawing_all_noise_there_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    made = []
    for options in (EngineOptions(), EngineOptions(cpu_noise=True)):
        async with serve_engine(tmp_path_factory.mktemp("focal"), options) as focal:
            asked = {**ASKED, "sampler_name": "euler_ancestral"}
            made += [pixels(data) for data in await pictures(focal, **asked)]
    assert (made[0] == made[1]).all()


@pytest.mark.asyncio(loop_scope="function")
async def test_waiting_tasks_are_made_together_and_each_is_told_of_itself(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    asked = [{**ASKED, "prompt": f"a {colour} circle"} for colour in ("red", "green", "blue")]
    singly = []
    async with serve_engine(tmp_path_factory.mktemp("singly")) as focal:
        for each in asked:
            singly += [pixels(data) for data in await pictures(focal, **each)]
    options = EngineOptions(batch=3)
    async with serve_engine(tmp_path_factory.mktemp("together"), options) as focal:
        focal.app[EXECUTOR].pause()
        with focal.app[BUS].subscribe() as subscription:
            ids = [await focal.queue(**each) for each in asked]
            focal.app[EXECUTOR].resume()
            records = [await focal.ended(task_id) for task_id in ids]
            told: dict[str, list[str]] = {task_id: [] for task_id in ids}
            while not all("task.finished" in types for types in told.values()):
                event = await asyncio.wait_for(anext(subscription), WAIT_S)
                told.get(event.task_id or "", []).append(event.data.type)
        together = [pixels(await fetch(focal, record["result"][0])) for record in records]
        assert isinstance(focal.device, EngineDevice)
        assert focal.device.together == [3]
    for types in told.values():
        assert types.count("task.started") == types.count("task.image") == 1
        assert {"task.progress", "task.preview"} <= set(types)
    for one, other in zip(singly, together, strict=True):
        assert ((one - other) ** 2).mean() <= 255.0**2 / 10**8  # 80 dB


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize("path", ["/interrupt", "/v1/generation/stop"])
async def test_what_ends_all_that_runs_ends_tasks_made_together(
    tmp_path_factory: pytest.TempPathFactory, path: str
) -> None:
    asked = {**ASKED, "overwrite_step": 200}
    options = EngineOptions(batch=3)
    async with serve_engine(tmp_path_factory.mktemp("focal"), options) as focal:
        focal.app[EXECUTOR].pause()
        ids = [await focal.queue(**asked) for _ in range(3)]
        other = await focal.queue(**ASKED, sampler_name="lcm")
        with focal.app[BUS].subscribe() as subscription:
            focal.app[EXECUTOR].resume()
            while True:
                event = await asyncio.wait_for(anext(subscription), WAIT_S)
                if event.data.type == "task.preview":
                    break
        async with focal.session.post(path, json={}) as answer:
            assert answer.status == 200
        assert [(await focal.ended(each))["task_status"] for each in ids] == ["stop"] * 3
        assert (await focal.ended(other))["task_status"] == "finished"
