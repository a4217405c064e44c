"""Tasks on actors of Ray: what they bring back, their stop, and what an actor's death costs."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bus.events import ModelLoaded, TaskPreview, TaskProgress
from pipeline.errors import InvalidParameter
from pipeline.request.tools import MaskOptions
from pipeline.scheduling.task import Task
from pipeline.scheduling.worker import Describe, DrawMask, ToolReply
from tests.ray.house import INPUTS, WAIT_S, RayHouse, actors
from tests.unit.scheduling import make_task, read_until_ends

KILLS_PER_OPTION = 2  # of --kills, so 10 by default


def star(name: str, seed: int = 0, prompt: str = "a star", **params: object) -> Task:
    return make_task(name, 1, image_seed=seed, prompt=prompt, **params)


async def test_pictures_events_and_notes_cross(house: RayHouse) -> None:
    path, content = next(iter(INPUTS.items()))
    task = star("a", 7, prompt="a star", input_image_checkbox=True, uov_input_image=path)
    with house.bus.subscribe() as subscription:
        outcome = await house.end(task)
        seen = [data for _, data in await read_until_ends(subscription, 1)]
    assert outcome.status == "finished"
    assert house.pictures(outcome) == [b"a star 7" + content]
    assert outcome.notes == {"threads": "1"}
    assert any(isinstance(data, TaskProgress) for data in seen)
    assert any(isinstance(data, TaskPreview) for data in seen)


async def test_several_tasks_share_the_workers(house: RayHouse) -> None:
    with house.bus.subscribe() as subscription:
        for number in range(6):
            house.executor.submit(star(str(number), number, prompt="sleep 0.2"))
        seen = await read_until_ends(subscription, 6)
    devices = {getattr(data, "device", None) for _, data in seen} - {None}
    assert devices == {"ray-1", "ray-2"}
    assert sorted(house.files.kept.values()) == [b"sleep 0.2 %d" % n for n in range(6)]


async def test_a_stop_and_a_skip_reach_a_run(house: RayHouse) -> None:
    house.executor.submit(star("stopped", prompt="sleep 60"))
    house.executor.submit(star("skipped", prompt="sleep 60"))
    async with asyncio.timeout(WAIT_S):
        while [r.snapshot.step > 0 for r in house.executor.running()] != [True, True]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    ends = [asyncio.create_task(house.executor.wait(name)) for name in ("stopped", "skipped")]
    await asyncio.sleep(0)
    await house.executor.stop("stopped")
    house.executor.skip("skipped")
    outcomes = await asyncio.wait_for(asyncio.gather(*ends), WAIT_S)
    assert [outcome.status for outcome in outcomes] == ["stop", "skip"]


async def test_tools_and_what_they_raise(house: RayHouse) -> None:
    run = house.executor.run_tool
    assert await run(Describe(picture=b"1234", image_type="Photo")) == ToolReply(
        text="Photo of 4 bytes"
    )
    mask = await run(DrawMask(picture=b"mask", options=MaskOptions()))
    assert mask.picture == b"mask"
    with pytest.raises(InvalidParameter, match="no picture") as raised:
        await run(Describe(picture=b"", image_type="Photo"))
    assert raised.value.field == ("image",)


async def test_loaded_models_are_known_and_unloaded(house: RayHouse) -> None:
    await house.end(star("a", prompt="a star", base_model_name="one.safetensors"))
    loaded = {(model.name, model.device) for model in house.executor.loaded()}
    assert loaded in ({("one.safetensors", "ray-1")}, {("one.safetensors", "ray-2")})
    assert await house.executor.unload() == ("one.safetensors",)
    assert house.executor.loaded() == ()


async def test_a_new_worker_tells_of_its_model(house: RayHouse) -> None:
    with house.bus.subscribe() as subscription:
        actors()[0].kill()
        async with asyncio.timeout(WAIT_S):
            async for event in subscription:
                if isinstance(event.data, ModelLoaded):
                    break
    await house.ready(2)


async def test_a_task_whose_worker_dies_runs_again_once(house: RayHouse, tmp_path: Path) -> None:
    prompt = f"die once {tmp_path / 'died'}"
    outcome = await house.end(star("a", 3, prompt=prompt))
    assert outcome.status == "finished"
    assert house.pictures(outcome) == [f"{prompt} 3".encode()]


async def test_a_task_that_kills_two_workers_fails(house: RayHouse) -> None:
    outcome = await house.end(star("a", prompt="die"))
    assert (outcome.status, outcome.code) == ("failed", "worker_lost")
    await house.ready(2)
    assert (await house.end(star("b", prompt="a star"))).status == "finished"


async def test_random_kills_lose_and_double_nothing(
    house: RayHouse, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> None:
    kills = KILLS_PER_OPTION * int(pytestconfig.getoption("--kills"))
    tasks = [star(f"t{n}", n, prompt="sleep 0.3") for n in range(3 * kills)]
    for task in tasks:
        house.executor.submit(task)
    chance, killed = random.Random(1), 0
    async with asyncio.timeout(10 * WAIT_S):
        while len(house.rows) < len(tasks):
            await asyncio.sleep(chance.uniform(0.1, 1.0))
            if killed < kills and house.executor.running() and (living := actors()):
                chance.choice(living).kill()
                killed += 1
    status = Counter((outcome.status, outcome.code) for _, outcome in house.rows)
    record_property("table", f"{killed} kills, {len(tasks)} tasks: {dict(status)}")
    assert sorted(name for name, _ in house.rows) == sorted(task.task_id for task in tasks)
    assert set(status) <= {("finished", ""), ("failed", "worker_lost")}
    named = {path for _, outcome in house.rows for path in outcome.images}
    assert named == set(house.files.kept)
    expected = {b"sleep 0.3 %d" % n for n in range(len(tasks))}
    for name, outcome in house.rows:
        if outcome.status == "finished":
            assert house.pictures(outcome) == [b"sleep 0.3 %d" % int(name[1:])]
            expected.discard(b"sleep 0.3 %d" % int(name[1:]))
    assert len(expected) == status["failed", "worker_lost"]
