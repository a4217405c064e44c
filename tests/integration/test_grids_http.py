"""X/Y/Z grids over HTTP: the cells' requests, what is refused, the sheet."""

import io
from typing import Any

import pytest
from PIL import Image

from pipeline.images.grid_sheet import CELL_PX
from tests.integration.serving import Focal


async def grid(focal: Focal, status: int = 200, **body: object) -> Any:
    async with focal.session.post("/v1/grids", json=body) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def test_every_combination_is_queued_with_one_seed_and_drawn(focal: Focal) -> None:
    axes = [
        {"field": "guidance_scale", "values": [2, 4.5, 7]},
        {"field": "prompt_part", "values": ["red", "blue"]},
    ]
    queued = await grid(focal, parameters={"prompt": "a red star", "image_number": 4}, axes=axes)
    assert queued["labels"][1] == ["prompt_part: red", "prompt_part: blue"]
    records = [await focal.ended(task_id) for task_id in queued["task_ids"]]
    made = [
        (record["req_params"]["guidance_scale"], record["req_params"]["prompt"])
        for record in records
    ]
    prompts = ("a red star", "a blue star")
    assert made == [(scale, prompt) for prompt in prompts for scale in (2.0, 4.5, 7.0)]
    assert len({record["req_params"]["image_seed"] for record in records}) == 1
    assert {len(record["result"]) for record in records} == {1}
    async with focal.session.post("/v1/grids/sheet", json=queued) as answer:
        assert answer.headers["Content-Type"] == "image/png"
        sheet = Image.open(io.BytesIO(await answer.read()))
    assert sheet.width > 3 * CELL_PX
    assert sheet.height > 2 * CELL_PX


@pytest.mark.parametrize(
    ("parameters", "axes"),
    [
        ({"prompt": "a star"}, [{"field": "prompt_part", "values": ["moon", "sun"]}]),
        ({}, [{"field": "lora_weight", "values": [0.5, 1]}]),
        ({}, [{"field": "guidance_scale", "values": [2, 1000]}]),
        ({}, [{"field": "image_seed", "values": list(range(50))}] * 2),
        ({}, []),
    ],
)
async def test_a_wrong_grid_is_refused_whole(
    focal: Focal, parameters: dict[str, object], axes: list[object]
) -> None:
    await grid(focal, 422, parameters=parameters, axes=axes)
    await focal.nothing_is_left()


async def test_a_sheet_of_nothing_is_empty_cells(focal: Focal) -> None:
    body = {"labels": [["1", "2"]], "task_ids": ["a", "b"]}
    async with focal.session.post("/v1/grids/sheet", json=body) as answer:
        assert answer.status == 200
        assert Image.open(io.BytesIO(await answer.read())).width > 2 * CELL_PX
